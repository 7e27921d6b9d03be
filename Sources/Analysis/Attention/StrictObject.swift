import RunKit

/// Reads a JSON object key by key and refuses what it does not know.
///
/// Each read names the key; `finish()` then refuses any key that was never asked for, so a misspelt or
/// newer option cannot pass unnoticed.
struct StrictObject {
  let place: RecordPlace
  /// The keys that lead here, such as "definition.ci", or empty at the top.
  private let path: String
  private let object: JSONObject
  private var used: Set<String> = []

  /// The members of `value`, which must be an object.
  init(_ value: JSONValue, at place: RecordPlace, path: String = "") throws(AttentionRecordError) {
    guard let object = value.objectValue else {
      throw .wrongType(
        place: place, key: path.isEmpty ? "(document)" : path, found: value.kind, expected: "an object")
    }
    self.place = place
    self.path = path
    self.object = object
  }

  /// The full name of a key, for messages.
  func name(_ key: String) -> String { path.isEmpty ? key : "\(path).\(key)" }

  /// The keys of the object, in order; all count as read.
  mutating func allKeys() -> [String] {
    used.formUnion(object.keys)
    return object.keys
  }

  /// The value of a key, which must be there.
  mutating func value(_ key: String) throws(AttentionRecordError) -> JSONValue {
    used.insert(key)
    guard let value = object[key] else { throw .missingKey(place: place, key: name(key)) }
    return value
  }

  /// The value of a key, or nil when it is `null`; the key itself must be there.
  mutating func valueOrNull(_ key: String) throws(AttentionRecordError) -> JSONValue? {
    let value = try value(key)
    return value.isNull ? nil : value
  }

  mutating func string(_ key: String) throws(AttentionRecordError) -> String {
    let value = try value(key)
    guard let string = value.stringValue else { throw wrongType(key, value, "a string") }
    return string
  }

  mutating func stringOrNull(_ key: String) throws(AttentionRecordError) -> String? {
    guard let value = try valueOrNull(key) else { return nil }
    guard let string = value.stringValue else { throw wrongType(key, value, "a string or null") }
    return string
  }

  /// The largest number of anything counted; sums of it over samples fit `Int`.
  static let countLimit = 1 << 40

  /// A whole number inside `range`.
  mutating func int(_ key: String, in range: ClosedRange<Int> = 0...countLimit) throws(AttentionRecordError)
    -> Int
  {
    let value = try value(key)
    guard let integer = value.intValue else { throw wrongType(key, value, "a whole number") }
    guard range.contains(integer) else {
      throw .wrongValue(
        place: place, key: name(key), found: String(integer),
        expected: "\(range.lowerBound) to \(range.upperBound)")
    }
    return integer
  }

  /// A finite number.
  mutating func double(_ key: String) throws(AttentionRecordError) -> Double {
    let value = try value(key)
    guard let double = value.doubleValue else { throw wrongType(key, value, "a number") }
    return double
  }

  mutating func array(_ key: String) throws(AttentionRecordError) -> [JSONValue] {
    let value = try value(key)
    guard let array = value.arrayValue else { throw wrongType(key, value, "an array") }
    return array
  }

  mutating func object(_ key: String) throws(AttentionRecordError) -> StrictObject {
    try StrictObject(value(key), at: place, path: name(key))
  }

  mutating func bool(_ key: String) throws(AttentionRecordError) -> Bool {
    let value = try value(key)
    guard let bool = value.boolValue else { throw wrongType(key, value, "a truth value") }
    return bool
  }

  /// The members of an object, or nil when the key is not there.
  mutating func objectIfPresent(_ key: String) throws(AttentionRecordError) -> StrictObject? {
    object[key] == nil ? nil : try self.object(key)
  }

  /// One of the words of an enum.
  mutating func choice<Choice: RawRepresentable<String> & CaseIterable>(
    _ key: String, of: Choice.Type
  ) throws(AttentionRecordError) -> Choice {
    let word = try string(key)
    guard let choice = Choice(rawValue: word) else {
      let words = Choice.allCases.map(\.rawValue).joined(separator: ", ")
      throw .wrongValue(place: place, key: name(key), found: "\"\(word)\"", expected: "one of \(words)")
    }
    return choice
  }

  /// `count` numbers as Float32; `null` is a number that is not finite, allowed where `allowsNull`.
  mutating func floats(
    _ key: String, count: Int? = nil, allowsNull: Bool = false
  ) throws(AttentionRecordError) -> [Float] {
    let elements = try array(key)
    if let count, elements.count != count {
      throw .wrongCount(place: place, key: name(key), found: elements.count, expected: count)
    }
    var floats: [Float] = []
    floats.reserveCapacity(elements.count)
    for element in elements {
      if let double = element.doubleValue {
        let float = Float(double)
        floats.append(float.isSubnormal ? 0 : float)
      } else if allowsNull, element.isNull {
        floats.append(.nan)
      } else {
        throw wrongType(key, element, "an array of numbers")
      }
    }
    return floats
  }

  mutating func strings(_ key: String, count: Int? = nil) throws(AttentionRecordError) -> [String] {
    let elements = try array(key)
    if let count, elements.count != count {
      throw .wrongCount(place: place, key: name(key), found: elements.count, expected: count)
    }
    var strings: [String] = []
    for element in elements {
      guard let string = element.stringValue else { throw wrongType(key, element, "an array of strings") }
      strings.append(string)
    }
    return strings
  }

  /// Whole numbers, each inside `range`.
  mutating func ints(
    _ key: String, count: Int? = nil, in range: Range<Int> = 0..<countLimit
  ) throws(AttentionRecordError) -> [Int] {
    let elements = try array(key)
    if let count, elements.count != count {
      throw .wrongCount(place: place, key: name(key), found: elements.count, expected: count)
    }
    var integers: [Int] = []
    for element in elements {
      guard let integer = element.intValue else { throw wrongType(key, element, "an array of whole numbers") }
      guard range.contains(integer) else {
        throw .wrongValue(
          place: place, key: name(key), found: String(integer),
          expected: "\(range.lowerBound) to \(range.upperBound - 1)")
      }
      integers.append(integer)
    }
    return integers
  }

  /// Refuses the first key that was never read.
  func finish() throws(AttentionRecordError) {
    if let key = object.keys.first(where: { !used.contains($0) }) {
      throw .unknownKey(place: place, key: name(key))
    }
  }

  /// The error for a value of the wrong kind.
  func wrongType(_ key: String, _ value: JSONValue, _ expected: String) -> AttentionRecordError {
    .wrongType(place: place, key: name(key), found: value.kind, expected: expected)
  }
}

extension JSONValue {
  /// A Float32 in its own shortest spelling: 0.1, not 0.10000000149011612; not finite is `null`.
  ///
  /// Subnormal numbers are written (and read) as 0: kernels switch them off on the threads they run on, so that
  /// keeping them would make a result depend on what ran before.
  init(float value: Float) {
    guard value.isFinite else {
      self = .null
      return
    }
    if value.isSubnormal {
      self = .number(0)
      return
    }
    // The short decimal read as Float64 gives back the same Float32, except where it lies on a rounding
    // boundary; then the exact value is written.
    let short = Double(value.description) ?? Double(value)
    self = .number(Float(short) == value ? short : Double(value))
  }

  /// Float32 values in order.
  init(floats values: [Float]) { self = .array(values.map { JSONValue(float: $0) }) }
}
