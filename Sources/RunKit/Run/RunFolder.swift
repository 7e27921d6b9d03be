public import Foundation

/// The folder a run writes: locked, resumable, and never in a state that cannot be explained.
///
/// | file | contents |
/// | --- | --- |
/// | `run.json` | what differs from run to run: arguments, host, times, threads, status; the names of all files |
/// | `config.json` | the effective options; a resumed run must have the same |
/// | others | records and results, written through this class |
///
/// A name is entered in `run.json` before the file is first written, so that `overwrite` deletes exactly the
/// files of the earlier run. One process at a time holds the lock (a file of its own, which stays).
public final class RunFolder {
  /// What to do with a folder that is not empty.
  public enum Mode: String, Sendable, CaseIterable {
    /// Refuse it.
    case fresh
    /// Go on with the run in it; start one if there is none.
    case resume
    /// Delete the files of the run in it and start again.
    case overwrite
  }

  /// How a run stands.
  public enum Status: String, Sendable, CaseIterable {
    /// Under way, or killed.
    case running
    /// Ended with everything done.
    case complete
    /// Stopped by an interrupt, to be resumed.
    case stopped
    /// Ended with an error.
    case failed
  }

  /// What `run.json` says of the process.
  public struct Facts: Sendable {
    /// The version of the program.
    public var version: String
    /// The command line.
    public var arguments: [String]
    /// The number of threads.
    public var threads: Int
    /// Anything else worth a note.
    public var notes: JSONObject

    /// Facts of a process.
    public init(version: String, arguments: [String], threads: Int, notes: JSONObject = JSONObject()) {
      self.version = version
      self.arguments = arguments
      self.threads = threads
      self.notes = notes
    }
  }

  static let schema = "mmprobe.run/v1"
  static let lockName = ".mmprobe-lock"
  static let runName = "run.json"
  static let configurationName = "config.json"
  // Far above any real run.json or config.json.
  private static let sizeLimit = 1 << 24

  /// The folder.
  public let url: URL
  /// Whether an earlier run is being gone on with.
  public let isResumed: Bool
  /// What `run.json` says now.
  public private(set) var record: JSONObject
  private let now: () -> Date
  // Held for its lifetime: closing it gives the lock back.
  private let lock: OpenFile

  /// Opens or makes the folder, takes its lock, and writes `run.json` and `config.json`.
  ///
  /// - Parameters:
  ///   - url: The folder; those above it are made too.
  ///   - mode: What to do with a folder that is not empty.
  ///   - configuration: The effective options, in a fixed order.
  ///   - volatileKeys: Options that may change between a run and its resumption, such as `threads`; members of
  ///     objects with dots between.
  ///   - facts: For `run.json`.
  ///   - now: The clock.
  /// - Throws: `RunFolderError` or `FileError`; a folder that is refused keeps all its files.
  public init(
    at url: URL, mode: Mode, configuration: JSONObject, volatileKeys: Set<String> = [], facts: Facts,
    now: @escaping () -> Date = { Date() }
  ) throws {
    self.url = url
    self.now = now
    let path = url.path
    if let status = FileSystem.status(of: path), status.kind != .folder {
      throw RunFolderError.notAFolder(path: path)
    }
    try FileSystem.createFolder(path)
    // A folder that will be refused gets no lock file.
    if try !FileSystem.names(in: path).contains(Self.lockName) {
      try Self.checkContents(of: path, mode: mode)
    }
    lock = try Self.takeLock(of: path)
    try Self.checkContents(of: path, mode: mode)
    let stored = try Self.storedRecord(in: path)
    let isResumed = try mode == .resume && stored.map { try Self.holdsRun(path, $0) } ?? false
    if isResumed, stored != nil {
      let differences = RunConfiguration.differences(
        stored: try Self.readObject(path, Self.configurationName), asked: configuration,
        ignoring: volatileKeys)
      guard differences.isEmpty else {
        throw RunFolderError.configurationDiffers(path: path, differences: differences)
      }
    }
    self.isResumed = isResumed
    record = Self.record(facts, continuing: isResumed ? stored : nil, started: Timestamp.text(of: now()))
    try Self.removeTemporaryFiles(in: path)
    for folder in Set((stored.map(Self.fileNames) ?? []).compactMap(Self.folder)).sorted() {
      if FileSystem.status(of: path + "/" + folder, followsLinks: false)?.kind == .folder {
        try Self.removeTemporaryFiles(in: path + "/" + folder)
      }
    }
    if let stored, !isResumed { try Self.deleteFiles(of: stored, in: path) }
    try writeRecord()
    if !isResumed {
      try write(JSONValue.object(configuration).text(.indented) + "\n", to: Self.configurationName)
    }
  }

  /// The place of a file in the folder.
  ///
  /// - Parameter name: A plain name, or one below a single folder such as `tables/groups.csv`; anything else is a defect
  ///   of the caller and traps.
  public func url(of name: String) -> URL {
    precondition(Self.isPlainName(name), "\(name) is not a plain file name")
    return url.appendingPathComponent(name, isDirectory: false)
  }

  /// Whether a file is there.
  public func contains(_ name: String) -> Bool {
    FileSystem.status(of: url(of: name).path)?.kind == .regular
  }

  /// Writes a whole file in one step.
  ///
  /// - Throws: `FileError`.
  public func write(_ text: String, to name: String) throws {
    try register(name)
    try AtomicFile.write(text, to: url(of: name))
  }

  /// Writes a JSON document, indented, in one step.
  ///
  /// - Throws: `FileError`.
  public func write(_ value: JSONValue, to name: String) throws {
    try write(value.text(.indented) + "\n", to: name)
  }

  /// Writes what `body` gives to the file, in one step and without holding it in memory.
  ///
  /// - Throws: `FileError`, or what `body` throws.
  public func write(to name: String, _ body: (OutputFile) throws -> Void) throws {
    try register(name)
    try AtomicFile.write(to: url(of: name), body)
  }

  /// Calls `body` with every record of a JSON Lines file, after cutting off a last one that a killed process
  /// left unfinished; nothing happens if there is no such file.
  ///
  /// - Throws: `JSONLinesError`, `FileError`, or what `body` throws.
  public func forEachRecord(of name: String, _ body: (JSONLinesReader.Line) throws -> Void) throws {
    guard contains(name) else { return }
    let reader = try JSONLinesReader(url(of: name), ending: .recovering)
    while let line = try reader.next() { try body(line) }
  }

  /// Opens a JSON Lines file for more records. Read the stored ones first, with `forEachRecord`.
  ///
  /// - Throws: `FileError`.
  public func appendingRecords(to name: String, recordsPerSync: Int = 16) throws -> JSONLinesWriter {
    try register(name)
    return try JSONLinesWriter(appendingTo: url(of: name), recordsPerSync: recordsPerSync)
  }

  /// Opens a TensorBoard event file for more events.
  ///
  /// - Throws: `FileError`.
  public func appendingEvents(to name: String) throws -> EventFileWriter {
    try register(name)
    return try EventFileWriter(appendingTo: url(of: name))
  }

  /// Cuts a file off after `size` bytes, to go on from a state saved then; a file that is missing counts as empty.
  ///
  /// - Throws: `RunFolderError.shortened` if the file has fewer bytes, `FileError`.
  public func cut(_ name: String, to size: Int) throws {
    let path = url(of: name).path
    let found = FileSystem.status(of: path)?.size ?? 0
    guard found >= size else {
      throw RunFolderError.shortened(path: path, found: found, expected: size)
    }
    guard found > size else { return }
    let file = try OpenFile(path, for: .shortening)
    try file.truncate(to: size)
    try file.sync()
  }

  /// Notes in `run.json` how the run ended, with other facts if there are any.
  ///
  /// - Throws: `FileError`.
  public func finish(_ status: Status, notes: JSONObject = JSONObject()) throws {
    record["status"] = .string(status.rawValue)
    record["finished"] = .string(Timestamp.text(of: now()))
    for (key, value) in notes.members { record[key] = value }
    try writeRecord()
  }

  private func writeRecord() throws {
    try AtomicFile.write(JSONValue.object(record).text(.indented) + "\n", to: url(of: Self.runName))
  }

  /// Lets another writer make a file of the run, which must appear in one step.
  ///
  /// - Throws: `FileError`, or what `body` throws.
  public func write(to name: String, by body: (URL) throws -> Void) throws {
    try register(name)
    try body(url(of: name))
  }

  private func register(_ name: String) throws {
    precondition(Self.isPlainName(name), "\(name) is not a plain file name")
    if let folder = Self.folder(of: name) { try FileSystem.createFolder(url.path + "/" + folder) }
    let names = record["files"]?.arrayValue ?? []
    if names.contains(.string(name)) || name == Self.runName { return }
    record["files"] = .array(names + [.string(name)])
    try writeRecord()
  }
}

// Opening.
extension RunFolder {
  /// Whether a name is plain, or one plain name below another: it cannot lead out of the folder.
  private static func isPlainName(_ name: String) -> Bool {
    let parts = name.split(separator: "/", omittingEmptySubsequences: false)
    return 1...2 ~= parts.count
      && parts.allSatisfy { !$0.isEmpty && $0 != "." && $0 != ".." && !$0.utf8.contains(0) }
  }

  /// The folder a name lies in, if it is below one.
  private static func folder(of name: String) -> String? {
    let parts = name.split(separator: "/")
    return parts.count == 2 ? String(parts[0]) : nil
  }

  /// Names in the folder that are neither the lock nor left over from a killed write.
  private static func contents(of path: String) throws -> [String] {
    try FileSystem.names(in: path).filter { $0 != lockName && !AtomicFile.isTemporaryName($0) }
  }

  private static func removeTemporaryFiles(in path: String) throws {
    for name in try FileSystem.names(in: path) where AtomicFile.isTemporaryName(name) {
      try FileSystem.remove(path + "/" + name)
    }
  }

  private static func checkContents(of path: String, mode: Mode) throws {
    let names = try contents(of: path)
    if names.isEmpty { return }
    if mode == .fresh { throw RunFolderError.notEmpty(path: path, isRun: names.contains(runName)) }
    _ = try storedRecord(in: path)
  }

  /// What `run.json` says, or nil in an empty folder.
  private static func storedRecord(in path: String) throws -> JSONObject? {
    let names = try contents(of: path)
    if names.isEmpty { return nil }
    guard names.contains(runName) else {
      throw RunFolderError.notARun(path: path, reason: "there is no \(runName)")
    }
    let record = try readObject(path, runName)
    guard record["schema"]?.stringValue == schema else {
      throw RunFolderError.notARun(path: path, reason: "\(runName) does not have the schema \(schema)")
    }
    return record
  }

  private static func readObject(_ path: String, _ name: String) throws -> JSONObject {
    let bytes = try FileReader.bytes(
      of: URL(fileURLWithPath: path).appendingPathComponent(name), limit: sizeLimit)
    do throws(JSONError) {
      if let object = try JSONValue(parsing: bytes).objectValue { return object }
    } catch {
      throw RunFolderError.notARun(path: path, reason: "\(name) is \(error.errorDescription ?? "not JSON")")
    }
    throw RunFolderError.notARun(path: path, reason: "\(name) does not hold an object")
  }

  /// Whether a run got far enough to be gone on with: one killed before its `config.json` has nothing yet.
  private static func holdsRun(_ path: String, _ record: JSONObject) throws -> Bool {
    let names = try contents(of: path)
    if names.contains(configurationName) { return true }
    let hasResults = fileNames(record).contains { names.contains(folder(of: $0) ?? $0) }
    if hasResults { throw RunFolderError.configurationMissing(path: path) }
    return false
  }

  /// The files a record lists; it may have been edited, so only plain names count.
  private static func fileNames(_ record: JSONObject) -> [String] {
    (record["files"]?.arrayValue ?? []).compactMap(\.stringValue).filter { isPlainName($0) && $0 != runName }
  }

  /// Deletes what the earlier run wrote. `config.json` goes first: without it nothing left can be resumed.
  private static func deleteFiles(of record: JSONObject, in path: String) throws {
    for name in [configurationName] + fileNames(record) {
      // A folder that was replaced by a link must not lead elsewhere.
      if let folder = folder(of: name),
        FileSystem.status(of: path + "/" + folder, followsLinks: false)?.kind != .folder
      {
        continue
      }
      let file = path + "/" + name
      if let kind = FileSystem.status(of: file, followsLinks: false)?.kind, kind != .folder {
        try FileSystem.remove(file)
      }
    }
    try FileSystem.syncFolder(path)
  }

  private static func takeLock(of path: String) throws -> OpenFile {
    let lockPath = path + "/" + lockName
    let lock = try OpenFile(lockPath, for: .locking)
    guard try lock.lockExclusively() else {
      let bytes = (try? FileReader.bytes(of: URL(fileURLWithPath: lockPath), limit: 4096)) ?? []
      let text = String(decoding: bytes, as: UTF8.self).filter { !$0.isNewline }
      throw RunFolderError.locked(path: path, holder: text.isEmpty ? "another process" : text)
    }
    let holder = "process \(ProcessFacts.identifier) on \(ProcessFacts.host)\n"
    try lock.truncate(to: 0)
    try lock.write([UInt8](holder.utf8).span)
    return lock
  }

  private static func record(_ facts: Facts, continuing stored: JSONObject?, started: String) -> JSONObject {
    var record = JSONObject()
    record["schema"] = .string(schema)
    record["status"] = .string(Status.running.rawValue)
    record["version"] = .string(facts.version)
    record["argv"] = .array(facts.arguments.map(JSONValue.string))
    record["host"] = .string(ProcessFacts.host)
    record["pid"] = .integer(Int(ProcessFacts.identifier))
    record["threads"] = .integer(facts.threads)
    record["started"] = stored?["started"] ?? .string(started)
    record["finished"] = .null
    let (count, overflows) = (stored?["resumed"]?.intValue ?? -1).addingReportingOverflow(1)
    record["resumed"] = .integer(overflows ? 0 : count)
    record["files"] = .array((stored.map(fileNames) ?? []).map(JSONValue.string))
    for (key, value) in facts.notes.members { record[key] = value }
    return record
  }
}
