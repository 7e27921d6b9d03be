public import RunKit

/// Why runs cannot be compared, or an expression about a comparison is none.
public enum ComparisonError: DescribedError {
  case differentKinds(first: String, kind: String, second: String, other: String)
  case differentMethods(first: String, method: String, second: String, other: String)
  case noRuns(pattern: String)
  case noCommonRuns(first: String, second: String)
  case noPairs(first: String, second: String, changedCount: Int)
  case nothingInCommon(first: String, second: String)
  case malformedExpression(expression: String, column: Int, found: String, expected: String)
  case unknownQuantity(expression: String, name: String, nearest: String?, examples: [String])
  case unknownField(expression: String, name: String, fields: [String])
  case undefinedValue(expression: String, name: String)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case differentKinds = "compare_different_kinds"
    case differentMethods = "compare_different_methods"
    case noRuns = "compare_no_runs"
    case noCommonRuns = "compare_no_common_runs"
    case noPairs = "compare_no_pairs"
    case nothingInCommon = "compare_nothing_in_common"
    case malformedExpression = "compare_malformed_expression"
    case unknownQuantity = "compare_unknown_quantity"
    case unknownField = "compare_unknown_field"
    case undefinedValue = "compare_undefined_value"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .differentKinds: .differentKinds
    case .differentMethods: .differentMethods
    case .noRuns: .noRuns
    case .noCommonRuns: .noCommonRuns
    case .noPairs: .noPairs
    case .nothingInCommon: .nothingInCommon
    case .malformedExpression: .malformedExpression
    case .unknownQuantity: .unknownQuantity
    case .unknownField: .unknownField
    case .undefinedValue: .undefinedValue
    }
  }

  /// 64 for an expression, 65 for runs.
  public var exitStatus: ExitStatus {
    switch self {
    case .malformedExpression, .unknownQuantity, .unknownField: .usage
    default: .data
    }
  }

  /// The second run, where two do not go together.
  public var path: String? {
    switch self {
    case .differentKinds(_, _, let second, _), .differentMethods(_, _, let second, _),
      .noPairs(_, let second, _), .nothingInCommon(_, let second), .noCommonRuns(_, let second):
      second
    case .noRuns(let pattern): pattern
    default: nil
    }
  }

  /// What, where, found and expected.
  public var errorDescription: String? {
    switch self {
    case .differentKinds(let first, let kind, let second, let other):
      return "\(second): a run of '\(other)', but \(first) is one of '\(kind)'"
    case .differentMethods(let first, let method, let second, let other):
      return "\(second): contributions by \(other), but \(first) has them by \(method)"
    case .noRuns(let pattern): return "\(pattern): no folder has such a name"
    case .noCommonRuns(let first, let second):
      return "\(second): the stars stand for nothing that they also stand for in \(first)"
    case .noPairs(let first, let second, let changed):
      return "\(second): no sample of it is in \(first)"
        + (changed > 0 ? "; \(changed) have the same name, but other text, media or answer" : "")
    case .nothingInCommon(let first, let second):
      return "\(second): no layer, group or condition of it is in \(first)"
    case .malformedExpression(let expression, let column, let found, let expected):
      return
        "expression \(expression.inQuotes): found \(found) at character \(column), expected \(expected)"
    case .unknownQuantity(let expression, let name, let nearest, let examples):
      return "expression \(expression.inQuotes): the comparison has no \(name.inQuotes)."
        + (nearest.map { " Did you mean '\($0)'?" } ?? "")
        + " It has \(examples.joined(separator: ", ")), …"
    case .unknownField(let expression, let name, let fields):
      return
        "expression \(expression.inQuotes): \(name.inQuotes) does not end in one of \(fields.joined(separator: ", "))"
    case .undefinedValue(let expression, let name):
      return "expression \(expression.inQuotes): \(name) is undefined for these runs"
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    switch self {
    case .differentKinds: "compare runs of the same command"
    case .differentMethods: "measure both runs with the same method, target and piece"
    case .noRuns: "name run folders that exist, with a star where they differ"
    case .noCommonRuns:
      "put stars where the names of partners agree, such as the number of the seed"
    case .noPairs(_, _, let changed):
      changed > 0
        ? "pair them by their names with --pair id, if they are meant to differ"
        : "measure both runs on the same data"
    case .nothingInCommon: "measure both runs with the same layers, groups or conditions"
    case .malformedExpression, .unknownField:
      "an expression is like image.share.diff < -0.05 and image.share.p_holm < 0.05"
    case .unknownQuantity: "'mmprobe compare RUN_A RUN_B --json' lists every name"
    case .undefinedValue: "more pairs may define it: intervals and p values need two or more"
    }
  }
}
