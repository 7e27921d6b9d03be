extension TemplateParser {
  /// An expression of parts, refused when too many lie within each other.
  private func made(
    _ kind: Expression.Kind, of parts: [Expression?], line: Int
  ) throws(Failure) -> Expression {
    let depth = 1 + (parts.compactMap { $0?.depth }.max() ?? 0)
    guard depth <= 2 * Self.depthLimit else {
      throw .unsupported(
        line: line, construct: "more than \(2 * Self.depthLimit) expressions within each other")
    }
    return Expression(kind, line: line, depth: depth)
  }

  /// One expression, or several between commas, which make a tuple.
  mutating func tuple(allowsConditional: Bool = true) throws(Failure) -> Expression {
    let line = line
    var items: [Expression] = []
    var isTuple = false
    while true {
      if !items.isEmpty || isTuple {
        if case .variableEnd = current { break }
        if case .blockEnd = current { break }
        if current == .sign(")") { break }
      }
      items.append(allowsConditional ? try expression() : try disjunction())
      guard skip(sign: ",") else { break }
      isTuple = true
    }
    return isTuple ? try made(.tuple(items), of: items, line: line) : items[0]
  }

  mutating func expression() throws(Failure) -> Expression {
    try deeper { parser throws(Failure) in try parser.conditionalExpression() }
  }

  private mutating func conditionalExpression() throws(Failure) -> Expression {
    let line = line
    var value = try disjunction()
    while skip(name: "if") {
      let test = try disjunction()
      let otherwise = skip(name: "else") ? try expression() : nil
      value = try made(
        .conditional(value, if: test, else: otherwise), of: [value, test, otherwise], line: line)
    }
    return value
  }

  private mutating func disjunction() throws(Failure) -> Expression {
    let line = line
    var left = try conjunction()
    while skip(name: "or") {
      let right = try conjunction()
      left = try made(.or(left, right), of: [left, right], line: line)
    }
    return left
  }

  private mutating func conjunction() throws(Failure) -> Expression {
    let line = line
    var left = try negation()
    while skip(name: "and") {
      let right = try negation()
      left = try made(.and(left, right), of: [left, right], line: line)
    }
    return left
  }

  private mutating func negation() throws(Failure) -> Expression {
    let line = line
    guard skip(name: "not") else { return try comparison() }
    let operand = try deeper { parser throws(Failure) in try parser.negation() }
    return try made(.not(operand), of: [operand], line: line)
  }

  private mutating func comparison() throws(Failure) -> Expression {
    let line = line
    let left = try sum()
    var rest: [(sign: String, right: Expression)] = []
    while true {
      var found: String?
      if case .sign(let sign) = current, ["==", "!=", "<", "<=", ">", ">="].contains(sign) {
        found = sign
        advance()
      } else if skip(name: "in") {
        found = "in"
      } else if current == .name("not"), tokens[position + 1].token == .name("in") {
        found = "not in"
        advance()
        advance()
      }
      guard let found else { break }
      rest.append((found, try sum()))
    }
    if rest.isEmpty { return left }
    return try made(.comparison(left, rest), of: [left] + rest.map(\.right), line: line)
  }

  private mutating func sum() throws(Failure) -> Expression {
    let line = line
    var left = try concatenation()
    while case .sign(let sign) = current, sign == "+" || sign == "-" {
      advance()
      let right = try concatenation()
      left = try made(.arithmetic(sign, left, right), of: [left, right], line: line)
    }
    return left
  }

  private mutating func concatenation() throws(Failure) -> Expression {
    let line = line
    var parts = [try product()]
    while skip(sign: "~") { parts.append(try product()) }
    return parts.count == 1 ? parts[0] : try made(.concatenation(parts), of: parts, line: line)
  }

  private mutating func product() throws(Failure) -> Expression {
    let line = line
    var left = try power()
    while case .sign(let sign) = current, ["*", "/", "//", "%"].contains(sign) {
      advance()
      let right = try power()
      left = try made(.arithmetic(sign, left, right), of: [left, right], line: line)
    }
    return left
  }

  private mutating func power() throws(Failure) -> Expression {
    let line = line
    var left = try unary(isFiltered: true)
    while skip(sign: "**") {
      let right = try unary(isFiltered: true)
      left = try made(.arithmetic("**", left, right), of: [left, right], line: line)
    }
    return left
  }

  private mutating func unary(isFiltered: Bool) throws(Failure) -> Expression {
    let line = line
    var value: Expression
    if skip(sign: "-") {
      let operand = try deeper { parser throws(Failure) in try parser.unary(isFiltered: false) }
      value = try made(.negative(operand), of: [operand], line: line)
    } else if skip(sign: "+") {
      let operand = try deeper { parser throws(Failure) in try parser.unary(isFiltered: false) }
      value = try made(.positive(operand), of: [operand], line: line)
    } else {
      value = try primary()
    }
    value = try postfix(value)
    return isFiltered ? try filtersAndTests(value) : value
  }

  private mutating func primary() throws(Failure) -> Expression {
    let line = line
    func constant(_ value: TemplateConstant) -> Expression {
      Expression(.constant(value), line: line, depth: 1)
    }
    switch current {
    case .name(let name):
      advance()
      switch name {
      case "true", "True": return constant(.bool(true))
      case "false", "False": return constant(.bool(false))
      case "none", "None": return constant(.none)
      default: return Expression(.name(name), line: line, depth: 1)
      }
    case .string(let first):
      advance()
      var text = first
      // Strings that stand side by side are one.
      while case .string(let next) = current {
        text += next
        advance()
      }
      return constant(.string(text))
    case .integer(let value):
      advance()
      return constant(.integer(value))
    case .float(let value):
      advance()
      return constant(.float(value))
    case .sign("("): return try parenthesized(line)
    case .sign("["):
      advance()
      var items: [Expression] = []
      while !skip(sign: "]") {
        if !items.isEmpty {
          try expect(sign: ",")
          if skip(sign: "]") { break }
        }
        items.append(try expression())
      }
      return try made(.list(items), of: items, line: line)
    case .sign("{"): return try dictionary(line)
    default: throw syntax("an expression")
    }
  }

  private mutating func parenthesized(_ line: Int) throws(Failure) -> Expression {
    advance()
    if skip(sign: ")") { return try made(.tuple([]), of: [], line: line) }
    let value = try deeper { parser throws(Failure) in try parser.tuple() }
    try expect(sign: ")")
    return value
  }

  private mutating func dictionary(_ line: Int) throws(Failure) -> Expression {
    advance()
    var items: [(key: Expression, value: Expression)] = []
    while !skip(sign: "}") {
      if !items.isEmpty {
        try expect(sign: ",")
        if skip(sign: "}") { break }
      }
      let key = try expression()
      try expect(sign: ":")
      items.append((key, try expression()))
    }
    return try made(.dictionary(items), of: items.map(\.key) + items.map(\.value), line: line)
  }

  /// Attributes, items, slices and calls behind an expression.
  private mutating func postfix(_ start: Expression) throws(Failure) -> Expression {
    var value = start
    while true {
      let line = line
      if skip(sign: ".") {
        if case .integer(let index) = current {
          advance()
          let key = Expression(.constant(.integer(index)), line: line, depth: 1)
          value = try made(.item(value, key), of: [value], line: line)
        } else {
          value = try made(.attribute(value, try expectName()), of: [value], line: line)
        }
      } else if skip(sign: "[") {
        value = try subscripted(value, line)
      } else if current == .sign("(") {
        let arguments = try arguments()
        value = try made(.call(value, arguments), of: [value] + arguments.map(\.value), line: line)
      } else {
        return value
      }
    }
  }

  private mutating func subscripted(_ value: Expression, _ line: Int) throws(Failure) -> Expression {
    var parts: [Expression?] = [nil]
    var isSlice = false
    while !skip(sign: "]") {
      if skip(sign: ":") {
        isSlice = true
        parts.append(nil)
        guard parts.count <= 3 else { throw syntax("']'") }
      } else if current == .sign(",") {
        throw .unsupported(line: line, construct: "several items in one pair of brackets")
      } else if parts[parts.count - 1] == nil {
        parts[parts.count - 1] = try expression()
      } else {
        throw syntax("']'")
      }
    }
    if isSlice {
      return try made(
        .slice(value, start: parts[0], end: parts[1], step: parts.count > 2 ? parts[2] : nil),
        of: [value] + parts, line: line)
    }
    guard let key = parts[0] else { throw syntax("an expression in brackets") }
    return try made(.item(value, key), of: [value, key], line: line)
  }

  private mutating func arguments() throws(Failure) -> [TemplateArgument] {
    try expect(sign: "(")
    var arguments: [TemplateArgument] = []
    while !skip(sign: ")") {
      if !arguments.isEmpty {
        try expect(sign: ",")
        if skip(sign: ")") { break }
      }
      if current == .sign("*") || current == .sign("**") {
        throw .unsupported(line: line, construct: "a list of arguments out of a value")
      }
      var name: String?
      if case .name(let keyword) = current, tokens[position + 1].token == .sign("=") {
        name = keyword
        advance()
        advance()
      } else if arguments.last?.name != nil {
        throw syntax("an argument with a keyword")
      }
      arguments.append(TemplateArgument(name: name, value: try expression()))
    }
    return arguments
  }

  private mutating func filtersAndTests(_ start: Expression) throws(Failure) -> Expression {
    var value = start
    while true {
      let line = line
      if skip(sign: "|") {
        value = try filters(value)
      } else if skip(name: "is") {
        value = try test(value, line)
      } else if current == .sign("(") {
        let arguments = try arguments()
        value = try made(.call(value, arguments), of: [value] + arguments.map(\.value), line: line)
      } else {
        return value
      }
    }
  }

  /// One filter or more with `|` between them; the first one is fed by `operand`.
  mutating func filters(_ operand: Expression?) throws(Failure) -> Expression {
    var value = operand
    while true {
      let line = line
      var name = try expectName()
      while skip(sign: ".") { name += "." + (try expectName()) }
      let arguments = current == .sign("(") ? try arguments() : []
      let filter = try made(
        .filter(value, name, arguments), of: [value] + arguments.map(\.value), line: line)
      guard skip(sign: "|") else { return filter }
      value = filter
    }
  }

  private mutating func test(_ value: Expression, _ line: Int) throws(Failure) -> Expression {
    let isNegated = skip(name: "not")
    let name = try expectName()
    var found: [TemplateArgument] = []
    if current == .sign("(") {
      found = try arguments()
    } else if startsTestArgument {
      let argument = try postfix(try deeper { parser throws(Failure) in try parser.primary() })
      found = [TemplateArgument(name: nil, value: argument)]
    }
    return try made(
      .test(value, name, found, isNegated: isNegated), of: [value] + found.map(\.value), line: line)
  }

  /// Whether the argument of a test stands here without parentheses, as in `is divisibleby 3`.
  private var startsTestArgument: Bool {
    switch current {
    case .name(let name): !["else", "or", "and", "is", "in", "not", "if"].contains(name)
    case .string, .integer, .float, .sign("["), .sign("{"): true
    default: false
    }
  }
}
