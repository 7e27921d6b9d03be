import ClassicBench
import Foundation
import RunKit
import TensorCore

/// `mmprobe bench sweep`: methods times a grid of settings times seeds, each run in a process of its own.
struct BenchSweepCommand: Command {
  static let name = "bench sweep"
  static let summary = "train methods over grids of settings and seeds"
  static let discussion = """
    EXPERIMENT is a file as for 'bench run', or --preset takes its place. Every
    method is trained at every point of the grid with every seed, each run in a
    process of this program with a folder of its own: FOLDER/runs/NAME. A key of
    --set multiplies the methods that have such an option: alpha every method with
    an alpha, ogm.alpha the method ogm, training.learning_rate and fusion all.

    Methods that learn from teachers get the encoders of the unimodal ensemble of
    the same training and seed, which is trained once.

    The first interrupt is passed on: every run saves. --resume goes on: complete
    runs are skipped, stopped ones go on, failed ones begin again; the same bytes
    come out. More methods, seeds and values may be asked for then. Runs that fail
    are named at the end with status and message, and the others are done all the
    same. FOLDER/index.json says how every run stands.

    Among several settings 'bench table' takes the one with the best accuracy on
    validation samples. The table, plots, balance and probes have commands of their
    own: bench table, bench plot, bench balance, bench probe.
    """
  static let experiment = Positional(name: "EXPERIMENT", count: .optional, help: "a JSON file")
  static let seeds = Option<[Int]?>.custom(
    "seeds", "LIST", default: nil, notes: "such as 1...10 or 0,3,5; default what the experiment says",
    "seeds of the runs", read: readSeeds)
  static let settings = Option<[String]>.texts(
    "set", "KEY=A,B,C", "values that are tried of an option")
  static let jobs = Option<Int?>.integer(
    "jobs", in: 1...1024, absence: "all cores", "processes side by side, which share --threads")
  static let maxMemory = Option<Int?>.custom(
    "max-memory", "SIZE", default: nil, notes: "such as 6GB; default four fifths of what is free",
    "what all processes together may take; the last one is put back where they take more",
    read: RunOptions.readSize)
  static let output = Option<String?>.text("output", short: "o", "FOLDER", "folder of the sweep")
  static let resume = Option<Bool>.flag("resume", "go on with the sweep in the folder")
  static let overwrite = Option<Bool>.flag("overwrite", "replace the sweep in the folder")
  static let dryRun = Option<Bool>.flag("dry-run", "check everything and show runs and work")
  static let positionals = [experiment]
  static let options =
    ExperimentOptions.declarations + [
      seeds.declaration, settings.declaration, jobs.declaration, maxMemory.declaration, output.declaration,
      resume.declaration, overwrite.declaration, dryRun.declaration,
    ]
  static let examples = [
    Example(
      purpose: "Three methods, two of them with three strengths, ten seeds",
      line:
        "bench sweep --preset avdigits --methods joint,ogm,agm \\\n    --set alpha=0.1,0.3,1 --seeds 1...10 -o runs/sweep"
    ),
    Example(purpose: "What would that cost?", line: "bench sweep experiment.json --seeds 1...10 --dry-run"),
    Example(purpose: "Go on after an interrupt", line: "bench sweep experiment.json -o runs/sweep --resume"),
  ]

  private let source: ExperimentOptions
  private let seeds: [Int]?
  private let grid: [SweepDimension]
  private let jobs: Int?
  private let maxMemory: Int?
  private let output: String?
  private let resumes: Bool
  private let overwrites: Bool
  private let isDry: Bool

  init(_ arguments: Arguments) throws(UsageError) {
    source = try ExperimentOptions(arguments, path: arguments.optional(Self.experiment))
    seeds = try arguments[Self.seeds]
    var grid: [SweepDimension] = []
    for text in try arguments[Self.settings] {
      guard let dimension = Self.dimension(text) else {
        throw .badValue(
          option: "--set", found: text,
          expected: "a key and values of letters, digits, - + . and _, as in alpha=0.1,0.3",
          command: Self.name)
      }
      if grid.contains(where: { $0.key == dimension.key }) {
        throw .conflict(
          reason: "--set \(dimension.key) is given twice", remedy: "write its values with commas between")
      }
      grid.append(dimension)
    }
    self.grid = grid
    jobs = try arguments[Self.jobs]
    maxMemory = try arguments[Self.maxMemory]
    output = try arguments[Self.output]
    resumes = try arguments[Self.resume]
    overwrites = try arguments[Self.overwrite]
    isDry = try arguments[Self.dryRun]
  }

  func validate() throws(UsageError) {
    try source.validate(Self.name, argument: Self.experiment.name, seeds: "give --seeds")
    if resumes && overwrites {
      throw .conflict(
        reason: "--resume and --overwrite exclude each other", remedy: "leave one of them out")
    }
    if output == nil && !isDry { throw .missingOption(option: "-o FOLDER", command: Self.name) }
  }

  // MARK: Values

  /// Seeds and ranges of them, with commas between.
  static func readSeeds(_ text: String) throws(ValueProblem) -> [Int]? {
    let problem = ValueProblem(expected: "seeds and ranges of at most 1000, as in 1...10 or 0,3,5")
    var seeds: [Int] = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      let separator = part.contains("...") ? "..." : "-"
      let ends = part.split(separator: separator, omittingEmptySubsequences: false).map { Int($0) }
      guard 1...2 ~= ends.count, let first = ends[0], let last = ends.last ?? nil, first >= 0, first <= last,
        last - first < 1000, seeds.count + last - first < 1000
      else { throw problem }
      seeds += Array(first...last)
    }
    guard Set(seeds).count == seeds.count else {
      throw ValueProblem(expected: "each seed once")
    }
    return seeds
  }

  /// `KEY=A,B,C`; nil for anything else. Values become numbers and truth values where they can.
  static func dimension(_ text: String) -> SweepDimension? {
    let parts = text.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    guard parts.count == 2, !parts[0].isEmpty else { return nil }
    let words = parts[1].split(separator: ",", omittingEmptySubsequences: false).map(String.init)
    // Values name folders.
    let plain = Set("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789-+._".unicodeScalars)
    guard ([parts[0]] + words).allSatisfy({ !$0.isEmpty && $0.unicodeScalars.allSatisfy(plain.contains) })
    else { return nil }
    let values = words.map { word -> JSONValue in
      if word == "true" || word == "false" { return .bool(word == "true") }
      if let whole = Int(word) { return .integer(whole) }
      if let number = Double(word), number.isFinite { return .number(number) }
      return .string(word)
    }
    return SweepDimension(key: parts[0], values: values)
  }

  // MARK: Running

  func run(_ session: Session) throws -> ExitStatus {
    let console = session.console
    let choices = source.choices(session)
    let experiment =
      try source.preset.map { $0.experiment(isQuick: source.isQuick).objectValue ?? JSONObject() }
      ?? SweepPlan.experiment(in: URL(fileURLWithPath: source.path ?? ""))
    let path =
      source.path.map { URL(fileURLWithPath: $0).path } ?? "preset \(source.preset?.rawValue ?? "")"
    let plan = try SweepPlan(experiment, path: path, choices: choices, grid: grid, seeds: seeds)
    let cores = session.globals.threads ?? MachineFacts.coreCount
    let processes = jobs ?? cores
    var facts = RunFolder.Facts(
      version: Version.number, arguments: ["mmprobe"] + session.commandLine, threads: cores)
    let sweep = try CheckedSweep(plan, path: path, choices: choices, facts: facts)
    if isDry {
      try show(sweep, console)
      return .success
    }
    facts.notes = sweep.notes
    Interrupts.install()
    let url = URL(fileURLWithPath: output ?? "", isDirectory: true)
    let mode: RunFolder.Mode = resumes ? .resume : overwrites ? .overwrite : .fresh
    let earlier = mode == .fresh ? nil : try? SweepIndex(of: url)
    let folder = try RunFolder(at: url, mode: mode, configuration: sweep.configuration, facts: facts)
    if overwrites {
      // Runs of a folder without an index may have these names too.
      for index in [earlier, SweepIndex(plan)].compactMap(\.self) { index.removeRuns(in: url) }
    }
    let runner = try SweepRunner(
      sweep, SweepIndex(plan, continuing: resumes ? earlier : nil), in: folder,
      options: SweepRunner.Options(
        program: ProcessFacts.program, jobs: processes, threads: max(1, cores / processes),
        memoryLimit: maxMemory ?? MachineFacts.availableMemory.map { $0 / 5 * 4 }))
    return try finish(runner, folder, session)
  }

  private func finish(_ runner: SweepRunner, _ folder: RunFolder, _ session: Session) throws -> ExitStatus {
    let console = session.console
    var runner = runner
    let total = runner.index.entries.count
    let before = runner.completeCount
    if before > 0 { console.note("\(before) of \(Support.counted(total, "run")) done before") }
    var progress = console.progress(total: total, alreadyDone: before, unit: "run")
    let outcome: SweepRunner.Outcome
    do {
      outcome = try runner.run { event in
        switch event {
        case .began(let name): console.detail("\(name): begins")
        case .reduced(let jobs, let name):
          progress?.note(
            "memory allows \(Support.counted(jobs, "process")) side by side; \(name) is put back")
        case .ended(let entry, let done, let running):
          if entry.status == .failed { progress?.note(Self.text(entry)) }
          progress?.update(done: done, detail: running.joined(separator: " "))
        }
      }
    } catch {
      try? folder.finish(.failed)
      throw error
    }
    progress?.finish(done: runner.index.entries.count { $0.status != .waiting })
    if outcome == .stopped {
      try folder.finish(.stopped)
      console.note("stopped; go on with:\n  \(Support.resumeLine(session.commandLine))")
      return .stopped
    }
    let failures = runner.index.failures
    try folder.finish(failures.isEmpty ? .complete : .failed)
    if console.wantsJSON {
      try console.document(runner.index.json)
    } else {
      try console.line("\(Support.counted(runner.completeCount, "run")) complete, \(failures.count) failed")
      for entry in failures { try console.line(Self.text(entry)) }
    }
    console.note("table: mmprobe bench table \(output ?? "")")
    return failures.isEmpty ? .success : .failure
  }

  private static func text(_ entry: SweepIndex.Entry) -> String {
    let status = entry.exitCode.map { " with status \($0)" } ?? ""
    return "\(entry.run.name) failed\(status): \(entry.message ?? "no message")"
  }

  private func show(_ sweep: CheckedSweep, _ console: Console) throws {
    if console.wantsJSON { return try console.document(sweep.dryRun) }
    let plan = sweep.dryRunTable
    var table = TextTable(
      plan.titles.enumerated().map { $0.offset == 0 ? .text($0.element) : .number($0.element) })
    for row in plan.rows { table.append(row) }
    try console.write(table.text)
    try console.line(plan.total)
  }
}
