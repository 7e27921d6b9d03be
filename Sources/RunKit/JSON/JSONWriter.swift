extension JSONValue {
  /// How a document is laid out.
  public enum Layout: Sendable {
    /// One line without spaces.
    case compact
    /// Two spaces a level; arrays of plain numbers stay on one line.
    case indented
  }

  /// The document as text: keys in their order, numbers in the shortest form that reads back the same.
  ///
  /// A number that is not finite is written as `null`, since JSON has no other word for it.
  public func text(_ layout: Layout = .compact) -> String {
    var writer = JSONWriter(layout: layout)
    writer.write(self, level: 0)
    return writer.text
  }
}

private struct JSONWriter {
  let layout: JSONValue.Layout
  var text = ""

  mutating func write(_ value: JSONValue, level: Int) {
    switch value {
    case .null: text += "null"
    case .bool(let bool): text += bool ? "true" : "false"
    case .integer(let integer): text += String(integer)
    case .number(let number): text += Self.spelling(of: number)
    case .string(let string): quote(string)
    case .array(let elements):
      let breaks = layout == .indented && elements.contains { $0.objectValue != nil || $0.arrayValue != nil }
      text += "["
      for (index, element) in elements.enumerated() {
        if index > 0 { text += breaks || layout == .compact ? "," : ", " }
        if breaks { newLine(level + 1) }
        write(element, level: level + 1)
      }
      if breaks { newLine(level) }
      text += "]"
    case .object(let object):
      let breaks = layout == .indented && !object.members.isEmpty
      text += "{"
      for (index, member) in object.members.enumerated() {
        if index > 0 { text += "," }
        if breaks { newLine(level + 1) }
        quote(member.key)
        text += layout == .indented ? ": " : ":"
        write(member.value, level: level + 1)
      }
      if breaks { newLine(level) }
      text += "}"
    }
  }

  private mutating func newLine(_ level: Int) {
    text += "\n"
    for _ in 0..<level { text += "  " }
  }

  /// The shortest decimal that reads back as `number`; whole numbers keep their ".0".
  private static func spelling(of number: Double) -> String {
    number.isFinite ? number.description : "null"
  }

  private mutating func quote(_ string: String) {
    text += "\""
    for scalar in string.unicodeScalars {
      switch scalar {
      case "\"": text += "\\\""
      case "\\": text += "\\\\"
      case "\n": text += "\\n"
      case "\r": text += "\\r"
      case "\t": text += "\\t"
      case _
      where scalar.value < 0x20 || scalar.value == 0x7F || scalar.value == 0x2028 || scalar.value == 0x2029:
        let digits = String(scalar.value, radix: 16)
        text += "\\u" + String(repeating: "0", count: 4 - digits.count) + digits
      default: text.unicodeScalars.append(scalar)
      }
    }
    text += "\""
  }
}
