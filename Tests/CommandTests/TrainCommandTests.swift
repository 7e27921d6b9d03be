import Foundation
import TestSupport
import XCTest

@testable import RunKit

/// `mmprobe train` on a tiny model: what it writes, what it refuses, and that stopping it changes no byte.
final class TrainCommandTests: XCTestCase {
  /// A folder with a model of one layer, 40 training and 6 validation questions, and a configuration.
  private struct Setup {
    let folder: TemporaryFolder
    var configuration: String { folder.path("train.json") }

    init(steps: Int = 4) throws {
      folder = try TemporaryFolder()
      for split in ["train", "val"] {
        let lines = String(
          decoding: try Data(contentsOf: Fixtures.avdigitsData("\(split).qa.jsonl")), as: UTF8.self
        ).split(separator: "\n").prefix(split == "train" ? 40 : 6)
        try (lines.joined(separator: "\n") + "\n").write(
          to: folder.url("\(split).qa.jsonl"), atomically: true, encoding: .utf8)
        try FileManager.default.copyItem(
          at: Fixtures.avdigitsData("\(split).safetensors"), to: folder.url("\(split).safetensors"))
      }
      try FileManager.default.createDirectory(at: folder.url("model"), withIntermediateDirectories: true)
      for name in ["tokenizer.model", "tokenizer_config.json"] {
        try FileManager.default.copyItem(
          at: Fixtures.url("avdigits_model/\(name)"), to: folder.url("model/\(name)"))
      }
      var text = String(
        decoding: try Data(contentsOf: Fixtures.url("avdigits_model/config.json")), as: UTF8.self)
      let sizes = [
        ("hidden_size", 128, 16), ("intermediate_size", 352, 24), ("num_hidden_layers", 4, 1),
        ("num_attention_heads", 4, 2), ("num_key_value_heads", 2, 1), ("head_dim", 32, 8),
      ]
      for (key, old, new) in sizes {
        XCTAssertTrue(text.contains("\"\(key)\": \(old)"), key)
        text = text.replacingOccurrences(of: "\"\(key)\": \(old)", with: "\"\(key)\": \(new)")
      }
      try text.write(to: folder.url("model/config.json"), atomically: true, encoding: .utf8)
      try write { $0["steps"] = .integer(steps) }
    }

    /// Writes the configuration after `change`.
    func write(_ change: (inout JSONObject) -> Void) throws {
      var object = try XCTUnwrap(
        JSONValue(
          parsing: [UInt8](
            """
            {"model": "model", "data": {"train": "train.qa.jsonl", "validation": "val.qa.jsonl"}, "steps": 4,
             "groups": 2, "accumulation": 2, "optimizer": {"learning_rate": 0.01, "weight_decay": 0.05},
             "schedule": {"warmup": 1, "floor": 0.01}, "clipping": {"norm": 1}, "average": 0.9, "dropout": 0.1,
             "z_loss": 0.0001, "layouts": {"from": 0.5, "mix": [{"media": ["image", "audio"], "weight": 2},
             {"media": ["audio", "image"]}]}, "blanks": {"image": 0.5, "question": 0.5},
             "augmentation": {"same_label": true, "image": {"noise": 0.1}, "audio": {"shift_probability": 1,
             "columns": 2, "item_noise": 0.1}}, "needs": {"written": ["image"]}, "answer_limit": 2,
             "log_interval": 1, "evaluation_interval": 2, "save_interval": 2}
            """.utf8)
        ).objectValue)
      change(&object)
      try JSONValue.object(object).text(.indented).write(
        toFile: configuration, atomically: true, encoding: .utf8)
    }

    func line(_ run: String, _ more: [String] = []) -> [String] {
      ["train", configuration, "-o", run, "-q", "--seed", "3"] + more
    }
  }

  func testARunHoldsModelsLogsAndEvents() throws {
    let setup = try Setup(steps: 6)
    let run = setup.folder.path("run")
    let outcome = try Program.succeed(setup.line(run, ["--json"]))
    let result = try JSONValue(parsing: [UInt8](outcome.output.utf8))
    XCTAssertEqual(result["steps"]?.intValue, 6)
    XCTAssertNotNil(result["best_exact_match"]?.doubleValue)
    XCTAssertEqual(
      Set(try TrainingRuns.contents(run).keys),
      [
        "config.json", "log.jsonl", "events.out.tfevents.mmprobe", "state.safetensors", "report.html",
        "best/config.json",
        "best/model.safetensors", "best/tokenizer.model", "best/tokenizer_config.json", "last/config.json",
        "last/model.safetensors", "last/tokenizer.model", "last/tokenizer_config.json",
      ])
    let log = try JSONLinesReader(URL(fileURLWithPath: run + "/log.jsonl"), ending: .asWritten)
      .remainingLines()
      .map(\.value)
    XCTAssertEqual(log.map { $0["step"]?.intValue }, [1, 2, 2, 3, 4, 4, 5, 6, 6])
    let keys = try XCTUnwrap(log[0].objectValue?.keys)
    for key in ["loss", "gradient_norm", "learning_rate", "norm/layer.0/text", "logits/normaliser"] {
      XCTAssertTrue(keys.contains(key), key)
    }
    // The last loss is below that of a model that knows nothing, ln 353.
    let losses = log.compactMap { $0["loss"]?.doubleValue }
    XCTAssertLessThan(losses[5], losses[0])
    XCTAssertEqual(losses[0], 5.87, accuracy: 0.3)
    // What was trained is a model for the other commands.
    try Program.succeed([
      "eval", run + "/best", "--data", setup.folder.path("val.qa.jsonl"), "--max-new-tokens", "2",
    ])
    let facts = try JSONValue(parsing: [UInt8](try Data(contentsOf: URL(fileURLWithPath: run + "/run.json"))))
    XCTAssertEqual(facts["status"]?.stringValue, "complete")
    XCTAssertNotNil(facts["cost"]?["tokens_per_s"]?.doubleValue)
  }

  func testAnyNumberOfThreadsTrainsToTheSameBytes() throws {
    let setup = try Setup()
    var expected: [String: Data]?
    for threads in [1, 2, 3, 5] {
      let run = setup.folder.path("run\(threads)")
      try Program.succeed(setup.line(run, ["--threads", "\(threads)"]))
      if let expected {
        XCTAssertEqual(try TrainingRuns.differences(run, expected), [], "\(threads) threads")
      }
      expected = try expected ?? TrainingRuns.contents(run)
    }
  }

  func testARunKilledAtEveryFaultPointGoesOnToTheSameBytes() throws {
    let setup = try Setup()
    let points = try TrainingRuns.killAtFaultPoints(
      in: setup.folder, { count in [false, true].flatMap { torn in (1...count).map { ($0, torn) } } }
    ) { setup.line($0, ["--threads", "1"] + $1) }
    XCTAssertGreaterThan(points, 60)
    print("train: \(points) fault points, each with whole and with torn writes")
  }

  func testARunKilledAtRandomTimesGoesOnToTheSameBytes() throws {
    let setup = try Setup(steps: 40)
    let whole = setup.folder.path("whole")
    let start = ContinuousClock.now
    try Program.succeed(setup.line(whole))
    let seconds = Double((ContinuousClock.now - start) / .seconds(1))
    let expected = try TrainingRuns.contents(whole)
    var (kills, round) = (0, 0)
    var stream = RandomStream(seed: 20, purpose: "kill")
    while kills < 20 {
      round += 1
      let run = setup.folder.path("run\(round)")
      var isDone = false
      while !isDone {
        let more = FileManager.default.fileExists(atPath: run) ? ["--resume"] : []
        let process = try Program.start(
          setup.line(run, more), output: setup.folder.url("out"), errors: setup.folder.url("err"))
        if kills < 20 {
          usleep(UInt32(1e6 * seconds * stream.uniform()))
          kill(process.processIdentifier, SIGKILL)
        }
        process.waitUntilExit()
        isDone = process.terminationStatus == 0 && process.terminationReason == .exit
        if process.terminationReason == .uncaughtSignal { kills += 1 }
      }
      XCTAssertEqual(try TrainingRuns.differences(run, expected), [], "run \(round)")
      try FileManager.default.removeItem(atPath: run)
    }
    print("train: \(kills) random kills in \(round) runs of 40 steps")
  }

  func testTheFirstInterruptSavesAndTheRunGoesOn() throws {
    let setup = try Setup(steps: 400)
    try TrainingRuns.interrupt(in: setup.folder) { setup.line($0).filter { $0 != "-q" } }
  }

  func testCheckpointedLayersTrainToTheSameWeights() throws {
    let setup = try Setup()
    var weights: [Data] = []
    for isOn in [false, true] {
      try setup.write { $0["activation_checkpointing"] = .bool(isOn) }
      let run = setup.folder.path("run-\(isOn)")
      try Program.succeed(setup.line(run))
      weights.append(try Data(contentsOf: URL(fileURLWithPath: run + "/last/model.safetensors")))
    }
    XCTAssertEqual(weights[0], weights[1])
  }

  func testSwitchesChangeTheModelAndItsConfiguration() throws {
    let setup = try Setup()
    try setup.write {
      $0["qk_norm"] = true
      $0["swin_norm"] = true
      $0["optimizer"] = ["name": "sgd", "learning_rate": 0.01, "momentum": 0.9, "nesterov": true]
    }
    let run = setup.folder.path("run")
    try Program.succeed(setup.line(run))
    let configuration = try JSONValue(
      parsing: [UInt8](try Data(contentsOf: URL(fileURLWithPath: run + "/best/config.json"))))
    XCTAssertEqual(configuration["text_config"]?["qk_norm"], true)
    XCTAssertEqual(configuration["text_config"]?["swin_norm"], true)
    let inspected = try Program.succeed(["verify", run + "/best", "--json"])
    XCTAssertFalse(inspected.output.isEmpty)
  }

  func testWhatCannotBeTrainedIsRefusedWithTheReason() throws {
    let setup = try Setup()
    func check(
      _ status: Int32, _ words: [String], line: UInt = #line, _ change: (inout JSONObject) -> Void
    ) throws {
      try setup.write(change)
      let outcome = try Program.run(setup.line(setup.folder.path("run")))
      XCTAssertEqual(outcome.status, status, outcome.errors, line: line)
      for word in words { XCTAssertTrue(outcome.errors.contains(word), outcome.errors, line: line) }
    }
    try check(65, ["unknown key \"drop_out\"", "dropout"]) { $0["drop_out"] = 0.1 }
    try check(65, ["optimizer.name", "adamw"]) { $0["optimizer"] = ["name": "adamx"] }
    try check(65, ["\"steps\"", "from 1"]) { $0["steps"] = 0 }
    try check(65, ["layouts.mix[0].media", "image"]) { $0["layouts"] = ["mix": [["media": ["imag"]]]] }
    try check(65, ["groups", "at least"]) { $0["groups"] = 100 }
    try check(66, ["nowhere"]) { $0["model"] = "nowhere" }
    try check(66, ["missing.jsonl"]) {
      $0["data"] = ["train": "missing.jsonl", "validation": "val.qa.jsonl"]
    }
    let usage = try Program.run(["train", setup.configuration])
    XCTAssertEqual(usage.status, 64)
    XCTAssertTrue(usage.errors.contains("-o RUN"), usage.errors)
    try setup.write { $0["steps"] = 1 }
    try Program.succeed(setup.line(setup.folder.path("done")))
    try setup.write { $0["steps"] = 2 }
    let other = try Program.run(setup.line(setup.folder.path("done"), ["--resume"]))
    XCTAssertEqual(other.status, 65)
    XCTAssertTrue(other.errors.contains("options.steps"), other.errors)
  }
}
