public import Foundation
public import RunKit

/// What a sweep consists of and how far it is, as `index.json` in its folder says.
///
/// The file is replaced in one step whenever a run ends. It holds no times, so that a sweep that was killed and gone on
/// with ends in the same bytes.
public struct SweepIndex: Sendable {
  /// How a run stands.
  public enum Status: String, Sendable, CaseIterable {
    /// Not begun, or begun and not ended.
    case waiting
    case complete
    /// Ended with an error.
    case failed
  }

  /// One run and how it stands.
  public struct Entry: Equatable, Sendable {
    /// The run.
    public let run: SweepPlan.Run
    /// How it stands.
    public var status = Status.waiting
    /// The exit status of a process that failed; nil if it was killed.
    public var exitCode: Int?
    /// What it said.
    public var message: String?
  }

  static let fileName = "index.json"
  static let schema = "mmprobe.sweep/v1"
  private static let sizeLimit = 1 << 26

  /// The experiment that all runs are made of.
  public let experiment: JSONObject
  /// What others are compared with.
  public let reference: String
  /// Every run, in the order of the plan.
  public internal(set) var entries: [Entry]

  /// The index of a sweep that begins.
  ///
  /// - Parameter earlier: The index of the sweep that is gone on with: runs that are not in this plan stay.
  public init(_ plan: SweepPlan, continuing earlier: SweepIndex? = nil) {
    experiment = plan.experiment
    let complete = (earlier?.entries ?? []).filter { $0.status == .complete }
    // A method of the earlier plan may be what others of this one learn from: it stays a method.
    let own = Set(complete.filter { !$0.run.isTeacher }.map(\.run.name))
    let runs = plan.runs.filter { !($0.isTeacher && own.contains($0.name)) }
    entries =
      complete.filter { entry in !runs.contains { $0.name == entry.run.name } } + runs.map { Entry(run: $0) }
    // A plan of some methods must not change what the others were compared with.
    let labels = entries.map(\.run.label)
    reference =
      [experiment["reference"]?.stringValue, earlier?.reference].compactMap(\.self).first(
        where: labels.contains)
      ?? plan.reference
  }

  /// Runs that failed.
  public var failures: [Entry] { entries.filter { $0.status == .failed } }

  // MARK: The file

  /// Reads the index of a sweep.
  ///
  /// - Throws: `FileError`, `SweepError.malformed`.
  public init(of folder: URL) throws {
    let url = folder.appendingPathComponent(Self.fileName)
    let bytes = try FileReader.bytes(of: url, limit: Self.sizeLimit)
    let value: JSONValue
    do { value = try JSONValue(parsing: bytes) } catch {
      throw SweepError.malformed(path: url.path, reason: error.errorDescription ?? "not JSON")
    }
    guard value["schema"]?.stringValue == Self.schema, let experiment = value["experiment"]?.objectValue,
      let reference = value["reference"]?.stringValue, let runs = value["runs"]?.arrayValue
    else {
      throw SweepError.malformed(path: url.path, reason: "expected the schema \(Self.schema)")
    }
    (self.experiment, self.reference) = (experiment, reference)
    entries = try runs.enumerated().map { place, run in
      guard let entry = Entry(run) else {
        throw SweepError.malformed(path: url.path, reason: "run \(place) is not as a sweep writes it")
      }
      return entry
    }
  }

  /// Whether a folder is that of a sweep.
  static func isThere(_ folder: URL) -> Bool {
    FileManager.default.fileExists(atPath: folder.appendingPathComponent(fileName).path)
  }

  /// The index as a document.
  public var json: JSONValue {
    [
      "schema": .string(Self.schema), "experiment": .object(experiment), "reference": .string(reference),
      "runs": .array(entries.map(\.json)),
    ]
  }

  /// The folder of a run below that of the sweep.
  public static func place(_ name: String, in folder: URL) -> URL {
    folder.appendingPathComponent("runs/\(name)", isDirectory: true)
  }

  /// Deletes the folders of all runs and what they said, before a sweep is done anew.
  public func removeRuns(in folder: URL) {
    for entry in entries {
      // What cannot be deleted is refused by the run that meets it.
      try? FileManager.default.removeItem(at: Self.place(entry.run.name, in: folder))
      try? FileManager.default.removeItem(at: folder.appendingPathComponent("logs/\(entry.run.name).txt"))
    }
  }

  /// The entry of a name.
  ///
  /// - Throws: `SweepError.unknownRun`.
  public func entry(_ name: String, in folder: URL) throws -> Entry {
    guard let entry = entries.first(where: { $0.run.name == name }) else {
      let names = entries.map(\.run.name)
      throw SweepError.unknownRun(
        path: folder.path, name: name, nearest: NameSuggestion.nearest(to: name, in: names))
    }
    return entry
  }
}

extension SweepIndex.Entry {
  var json: JSONValue {
    [
      "name": .string(run.name), "label": .string(run.label), "method": .string(run.method),
      "settings": .object(JSONObject(run.settings.map { ($0.key, $0.value) })),
      "seed": .integer(run.seed), "is_teacher": .bool(run.isTeacher),
      "teacher": run.teacher.map(JSONValue.string) ?? .null, "status": .string(status.rawValue),
      "exit_code": exitCode.map(JSONValue.integer) ?? .null,
      "message": message.map(JSONValue.string) ?? .null,
    ]
  }

  init?(_ value: JSONValue) {
    guard let name = value["name"]?.stringValue, let label = value["label"]?.stringValue,
      let method = value["method"]?.stringValue, let settings = value["settings"]?.objectValue,
      let seed = value["seed"]?.intValue, let isTeacher = value["is_teacher"]?.boolValue,
      let status = value["status"]?.stringValue.flatMap({ SweepIndex.Status(rawValue: $0) }),
      Self.isPlain(name),
      value["teacher"]?.stringValue.map(Self.isPlain) ?? true
    else { return nil }
    run = SweepPlan.Run(
      name: name, label: label, method: method,
      settings: settings.members.map { SweepSetting(key: $0.key, value: $0.value) }, seed: seed,
      isTeacher: isTeacher, teacher: value["teacher"]?.stringValue)
    self.status = status
    exitCode = value["exit_code"]?.intValue
    message = value["message"]?.stringValue
  }

  /// Names are those of folders and must not lead elsewhere.
  private static func isPlain(_ name: String) -> Bool {
    !name.isEmpty && !name.hasPrefix(".") && !name.utf8.contains { $0 == UInt8(ascii: "/") || $0 == 0 }
  }
}
