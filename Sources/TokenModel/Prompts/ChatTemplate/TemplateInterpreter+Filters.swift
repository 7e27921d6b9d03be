extension TemplateInterpreter {
  /// The names of the supported filters.
  static let filterNames = [
    "abs", "capitalize", "count", "d", "default", "dictsort", "first", "float", "indent", "int", "items",
    "join",
    "last", "length", "list", "lower", "map", "max", "min", "reject", "rejectattr", "replace", "reverse",
    "safe",
    "select", "selectattr", "sort", "string", "sum", "title", "tojson", "trim", "unique", "upper",
  ]

  /// `value | name(arguments)`.
  func filter(_ value: Value, _ call: TemplateCall) throws(Failure) -> Value {
    switch call.name {
    case "trim", "upper", "lower", "capitalize", "title", "replace", "string", "safe", "indent":
      return try textFilter(value, call)
    case "default", "d":
      try allow(call, ["default_value", "boolean"])
      let fallback = call.value(0, "default_value") ?? .string(TaggedText())
      if case .undefined = value { return fallback }
      return call.value(1, "boolean")?.isTrue == true && !value.isTrue ? fallback : value
    case "length", "count":
      try allow(call, [])
      return .integer(try count(of: value))
    case "abs":
      try allow(call, [])
      switch value.number {
      case .integer(let integer) where integer != .min: return .integer(abs(integer))
      case .float(let float): return .float(abs(float))
      default: throw failure("abs of \(value.kind)")
      }
    case "int": return try integer(value, call)
    case "float":
      try allow(call, ["default"])
      if let number = value.number { return .float(number.double) }
      if case .string(let text) = value, let number = Double(text.trimmed(nil).string), number.isFinite {
        return .float(number)
      }
      return call.value(0, "default") ?? .float(0)
    case "tojson": return try made(json(value, call))
    default: return try sequenceFilter(value, call)
    }
  }

  /// Refuses arguments that a filter does not take here.
  func allow(_ call: TemplateCall, _ keywords: [String]) throws(Failure) {
    guard call.hasOnly(keywords) else { throw unsupported("these arguments of '\(call.name)'") }
  }

  func count(of value: Value) throws(Failure) -> Int {
    switch value {
    case .undefined: 0
    case .string(let text): text.count
    case .list(let items), .tuple(let items): items.count
    case .dictionary(let dictionary): dictionary.entries.count
    case .iterator(let iterator) where iterator.isView: iterator.items.count
    default: throw failure("\(value.kind) has no length")
    }
  }

  private func integer(_ value: Value, _ call: TemplateCall) throws(Failure) -> Value {
    try allow(call, ["default"])
    let fallback = call.value(0, "default") ?? .integer(0)
    switch value {
    case .integer, .bool: return value.number?.value ?? fallback
    case .float(let float): return Int(exactly: float.rounded(.towardZero)).map { .integer($0) } ?? fallback
    case .string(let text):
      let trimmed = text.trimmed(nil).string
      if let integer = Int(trimmed) { return .integer(integer) }
      if let float = Double(trimmed), let integer = Int(exactly: float.rounded(.towardZero)) {
        return .integer(integer)
      }
      return fallback
    default: return fallback
    }
  }

  private func textFilter(_ value: Value, _ call: TemplateCall) throws(Failure) -> Value {
    let text = try text(of: value)
    switch call.name {
    case "trim":
      try allow(call, ["chars"])
      return try made(text.trimmed(try optionalText(call.value(0, "chars"))))
    case "upper", "lower", "capitalize", "title":
      try allow(call, [])
      return try made(call.name == "title" ? jinjaTitle(text) : cased(text, call.name))
    case "replace":
      try allow(call, ["old", "new", "count"])
      guard let old = call.value(0, "old"), let new = call.value(1, "new") else {
        throw failure("replace wants an old and a new text")
      }
      return try replaced(
        text, self.text(of: old), self.text(of: new), limit: limitCount(call.value(2, "count")))
    case "indent":
      try allow(call, ["width", "first", "blank"])
      return try indented(text, call)
    default:
      try allow(call, [])
      return try made(text)
    }
  }

  /// A number of replacements; none and below 0 mean all.
  func limitCount(_ value: Value?) throws(Failure) -> Int? {
    switch value {
    case nil, .some(.none): return nil
    case let value?:
      guard let count = value.index else {
        throw failure("a count wants a whole number, found \(value.kind)")
      }
      return count < 0 ? nil : count
    }
  }

  func optionalText(_ value: Value?) throws(Failure) -> TaggedText? {
    switch value {
    case nil, .some(.none): return nil
    case .string(let text)?: return text
    case let other?: throw failure("a string wanted, found \(other.kind)")
    }
  }

  func cased(_ text: TaggedText, _ name: String) throws(Failure) -> TaggedText {
    try charge(text.count)
    switch name {
    case "upper": return text.mapping { $0.properties.uppercaseMapping }
    // Python makes a capital sigma at the end of a word another letter than elsewhere.
    case _ where text.scalars.contains("\u{3A3}"):
      throw unsupported("'\(name)' of a text with a capital sigma")
    case "lower": return text.mapping { $0.properties.lowercaseMapping }
    default:
      guard text.count > 0 else { return text }
      var result = text.slice(0..<1).mapping { $0.properties.titlecaseMapping }
      result.append(text.slice(1..<text.count).mapping { $0.properties.lowercaseMapping })
      return result
    }
  }

  /// The first letter of each word large, the others small; words end at white space and at `-([{<`.
  private func jinjaTitle(_ text: TaggedText) throws(Failure) -> TaggedText {
    var (result, starts) = (TaggedText(), true)
    for index in 0..<text.count {
      let one = text.slice(index..<index + 1)
      let scalar = text.scalars[index]
      result.append(try cased(one, starts ? "upper" : "lower"))
      starts = TaggedText.isSpace(scalar) || "-([{<".unicodeScalars.contains(scalar)
    }
    return result
  }

  func replaced(
    _ text: TaggedText, _ old: TaggedText, _ new: TaggedText, limit: Int?
  ) throws(Failure) -> Value {
    guard !old.isEmpty else { throw unsupported("an empty text replaced") }
    try charge(text.count)
    var (result, position, count) = (TaggedText(), 0, 0)
    while count < limit ?? .max, let found = text.firstIndex(of: old, from: position) {
      result.append(text.slice(position..<found))
      result.append(new)
      guard result.count <= Self.textLimit else {
        throw .tooLarge(what: "characters of one text", limit: Self.textLimit)
      }
      position = found + old.count
      count += 1
    }
    result.append(text.slice(position..<text.count))
    return try made(result)
  }

  private func indented(_ text: TaggedText, _ call: TemplateCall) throws(Failure) -> Value {
    let margin: TaggedText
    switch call.value(0, "width") {
    case nil: margin = TaggedText("    ")
    case .string(let text)?: margin = text
    case let width?:
      guard let count = width.index, 0...1_000 ~= count else { throw failure("indent wants a width") }
      margin = TaggedText(String(repeating: " ", count: count))
    }
    let indentsFirst = call.value(1, "first")?.isTrue ?? false
    let indentsBlank = call.value(2, "blank")?.isTrue ?? false
    var (result, start, isFirst) = (TaggedText(), 0, true)
    while true {
      let end = text.firstIndex(of: TaggedText("\n"), from: start) ?? text.count
      let isBlank = start == end
      if isFirst ? indentsFirst : indentsBlank || !isBlank { result.append(margin) }
      result.append(text.slice(start..<min(end + 1, text.count)))
      guard result.count <= Self.textLimit else {
        throw .tooLarge(what: "characters of one text", limit: Self.textLimit)
      }
      if end == text.count { return try made(result) }
      (start, isFirst) = (end + 1, false)
    }
  }

  // MARK: - Sequences

  private func sequenceFilter(_ value: Value, _ call: TemplateCall) throws(Failure) -> Value {
    switch call.name {
    case "first":
      try allow(call, [])
      if case .iterator(let iterator) = value {
        return iterator.readFirst() ?? .undefined("the first item of nothing")
      }
      return try items(of: value).first ?? .undefined("the first item of nothing")
    case "last":
      try allow(call, [])
      if case .iterator(let iterator) = value, !iterator.isView {
        throw failure("\(value.kind) has no last item")
      }
      return try items(of: value).last ?? .undefined("the last item of nothing")
    case "list":
      try allow(call, [])
      return try made(try items(of: value))
    case "items":
      try allow(call, [])
      if case .undefined = value { return .iterator(TemplateIterator([])) }
      guard case .dictionary(let dictionary) = value else { throw failure("items of \(value.kind)") }
      return .iterator(TemplateIterator(Self.pairs(dictionary)))
    case "join": return try joined(value, call)
    case "reverse":
      try allow(call, [])
      if case .string(let text) = value { return try slice(.string(text), nil, nil, -1) }
      return .iterator(TemplateIterator(try items(of: value).reversed()))
    case "map": return .iterator(TemplateIterator(try mapped(value, call)))
    case "select", "reject", "selectattr", "rejectattr":
      return .iterator(TemplateIterator(try selected(value, call)))
    case "sort": return try made(try sorted(value, call))
    case "dictsort": return try sortedPairs(value, call)
    case "unique": return .iterator(TemplateIterator(try unique(value, call)))
    case "sum":
      try allow(call, ["attribute", "start"])
      var sum = call.value(1, "start") ?? .integer(0)
      for item in try items(of: value) {
        sum = try arithmetic("+", sum, part(call.value(0, "attribute"), of: item))
      }
      return sum
    case "min", "max":
      try allow(call, [])
      var best: Value?
      for item in try items(of: value) {
        guard case .string = item else {
          guard let previous = best else {
            best = item
            continue
          }
          if try order(item, previous) * (call.name == "min" ? -1 : 1) > 0 { best = item }
          continue
        }
        // Texts are compared without regard to case here.
        throw unsupported("'\(call.name)' of texts")
      }
      return best ?? .undefined("the \(call.name) of nothing")
    default:
      throw unsupported(
        "the filter \(call.name.inQuotes) (supported: \(Self.filterNames.joined(separator: ", ")))")
    }
  }

  static func pairs(_ dictionary: TemplateDictionary) -> [Value] {
    dictionary.entries.map { .tuple([.string($0.key), $0.value]) }
  }

  private func joined(_ value: Value, _ call: TemplateCall) throws(Failure) -> Value {
    try allow(call, ["d", "attribute"])
    let separator = try text(of: call.value(0, "d") ?? .string(TaggedText()))
    var result = TaggedText()
    for (index, item) in try items(of: value).enumerated() {
      if index > 0 { result.append(separator) }
      result.append(try text(of: part(call.value(1, "attribute"), of: item)))
      guard result.count <= Self.textLimit else {
        throw .tooLarge(what: "characters of one text", limit: Self.textLimit)
      }
    }
    return try made(result)
  }

  /// The value behind names with points between them, such as `function.name`.
  private func path(_ path: Value, of item: Value) throws(Failure) -> Value {
    if path.index != nil { return try self.item(path, of: item) }
    guard case .string(let text) = path else {
      throw failure("an attribute wants a name, found \(path.kind)")
    }
    var value = item
    for part in text.string.split(separator: ".", omittingEmptySubsequences: false) {
      // As Jinja does, names are looked up as items, and numbers as positions.
      value = try self.item(Int(part).map { .integer($0) } ?? .text(String(part)), of: value)
    }
    return value
  }

  /// The value behind an attribute, or the item itself without one.
  private func part(_ attribute: Value?, of item: Value) throws(Failure) -> Value {
    guard let attribute else { return item }
    return try path(attribute, of: item)
  }

  private func mapped(_ value: Value, _ call: TemplateCall) throws(Failure) -> [Value] {
    var results: [Value] = []
    if call.positional.isEmpty, let attribute = call.named["attribute"] {
      guard call.named.keys.allSatisfy({ $0 == "attribute" || $0 == "default" }) else {
        throw unsupported("these arguments of 'map'")
      }
      for item in try items(of: value) {
        let found = try path(attribute, of: item)
        if case .undefined = found, let fallback = call.named["default"] {
          results.append(fallback)
        } else {
          results.append(found)
        }
      }
      return results
    }
    guard case .string(let name)? = call.positional.first else {
      throw failure("map wants the name of a filter")
    }
    let inner = TemplateCall(
      name: name.string, positional: Array(call.positional.dropFirst()), named: call.named)
    for item in try items(of: value) { results.append(try filter(item, inner)) }
    return results
  }

  /// `select`, `reject`, and both by an attribute.
  private func selected(_ value: Value, _ call: TemplateCall) throws(Failure) -> [Value] {
    var rest = call.positional[...]
    let attribute = call.name.hasSuffix("attr") ? rest.popFirst() : nil
    if call.name.hasSuffix("attr"), attribute == nil { throw failure("\(call.name) wants an attribute") }
    var inner: TemplateCall?
    if let name = rest.popFirst() {
      guard case .string(let text) = name else { throw failure("\(call.name) wants the name of a test") }
      inner = TemplateCall(name: text.string, positional: Array(rest), named: call.named)
    }
    let isKept = call.name.hasPrefix("select")
    var results: [Value] = []
    for item in try items(of: value) {
      try charge()
      let subject = try part(attribute, of: item)
      var passes = subject.isTrue
      if let inner { passes = try test(subject, inner) }
      if passes == isKept { results.append(item) }
    }
    return results
  }

  /// Sorted, equal ones in their order; texts without regard to case unless asked for.
  private func sorted(_ value: Value, _ call: TemplateCall) throws(Failure) -> [Value] {
    try allow(call, ["reverse", "case_sensitive", "attribute"])
    let isReversed = call.value(0, "reverse")?.isTrue ?? false
    let keepsCase = call.value(1, "case_sensitive")?.isTrue ?? false
    var entries: [(key: Value, item: Value)] = []
    for item in try items(of: value) {
      var key = try part(call.value(2, "attribute"), of: item)
      if !keepsCase, case .string(let text) = key { key = .string(try cased(text, "lower")) }
      entries.append((key, item))
    }
    return try merged(entries, isReversed).map(\.item)
  }

  /// A merge sort, since the order may fail.
  private func merged(
    _ entries: [(key: Value, item: Value)], _ isReversed: Bool
  ) throws(Failure) -> [(key: Value, item: Value)] {
    if entries.count < 2 { return entries }
    let middle = entries.count / 2
    let left = try merged(Array(entries[..<middle]), isReversed)
    let right = try merged(Array(entries[middle...]), isReversed)
    var result: [(key: Value, item: Value)] = []
    var (first, second) = (0, 0)
    while first < left.count, second < right.count {
      try charge()
      let difference = try order(right[second].key, left[first].key)
      if isReversed ? difference > 0 : difference < 0 {
        result.append(right[second])
        second += 1
      } else {
        result.append(left[first])
        first += 1
      }
    }
    return result + left[first...] + right[second...]
  }

  private func sortedPairs(_ value: Value, _ call: TemplateCall) throws(Failure) -> Value {
    try allow(call, [])
    guard case .dictionary(let dictionary) = value else { throw failure("dictsort of \(value.kind)") }
    var entries: [(key: Value, item: Value)] = []
    for entry in dictionary.entries {
      entries.append(
        (.string(try cased(entry.key, "lower")), .tuple([.string(entry.key), entry.value])))
    }
    return try made(try merged(entries, false).map(\.item))
  }

  private func unique(_ value: Value, _ call: TemplateCall) throws(Failure) -> [Value] {
    try allow(call, [])
    var (results, seen): ([Value], [Value]) = ([], [])
    for item in try items(of: value) {
      var key = item
      if case .string(let text) = item { key = .string(try cased(text, "lower")) }
      try charge(seen.count)
      if seen.contains(where: { $0.equals(key) }) { continue }
      seen.append(key)
      results.append(item)
    }
    return results
  }

  // MARK: - Tests

  /// The names of the supported tests.
  static let testNames = [
    "==", "boolean", "callable", "defined", "divisibleby", "eq", "equalto", "even", "false", "float", "ge",
    "greaterthan", "gt", "in", "integer", "iterable", "le", "lessthan", "lower", "lt", "mapping", "ne",
    "none",
    "number", "odd", "sequence", "string", "true", "undefined", "upper",
  ]

  /// `value is name(arguments)`.
  func test(_ value: Value, _ call: TemplateCall) throws(Failure) -> Bool {
    let signs = [
      "==": "==", "eq": "==", "equalto": "==", "!=": "!=", "ne": "!=", ">": ">", "gt": ">",
      "greaterthan": ">",
      ">=": ">=", "ge": ">=", "<": "<", "lt": "<", "lessthan": "<", "<=": "<=", "le": "<=", "in": "in",
    ]
    if let sign = signs[call.name] {
      guard call.positional.count == 1, call.named.isEmpty else {
        throw failure("'\(call.name)' wants one value")
      }
      return try compare(value, sign, call.positional[0])
    }
    if call.name == "divisibleby" {
      guard let divisor = call.value(0, "num")?.index, let index = value.index else {
        throw failure("divisibleby wants whole numbers")
      }
      return try arithmetic("%", .integer(index), .integer(divisor)).equals(.integer(0))
    }
    try allow(call, [])
    return try plainTest(value, call.name)
  }

  private func plainTest(_ value: Value, _ name: String) throws(Failure) -> Bool {
    switch (name, value) {
    case ("defined", .undefined): return false
    case ("defined", _): return true
    case ("undefined", .undefined), ("none", .none), ("string", .string), ("mapping", .dictionary):
      return true
    case ("boolean", .bool), ("integer", .integer), ("float", .float): return true
    case ("number", .bool), ("number", .integer), ("number", .float): return true
    case ("true", .bool(let bool)): return bool
    case ("false", .bool(let bool)): return !bool
    case ("iterable", .undefined), ("iterable", .string), ("iterable", .list), ("iterable", .tuple):
      return true
    case ("iterable", .dictionary), ("iterable", .iterator), ("iterable", .loop): return true
    case ("sequence", .string), ("sequence", .list), ("sequence", .tuple), ("sequence", .dictionary):
      return true
    case ("sequence", .undefined): return true
    case ("callable", .function), ("callable", .macro), ("callable", .method): return true
    case ("odd", _), ("even", _):
      guard let index = value.index else { throw failure("\(name) wants a whole number") }
      return (index % 2 == 0) == (name == "even")
    case ("lower", _), ("upper", _):
      let text = try text(of: value)
      let cased = text.scalars.filter { $0.properties.isCased }
      return !cased.isEmpty
        && cased.allSatisfy { name == "lower" ? $0.properties.isLowercase : $0.properties.isUppercase }
    case _ where Self.testNames.contains(name): return false
    default:
      throw unsupported("the test \(name.inQuotes) (supported: \(Self.testNames.joined(separator: ", ")))")
    }
  }
}
