/// Builds statements and expressions out of the tokens of a template.
///
/// Source: Jinja 3.1, `parser.py`: the order of operators is `if … else`, `or`, `and`, `not`, comparisons, `+ -`, `~`,
/// `* / // %`, `**`, signs, then filters and tests.
struct TemplateParser {
  typealias Failure = TemplateLexer.Failure
  typealias Expression = TemplateExpression
  typealias Statement = TemplateStatement

  /// The most statements, or expressions, within each other.
  static let depthLimit = 100

  let tokens: [TemplateLexer.Located]
  var position = 0
  /// How deep the parser has called itself.
  var depth = 0
  private var loopDepth = 0

  /// The statements of a template.
  static func statements(of template: String) throws(Failure) -> [Statement] {
    var parser = TemplateParser(tokens: try TemplateLexer.tokens(of: template))
    return try parser.body(until: []).statements
  }

  private init(tokens: [TemplateLexer.Located]) { self.tokens = tokens }

  // MARK: - Tokens

  var current: TemplateLexer.Token { tokens[position].token }
  var line: Int { tokens[position].line }

  mutating func advance() { if position + 1 < tokens.count { position += 1 } }

  func syntax(_ expected: String) -> Failure { .syntax(line: line, expected: expected) }

  mutating func skip(sign: String) -> Bool {
    guard current == .sign(sign) else { return false }
    advance()
    return true
  }

  mutating func skip(name: String) -> Bool {
    guard current == .name(name) else { return false }
    advance()
    return true
  }

  mutating func expect(sign: String) throws(Failure) {
    guard skip(sign: sign) else { throw syntax("'\(sign)'") }
  }

  mutating func expectName() throws(Failure) -> String {
    guard case .name(let name) = current else { throw syntax("a name") }
    advance()
    return name
  }

  private mutating func expectBlockEnd() throws(Failure) {
    guard current == .blockEnd else { throw syntax("the end of the tag, %}") }
    advance()
  }

  /// Runs `body` one level deeper.
  mutating func deeper<Result>(
    _ body: (inout TemplateParser) throws(Failure) -> Result
  ) throws(Failure) -> Result {
    guard depth < Self.depthLimit else {
      throw .unsupported(line: line, construct: "more than \(Self.depthLimit) levels")
    }
    depth += 1
    defer { depth -= 1 }
    return try body(&self)
  }

  // MARK: - Statements

  /// Statements up to a tag with one of these names, which is passed over up to what follows the name.
  private mutating func body(until ends: [String]) throws(Failure) -> (statements: [Statement], end: String) {
    try deeper { parser throws(Failure) in try parser.readBody(until: ends) }
  }

  private mutating func readBody(until ends: [String]) throws(Failure) -> ([Statement], String) {
    var statements: [Statement] = []
    while true {
      let line = line
      switch current {
      case .end:
        guard ends.isEmpty else { throw syntax("{% \(ends.joined(separator: " %} or {% ")) %}") }
        return (statements, "")
      case .text(let text):
        advance()
        statements.append(Statement(.text(text), line: line))
      case .variableBegin:
        advance()
        statements.append(Statement(.output(try tuple()), line: line))
        guard current == .variableEnd else { throw syntax("the end of the tag, }}") }
        advance()
      case .blockBegin:
        advance()
        let name = try expectName()
        if ends.contains(name) { return (statements, name) }
        try statement(name, line, &statements)
      default: throw syntax("text or a tag")
      }
    }
  }

  private mutating func statement(_ name: String, _ line: Int, _ output: inout [Statement]) throws(Failure) {
    switch name {
    case "if": output.append(Statement(try conditional(), line: line))
    case "for": output.append(Statement(try loop(), line: line))
    case "set": output.append(Statement(try assignment(), line: line))
    case "macro": output.append(Statement(try macro(), line: line))
    case "with": output.append(Statement(try scope(), line: line))
    case "filter":
      let filter = try filters(nil)
      try expectBlockEnd()
      output.append(Statement(.filtered(filter, body: try closedBody("endfilter")), line: line))
    case "generation":
      // Marks what the model writes, for training; it writes what its body writes.
      try expectBlockEnd()
      output.append(Statement(.scope([], body: try closedBody("endgeneration")), line: line))
    case "break", "continue":
      guard loopDepth > 0 else { throw syntax("{% \(name) %} within a loop") }
      try expectBlockEnd()
      output.append(Statement(name == "break" ? .stop : .skip, line: line))
    case "include", "import", "from", "extends", "block", "call", "autoescape", "do", "trans", "debug":
      throw .unsupported(line: line, construct: "{% \(name) %}")
    default: throw .syntax(line: line, expected: "a known tag instead of {% \(name) %}")
    }
  }

  private mutating func closedBody(_ end: String) throws(Failure) -> [Statement] {
    let statements = try body(until: [end]).statements
    try expectBlockEnd()
    return statements
  }

  private mutating func conditional() throws(Failure) -> Statement.Kind {
    var branches: [(test: Expression, body: [Statement])] = []
    while true {
      let test = try tuple(allowsConditional: false)
      try expectBlockEnd()
      let (statements, end) = try body(until: ["elif", "else", "endif"])
      branches.append((test, statements))
      if end == "elif" { continue }
      try expectBlockEnd()
      return .conditional(branches, otherwise: end == "else" ? try closedBody("endif") : [])
    }
  }

  private mutating func loop() throws(Failure) -> Statement.Kind {
    let target = try target(allowsNamespace: false)
    guard skip(name: "in") else { throw syntax("'in'") }
    let sequence = try tuple(allowsConditional: false)
    let filter = skip(name: "if") ? try expression() : nil
    if current == .name("recursive") { throw .unsupported(line: line, construct: "a recursive loop") }
    try expectBlockEnd()
    loopDepth += 1
    let (statements, end) = try body(until: ["else", "endfor"])
    loopDepth -= 1
    try expectBlockEnd()
    let otherwise = end == "else" ? try closedBody("endfor") : []
    return .loop(target, over: sequence, if: filter, body: statements, otherwise: otherwise)
  }

  private mutating func assignment() throws(Failure) -> Statement.Kind {
    let target = try target(allowsNamespace: true)
    if skip(sign: "=") {
      let value = try tuple()
      try expectBlockEnd()
      return .assignment(target, value)
    }
    let filter = current == .sign("|") ? try pipedFilters() : nil
    try expectBlockEnd()
    return .capture(target, filter: filter, body: try closedBody("endset"))
  }

  private mutating func pipedFilters() throws(Failure) -> Expression {
    try expect(sign: "|")
    return try filters(nil)
  }

  private mutating func macro() throws(Failure) -> Statement.Kind {
    let name = try expectName()
    var parameters: [(name: String, fallback: Expression?)] = []
    try expect(sign: "(")
    while !skip(sign: ")") {
      if !parameters.isEmpty { try expect(sign: ",") }
      let parameter = try expectName()
      let fallback = skip(sign: "=") ? try expression() : nil
      guard fallback != nil || parameters.last?.fallback == nil else { throw syntax("a default value") }
      parameters.append((parameter, fallback))
    }
    try expectBlockEnd()
    let outer = loopDepth
    loopDepth = 0
    let statements = try closedBody("endmacro")
    loopDepth = outer
    return .macro(name, parameters: parameters, body: statements)
  }

  private mutating func scope() throws(Failure) -> Statement.Kind {
    var values: [(target: TemplateTarget, value: Expression)] = []
    while current != .blockEnd {
      if !values.isEmpty { try expect(sign: ",") }
      let target = TemplateTarget.name(try expectName())
      try expect(sign: "=")
      values.append((target, try expression()))
    }
    try expectBlockEnd()
    return .scope(values, body: try closedBody("endwith"))
  }

  /// Names that values are given to: one, or several between commas, in parentheses if they lie within each other.
  private mutating func target(allowsNamespace: Bool) throws(Failure) -> TemplateTarget {
    var targets: [TemplateTarget] = []
    var isTuple = false
    while true {
      targets.append(try singleTarget(allowsNamespace: allowsNamespace))
      guard skip(sign: ",") else { break }
      isTuple = true
      guard case .name(let next) = current, next != "in" else {
        if current == .sign("(") { continue }
        break
      }
    }
    return isTuple ? .tuple(targets) : targets[0]
  }

  private mutating func singleTarget(allowsNamespace: Bool) throws(Failure) -> TemplateTarget {
    if skip(sign: "(") {
      let inner = try deeper { parser throws(Failure) in try parser.target(allowsNamespace: false) }
      try expect(sign: ")")
      return inner
    }
    let name = try expectName()
    guard !["true", "false", "none", "True", "False", "None"].contains(name) else {
      throw syntax("a name that can be set")
    }
    if allowsNamespace, skip(sign: ".") { return .attribute(namespace: name, name: try expectName()) }
    return .name(name)
  }
}
