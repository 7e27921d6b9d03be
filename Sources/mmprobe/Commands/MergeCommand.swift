import Analysis
import Foundation
import RunKit
import TensorCore

/// `mmprobe merge`: the parts of a run, joined.
struct MergeCommand: Command {
  static let name = "merge"
  static let summary = "join the parts of a run that was split with --shard"
  static let discussion = """
    The parts must be of one run: same model, data and options, every sample in one
    of them. The result is that of the undivided run, byte for byte.
    """
  static let runs = Positional(name: "RUN", count: .oneOrMore, help: "the run folders of all parts")
  static let output = Option<String>.required("output", short: "o", "RUN", "run folder to make")
  static let overwrite = Option<Bool>.flag("overwrite", "replace the run in the folder")
  static let positionals = [runs]
  static let options = [output.declaration, overwrite.declaration]
  static let examples = [
    Example(purpose: "Three parts", line: "merge runs/part1 runs/part2 runs/part3 -o runs/whole")
  ]

  private let runs: [String]
  private let output: String
  private let overwrites: Bool

  init(_ arguments: Arguments) throws(UsageError) {
    runs = try arguments.all(Self.runs)
    output = try arguments[Self.output]
    overwrites = try arguments[Self.overwrite]
  }

  /// The folders as typed.
  static func urls(_ paths: [String]) -> [URL] { paths.map { URL(fileURLWithPath: $0, isDirectory: true) } }

  func run(_ session: Session) throws -> ExitStatus {
    let merge = try AttentionRunFiles.merge(Self.urls(runs))
    let folder = try RunFolder(
      at: URL(fileURLWithPath: output, isDirectory: true), mode: overwrites ? .overwrite : .fresh,
      configuration: merge.context.json.objectValue ?? JSONObject(),
      facts: .init(
        version: Version.number, arguments: ["mmprobe"] + session.commandLine, threads: Workers.threadCount))
    let writer = try folder.appendingRecords(to: AttentionRun.samplesName)
    for line in merge.lines { try writer.append(line) }
    try writer.sync()
    let summary = AttentionSummary(merge.context, merge.samples)
    try AttentionRunFiles.write(summary, merge.samples, to: folder)
    try folder.finish(.complete)
    if session.console.wantsJSON {
      try session.console.document(summary.json)
    } else {
      try session.console.write(summary.terminalText)
      session.console.note(
        "\(Support.counted(runs.count, "part")) joined; report: \(output)/\(AttentionRunFiles.reportName)")
    }
    return .success
  }
}
