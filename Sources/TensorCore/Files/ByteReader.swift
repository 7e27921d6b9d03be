/// Reads little-endian fields from bytes of a file, from front to back, never past the end.
struct ByteReader {
  private let bytes: [UInt8]
  /// The offset of the next byte.
  private(set) var offset = 0

  init(_ bytes: [UInt8]) { self.bytes = bytes }

  /// How many bytes are left.
  var remaining: Int { bytes.count - offset }

  /// The next `count` bytes, or nil when fewer are left.
  mutating func take(_ count: Int) -> [UInt8]? {
    guard count >= 0, count <= remaining else { return nil }
    defer { offset += count }
    return [UInt8](bytes[offset..<offset + count])
  }

  /// The next unsigned number of `count` bytes, at most 8; nil when too few bytes are left or it exceeds `Int`.
  mutating func integer(_ count: Int) -> Int? {
    guard let field = take(count) else { return nil }
    return Int(exactly: field.reversed().reduce(UInt64(0)) { $0 << 8 | UInt64($1) })
  }
}

extension [UInt8] {
  /// Appends `value` as a little-endian number of `count` bytes.
  mutating func append(_ value: Int, bytes count: Int) {
    for index in 0..<count { append(UInt8(truncatingIfNeeded: value >> (8 * index))) }
  }
}
