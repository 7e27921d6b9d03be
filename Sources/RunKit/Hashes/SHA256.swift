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
    let words = digestWords()
    return (0..<32).map { UInt8(truncatingIfNeeded: words[$0 / 4] >> UInt32(24 - 8 * ($0 % 4))) }
  }

  /// The hash as eight words, the first byte of each in its highest bits.
  func digestWords() -> SIMD8<UInt32> {
    var copy = self
    // Section 5.1.1: a one bit, zeros, and the number of bits fill the last block or two.
    var tail = pending
    tail.reserveCapacity(128)
    tail.append(0x80)
    while tail.count % 64 != 56 { tail.append(0) }
    let bitCount = byteCount &* 8
    for shift in stride(from: UInt64(56), through: 0, by: -8) {
      tail.append(UInt8(truncatingIfNeeded: bitCount >> shift))
    }
    for start in stride(from: 0, to: tail.count, by: 64) { copy.compress(tail, at: start) }
    return copy.hash
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
      // Below the size from which the allocator asks the system for every block.
      let block = try file.read(upTo: 1 << 16)
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

  /// Section 6.2.2: one block of 64 bytes. Names as in the standard.
  private mutating func compress(_ bytes: [UInt8], at start: Int) {
    let block = bytes.span.extracting(start..<start + 64)
    // On the stack: an array would be allocated for every block.
    var w = InlineArray<64, UInt32>(repeating: 0)
    for t in 0..<16 {
      let high = UInt32(block[4 * t]) << 24 | UInt32(block[4 * t + 1]) << 16
      w[t] = high | UInt32(block[4 * t + 2]) << 8 | UInt32(block[4 * t + 3])
    }
    for t in 16..<64 {
      let w15 = w[t - 15]
      let w2 = w[t - 2]
      let small0 = Self.rotate(w15, 7) ^ Self.rotate(w15, 18) ^ (w15 >> 3)
      let small1 = Self.rotate(w2, 17) ^ Self.rotate(w2, 19) ^ (w2 >> 10)
      w[t] = w[t - 16] &+ small0 &+ w[t - 7] &+ small1
    }
    let k = Self.constants.span
    var (a, b, c, d) = (hash[0], hash[1], hash[2], hash[3])
    var (e, f, g, h) = (hash[4], hash[5], hash[6], hash[7])
    // Eight rounds bring each variable back to its own name, so that none has to be moved.
    for t in stride(from: 0, to: 64, by: 8) {
      Self.round(a, b, c, &d, e, f, g, &h, k[t] &+ w[t])
      Self.round(h, a, b, &c, d, e, f, &g, k[t + 1] &+ w[t + 1])
      Self.round(g, h, a, &b, c, d, e, &f, k[t + 2] &+ w[t + 2])
      Self.round(f, g, h, &a, b, c, d, &e, k[t + 3] &+ w[t + 3])
      Self.round(e, f, g, &h, a, b, c, &d, k[t + 4] &+ w[t + 4])
      Self.round(d, e, f, &g, h, a, b, &c, k[t + 5] &+ w[t + 5])
      Self.round(c, d, e, &f, g, h, a, &b, k[t + 6] &+ w[t + 6])
      Self.round(b, c, d, &e, f, g, h, &a, k[t + 7] &+ w[t + 7])
    }
    hash = hash &+ SIMD8(a, b, c, d, e, f, g, h)
  }

  /// One round; what the standard moves from name to name, the caller passes rotated.
  @inline(__always)
  private static func round(
    _ a: UInt32, _ b: UInt32, _ c: UInt32, _ d: inout UInt32, _ e: UInt32, _ f: UInt32, _ g: UInt32,
    _ h: inout UInt32, _ word: UInt32
  ) {
    let t1 = h &+ (rotate(e, 6) ^ rotate(e, 11) ^ rotate(e, 25)) &+ ((e & f) ^ (~e & g)) &+ word
    d &+= t1
    h = t1 &+ (rotate(a, 2) ^ rotate(a, 13) ^ rotate(a, 22)) &+ ((a & b) ^ (a & c) ^ (b & c))
  }

  @inline(__always)
  private static func rotate(_ word: UInt32, _ count: UInt32) -> UInt32 {
    word &>> count | word &<< (32 &- count)
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
