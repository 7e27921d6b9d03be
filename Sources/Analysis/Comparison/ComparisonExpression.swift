import RunKit

/// A condition on the numbers of a comparison, such as `image.share.diff < -0.05`.
///
///     expression  = conjunction { "or" conjunction }
///     conjunction = factor { "and" factor }
///     factor      = "not" factor | "(" expression ")" | operand operator operand
///     operator    = "<" | "<=" | ">" | ">=" | "==" | "!="
///     operand     = number | name
///     name        = part { "." part }                 the last part is a field
///     part        = letters, digits, "_", "+", "-" | "*" | any text in double quotes
///
/// Fields are before, after, diff, low, high, p, p_holm and n. With `*` for a part the comparison holds if it holds for any
/// quantity of such a name.
public struct ComparisonExpression: Sendable, Equatable {
  /// The numbers a quantity has.
  public enum Field: String, CaseIterable, Sendable {
    case before, after, diff, low, high, p, n
    case corrected = "p_holm"
  }

  /// What became of an expression.
  public struct Outcome: Sendable, Equatable {
    /// Whether it holds.
    public let holds: Bool
    /// The numbers that were looked at, by name.
    public let values: [(name: String, value: Double)]

    /// Whether both agree.
    public static func == (left: Outcome, right: Outcome) -> Bool {
      left.holds == right.holds && left.values.elementsEqual(right.values) { $0 == $1 }
    }
  }

  /// A part of a name.
  enum Part: Equatable, Sendable {
    case word(String)
    case any
  }

  enum Operand: Equatable, Sendable {
    case number(Double)
    case name([Part])
  }

  indirect enum Node: Equatable, Sendable {
    case or(Node, Node)
    case and(Node, Node)
    case not(Node)
    case compare(Operand, String, Operand)
  }

  /// As it was written.
  public let text: String
  let root: Node

  /// Reads an expression.
  ///
  /// - Throws: `ComparisonError.malformedExpression`.
  public init(_ text: String) throws(ComparisonError) {
    self.text = text
    var parser = ExpressionParser(text)
    root = try parser.expression()
    try parser.finish()
  }

  /// Asks a comparison.
  ///
  /// - Throws: `ComparisonError.unknownQuantity`, `.unknownField`, `.undefinedValue`.
  public func outcome(in comparison: Comparison) throws(ComparisonError) -> Outcome {
    var values: [(name: String, value: Double)] = []
    let holds = try holds(root, comparison.rows, &values)
    return Outcome(holds: holds, values: values)
  }

  private func holds(_ node: Node, _ rows: [Comparison.Row], _ values: inout [(name: String, value: Double)])
    throws(ComparisonError) -> Bool
  {
    switch node {
    // Both sides are asked, so that a wrong name is found whatever the numbers.
    case .or(let left, let right):
      let sides = (try holds(left, rows, &values), try holds(right, rows, &values))
      return sides.0 || sides.1
    case .and(let left, let right):
      let sides = (try holds(left, rows, &values), try holds(right, rows, &values))
      return sides.0 && sides.1
    case .not(let inner): return try !holds(inner, rows, &values)
    case .compare(let left, let sign, let right):
      let (firsts, seconds) = (try numbers(left, rows, &values), try numbers(right, rows, &values))
      return firsts.contains { first in seconds.contains { Self.compares(first, sign, $0) } }
    }
  }

  private static func compares(_ left: Double, _ sign: String, _ right: Double) -> Bool {
    switch sign {
    case "<": left < right
    case "<=": left <= right
    case ">": left > right
    case ">=": left >= right
    case "==": left == right
    default: left != right
    }
  }

  /// The numbers an operand stands for: one, or all that a `*` matches.
  private func numbers(
    _ operand: Operand, _ rows: [Comparison.Row], _ values: inout [(name: String, value: Double)]
  ) throws(ComparisonError) -> [Double] {
    guard case .name(let parts) = operand else {
      if case .number(let number) = operand { return [number] }
      return []
    }
    let written = Self.spelling(parts)
    guard let last = parts.last, case .word(let word) = last, let field = Field(rawValue: word) else {
      throw .unknownField(expression: text, name: written, fields: Field.allCases.map(\.rawValue))
    }
    let name = parts.dropLast()
    let matches = rows.filter { row in
      row.path.count == name.count
        && zip(row.path, name).allSatisfy { part, wanted in wanted == .any || wanted == .word(part) }
    }
    guard !matches.isEmpty else {
      let names = rows.map(\.name)
      let short = Self.spelling(Array(name))
      throw .unknownQuantity(
        expression: text, name: short, nearest: NameSuggestion.nearest(to: short, in: names),
        examples: Array(names.prefix(3)))
    }
    var found: [Double] = []
    for row in matches {
      let full = row.name + "." + field.rawValue
      guard let value = Self.value(field, row.difference) else {
        throw .undefinedValue(expression: text, name: full)
      }
      found.append(value)
      values.append((full, value))
    }
    return found
  }

  static func value(_ field: Field, _ difference: PairedDifference) -> Double? {
    switch field {
    case .before: difference.before
    case .after: difference.after
    case .diff: difference.estimate.mean
    case .low: difference.estimate.low
    case .high: difference.estimate.high
    case .p: difference.p
    case .corrected: difference.corrected
    case .n: Double(difference.estimate.count)
    }
  }

  // MARK: Names

  private static func spelling(_ parts: [Part]) -> String {
    parts.map { part in
      switch part {
      case .word(let word): spelling(word)
      case .any: "*"
      }
    }.joined(separator: ".")
  }

  /// A name as expressions have it.
  static func spelling(_ path: [String]) -> String { path.map { spelling($0) }.joined(separator: ".") }

  private static func spelling(_ word: String) -> String {
    let isPlain =
      !word.isEmpty && word.unicodeScalars.allSatisfy(isPlain)
    return isPlain ? word : "\"" + word + "\""
  }

  static func isPlain(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar {
    case "a"..."z", "A"..."Z", "0"..."9", "_", "+", "-": true
    default: false
    }
  }
}

/// Reads an expression from left to right.
private struct ExpressionParser {
  private enum Token: Equatable {
    case name([ComparisonExpression.Part])
    case number(Double)
    case sign(String)
    case word(String)
    case open, close, end
  }

  private let text: String
  private let scalars: [Unicode.Scalar]
  private var position = 0
  private var token = Token.end
  /// Where the token begins, from 0.
  private var start = 0
  private var depth = 0
  private var hasStarted = false
  /// Parentheses and `not` inside each other.
  private static let depthLimit = 64
  private static let signs = ["<=", ">=", "==", "!=", "<", ">"]

  init(_ text: String) {
    self.text = text
    scalars = Array(text.unicodeScalars)
  }

  private func error(_ expected: String) -> ComparisonError {
    let found =
      start < scalars.count
      ? "'\(String(String.UnicodeScalarView(scalars[start..<max(start + 1, position)])))'" : "the end"
    return .malformedExpression(
      expression: text, column: start + 1, found: found.shown(limit: 80), expected: expected)
  }

  mutating func expression() throws(ComparisonError) -> ComparisonExpression.Node {
    if !hasStarted {
      hasStarted = true
      try advance()
    }
    var left = try conjunction()
    while token == .word("or") {
      try advance()
      left = .or(left, try conjunction())
    }
    return left
  }

  func finish() throws(ComparisonError) {
    if token != .end { throw error("'and', 'or' or the end") }
  }

  private mutating func conjunction() throws(ComparisonError) -> ComparisonExpression.Node {
    var left = try factor()
    while token == .word("and") {
      try advance()
      left = .and(left, try factor())
    }
    return left
  }

  private mutating func factor() throws(ComparisonError) -> ComparisonExpression.Node {
    depth += 1
    defer { depth -= 1 }
    guard depth <= Self.depthLimit else { throw error("at most \(Self.depthLimit) levels of parentheses") }
    if token == .word("not") {
      try advance()
      return .not(try factor())
    }
    if token == .open {
      try advance()
      let inner = try expression()
      guard token == .close else { throw error("')'") }
      try advance()
      return inner
    }
    let left = try operand()
    guard case .sign(let sign) = token else { throw error("one of <, <=, >, >=, ==, !=") }
    try advance()
    return .compare(left, sign, try operand())
  }

  private mutating func operand() throws(ComparisonError) -> ComparisonExpression.Operand {
    switch token {
    case .number(let number):
      try advance()
      return .number(number)
    case .name(let parts):
      try advance()
      return .name(parts)
    default: throw error("a number or a name such as image.share.diff")
    }
  }

  /// Reads the next token.
  private mutating func advance() throws(ComparisonError) {
    while position < scalars.count, scalars[position] == " " || scalars[position] == "\t" { position += 1 }
    start = position
    guard position < scalars.count else {
      token = .end
      return
    }
    let scalar = scalars[position]
    if scalar == "(" || scalar == ")" {
      position += 1
      token = scalar == "(" ? .open : .close
      return
    }
    for sign in Self.signs {
      let length = sign.unicodeScalars.count
      if scalars[position...].prefix(length).elementsEqual(sign.unicodeScalars) {
        position += length
        token = .sign(sign)
        return
      }
    }
    if try readNumber() { return }
    try readName()
  }

  /// A number: it begins with a sign, a digit or a point, and a name goes on differently.
  private mutating func readNumber() throws(ComparisonError) -> Bool {
    let scalar = scalars[position]
    guard ("0"..."9").contains(scalar) || scalar == "-" || scalar == "+" || scalar == "." else {
      return false
    }
    var end = position
    while end < scalars.count, ComparisonExpression.isPlain(scalars[end]) || scalars[end] == "." { end += 1 }
    let spelled = String(String.UnicodeScalarView(scalars[position..<end]))
    guard let number = Double(spelled), number.isFinite else {
      position = end
      throw error("a number such as -0.05")
    }
    position = end
    token = .number(number)
    return true
  }

  private mutating func readName() throws(ComparisonError) {
    var parts: [ComparisonExpression.Part] = []
    var isQuoted = false
    while true {
      guard position < scalars.count else { throw error("a part of a name") }
      if scalars[position] == "*" {
        position += 1
        parts.append(.any)
      } else if scalars[position] == "\"" {
        isQuoted = true
        let open = position
        position += 1
        while position < scalars.count, scalars[position] != "\"" { position += 1 }
        guard position < scalars.count else {
          start = open
          throw error("a closing quotation mark")
        }
        parts.append(.word(String(String.UnicodeScalarView(scalars[open + 1..<position]))))
        position += 1
      } else {
        let begin = position
        while position < scalars.count, ComparisonExpression.isPlain(scalars[position]) { position += 1 }
        guard position > begin else {
          start = position
          throw error("a number or a name such as image.share.diff")
        }
        parts.append(.word(String(String.UnicodeScalarView(scalars[begin..<position]))))
      }
      guard position < scalars.count, scalars[position] == "." else { break }
      position += 1
    }
    if parts.count == 1, !isQuoted, case .word(let word) = parts[0], ["and", "or", "not"].contains(word) {
      token = .word(word)
    } else {
      token = .name(parts)
    }
  }
}
