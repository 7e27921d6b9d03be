/// The 32-bit cyclic redundancy check of zip archives.
///
/// Source: PKWARE, ".ZIP File Format Specification", section 4.4.7; polynomial 0xEDB88320, bits reversed.
public struct CRC32: Sendable {
  private var register: UInt32 = 0xFFFF_FFFF

  /// The check of nothing so far.
  public init() {}

  /// The check of all bytes so far.
  public var value: UInt32 { ~register }

  /// Adds bytes.
  public mutating func update(_ bytes: some Sequence<UInt8>) {
    var register = register
    let table = Self.table
    for byte in bytes {
      register = table[Int((register ^ UInt32(byte)) & 0xFF)] ^ (register >> 8)
    }
    self.register = register
  }

  /// Adds bytes held elsewhere.
  public mutating func update(_ bytes: Span<UInt8>) {
    var register = register
    let table = Self.table
    for offset in bytes.indices {
      register = table[Int((register ^ UInt32(bytes[offset])) & 0xFF)] ^ (register >> 8)
    }
    self.register = register
  }

  /// The check of these bytes.
  public static func of(_ bytes: [UInt8]) -> UInt32 {
    var check = CRC32()
    check.update(bytes)
    return check.value
  }

  private static let table: [UInt32] = (0..<256).map { index in
    var value = UInt32(index)
    for _ in 0..<8 { value = value & 1 == 1 ? 0xEDB8_8320 ^ (value >> 1) : value >> 1 }
    return value
  }
}
