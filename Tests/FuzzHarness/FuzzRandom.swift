/// Random numbers that depend only on the seed and the number of the case, so that a case can be made again alone.
struct FuzzRandom {
  private var state: UInt64

  init(seed: UInt64, caseNumber: Int) {
    state = seed &* 0x9E37_79B9_7F4A_7C15 ^ UInt64(caseNumber) &* 0xD1B5_4A32_D192_ED03
    for _ in 0..<4 { _ = next() }
  }

  /// SplitMix64 (Steele, Lea and Flood, 2014).
  mutating func next() -> UInt64 {
    state &+= 0x9E37_79B9_7F4A_7C15
    var value = state
    value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
    return value ^ value >> 31
  }

  /// A whole number below `bound`, which is at least 1.
  mutating func below(_ bound: Int) -> Int { Int(next() % UInt64(bound)) }

  mutating func byte() -> UInt8 { UInt8(truncatingIfNeeded: next()) }

  /// True in `percent` of 100 cases.
  mutating func happens(_ percent: Int) -> Bool { below(100) < percent }

  /// An element of an array that is not empty.
  mutating func pick<Element>(_ elements: [Element]) -> Element { elements[below(elements.count)] }

  /// Numbers at which readers of sizes and offsets go wrong.
  mutating func awkwardNumber(near size: Int) -> Int {
    let powers = [7, 8, 15, 16, 31, 32, 47, 62].map { 1 << $0 }
    let fixed = [
      0, 1, 2, -1, .max, .min, .max - 7, 1 << 25, 1 << 25 + 1, size, size &+ 1, size &- 1, size / 2,
    ]
    switch below(3) {
    case 0: return pick(fixed)
    case 1: return pick(powers) + below(3) - 1
    default: return below(max(1, 2 &* size))
    }
  }
}
