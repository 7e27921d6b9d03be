/// Cuts a template into text and the tokens within its tags.
///
/// White space is treated as transformers sets Jinja: `trim_blocks` (the line feed behind a block tag goes) and
/// `lstrip_blocks` (spaces between the start of a line and a block tag go); the signs `-` and `+` in a tag come first.
///
/// Source: Jinja 3.1, "Template Designer Documentation", whitespace control; `lexer.py`.
struct TemplateLexer {
  /// A part of a template.
  enum Token: Equatable {
    case text(String)
    case blockBegin, blockEnd, variableBegin, variableEnd
    case name(String)
    case string(String)
    case integer(Int)
    case float(Double)
    case sign(String)
    case end
  }

  /// A token and the line it starts on.
  struct Located {
    let token: Token
    let line: Int
  }

  /// What is wrong with a template.
  enum Failure: Error {
    case syntax(line: Int, expected: String)
    case unsupported(line: Int, construct: String)
  }

  /// The most tokens of a template.
  static let tokenLimit = 1 << 17

  private let scalars: [Unicode.Scalar]
  private var position = 0
  private var line = 1
  private var startsLine = true
  private var tokens: [Located] = []

  /// Cuts a template.
  static func tokens(of template: String) throws(Failure) -> [Located] {
    var lexer = TemplateLexer(template)
    try lexer.run()
    return lexer.tokens
  }

  private init(_ template: String) {
    var scalars: [Unicode.Scalar] = []
    var previous: Unicode.Scalar?
    for scalar in template.unicodeScalars {
      // All ways to end a line become a line feed.
      if scalar == "\r" || (scalar == "\n" && previous != "\r") {
        scalars.append("\n")
      } else if scalar != "\n" {
        scalars.append(scalar)
      }
      previous = scalar
    }
    if scalars.last == "\n" { scalars.removeLast() }
    self.scalars = scalars
  }

  private func has(_ text: String, at place: Int) -> Bool {
    var place = place
    for scalar in text.unicodeScalars {
      guard place < scalars.count, scalars[place] == scalar else { return false }
      place += 1
    }
    return true
  }

  private func character(_ place: Int) -> Unicode.Scalar? { place < scalars.count ? scalars[place] : nil }

  private mutating func advance(to end: Int) {
    for index in position..<end where scalars[index] == "\n" { line += 1 }
    position = end
  }

  private mutating func add(_ token: Token) throws(Failure) {
    guard tokens.count < Self.tokenLimit else {
      throw .syntax(line: line, expected: "at most \(Self.tokenLimit) tokens")
    }
    tokens.append(Located(token: token, line: line))
  }

  private mutating func run() throws(Failure) {
    while position < scalars.count {
      let tag = nextTag(from: position)
      try addText(upTo: tag)
      guard tag < scalars.count else { break }
      switch scalars[tag + 1] {
      case "#": try skipComment()
      case "{":
        try add(.variableBegin)
        advance(to: position + (isTrimSign(position + 2) ? 3 : 2))
        try readTag(isBlock: false)
      default:
        if let body = rawStart() {
          try readRaw(body)
        } else {
          try add(.blockBegin)
          advance(to: position + (isTrimSign(position + 2) ? 3 : 2))
          try readTag(isBlock: true)
        }
      }
    }
    try add(.end)
  }

  private func isTrimSign(_ place: Int) -> Bool { character(place) == "-" || character(place) == "+" }

  private func nextTag(from start: Int) -> Int {
    var place = start
    while place + 1 < scalars.count {
      if scalars[place] == "{",
        scalars[place + 1] == "%" || scalars[place + 1] == "{" || scalars[place + 1] == "#"
      {
        return place
      }
      place += 1
    }
    return scalars.count
  }

  /// Adds the text before a tag, without the white space that the tag takes away.
  private mutating func addText(upTo tag: Int) throws(Failure) {
    var end = tag
    if tag < scalars.count {
      if character(tag + 2) == "-" {
        while end > position, TaggedText.isSpace(scalars[end - 1]) { end -= 1 }
      } else if character(tag + 2) != "+", scalars[tag + 1] != "{" {
        end = lineStart(before: tag)
      }
    }
    if end > position { try add(.text(text(position..<end))) }
    advance(to: tag)
  }

  /// The start of the line of a tag if there is nothing but white space before it on this line.
  private func lineStart(before tag: Int) -> Int {
    var start = tag
    while start > position, scalars[start - 1] != "\n" { start -= 1 }
    guard start > position || startsLine else { return tag }
    return scalars[start..<tag].allSatisfy { TaggedText.isSpace($0) } ? start : tag
  }

  private func text(_ range: Range<Int>) -> String {
    var view = String.UnicodeScalarView()
    view.append(contentsOf: scalars[range])
    return String(view)
  }

  /// Passes over the end of a tag, `sign` being before it, and over the white space it takes away.
  private mutating func finishTag(at place: Int, marker: String, trimsLine: Bool) {
    var end = place
    let sign = character(end)
    if sign == "-" || (sign == "+" && trimsLine) { end += 1 }
    end += marker.unicodeScalars.count
    if sign == "-" {
      while let next = character(end), TaggedText.isSpace(next) { end += 1 }
    } else if sign != "+", trimsLine, character(end) == "\n" {
      end += 1
    }
    advance(to: end)
    startsLine = scalars[end - 1] == "\n"
  }

  /// Whether the end of a tag stands at a place, with or without a sign.
  private func isEnd(_ marker: String, at place: Int, allowsPlus: Bool) -> Bool {
    if has(marker, at: place) { return true }
    let sign = character(place)
    return (sign == "-" || (allowsPlus && sign == "+")) && has(marker, at: place + 1)
  }

  private mutating func skipComment() throws(Failure) {
    let start = line
    var place = position + 2
    while place < scalars.count {
      if isEnd("#}", at: place, allowsPlus: true) {
        return finishTag(at: place, marker: "#}", trimsLine: true)
      }
      place += 1
    }
    throw .syntax(line: start, expected: "the end of the comment, #}")
  }

  /// Where the text of a raw block starts; nil at any other tag.
  private func rawStart() -> Int? {
    var place = position + 2
    if isTrimSign(place) { place += 1 }
    while let next = character(place), TaggedText.isSpace(next) { place += 1 }
    guard has("raw", at: place) else { return nil }
    place += 3
    while let next = character(place), TaggedText.isSpace(next) { place += 1 }
    if has("%}", at: place) { return place + 2 }
    guard has("-%}", at: place) else { return nil }
    place += 3
    while let next = character(place), TaggedText.isSpace(next) { place += 1 }
    return place
  }

  private mutating func readRaw(_ start: Int) throws(Failure) {
    advance(to: start)
    startsLine = scalars[start - 1] == "\n"
    var place = start
    while place < scalars.count {
      if has("{%", at: place) {
        var inner = place + 2
        if isTrimSign(inner) { inner += 1 }
        while let next = character(inner), TaggedText.isSpace(next) { inner += 1 }
        if has("endraw", at: inner) {
          inner += 6
          while let next = character(inner), TaggedText.isSpace(next) { inner += 1 }
          if isEnd("%}", at: inner, allowsPlus: true) {
            try addText(upTo: place)
            return finishTag(at: inner, marker: "%}", trimsLine: true)
          }
        }
      }
      place += 1
    }
    throw .syntax(line: line, expected: "{% endraw %}")
  }

  // MARK: - Within tags

  private static let signs = [
    "//", "**", "==", "!=", ">=", "<=", "+", "-", "*", "/", "%", "~", "[", "]", "(", ")", "{", "}", ">", "<",
    "=", ".", ":", "|", ",", ";",
  ]

  private mutating func readTag(isBlock: Bool) throws(Failure) {
    let start = line
    var open: [String] = []
    let marker = isBlock ? "%}" : "}}"
    while position < scalars.count {
      // Within brackets `}}` closes two of them.
      if open.isEmpty, isEnd(marker, at: position, allowsPlus: isBlock) {
        try add(isBlock ? .blockEnd : .variableEnd)
        return finishTag(at: position, marker: marker, trimsLine: isBlock)
      }
      let scalar = scalars[position]
      if TaggedText.isSpace(scalar) {
        advance(to: position + 1)
      } else if scalar == "_" || scalar.properties.isXIDStart {
        var end = position + 1
        while let next = character(end), next == "_" || next.properties.isXIDContinue { end += 1 }
        try add(.name(text(position..<end)))
        advance(to: end)
      } else if "0"..."9" ~= scalar {
        try readNumber()
      } else if scalar == "'" || scalar == "\"" {
        try readString(scalar)
      } else if let sign = Self.signs.first(where: { has($0, at: position) }) {
        try balance(sign, &open)
        try add(.sign(sign))
        advance(to: position + sign.unicodeScalars.count)
      } else {
        throw .syntax(line: line, expected: "an expression instead of \(String(scalar).debugDescription)")
      }
    }
    throw .syntax(line: start, expected: "the end of the tag, \(marker)")
  }

  private func balance(_ sign: String, _ open: inout [String]) throws(Failure) {
    switch sign {
    case "{": open.append("}")
    case "(": open.append(")")
    case "[": open.append("]")
    case "}", ")", "]":
      guard open.popLast() == sign else {
        throw .syntax(line: line, expected: "no \(sign) without its partner")
      }
    default: break
    }
  }

  private mutating func readNumber() throws(Failure) {
    var end = position
    func digits() {
      while let next = character(end), "0"..."9" ~= next || next == "_" { end += 1 }
    }
    digits()
    var isFloat = false
    if character(end) == ".", let next = character(end + 1), "0"..."9" ~= next {
      isFloat = true
      end += 1
      digits()
    }
    if character(end) == "e" || character(end) == "E" {
      var exponent = end + 1
      if character(exponent) == "+" || character(exponent) == "-" { exponent += 1 }
      if let next = character(exponent), "0"..."9" ~= next {
        isFloat = true
        end = exponent
        digits()
      }
    }
    if let next = character(end), next.properties.isXIDStart || next == "_" {
      throw .unsupported(line: line, construct: "a number of another base than ten")
    }
    let digitsOnly = text(position..<end).filter { $0 != "_" }
    if isFloat, let value = Double(digitsOnly), value.isFinite {
      try add(.float(value))
    } else if !isFloat, let value = Int(digitsOnly) {
      try add(.integer(value))
    } else {
      throw .unsupported(line: line, construct: "a number beyond 64 bits")
    }
    advance(to: end)
  }

  private mutating func readString(_ quote: Unicode.Scalar) throws(Failure) {
    var value = String.UnicodeScalarView()
    var place = position + 1
    while let scalar = character(place) {
      if scalar == quote {
        try add(.string(String(value)))
        return advance(to: place + 1)
      }
      if scalar == "\\" {
        place = try readEscape(place + 1, &value)
      } else {
        value.append(scalar)
        place += 1
      }
    }
    throw .syntax(line: line, expected: "the end of the string, \(quote)")
  }

  /// Reads what follows a backslash, as Python does; where the rest starts.
  private func readEscape(_ place: Int, _ value: inout String.UnicodeScalarView) throws(Failure) -> Int {
    guard let scalar = character(place) else { throw .syntax(line: line, expected: "the end of the string") }
    let simple: [Unicode.Scalar: Unicode.Scalar] = [
      "n": "\n", "t": "\t", "r": "\r", "\\": "\\", "'": "'", "\"": "\"", "a": "\u{07}", "b": "\u{08}",
      "f": "\u{0C}", "v": "\u{0B}",
    ]
    if let replacement = simple[scalar] {
      value.append(replacement)
      return place + 1
    }
    switch scalar {
    case "\n": return place + 1
    case "x", "u", "U":
      let count = scalar == "x" ? 2 : scalar == "u" ? 4 : 8
      let end = place + 1 + count
      guard end <= scalars.count, let code = UInt32(text(place + 1..<end), radix: 16),
        let decoded = Unicode.Scalar(code)
      else { throw .syntax(line: line, expected: "\(count) hexadecimal digits of a character") }
      value.append(decoded)
      return end
    case "0"..."7":
      var (end, code): (Int, UInt32) = (place, 0)
      while end < place + 3, let digit = character(end), "0"..."7" ~= digit {
        code = code * 8 + digit.value - 0x30
        end += 1
      }
      value.append(Unicode.Scalar(code) ?? "\u{FFFD}")
      return end
    case "N": throw .unsupported(line: line, construct: "a character by its name")
    default:
      // Python keeps the backslash of an escape it does not know.
      value.append("\\")
      value.append(scalar)
      return place + 1
    }
  }
}
