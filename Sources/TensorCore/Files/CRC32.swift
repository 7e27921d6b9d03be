/// The checksum of zip archives: CRC-32 with the reflected polynomial 0xEDB88320.
enum CRC32 {
  private static let table: [UInt32] = (0..<256).map { byte in
    (0..<8).reduce(UInt32(byte)) { value, _ in value & 1 == 1 ? value >> 1 ^ 0xEDB8_8320 : value >> 1 }
  }

  /// The checksum of some stored bytes, read in pieces; `previous` is that of the bytes before them.
  static func checksum(of storage: StoredBytes, after previous: UInt32 = 0) -> UInt32 {
    let table = table
    var value = ~previous
    let pieceSize = 1 << 20
    for start in stride(from: 0, to: storage.count, by: pieceSize) {
      for byte in storage.bytes(start..<min(start + pieceSize, storage.count)) {
        value = value >> 8 ^ table[Int(UInt8(truncatingIfNeeded: value) ^ byte)]
      }
    }
    return ~value
  }
}
