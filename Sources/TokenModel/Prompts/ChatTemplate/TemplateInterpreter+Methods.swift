extension TemplateInterpreter {
  /// `object.name(arguments)`.
  func method(of object: Value, _ call: TemplateCall) throws(Failure) -> Value {
    switch object {
    case .dictionary(let dictionary): return try method(of: dictionary, call)
    case .string(let text): return try method(of: text, call)
    case .loop(let loop):
      guard !call.positional.isEmpty, call.named.isEmpty else { throw failure("cycle wants values") }
      return call.positional[loop.index % call.positional.count]
    default: throw unsupported(".\(call.name) of \(object.kind)")
    }
  }

  private func method(of dictionary: TemplateDictionary, _ call: TemplateCall) throws(Failure) -> Value {
    if call.name == "get" {
      guard 1...2 ~= call.positional.count, call.named.isEmpty else { throw failure("get wants a key") }
      guard case .string(let key) = call.positional[0], let value = dictionary[key] else {
        return call.positional.count > 1 ? call.positional[1] : .none
      }
      return value
    }
    try allow(call, [])
    try charge(dictionary.entries.count)
    switch call.name {
    case "keys":
      return .iterator(TemplateIterator(dictionary.entries.map { .string($0.key) }, isView: true))
    case "values": return .iterator(TemplateIterator(dictionary.entries.map(\.value), isView: true))
    default: return .iterator(TemplateIterator(Self.pairs(dictionary), isView: true))
    }
  }

  private func method(of text: TaggedText, _ call: TemplateCall) throws(Failure) -> Value {
    try charge(text.count)
    switch call.name {
    case "strip", "lstrip", "rstrip":
      try allow(call, ["chars"])
      let set = try optionalText(call.value(0, "chars"))
      return try made(text.trimmed(set, left: call.name != "rstrip", right: call.name != "lstrip"))
    case "split", "rsplit": return try split(text, call)
    case "splitlines":
      try allow(call, [])
      return try made(lines(text))
    case "startswith", "endswith": return .bool(try matches(text, call))
    case "upper", "lower", "capitalize":
      try allow(call, [])
      return try made(cased(text, call.name))
    case "title":
      try allow(call, [])
      return try made(title(text))
    case "replace":
      try allow(call, ["old", "new", "count"])
      guard case .string(let old)? = call.value(0, "old"), case .string(let new)? = call.value(1, "new")
      else {
        throw failure("replace wants an old and a new string")
      }
      return try replaced(text, old, new, limit: limitCount(call.value(2, "count")))
    case "join":
      guard call.positional.count == 1, call.named.isEmpty else { throw failure("join wants one list") }
      var result = TaggedText()
      for (index, item) in try items(of: call.positional[0]).enumerated() {
        guard case .string(let part) = item else { throw failure("join wants strings, found \(item.kind)") }
        if index > 0 { result.append(text) }
        result.append(part)
        guard result.count <= Self.textLimit else {
          throw .tooLarge(what: "characters of one text", limit: Self.textLimit)
        }
      }
      return try made(result)
    case "removeprefix", "removesuffix":
      let part = try onlyText(call)
      if call.name == "removeprefix" {
        return .string(text.has(part, at: 0) ? text.slice(part.count..<text.count) : text)
      }
      let end = text.count - part.count
      return .string(text.has(part, at: end) ? text.slice(0..<end) : text)
    case "find", "rfind":
      let part = try onlyText(call)
      return .integer((call.name == "find" ? text.firstIndex(of: part) : text.lastIndex(of: part)) ?? -1)
    case "count":
      let part = try onlyText(call)
      guard !part.isEmpty else { return .integer(text.count + 1) }
      var (count, position) = (0, 0)
      while let found = text.firstIndex(of: part, from: position) {
        (count, position) = (count + 1, found + part.count)
      }
      return .integer(count)
    default:
      try allow(call, [])
      return .bool(try property(text, call.name))
    }
  }

  /// The one string that a method is called with.
  private func onlyText(_ call: TemplateCall) throws(Failure) -> TaggedText {
    guard call.positional.count == 1, call.named.isEmpty, case .string(let text) = call.positional[0] else {
      throw unsupported("these arguments of '\(call.name)'")
    }
    return text
  }

  /// Whether a text starts or ends with a string, or with one of several.
  private func matches(_ text: TaggedText, _ call: TemplateCall) throws(Failure) -> Bool {
    guard call.positional.count == 1, call.named.isEmpty else {
      throw unsupported("these arguments of '\(call.name)'")
    }
    var candidates = [call.positional[0]]
    if case .tuple(let items) = call.positional[0] { candidates = items }
    for candidate in candidates {
      guard case .string(let part) = candidate else {
        throw failure("\(call.name) wants a string, found \(candidate.kind)")
      }
      if text.has(part, at: call.name == "startswith" ? 0 : text.count - part.count) { return true }
    }
    return false
  }

  private func split(_ text: TaggedText, _ call: TemplateCall) throws(Failure) -> Value {
    try allow(call, ["sep", "maxsplit"])
    let separator = try optionalText(call.value(0, "sep"))
    var most = try limitCount(call.value(1, "maxsplit")) ?? .max
    let fromRight = call.name == "rsplit"
    var parts: [TaggedText] = []
    if let separator {
      guard !separator.isEmpty else { throw failure("split by an empty string") }
      var (start, end) = (0, text.count)
      if fromRight {
        while most > 0, let found = text.slice(0..<end).lastIndex(of: separator) {
          try charge(end)
          parts.append(text.slice(found + separator.count..<end))
          (end, most) = (found, most - 1)
        }
        parts.append(text.slice(0..<end))
        parts.reverse()
      } else {
        while most > 0, let found = text.firstIndex(of: separator, from: start) {
          parts.append(text.slice(start..<found))
          (start, most) = (found + separator.count, most - 1)
        }
        parts.append(text.slice(start..<text.count))
      }
    } else {
      guard !fromRight || most == .max else { throw unsupported("rsplit at white space with a limit") }
      var rest = text.trimmed(nil, left: true, right: false)
      var words: [TaggedText] = []
      while !rest.isEmpty {
        let end = rest.scalars.firstIndex(where: TaggedText.isSpace) ?? rest.count
        if most == 0 {
          words.append(rest.trimmed(nil, left: false))
          break
        }
        try charge(rest.count / 8)
        words.append(rest.slice(0..<end))
        rest = rest.slice(end..<rest.count).trimmed(nil, right: false)
        most -= 1
      }
      parts = words
    }
    return try made(parts.map { .string($0) })
  }

  /// Lines without their ends, as Python cuts them.
  private func lines(_ text: TaggedText) -> [Value] {
    var (lines, start, position): ([Value], Int, Int) = ([], 0, 0)
    while position < text.count {
      let scalar = text.scalars[position]
      switch scalar.value {
      case 0x0A...0x0D, 0x1C...0x1E, 0x85, 0x2028, 0x2029:
        lines.append(.string(text.slice(start..<position)))
        let isPair = scalar == "\r" && position + 1 < text.count && text.scalars[position + 1] == "\n"
        position += isPair ? 2 : 1
        start = position
      default: position += 1
      }
    }
    if start < text.count { lines.append(.string(text.slice(start..<text.count))) }
    return lines
  }

  /// Python's `str.title`: a letter is large unless a letter stands before it.
  private func title(_ text: TaggedText) throws(Failure) -> TaggedText {
    if text.scalars.contains("\u{3A3}") { throw unsupported("'title' of a text with a capital sigma") }
    var (result, isInside) = (TaggedText(), false)
    for index in 0..<text.count {
      let properties = text.scalars[index].properties
      let mapping = isInside ? properties.lowercaseMapping : properties.titlecaseMapping
      result.append(text.slice(index..<index + 1).mapping { _ in mapping })
      isInside = properties.isCased
    }
    return result
  }

  private func property(_ text: TaggedText, _ name: String) throws(Failure) -> Bool {
    let scalars = text.scalars
    switch name {
    case "isspace": return !scalars.isEmpty && scalars.allSatisfy(TaggedText.isSpace)
    case "isdigit":
      return !scalars.isEmpty
        && scalars.allSatisfy {
          $0.properties.numericType == .decimal || $0.properties.numericType == .digit
        }
    case "isalpha":
      return !scalars.isEmpty
        && scalars.allSatisfy { scalar in
          switch scalar.properties.generalCategory {
          case .uppercaseLetter, .lowercaseLetter, .titlecaseLetter, .modifierLetter, .otherLetter: true
          default: false
          }
        }
    case "isupper", "islower":
      let cased = scalars.filter { $0.properties.isCased }
      return !cased.isEmpty
        && cased.allSatisfy { name == "islower" ? $0.properties.isLowercase : $0.properties.isUppercase }
    default: throw unsupported(".\(name) of a string")
    }
  }
}
