import ClassicBench
import Foundation
import RunKit
import TensorCore

/// `mmprobe bench`: methods against imbalance of modalities, compared on one data set with several seeds.
struct BenchCommand: Command {
  static let name = "bench"
  static let summary = "run and compare training methods against modality imbalance"
  static let discussion = """
    list shows every method with the part of training it changes and its source;
    reconstructions, whose papers' own formulas were not recovered, are marked.
    Methods of different stages can be composed: an experiment may name
    opm+ogm-ge.

    run EXPERIMENT trains every method of a JSON file with every seed and compares
    them on the test split: accuracy with its spread over seeds, each modality
    alone, Shapley contributions and imbalance, and the difference from a reference
    with an interval over seeds and samples. Tested are the weights with the best
    validation accuracy, or the last ones; presets of AVDigits test the last.
    Unknown keys are refused. A first interrupt saves; --resume goes on.

    Presets take the place of a file:
    avdigits              every method on images and sounds of datasets/avdigits
    avdigits-three        the same on images, sounds and written clues
    avdigits-transformer  images and sounds, transformers as encoders
    cremad-resnet18, kinetics-sounds-resnet18, vggsound-resnet18,
    balancedav-resnet18, ucf101-resnet18, food101-resnet18-bert,
    food101-vit-bert, mosei-transformer, mosei-transformer-corrected
                          a data set in packed/NAME and its encoders, trained
                          as in the benchmark's paper (Documentation/Encoders.md)

    Over a grid of settings, in several processes: bench sweep. What comes out of
    either: bench table, bench plot, bench balance and bench probe.
    """
  static let action = Positional(name: "ACTION", count: .one, help: "list or run")
  static let experiment = Positional(name: "EXPERIMENT", count: .optional, help: "a JSON file, for run")
  static let cell = Option<String?>.text(
    "cell", "NAME", "do one run of a sweep, whose folder EXPERIMENT is; 'bench sweep' does so")
  static let output = Option<String?>.text("output", short: "o", "RUN", "run folder to make")
  static let resume = Option<Bool>.flag("resume", "go on with the run in the folder")
  static let overwrite = Option<Bool>.flag("overwrite", "replace the run in the folder")
  static let dryRun = Option<Bool>.flag("dry-run", "check everything and show what would be done")
  static let positionals = [action, experiment]
  static let options =
    ExperimentOptions.declarations + [
      cell.declaration, output.declaration, resume.declaration, overwrite.declaration, dryRun.declaration,
    ]
  static let examples = [
    Example(purpose: "Every method", line: "bench list"),
    Example(
      purpose: "Compare the methods of a file", line: "bench run experiment.json -o runs/bench"),
    Example(
      purpose: "Two methods of a preset against joint training, three seeds",
      line: "bench run --preset avdigits --quick \\\n    --methods joint,ogm,mmpareto -o runs/bench"),
  ]

  private enum Action: String, CaseIterable { case list, run }
  private let word: String
  private let source: ExperimentOptions
  private let cell: String?
  private let output: String?
  private let resumes: Bool
  private let overwrites: Bool
  private let isDry: Bool

  init(_ arguments: Arguments) throws(UsageError) {
    word = try arguments[Self.action]
    source = try ExperimentOptions(arguments, path: arguments.optional(Self.experiment))
    cell = try arguments[Self.cell]
    output = try arguments[Self.output]
    resumes = try arguments[Self.resume]
    overwrites = try arguments[Self.overwrite]
    isDry = try arguments[Self.dryRun]
  }

  /// What is asked for.
  private func action() throws(UsageError) -> Action {
    guard let action = Action(rawValue: word) else {
      throw .badValue(option: Self.action.name, found: word, expected: "list or run", command: Self.name)
    }
    return action
  }

  func validate() throws(UsageError) {
    if resumes && overwrites {
      throw .conflict(
        reason: "--resume and --overwrite exclude each other", remedy: "leave one of them out")
    }
    switch try action() {
    case .list:
      if let path = source.path { throw .extraArgument(found: path, command: Self.name) }
      if output != nil || resumes || overwrites || isDry || source.isGiven || cell != nil {
        throw .conflict(reason: "bench list runs nothing", remedy: "leave the options out")
      }
    case .run:
      try source.validate(Self.name, argument: Self.experiment.name, seeds: "change seeds in the file")
      if cell != nil {
        if source.path == nil || output != nil || resumes || overwrites || isDry || !source.methods.isEmpty {
          throw .conflict(
            reason: "--cell does one run of the sweep in EXPERIMENT, where it stands",
            remedy: "leave out all but --data")
        }
      } else if output == nil && !isDry {
        throw .missingOption(option: "-o RUN", command: Self.name)
      }
    }
  }

  func run(_ session: Session) throws -> ExitStatus {
    switch try action() {
    case .list: return try list(session.console)
    case .run: return try cell.map { try single($0, session) } ?? compare(session)
    }
  }

  private func list(_ console: Console) throws -> ExitStatus {
    let entries = MethodCatalog.entries
    if console.wantsJSON {
      try console.document(
        .array(
          entries.map { entry in
            [
              "id": .string(entry.id), "name": .string(entry.name), "stage": .string(entry.stage.rawValue),
              "source": .string(entry.source), "reconstruction": .bool(entry.isReconstruction),
            ]
          }))
      return .success
    }
    var table = TextTable([.text("id"), .text("name"), .text("stage"), .text("source")])
    for entry in entries {
      let source = entry.source + (entry.isReconstruction ? " (reconstruction)" : "")
      table.append([entry.id, entry.name, entry.stage.rawValue, source])
    }
    try console.write(table.text)
    try console.line()
    try console.write(MethodCatalog.compositionText)
    return .success
  }

  /// One run of a sweep, in a process that the sweep started.
  private func single(_ name: String, _ session: Session) throws -> ExitStatus {
    let folder = URL(fileURLWithPath: source.path ?? "", isDirectory: true)
    let facts = RunFolder.Facts(
      version: Version.number, arguments: ["mmprobe"] + session.commandLine, threads: Workers.threadCount)
    Interrupts.install()
    Interrupts.followParent()
    let benchmark = try Benchmark(
      run: name, ofSweep: folder, dataFolder: source.data, facts: facts)
    let outcome = try benchmark.run(name, ofSweep: folder) { event in
      if case .epoch(_, _, let epoch, let total, let accuracy) = event {
        session.console.detail(
          "\(name): epoch \(epoch) of \(total), validation accuracy "
            + Decimals.text(100 * accuracy, places: 1) + " %")
      }
    }
    guard case .complete = outcome else { return .stopped }
    return .success
  }

  private func compare(_ session: Session) throws -> ExitStatus {
    let console = session.console
    let choices = source.choices(session)
    let experiment =
      if let preset = source.preset {
        try BenchExperiment(preset, isQuick: source.isQuick, choices)
      } else {
        try BenchExperiment(URL(fileURLWithPath: source.path ?? ""), choices)
      }
    let facts = RunFolder.Facts(
      version: Version.number, arguments: ["mmprobe"] + session.commandLine, threads: Workers.threadCount)
    let benchmark = try Benchmark(experiment, facts: facts)
    if isDry {
      try console.document(benchmark.dryRun())
      return .success
    }
    Interrupts.install()
    let mode: RunFolder.Mode = resumes ? .resume : overwrites ? .overwrite : .fresh
    let folder = try RunFolder(
      at: URL(fileURLWithPath: output ?? "", isDirectory: true), mode: mode,
      configuration: benchmark.configuration, facts: facts)
    let outcome = try benchmark.run(in: folder, mode: mode) { event in
      switch event {
      case .started(let label, let seed, let isDone):
        console.note("\(label), seed \(seed)" + (isDone ? ": done before" : ""))
      case .epoch(let label, let seed, let epoch, let total, let accuracy):
        console.detail(
          "\(label), seed \(seed): epoch \(epoch) of \(total), validation accuracy "
            + Decimals.text(100 * accuracy, places: 1) + " %")
      }
    }
    guard case .complete = outcome else {
      try folder.finish(.stopped)
      console.note("stopped; go on with:\n  \(Support.resumeLine(session.commandLine))")
      return .stopped
    }
    let table = try BenchTable(BenchRuns(folder.url))
    try folder.write(.object(table.contents), to: "results.json")
    try folder.write(table.csv, to: "results.csv")
    try folder.finish(.complete)
    if console.wantsJSON {
      try console.document(table.json)
    } else {
      try BenchTableCommand.write(table.allPrinted + [table.robustness].compactMap(\.self), to: console)
    }
    return .success
  }
}
