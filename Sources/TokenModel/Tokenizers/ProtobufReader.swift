/// Walks the fields of one Protocol Buffers message, strictly and without copying.
///
/// The SentencePiece library parses models itself, but takes their contents on trust. This reader lets us look at
/// a file first.
///
/// Source: "Encoding", Protocol Buffers documentation, protobuf.dev.
struct ProtobufReader {
  /// The value of a field by how it is stored.
  enum Value: Equatable {
    case varint(UInt64)
    case fixed64
    case bytes(Range<Int>)
    case fixed32(UInt32)
  }

  /// One field: its number, value, and the place of both in the file.
  struct Field {
    let number: Int
    let value: Value
    let range: Range<Int>
  }

  private let bytes: [UInt8]
  private let end: Int
  private(set) var offset: Int

  /// - Parameter range: The place of the message, within `bytes`.
  init(_ bytes: [UInt8], _ range: Range<Int>) {
    (self.bytes, self.offset, self.end) = (bytes, range.lowerBound, range.upperBound)
  }

  /// A field that is not as the format or the schema asks, where, and what was expected there.
  struct Malformed: Error {
    let offset: Int
    let expected: String
  }

  /// The next field, or nil at the end of the message.
  mutating func next() throws(Malformed) -> Field? {
    guard offset < end else { return nil }
    let start = offset
    let tag = try varint()
    guard tag >> 3 > 0, tag < 1 << 32 else { throw Malformed(offset: start, expected: "a field number") }
    let value: Value
    switch tag & 7 {
    case 0: value = .varint(try varint())
    case 1:
      _ = try take(8)
      value = .fixed64
    case 2:
      let lengthOffset = offset
      guard let length = Int(exactly: try varint()), length <= end - offset else {
        throw Malformed(offset: lengthOffset, expected: "a length within the message")
      }
      value = .bytes(try take(length))
    case 5:
      let range = try take(4)
      value = .fixed32(bytes[range].reversed().reduce(0) { $0 << 8 | UInt32($1) })
    default: throw Malformed(offset: start, expected: "a wire type of 0, 1, 2 or 5")
    }
    return Field(number: Int(tag >> 3), value: value, range: start..<offset)
  }

  private mutating func take(_ count: Int) throws(Malformed) -> Range<Int> {
    guard count <= end - offset else { throw Malformed(offset: offset, expected: "\(count) more bytes") }
    defer { offset += count }
    return offset..<offset + count
  }

  /// Seven bits a byte, the lowest first; the highest bit says that more follow.
  private mutating func varint() throws(Malformed) -> UInt64 {
    let start = offset
    var value: UInt64 = 0
    for shift in stride(from: 0, to: 64, by: 7) {
      guard offset < end else { break }
      let byte = bytes[offset]
      offset += 1
      value |= UInt64(byte & 0x7F) << shift
      if byte < 0x80 { return value }
    }
    throw Malformed(offset: start, expected: "a number of at most 10 bytes")
  }
}

extension ProtobufReader.Field {
  /// The truth value of a `bool` field.
  func bool() throws(ProtobufReader.Malformed) -> Bool {
    guard case .varint(let value) = value else { throw malformed("a truth value") }
    return value != 0
  }

  /// The number of an `enum` or unsigned field.
  func integer() throws(ProtobufReader.Malformed) -> Int {
    guard case .varint(let value) = value, let integer = Int(exactly: value) else {
      throw malformed("a number")
    }
    return integer
  }

  /// The value of a `float` field, finite.
  func float() throws(ProtobufReader.Malformed) -> Float {
    guard case .fixed32(let bits) = value, Float(bitPattern: bits).isFinite else {
      throw malformed("a finite 32-bit float")
    }
    return Float(bitPattern: bits)
  }

  /// The place of the bytes of a `bytes`, `string` or message field.
  func contents() throws(ProtobufReader.Malformed) -> Range<Int> {
    guard case .bytes(let range) = value else { throw malformed("a field with a length") }
    return range
  }

  private func malformed(_ expected: String) -> ProtobufReader.Malformed {
    ProtobufReader.Malformed(offset: range.lowerBound, expected: expected)
  }
}
