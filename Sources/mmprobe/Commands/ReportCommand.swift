import Analysis
import Foundation
import RunKit

/// `mmprobe report`: the report of a run, made again.
struct ReportCommand: Command {
  static let name = "report"
  static let summary = "make the HTML report of a run again; no model needed"
  static let discussion = """
    Reads config.json and samples.jsonl of the run folder. Several folders are taken
    as the parts of one run (--shard) and give one report.
    """
  static let runs = Positional(name: "RUN", count: .oneOrMore, help: "a run folder, or all parts of a run")
  static let output = Option<String>.required("output", short: "o", "FILE", "HTML file to write")
  static let positionals = [runs]
  static let options = [output.declaration]
  static let examples = [Example(purpose: "One file to pass on", line: "report runs/first -o report.html")]

  private let runs: [String]
  private let output: String

  init(_ arguments: Arguments) throws(UsageError) {
    runs = try arguments.all(Self.runs)
    output = try arguments[Self.output]
  }

  /// A run, or the run that these are the parts of.
  private static func read(_ runs: [URL]) throws -> (context: AttentionContext, samples: AttentionSamples) {
    if runs.count == 1 { return try AttentionRunFiles.read(runs[0]) }
    let merge = try AttentionRunFiles.merge(runs)
    return (merge.context, merge.samples)
  }

  func run(_ session: Session) throws -> ExitStatus {
    let (context, samples) = try Self.read(MergeCommand.urls(runs))
    let html = AttentionReport(AttentionSummary(context, samples), samples).html
    try AtomicFile.write(html, to: URL(fileURLWithPath: output))
    if session.console.wantsJSON {
      try session.console.document([
        "output": .string(output), "bytes": .integer(html.utf8.count),
        "samples": .integer(samples.samples.count),
      ])
    } else {
      session.console.note("\(output): \(samples.samples.count) samples, \(ByteCount.text(html.utf8.count))")
    }
    return .success
  }
}
