/// A value while a template is carried out, as Python has them.
enum TemplateValue {
  /// What a name or key without a value gives; the text says which, for messages.
  case undefined(String)
  case none
  case bool(Bool)
  case integer(Int)
  case float(Double)
  case string(TaggedText)
  case list([TemplateValue])
  case tuple([TemplateValue])
  case dictionary(TemplateDictionary)
  /// What filters such as `selectattr` give, and the views of a dictionary.
  case iterator(TemplateIterator)
  case namespace(TemplateNamespace)
  case loop(TemplateLoop)
  case macro(TemplateMacro)
  case function(TemplateFunction)
  indirect case method(String, of: TemplateValue)

  /// A text of the template.
  static func text(_ text: String) -> TemplateValue { .string(TaggedText(text)) }

  /// What kind of value this is, for messages.
  var kind: String {
    switch self {
    case .undefined(let name): "nothing (\(name) is undefined)"
    case .none: "none"
    case .bool: "a truth value"
    case .integer, .float: "a number"
    case .string: "a string"
    case .list: "a list"
    case .tuple: "a tuple"
    case .dictionary: "a dictionary"
    case .iterator: "a sequence that is read once"
    case .namespace: "a namespace"
    case .loop: "a loop"
    case .macro, .function, .method: "a function"
    }
  }

  /// Python's truth of a value.
  var isTrue: Bool {
    switch self {
    case .undefined, .none: false
    case .bool(let bool): bool
    case .integer(let integer): integer != 0
    case .float(let float): float != 0
    case .string(let text): !text.isEmpty
    case .list(let items), .tuple(let items): !items.isEmpty
    case .dictionary(let dictionary): !dictionary.entries.isEmpty
    case .iterator(let iterator): !iterator.isView || !iterator.items.isEmpty
    case .loop(let loop): !loop.items.isEmpty
    case .namespace, .macro, .function, .method: true
    }
  }

  /// The number as Python counts with it; truth values are 0 and 1.
  var number: TemplateNumber? {
    switch self {
    case .bool(let bool): .integer(bool ? 1 : 0)
    case .integer(let integer): .integer(integer)
    case .float(let float): .float(float)
    default: nil
    }
  }

  /// A whole number, for positions and counts.
  var index: Int? {
    if case .integer(let index)? = number { index } else { nil }
  }

  /// The text, if this is one.
  var textValue: TaggedText? {
    if case .string(let text) = self { text } else { nil }
  }

  /// Whether two values are equal as Python says it.
  func equals(_ other: TemplateValue) -> Bool {
    if let left = number, let right = other.number {
      return left.double == right.double && left.isEqual(right)
    }
    switch (self, other) {
    case (.undefined, .undefined), (.none, .none): return true
    case (.string(let left), .string(let right)): return left == right
    case (.list(let left), .list(let right)), (.tuple(let left), .tuple(let right)):
      return left.count == right.count && zip(left, right).allSatisfy { $0.equals($1) }
    case (.dictionary(let left), .dictionary(let right)):
      return left.entries.count == right.entries.count
        && left.entries.allSatisfy { entry in right[entry.key]?.equals(entry.value) ?? false }
    case (.namespace(let left), .namespace(let right)): return left === right
    default: return false
    }
  }
}

/// A whole number or a float.
enum TemplateNumber {
  case integer(Int)
  case float(Double)

  var double: Double {
    switch self {
    case .integer(let integer): Double(integer)
    case .float(let float): float
    }
  }

  /// Whole numbers are compared exactly, which their doubles are not beyond 2⁵³.
  func isEqual(_ other: TemplateNumber) -> Bool {
    if case (.integer(let left), .integer(let right)) = (self, other) { left == right } else { true }
  }

  var value: TemplateValue {
    switch self {
    case .integer(let integer): .integer(integer)
    case .float(let float): .float(float)
    }
  }
}

/// A dictionary with texts as keys, in the order they were added.
struct TemplateDictionary {
  private(set) var entries: [(key: TaggedText, value: TemplateValue)] = []
  private var indices: [PieceKey: Int] = [:]

  subscript(key: TaggedText) -> TemplateValue? {
    get { indices[PieceKey(key.string)].map { entries[$0].value } }
    set {
      guard let newValue else { return }
      let name = PieceKey(key.string)
      if let index = indices[name] {
        entries[index].value = newValue
      } else {
        indices[name] = entries.count
        entries.append((key, newValue))
      }
    }
  }

  subscript(key: String) -> TemplateValue? {
    get { indices[PieceKey(key)].map { entries[$0].value } }
    set { self[TaggedText(key)] = newValue }
  }
}

/// A sequence without positions.
final class TemplateIterator {
  private var rest: ArraySlice<TemplateValue>
  /// Whether it can be read again and again.
  let isView: Bool

  init(_ items: [TemplateValue], isView: Bool = false) { (rest, self.isView) = (items[...], isView) }

  /// What has not been read.
  var items: [TemplateValue] { Array(rest) }

  /// Reads what is left.
  func readAll() -> [TemplateValue] {
    defer { if !isView { rest = [] } }
    return Array(rest)
  }

  /// Reads one.
  func readFirst() -> TemplateValue? { isView ? rest.first : rest.popFirst() }
}

/// Names that a template may change from within a loop.
final class TemplateNamespace {
  var names: [String: TemplateValue]
  init(_ names: [String: TemplateValue]) { self.names = names }
}

/// Where a loop stands.
final class TemplateLoop {
  let items: [TemplateValue]
  var index = 0
  let depth: Int
  init(_ items: [TemplateValue], depth: Int) { (self.items, self.depth) = (items, depth) }
}

/// A macro and the scope it was defined in.
final class TemplateMacro {
  let name: String
  let parameters: [(name: String, fallback: TemplateExpression?)]
  let body: [TemplateStatement]
  // The scope holds the macro too; the interpreter empties such scopes at its end.
  let scope: TemplateScope

  init(
    name: String, parameters: [(name: String, fallback: TemplateExpression?)], body: [TemplateStatement],
    scope: TemplateScope
  ) {
    (self.name, self.parameters, self.body, self.scope) = (name, parameters, body, scope)
  }
}

/// The functions that a template finds.
enum TemplateFunction: String {
  case raise = "raise_exception"
  case range, namespace
  case dictionary = "dict"
}

/// Names and their values; those of inner scopes hide those of outer ones.
final class TemplateScope {
  private var names: [String: TemplateValue] = [:]
  private let outer: TemplateScope?

  init(in outer: TemplateScope?) { self.outer = outer }

  /// The value of a name here or further out.
  func find(_ name: String) -> TemplateValue? {
    var scope: TemplateScope? = self
    while let current = scope {
      if let value = current.names[name] { return value }
      scope = current.outer
    }
    return nil
  }

  func set(_ name: String, _ value: TemplateValue) { names[name] = value }

  func clear() { names = [:] }
}

/// The values that a filter, test, function or method was called with.
struct TemplateCall {
  let name: String
  var positional: [TemplateValue]
  var named: [String: TemplateValue]

  /// The argument at a place or with a keyword.
  func value(_ index: Int, _ keyword: String) -> TemplateValue? {
    index < positional.count ? positional[index] : named[keyword]
  }

  /// Whether only these arguments were given.
  func hasOnly(_ keywords: [String]) -> Bool {
    positional.count <= keywords.count && named.keys.allSatisfy { keywords.contains($0) }
  }
}

/// Why a template was stopped.
enum TemplateFailure: Error {
  case unsupported(line: Int, construct: String)
  case failed(line: Int, reason: String)
  case raised(message: String)
  case tooLarge(what: String, limit: Int)
}
