public import Foundation

/// The 256-bit secure hash of a stream of bytes.
///
/// Source: National Institute of Standards and Technology, "Secure Hash Standard", FIPS 180-4, 2015, section 6.2.
public struct SHA256: Sendable {
  // The fractional parts of the square roots of the first eight primes.
  private var hash: SIMD8<UInt32> = [
    0x6a09_e667, 0xbb67_ae85, 0x3c6e_f372, 0xa54f_f53a, 0x510e_527f, 0x9b05_688c, 0x1f83_d9ab, 0x5be0_cd19,
  ]
  private var pending: [UInt8] = []
  private var byteCount: UInt64 = 0

  /// The hash of nothing so far.
  public init() {}

  /// Adds bytes.
  public mutating func update(_ bytes: [UInt8]) {
    byteCount &+= UInt64(bytes.count)
    var start = 0
    if !pending.isEmpty {
      start = min(64 - pending.count, bytes.count)
      pending += bytes[..<start]
      if pending.count < 64 { return }
      compress(pending, at: 0)
      pending.removeAll(keepingCapacity: true)
    }
    while bytes.count - start >= 64 {
      compress(bytes, at: start)
      start += 64
    }
    pending += bytes[start...]
  }

  /// The 32 bytes of the hash; nothing is added to the stream.
  public func digest() -> [UInt8] {
    var copy = self
    let zeros = (119 - Int(byteCount % 64)) % 64
    var padding: [UInt8] = [0x80] + [UInt8](repeating: 0, count: zeros)
    padding += Self.bigEndian(byteCount &* 8)
    copy.update(padding)
    return (0..<8).flatMap { Self.bigEndian(copy.hash[$0]) }
  }

  /// The hash of these bytes, as 64 lowercase hexadecimal digits.
  public static func hexadecimal(of bytes: [UInt8]) -> String {
    var sha = SHA256()
    sha.update(bytes)
    return sha.hexadecimal()
  }

  /// The hash of a file, read in blocks, as 64 lowercase hexadecimal digits.
  ///
  /// - Throws: `FileError`.
  public static func hexadecimal(ofFile url: URL) throws(FileError) -> String {
    let file = try OpenFile(url.path, for: .reading)
    var sha = SHA256()
    while true {
      let block = try file.read(upTo: 1 << 20)
      if block.isEmpty { return sha.hexadecimal() }
      sha.update(block)
    }
  }

  /// The hash as 64 lowercase hexadecimal digits.
  public func hexadecimal() -> String {
    let digits = Array("0123456789abcdef".unicodeScalars)
    var text = ""
    for byte in digest() {
      text.unicodeScalars.append(digits[Int(byte >> 4)])
      text.unicodeScalars.append(digits[Int(byte & 15)])
    }
    return text
  }

  private static func bigEndian<Word: FixedWidthInteger>(_ word: Word) -> [UInt8] {
    stride(from: Word.bitWidth - 8, through: 0, by: -8).map { UInt8(truncatingIfNeeded: word >> Word($0)) }
  }

  /// Section 6.2.2: one block of 64 bytes. Names as in the standard.
  private mutating func compress(_ bytes: [UInt8], at start: Int) {
    // Sixteen words of the schedule are enough at any time; a vector lives in registers, an array on the heap.
    var w = SIMD16<UInt32>()
    for t in 0..<16 {
      let i = start + 4 * t
      let high = UInt32(bytes[i]) << 24 | UInt32(bytes[i + 1]) << 16
      w[t] = high | UInt32(bytes[i + 2]) << 8 | UInt32(bytes[i + 3])
    }
    var (a, b, c, d) = (hash[0], hash[1], hash[2], hash[3])
    var (e, f, g, h) = (hash[4], hash[5], hash[6], hash[7])
    for t in 0..<64 {
      if t >= 16 {
        let w15 = w[(t - 15) & 15]
        let w2 = w[(t - 2) & 15]
        let small0 = Self.rotate(w15, 7) ^ Self.rotate(w15, 18) ^ (w15 >> 3)
        let small1 = Self.rotate(w2, 17) ^ Self.rotate(w2, 19) ^ (w2 >> 10)
        w[t & 15] = w[t & 15] &+ small0 &+ w[(t - 7) & 15] &+ small1
      }
      let big1 = Self.rotate(e, 6) ^ Self.rotate(e, 11) ^ Self.rotate(e, 25)
      let choice = (e & f) ^ (~e & g)
      let t1 = h &+ big1 &+ choice &+ Self.constants[t] &+ w[t & 15]
      let big0 = Self.rotate(a, 2) ^ Self.rotate(a, 13) ^ Self.rotate(a, 22)
      let majority = (a & b) ^ (a & c) ^ (b & c)
      (h, g, f, e, d, c, b, a) = (g, f, e, d &+ t1, c, b, a, t1 &+ big0 &+ majority)
    }
    hash = hash &+ SIMD8(a, b, c, d, e, f, g, h)
  }

  private static func rotate(_ word: UInt32, _ count: UInt32) -> UInt32 {
    word >> count | word << (32 - count)
  }

  // The fractional parts of the cube roots of the first sixty-four primes.
  private static let constants: [UInt32] = [
    0x428a_2f98, 0x7137_4491, 0xb5c0_fbcf, 0xe9b5_dba5, 0x3956_c25b, 0x59f1_11f1, 0x923f_82a4, 0xab1c_5ed5,
    0xd807_aa98, 0x1283_5b01, 0x2431_85be, 0x550c_7dc3, 0x72be_5d74, 0x80de_b1fe, 0x9bdc_06a7, 0xc19b_f174,
    0xe49b_69c1, 0xefbe_4786, 0x0fc1_9dc6, 0x240c_a1cc, 0x2de9_2c6f, 0x4a74_84aa, 0x5cb0_a9dc, 0x76f9_88da,
    0x983e_5152, 0xa831_c66d, 0xb003_27c8, 0xbf59_7fc7, 0xc6e0_0bf3, 0xd5a7_9147, 0x06ca_6351, 0x1429_2967,
    0x27b7_0a85, 0x2e1b_2138, 0x4d2c_6dfc, 0x5338_0d13, 0x650a_7354, 0x766a_0abb, 0x81c2_c92e, 0x9272_2c85,
    0xa2bf_e8a1, 0xa81a_664b, 0xc24b_8b70, 0xc76c_51a3, 0xd192_e819, 0xd699_0624, 0xf40e_3585, 0x106a_a070,
    0x19a4_c116, 0x1e37_6c08, 0x2748_774c, 0x34b0_bcb5, 0x391c_0cb3, 0x4ed8_aa4a, 0x5b9c_ca4f, 0x682e_6ff3,
    0x748f_82ee, 0x78a5_636f, 0x84c8_7814, 0x8cc7_0208, 0x90be_fffa, 0xa450_6ceb, 0xbef9_a3f7, 0xc671_78f2,
  ]
}
