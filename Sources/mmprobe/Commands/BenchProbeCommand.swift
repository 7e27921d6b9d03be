import ClassicBench
import Foundation
import RunKit

/// `mmprobe bench probe`: encoders trained alone against encoders trained together.
struct BenchProbeCommand: Command {
  static let name = "bench probe"
  static let summary = "encoders trained alone against those trained together"
  static let discussion = """
    Reads a folder of 'bench run' or 'bench sweep' that has runs of the method
    'unimodal-ensemble' (or 'unimodal' for every modality, or runs that others
    learnt from), which train every encoder alone. For each modality a linear
    classifier is trained on the frozen features of the encoder that was trained
    alone and on those of a method's encoder; the gap is the accuracy of the first
    minus the second, over seeds and test samples. Beside it stands the accuracy of
    the logits that the method itself has for the modality.
    """
  static let folder = Positional(name: "FOLDER", count: .one, help: "a folder of runs")
  static let methods = Option<[String]>.list(
    "methods", "LABELS", absence: "the reference", "methods to look at, with commas between")
  static let data = Option<String?>.text(
    "data", "FOLDER", notes: "default the one the runs were made with", "folder of the data")
  static let positionals = [folder]
  static let options = [
    methods.declaration, data.declaration, IntervalOptions.confidence.declaration,
    IntervalOptions.replicates.declaration,
  ]
  static let examples = [
    Example(purpose: "Does joint training hold encoders back?", line: "bench probe runs/sweep"),
    Example(
      purpose: "And does a method help them?", line: "bench probe runs/sweep --methods joint,ogm,uniform"),
  ]

  private let folder: String
  private let methods: [String]
  private let data: String?
  private var bootstrap = Bootstrap()

  init(_ arguments: Arguments) throws(UsageError) {
    folder = try arguments[Self.folder]
    methods = try arguments[Self.methods]
    data = try arguments[Self.data]
    bootstrap.confidence = try arguments[IntervalOptions.confidence]
    bootstrap.replicates = try arguments[IntervalOptions.replicates]
  }

  func run(_ session: Session) throws -> ExitStatus {
    let console = session.console
    var bootstrap = bootstrap
    bootstrap.seed = session.globals.seed
    let runs = try BenchRuns(URL(fileURLWithPath: folder, isDirectory: true))
    var progress: ProgressReporter?
    var total = 0
    let probe = try EncoderProbe(
      runs, labels: methods, dataFolder: data.map { URL(fileURLWithPath: $0, isDirectory: true) },
      bootstrap: bootstrap
    ) { done, count in
      if progress == nil { progress = console.progress(total: count, unit: "encoder") }
      total = count
      progress?.update(done: done)
    }
    progress?.finish(done: total)
    if console.wantsJSON {
      try console.document(probe.json)
    } else {
      try console.write(BenchTableCommand.text(probe.printed))
    }
    return .success
  }
}
