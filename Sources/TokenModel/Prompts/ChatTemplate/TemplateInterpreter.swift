/// Carries a template out.
///
/// Source: Jinja 3.1 with the settings, functions and the sandbox of transformers 5.23 (`chat_template_utils.py`).
/// Departs from it: `strftime_now` is not defined, since a prompt must not depend on the day; templates have a date to
/// fall back on.
final class TemplateInterpreter {
  typealias Value = TemplateValue
  typealias Failure = TemplateFailure

  /// The most expressions and statements carried out, each made character or item counting too.
  static let stepLimit = 1 << 23
  /// The most characters of one text.
  static let textLimit = 1 << 20
  /// The most levels of statements and expressions within each other while they are carried out.
  private static let depthLimit = 400
  /// The most lists, dictionaries and namespaces within each other.
  static let nestingLimit = 64

  private var steps = 0
  private var loopDepth = 0
  private var depth = 0
  private var macroScopes: [TemplateScope] = []
  private(set) var output = TaggedText()
  /// The line that is carried out.
  var line = 1

  /// What a statement asks of the loop around it.
  private enum Flow { case next, skip, stop }

  /// Carries out a template over these names.
  func run(_ statements: [TemplateStatement], names: [String: Value]) throws(Failure) {
    let scope = TemplateScope(in: nil)
    for (name, value) in names { scope.set(name, value) }
    for function in [TemplateFunction.raise, .range, .namespace, .dictionary] {
      scope.set(function.rawValue, .function(function))
    }
    defer { for scope in macroScopes { scope.clear() } }
    _ = try run(statements, TemplateScope(in: scope))
  }

  // MARK: - Limits

  /// Counts work done.
  func charge(_ count: Int = 1) throws(Failure) {
    steps += count
    guard steps <= Self.stepLimit else { throw .tooLarge(what: "steps", limit: Self.stepLimit) }
  }

  /// A text made by the template, within its limit.
  func made(_ text: TaggedText) throws(Failure) -> Value {
    try charge(text.count)
    guard text.count <= Self.textLimit else {
      throw .tooLarge(what: "characters of one text", limit: Self.textLimit)
    }
    return .string(text)
  }

  /// A list made by the template, its work counted.
  func made(_ items: [Value]) throws(Failure) -> Value {
    try charge(items.count)
    return .list(items)
  }

  /// Refuses values that lie too deep within each other: they are compared, printed and released level by level.
  func checkNesting(_ value: Value, level: Int = 1) throws(Failure) {
    try charge()
    guard level <= Self.nestingLimit else {
      throw .tooLarge(what: "values within each other", limit: Self.nestingLimit)
    }
    switch value {
    case .list(let items), .tuple(let items): for item in items { try checkNesting(item, level: level + 1) }
    case .dictionary(let dictionary):
      for entry in dictionary.entries { try checkNesting(entry.value, level: level + 1) }
    case .iterator(let iterator): for item in iterator.items { try checkNesting(item, level: level + 1) }
    case .loop(let loop): for item in loop.items { try checkNesting(item, level: level + 1) }
    case .namespace(let namespace):
      for (_, item) in namespace.names { try checkNesting(item, level: level + 1) }
    case .method(_, let object): try checkNesting(object, level: level + 1)
    default: break
    }
  }

  private func checked(_ value: Value) throws(Failure) -> Value {
    try checkNesting(value)
    return value
  }

  /// Counts a level of recursion.
  private func enter() throws(Failure) {
    depth += 1
    guard depth <= Self.depthLimit else { throw .tooLarge(what: "levels", limit: Self.depthLimit) }
  }

  func failure(_ reason: String) -> Failure { .failed(line: line, reason: reason) }

  func unsupported(_ construct: String) -> Failure { .unsupported(line: line, construct: construct) }

  // MARK: - Statements

  private func run(_ statements: [TemplateStatement], _ scope: TemplateScope) throws(Failure) -> Flow {
    try enter()
    defer { depth -= 1 }
    for statement in statements {
      try charge()
      line = statement.line
      let flow = try run(statement, scope)
      if flow != .next { return flow }
    }
    return .next
  }

  private func run(_ statement: TemplateStatement, _ scope: TemplateScope) throws(Failure) -> Flow {
    switch statement.kind {
    case .text(let text): try write(TaggedText(text))
    case .output(let expression): try write(try text(of: evaluate(expression, scope)))
    case .conditional(let branches, let otherwise):
      for branch in branches where try evaluate(branch.test, scope).isTrue {
        return try run(branch.body, scope)
      }
      return try run(otherwise, scope)
    case .loop(let target, let sequence, let filter, let body, let otherwise):
      return try loop(target, sequence, filter, body, otherwise, scope)
    case .assignment(let target, let expression):
      try assign(evaluate(expression, scope), to: target, scope)
    case .capture(let target, let filter, let body):
      // A captured block is a scope of its own: names set in it end with it.
      var value = try capture(body, TemplateScope(in: scope))
      if let filter { value = try apply(filter, to: value, scope) }
      try assign(value, to: target, scope)
    case .macro(let name, let parameters, let body):
      macroScopes.append(scope)
      scope.set(
        name, .macro(TemplateMacro(name: name, parameters: parameters, body: body, scope: scope)))
    case .scope(let values, let body):
      let inner = TemplateScope(in: scope)
      for (target, expression) in values { try assign(evaluate(expression, scope), to: target, inner) }
      return try run(body, inner)
    case .filtered(let filter, let body):
      let value = try capture(body, TemplateScope(in: scope))
      try write(try text(of: apply(filter, to: value, scope)))
    case .stop: return .stop
    case .skip: return .skip
    }
    return .next
  }

  private func write(_ text: TaggedText) throws(Failure) {
    try charge(text.count)
    guard output.count + text.count <= Self.textLimit else {
      throw .tooLarge(what: "characters", limit: Self.textLimit)
    }
    output.append(text)
  }

  /// What a body writes, as a value.
  private func capture(_ body: [TemplateStatement], _ scope: TemplateScope) throws(Failure) -> Value {
    let outer = output
    output = TaggedText()
    _ = try run(body, scope)
    let captured = output
    output = outer
    return try made(captured)
  }

  private func loop(
    _ target: TemplateTarget, _ sequence: TemplateExpression, _ filter: TemplateExpression?,
    _ body: [TemplateStatement], _ otherwise: [TemplateStatement], _ scope: TemplateScope
  ) throws(Failure) -> Flow {
    var items = try self.items(of: evaluate(sequence, scope))
    if let filter {
      var kept: [Value] = []
      for item in items {
        let inner = TemplateScope(in: scope)
        try assign(item, to: target, inner)
        if try evaluate(filter, inner).isTrue { kept.append(item) }
      }
      items = kept
    }
    if items.isEmpty { return try run(otherwise, TemplateScope(in: scope)) }
    let state = TemplateLoop(items, depth: loopDepth)
    loopDepth += 1
    defer { loopDepth -= 1 }
    for (index, item) in items.enumerated() {
      try charge()
      state.index = index
      let inner = TemplateScope(in: scope)
      inner.set("loop", .loop(state))
      try assign(item, to: target, inner)
      if try run(body, inner) == .stop { break }
    }
    return .next
  }

  private func assign(_ value: Value, to target: TemplateTarget, _ scope: TemplateScope) throws(Failure) {
    switch target {
    case .name(let name): scope.set(name, value)
    case .attribute(let name, let attribute):
      guard case .namespace(let namespace)? = scope.find(name) else {
        throw failure("cannot set \(name).\(attribute): \(name) is no namespace")
      }
      guard !attribute.hasPrefix("_") else { throw failure("a name in a namespace cannot start with _") }
      try checkNesting(value)
      namespace.names[attribute] = value
    case .tuple(let targets):
      let items = try items(of: value)
      guard items.count == targets.count else {
        throw failure("\(items.count) values for \(targets.count) names")
      }
      for (target, item) in zip(targets, items) { try assign(item, to: target, scope) }
    }
  }

  // MARK: - Expressions

  func evaluate(_ expression: TemplateExpression, _ scope: TemplateScope) throws(Failure) -> Value {
    try charge()
    try enter()
    defer { depth -= 1 }
    line = expression.line
    switch expression.kind {
    case .constant(let constant):
      switch constant {
      case .none: return .none
      case .bool(let bool): return .bool(bool)
      case .integer(let integer): return .integer(integer)
      case .float(let float): return .float(float)
      case .string(let text): return try made(TaggedText(text))
      }
    case .name(let name): return try find(name, scope)
    case .list(let items): return try checked(.list(evaluate(items, scope)))
    case .tuple(let items): return try checked(.tuple(evaluate(items, scope)))
    case .dictionary(let items):
      var dictionary = TemplateDictionary()
      for item in items {
        guard case .string(let key) = try evaluate(item.key, scope) else {
          throw unsupported("a dictionary with keys that are no strings")
        }
        dictionary[key] = try evaluate(item.value, scope)
      }
      return try checked(.dictionary(dictionary))
    case .attribute(let object, let name): return try attribute(name, of: evaluate(object, scope))
    case .item(let object, let key): return try item(evaluate(key, scope), of: evaluate(object, scope))
    case .slice(let object, let start, let end, let step):
      return try slice(
        evaluate(object, scope), bound(start, scope), bound(end, scope), bound(step, scope) ?? 1)
    case .call(let callee, let arguments):
      let function = try evaluate(callee, scope)
      return try call(function, self.call("", arguments, scope))
    case .filter(let operand, _, _):
      guard let operand else { throw failure("a filter without a value") }
      return try applyOne(expression, to: evaluate(operand, scope), scope)
    case .test(let operand, let name, let arguments, let isNegated):
      let result = try test(evaluate(operand, scope), call(name, arguments, scope))
      return .bool(result != isNegated)
    case .conditional(let value, let test, let otherwise):
      if try evaluate(test, scope).isTrue { return try evaluate(value, scope) }
      guard let otherwise else { return .undefined("the other value of an inline if") }
      return try evaluate(otherwise, scope)
    default: return try compute(expression, scope)
    }
  }

  private func evaluate(
    _ expressions: [TemplateExpression], _ scope: TemplateScope
  ) throws(Failure) -> [Value] {
    var values: [Value] = []
    for expression in expressions { values.append(try evaluate(expression, scope)) }
    return values
  }

  private func find(_ name: String, _ scope: TemplateScope) throws(Failure) -> Value {
    if let value = scope.find(name) { return value }
    if ["caller", "varargs", "kwargs", "self", "super", "cycler", "joiner", "lipsum"].contains(name) {
      throw unsupported("'\(name)'")
    }
    return .undefined("'\(name)'")
  }

  /// Operators.
  private func compute(_ expression: TemplateExpression, _ scope: TemplateScope) throws(Failure) -> Value {
    switch expression.kind {
    case .negative(let operand): return try signed(evaluate(operand, scope), isNegative: true)
    case .positive(let operand): return try signed(evaluate(operand, scope), isNegative: false)
    case .not(let operand): return .bool(try !evaluate(operand, scope).isTrue)
    case .and(let left, let right):
      let value = try evaluate(left, scope)
      return value.isTrue ? try evaluate(right, scope) : value
    case .or(let left, let right):
      let value = try evaluate(left, scope)
      return value.isTrue ? value : try evaluate(right, scope)
    case .arithmetic(let sign, let left, let right):
      let values = (try evaluate(left, scope), try evaluate(right, scope))
      return try arithmetic(sign, values.0, values.1)
    case .concatenation(let parts):
      var text = TaggedText()
      for part in parts { text.append(try self.text(of: evaluate(part, scope))) }
      return try made(text)
    case .comparison(let first, let rest):
      var left = try evaluate(first, scope)
      for (sign, expression) in rest {
        let right = try evaluate(expression, scope)
        guard try compare(left, sign, right) else { return .bool(false) }
        left = right
      }
      return .bool(true)
    default: throw failure("an expression of an unknown kind")
    }
  }

  private func bound(_ expression: TemplateExpression?, _ scope: TemplateScope) throws(Failure) -> Int? {
    guard let expression else { return nil }
    let value = try evaluate(expression, scope)
    if case .none = value { return nil }
    guard let index = value.index else { throw failure("a slice wants whole numbers, found \(value.kind)") }
    return index
  }

  // MARK: - Calls

  private func call(
    _ name: String, _ arguments: [TemplateArgument], _ scope: TemplateScope
  ) throws(Failure) -> TemplateCall {
    var call = TemplateCall(name: name, positional: [], named: [:])
    for argument in arguments {
      let value = try evaluate(argument.value, scope)
      if let keyword = argument.name {
        guard call.named.updateValue(value, forKey: keyword) == nil else {
          throw failure("the argument \(keyword) is given twice")
        }
      } else {
        call.positional.append(value)
      }
    }
    return call
  }

  /// Filters within each other, the innermost being fed by `value`.
  private func apply(
    _ expression: TemplateExpression, to value: Value, _ scope: TemplateScope
  ) throws(Failure) -> Value {
    guard case .filter(let operand, _, _) = expression.kind else { throw failure("a filter expected") }
    guard let operand else { return try applyOne(expression, to: value, scope) }
    return try applyOne(expression, to: apply(operand, to: value, scope), scope)
  }

  private func applyOne(
    _ expression: TemplateExpression, to value: Value, _ scope: TemplateScope
  ) throws(Failure) -> Value {
    guard case .filter(_, let name, let arguments) = expression.kind else {
      throw failure("a filter expected")
    }
    line = expression.line
    return try filter(value, call(name, arguments, scope))
  }

  private func call(_ function: Value, _ call: TemplateCall) throws(Failure) -> Value {
    switch function {
    case .function(let function): return try builtin(function, call)
    case .method(let name, let object):
      var call = call
      call = TemplateCall(name: name, positional: call.positional, named: call.named)
      return try method(of: object, call)
    case .macro(let macro): return try run(macro, call)
    case .undefined("'strftime_now'"): throw unsupported("the date of the day")
    case .undefined(let name): throw failure("\(name) is undefined")
    default: throw failure("\(function.kind) cannot be called")
    }
  }

  private func builtin(_ function: TemplateFunction, _ call: TemplateCall) throws(Failure) -> Value {
    switch function {
    case .raise:
      throw .raised(message: try text(of: call.value(0, "message") ?? .none).string)
    case .namespace, .dictionary:
      var names: [(TaggedText, Value)] = []
      if case .dictionary(let dictionary)? = call.positional.first {
        names = dictionary.entries.map { ($0.key, $0.value) }
      } else if let first = call.positional.first {
        guard case .list(let pairs) = first, pairs.isEmpty else {
          throw unsupported("\(function.rawValue)() of \(first.kind)")
        }
      }
      names += call.named.sorted { $0.key < $1.key }.map { (TaggedText($0.key), $0.value) }
      if function == .namespace {
        return try checked(
          .namespace(
            TemplateNamespace(Dictionary(names.map { ($0.0.string, $0.1) }) { _, last in last })))
      }
      guard call.named.count <= 1 else { throw unsupported("dict() of several keywords") }
      var dictionary = TemplateDictionary()
      for (key, value) in names { dictionary[key] = value }
      return try checked(.dictionary(dictionary))
    case .range:
      let bounds = call.positional.compactMap(\.index)
      guard bounds.count == call.positional.count, 1...3 ~= bounds.count, call.named.isEmpty,
        bounds.allSatisfy({ -1 << 40...1 << 40 ~= $0 })
      else {
        throw failure("range() wants one to three whole numbers")
      }
      let step = bounds.count == 3 ? bounds[2] : 1
      guard step != 0 else { throw failure("range() with a step of 0") }
      let numbers = stride(
        from: bounds.count > 1 ? bounds[0] : 0, to: bounds[bounds.count > 1 ? 1 : 0], by: step)
      // The sandbox of Jinja has this limit too.
      var items: [Value] = []
      for number in numbers {
        guard items.count < 100_000 else { throw failure("range() of more than 100000 numbers") }
        items.append(.integer(number))
      }
      return try made(items)
    }
  }

  private func run(_ macro: TemplateMacro, _ call: TemplateCall) throws(Failure) -> Value {
    let keywords = macro.parameters.map(\.name)
    guard call.hasOnly(keywords) else { throw failure("\(macro.name)() has no such argument") }
    let scope = TemplateScope(in: macro.scope)
    for (index, parameter) in macro.parameters.enumerated() {
      if let value = call.value(index, parameter.name) {
        scope.set(parameter.name, value)
      } else if let fallback = parameter.fallback {
        scope.set(parameter.name, try evaluate(fallback, scope))
      } else {
        scope.set(parameter.name, .undefined("'\(parameter.name)'"))
      }
    }
    let outer = (loopDepth, line)
    loopDepth = 0
    let value = try capture(macro.body, scope)
    (loopDepth, line) = outer
    return value
  }
}
