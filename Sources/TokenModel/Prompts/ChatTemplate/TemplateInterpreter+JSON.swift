extension TemplateInterpreter {
  /// The filter `tojson` as transformers defines it: Python's `json.dumps` with characters as they are.
  func json(_ value: Value, _ call: TemplateCall) throws(Failure) -> TaggedText {
    try allow(call, ["ensure_ascii", "indent", "separators", "sort_keys"])
    var writer = JSONLayout(
      escapesAll: call.value(0, "ensure_ascii")?.isTrue ?? false,
      sortsKeys: call.value(3, "sort_keys")?.isTrue ?? false)
    switch call.value(1, "indent") {
    case nil, .some(.none): break
    case .string(let text)?: writer.indent = text
    case let width?:
      guard let count = width.index, count <= 100 else { throw failure("indent wants a number") }
      writer.indent = TaggedText(String(repeating: " ", count: max(0, count)))
    }
    if writer.indent != nil { writer.itemSeparator = TaggedText(",") }
    switch call.value(2, "separators") {
    case nil, .some(.none): break
    case .tuple(let parts)?, .list(let parts)?:
      guard parts.count == 2, case .string(let item) = parts[0], case .string(let key) = parts[1] else {
        throw failure("separators wants two strings")
      }
      (writer.itemSeparator, writer.keySeparator) = (item, key)
    case let other?: throw failure("separators wants two strings, found \(other.kind)")
    }
    return try json(value, writer, level: 0)
  }

  private struct JSONLayout {
    var escapesAll: Bool
    var sortsKeys: Bool
    var indent: TaggedText?
    var itemSeparator = TaggedText(", ")
    var keySeparator = TaggedText(": ")
  }

  private func json(_ value: Value, _ layout: JSONLayout, level: Int) throws(Failure) -> TaggedText {
    try charge()
    switch value {
    case .none: return TaggedText("null")
    case .bool(let bool): return TaggedText(bool ? "true" : "false")
    case .integer(let integer): return TaggedText("\(integer)")
    case .float(let float): return TaggedText("\(float)")
    case .string(let text): return json(text, layout)
    case .list(let items), .tuple(let items):
      var parts: [TaggedText] = []
      for item in items { parts.append(try json(item, layout, level: level + 1)) }
      return try enclosed(parts, "[", "]", layout, level)
    case .dictionary(let dictionary):
      var entries = dictionary.entries
      if layout.sortsKeys {
        entries.sort { $0.key.scalars.lexicographicallyPrecedes($1.key.scalars) }
      }
      var parts: [TaggedText] = []
      for entry in entries {
        var part = json(entry.key, layout)
        part.append(layout.keySeparator)
        part.append(try json(entry.value, layout, level: level + 1))
        parts.append(part)
      }
      return try enclosed(parts, "{", "}", layout, level)
    default: throw failure("\(value.kind) cannot be written as JSON")
    }
  }

  private func enclosed(
    _ parts: [TaggedText], _ start: String, _ end: String, _ layout: JSONLayout, _ level: Int
  ) throws(Failure) -> TaggedText {
    var text = TaggedText(start)
    func newLine(_ level: Int) {
      guard let indent = layout.indent, !parts.isEmpty else { return }
      text.append(TaggedText("\n"))
      for _ in 0..<level { text.append(indent) }
    }
    newLine(level + 1)
    for (index, part) in parts.enumerated() {
      if index > 0 {
        text.append(layout.itemSeparator)
        newLine(level + 1)
      }
      text.append(part)
    }
    newLine(level)
    text.append(TaggedText(end))
    try charge(text.count)
    guard text.count <= Self.textLimit else {
      throw .tooLarge(what: "characters of one text", limit: Self.textLimit)
    }
    return text
  }

  private func json(_ text: TaggedText, _ layout: JSONLayout) -> TaggedText {
    func escaped(_ value: UInt16) -> String {
      let digits = String(value, radix: 16)
      return "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
    }
    var result = TaggedText("\"")
    result.append(
      text.mapping { scalar in
        switch scalar {
        case "\"": return "\\\""
        case "\\": return "\\\\"
        case "\n": return "\\n"
        case "\r": return "\\r"
        case "\t": return "\\t"
        case "\u{08}": return "\\b"
        case "\u{0C}": return "\\f"
        default: break
        }
        let needsEscape = scalar.value < 0x20 || (layout.escapesAll && scalar.value > 0x7E)
        return needsEscape ? String(scalar).utf16.map { escaped($0) }.joined() : String(scalar)
      })
    result.append(TaggedText("\""))
    return result
  }
}
