import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import PEFT
@testable import TokenModel

/// Where adapters stand, how they begin, and the split of their gradients.
final class AdapterTests: XCTestCase {
  func testEveryErrorSaysWhatAndWhatToDo() {
    let errors: [AdapterError] = [
      .unknownType(path: "p", found: "IA3", supported: ["LORA"]),
      .badPattern(path: "p", key: "k", pattern: "("),
      .noModules(path: "p", targets: "q", examples: ["a"]), .unmatchedKeys(path: "p", keys: ["k"], total: 2),
      .missingTensors(path: "p", tensors: ["t"], total: 2),
      .wrongShape(path: "p", tensor: "t", found: [1], expected: [2]),
      .unsuitableModule(path: "p", module: "m", reason: "r"), .pickled(path: "p"),
      .notMergeable(path: "p", reason: "r"), .unknownLayout(path: "p", example: "e"),
      .noModality(path: "p", modality: "m", known: ["text"]), .sameFolder(path: "p"),
      .quantised(path: "p", tensor: "t"), .notFinite(path: "p", name: "t"),
      .slowPattern(path: "p", key: "k", pattern: "(", name: "n"), .plainLoRA(path: "p"),
    ]
    XCTAssertEqual(Set(errors.map(\.code)), Set(AdapterError.Code.allCases))
    let other: [FinetuneError] = [
      .noAnswer(path: "p", sample: "s"), .nothingLearned(path: "p", sample: "s"),
      .noMedia(path: "p", method: "moka"), .nothingTrainable(path: "p", parts: []),
      .noSuchPart(path: "p", part: "x", parts: ["decoder"]),
      .tooLong(path: "p", sample: "s", found: 3, limit: 2), .noEpoch(path: "p", steps: 2, perEpoch: 3),
      .neverTogether(path: "p", modalities: ["image", "audio"]),
    ]
    XCTAssertEqual(Set(other.map(\.code)), Set(FinetuneError.Code.allCases))
    for error in errors as [any DescribedError] + other {
      XCTAssertEqual(error.errorDescription?.hasPrefix("p: "), true)
      XCTAssertNotNil(error.recoverySuggestion)
      XCTAssertEqual(error.path, "p")
    }
    XCTAssertEqual(
      errors.filter { $0.exitStatus == .unsupported }.map(\.code),
      [.unknownType, .unsuitableModule, .pickled, .notMergeable, .quantised])
  }

  /// A pattern of a file that would take years is given up.
  func testPatternsThatTakeTooLongAreGivenUp() throws {
    let inventory = try ModelInventory(Checkpoint(folder: Fixtures.url("llama")))
    for pattern in ["(([a-z._0-9]+)+)+!", "(.*)*(.*)*(.*)*(.*)*(.*)*x"] {
      let configuration = AdapterConfiguration(
        rank: 1, alpha: 1, selection: ModuleSelection(.pattern(pattern)))
      XCTAssertThrowsError(try AdapterPlan(configuration, inventory, path: "test")) { error in
        XCTAssertEqual((error as? AdapterError)?.code, .slowPattern, pattern)
      }
    }
  }

  private func names(
    _ selection: ModuleSelection, _ inventory: ModelInventory, saved: [String] = []
  ) throws -> [String] {
    var configuration = AdapterConfiguration(rank: 1, alpha: 1, selection: selection)
    configuration.savedModules = saved
    return try AdapterPlan(configuration, inventory, path: "test").modules.map(\.site.moduleName)
  }

  func testTargetsFollowTheRulesOfPEFT() throws {
    let inventory = try ModelInventory(Checkpoint(folder: Fixtures.url("llava")))
    XCTAssertEqual(inventory.sites.count, 3 * 7 + 1 + 3 * 6 + 2)
    let decoder = "model.language_model.layers"
    XCTAssertEqual(
      try names(ModuleSelection(.names(["o_proj"])), inventory),
      (0..<3).map { "\(decoder).\($0).self_attn.o_proj" })
    // An end must begin behind a dot; a pattern must match the whole name.
    XCTAssertThrowsError(try names(ModuleSelection(.names(["proj"])), inventory))
    XCTAssertThrowsError(try names(ModuleSelection(.pattern("o_proj")), inventory))
    XCTAssertEqual(try names(ModuleSelection(.pattern(".*mlp\\.gate_proj")), inventory).count, 3)
    XCTAssertEqual(try names(ModuleSelection(.names(["q_proj"])), inventory).count, 6, "both towers")
    XCTAssertEqual(try names(ModuleSelection(.allLinear), inventory).count, inventory.sites.count - 1)
    XCTAssertEqual(try names(ModuleSelection(.names(["lm_head"])), inventory), ["lm_head"])
    // Names of before 4.52 count too.
    XCTAssertEqual(
      try names(ModuleSelection(.pattern("language_model\\.model\\.layers\\.1\\..*")), inventory).count, 7)
    var some = ModuleSelection(.names(["q_proj", "\(decoder).0.mlp.up_proj"]))
    some.layers = [2]
    XCTAssertEqual(
      try names(some, inventory),
      [
        "\(decoder).0.mlp.up_proj", "\(decoder).2.self_attn.q_proj",
        "model.vision_tower.encoder.layers.2.self_attn.q_proj",
      ], "a whole name is a target in any layer")
    some.layerPatterns = ["blocks"]
    XCTAssertEqual(try names(some, inventory), ["\(decoder).0.mlp.up_proj"])
    var excluding = ModuleSelection(.names(["q_proj", "v_proj"]))
    excluding.exclusions = .pattern(".*vision_tower.*")
    XCTAssertEqual(try names(excluding, inventory).count, 6)
    excluding.exclusions = .names(["v_proj"])
    XCTAssertEqual(try names(excluding, inventory).count, 6)
    XCTAssertEqual(
      try names(ModuleSelection(.allLinear), inventory, saved: ["multi_modal_projector"]).count,
      inventory.sites.count - 3)
    // PEFT refuses a pattern that fits self_attn or mlp too.
    XCTAssertEqual(
      inventory.decoderPattern(),
      #"model\.language_model\.layers\.\d+\."#
        + #"(self_attn\.q_proj|self_attn\.k_proj|self_attn\.v_proj|self_attn\.o_proj|"#
        + #"mlp\.gate_proj|mlp\.up_proj|mlp\.down_proj)"#)
    XCTAssertEqual(
      try names(ModuleSelection(.pattern(inventory.decoderPattern(layers: [0, 2]))), inventory).count, 14)
    XCTAssertEqual(inventory.modules(of: .projector), ["model.multi_modal_projector"])
    XCTAssertEqual(inventory.modules(of: .vision), ["model.vision_tower"])
  }

  func testEveryFamilyHasTheModuleNamesOfItsClass() throws {
    for (folder, names) in [
      ("llama", ["model.layers.0.self_attn.q_proj", "lm_head"]),
      (
        "llava_next",
        ["model.language_model.layers.0.mlp.up_proj", "model.multi_modal_projector.linear_2", "lm_head"]
      ),
      (
        "idefics3",
        [
          "model.text_model.layers.0.mlp.up_proj", "model.connector.modality_projection.proj",
          "model.vision_model.encoder.layers.0.mlp.fc1",
        ]
      ),
      (
        "qwen2_vl",
        [
          "model.language_model.layers.0.mlp.up_proj", "model.visual.blocks.0.attn.qkv",
          "model.visual.merger.mlp.2",
        ]
      ),
      ("qwen2_5_vl", ["model.visual.blocks.0.mlp.gate_proj", "model.visual.blocks.0.attn.proj"]),
      (
        "qwen2_audio",
        [
          "model.audio_tower.layers.0.fc1", "model.multi_modal_projector.linear",
          "model.language_model.layers.0.self_attn.k_proj",
        ]
      ),
      ("avdigits_model", ["model.layers.0.self_attn.q_proj", "image_embed", "audio_embed"]),
    ] {
      let found = Set(try ModelInventory(Checkpoint(folder: Fixtures.url(folder))).sites.map(\.moduleName))
      for name in names { XCTAssertTrue(found.contains(name), "\(folder): \(name) not in \(found.sorted())") }
    }
  }

  func testAFreshAdapterIsDrawnAsPEFTDrawsAndChangesNothing() throws {
    let checkpoint = try Checkpoint(folder: Fixtures.url("llava"))
    var configuration = AdapterConfiguration(rank: 3, alpha: 6, selection: ModuleSelection(.allLinear))
    configuration.savedModules = ["lm_head"]
    let plan = try AdapterPlan(configuration, ModelInventory(checkpoint), path: "test")
    let tensors = try plan.initialTensors(checkpoint, seed: 5)
    for (slot, tensor) in zip(plan.slots, tensors) {
      let values = tensor.value.hostValues()
      if slot.name.hasSuffix("lora_A.weight") {
        let bound = 1 / Float(slot.shape[1]).squareRoot()
        XCTAssertLessThanOrEqual(values.map { abs($0) }.max() ?? 2, bound)
        XCTAssertGreaterThan(values.map { abs($0) }.max() ?? 0, 0.9 * bound)
      } else if slot.name.hasSuffix("lora_B.weight") {
        XCTAssertTrue(values.allSatisfy { $0 == 0 })
      }
    }
    let named = Dictionary(uniqueKeysWithValues: tensors.map { ($0.name, $0.value) })
    let model = try checkpoint.model { plan.adapting($0, named) }
    let medium = try XCTUnwrap(model.exampleMedium(of: .image))
    assertSameBits(model.mediumEmbeddings(medium), checkpoint.model.mediumEmbeddings(medium))
    var options = ForwardOptions()
    options.logits = .all
    func logits(_ model: any LanguageModel) throws -> Tensor {
      try XCTUnwrap(
        model.decoder.forward(
          model.textEmbeddings([1, 5, 9]), context: TokenContext(roles: [.bos, .question, .question]),
          options: options
        ).logits)
    }
    assertSameBits(try logits(model), try logits(checkpoint.model))
  }

  func testTheSplitOfAGradientAddsUpToIt() {
    let roles: [Role] = [.bos, .image, .image, .question, .audio, .response]
    let context = TokenContext(roles: roles)
    let base = Linear(weight: LinearWeight(randomTensor([5, 6], seed: 1)))
    let (x, down, up) = (
      randomTensor([6, 6], seed: 2), randomTensor([2, 6], seed: 3), randomTensor([5, 2], seed: 4)
    )
    let seed = randomTensor([6, 5], seed: 5)
    let tape = Tape()
    let leaf = tape.leaf(down)
    let split = GradientSplit([.text, .image, .audio])
    var layer = LoRALinear(base, down: leaf, up: up, scale: 2)
    layer.parts = split.parts(of: leaf, module: "m")
    let output = layer(x, context)
    let parts = split.parts.map(\.down)
    let gradients = tape.gradients(of: output, for: [leaf] + parts, seed: seed)
    // δ = s Gᵀ B for each row, and its outer product with x, row by row.
    let delta = (2 * seed).matmul(up).hostRows()
    let rows = x.hostRows()
    var expected = [[Double]](repeating: [Double](repeating: 0, count: 12), count: 3)
    for row in roles.indices {
      let owner = roles[row] == .image ? 1 : roles[row] == .audio ? 2 : 0
      for rank in 0..<2 {
        for column in 0..<6 {
          expected[owner][rank * 6 + column] += Double(delta[row][rank]) * Double(rows[row][column])
        }
      }
    }
    for owner in 0..<3 {
      assertClose(
        gradients[owner + 1] ?? Tensor(scalar: 0), expected[owner], shape: [2, 6], absolute: 1e-5)
    }
    let total = (0..<12).map { index in expected.reduce(0) { $0 + $1[index] } }
    assertClose(gradients[0] ?? Tensor(scalar: 0), total, shape: [2, 6], absolute: 1e-5)
    let plain = LoRALinear(base, down: down, up: up, scale: 2)(x, context)
    assertClose(output.detached, plain.doubles, shape: [6, 5], absolute: 1e-6, "the split changes nothing")
    let figures = split.figures(Array(gradients.dropFirst()))
    XCTAssertEqual(figures.shares.reduce(0) { $0 + $1.value }, 1, accuracy: 1e-9)
    let square = total.reduce(0) { $0 + $1 * $1 }
    for (owner, share) in figures.shares.enumerated() {
      let product = zip(expected[owner], total).reduce(0) { $0 + $1.0 * $1.1 }
      XCTAssertEqual(share.value, product / square, accuracy: 1e-5)
    }
    XCTAssertEqual(figures.cosines.map(\.modality), [.image, .audio])
    XCTAssertTrue(figures.cosines.allSatisfy { abs($0.value) <= 1 + 1e-9 })
  }

  func testMokAOutsideTheDecoderIsRefused() throws {
    let llava = try ModelInventory(Checkpoint(folder: Fixtures.url("llava")))
    let avdigits = try ModelInventory(Checkpoint(folder: Fixtures.url("avdigits_model")))
    for (inventory, target) in [
      (llava, "fc1"), (llava, "lm_head"), (llava, "linear_1"), (avdigits, "image_embed"),
      (avdigits, "audio_embed"),
    ] {
      var configuration = AdapterConfiguration(
        rank: 1, alpha: 1, selection: ModuleSelection(.names([target])))
      configuration.moka = MokASettings(.mokaPaper, media: [.image])
      XCTAssertThrowsError(try AdapterPlan(configuration, inventory, path: "test")) { error in
        XCTAssertEqual((error as? AdapterError)?.code, .unsuitableModule, target)
      }
    }
  }

  /// PEFT would embed with the copy and go on with the old table at the output; a model with one table cannot do that.
  func testEmbeddingsAreNotSavedApartFromTheOutputLayerTheyAreTiedTo() throws {
    let tied = try ModelInventory(Checkpoint(folder: Fixtures.url("smolvlm")))
    let untied = try ModelInventory(Checkpoint(folder: Fixtures.url("llava")))
    let targets = ModuleSelection(.names(["q_proj"]))
    for saved in ["embed_tokens", "lm_head"] {
      XCTAssertThrowsError(try names(targets, tied, saved: [saved])) { error in
        XCTAssertEqual((error as? AdapterError)?.code, .unsuitableModule, saved)
        XCTAssertTrue(error.localizedDescription.contains("tie_word_embeddings"), saved)
      }
      XCTAssertNoThrow(try names(targets, untied, saved: [saved]))
    }
    XCTAssertNoThrow(try names(targets, tied, saved: ["connector"]))
  }
}
