import Foundation
import TensorCore
import TestSupport
import XCTest

@testable import PEFT
@testable import TokenModel

/// MokA in the layers of a whole model: `avdigits_model`, which takes images and sounds.
final class MokAModelTests: XCTestCase {
  private static let folder = Fixtures.url("avdigits_model")

  private func plan(_ preset: MokASettings.Preset, _ checkpoint: Checkpoint) throws -> AdapterPlan {
    var configuration = AdapterConfiguration(
      rank: 2, alpha: 2, selection: ModuleSelection(.pattern("model\\..*")))
    configuration.moka = MokASettings(preset, media: [.image, .audio])
    return try AdapterPlan(configuration, ModelInventory(checkpoint), path: "test")
  }

  /// What training might have left: nothing is zero.
  private func tensors(_ plan: AdapterPlan, scale: Float = 0.3) -> [String: Tensor] {
    Dictionary(
      uniqueKeysWithValues: plan.slots.enumerated().map { index, slot in
        (slot.name, randomTensor(slot.shape, seed: UInt64(index + 1), scale: scale))
      })
  }

  private func prompts(_ checkpoint: Checkpoint, answers: Bool = false) throws -> [Prompt] {
    let data = try DataSet(Fixtures.avdigitsData("test.qa.jsonl"))
    let samples = try (0..<4).map { try data.sample(at: $0, for: checkpoint.model) }
    // Questions of different lengths, with two media, one or none.
    let more = [
      Sample(id: "image", media: [samples[0].media[0]], question: "what is the digit ?", answer: "one"),
      Sample(id: "text", media: [], question: "one and two ?", answer: "two"),
    ]
    return try (samples.prefix(2) + more).map { try checkpoint.prompt(for: $0, includesAnswer: answers) }
  }

  private func forward(
    _ model: any LanguageModel, _ prompts: [Prompt], cache: KeyValueCache? = nil,
    observers: [any ForwardObserver] = []
  ) throws -> Tensor {
    var options = ForwardOptions()
    (options.logits, options.cache, options.observers) = (.all, cache, observers)
    return try XCTUnwrap(
      model.decoder.forward(
        Tensor.concatenated(prompts.map { model.embeddings($0) }), context: TokenContext(prompts),
        options: options
      ).logits)
  }

  func testCachedDecodingIsTheUncachedPass() throws {
    let checkpoint = try Checkpoint(folder: Self.folder)
    for preset in MokASettings.Preset.allCases {
      let plan = try plan(preset, checkpoint)
      let tensors = tensors(plan)
      let model = try checkpoint.model { plan.adapting($0, tensors) }
      for prompt in try prompts(checkpoint, answers: true) {
        let whole = try forward(model, [prompt])
        let start = prompt.promptCount
        let cache = KeyValueCache(sequences: 1, capacity: prompt.count)
        var options = ForwardOptions()
        (options.logits, options.cache) = (.all, cache)
        let rows = model.embeddings(prompt)
        let roles = prompt.spans.roles
        var found =
          model.decoder.forward(
            rows.slice(0..<start), context: TokenContext(roles: Array(roles[..<start])), options: options
          ).logits?.hostRows() ?? []
        for row in start..<prompt.count {
          let context = TokenContext(
            segments: .single(1), positions: [row], roles: [roles[row]], cachedRoles: cache.roles,
            phase: .decode)
          found +=
            model.decoder.forward(rows.slice(row..<row + 1), context: context, options: options)
            .logits?.hostRows() ?? []
        }
        // The same sums in other blocks of keys.
        assertClose(
          Tensor(found.flatMap { $0 }, shape: whole.shape), whole.doubles, shape: whole.shape,
          absolute: 1e-4, "\(preset)")
      }
    }
  }

  func testABatchOfDifferentLengthsIsEachPromptAlone() throws {
    let checkpoint = try Checkpoint(folder: Self.folder)
    for preset in MokASettings.Preset.allCases {
      let plan = try plan(preset, checkpoint)
      let model = try checkpoint.model { plan.adapting($0, tensors(plan)) }
      let prompts = try prompts(checkpoint)
      XCTAssertGreaterThan(Set(prompts.map(\.count)).count, 2)
      let together = try forward(model, prompts)
      var start = 0
      for prompt in prompts {
        assertSameBits(
          try forward(model, [prompt]), together.slice(start..<start + prompt.count), "\(preset)")
        start += prompt.count
      }
    }
  }

  /// With a cache every layer must still route its rows: the released visual-text code does so in its first layer only.
  func testEveryLayerRoutesItsRowsWithACache() throws {
    let checkpoint = try Checkpoint(folder: Self.folder)
    let plan = try plan(.mokaPaper, checkpoint)
    let tensors = tensors(plan)
    let prompt = try prompts(checkpoint)[0]
    func logits(_ tensors: [String: Tensor], cached: Bool) throws -> Tensor {
      let model = try checkpoint.model { plan.adapting($0, tensors) }
      let cache = cached ? KeyValueCache(sequences: 1, capacity: prompt.count) : nil
      return try forward(model, [prompt], cache: cache)
    }
    let before = try logits(tensors, cached: true)
    let layers = checkpoint.model.decoder.configuration.layerCount
    XCTAssertGreaterThan(layers, 1)
    for module in plan.modules {
      for modality in ["image", "audio"] {
        var changed = tensors
        let name = "\(module.site.name).lora_A.\(modality).weight"
        changed[name] = Tensor(zeros: [module.rank, module.site.inputSize])
        let after = try logits(changed, cached: true)
        XCTAssertNotEqual(after, before, "\(name) is not used with a cache")
        assertClose(
          after, try logits(changed, cached: false).doubles, shape: before.shape, absolute: 1e-4, name)
      }
    }
  }

  func testAnAnswerIsSeenByLaterRowsOnly() throws {
    let checkpoint = try Checkpoint(folder: Self.folder)
    let plan = try plan(.mokaPaper, checkpoint)
    let model = try checkpoint.model { plan.adapting($0, tensors(plan)) }
    let prompt = try prompts(checkpoint, answers: true)[0]
    let row = prompt.promptCount
    func rows(changing row: Int) throws -> [[Float]] {
      let embeddings = model.embeddings(prompt)
      let other = embeddings.replacingRows([row], with: randomTensor([1, embeddings.columns], seed: 9))
      var options = ForwardOptions()
      options.logits = .all
      let result = model.decoder.forward(other, context: TokenContext([prompt]), options: options)
      return try XCTUnwrap(result.logits).hostRows()
    }
    let before = try forward(model, [prompt]).hostRows()
    let after = try rows(changing: row)
    XCTAssertEqual(before[..<row], after[..<row], "an answer leaked into the prompt")
    XCTAssertNotEqual(before[row], after[row])
    let question = try XCTUnwrap(prompt.spans.roles.firstIndex(of: .question))
    let image = try XCTUnwrap(prompt.spans.roles.firstIndex(of: .image))
    XCTAssertLessThan(image, question)
    XCTAssertNotEqual(before[image], try rows(changing: question)[image], "media see the question")
  }

  func testThePromptIsNotCausal() throws {
    let checkpoint = try Checkpoint(folder: Self.folder)
    XCTAssertTrue(checkpoint.model.promptIsCausal)
    for preset in MokASettings.Preset.allCases {
      let plan = try plan(preset, checkpoint)
      let model = try checkpoint.model { plan.adapting($0, tensors(plan)) }
      XCTAssertEqual(
        model.promptIsCausal, [.multiLoRA, .noCrossAttention].contains(preset), "\(preset)")
    }
  }

  /// Long prompts go through the feed-forward in pieces, which rows that look at each other must not.
  func testALongPromptIsNotCutBetweenMediaAndQuestion() throws {
    let checkpoint = try Checkpoint(folder: Self.folder)
    let plan = try plan(.mokaPaper, checkpoint)
    let model = try checkpoint.model { plan.adapting($0, tensors(plan)) }
    let roles = [Role](repeating: .image, count: 700) + [Role](repeating: .question, count: 9)
    let rows = randomTensor([roles.count, model.decoder.configuration.hiddenSize], seed: 3)
    final class Watcher: ForwardObserver {
      func wants(_ name: TensorName) -> Bool { name.site == .gate }
      func observe(_ tensor: Tensor, _ name: TensorName, context: TokenContext) {
        XCTAssertEqual(tensor.rows, 709)
      }
    }
    var options = ForwardOptions()
    let plain = model.decoder.forward(rows, context: TokenContext(roles: roles), options: options).logits
    options.observers = [Watcher()]
    let watched = model.decoder.forward(rows, context: TokenContext(roles: roles), options: options).logits
    assertSameBits(try XCTUnwrap(plain), try XCTUnwrap(watched))
  }

  func testAnAdapterSurvivesItsFiles() throws {
    let checkpoint = try Checkpoint(folder: Self.folder)
    for preset in MokASettings.Preset.allCases {
      let plan = try plan(preset, checkpoint)
      let tensors = tensors(plan)
      let folder = try TemporaryDirectory()
      let url = URL(fileURLWithPath: folder.path).appendingPathComponent("adapter")
      try plan.write(tensors, to: url)
      let adapted = try checkpoint.adapted(by: url)
      let prompt = try prompts(checkpoint)[1]
      let model = try checkpoint.model { plan.adapting($0, tensors) }
      assertSameBits(try forward(adapted.model, [prompt]), try forward(model, [prompt]), "\(preset)")
      XCTAssertEqual(try StoredAdapter.configuration(of: url), plan.configuration)
      XCTAssertEqual(
        adapted.attachments.map(\.name), ["adapter/adapter_config.json", "adapter/adapter_model.safetensors"])
      let stored = try StoredAdapter(folder: url, for: checkpoint)
      XCTAssertThrowsError(try AdapterMerge(stored, into: checkpoint)) { error in
        XCTAssertEqual((error as? AdapterError)?.code, .notMergeable)
      }
      // The text of MokA is what it does to text.
      let text = try stored.extracting(.text)
      let lora = try checkpoint.model { text.plan.adapting($0, text.tensors) }
      let plain = try prompts(checkpoint)[3]
      assertSameBits(try forward(lora, [plain]), try forward(model, [plain]), "\(preset)")
    }
  }
}
