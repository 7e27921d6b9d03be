import RunKit

/// The header of a NumPy array file.
///
///     6 bytes     0x93 "NUMPY"
///     2 bytes     version: 1.0, 2.0 or 3.0
///     2 or 4      length n of the text, little-endian (2 bytes in version 1.0)
///     n bytes     a Python dictionary: {'descr': '<f4', 'fortran_order': False, 'shape': (2, 3), }
///
/// Source: the description of the format in NumPy's `numpy.lib.format`.
struct NPYHeader {
  /// The longest text accepted; plain arrays need less than 2,000 bytes.
  static let textLimit = 65_535
  /// The most axes accepted, as in NumPy.
  static let rankLimit = 64
  private static let magic: [UInt8] = [0x93] + Array("NUMPY".utf8)

  let elementType: ElementType
  let isFortranOrder: Bool
  let shape: [Int]
  /// Bytes from the beginning of the array file to its data.
  let byteCount: Int

  /// Reads the header at the beginning of `storage`.
  init(of storage: StoredBytes, at place: NumPyFileError.Place) throws(NumPyFileError) {
    let prefix = storage.bytes(0..<min(storage.count, Self.textLimit + 12))
    var reader = ByteReader(prefix)
    guard reader.take(6) == Self.magic else { throw .notNPY(place) }
    guard let version = reader.take(2) else { throw .truncatedHeader(place, found: storage.count) }
    guard 1...3 ~= version[0], version[1] == 0 else {
      throw .unsupportedVersion(place, found: "\(version[0]).\(version[1])")
    }
    guard let length = reader.integer(version[0] == 1 ? 2 : 4) else {
      throw .truncatedHeader(place, found: storage.count)
    }
    guard length <= Self.textLimit else {
      throw .headerTooLong(place, found: length, limit: Self.textLimit)
    }
    let textStart = reader.offset
    guard let text = reader.take(length) else { throw .truncatedHeader(place, found: storage.count) }
    byteCount = reader.offset
    var parser = NPYHeaderText(bytes: text, start: textStart, place: place)
    let fields = try parser.fields()
    guard let type = fields.type else { throw .missingKey(place, key: "descr") }
    guard let isFortranOrder = fields.isFortranOrder else { throw .missingKey(place, key: "fortran_order") }
    guard let shape = fields.shape else { throw .missingKey(place, key: "shape") }
    self.elementType = try Self.elementType(type, at: place)
    self.isFortranOrder = isFortranOrder
    self.shape = shape
  }

  private static func elementType(
    _ name: String, at place: NumPyFileError.Place
  ) throws(NumPyFileError) -> ElementType {
    // Of single bytes the order does not matter, and writers differ in the mark.
    let normalized = name.hasSuffix("1") && name.hasPrefix("<") ? "|" + name.dropFirst() : name
    if let type = ElementType.allCases.first(where: { $0.numpyName == normalized }) { return type }
    let isKnown = ElementType.allCases.contains { $0.numpyName?.dropFirst() == name.dropFirst() }
    if name.hasPrefix(">") && isKnown { throw .bigEndian(place, found: name) }
    throw .unsupportedType(place, found: name)
  }

  /// The header that describes `tensor`, padded so that data begin at a multiple of 64 bytes.
  static func bytes(describing tensor: StoredTensor, path: String) throws(TensorWriteError) -> [UInt8] {
    guard let type = tensor.elementType.numpyName else {
      throw .noNumPyType(path: path, tensor: tensor.name, type: tensor.elementType)
    }
    let sizes = tensor.shape.map { "\($0)" }.joined(separator: ", ") + (tensor.shape.count == 1 ? "," : "")
    var text = [UInt8]("{'descr': '\(type)', 'fortran_order': False, 'shape': (\(sizes)), }".utf8)
    let padding = 63 - (10 + text.count) % 64
    text.append(contentsOf: repeatElement(UInt8(ascii: " "), count: padding))
    text.append(UInt8(ascii: "\n"))
    guard text.count <= textLimit, tensor.shape.count <= rankLimit else {
      throw .tooManyAxes(path: path, tensor: tensor.name, found: tensor.shape.count, limit: rankLimit)
    }
    var header = magic + [1, 0]
    header.append(text.count, bytes: 2)
    return header + text
  }
}

/// Parses the one form of Python dictionary that array headers have.
struct NPYHeaderText {
  /// What the dictionary said.
  struct Fields {
    var type: String?
    var isFortranOrder: Bool?
    var shape: [Int]?
  }

  let bytes: [UInt8]
  /// The offset of the text in the array file, for messages.
  let start: Int
  let place: NumPyFileError.Place
  private var position = 0

  init(bytes: [UInt8], start: Int, place: NumPyFileError.Place) {
    self.bytes = bytes
    self.start = start
    self.place = place
  }

  mutating func fields() throws(NumPyFileError) -> Fields {
    var fields = Fields()
    try expect("{")
    while !accept("}") {
      let key = try string()
      try expect(":")
      switch key {
      case "descr" where fields.type == nil: fields.type = try type()
      case "fortran_order" where fields.isFortranOrder == nil: fields.isFortranOrder = try bool()
      case "shape" where fields.shape == nil: fields.shape = try shape()
      default: throw failure("descr, fortran_order and shape, once each")
      }
      if !accept(",") {
        try expect("}")
        break
      }
    }
    skipSpace()
    guard position == bytes.count else { throw failure("nothing after the dictionary") }
    return fields
  }

  private func failure(_ expected: String) -> NumPyFileError {
    .badHeader(place, offset: start + position, expected: expected)
  }

  private mutating func skipSpace() {
    while position < bytes.count, [0x20, 0x09, 0x0A, 0x0D].contains(bytes[position]) { position += 1 }
  }

  private mutating func accept(_ text: String) -> Bool {
    skipSpace()
    guard bytes.dropFirst(position).starts(with: text.utf8) else { return false }
    position += text.utf8.count
    return true
  }

  private mutating func expect(_ text: String) throws(NumPyFileError) {
    guard accept(text) else { throw failure("\(text)") }
  }

  private mutating func string() throws(NumPyFileError) -> String {
    skipSpace()
    guard position < bytes.count, [UInt8(ascii: "'"), UInt8(ascii: "\"")].contains(bytes[position]) else {
      throw failure("a string")
    }
    let rest = bytes.dropFirst(position + 1)
    guard let end = rest.firstIndex(of: bytes[position]) else { throw failure("a closing quote") }
    position = end + 1
    return String(decoding: rest[..<end], as: UTF8.self)
  }

  private mutating func type() throws(NumPyFileError) -> String {
    // A list describes records; its text is not needed to refuse it.
    if accept("[") { throw .unsupportedType(place, found: "records") }
    return try string()
  }

  private mutating func bool() throws(NumPyFileError) -> Bool {
    if accept("True") { return true }
    if accept("False") { return false }
    throw failure("True or False")
  }

  private mutating func shape() throws(NumPyFileError) -> [Int] {
    var shape: [Int] = []
    try expect("(")
    while !accept(")") {
      let digits = bytes.dropFirst(position).prefix { UInt8(ascii: "0")...UInt8(ascii: "9") ~= $0 }
      guard let size = Int(String(decoding: digits, as: UTF8.self)) else { throw failure("a size") }
      guard shape.count < NPYHeader.rankLimit else { throw failure("at most \(NPYHeader.rankLimit) axes") }
      position += digits.count
      shape.append(size)
      if !accept(",") {
        // "(3)" is a number in Python, not a tuple.
        guard shape.count > 1 else { throw failure("a comma") }
        try expect(")")
        break
      }
      skipSpace()
    }
    return shape
  }
}
