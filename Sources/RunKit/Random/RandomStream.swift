import Foundation

/// The one generator of random numbers: the same key gives the same numbers in every run and on every machine.
///
/// A stream is named by what it is for, not by how many numbers were drawn before it, so that a resumed, sharded
/// or reordered run draws the same. The state is the SHA-256 of
///
///     "mmprobe.stream/v1" ‖ seed ‖ epoch ‖ step ‖ id ‖ purpose
///
/// with the four numbers as 64-bit little-endian integers and the purpose as UTF-8, read as four little-endian
/// words; the numbers are those of xoshiro256**.
///
/// Source: Blackman and Vigna, "Scrambled Linear Pseudorandom Number Generators", ACM Transactions on
/// Mathematical Software 47(4), 2021, arXiv:1805.01407.
public struct RandomStream: RandomNumberGenerator, Sendable {
  private var state: (UInt64, UInt64, UInt64, UInt64)

  /// The stream of a key.
  ///
  /// - Parameters:
  ///   - seed: Chosen by the user for the whole run.
  ///   - purpose: What the numbers are for, such as "dropout".
  ///   - epoch: The pass over the data, from 0.
  ///   - step: The step in the epoch, from 0.
  ///   - id: What distinguishes streams of the same step: a layer, a sample, a replicate.
  public init(seed: Int, purpose: String, epoch: Int = 0, step: Int = 0, id: Int = 0) {
    var message: [UInt8] = []
    message.reserveCapacity(64 + purpose.utf8.count)
    message += "mmprobe.stream/v1".utf8
    for number in [seed, epoch, step, id] {
      let bits = UInt64(bitPattern: Int64(number))
      for shift in stride(from: UInt64(0), to: 64, by: 8) {
        message.append(UInt8(truncatingIfNeeded: bits >> shift))
      }
    }
    message += purpose.utf8
    var sha = SHA256()
    sha.update(message)
    let digest = sha.digestWords()
    func word(_ index: Int) -> UInt64 {
      (UInt64(digest[2 * index]) << 32 | UInt64(digest[2 * index + 1])).byteSwapped
    }
    self.init(state: (word(0), word(1), word(2), word(3)))
  }

  /// A generator in a given state, which must not be all zeros.
  init(state: (UInt64, UInt64, UInt64, UInt64)) {
    self.state = state
  }

  /// The next 64 random bits.
  public mutating func next() -> UInt64 {
    func rotate(_ word: UInt64, _ count: UInt64) -> UInt64 { word << count | word >> (64 - count) }
    let result = rotate(state.1 &* 5, 7) &* 9
    let shifted = state.1 << 17
    state.2 ^= state.0
    state.3 ^= state.1
    state.1 ^= state.2
    state.0 ^= state.3
    state.2 ^= shifted
    state.3 = rotate(state.3, 45)
    return result
  }

  /// A multiple of 2⁻⁵³ in 0..<1, all equally likely; takes one draw.
  public mutating func uniform() -> Double {
    Double(next() >> 11) * 0x1p-53
  }

  /// A multiple of 2⁻²⁴ in 0..<1, all equally likely; takes one draw.
  public mutating func uniformFloat() -> Float {
    Float(next() >> 40) * 0x1p-24
  }

  /// A whole number in `0..<bound`, all equally likely.
  ///
  /// The high word of a product with 64 random bits, drawn again in the few cases that would favour some numbers.
  ///
  /// Source: Lemire, "Fast Random Integer Generation in an Interval", ACM Transactions on Modeling and Computer
  /// Simulation 29(1), 2019, arXiv:1805.10941, algorithm 5.
  ///
  /// - Parameter bound: At least 1; anything else is a defect of the caller and traps.
  public mutating func integer(below bound: Int) -> Int {
    precondition(bound > 0, "no number is below \(bound)")
    let size = UInt64(bound)
    var product = next().multipliedFullWidth(by: size)
    if product.low < size {
      let threshold = (0 &- size) % size
      while product.low < threshold { product = next().multipliedFullWidth(by: size) }
    }
    return Int(product.high)
  }

  /// A number of the standard normal distribution; takes two draws.
  ///
  ///     √(−2 ln u) · cos(2π v),   u in (0, 1], v in [0, 1)
  ///
  /// Source: Box and Muller, "A Note on the Generation of Random Normal Deviates", Annals of Mathematical
  /// Statistics 29(2), 1958. The last bit depends on the system's logarithm and cosine.
  public mutating func normal() -> Double {
    let radius = (-2 * log(1 - uniform())).squareRoot()
    return radius * cos(2 * Double.pi * uniform())
  }

  /// Puts elements in a random order, all orders equally likely (Fisher and Yates, from the end).
  public mutating func shuffle<Element>(_ elements: inout [Element]) {
    for last in stride(from: elements.count - 1, to: 0, by: -1) {
      elements.swapAt(last, integer(below: last + 1))
    }
  }

  /// The numbers `0..<count` in a random order.
  public mutating func permutation(of count: Int) -> [Int] {
    var numbers = Array(0..<count)
    shuffle(&numbers)
    return numbers
  }
}
