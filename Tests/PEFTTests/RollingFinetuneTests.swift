import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import PEFT
@testable import TokenModel

/// RollingQ while a model is fine-tuned, and examples that MokA makes of a conversation.
final class RollingFinetuneTests: XCTestCase {
  private static let folder = Fixtures.url("avdigits_model")

  private func temporary() throws -> URL {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent(
      "mmprobe-test-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    addTeardownBlock { try? FileManager.default.removeItem(at: url) }
    return url
  }

  private func options(_ method: FinetuneOptions.Method) -> FinetuneOptions {
    let rate = if case .full = method { 1e-4 } else { 0.01 }
    var options = FinetuneOptions(
      method, schedule: LearningRateSchedule(peak: rate, shape: .constant, warmup: 0, total: 6))
    options.batchSize = 4
    (options.driver.logInterval, options.driver.evaluationInterval) = (1, 100)
    options.rebalancing = FinetuneOptions.Rebalancing(layers: [1, 2], modalities: [.image, .audio])
    return options
  }

  private func configuration(_ moka: MokASettings? = nil) -> AdapterConfiguration {
    var configuration = AdapterConfiguration(
      rank: 2, alpha: 4, selection: ModuleSelection(.pattern("model\\.layers\\..*")))
    configuration.moka = moka
    return configuration
  }

  /// Trains with rotations after steps 2 and 4, writes, opens what was written, and compares logits with those of the
  /// model that was trained.
  func testWhatIsWrittenComputesWhatWasTrained() throws {
    let checkpoint = try Checkpoint(folder: Self.folder)
    let data = try DataSet(Fixtures.avdigitsData("train.qa.jsonl"))
    let moka = MokASettings(.mokaPaper, media: [.image, .audio])
    let methods: [(name: String, method: FinetuneOptions.Method)] = [
      ("lora", .adapter(configuration())), ("moka", .adapter(configuration(moka))),
      ("full", .full([.decoder])),
    ]
    for (name, method) in methods {
      let run = try temporary()
      let options = options(method)
      let records = FinetuneData(data, count: 8, for: checkpoint, options: options, lengthLimit: nil)
      let task = try FinetuneTask(checkpoint, options: options, training: records, validation: records)
      XCTAssertEqual(task.stepsPerEpoch, 2)
      let folder = try RunFolder(
        at: run, mode: .fresh, configuration: JSONObject(),
        facts: .init(version: "0", arguments: [], threads: 1))
      let driver = try StepDriver(
        task, optimizer: Optimizer(task.initialParameters(), rule: AdamW(), groups: task.groups()),
        options: options.driver, folder: folder)
      XCTAssertEqual(try driver.run(), .complete(steps: 6))
      let last = run.appendingPathComponent("last")
      let loaded = name == "full" ? try Checkpoint(folder: last) : try checkpoint.adapted(by: last)
      XCTAssertNotNil(loaded.rotations, name)
      let trained = try task.evaluate(driver.evaluatedParameters, step: 6)[0].value
      let again = try loss(loaded.model, records, options)

      // Without the file it is another model.
      try FileManager.default.removeItem(at: last.appendingPathComponent(StoredRotations.name))
      let plain = name == "full" ? try Checkpoint(folder: last) : try checkpoint.adapted(by: last)
      XCTAssertNil(plain.rotations)
      let change = abs(try loss(plain.model, records, options) - again)
      XCTAssertGreaterThan(change, 1e-6, name)
      // Whole models are rounded to the type of their files, adapters are not.
      if name == "full" {
        XCTAssertLessThan(abs(again - trained), 0.2 * change)
      } else {
        XCTAssertEqual(again, trained, name)
      }
    }
  }

  private func loss(_ model: any LanguageModel, _ records: FinetuneData, _ options: FinetuneOptions) throws
    -> Double
  {
    var (sum, count) = (0.0, 0)
    for start in [0, 4] {
      let batch = FinetuneBatch(try (start..<start + 4).flatMap { try records.examples(at: $0) })
      var pass = ForwardOptions()
      pass.logits = .rows(batch.lossRows)
      let result = model.decoder.forward(
        batch.embeddings(model), context: TokenContext(batch.prompts), options: pass)
      sum += Double(
        try XCTUnwrap(result.logits).crossEntropy(labels: batch.labels).rowSums().hostValues()[0])
      count += batch.labels.count
    }
    return sum / Double(count)
  }

  /// A model folder or an adapter with rotations is whole with them only, whoever copies it.
  func testRotationsFollowWhateverIsMadeOfTheAdapter() throws {
    let checkpoint = try Checkpoint(folder: Self.folder)
    let rolling = try DecoderRollingQuery(
      checkpoint.model.decoder.configuration, layers: [1], modalities: [.image, .audio])
    let data = try DataSet(Fixtures.avdigitsData("test.qa.jsonl"))
    let prompts = try (3..<6).map {
      try checkpoint.prompt(for: data.sample(at: $0, for: checkpoint.model), includesAnswer: true)
    }
    func logits(_ model: any LanguageModel, _ observers: [any ForwardObserver] = []) throws -> Tensor {
      var pass = ForwardOptions()
      (pass.logits, pass.observers) = (.all, observers)
      let rows = Tensor.concatenated(prompts.map { model.embeddings($0) })
      return try XCTUnwrap(
        model.decoder.forward(rows, context: TokenContext(prompts), options: pass).logits)
    }
    let base = try logits(checkpoint.model, [rolling])
    _ = rolling.endEpoch(0)
    let plan = try AdapterPlan(configuration(), ModelInventory(checkpoint), path: "test")
    let tensors = Dictionary(
      uniqueKeysWithValues: plan.slots.enumerated().map { index, slot in
        (slot.name, randomTensor(slot.shape, seed: UInt64(index), scale: 0.05))
      })
    let adapter = try temporary()
    try plan.write(tensors, to: adapter)
    try rolling.write(to: adapter.appendingPathComponent(StoredRotations.name).path)
    let adapted = try checkpoint.adapted(by: adapter)
    XCTAssertTrue(
      try adapted.fileHashes().contains { $0.name == "adapter/\(StoredRotations.name)" })
    let expected = try logits(adapted.model)
    XCTAssertGreaterThan(zip(expected.hostValues(), base.hostValues()).map { abs($0 - $1) }.max() ?? 0, 1e-2)

    let merged = try temporary()
    _ = try AdapterMerge(StoredAdapter(folder: adapter, for: checkpoint), into: checkpoint).write(to: merged)
    let whole = try Checkpoint(folder: merged)
    XCTAssertTrue(try whole.fileHashes().contains { $0.name == StoredRotations.name })
    // Merged weights are rounded to bfloat16; that is little beside what the rotation does.
    func distance(_ other: Tensor) -> Double {
      zip(expected.doubles, other.doubles).reduce(0) { $0 + abs($1.0 - $1.1) }
    }
    let unturned = try logits(checkpoint.model { plan.adapting($0, tensors) })
    XCTAssertLessThan(try distance(logits(whole.model)), 0.3 * distance(unturned))
    let converted = try temporary()
    _ = try CheckpointConversion(whole, bits: .eight, groupSize: 32).write(to: converted)
    XCTAssertNotNil(try Checkpoint(folder: converted).rotations)

    // One file of rotations is all a model can have.
    XCTAssertThrowsError(try whole.adapted(by: adapter)) { error in
      XCTAssertEqual((error as? RollingQueryError)?.code, .alreadyRotated)
    }
    let options = options(.adapter(configuration()))
    let records = FinetuneData(data, count: 8, for: whole, options: options, lengthLimit: nil)
    XCTAssertThrowsError(
      try FinetuneTask(whole, options: options, training: records, validation: nil)
    ) { error in XCTAssertEqual((error as? RollingQueryError)?.code, .alreadyRotated) }
  }

  func testFilesOfRotationsAreChecked() throws {
    let configuration = try Checkpoint(folder: Self.folder).model.decoder.configuration
    let rolling = try DecoderRollingQuery(configuration, layers: [1], modalities: [.image, .audio])
    let folder = try temporary()
    let path = folder.appendingPathComponent(StoredRotations.name).path
    XCTAssertNil(try StoredRotations(in: folder, for: configuration))
    try rolling.write(to: path)
    XCTAssertNotNil(try StoredRotations(in: folder, for: configuration))
    let good = try SafetensorsFile(path: path)
    let settings = try XCTUnwrap(good.metadata["settings"])
    func check(_ tensors: [StoredTensor], _ metadata: [String: String], _ code: String, line: UInt = #line)
      throws
    {
      let other = try temporary()
      try SafetensorsWriter.write(
        tensors: tensors, metadata: metadata, to: other.appendingPathComponent(StoredRotations.name).path)
      XCTAssertThrowsError(try StoredRotations(in: other, for: configuration), line: line) { error in
        let found = (error as? RollingQueryError)?.code.rawValue ?? "\(type(of: error))"
        XCTAssertEqual(found, code, line: line)
      }
    }
    func edited(_ old: String, _ new: String) -> [String: String] {
      XCTAssertTrue(settings.contains(old), settings)
      return [
        "format": StoredRotations.format, "settings": settings.replacingOccurrences(of: old, with: new),
      ]
    }
    try check(good.tensors, [:], "rollingq_unknown_format")
    try check(good.tensors, ["format": "other", "settings": settings], "rollingq_unknown_format")
    try check(good.tensors, edited("\"layers\":[1]", "\"layers\":[9]"), "ConfigurationError")
    try check(good.tensors, edited("\"layers\":[1]", "\"layers\":[2]"), "SafetensorsError")
    try check(good.tensors, edited("[\"image\",\"audio\"]", "[\"image\"]"), "rollingq_wrong_settings")
    try check(good.tensors, edited("minimal", "maximal"), "ConfigurationError")
    try check(good.tensors, edited("\"question\"", "\"riddle\""), "ConfigurationError")
    let more = try StoredTensor(name: "layers.2.count", shape: [1], integers: [0])
    try check(good.tensors + [more], good.metadata, "rollingq_impossible_buffer")
  }

  /// MokA learns every answer after the turns before it: the same labels as LoRA has, in examples of their own.
  func testMokALearnsEveryAnswerOfAConversation() throws {
    let checkpoint = try Checkpoint(folder: Self.folder)
    let folder = try temporary()
    let file = folder.appendingPathComponent("talk.json")
    let text = """
      [{"id": "talk", "image": "test/141", "audio": "test/270", "conversations": [
        {"from": "human", "value": "<image>\\nis the written digit odd ?"}, {"from": "gpt", "value": "no"},
        {"from": "human", "value": "<audio>\\nadd the two digits ."}, {"from": "gpt", "value": "12"},
        {"from": "human", "value": "what is the written digit ?"}, {"from": "gpt", "value": "seven"}]}]
      """
    try text.write(to: file, atomically: true, encoding: .utf8)
    for name in ["test.safetensors"] {
      try FileManager.default.copyItem(
        at: Fixtures.avdigitsData(name), to: folder.appendingPathComponent(name))
    }
    let data = try DataSet(file)
    func examples(_ moka: MokASettings?) throws -> [FinetuneData.Example] {
      let options = options(.adapter(configuration(moka)))
      return try FinetuneData(data, count: 1, for: checkpoint, options: options, lengthLimit: nil)
        .examples(at: 0)
    }
    func labels(_ example: FinetuneData.Example) -> [Int] { example.labels.filter { $0 >= 0 } }
    let whole = try examples(nil)
    XCTAssertEqual(whole.count, 1)
    XCTAssertEqual(
      try examples(MokASettings(.noCrossAttention, media: [.image, .audio])).map(\.labels),
      whole.map(\.labels), "rows that do not meet are learned at once")
    let split = try examples(MokASettings(.mokaPaper, media: [.image, .audio]))
    XCTAssertEqual(split.count, 3)
    XCTAssertEqual(split.flatMap(labels), labels(whole[0]))
    XCTAssertEqual(split.map { $0.sample.answer }, ["no", "12", "seven"])
    XCTAssertEqual(
      split.map { $0.sample.media.map(\.modality) }, [[.image], [.image, .audio], [.image, .audio]])
    XCTAssertEqual(split.map { $0.sample.turns.count }, [1, 3, 5])
    XCTAssertEqual(split.last?.prompt.ids, whole[0].prompt.ids)
    // Each is what the model would be asked at that moment.
    for example in split {
      var asked = example.sample
      asked.answer = nil
      let prompt = try checkpoint.prompt(for: asked)
      XCTAssertEqual(Array(example.prompt.ids.prefix(prompt.ids.count)), prompt.ids)
      XCTAssertEqual(example.labels.firstIndex { $0 >= 0 }, prompt.spans.count - 1)
    }
  }
}
