/// A 32-bit cyclic redundancy check: that of zip archives unless another polynomial is asked for.
///
/// Source: PKWARE, ".ZIP File Format Specification", section 4.4.7.
public struct CRC32: Sendable {
  /// Which polynomial bytes are divided by.
  public enum Polynomial: Sendable {
    /// 0xEDB88320, bits reversed: zip and many others.
    case zip
    /// 0x82F63B78, bits reversed: CRC-32C of iSCSI (RFC 3720) and of TensorFlow's record files.
    case castagnoli
  }

  private var register: UInt32 = 0xFFFF_FFFF
  private let table: [UInt32]

  /// The check of nothing so far.
  public init(_ polynomial: Polynomial = .zip) {
    table = polynomial == .zip ? Self.zipTable : Self.castagnoliTable
  }

  /// The check of all bytes so far.
  public var value: UInt32 { ~register }

  /// Adds bytes.
  public mutating func update(_ bytes: some Sequence<UInt8>) {
    var register = register
    let table = self.table
    for byte in bytes {
      register = table[Int((register ^ UInt32(byte)) & 0xFF)] ^ (register >> 8)
    }
    self.register = register
  }

  /// Adds bytes held elsewhere.
  public mutating func update(_ bytes: Span<UInt8>) {
    var register = register
    let table = self.table
    for offset in bytes.indices {
      register = table[Int((register ^ UInt32(bytes[offset])) & 0xFF)] ^ (register >> 8)
    }
    self.register = register
  }

  /// The check of these bytes.
  public static func of(_ bytes: [UInt8], _ polynomial: Polynomial = .zip) -> UInt32 {
    var check = CRC32(polynomial)
    check.update(bytes)
    return check.value
  }

  private static let zipTable = table(0xEDB8_8320)
  private static let castagnoliTable = table(0x82F6_3B78)

  private static func table(_ polynomial: UInt32) -> [UInt32] {
    (0..<256).map { index in
      var value = UInt32(index)
      for _ in 0..<8 { value = value & 1 == 1 ? polynomial ^ (value >> 1) : value >> 1 }
      return value
    }
  }
}
