/// A map from pairs of ids to a number: open addressing in two flat arrays.
///
/// A `Dictionary` of half a million pairs takes three times the memory and is asked for every two neighbours of a text.
struct PairTable: Sendable {
  private var keys: [UInt64]
  private var values: [UInt64]
  private var count = 0
  // Drawn anew in each process, so that no file can be made whose pairs all meet. The place of a pair shows nowhere.
  private let factor: UInt64

  /// A key that no pair of ids has.
  private static let free = UInt64.max

  init(minimumCapacity: Int) {
    var size = 16
    while size < 2 * minimumCapacity { size *= 2 }
    keys = Array(repeating: Self.free, count: size)
    values = Array(repeating: 0, count: size)
    factor = UInt64(bitPattern: Int64(Hasher().finalize())) &* 0x9E37_79B9_7F4A_7C15 | 1
  }

  private static func key(_ left: Int32, _ right: Int32) -> UInt64 {
    UInt64(UInt32(bitPattern: left)) << 32 | UInt64(UInt32(bitPattern: right))
  }

  /// Where a key stands, or the free place for it.
  private func slot(_ key: UInt64) -> Int {
    let mask = keys.count - 1
    let mixed = (key ^ key >> 29) &* factor
    var slot = Int(truncatingIfNeeded: mixed >> 32) & mask
    while keys[slot] != key && keys[slot] != Self.free { slot = (slot + 1) & mask }
    return slot
  }

  /// The number of a pair of ids from 0.
  subscript(left: Int32, right: Int32) -> UInt64? {
    get {
      let key = Self.key(left, right)
      let slot = slot(key)
      return keys[slot] == key ? values[slot] : nil
    }
    set {
      guard let newValue else { return }
      if 2 * (count + 1) > keys.count { grow() }
      let key = Self.key(left, right)
      let slot = slot(key)
      if keys[slot] == Self.free { count += 1 }
      (keys[slot], values[slot]) = (key, newValue)
    }
  }

  private mutating func grow() {
    let old = zip(keys, values).filter { $0.0 != Self.free }
    keys = Array(repeating: Self.free, count: 2 * keys.count)
    values = Array(repeating: 0, count: keys.count)
    for (key, value) in old {
      let slot = slot(key)
      (keys[slot], values[slot]) = (key, value)
    }
  }
}
