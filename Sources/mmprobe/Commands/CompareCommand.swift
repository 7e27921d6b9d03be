import Analysis
import Foundation
import RunKit
import TensorCore

/// `mmprobe compare`: two runs over the same samples.
struct CompareCommand: Command {
  static let name = "compare"
  static let summary = "how two runs over the same samples differ, with intervals"
  static let discussion = """
    Takes two run folders of 'mmprobe attention', of 'contribution' or of 'eval'.
    A RUN with stars, in quotes, is a set of runs such as trainings with other
    seeds: two sets are paired by what the stars stand for, a single run with each
    of a set. Intervals and tests then count runs and samples as drawn at random,
    and the smallest difference that could have been found is told.

    Samples with the same name, text, media and answer are paired; every quantity
    gets the mean of B - A over the pairs with its interval, a p value and one that
    is corrected (Holm) for all tests of its table: shares by group, shares by layer
    and group, indices, contributions, accuracies by condition, by tag. Settings
    that differ between the runs are named. Runs need not be complete.

    --fail-if ends with status 3 if an expression holds, such as
      image.share.diff < -0.05 and image.share.p_holm < 0.05
      full.accuracy.type.sum.diff < 0 or layers.*.image.share.high < -0.1
    There are and, or, not, parentheses, numbers and < <= > >= == !=. A name is that
    of a quantity as --json lists it, then before, after, diff, low, high, p, p_holm
    or n. With a star for a part a comparison holds if it does for one quantity.
    Parts with other characters than letters, digits, + - _ stand in double quotes.
    """
  /// Whose items go together.
  enum Cluster: String, CaseIterable, Sendable { case image, audio, video, none }

  static let runs = Positional(name: "RUN", count: .oneOrMore, help: "two run folders, before and after")
  /// How results are printed.
  enum Format: String, CaseIterable, Sendable { case table, json, csv }

  static let pairing = Option<Comparison.Pairing>.choice(
    "pair", "BY", default: .content, "what makes two samples the same one")
  static let failures = Option<[String]>.texts("fail-if", "EXPR", "end with status 3 if this holds")
  static let cluster = Option<Cluster?>.choice(
    "cluster-key", "MEDIUM", absence: "as in the first run", "resample all samples of one medium together")
  static let format = Option<Format?>.choice("format", "FORM", absence: "table", "how results are printed")
  static let output = Option<String?>.text("output", short: "o", "FILE", "HTML report to write")
  static let positionals = [runs]
  static let options = [
    pairing.declaration, failures.declaration, IntervalOptions.interval.declaration, cluster.declaration,
    IntervalOptions.confidence.declaration, IntervalOptions.replicates.declaration, output.declaration,
    format.declaration,
  ]
  static let examples = [
    Example(
      purpose: "Before and after fine-tuning, with a report",
      line: "compare runs/base runs/tuned -o compare.html"),
    Example(
      purpose: "In a script: has attention to images dropped?",
      line:
        "compare runs/base runs/tuned -q \\\n    --fail-if 'image.share.diff < -0.05 and image.share.p_holm < 0.05'"
    ),
    Example(
      purpose: "The same questions about clean and noisy media",
      line: "compare runs/clean runs/noisy --pair id --json"),
    Example(
      purpose: "Ten trainings against ten, those of the same seed paired",
      line: "compare 'runs/lora-*/eval' 'runs/moka-*/eval' --cluster-key image"),
  ]

  private let runs: [String]
  private let pairing: Comparison.Pairing
  private let expressions: [ComparisonExpression]
  private let malformed: ComparisonError?
  private var interval: AttentionDefinition.Interval
  private let cluster: Cluster?
  private let output: String?
  private let format: Format?
  private let conflict: UsageError?

  init(_ arguments: Arguments) throws(UsageError) {
    runs = try arguments.all(Self.runs)
    pairing = try arguments[Self.pairing]
    var expressions: [ComparisonExpression] = []
    var malformed: ComparisonError?
    for text in try arguments[Self.failures] {
      do throws(ComparisonError) {
        expressions.append(try ComparisonExpression(text))
      } catch {
        malformed = malformed ?? error
      }
    }
    (self.expressions, self.malformed) = (expressions, malformed)
    interval = AttentionDefinition.Interval(
      method: try arguments[IntervalOptions.interval], level: try arguments[IntervalOptions.confidence],
      replicates: try arguments[IntervalOptions.replicates])
    cluster = try arguments[Self.cluster]
    output = try arguments[Self.output]
    format = try arguments[Self.format]
    conflict =
      interval.method == .t && arguments.isGiven(IntervalOptions.replicates)
      ? .conflict(reason: "--replicates is for --ci bootstrap", remedy: "leave one of them out") : nil
  }

  func validate() throws(UsageError) {
    if runs.count < 2 { throw .missingArgument(name: "a second RUN", command: Self.name) }
    if runs.count > 2 {
      throw .conflict(
        reason: "compare takes two RUNs, found \(runs.count)", remedy: "put a name with stars in quotes")
    }
    if let conflict { throw conflict }
    // The report would take the place of what is compared.
    let folder = output.map { URL(fileURLWithPath: $0).standardizedFileURL.deletingLastPathComponent().path }
    if runs.contains(where: { URL(fileURLWithPath: $0).standardizedFileURL.path == folder }) {
      throw .conflict(
        reason: "-o \(output ?? "") lies in a run that is read", remedy: "name a file elsewhere")
    }
  }

  func run(_ session: Session) throws -> ExitStatus {
    if let malformed { throw malformed }
    var interval = interval
    interval.seed = session.globals.seed
    let key: String?? = cluster.map { $0 == .none ? .none : .some($0.rawValue) }
    let comparison = try Comparison(
      runs[0], runs[1], pairing: pairing, interval: interval, clusterKey: key)
    let checks = try expressions.map { (expression: $0, outcome: try $0.outcome(in: comparison)) }
    let console = session.console
    if let output {
      try AtomicFile.write(
        ComparisonReport(comparison, checks: checks).html, to: URL(fileURLWithPath: output))
    }
    switch format ?? (console.wantsJSON ? .json : .table) {
    case .json:
      let tool = AttentionContext.Tool(version: Version.number, commit: BuildFacts.commit)
      try console.document(comparison.json(tool: tool, checks: checks))
    case .csv: try console.write(comparison.csv)
    case .table:
      try console.write(comparison.terminalText)
      for check in checks { try console.line(Self.text(check.expression, check.outcome)) }
    }
    if let output { console.note("report: \(output)") }
    for side in comparison.sides where !side.isComplete {
      console.warn("\(side.path): \(side.count) of \(side.expectedCount) samples have numbers")
    }
    return checks.contains { $0.outcome.holds } ? .checkNotPassed : .success
  }

  private static func text(_ expression: ComparisonExpression, _ outcome: ComparisonExpression.Outcome)
    -> String
  {
    let shown = outcome.values.prefix(6).map { "\($0.name) = \(Self.rounded($0.value))" }
    let more = outcome.values.count > shown.count ? ", …" : ""
    return "\nfail if \(expression.text): \(outcome.holds ? "holds, failed" : "does not hold")\n  "
      + shown.joined(separator: ", ") + more
  }

  private static func rounded(_ value: Double) -> String {
    value != 0 && abs(value) < 1e-3 ? Support.scientific(value) : Decimals.text(value, places: 4)
  }
}
