import Foundation
public import RunKit

/// Does the runs of a sweep, each in a process of its own, several side by side.
///
/// A run that is complete is not done again; one that was stopped or killed goes on. Where all processes together take more
/// memory than they may, the one that began last is killed, put back, and one fewer runs from then on; one that takes too
/// much alone has failed. The first interrupt is passed on: every process saves and ends.
public struct SweepRunner {
  /// How the runs are done.
  public struct Options: Sendable {
    /// The path of this program.
    public var program: String
    /// Processes side by side.
    public var jobs: Int
    /// Threads of each.
    public var threads: Int
    /// The most bytes that all of them may take together; nil for no bound.
    public var memoryLimit: Int?

    /// How the runs are done.
    public init(program: String, jobs: Int, threads: Int, memoryLimit: Int?) {
      (self.program, self.jobs, self.threads, self.memoryLimit) = (program, jobs, threads, memoryLimit)
    }
  }

  /// What happened, for progress.
  public enum Event: Sendable {
    /// A run begins, or goes on.
    case began(name: String)
    /// A run ended; how many have, and how many were done before.
    case ended(SweepIndex.Entry, done: Int, running: [String])
    /// Memory allows fewer processes.
    case reduced(jobs: Int, name: String)
  }

  /// How a sweep ended.
  public enum Outcome: Sendable, Equatable {
    /// Every run has ended, some perhaps with an error.
    case ended
    /// An interrupt stopped it; it can be resumed.
    case stopped
  }

  private struct Running {
    let place: Int
    let process: ChildProcess
    /// Why it was killed here.
    var reason: String?
    var isPutBack = false
  }

  private let folder: RunFolder
  private let options: Options
  private let sweep: CheckedSweep
  /// How the runs stand.
  public private(set) var index: SweepIndex
  private var running: [Running] = []
  private var jobs: Int
  private static let logLimit = 1 << 20
  private static let secondsPerLook = 0.02

  /// Looks at what is done already, and writes the index.
  ///
  /// - Throws: `FileError`.
  public init(_ sweep: CheckedSweep, _ index: SweepIndex, in folder: RunFolder, options: Options) throws {
    (self.sweep, self.index, self.folder, self.options) = (sweep, index, folder, options)
    jobs = max(1, options.jobs)
    for place in index.entries.indices where isComplete(index.entries[place]) {
      self.index.entries[place].status = .complete
      // The sweep may have been killed between the end of the run and this.
      try? FileManager.default.removeItem(at: log(index.entries[place].run.name))
    }
    try writeIndex()
  }

  /// How many runs are complete.
  public var completeCount: Int { index.entries.count { $0.status == .complete } }

  private func writeIndex() throws { try folder.write(index.json, to: SweepIndex.fileName) }

  private func place(of entry: SweepIndex.Entry) -> URL { SweepIndex.place(entry.run.name, in: folder.url) }

  /// Whether a run has its result, was told to be complete, and is one of this sweep.
  private func isComplete(_ entry: SweepIndex.Entry) -> Bool {
    let place = place(of: entry)
    func document(_ name: String) -> JSONValue? {
      let bytes = try? FileReader.bytes(of: place.appendingPathComponent(name), limit: 1 << 26)
      return bytes.flatMap { try? JSONValue(parsing: $0) }
    }
    guard document("run.json")?["status"]?.stringValue == RunFolder.Status.complete.rawValue,
      let result = document(BenchResult.fileName).flatMap({ BenchResult($0) })
    else { return false }
    // There is no plan for runs of an earlier call with other seeds or values, which this one keeps.
    if let options = sweep.configurations[entry.run.name] {
      let expected = try? JSONValue(parsing: JSONValue.object(options).text())
      if document("config.json") != expected { return false }
    }
    return result.seed == entry.run.seed && result.method == entry.run.method
  }

  // MARK: The loop

  /// Does what is not done.
  ///
  /// - Throws: `FileError` where a process cannot be started or the index not be written; processes that run are killed.
  public mutating func run(progress: (Event) -> Void) throws -> Outcome {
    try FileSystem.createFolder(folder.url.appendingPathComponent("logs").path)
    var waiting = index.entries.indices.filter { index.entries[$0].status != .complete }
    var isStopping = false
    while true {
      for ended in takeEnded() { try note(ended, &waiting, progress) }
      if Interrupts.isRequested && !isStopping {
        isStopping = true
        for process in running { process.process.stop() }
      }
      if isStopping {
        if running.isEmpty { return .stopped }
      } else {
        if waiting.isEmpty && running.isEmpty { return .ended }
        boundMemory(progress)
        try start(&waiting, progress)
      }
      Thread.sleep(forTimeInterval: Self.secondsPerLook)
    }
  }

  /// Processes that have ended, which are no longer among those that run.
  private mutating func takeEnded() -> [Running] {
    let ended = running.filter { $0.process.poll() != nil }
    running.removeAll { item in ended.contains { $0.place == item.place } }
    return ended
  }

  private mutating func start(_ waiting: inout [Int], _ progress: (Event) -> Void) throws {
    while running.count < jobs, let next = waiting.firstIndex(where: { isReady($0) }) {
      let place = waiting.remove(at: next)
      let run = index.entries[place].run
      if let teacher = run.teacher, failed(teacher) {
        let message = "the run \(teacher) that it learns from failed"
        try end(place, .failed, exitCode: nil, message: message, progress)
        continue
      }
      let words = [
        "bench", "run", folder.url.path, "--cell", run.name, "--data", sweep.dataFolder.path, "--threads",
        "\(options.threads)", "--json", "--quiet",
      ]
      progress(.began(name: run.name))
      running.append(
        Running(place: place, process: try ChildProcess(options.program, words, messages: log(run.name))))
    }
  }

  private func status(_ name: String) -> SweepIndex.Status? {
    index.entries.first { $0.run.name == name }?.status
  }

  private func failed(_ teacher: String) -> Bool { status(teacher).map { $0 == .failed } ?? true }

  /// Whether the run that it learns from has ended; one that failed lets it fail.
  private func isReady(_ place: Int) -> Bool {
    guard let teacher = index.entries[place].run.teacher else { return true }
    // A run that failed before this sweep is done again first.
    let isPending = running.contains { index.entries[$0.place].run.name == teacher }
    return !isPending && status(teacher) != .waiting
  }

  private func log(_ name: String) -> URL { folder.url.appendingPathComponent("logs/\(name).txt") }

  /// Kills processes where all together, or one alone, take more than they may.
  private mutating func boundMemory(_ progress: (Event) -> Void) {
    guard let limit = options.memoryLimit, !running.isEmpty else { return }
    let sizes = running.map { $0.reason == nil && !$0.isPutBack ? $0.process.memory.resident : 0 }
    guard sizes.reduce(0, +) > limit else { return }
    let last = running.count - 1
    if running.count == 1 {
      running[last].reason =
        "\(ByteCount.text(sizes[last])) of memory were used, --max-memory is \(ByteCount.text(limit))"
    } else {
      running[last].isPutBack = true
      jobs = max(1, min(jobs, running.count) - 1)
      progress(.reduced(jobs: jobs, name: index.entries[running[last].place].run.name))
    }
    running[last].process.kill()
  }

  private mutating func note(_ ended: Running, _ waiting: inout [Int], _ progress: (Event) -> Void) throws {
    let entry = index.entries[ended.place]
    if ended.isPutBack {
      waiting.insert(ended.place, at: 0)
      return
    }
    if let reason = ended.reason {
      return try end(ended.place, .failed, exitCode: nil, message: reason, progress)
    }
    switch ended.process.poll() {
    case .exited(0)? where isComplete(entry):
      try? FileManager.default.removeItem(at: log(entry.run.name))
      try end(ended.place, .complete, exitCode: nil, message: nil, progress)
    case .exited(ExitStatus.stopped.rawValue)?:
      // Asked to save, here or by somebody else: it goes on when the sweep does.
      if !Interrupts.isRequested {
        let code = Int(ExitStatus.stopped.rawValue)
        try end(ended.place, .failed, exitCode: code, message: "stopped from outside", progress)
      }
    case .exited(let code)?:
      let message = Self.message(log(entry.run.name)) ?? "it ended without a result"
      try end(ended.place, .failed, exitCode: Int(code), message: message, progress)
    case .killed(let signal)?:
      if Interrupts.isRequested { return }
      try end(ended.place, .failed, exitCode: nil, message: "killed by signal \(signal)", progress)
    default:
      try end(ended.place, .failed, exitCode: nil, message: "it ended without a result", progress)
    }
  }

  private mutating func end(
    _ place: Int, _ status: SweepIndex.Status, exitCode: Int?, message: String?, _ progress: (Event) -> Void
  ) throws {
    index.entries[place].status = status
    index.entries[place].exitCode = exitCode
    index.entries[place].message = message
    try writeIndex()
    let done = index.entries.count { $0.status != .waiting }
    progress(
      .ended(index.entries[place], done: done, running: running.map { index.entries[$0.place].run.name }))
  }

  /// What a process said at its end: the message of the error object on the last line.
  static func message(_ log: URL) -> String? {
    guard let bytes = try? FileReader.bytes(of: log, limit: logLimit) else { return nil }
    let text = String(decoding: bytes, as: UTF8.self)
    guard let last = text.split(separator: "\n").last.map(String.init) else { return nil }
    let object = try? JSONValue(parsing: last)
    return object?["error"]?["message"]?.stringValue ?? last.shown(limit: 400)
  }
}
