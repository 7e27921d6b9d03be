public import Foundation

/// Why a JSON document was refused.
public enum JSONError: DescribedError {
  case syntax(offset: Int, expected: String)
  case duplicateKey(offset: Int, key: String)
  case tooDeep(offset: Int, limit: Int)
  case notUTF8(offset: Int)
  case numberOutOfRange(offset: Int, text: String)
  case trailingBytes(offset: Int)
  case tooManyValues(offset: Int, limit: Int)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case syntax = "json_syntax"
    case duplicateKey = "json_duplicate_key"
    case tooDeep = "json_too_deep"
    case notUTF8 = "json_not_utf8"
    case numberOutOfRange = "json_number_out_of_range"
    case trailingBytes = "json_trailing_bytes"
    case tooManyValues = "json_too_many_values"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .syntax: .syntax
    case .duplicateKey: .duplicateKey
    case .tooDeep: .tooDeep
    case .notUTF8: .notUTF8
    case .numberOutOfRange: .numberOutOfRange
    case .trailingBytes: .trailingBytes
    case .tooManyValues: .tooManyValues
    }
  }

  /// What, where, found and expected.
  public var errorDescription: String? {
    switch self {
    case .syntax(let offset, let expected): "not JSON at byte \(offset): expected \(expected)"
    case .duplicateKey(let offset, let key):
      "the key \(key.inQuotes) stands twice in one object, again at byte \(offset)"
    case .tooDeep(let offset, let limit): "nested deeper than \(limit) levels at byte \(offset)"
    case .notUTF8(let offset): "not UTF-8 at byte \(offset)"
    case .numberOutOfRange(let offset, let text):
      "the number \(text) at byte \(offset) does not fit a 64-bit value"
    case .trailingBytes(let offset): "the document ends, but bytes follow from byte \(offset)"
    case .tooManyValues(let offset, let limit): "more than \(limit) values, up to byte \(offset)"
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    "check that the file was written completely and is valid JSON"
  }
}

extension JSONValue {
  /// The most values in a document unless its reader says otherwise.
  ///
  /// Two bytes of a file become a value of up to two hundred: without a limit a file of 30 MB could fill gigabytes.
  public static let countLimit = 1 << 19

  /// Parses one document (RFC 8259), strictly: no duplicate keys, valid UTF-8, nothing after it.
  ///
  /// - Parameters:
  ///   - depthLimit: The deepest nesting accepted; the parser recurses, so it must be bounded.
  ///   - countLimit: The most values accepted, all levels together.
  /// - Throws: `JSONError`, with the byte offset.
  public init(
    parsing bytes: [UInt8], depthLimit: Int = 128, countLimit: Int = JSONValue.countLimit
  ) throws(JSONError) {
    var parser = JSONParser(bytes: bytes, depthLimit: depthLimit, countLimit: countLimit)
    self = try parser.document()
  }

  /// Parses one document held as `Data`.
  public init(parsing data: Data, depthLimit: Int = 128) throws(JSONError) {
    try self.init(parsing: [UInt8](data), depthLimit: depthLimit)
  }

  /// Parses one document held as text.
  public init(parsing text: String) throws(JSONError) {
    try self.init(parsing: [UInt8](text.utf8))
  }
}

/// A recursive-descent parser over bytes.
private struct JSONParser {
  let bytes: [UInt8]
  let depthLimit: Int
  let countLimit: Int
  var position = 0
  private var count = 0

  init(bytes: [UInt8], depthLimit: Int, countLimit: Int) {
    (self.bytes, self.depthLimit, self.countLimit) = (bytes, depthLimit, countLimit)
  }

  mutating func document() throws(JSONError) -> JSONValue {
    let value = try value(depth: 0)
    skipSpace()
    guard position == bytes.count else { throw .trailingBytes(offset: position) }
    return value
  }

  private var current: UInt8? { position < bytes.count ? bytes[position] : nil }

  private mutating func skipSpace() {
    while let byte = current, byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 { position += 1 }
  }

  private mutating func value(depth: Int) throws(JSONError) -> JSONValue {
    skipSpace()
    guard depth <= depthLimit else { throw .tooDeep(offset: position, limit: depthLimit) }
    count += 1
    guard count <= countLimit else { throw .tooManyValues(offset: position, limit: countLimit) }
    switch current {
    case UInt8(ascii: "{"): return try object(depth: depth)
    case UInt8(ascii: "["): return try array(depth: depth)
    case UInt8(ascii: "\""): return .string(try string())
    case UInt8(ascii: "t"): return try literal("true", .bool(true))
    case UInt8(ascii: "f"): return try literal("false", .bool(false))
    case UInt8(ascii: "n"): return try literal("null", .null)
    case .some(UInt8(ascii: "-")), .some(UInt8(ascii: "0")...UInt8(ascii: "9")): return try number()
    default: throw .syntax(offset: position, expected: "a value")
    }
  }

  private mutating func literal(_ text: StaticString, _ value: JSONValue) throws(JSONError) -> JSONValue {
    let expected = Array("\(text)".utf8)
    guard bytes.dropFirst(position).starts(with: expected) else {
      throw .syntax(offset: position, expected: "\(text)")
    }
    position += expected.count
    return value
  }

  private mutating func object(depth: Int) throws(JSONError) -> JSONValue {
    position += 1
    var object = JSONObject()
    skipSpace()
    if current == UInt8(ascii: "}") {
      position += 1
      return .object(object)
    }
    while true {
      skipSpace()
      let keyOffset = position
      guard current == UInt8(ascii: "\"") else {
        throw .syntax(offset: position, expected: "a key in quotes")
      }
      let key = try string()
      skipSpace()
      guard current == UInt8(ascii: ":") else { throw .syntax(offset: position, expected: "':'") }
      position += 1
      let value = try value(depth: depth + 1)
      guard object.add(key, value) else { throw .duplicateKey(offset: keyOffset, key: key) }
      skipSpace()
      switch current {
      case UInt8(ascii: ","): position += 1
      case UInt8(ascii: "}"):
        position += 1
        return .object(object)
      default: throw .syntax(offset: position, expected: "',' or '}'")
      }
    }
  }

  private mutating func array(depth: Int) throws(JSONError) -> JSONValue {
    position += 1
    var elements: [JSONValue] = []
    skipSpace()
    if current == UInt8(ascii: "]") {
      position += 1
      return .array(elements)
    }
    while true {
      elements.append(try value(depth: depth + 1))
      skipSpace()
      switch current {
      case UInt8(ascii: ","): position += 1
      case UInt8(ascii: "]"):
        position += 1
        return .array(elements)
      default: throw .syntax(offset: position, expected: "',' or ']'")
      }
    }
  }

  private mutating func string() throws(JSONError) -> String {
    let start = position
    position += 1
    var scalars: [UInt8] = []
    while true {
      guard let byte = current else { throw .syntax(offset: position, expected: "a closing quote") }
      switch byte {
      case UInt8(ascii: "\""):
        position += 1
        guard let text = String(validating: scalars, as: UTF8.self) else { throw .notUTF8(offset: start) }
        return text
      case UInt8(ascii: "\\"):
        position += 1
        try escape(into: &scalars)
      case 0..<0x20: throw .syntax(offset: position, expected: "no control character in a string")
      default:
        scalars.append(byte)
        position += 1
      }
    }
  }

  private mutating func escape(into scalars: inout [UInt8]) throws(JSONError) {
    guard let byte = current else { throw .syntax(offset: position, expected: "an escape") }
    position += 1
    switch byte {
    case UInt8(ascii: "\""), UInt8(ascii: "\\"), UInt8(ascii: "/"): scalars.append(byte)
    case UInt8(ascii: "b"): scalars.append(0x08)
    case UInt8(ascii: "f"): scalars.append(0x0C)
    case UInt8(ascii: "n"): scalars.append(0x0A)
    case UInt8(ascii: "r"): scalars.append(0x0D)
    case UInt8(ascii: "t"): scalars.append(0x09)
    case UInt8(ascii: "u"):
      let offset = position
      var code = UInt32(try hexadecimalUnit())
      if 0xD800..<0xDC00 ~= code {
        guard current == UInt8(ascii: "\\"), position + 1 < bytes.count,
          bytes[position + 1] == UInt8(ascii: "u")
        else { throw .syntax(offset: offset, expected: "the second half of a surrogate pair") }
        position += 2
        let low = UInt32(try hexadecimalUnit())
        guard 0xDC00..<0xE000 ~= low else {
          throw .syntax(offset: offset, expected: "the second half of a surrogate pair")
        }
        code = 0x10000 + (code - 0xD800) << 10 + (low - 0xDC00)
      }
      guard let scalar = Unicode.Scalar(code) else {
        throw .syntax(offset: offset, expected: "a Unicode scalar value")
      }
      scalars.append(contentsOf: String(Character(scalar)).utf8)
    default: throw .syntax(offset: position - 1, expected: "an escape of JSON")
    }
  }

  private mutating func hexadecimalUnit() throws(JSONError) -> UInt16 {
    var unit: UInt16 = 0
    for _ in 0..<4 {
      guard let byte = current, let digit = Character(Unicode.Scalar(byte)).hexDigitValue else {
        throw .syntax(offset: position, expected: "four hexadecimal digits")
      }
      unit = unit << 4 + UInt16(digit)
      position += 1
    }
    return unit
  }

  private mutating func number() throws(JSONError) -> JSONValue {
    let start = position
    var isInteger = true
    if current == UInt8(ascii: "-") { position += 1 }
    if current == UInt8(ascii: "0") {
      position += 1
    } else {
      try digits()
    }
    if current == UInt8(ascii: ".") {
      isInteger = false
      position += 1
      try digits()
    }
    if current == UInt8(ascii: "e") || current == UInt8(ascii: "E") {
      isInteger = false
      position += 1
      if current == UInt8(ascii: "+") || current == UInt8(ascii: "-") { position += 1 }
      try digits()
    }
    let text = String(decoding: bytes[start..<position], as: UTF8.self)
    if isInteger {
      if let integer = Int(text) { return .integer(integer) }
      if text.count > 400 { throw .numberOutOfRange(offset: start, text: String(text.prefix(40)) + "…") }
    }
    guard let number = Double(text), number.isFinite else {
      throw .numberOutOfRange(offset: start, text: String(text.prefix(40)))
    }
    return .number(number)
  }

  private mutating func digits() throws(JSONError) {
    guard let byte = current, UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte else {
      throw .syntax(offset: position, expected: "a digit")
    }
    while let byte = current, UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte { position += 1 }
  }
}
