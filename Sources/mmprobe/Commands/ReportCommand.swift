import Analysis
import Foundation
import RunKit

/// `mmprobe report`: the report of a run, made again.
struct ReportCommand: Command {
  static let name = "report"
  static let summary = "make the HTML report of a run again; no model needed"
  static let discussion = """
    Reads config.json and the records of the run folder: samples.jsonl of attention,
    contribution and eval, log.jsonl of train and finetune, whose report has curves.
    A training that has not ended, or was stopped, has a report of what it logged.
    Several folders are taken as the parts of one run (--shard) and give one report.
    """
  static let runs = Positional(name: "RUN", count: .oneOrMore, help: "a run folder, or all parts of a run")
  static let output = Option<String>.required("output", short: "o", "FILE", "HTML file to write")
  static let positionals = [runs]
  static let options = [output.declaration]
  static let examples = [
    Example(purpose: "One file to pass on", line: "report runs/first -o report.html"),
    Example(purpose: "Curves of a training that goes on", line: "report runs/lora -o curves.html"),
  ]

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
    let urls = MergeCommand.urls(runs)
    let (html, count, noun) = try Self.report(urls)
    try AtomicFile.write(html, to: URL(fileURLWithPath: output))
    if session.console.wantsJSON {
      try session.console.document([
        "output": .string(output), "bytes": .integer(html.utf8.count), "\(noun)s": .integer(count),
      ])
    } else {
      session.console.note("\(output): \(Support.counted(count, noun)), \(ByteCount.text(html.utf8.count))")
    }
    return .success
  }

  /// The report of a run of any command, and how many of what it is about.
  private static func report(_ runs: [URL]) throws -> (html: String, count: Int, noun: String) {
    if runs.count == 1, try TrainingLog.isOne(runs[0]) {
      let log = try TrainingLog(runs[0])
      return (TrainingReport(log).html, log.lastStep, "step")
    }
    if runs.count == 1, try EvaluationRun.isOne(runs[0]) {
      let (context, records) = try EvaluationRun.read(runs[0])
      return (EvaluationReport(EvaluationSummary(context, records)).html, records.count, "sample")
    }
    let (context, samples) = try read(runs)
    return (
      AttentionReport(AttentionSummary(context, samples), samples).html, samples.samples.count, "sample"
    )
  }
}
