public import Foundation

/// Reads a typed experiment, an object of options that people write: every key is checked for kind and range, every
/// default is noted, and a key that nobody asked for is refused with the nearest one that is known.
public final class ExperimentReader {
  /// The file, for messages.
  public let path: String
  private let prefix: String
  private let object: JSONObject
  private var known: [String] = []
  private var sections: [(key: String, reader: ExperimentReader)] = []
  private var values = JSONObject()

  /// Reads the document.
  ///
  /// - Throws: `ExperimentError.malformed`, `.wrongKind`.
  public convenience init(path: String, bytes: [UInt8]) throws(ExperimentError) {
    let value: JSONValue
    do {
      value = try JSONValue(parsing: bytes)
    } catch {
      throw .malformed(path: path, reason: error.localizedDescription)
    }
    guard let object = value.objectValue else {
      throw .wrongKind(path: path, key: "the document", found: value.kind, expected: "an object")
    }
    self.init(path: path, object: object, prefix: "")
  }

  private init(path: String, object: JSONObject, prefix: String) {
    (self.path, self.object, self.prefix) = (path, object, prefix)
  }

  /// Everything that was read, with defaults where keys were missing, in the order of reading.
  public var effective: JSONObject {
    var all = values
    for (key, reader) in sections { all[key] = .object(reader.effective) }
    return all
  }

  /// The value of a key that is present and not null.
  private func value(_ key: String) -> JSONValue? {
    if !known.contains(key) { known.append(key) }
    guard let value = object[key], !value.isNull else { return nil }
    return value
  }

  /// The full name of a key, for messages.
  public func name(_ key: String) -> String { prefix + key }

  /// Whether a key has a value; it counts as known then.
  public func has(_ key: String) -> Bool { value(key) != nil }

  private func wrongKind(_ key: String, _ value: JSONValue, _ expected: String) -> ExperimentError {
    .wrongKind(path: path, key: name(key), found: value.kind, expected: expected)
  }

  /// The error for a value that is not possible.
  public func impossible(_ key: String, found: String, expected: String) -> ExperimentError {
    .outOfRange(path: path, key: name(key), found: found, expected: expected)
  }

  /// A whole number in `range`; nil without a value.
  public func optionalInteger(_ key: String, in range: ClosedRange<Int>) throws(ExperimentError) -> Int? {
    guard let value = value(key) else {
      values[key] = .null
      return nil
    }
    guard value.doubleValue != nil else { throw wrongKind(key, value, "a whole number") }
    guard let integer = value.intValue, range.contains(integer) else {
      throw impossible(
        key, found: value.text(), expected: "a whole number from \(range.lowerBound) to \(range.upperBound)")
    }
    values[key] = .integer(integer)
    return integer
  }

  /// A whole number in `range`; `fallback` without a value.
  public func integer(_ key: String, in range: ClosedRange<Int>, default fallback: Int? = nil)
    throws(ExperimentError) -> Int
  {
    if let integer = try optionalInteger(key, in: range) { return integer }
    guard let fallback else { throw .missingKey(path: path, key: name(key)) }
    values[key] = .integer(fallback)
    return fallback
  }

  /// A number in `range`; nil without a value.
  public func optionalNumber(_ key: String, in range: ClosedRange<Double>) throws(ExperimentError) -> Double?
  {
    guard let value = value(key) else {
      values[key] = .null
      return nil
    }
    guard let number = value.doubleValue else { throw wrongKind(key, value, "a number") }
    guard range.contains(number) else {
      throw impossible(
        key, found: value.text(), expected: "a number from \(range.lowerBound) to \(range.upperBound)")
    }
    values[key] = .number(number)
    return number
  }

  /// A number in `range`; `fallback` without a value.
  public func number(_ key: String, in range: ClosedRange<Double>, default fallback: Double? = nil)
    throws(ExperimentError) -> Double
  {
    if let number = try optionalNumber(key, in: range) { return number }
    guard let fallback else { throw .missingKey(path: path, key: name(key)) }
    values[key] = .number(fallback)
    return fallback
  }

  /// A truth value; `fallback` without a value.
  public func bool(_ key: String, default fallback: Bool) throws(ExperimentError) -> Bool {
    let value = value(key) ?? .bool(fallback)
    guard let bool = value.boolValue else { throw wrongKind(key, value, "true or false") }
    values[key] = value
    return bool
  }

  /// A text; `fallback` without a value.
  public func string(_ key: String, default fallback: String? = nil) throws(ExperimentError) -> String {
    guard let value = value(key) ?? fallback.map(JSONValue.string) else {
      throw .missingKey(path: path, key: name(key))
    }
    guard let string = value.stringValue else { throw wrongKind(key, value, "a text") }
    values[key] = value
    return string
  }

  /// One of the words of an enum; `fallback` without a value.
  public func choice<Choice: RawRepresentable<String> & CaseIterable>(
    _ key: String, default fallback: Choice
  ) throws(ExperimentError) -> Choice {
    let word = try string(key, default: fallback.rawValue)
    guard let choice = Choice(rawValue: word) else {
      let words = Choice.allCases.map(\.rawValue)
      throw impossible(
        key, found: word.inQuotes,
        expected: "one of \(words.joined(separator: ", ")).\(NameSuggestion.question(for: word, in: words))")
    }
    return choice
  }

  /// A list of texts; none without a value.
  public func strings(_ key: String) throws(ExperimentError) -> [String] {
    let value = value(key) ?? .array([])
    guard let elements = value.arrayValue else { throw wrongKind(key, value, "an array of texts") }
    var strings: [String] = []
    for element in elements {
      guard let string = element.stringValue else { throw wrongKind(key, element, "an array of texts") }
      strings.append(string)
    }
    values[key] = value
    return strings
  }

  /// A list of numbers in `range`, or one of some words; nil without a value.
  public func optionalNumbers(
    _ key: String, in range: ClosedRange<Double>, orOneOf words: [String]
  ) throws(ExperimentError) -> (numbers: [Double], word: String?)? {
    guard let value = value(key) else {
      values[key] = .null
      return nil
    }
    values[key] = value
    let choices = words.map(\.inQuotes).joined(separator: ", ")
    if let word = value.stringValue {
      guard words.contains(word) else {
        throw impossible(key, found: word.inQuotes, expected: "\(choices), or an array of numbers")
      }
      return ([], word)
    }
    guard let elements = value.arrayValue else {
      throw wrongKind(key, value, "\(choices), or an array of numbers")
    }
    var numbers: [Double] = []
    for element in elements {
      guard let number = element.doubleValue else { throw wrongKind(key, element, "an array of numbers") }
      guard range.contains(number) else {
        throw impossible(
          key, found: element.text(), expected: "numbers from \(range.lowerBound) to \(range.upperBound)")
      }
      numbers.append(number)
    }
    return (numbers, nil)
  }

  /// A nested object; one without keys where there is none.
  public func section(_ key: String) throws(ExperimentError) -> ExperimentReader {
    let value = value(key) ?? .object(JSONObject())
    guard let object = value.objectValue else { throw wrongKind(key, value, "an object") }
    let reader = ExperimentReader(path: path, object: object, prefix: prefix + key + ".")
    values[key] = .object(JSONObject())
    sections.append((key, reader))
    return reader
  }

  /// A nested object, for which a text can stand; one without keys where there is no value.
  ///
  /// - Parameter expand: Gives the object that a text stands for.
  public func section(
    _ key: String, text expand: (String) -> JSONObject
  ) throws(ExperimentError) -> ExperimentReader {
    guard let text = value(key)?.stringValue else { return try section(key) }
    let reader = ExperimentReader(path: path, object: expand(text), prefix: prefix + key + ".")
    values[key] = .object(JSONObject())
    sections.append((key, reader))
    return reader
  }

  /// The place of a file or folder, kept as an absolute path; nil without a value.
  ///
  /// - Parameter base: What a relative path begins at.
  public func place(_ key: String, relativeTo base: URL) throws(ExperimentError) -> URL? {
    guard has(key) else {
      values[key] = .null
      return nil
    }
    let url = URL(fileURLWithPath: try string(key), relativeTo: base).standardizedFileURL
    values[key] = .string(url.path)
    return url
  }

  /// A list of objects, each read by `body`; none without a value.
  public func list<Element>(
    _ key: String, _ body: (ExperimentReader) throws -> Element
  ) throws -> [Element] {
    let value = value(key) ?? .array([])
    guard let elements = value.arrayValue else { throw wrongKind(key, value, "an array of objects") }
    var (results, effective) = ([Element](), [JSONValue]())
    for (index, element) in elements.enumerated() {
      guard let object = element.objectValue else { throw wrongKind(key, element, "an array of objects") }
      let reader = ExperimentReader(path: path, object: object, prefix: "\(prefix)\(key)[\(index)].")
      results.append(try body(reader))
      try reader.finish()
      effective.append(.object(reader.effective))
    }
    values[key] = .array(effective)
    return results
  }

  /// All keys, where the user chooses them; they count as known.
  public func allKeys() -> [String] {
    for key in object.keys where !known.contains(key) { known.append(key) }
    return object.keys
  }

  /// Refuses the first key that was never asked for, here or in a section.
  ///
  /// - Throws: `ExperimentError.unknownKey`.
  public func finish() throws(ExperimentError) {
    if let key = object.keys.first(where: { !known.contains($0) }) {
      throw .unknownKey(
        path: path, key: name(key), nearest: NameSuggestion.nearest(to: key, in: known), known: known)
    }
    for (_, reader) in sections { try reader.finish() }
  }
}

/// Why an experiment cannot be run as it is written.
public enum ExperimentError: DescribedError {
  case malformed(path: String, reason: String)
  case missingKey(path: String, key: String)
  case wrongKind(path: String, key: String, found: String, expected: String)
  case outOfRange(path: String, key: String, found: String, expected: String)
  case unknownKey(path: String, key: String, nearest: String?, known: [String])

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case malformed = "experiment_malformed"
    case missingKey = "experiment_missing_key"
    case wrongKind = "experiment_wrong_kind"
    case outOfRange = "experiment_out_of_range"
    case unknownKey = "experiment_unknown_key"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .malformed: .malformed
    case .missingKey: .missingKey
    case .wrongKind: .wrongKind
    case .outOfRange: .outOfRange
    case .unknownKey: .unknownKey
    }
  }

  /// The file concerned.
  public var path: String? {
    switch self {
    case .malformed(let path, _), .missingKey(let path, _), .wrongKind(let path, _, _, _),
      .outOfRange(let path, _, _, _), .unknownKey(let path, _, _, _):
      path
    }
  }

  /// What, where, found and expected.
  public var errorDescription: String? {
    switch self {
    case .malformed(let path, let reason): "\(path): \(reason)"
    case .missingKey(let path, let key): "\(path): the key \(key.inQuotes) is missing"
    case .wrongKind(let path, let key, let found, let expected):
      "\(path): \(key.inQuotes) is \(found.shown()), expected \(expected)"
    case .outOfRange(let path, let key, let found, let expected):
      "\(path): \(key.inQuotes) is \(found.shown()), expected \(expected)"
    case .unknownKey(let path, let key, let nearest, _):
      "\(path): found the unknown key \(key.inQuotes)."
        + (nearest.map { " Did you mean \($0.inQuotes)?" } ?? "")
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    switch self {
    case .malformed: "write one JSON object"
    case .missingKey: "add the key"
    case .wrongKind, .outOfRange: "change the value"
    case .unknownKey(_, _, _, let known): "known here: \(known.joined(separator: ", "))"
    }
  }
}
