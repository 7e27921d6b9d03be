/// A JSON document as a value, with the order of object keys kept.
///
/// Foundation's parser accepts a key that stands twice and its writer orders keys as it likes. Headers of
/// weight files must refuse the first, and results must be the same bytes each time, so both are done here.
public enum JSONValue: Equatable, Sendable {
  case null
  case bool(Bool)
  /// A number without fraction or exponent that fits 64 bits.
  case integer(Int)
  case number(Double)
  case string(String)
  case array([JSONValue])
  case object(JSONObject)

  /// A number that is written as `null` when it is unknown or not finite.
  public init(_ value: Double?) {
    if let value, value.isFinite { self = .number(value) } else { self = .null }
  }

  /// The members, if this is an object.
  public var objectValue: JSONObject? {
    if case .object(let object) = self { object } else { nil }
  }
  /// The elements, if this is an array.
  public var arrayValue: [JSONValue]? {
    if case .array(let array) = self { array } else { nil }
  }
  /// The text, if this is a string.
  public var stringValue: String? {
    if case .string(let string) = self { string } else { nil }
  }
  /// The truth value, if this is one.
  public var boolValue: Bool? {
    if case .bool(let bool) = self { bool } else { nil }
  }
  /// The number, if this is a whole number that fits 64 bits; `2.0` and `2e3` count.
  public var intValue: Int? {
    switch self {
    case .integer(let integer): integer
    case .number(let number): Int(exactly: number)
    default: nil
    }
  }
  /// The number, if this is one.
  public var doubleValue: Double? {
    switch self {
    case .integer(let integer): Double(integer)
    case .number(let number): number
    default: nil
    }
  }
  /// Whether this is `null`.
  public var isNull: Bool { self == .null }

  /// The member of an object, or nil.
  public subscript(key: String) -> JSONValue? { objectValue?[key] }

  /// What kind of value this is, for messages.
  public var kind: String {
    switch self {
    case .null: "null"
    case .bool: "a truth value"
    case .integer, .number: "a number"
    case .string: "a string"
    case .array: "an array"
    case .object: "an object"
    }
  }
}

// There is no literal for null: `nil` would then mean the JSON null in `isMissing ? nil : value`, where the absence
// of a value is meant.
extension JSONValue: ExpressibleByStringLiteral, ExpressibleByIntegerLiteral, ExpressibleByBooleanLiteral,
  ExpressibleByFloatLiteral, ExpressibleByArrayLiteral, ExpressibleByDictionaryLiteral
{
  /// A string.
  public init(stringLiteral value: String) { self = .string(value) }
  /// A whole number.
  public init(integerLiteral value: Int) { self = .integer(value) }
  /// A truth value.
  public init(booleanLiteral value: Bool) { self = .bool(value) }
  /// A number.
  public init(floatLiteral value: Double) { self = .number(value) }
  /// An array.
  public init(arrayLiteral elements: JSONValue...) { self = .array(elements) }
  /// An object, its members in the order written.
  public init(dictionaryLiteral elements: (String, JSONValue)...) {
    self = .object(JSONObject(elements))
  }
}

/// The members of a JSON object in the order they were added; each key once.
public struct JSONObject: Equatable, Sendable {
  /// The members in order.
  public private(set) var members: [(key: String, value: JSONValue)] = []
  // `String` compares by canonical equivalence, so two different keys could meet: bytes do not.
  private var indices: [ContiguousArray<UInt8>: Int] = [:]

  /// An object without members.
  public init() {}

  /// An object of these members; of equal keys the last value stands in the first place.
  public init(_ members: [(String, JSONValue)]) {
    for (key, value) in members { self[key] = value }
  }

  /// The keys in order.
  public var keys: [String] { members.map(\.key) }

  /// Adds a member behind the others unless its key stands already; whether it was added.
  mutating func add(_ key: String, _ value: JSONValue) -> Bool {
    let bytes = ContiguousArray(key.utf8)
    guard indices[bytes] == nil else { return false }
    indices[bytes] = members.count
    members.append((key, value))
    return true
  }

  /// The value of a key; setting nil removes it.
  public subscript(key: String) -> JSONValue? {
    get { indices[ContiguousArray(key.utf8)].map { members[$0].value } }
    set {
      let bytes = ContiguousArray(key.utf8)
      switch (indices[bytes], newValue) {
      case (let index?, let value?): members[index].value = value
      case (nil, let value?):
        indices[bytes] = members.count
        members.append((key, value))
      case (let index?, nil):
        members.remove(at: index)
        indices = [:]
        for (position, member) in members.enumerated() {
          indices[ContiguousArray(member.key.utf8)] = position
        }
      case (nil, nil): break
      }
    }
  }

  /// Whether both hold the same members in the same order, keys compared by their bytes.
  public static func == (left: JSONObject, right: JSONObject) -> Bool {
    left.members.elementsEqual(right.members) {
      $0.key.utf8.elementsEqual($1.key.utf8) && $0.value == $1.value
    }
  }
}
