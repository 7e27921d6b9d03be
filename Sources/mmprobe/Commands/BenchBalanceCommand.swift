import ClassicBench
import Foundation
import RunKit

/// `mmprobe bench balance`: accuracy against imbalance over the strength of a method.
struct BenchBalanceCommand: Command {
  static let name = "bench balance"
  static let summary = "accuracy against imbalance over the strength of a method"
  static let discussion = """
    Reads a sweep in which an option of one method has several numbers, and traces
    accuracy and the imbalance I over it. Relative balance is the strength with the
    best accuracy, absolute balance the one with the smallest I; both are told with
    the strengths that come first in 95 % of the draws of seeds and test samples,
    and accuracy at one minus at the other with its interval. These places are found
    on test samples and describe the curve; the strength that validation samples
    choose is marked too. -o writes the curve as SVG.
    """
  static let folder = Positional(name: "FOLDER", count: .one, help: "a folder of 'bench sweep'")
  static let method = Option<String>.required("method", "LABEL", "the method")
  static let over = Option<String?>.text(
    "over", "KEY", notes: "default the only one that varies", "the option that is the strength")
  static let output = Option<String?>.text("output", short: "o", "FILE", "SVG file to write")
  static let positionals = [folder]
  static let options = [
    method.declaration, over.declaration, output.declaration, IntervalOptions.confidence.declaration,
    IntervalOptions.replicates.declaration,
  ]
  static let examples = [
    Example(
      purpose: "How strong should AGM be?",
      line: "bench balance runs/sweep --method agm --over alpha -o agm.svg")
  ]

  private let folder: String
  private let method: String
  private let over: String?
  private let output: String?
  private var bootstrap = Bootstrap()

  init(_ arguments: Arguments) throws(UsageError) {
    folder = try arguments[Self.folder]
    method = try arguments[Self.method]
    over = try arguments[Self.over]
    output = try arguments[Self.output]
    bootstrap.confidence = try arguments[IntervalOptions.confidence]
    bootstrap.replicates = try arguments[IntervalOptions.replicates]
  }

  func run(_ session: Session) throws -> ExitStatus {
    var bootstrap = bootstrap
    bootstrap.seed = session.globals.seed
    let runs = try BenchRuns(URL(fileURLWithPath: folder, isDirectory: true))
    let trace = try BalanceTrace(runs, label: method, key: over, bootstrap: bootstrap)
    if let output { try AtomicFile.write(trace.svg, to: URL(fileURLWithPath: output)) }
    if session.console.wantsJSON {
      try session.console.document(trace.json)
    } else {
      try session.console.write(BenchTableCommand.text(trace.printed))
    }
    if let output { session.console.note("figure: \(output)") }
    return .success
  }
}
