import Foundation
import RunKit
import TestSupport

@testable import ClassicBench

/// A folder of runs whose results were thought up, as `bench run` or `bench sweep` would leave it.
final class HandMadeRuns {
  let directory: TemporaryDirectory
  var url: URL { URL(fileURLWithPath: directory.path).appendingPathComponent(name, isDirectory: true) }
  private let name: String
  private var entries: [SweepIndex.Entry] = []
  private let modalities = ["image", "audio"]

  init(_ name: String = "data", in directory: TemporaryDirectory? = nil) throws {
    self.directory = try directory ?? TemporaryDirectory()
    self.name = name
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
  }

  /// Text of bits as a result has them.
  static func bits(_ text: String) -> [Bool] { text.map { $0 == "1" } }

  /// Adds a run: which samples are right with both, with the image alone and with the sound alone.
  func add(
    _ label: String, seed: Int, _ right: String, image: String? = nil, audio: String? = nil,
    settings: [SweepSetting] = [], validation: Double = 0.5, method: String? = nil, hash: String = "a",
    operations: Int? = nil, robustness: RobustnessScores? = nil
  ) throws {
    let none = String(repeating: "0", count: right.count)
    let sets = [none, image ?? none, audio ?? none, right]
    func share(_ text: String) -> Double { Double(text.count { $0 == "1" }) / Double(text.count) }
    let values = sets.map(share)
    let contributions = ShapleyContribution.values(values, count: 2)
    let run = entry(label, seed, settings, method, .complete)
    entries.append(run)
    let result: JSONValue = [
      "label": .string(label), "method": .string(run.run.method), "seed": .integer(seed),
      "modalities": .array(modalities.map(JSONValue.string)), "steps": 10, "best_step": 5,
      "validation_accuracy": .number(validation), "accuracy": .number(share(right)),
      "macro_f1": .number(share(right) / 2), "unimodal_accuracy": [.number(values[1]), .number(values[2])],
      "shapley": .array(contributions.map(JSONValue.number)),
      "imbalance": .number(ShapleyContribution.imbalance(contributions)),
      "subset_accuracy": .array(values.map(JSONValue.number)), "confusion": [[1, 0], [0, 1]],
      "subset_correct": .array(sets.map(JSONValue.string)),
    ]
    var members = result.objectValue ?? JSONObject()
    if let operations {
      members["operations"] = [
        "forward": .integer(operations), "backward": 0, "between_epochs": 0, "teachers": 0, "samples": 1,
      ]
    }
    if let robustness { members["robustness"] = robustness.json }
    let folder = SweepIndex.place(run.run.name, in: url)
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    try write(.object(members), folder, "result.json")
    try write(["sha256": ["test": .string(hash)]], folder, "config.json")
    try write(["status": "complete"], folder, "run.json")
  }

  /// Adds a run that is not complete.
  func addMissing(_ label: String, seed: Int, exitCode: Int?, message: String?) {
    var run = entry(label, seed, [], nil, message == nil ? .waiting : .failed)
    (run.exitCode, run.message) = (exitCode, message)
    entries.append(run)
  }

  private func entry(
    _ label: String, _ seed: Int, _ settings: [SweepSetting], _ method: String?, _ status: SweepIndex.Status
  ) -> SweepIndex.Entry {
    let name = SweepPlan.point(label, settings) + "-seed\(seed)"
    var entry = SweepIndex.Entry(
      run: SweepPlan.Run(
        name: name, label: label, method: method ?? label, settings: settings, seed: seed, isTeacher: false,
        teacher: nil))
    entry.status = status
    return entry
  }

  private func write(_ value: JSONValue, _ folder: URL, _ name: String) throws {
    try Data((value.text(.indented) + "\n").utf8).write(to: folder.appendingPathComponent(name))
  }

  /// Writes the index and reads the folder.
  func runs(reference: String = "joint") throws -> BenchRuns {
    let index: JSONValue = [
      "schema": "mmprobe.sweep/v1", "experiment": [:], "reference": .string(reference),
      "runs": .array(entries.map(\.json)),
    ]
    try write(index, url, "index.json")
    return try BenchRuns(url)
  }
}
