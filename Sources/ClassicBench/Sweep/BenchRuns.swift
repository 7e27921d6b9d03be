public import Foundation
import RunKit

/// The finished runs of a folder of `bench run` or `bench sweep`: methods with their settings, and seeds.
public struct BenchRuns: Sendable {
  /// A method with its settings.
  public struct Point: Sendable {
    /// What the experiment calls the method.
    public let label: String
    /// The method.
    public let method: String
    /// What a sweep sets.
    public let settings: [SweepSetting]
    /// Results by seed; those that are missing are named in `absent`.
    public internal(set) var results: [Int: BenchResult] = [:]
    /// Seeds without a result, and why.
    public internal(set) var absent: [(seed: Int, reason: String)] = []
    /// The folders of runs that are complete.
    var places: [Int: URL] = [:]

    /// The method with its settings, as people read it.
    public var title: String { ([label] + settings.map(\.text)).joined(separator: " ") }
    /// The seeds that have a result, in order.
    public var seeds: [Int] { results.keys.sorted() }
    /// Whether the paper's own formula was not recovered.
    public var isReconstruction: Bool { MethodCatalog.isReconstruction(method) }
    /// The mean over seeds of the accuracy on validation samples.
    var validationAccuracy: Double? {
      let values = seeds.compactMap { results[$0]?.validationAccuracy }
      return values.isEmpty ? nil : values.reduce(0, +) / Double(values.count)
    }
  }

  /// The folder.
  public let path: String
  /// The name of the data, as the experiment has it; that of the folder where it has none.
  public let title: String
  /// The name of the folder.
  public let folderName: String
  /// In the order of the experiment.
  public let points: [Point]
  /// Every seed that has a run.
  public let seeds: [Int]
  /// The label of what others are compared with.
  public let reference: String
  /// Names of the modalities.
  public let modalities: [String]
  /// How many test samples each run has.
  public let itemCount: Int
  /// What tells data sets apart: hashes of the files, and modalities.
  let identity: String
  /// Runs that others learn from, by seed; a sweep may add some.
  let teachers: [Int: URL]

  /// Reads a folder.
  ///
  /// - Throws: `SweepError`, `FileError`.
  public init(_ folder: URL) throws {
    let path = folder.path
    // A path that ends in a slash exists where it is a folder.
    guard FileManager.default.fileExists(atPath: path + "/") else {
      throw FileError.missing(path: path)
    }
    let listed = try SweepIndex.isThere(folder) ? Self.sweep(folder) : Self.single(folder)
    var points: [Point] = []
    var (identity, reader): (String?, RunReader) = (nil, RunReader())
    var teachers: [Int: URL] = [:]
    for run in listed.runs {
      let found = try reader.read(run.place, name: run.name, in: path)
      if run.method == UnimodalEnsemble.id && run.settings.isEmpty && found != nil {
        teachers[run.seed] = run.place
      }
      if run.isTeacher { continue }
      let place =
        points.firstIndex { $0.label == run.label && $0.settings == run.settings } ?? points.count
      if place == points.count {
        points.append(Point(label: run.label, method: run.method, settings: run.settings))
      }
      if let found {
        points[place].results[run.seed] = found
        points[place].places[run.seed] = run.place
      } else {
        points[place].absent.append((run.seed, run.reason))
      }
      identity = reader.identity
    }
    guard let first = points.flatMap({ Array($0.results.values) }).first else {
      throw SweepError.noRuns(path: path)
    }
    (self.path, self.points, self.teachers) = (path, points, teachers)
    folderName = folder.standardizedFileURL.lastPathComponent
    title = listed.data ?? folderName
    reference = listed.reference
    seeds = Set(points.flatMap { $0.seeds + $0.absent.map(\.seed) }).sorted()
    (modalities, itemCount) = (first.modalities, first.correct.count)
    self.identity = identity ?? ""
  }

  /// One run that a folder should have.
  private struct Listed {
    let name: String
    let label: String
    let method: String
    var settings: [SweepSetting] = []
    let seed: Int
    var isTeacher = false
    let place: URL
    let reason: String
  }

  /// The last part of the path of an experiment's data; nil where it is no name.
  private static func dataName(_ experiment: JSONObject?) -> String? {
    let name = experiment?["data"]?.stringValue.map { URL(fileURLWithPath: $0).lastPathComponent }
    return name.flatMap { ["", ".", "..", "/"].contains($0) ? nil : $0 }
  }

  private static func sweep(_ folder: URL) throws -> (runs: [Listed], reference: String, data: String?) {
    let index = try SweepIndex(of: folder)
    let runs = index.entries.map { entry in
      let code = entry.exitCode.map { " with status \($0)" } ?? ""
      let reason =
        entry.status == .failed ? "failed\(code): \(entry.message ?? "no message")" : "not finished"
      let run = entry.run
      return Listed(
        name: run.name, label: run.label, method: run.method, settings: run.settings, seed: run.seed,
        isTeacher: run.isTeacher, place: SweepIndex.place(run.name, in: folder), reason: reason)
    }
    return (runs, index.reference, dataName(index.experiment))
  }

  private static func single(_ folder: URL) throws -> (runs: [Listed], reference: String, data: String?) {
    let url = folder.appendingPathComponent("config.json")
    guard FileManager.default.fileExists(atPath: url.path),
      let value = try? JSONValue(parsing: FileReader.bytes(of: url, limit: 1 << 24)),
      value["command"]?.stringValue == "bench run", let experiment = value["experiment"],
      let methods = experiment["methods"]?.arrayValue, let first = experiment["first_seed"]?.intValue,
      let count = experiment["seeds"]?.intValue, 1...1000 ~= count, first >= 0, first < Int.max - 1000
    else { throw SweepError.notRuns(path: folder.path) }
    let chosen = experiment["chosen_methods"]?.arrayValue?.compactMap(\.stringValue)
    let labels = methods.compactMap { $0["label"]?.stringValue }
      .filter { BenchExperiment.isPlain($0) && chosen?.contains($0) ?? true }
    var runs: [Listed] = []
    for seed in first..<first + count {
      let teacher = SweepIndex.place("\(Benchmark.teacherLabel)-seed\(seed)", in: folder)
      if FileManager.default.fileExists(atPath: teacher.path) {
        runs.append(
          Listed(
            name: "\(Benchmark.teacherLabel)-seed\(seed)", label: Benchmark.teacherLabel,
            method: UnimodalEnsemble.id,
            seed: seed, isTeacher: true, place: teacher, reason: ""))
      }
      for label in labels {
        let name = "\(label)-seed\(seed)"
        let id = methods.first { $0["label"]?.stringValue == label }?["id"]?.stringValue ?? ""
        runs.append(
          Listed(
            name: name, label: label, method: id, seed: seed, place: SweepIndex.place(name, in: folder),
            reason: "not finished"))
      }
    }
    let stated = experiment["reference"]?.stringValue ?? labels.first ?? ""
    let reference = labels.contains(stated) ? stated : labels.first ?? stated
    return (runs, reference, dataName(experiment.objectValue))
  }

  /// Refuses a label that no run has.
  ///
  /// - Throws: `SweepError.unknownLabel`.
  func requireLabel(_ label: String) throws {
    guard labels.contains(label) else {
      throw SweepError.unknownLabel(
        path: path, label: label, nearest: NameSuggestion.nearest(to: label, in: labels), known: labels)
    }
  }

  /// Labels in order, each once.
  public var labels: [String] {
    var labels: [String] = []
    for point in points where !labels.contains(point.label) { labels.append(point.label) }
    return labels
  }

  /// The point of a label with the best mean accuracy on validation samples, the first of equal ones, among those with
  /// the most seeds; nil without any result.
  public func chosen(_ label: String) -> Point? {
    let all = points.filter { $0.label == label }
    let most = all.map(\.results.count).max() ?? 0
    var best: Point?
    for point in all where point.results.count == most && most > 0 {
      if (point.validationAccuracy ?? 0) > (best?.validationAccuracy ?? -1) { best = point }
    }
    return best
  }
}

/// Reads results, and refuses one that is of another experiment than the rest.
private struct RunReader {
  private(set) var identity: String?
  private var itemCount: Int?

  init() {}

  /// - Returns: nil for a run that is not complete.
  mutating func read(_ place: URL, name: String, in path: String) throws -> BenchResult? {
    let url = place.appendingPathComponent(BenchResult.fileName)
    guard FileManager.default.fileExists(atPath: url.path) else { return nil }
    let value: JSONValue
    do { value = try JSONValue(parsing: FileReader.bytes(of: url, limit: 1 << 26)) } catch let error
      as FileError
    {
      throw error
    } catch {
      throw SweepError.malformed(path: url.path, reason: error.localizedDescription)
    }
    guard let result = BenchResult(value) else {
      throw SweepError.malformed(path: url.path, reason: "not a result of this version of 'bench run'")
    }
    let configuration = place.appendingPathComponent("config.json")
    let stored = try? JSONValue(parsing: FileReader.bytes(of: configuration, limit: 1 << 24))
    let hashes = stored?["sha256"] ?? .null
    let found = "\(result.modalities.joined(separator: ", ")); \(hashes.text())"
    if let identity, identity != found {
      throw SweepError.mixed(
        path: path, run: name, what: "data or modalities", found: found, expected: identity)
    }
    if let itemCount, itemCount != result.correct.count {
      throw SweepError.mixed(
        path: path, run: name, what: "test samples", found: "\(result.correct.count)",
        expected: "\(itemCount)")
    }
    (identity, itemCount) = (found, result.correct.count)
    return result
  }
}
