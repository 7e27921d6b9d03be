import Foundation

extension TemplateInterpreter {
  // MARK: - Parts of values

  private static let dictionaryMethods: Set<String> = ["items", "keys", "values", "get"]
  private static let textMethods: Set<String> = [
    "strip", "lstrip", "rstrip", "split", "rsplit", "splitlines", "startswith", "endswith", "upper", "lower",
    "title", "capitalize", "replace", "join", "find", "rfind", "count", "isdigit", "isspace", "isalpha",
    "isupper", "islower", "removeprefix", "removesuffix",
  ]
  /// What Python's types have besides; the sandbox of transformers refuses those that change a value.
  private static let refusedMethods: Set<String> = [
    "append", "extend", "insert", "remove", "pop", "popitem", "clear", "update", "setdefault", "sort",
    "reverse",
    "copy", "index", "fromkeys", "format", "format_map", "encode", "translate", "partition", "rpartition",
    "casefold", "center", "ljust", "rjust", "zfill", "expandtabs", "swapcase", "isalnum", "isnumeric",
    "isdecimal", "isidentifier", "istitle", "isprintable", "isascii", "rindex", "maketrans",
  ]

  /// `object.name`: a method comes before a key of the same name.
  func attribute(_ name: String, of object: Value) throws(Failure) -> Value {
    if let method = try ownAttribute(name, of: object) { return method }
    if case .dictionary(let dictionary) = object, let value = dictionary[name] { return value }
    return .undefined("'\(name)' of \(object.kind)")
  }

  /// What an object has itself, not as an entry.
  private func ownAttribute(_ name: String, of object: Value) throws(Failure) -> Value? {
    switch object {
    case .undefined(let missing): throw failure("\(missing) is undefined, so it has no '\(name)'")
    case .dictionary:
      if Self.dictionaryMethods.contains(name) { return .method(name, of: object) }
      let isMethod = ["copy", "fromkeys", "pop", "popitem", "clear", "update", "setdefault"].contains(name)
      if isMethod { throw unsupported(".\(name) of a dictionary") }
    case .string:
      if Self.textMethods.contains(name) { return .method(name, of: object) }
      if Self.refusedMethods.contains(name) { throw unsupported(".\(name) of a string") }
    case .list, .tuple:
      if name == "count" || Self.refusedMethods.contains(name) { throw unsupported(".\(name) of a list") }
    case .namespace(let namespace): return namespace.names[name]
    case .loop(let loop): return try attribute(name, of: loop)
    default: break
    }
    if name.hasPrefix("__") { throw unsupported("'\(name)'") }
    return nil
  }

  private func attribute(_ name: String, of loop: TemplateLoop) throws(Failure) -> Value? {
    let count = loop.items.count
    switch name {
    case "index": return .integer(loop.index + 1)
    case "index0": return .integer(loop.index)
    case "revindex": return .integer(count - loop.index)
    case "revindex0": return .integer(count - loop.index - 1)
    case "first": return .bool(loop.index == 0)
    case "last": return .bool(loop.index == count - 1)
    case "length": return .integer(count)
    case "depth": return .integer(loop.depth + 1)
    case "depth0": return .integer(loop.depth)
    case "previtem":
      return loop.index > 0 ? loop.items[loop.index - 1] : .undefined("the item before the first")
    case "nextitem":
      return loop.index + 1 < count ? loop.items[loop.index + 1] : .undefined("the item behind the last")
    case "cycle": return .method("cycle", of: .loop(loop))
    case "changed": throw unsupported("loop.changed")
    default: return nil
    }
  }

  /// `object[key]`: an entry comes before a method of the same name.
  func item(_ key: Value, of object: Value) throws(Failure) -> Value {
    if case .undefined(let missing) = object { throw failure("\(missing) is undefined, so it has no items") }
    if case .string(let name) = key {
      if case .dictionary(let dictionary) = object, let value = dictionary[name] { return value }
      if let own = try ownAttribute(name.string, of: object) { return own }
      return .undefined("[\(name.string.debugDescription)] of \(object.kind)")
    }
    let missing = Value.undefined("an item of \(object.kind)")
    guard let index = key.index else { return missing }
    switch object {
    case .list(let items), .tuple(let items):
      let place = index < 0 ? index + items.count : index
      return items.indices.contains(place) ? items[place] : missing
    case .string(let text):
      let place = index < 0 ? index + text.count : index
      return 0..<text.count ~= place ? .string(text.slice(place..<place + 1)) : missing
    default: return missing
    }
  }

  func slice(_ object: Value, _ start: Int?, _ end: Int?, _ step: Int) throws(Failure) -> Value {
    guard step != 0 else { throw failure("a slice with a step of 0") }
    func indices(_ count: Int) -> [Int] {
      func clamped(_ value: Int?, _ fallback: Int, _ low: Int, _ high: Int) -> Int {
        guard let value else { return fallback }
        // Written so that no sum can leave 64 bits.
        return min(max(value < 0 ? (value < -count ? low : value + count) : value, low), high)
      }
      let isForward = step > 0
      let first = clamped(start, isForward ? 0 : count - 1, isForward ? 0 : -1, isForward ? count : count - 1)
      let last = clamped(end, isForward ? count : -1, isForward ? 0 : -1, isForward ? count : count - 1)
      // A step beyond the ends is as good as one to the end, and cannot leave 64 bits.
      return Array(stride(from: first, to: last, by: min(max(step, -count - 1), count + 1)))
    }
    switch object {
    case .undefined(let missing): throw failure("\(missing) is undefined, so it has no slices")
    case .list(let items):
      try charge(items.count)
      return .list(indices(items.count).map { items[$0] })
    case .tuple(let items):
      try charge(items.count)
      return .tuple(indices(items.count).map { items[$0] })
    case .string(let text):
      let places = indices(text.count)
      if step == 1 { return try made(text.slice((places.first ?? 0)..<(places.first ?? 0) + places.count)) }
      var result = TaggedText()
      for place in places { result.append(place, of: text) }
      return try made(result)
    default: return .undefined("a slice of \(object.kind)")
    }
  }

  /// What a loop over a value runs through.
  func items(of value: Value) throws(Failure) -> [Value] {
    switch value {
    case .undefined: return []
    case .list(let items), .tuple(let items): return items
    case .string(let text):
      try charge(text.count)
      return (0..<text.count).map { .string(text.slice($0..<$0 + 1)) }
    case .dictionary(let dictionary): return dictionary.entries.map { .string($0.key) }
    case .iterator(let iterator): return iterator.readAll()
    default: throw failure("\(value.kind) has no items")
    }
  }

  // MARK: - Counting

  func signed(_ value: Value, isNegative: Bool) throws(Failure) -> Value {
    switch value.number {
    case .integer(let integer):
      guard isNegative else { return .integer(integer) }
      let (result, overflow) = (0 as Int).subtractingReportingOverflow(integer)
      guard !overflow else { throw failure("a number beyond 64 bits") }
      return .integer(result)
    case .float(let float): return .float(isNegative ? -float : float)
    case nil: throw failure("\(value.kind) has no sign")
    }
  }

  func arithmetic(_ sign: String, _ left: Value, _ right: Value) throws(Failure) -> Value {
    if let leftNumber = left.number, let rightNumber = right.number {
      if case (.integer(let left), .integer(let right)) = (leftNumber, rightNumber), sign != "/" {
        return .integer(try whole(sign, left, right))
      }
      return .float(try float(sign, leftNumber.double, rightNumber.double))
    }
    switch (sign, left, right) {
    case ("+", .string(let left), .string(let right)):
      var text = left
      text.append(right)
      return try made(text)
    case ("+", .list(let left), .list(let right)): return try made(left + right)
    case ("+", .tuple(let left), .tuple(let right)):
      try charge(left.count + right.count)
      return .tuple(left + right)
    case ("*", .string(let text), _) where right.index != nil: return try repeated(text, right.index ?? 0)
    case ("*", _, .string(let text)) where left.index != nil: return try repeated(text, left.index ?? 0)
    case ("%", .string, _): throw unsupported("a string with % signs to be filled in")
    case ("*", .list, _), ("*", _, .list), ("*", .tuple, _), ("*", _, .tuple):
      throw unsupported("a list multiplied")
    default: throw failure("'\(sign)' cannot be used for \(left.kind) and \(right.kind)")
    }
  }

  private func repeated(_ text: TaggedText, _ count: Int) throws(Failure) -> Value {
    guard count > 0, !text.isEmpty else { return .string(TaggedText()) }
    guard count <= Self.textLimit / text.count else {
      throw .tooLarge(what: "characters of one text", limit: Self.textLimit)
    }
    var result = TaggedText()
    for _ in 0..<count { result.append(text) }
    return try made(result)
  }

  private func whole(_ sign: String, _ left: Int, _ right: Int) throws(Failure) -> Int {
    let (result, overflow): (Int, Bool)
    switch sign {
    case "+": (result, overflow) = left.addingReportingOverflow(right)
    case "-": (result, overflow) = left.subtractingReportingOverflow(right)
    case "*": (result, overflow) = left.multipliedReportingOverflow(by: right)
    case "//", "%":
      guard right != 0 else { throw failure("a division by zero") }
      let (quotient, over) = left.dividedReportingOverflow(by: right)
      guard !over else { throw failure("a number beyond 64 bits") }
      let remainder = left - quotient * right
      // Python rounds down, and a remainder has the sign of the divisor.
      let isBelow = remainder != 0 && (remainder < 0) != (right < 0)
      return sign == "//" ? quotient - (isBelow ? 1 : 0) : remainder + (isBelow ? right : 0)
    default: throw unsupported("'\(sign)' of whole numbers")
    }
    guard !overflow else { throw failure("a number beyond 64 bits") }
    return result
  }

  private func float(_ sign: String, _ left: Double, _ right: Double) throws(Failure) -> Double {
    let result: Double
    switch sign {
    case "+": result = left + right
    case "-": result = left - right
    case "*": result = left * right
    case "/", "//", "%":
      guard right != 0 else { throw failure("a division by zero") }
      guard sign == "/" else { throw unsupported("'\(sign)' of numbers that are not whole") }
      result = left / right
    default: throw unsupported("'\(sign)' of numbers that are not whole")
    }
    guard result.isFinite else { throw failure("a number that is not finite") }
    return result
  }

  // MARK: - Comparing

  func compare(_ left: Value, _ sign: String, _ right: Value) throws(Failure) -> Bool {
    switch sign {
    case "==", "!=":
      try charge(cost(left))
      return left.equals(right) == (sign == "==")
    case "in": return try contains(right, left)
    case "not in": return try !contains(right, left)
    default:
      let isLess = try order(left, right)
      switch sign {
      case "<": return isLess < 0
      case "<=": return isLess <= 0
      case ">": return isLess > 0
      default: return isLess >= 0
      }
    }
  }

  private func cost(_ value: Value) -> Int {
    switch value {
    case .string(let text): text.count / 8
    case .list(let items), .tuple(let items): items.count
    case .dictionary(let dictionary): dictionary.entries.count
    default: 0
    }
  }

  /// Below 0 if the left value comes first, 0 if both are the same.
  func order(_ left: Value, _ right: Value) throws(Failure) -> Int {
    if let leftNumber = left.number, let rightNumber = right.number {
      if case (.integer(let left), .integer(let right)) = (leftNumber, rightNumber) {
        return left < right ? -1 : left > right ? 1 : 0
      }
      let (left, right) = (leftNumber.double, rightNumber.double)
      return left < right ? -1 : left > right ? 1 : 0
    }
    guard case (.string(let leftText), .string(let rightText)) = (left, right) else {
      throw failure("\(left.kind) and \(right.kind) have no order")
    }
    try charge(min(leftText.count, rightText.count) / 8)
    if leftText == rightText { return 0 }
    return leftText.scalars.lexicographicallyPrecedes(rightText.scalars) ? -1 : 1
  }

  /// `value in container`.
  func contains(_ container: Value, _ value: Value) throws(Failure) -> Bool {
    switch container {
    case .undefined: return false
    case .string(let text):
      guard case .string(let part) = value else { throw failure("a string can only contain a string") }
      try charge(text.count)
      return text.firstIndex(of: part) != nil
    case .dictionary(let dictionary):
      guard case .string(let key) = value else { return false }
      return dictionary[key] != nil
    case .list(let items), .tuple(let items):
      try charge(items.count * (1 + cost(value)))
      return items.contains { $0.equals(value) }
    case .iterator(let iterator):
      let items = iterator.readAll()
      try charge(items.count * (1 + cost(value)))
      return items.contains { $0.equals(value) }
    default: throw failure("\(container.kind) contains nothing")
    }
  }

  // MARK: - Text

  /// What is written for a value: Python's `str`.
  func text(of value: Value) throws(Failure) -> TaggedText {
    switch value {
    case .undefined: return TaggedText()
    case .string(let text): return text
    default: return try representation(value)
    }
  }

  /// Python's `repr`.
  private func representation(_ value: Value) throws(Failure) -> TaggedText {
    try charge()
    func joined(_ items: [Value], _ start: String, _ end: String) throws(Failure) -> TaggedText {
      var text = TaggedText(start)
      for (index, item) in items.enumerated() {
        if index > 0 { text.append(TaggedText(", ")) }
        text.append(try representation(item))
      }
      text.append(TaggedText(end))
      return text
    }
    switch value {
    case .none: return TaggedText("None")
    case .bool(let bool): return TaggedText(bool ? "True" : "False")
    case .integer(let integer): return TaggedText("\(integer)")
    case .float(let float): return TaggedText("\(float)")
    case .string(let text): return quoted(text)
    case .list(let items): return try joined(items, "[", "]")
    case .tuple(let items): return try joined(items, "(", items.count == 1 ? ",)" : ")")
    case .dictionary(let dictionary):
      var text = TaggedText("{")
      for (index, entry) in dictionary.entries.enumerated() {
        if index > 0 { text.append(TaggedText(", ")) }
        text.append(quoted(entry.key))
        text.append(TaggedText(": "))
        text.append(try representation(entry.value))
      }
      text.append(TaggedText("}"))
      return text
    case .undefined: return TaggedText("Undefined")
    default: throw unsupported("the text of \(value.kind)")
    }
  }

  /// A string as Python shows it: in single quotes unless only those are in it, what cannot be printed escaped.
  private func quoted(_ text: TaggedText) -> TaggedText {
    let usesDouble = text.scalars.contains("'") && !text.scalars.contains("\"")
    let quote: Unicode.Scalar = usesDouble ? "\"" : "'"
    func hexadecimal(_ value: UInt32, _ count: Int) -> String {
      let digits = String(value, radix: 16)
      return String(repeating: "0", count: count - digits.count) + digits
    }
    var result = TaggedText(String(quote))
    result.append(
      text.mapping { scalar in
        switch scalar {
        case quote, "\\": return "\\" + String(scalar)
        case "\n": return "\\n"
        case "\r": return "\\r"
        case "\t": return "\\t"
        default: break
        }
        switch scalar.properties.generalCategory {
        case .control, .format, .surrogate, .privateUse, .unassigned, .lineSeparator, .paragraphSeparator:
          break
        case .spaceSeparator where scalar != " ": break
        default: return String(scalar)
        }
        let value = scalar.value
        return value < 0x100
          ? "\\x" + hexadecimal(value, 2)
          : value < 0x10000 ? "\\u" + hexadecimal(value, 4) : "\\U" + hexadecimal(value, 8)
      })
    result.append(TaggedText(String(quote)))
    return result
  }
}
