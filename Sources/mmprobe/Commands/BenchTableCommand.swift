import ClassicBench
import Foundation
import RunKit

/// `mmprobe bench table`: methods side by side, with intervals and tests.
struct BenchTableCommand: Command {
  /// How a table is printed.
  enum Format: String, CaseIterable, Sendable { case text, markdown, csv, latex, json }

  static let name = "bench table"
  static let summary = "methods over seeds, with intervals, ranks and tests"
  static let discussion = """
    Reads folders of 'bench run' or 'bench sweep'. Every method has the mean over
    seeds, its interval from a bootstrap over seeds and test samples, its mean rank,
    and the difference from a reference with interval, p and the p corrected by Holm
    over methods. Of several settings of a method the one with the best accuracy on
    validation samples is shown. Within every seed McNemar's exact test counts where
    a method is better or worse. The smallest difference that could have been found
    is told for every method. Runs that are missing are named; what cannot be told
    without them is a dash, and null in JSON.

    Gop and x joint are the work of a training in nominal operations and in
    multiples of joint's. A table of modalities follows (each alone, and its
    Shapley value) and one of the work by stage. --corrupted shows in place of
    all this what is left of the accuracy with one modality missing, noisy or of
    another sample.

    Several folders are data sets: a table of each, then the means of all with mean
    ranks and the signed-rank test of Wilcoxon over data sets, corrected by Holm.
    """
  static let folders = Positional(
    name: "FOLDER", count: .oneOrMore, help: "folders of runs, one for each data set")
  static let metric = Option<BenchMetric>.choice(
    "metric", "NAME", default: .accuracy, "what is compared")
  static let format = Option<Format?>.choice(
    "format", "FORM", absence: "text, json with --json", "how the table is printed")
  static let against = Option<String?>.text(
    "against", "LABEL", notes: "default what the experiment says", "the method others are compared with")
  static let corrupted = Option<Bool>.flag(
    "corrupted", "accuracy with a modality missing or corrupted")
  static let all = Option<Bool>.flag("all", "a row for every setting, not only the chosen ones")
  static let positionals = [folders]
  static let options = [
    metric.declaration, format.declaration, against.declaration, all.declaration,
    corrupted.declaration,
    IntervalOptions.confidence.declaration, IntervalOptions.replicates.declaration,
  ]
  static let examples = [
    Example(purpose: "The table of a sweep", line: "bench table runs/sweep"),
    Example(purpose: "For a paper", line: "bench table runs/sweep --against uniform --format latex"),
    Example(
      purpose: "Over data sets", line: "bench table runs/cremad runs/avdigits runs/mosei --format markdown"),
  ]

  private let folders: [String]
  private let format: Format?
  private let showsCorrupted: Bool
  private var options = BenchTable.Options()

  init(_ arguments: Arguments) throws(UsageError) {
    folders = try arguments.all(Self.folders)
    format = try arguments[Self.format]
    showsCorrupted = try arguments[Self.corrupted]
    options.metric = try arguments[Self.metric]
    options.reference = try arguments[Self.against]
    options.showsAll = try arguments[Self.all]
    options.bootstrap.confidence = try arguments[IntervalOptions.confidence]
    options.bootstrap.replicates = try arguments[IntervalOptions.replicates]
  }

  func validate() throws(UsageError) {
    if showsCorrupted && (format == .csv || format == .json) {
      throw .conflict(
        reason: "--corrupted is printed for people: text, markdown or latex",
        remedy: "programs find it in the result.json of every run")
    }
    if folders.count > 1 && options.showsAll {
      throw .conflict(
        reason: "--all is for one FOLDER: a table over data sets has one row for each method",
        remedy: "leave one of them out")
    }
  }

  func run(_ session: Session) throws -> ExitStatus {
    let console = session.console
    var options = options
    options.bootstrap.seed = session.globals.seed
    let tables = try folders.map { path in
      try BenchTable(BenchRuns(URL(fileURLWithPath: path, isDirectory: true)), options)
    }
    let format = format ?? (console.wantsJSON && !showsCorrupted ? .json : .text)
    if showsCorrupted {
      let corrupted = try tables.map { table in
        guard let robustness = table.robustness else {
          throw SweepError.malformed(
            path: table.runs.path, reason: "its runs were made before corrupted modalities were measured")
        }
        return robustness
      }
      try Self.write(corrupted, format, to: console)
      return .success
    }
    let over = tables.count > 1 ? try DataSetTable(tables) : nil
    switch format {
    case .json: try console.document(over?.json ?? tables[0].json)
    case .csv: try console.write(over?.csv ?? tables[0].csv)
    case .text, .markdown, .latex:
      try Self.write(tables.flatMap(\.allPrinted) + [over?.printed].compactMap(\.self), format, to: console)
    }
    return .success
  }

  /// Tables with empty lines between them.
  static func write(_ tables: [PrintedTable], _ format: Format = .text, to console: Console) throws {
    for (place, table) in tables.enumerated() {
      if place > 0 { try console.line() }
      try console.write(text(table, format))
    }
  }

  /// The table and its notes.
  static func text(_ printed: PrintedTable, _ format: Format = .text) -> String {
    var table = TextTable(
      printed.titles.enumerated().map { $0.offset == 0 ? .text($0.element) : .number($0.element) })
    for row in printed.rows { table.append(row) }
    switch format {
    case .markdown:
      // A star begins emphasis in Markdown.
      let notes = printed.notes.map { "- " + $0.replacing("*", with: "\\*") + "\n" }
      return table.markdown + "\n" + notes.joined()
    case .latex: return table.latex + printed.notes.map { "% " + $0 + "\n" }.joined()
    default: return table.text + printed.notes.map { $0 + "\n" }.joined()
    }
  }
}
