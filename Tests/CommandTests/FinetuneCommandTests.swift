import Foundation
import Glibc
import Synchronization
import TensorCore
import TestSupport
import XCTest

@testable import RunKit

/// `mmprobe finetune` on the small model: what it says, writes and refuses, and that stopping it changes no byte.
final class FinetuneCommandTests: XCTestCase {
  /// Some training and validation questions with their media.
  struct Setup {
    let folder: TemporaryFolder
    var training: String { folder.path("train.qa.jsonl") }
    var validation: String { folder.path("val.qa.jsonl") }

    /// - Parameter answer: What stands for every answer; nil for the right ones, which the model knows already.
    init(answer: String? = nil) throws {
      folder = try TemporaryFolder()
      for (split, count) in [("train", 24), ("val", 6)] {
        let lines = String(
          decoding: try Data(contentsOf: Fixtures.avdigitsData("\(split).qa.jsonl")), as: UTF8.self
        ).split(separator: "\n").prefix(count).map { line in
          answer.map { String(line).replacing(#/"y": ?"[^"]*"/#, with: "\"y\": \"\($0)\"") } ?? String(line)
        }
        try (lines.joined(separator: "\n") + "\n").write(
          to: folder.url("\(split).qa.jsonl"), atomically: true, encoding: .utf8)
        try FileManager.default.copyItem(
          at: Fixtures.avdigitsData("\(split).safetensors"), to: folder.url("\(split).safetensors"))
      }
    }

    func line(_ method: String, _ run: String, _ more: [String] = []) -> [String] {
      [
        "finetune", method, Embedded.model, "--data", training, "--validation", validation, "-o", run, "-q",
        "--seed", "3", "--steps", "4", "--batch", "3", "--log-interval", "1", "--eval-interval", "2",
        "--save-interval", "2", "--lr", "0.01",
      ] + more
    }
  }

  private func log(_ run: String) throws -> [JSONValue] {
    try JSONLinesReader(URL(fileURLWithPath: run + "/log.jsonl"), ending: .asWritten).remainingLines().map(
      \.value)
  }

  func testLoRALearnsAndItsAdapterServesOtherCommands() throws {
    let setup = try Setup(answer: "7")
    let run = setup.folder.path("run")
    let line = setup.line("lora", run, ["--json"]).map { $0 == "4" ? "12" : $0 }.filter { $0 != "-q" }
    let outcome = try Program.succeed(line)
    let result = try JSONValue(parsing: [UInt8](outcome.output.utf8))
    XCTAssertEqual(result["steps"]?.intValue, 12)
    XCTAssertNotNil(result["best_loss"]?.doubleValue)
    for word in ["trainable ", "adapters ", "media used yes", "memory ", "time "] {
      XCTAssertTrue(outcome.errors.contains(word), outcome.errors)
    }
    XCTAssertEqual(
      Set(try TrainingRuns.contents(run).keys),
      [
        "config.json", "log.jsonl", "events.out.tfevents.mmprobe", "state.safetensors", "report.html",
        "best/adapter_config.json", "best/adapter_model.safetensors", "last/adapter_config.json",
        "last/adapter_model.safetensors",
      ])
    let log = try log(run)
    let steps = log.filter { $0["loss"] != nil }
    XCTAssertEqual(steps.count, 12)
    let validation = log.compactMap { $0["validation"]?["loss"]?.doubleValue }
    XCTAssertEqual(validation.count, 6)
    XCTAssertLessThan(validation[5], 0.7 * validation[0], "the one answer is learned")
    let last = try XCTUnwrap(steps.last)
    for key in [
      "learning_rate", "gradient_norm", "share/image", "share/audio", "share/text", "share/other",
      "air/image", "air/audio", "norm/layer.0/text", "logits/largest", "gradient/text", "gradient/image",
      "gradient/audio", "split/norm/text", "split/share/text", "split/share/image", "split/share/audio",
      "split/cosine/image",
    ] {
      XCTAssertNotNil(last[key]?.doubleValue, key)
    }
    let shares = ["image", "audio", "text", "other"].compactMap { last["share/\($0)"]?.doubleValue }
    XCTAssertEqual(shares.reduce(0, +), 1, accuracy: 1e-5)
    let split = ["text", "image", "audio"].compactMap { last["split/share/\($0)"]?.doubleValue }
    XCTAssertEqual(split.reduce(0, +), 1, accuracy: 1e-5)
    // B is 0 at first, and A has no gradient.
    XCTAssertNil(steps[0]["split/share/text"]?.doubleValue)

    let adapter = ["--adapter", run + "/best"]
    let question = ["--data", setup.validation]
    let plain = try Program.succeed(["attention", Embedded.model, "--json"] + question)
    let tuned = try Program.succeed(["attention", Embedded.model, "--json"] + question + adapter)
    XCTAssertNotEqual(plain.output, tuned.output)
    XCTAssertTrue(tuned.output.contains("adapter/adapter_model.safetensors"))
    try Program.succeed(["eval", Embedded.model] + question + adapter)
    let text = ["--text", "what is the digit ?"]
    try Program.succeed(["generate", Embedded.model] + text + adapter)
    // Merged, the model gives what the adapter gives.
    let merged = setup.folder.path("merged")
    try Program.succeed(["adapter", "merge", run + "/last", "--model", Embedded.model, "-o", merged])
    let shown = try Program.succeed(["adapter", "show", run + "/last", "--model", Embedded.model])
    XCTAssertTrue(shown.output.contains("LORA"), shown.output)
    try Program.succeed(["eval", merged] + question)
    // As the weights are rounded, not to the last digit.
    func effects(_ model: [String]) throws -> [Double] {
      let line = ["contribution"] + model + question + ["--target", "margin", "--json", "-q"]
      let result = try JSONValue(parsing: [UInt8](try Program.succeed(line).output.utf8))
      let groups = try XCTUnwrap(result["contribution"]?["groups"]?.objectValue)
      return try groups.members.map { try XCTUnwrap($0.value["effect"]?["mean"]?.doubleValue) }
    }
    let adapted = try effects([Embedded.model, "--adapter", run + "/last"])
    XCTAssertEqual(adapted.count, 3)
    for (adapted, whole) in zip(adapted, try effects([merged])) {
      XCTAssertEqual(adapted, whole, accuracy: 0.05 * max(1, abs(whole)))
    }
    let before = try effects([Embedded.model])
    XCTAssertTrue(zip(before, adapted).contains { abs($0 - $1) > 0.2 }, "\(before) and \(adapted)")
  }

  func testMokALearnsAndIsNotMerged() throws {
    let setup = try Setup()
    let run = setup.folder.path("run")
    try Program.succeed(setup.line("moka", run, ["--preset", "moka-paper"]))
    let configuration = try JSONValue(
      parsing: [UInt8](try Data(contentsOf: URL(fileURLWithPath: run + "/last/adapter_config.json"))))
    XCTAssertEqual(configuration["peft_type"]?.stringValue, "MOKA")
    XCTAssertEqual(configuration["modalities"], ["text", "image", "audio"])
    let steps = try log(run).filter { $0["loss"] != nil }
    for modality in ["text", "image", "audio"] {
      let norms = steps.compactMap { $0["matrices/norm/\(modality)"]?.doubleValue }
      XCTAssertEqual(norms.first, 0, "A does not move before B")
      XCTAssertGreaterThan(norms.last ?? 0, 0, modality)
    }
    try Program.succeed(
      ["eval", Embedded.model, "--data", setup.validation, "--adapter", run + "/last"])
    for method in ContributionMethods.all {
      try Program.succeed(
        [
          "contribution", Embedded.model, "--data", setup.validation, "--adapter", run + "/last", "-n", "3",
          "-q",
        ]
          + method)
    }
    let shown = try Program.succeed(["adapter", "show", run + "/last", "--model", Embedded.model])
    XCTAssertTrue(shown.output.contains("A of images"), shown.output)
    let refused = try Program.run([
      "adapter", "merge", run + "/last", "--model", Embedded.model, "-o", setup.folder.path("merged"),
    ])
    XCTAssertEqual(refused.status, 69, refused.errors)
    XCTAssertTrue(refused.errors.contains("modality of each row"), refused.errors)
    let lora = setup.folder.path("lora")
    try Program.succeed([
      "adapter", "extract", run + "/last", "--model", Embedded.model, "--modality", "text", "-o", lora,
    ])
    try Program.succeed(["generate", Embedded.model, "--text", "one ?", "--adapter", lora])
  }

  func testFullTrainingWritesAModelAndLeavesFrozenPartsAlone() throws {
    let setup = try Setup()
    let run = setup.folder.path("run")
    try Program.succeed(
      setup.line("full", run, ["--freeze", "projector", "--lr-decoder", "0.001", "--metric", "exact-match"]))
    try Program.succeed(["eval", run + "/best", "--data", setup.validation])
    var (frozen, moved) = (0, 0)
    for name in ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"] {
      let before = try SafetensorsFile(path: "\(Embedded.model)/\(name)")
      let after = try SafetensorsFile(path: "\(run)/last/\(name)")
      XCTAssertEqual(before.names, after.names)
      for tensor in before.tensors {
        let isSame = try after.tensor(tensor.name).bytes() == tensor.bytes()
        let isProjector = ["image_", "audio_", "modality_"].contains { tensor.name.hasPrefix($0) }
        if isProjector { XCTAssertTrue(isSame, tensor.name) }
        (frozen, moved) = (frozen + (isSame ? 1 : 0), moved + (isSame ? 0 : 1))
      }
    }
    XCTAssertGreaterThan(frozen, 3)
    XCTAssertGreaterThan(moved, 20)
    let log = try log(run)
    XCTAssertNotNil(log.last { $0["validation"] != nil }?["validation"]?["exact_match"]?.doubleValue)
  }

  func testADryRunSaysWhatWouldBeTrainedAndWritesNothing() throws {
    let setup = try Setup()
    let line = ["finetune", "moka", Embedded.model, "--data", setup.training, "--dry-run"]
    let before = try FileManager.default.contentsOfDirectory(atPath: setup.folder.path(""))
    let text = try Program.succeed(line)
    XCTAssertTrue(text.output.contains("MokA moka-paper for text, image, audio of rank 4"), text.output)
    XCTAssertTrue(text.output.contains("24 records: "), text.output)
    let outcome = try Program.succeed(line + ["--json", "--train", "projector", "--lr-projector", "0.5"])
    let result = try JSONValue(parsing: [UInt8](outcome.output.utf8))
    XCTAssertEqual(result["records"]?.intValue, 24)
    XCTAssertEqual(result["media_used"]?["used"]?.boolValue, true)
    let parts = try XCTUnwrap(result["parts"]?.arrayValue)
    XCTAssertEqual(parts.map { $0["part"]?.stringValue }, ["projector", "decoder", "adapters"])
    XCTAssertEqual(parts[1]["trainable"]?.intValue, 0)
    XCTAssertEqual(parts[0]["trainable"]?.intValue, parts[0]["parameters"]?.intValue)
    XCTAssertEqual(parts[0]["learning_rate"]?.doubleValue, 0.5)
    XCTAssertEqual(try FileManager.default.contentsOfDirectory(atPath: setup.folder.path("")), before)
  }

  func testAnyNumberOfThreadsTrainsToTheSameBytes() throws {
    let setup = try Setup()
    for method in ["lora", "moka"] {
      var expected: [String: Data]?
      for threads in [1, 2, 3] {
        let run = setup.folder.path("\(method)\(threads)")
        try Program.succeed(setup.line(method, run, ["--threads", "\(threads)", "--dropout", "0.1"]))
        if let expected {
          XCTAssertEqual(try TrainingRuns.differences(run, expected), [], "\(threads) threads")
        }
        expected = try expected ?? TrainingRuns.contents(run)
      }
    }
  }

  func testCheckpointedLayersTrainToTheSameWeights() throws {
    let setup = try Setup()
    for method in ["lora", "moka", "full"] {
      let runs = [setup.folder.path("\(method)-plain"), setup.folder.path("\(method)-twice")]
      try Program.succeed(setup.line(method, runs[0]))
      try Program.succeed(setup.line(method, runs[1], ["--activation-checkpointing"]))
      let name = method == "full" ? "last/model-00001-of-00002.safetensors" : "last/adapter_model.safetensors"
      let files = try runs.map { try Data(contentsOf: URL(fileURLWithPath: "\($0)/\(name)")) }
      XCTAssertEqual(files[0], files[1], method)
    }
  }

  func testARunKilledAtEveryFaultPointGoesOnToTheSameBytes() throws {
    let setup = try Setup()
    let points = try TrainingRuns.killAtFaultPoints(
      in: setup.folder, { count in (1...count).map { ($0, $0 % 2 == 0) } }
    ) { setup.line("lora", $0, ["--dropout", "0.1", "--threads", "1"] + $1) }
    XCTAssertGreaterThan(points, 30)
    print("finetune: \(points) fault points, every second with a torn write")
  }

  /// kill -9 again and again, with what is left resumed each time, until a run is done.
  func testRunsKilledAtRandomMomentsGoOnToTheSameBytes() throws {
    let kills = ProcessInfo.processInfo.environment["MMPROBE_LONG_TESTS"] == "1" ? 20 : 4
    let setup = try Setup()
    let methods = ["lora", "moka"]
    let failures = Mutex<[String]>([])
    DispatchQueue.concurrentPerform(iterations: methods.count) { index in
      do {
        let found = try Self.kill(methods[index], times: kills, setup)
        if !found.isEmpty { failures.withLock { $0.append("\(methods[index]): \(found)") } }
      } catch { failures.withLock { $0.append("\(methods[index]): \(error)") } }
    }
    XCTAssertEqual(failures.withLock { $0 }, [])
  }

  /// Kills runs of a method; what differs from an undisturbed one.
  private static func kill(_ method: String, times kills: Int, _ setup: Setup) throws -> [String] {
    let steps = 30
    func line(_ run: String, _ more: [String]) -> [String] {
      setup.line(method, run, ["--threads", "1", "--dropout", "0.1"] + more).map {
        $0 == "4" ? "\(steps)" : $0
      }
    }
    let whole = setup.folder.path("whole-\(method)")
    let start = ContinuousClock.now
    try Program.succeed(line(whole, []))
    let seconds = Double((ContinuousClock.now - start) / .seconds(1))
    let expected = try TrainingRuns.contents(whole)
    var stream = RandomStream(seed: 21, purpose: "kill \(method)")
    var (killed, runs, moments) = (0, 0, Set<Int>())
    while killed < kills {
      runs += 1
      let run = setup.folder.path("\(method)-\(runs)")
      var isDone = false
      while !isDone {
        let more = FileManager.default.fileExists(atPath: run) ? ["--resume"] : []
        let process = try Program.start(
          line(run, more), output: setup.folder.url("out-\(method)"),
          errors: setup.folder.url("err-\(method)"))
        // All the time a run takes, so that some are done before they are killed.
        if killed < kills {
          usleep(UInt32(1e6 * seconds * stream.uniform()))
          if process.isRunning { Glibc.kill(process.processIdentifier, SIGKILL) }
        }
        process.waitUntilExit()
        isDone = process.terminationReason == .exit && process.terminationStatus == 0
        if process.terminationReason == .uncaughtSignal {
          killed += 1
          let log = (try? String(contentsOfFile: run + "/log.jsonl", encoding: .utf8)) ?? ""
          moments.insert(log.split(separator: "\n").count { $0.contains("learning_rate") })
        } else if !isDone {
          return ["status \(process.terminationStatus)"]
        }
      }
      let found = try TrainingRuns.differences(run, expected)
      if !found.isEmpty { return found }
      try FileManager.default.removeItem(atPath: run)
    }
    print(
      "finetune \(method): \(killed) random kills in \(runs) runs of \(steps) steps, "
        + "with \(moments.sorted()) steps in the log")
    return []
  }

  func testTheFirstInterruptSavesAndTheRunGoesOn() throws {
    let setup = try Setup()
    try TrainingRuns.interrupt(in: setup.folder) { run in
      setup.line("moka", run).map { $0 == "4" ? "60" : $0 }.filter { $0 != "-q" }
    }
  }

  /// A line of data, and what is said about it.
  func testBadDataIsRefusedWithTheReason() throws {
    let setup = try Setup()
    let data = setup.folder.path("bad.jsonl")
    func check(
      _ text: String, _ status: Int32, _ words: [String], method: String = "lora", line: UInt = #line
    ) throws {
      try text.write(toFile: data, atomically: true, encoding: .utf8)
      let outcome = try Program.run([
        "finetune", method, Embedded.model, "--data", data, "--dry-run",
      ])
      XCTAssertEqual(outcome.status, status, outcome.errors, line: line)
      for word in words { XCTAssertTrue(outcome.errors.contains(word), outcome.errors, line: line) }
    }
    let turns = { (user: String, answer: String) in
      "{\"id\": \"7\", \"conversations\": [{\"from\": \"human\", \"value\": \"\(user)\"}, "
        + "{\"from\": \"gpt\", \"value\": \"\(answer)\"}]}\n"
    }
    try check("", 65, ["no records"])
    try check(turns("one ?", ""), 65, ["7", "all its labels are masked"])
    try check(turns("<image>one ?", "one"), 65, ["7", "placeholder"])
    try check(turns("one ?", "one"), 65, ["has media", "moka"], method: "moka")
    try check(
      "{\"id\": \"7\", \"conversations\": [{\"from\": \"robot\", \"value\": \"one ?\"}]}\n", 65, ["robot"])
    try check(
      "{\"id\": \"7\", \"conversations\": [{\"from\": \"human\", \"value\": \"one ?\"}]}\n", 65, ["no answer"]
    )
    try check(
      "{\"id\": 3, \"messages\": [{\"role\": \"tool\", \"content\": \"one\"}]}\n", 65, ["tool"])
    try check(
      "{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"text\", \"text\": \"one ?\"}]}, "
        + "{\"role\": \"assistant\", \"content\": \"one\"}]}\n", 0, ["none of the records read has media"])
  }

  func testAdaptersOfOtherModelsAreRefused() throws {
    let setup = try Setup()
    func check(_ adapter: String, _ status: Int32, _ words: [String], line: UInt = #line) throws {
      let outcome = try Program.run(["generate", Embedded.model, "--text", "one ?", "--adapter", adapter])
      XCTAssertEqual(outcome.status, status, outcome.errors, line: line)
      for word in words { XCTAssertTrue(outcome.errors.contains(word), outcome.errors, line: line) }
    }
    // Targets of another family, the same targets with other sizes, and no folder at all.
    try check(Fixtures.url("lora_llava/adapter_pattern").path, 65, ["match no linear layer", "q_proj"])
    try check(Fixtures.url("lora/adapter_qv").path, 65, ["has shape", "ask for"])
    try check(setup.folder.path("nowhere"), 66, ["nowhere"])
    let copy = setup.folder.path("copy")
    try FileManager.default.copyItem(atPath: Fixtures.url("lora/adapter_qv").path, toPath: copy)
    let file = copy + "/adapter_config.json"
    let text = try String(contentsOfFile: file, encoding: .utf8)
    func edit(_ old: String, _ new: String) throws {
      XCTAssertTrue(text.contains(old))
      try text.replacingOccurrences(of: old, with: new).write(toFile: file, atomically: true, encoding: .utf8)
    }
    try edit("\"LORA\"", "\"IA3\"")
    try check(copy, 69, ["IA3", "LORA, MOKA"])
    try edit("\"use_dora\": false", "\"use_dora\": true")
    try check(copy, 69, ["use_dora"])
    try edit("\"init_lora_weights\": true", "\"init_lora_weights\": \"pissa\"")
    try check(copy, 69, ["init_lora_weights", "frozen weight"])
    try edit("\"layers_pattern\": null", "\"layers_pattern\": \"h\"")
    try check(copy, 69, ["layers_pattern", "without layers_to_transform"])
    try edit("\"rank_pattern\": {}", "\"rank_pattern\": {\"(\": 2}")
    try check(copy, 65, ["rank_pattern", "holds \"(\"", "regular expression"])
    try edit("\"lora_alpha\": 8", "\"lora_alpha\": 1e300")
    try check(copy, 65, ["lora_alpha", "1000000"])
    try edit("\"r\": 4", "\"r\": 0")
    try check(copy, 65, ["\"r\"", "from 1"])
    try edit("\"r\": 4", "\"r\": 4")
    try FileManager.default.removeItem(atPath: copy + "/adapter_model.safetensors")
    try Data([0]).write(to: URL(fileURLWithPath: copy + "/adapter_model.bin"))
    try check(copy, 69, ["pickle", "weights_only=True"])
  }

  func testOptionsOfOtherMethodsAreRefused() throws {
    let base = [Embedded.model, "--data", "x", "-o", "y"]
    for (words, part) in [
      (["full"] + base + ["--rank", "4"], "--rank is for lora and moka"),
      (["lora"] + base + ["--preset", "naive"], "--preset is for moka"),
      (["moka"] + base + ["--bias", "all"], "--bias is for lora"),
      (["lora"] + base + ["--train", "decoder"], "finetune full"),
      (["lora"] + base + ["--steps", "3", "--epochs", "2"], "--epochs"),
      (["lorra"] + base, "Did you mean 'lora'"),
      (["lora"] + base + ["--metric", "exact-match"], "--validation"),
      (["lora", Embedded.model, "--data", "x"], "-o RUN"),
      (["lora"] + base + ["--eval-interval", "3"], "--validation"),
      (["lora"] + base + ["--max-new-tokens", "3"], "--metric exact-match"),
    ] {
      let outcome = try Program.run(["finetune"] + words)
      XCTAssertEqual(outcome.status, 64, "\(words): \(outcome.errors)")
      XCTAssertTrue(outcome.errors.contains(part), outcome.errors)
    }
    let setup = try Setup()
    for (method, words, part) in [
      ("lora", ["--lr-projector", "0.1"], "--lr-projector is for a part that is not trained"),
      ("full", ["--freeze", "projector", "--lr-projector", "0.1"], "not trained"),
      ("full", ["--freeze", "projector,decoder"], "leave nothing to train"),
      ("lora", ["--targets", "q_proj", "--layers", "0,99"], "numbers from 0 to 3"),
      ("lora", ["--targets", "q_proj,foo_proj"], "foo_proj"),
    ] {
      let outcome = try Program.run(setup.line(method, setup.folder.path("run"), words))
      XCTAssertEqual(outcome.status, 64, "\(words): \(outcome.errors)")
      XCTAssertTrue(outcome.errors.contains(part), outcome.errors)
    }
    let huge = try Program.run(
      setup.line("lora", setup.folder.path("run"), ["--max-memory", "1MB"]))
    XCTAssertEqual(huge.status, 69, huge.errors)
    XCTAssertTrue(huge.errors.contains("--max-memory"), huge.errors)
    let part = try Program.run(
      setup.line("lora", setup.folder.path("run"), ["--train", "vision"]))
    XCTAssertEqual(part.status, 64, part.errors)
    XCTAssertTrue(part.errors.contains("no part \"vision\""), part.errors)
  }
}
