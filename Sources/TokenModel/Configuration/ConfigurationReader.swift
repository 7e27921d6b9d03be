public import Foundation
public import RunKit

/// Typed access to the keys of a `config.json`: each one checked for its kind and range when it is read.
public struct ConfigurationReader: Sendable {
  /// The file, for messages.
  public let path: String
  /// The keys.
  public let object: JSONObject
  private let prefix: String

  /// Reads the document.
  ///
  /// - Parameter countLimit: The most values accepted, all levels together.
  /// - Throws: `ConfigurationError.malformed`, `.notAnObject`.
  public init(
    path: String, bytes: [UInt8], countLimit: Int = JSONValue.countLimit
  ) throws(ConfigurationError) {
    let value: JSONValue
    do {
      value = try JSONValue(parsing: bytes, countLimit: countLimit)
    } catch {
      throw .malformed(path: path, reason: error.localizedDescription)
    }
    guard let object = value.objectValue else { throw .notAnObject(path: path) }
    self.init(path: path, object: object, prefix: "")
  }

  /// Reads `config.json` of a folder.
  ///
  /// - Throws: `FileError`, `ConfigurationError.malformed`, `.notAnObject`.
  public init(folder: URL) throws {
    let path = folder.appendingPathComponent("config.json")
    try self.init(path: path.path, bytes: FileReader.bytes(of: path, limit: 16 << 20))
  }

  private init(path: String, object: JSONObject, prefix: String) {
    (self.path, self.object, self.prefix) = (path, object, prefix)
  }

  /// A value that is present and not null.
  private func value(_ key: String) -> JSONValue? {
    guard let value = object[key], !value.isNull else { return nil }
    return value
  }

  /// Whether the key has a value.
  public func has(_ key: String) -> Bool { value(key) != nil }

  /// A nested object, or nil.
  public func section(_ key: String) throws(ConfigurationError) -> ConfigurationReader? {
    guard let value = value(key) else { return nil }
    guard let object = value.objectValue else {
      throw .wrongKind(path: path, key: prefix + key, found: value.kind, expected: "an object")
    }
    return ConfigurationReader(path: path, object: object, prefix: prefix + key + ".")
  }

  /// A nested object that the file does not have, with these keys: the defaults of a class.
  public func defaults(_ key: String, _ object: JSONObject = JSONObject()) -> ConfigurationReader {
    ConfigurationReader(path: path, object: object, prefix: prefix + key + ".")
  }

  /// A nested object that must be there.
  public func requiredSection(_ key: String) throws(ConfigurationError) -> ConfigurationReader {
    guard let section = try section(key) else { throw .missingKey(path: path, key: prefix + key) }
    return section
  }

  /// The objects of a list; none when the key has no value.
  public func sections(_ key: String) throws(ConfigurationError) -> [ConfigurationReader] {
    guard let value = value(key) else { return [] }
    guard let values = value.arrayValue else {
      throw .wrongKind(path: path, key: prefix + key, found: value.kind, expected: "a list of objects")
    }
    var sections: [ConfigurationReader] = []
    for (index, value) in values.enumerated() {
      let name = "\(prefix)\(key)[\(index)]"
      guard let object = value.objectValue else {
        throw .wrongKind(path: path, key: name, found: value.kind, expected: "an object")
      }
      sections.append(ConfigurationReader(path: path, object: object, prefix: name + "."))
    }
    return sections
  }

  /// The name of a key with the sections it lies in, for messages.
  func name(of key: String) -> String { prefix + key }

  /// A whole number in `range`; `fallback` when the key has no value.
  public func integer(_ key: String, in range: ClosedRange<Int>, default fallback: Int? = nil)
    throws(ConfigurationError) -> Int
  {
    guard let value = value(key) else {
      guard let fallback else { throw .missingKey(path: path, key: prefix + key) }
      return fallback
    }
    guard value.doubleValue != nil else {
      throw .wrongKind(path: path, key: prefix + key, found: value.kind, expected: "a whole number")
    }
    guard let integer = value.intValue, range.contains(integer) else {
      throw .outOfRange(
        path: path, key: prefix + key, found: value.text(),
        expected: "a whole number from \(range.lowerBound) to \(range.upperBound)")
    }
    return integer
  }

  /// A number above `lowerBound`; `fallback` when the key has no value.
  public func number(_ key: String, above lowerBound: Double, default fallback: Double? = nil)
    throws(ConfigurationError) -> Double
  {
    guard let value = value(key) else {
      guard let fallback else { throw .missingKey(path: path, key: prefix + key) }
      return fallback
    }
    guard let number = value.doubleValue else {
      throw .wrongKind(path: path, key: prefix + key, found: value.kind, expected: "a number")
    }
    guard number > lowerBound, number < 1e30 else {
      throw .outOfRange(
        path: path, key: prefix + key, found: value.text(),
        expected: number > lowerBound ? "a number below 1e30" : "a number above \(lowerBound)")
    }
    return number
  }

  /// A number within a range; `fallback` when the key has no value.
  public func number(_ key: String, in range: ClosedRange<Double>, default fallback: Double? = nil)
    throws(ConfigurationError) -> Double
  {
    guard let value = value(key) else {
      guard let fallback else { throw .missingKey(path: path, key: prefix + key) }
      return fallback
    }
    guard let number = value.doubleValue else {
      throw .wrongKind(path: path, key: prefix + key, found: value.kind, expected: "a number")
    }
    guard range ~= number else {
      throw .outOfRange(
        path: path, key: prefix + key, found: value.text(),
        expected: "a number from \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  /// `count` numbers above `lowerBound`; one number stands for all of them.
  public func numbers(_ key: String, count: Int, above lowerBound: Double, default fallback: [Double])
    throws(ConfigurationError) -> [Double]
  {
    guard let value = value(key) else { return fallback }
    if value.doubleValue != nil {
      return [Double](repeating: try number(key, above: lowerBound), count: count)
    }
    guard let list = value.arrayValue, list.count == count else {
      throw .wrongKind(
        path: path, key: prefix + key,
        found: value.arrayValue.map { "a list of \($0.count)" } ?? value.kind,
        expected: "\(count) numbers")
    }
    var numbers: [Double] = []
    for element in list {
      guard let number = element.doubleValue else {
        throw .wrongKind(
          path: path, key: prefix + key, found: element.kind, expected: "\(count) numbers")
      }
      guard number > lowerBound, number < 1e30 else {
        throw .outOfRange(
          path: path, key: prefix + key, found: element.text(), expected: "numbers above \(lowerBound)")
      }
      numbers.append(number)
    }
    return numbers
  }

  /// A truth value; `fallback` when the key has no value.
  public func bool(_ key: String, default fallback: Bool) throws(ConfigurationError) -> Bool {
    guard let value = value(key) else { return fallback }
    guard let bool = value.boolValue else {
      throw .wrongKind(path: path, key: prefix + key, found: value.kind, expected: "true or false")
    }
    return bool
  }

  /// A text; `fallback` when the key has no value.
  public func string(_ key: String, default fallback: String? = nil) throws(ConfigurationError) -> String {
    guard let value = value(key) else {
      guard let fallback else { throw .missingKey(path: path, key: prefix + key) }
      return fallback
    }
    guard let string = value.stringValue else {
      throw .wrongKind(path: path, key: prefix + key, found: value.kind, expected: "a text")
    }
    return string
  }

  /// A list of token ids: a number, a list of numbers, or nothing; `fallback` where the key is missing (not where it is
  /// null).
  public func tokenIDs(_ key: String, below limit: Int, default fallback: [Int] = [])
    throws(ConfigurationError) -> [Int]
  {
    guard let value = value(key) else { return object[key] == nil ? fallback.filter { $0 < limit } : [] }
    let values = value.arrayValue ?? [value]
    var ids: [Int] = []
    for value in values {
      guard let id = value.intValue else {
        throw .wrongKind(
          path: path, key: prefix + key, found: value.kind, expected: "a token id or a list of them")
      }
      guard 0..<limit ~= id else {
        throw .outOfRange(path: path, key: prefix + key, found: "\(id)", expected: "an id below \(limit)")
      }
      ids.append(id)
    }
    return ids
  }

  /// A list of whole numbers in `range`, or nil when the key has no value.
  public func integers(_ key: String, in range: ClosedRange<Int>, limit: Int = 1 << 12)
    throws(ConfigurationError) -> [Int]?
  {
    guard let value = value(key) else { return nil }
    guard let list = value.arrayValue, list.count <= limit else {
      throw .wrongKind(
        path: path, key: prefix + key, found: value.kind, expected: "a list of at most \(limit) whole numbers"
      )
    }
    var integers: [Int] = []
    for element in list {
      guard let integer = element.intValue, range.contains(integer) else {
        throw .outOfRange(
          path: path, key: prefix + key, found: element.text(),
          expected: "whole numbers from \(range.lowerBound) to \(range.upperBound)")
      }
      integers.append(integer)
    }
    return integers
  }

  /// The error that refuses the value of a key.
  public func unsupported(_ key: String, found: String, supported: String) -> ConfigurationError {
    .unsupportedValue(path: path, key: prefix + key, found: found, supported: supported)
  }

  /// Refuses a setting that would change the numbers, unless it has one of the supported values.
  public func refuse(_ key: String, unless supported: [JSONValue]) throws(ConfigurationError) {
    guard let value = value(key), !supported.contains(value) else { return }
    throw .unsupportedValue(
      path: path, key: prefix + key, found: value.text(),
      supported: supported.isEmpty ? "not set" : supported.map { $0.text() }.joined(separator: ", "))
  }
}
