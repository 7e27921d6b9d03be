/// An expression of a template.
final class TemplateExpression: Sendable {
  /// What it is made of.
  enum Kind: Sendable {
    case constant(TemplateConstant)
    case name(String)
    case list([TemplateExpression])
    case tuple([TemplateExpression])
    case dictionary([(key: TemplateExpression, value: TemplateExpression)])
    case attribute(TemplateExpression, String)
    case item(TemplateExpression, TemplateExpression)
    case slice(
      TemplateExpression, start: TemplateExpression?, end: TemplateExpression?, step: TemplateExpression?)
    case call(TemplateExpression, [TemplateArgument])
    /// A filter; without an operand it is fed by its block.
    case filter(TemplateExpression?, String, [TemplateArgument])
    case test(TemplateExpression, String, [TemplateArgument], isNegated: Bool)
    case negative(TemplateExpression)
    case positive(TemplateExpression)
    case not(TemplateExpression)
    case and(TemplateExpression, TemplateExpression)
    case or(TemplateExpression, TemplateExpression)
    case arithmetic(String, TemplateExpression, TemplateExpression)
    case concatenation([TemplateExpression])
    case comparison(TemplateExpression, [(sign: String, right: TemplateExpression)])
    case conditional(TemplateExpression, if: TemplateExpression, else: TemplateExpression?)
  }

  let kind: Kind
  let line: Int
  /// How many expressions lie within each other.
  let depth: Int

  init(_ kind: Kind, line: Int, depth: Int) { (self.kind, self.line, self.depth) = (kind, line, depth) }
}

/// A value written in a template.
enum TemplateConstant: Sendable {
  case none
  case bool(Bool)
  case integer(Int)
  case float(Double)
  case string(String)
}

/// An argument of a call.
struct TemplateArgument: Sendable {
  /// Its keyword, if it has one.
  let name: String?
  let value: TemplateExpression
}

/// What a loop or an assignment gives values to.
indirect enum TemplateTarget: Sendable {
  case name(String)
  case attribute(namespace: String, name: String)
  case tuple([TemplateTarget])
}

/// A statement of a template.
final class TemplateStatement: Sendable {
  /// What it does.
  enum Kind: Sendable {
    case text(String)
    case output(TemplateExpression)
    case conditional([(test: TemplateExpression, body: [TemplateStatement])], otherwise: [TemplateStatement])
    case loop(
      TemplateTarget, over: TemplateExpression, if: TemplateExpression?, body: [TemplateStatement],
      otherwise: [TemplateStatement])
    case assignment(TemplateTarget, TemplateExpression)
    /// Sets a name to what its body writes, changed by a filter if there is one.
    case capture(TemplateTarget, filter: TemplateExpression?, body: [TemplateStatement])
    case macro(
      String, parameters: [(name: String, fallback: TemplateExpression?)], body: [TemplateStatement])
    /// A scope of its own, with names set first.
    case scope([(target: TemplateTarget, value: TemplateExpression)], body: [TemplateStatement])
    case filtered(TemplateExpression, body: [TemplateStatement])
    case stop
    case skip
  }

  let kind: Kind
  let line: Int

  init(_ kind: Kind, line: Int) { (self.kind, self.line) = (kind, line) }
}
