import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// Qwen2 and Chameleon against transformers, and the defaults of configuration classes.
final class TextFamilyTests: XCTestCase {
  func testEveryTensorOfQwen2() throws {
    for configuration in ["config.json", "config.transformers5.json"] {
      let family = try FamilyCase(
        "qwen2_text", model: FamilyCase.model("qwen2_text", configuration: configuration))
      for prefix in ["a", "b", "left"] { try family.compareDecoder(prefix, family.inputs(prefix)) }
      family.oracle.finish()
    }
  }

  func testEveryTensorOfChameleon() throws {
    for configuration in ["config.json", "config.transformers5.json"] {
      let model = try XCTUnwrap(
        FamilyCase.model("chameleon", configuration: configuration) as? ChameleonModel)
      let family = try FamilyCase("chameleon", model: model)
      for prefix in ["a", "b", "left"] {
        // The reference holds -1e9 for codes of images; ours are the least number, checked below.
        try family.compareDecoder(prefix, family.inputs(prefix)) { model.imageIDs.contains($0) }
      }
      // The image tokenizer is not part of the program; its case is the input of a refusal.
      let pixels = try family.oracle.stored("vq.pixel_values").renamed("pixel_values")
      XCTAssertTrue(
        try family.oracle.integers("vq.image_token_ids").allSatisfy { model.fixedRole(of: $0) == .image })
      XCTAssertThrowsError(try TraceInputs([pixels], path: "in", model: model)) { error in
        XCTAssertEqual((error as? PromptError)?.exitStatus, .unsupported)
        XCTAssertEqual(
          error.localizedDescription,
          "in: this model takes no image (it takes text, images as the ids of their codes: the image tokenizer is not part of this program)"
        )
      }
      family.oracle.finish()
    }
  }

  func testCodesOfImagesAreNeverPredictedAndHaveTheirRole() throws {
    let model = try XCTUnwrap(FamilyCase.model("chameleon") as? ChameleonModel)
    XCTAssertEqual(model.imageIDs, Set(8...23))
    let ids = [0, 31, 158] + Array(8...23) + [157, 70]
    let prompt = try model.expand(
      ids: ids, pieces: ids.map(String.init), roles: ids.map { _ in .question }, media: [],
      promptCount: ids.count, sample: "s")
    XCTAssertEqual(
      prompt.spans.spans.map(\.role), [.question, .separator, .image, .separator, .question])
    XCTAssertEqual(prompt.spans.spans[2].positions, 3..<19)
    var generator = Generator(model)
    generator.limit = 20
    var masked: [Float] = []
    generator.onLogits = { _, logits in masked += logits.hostRows()[0][8...23] }
    let answer = try generator.answers(to: Generator.Start([prompt], model: model))[0]
    XCTAssertTrue(answer.ids.allSatisfy { !model.imageIDs.contains($0) })
    XCTAssertTrue(masked.allSatisfy { $0 == -Float.greatestFiniteMagnitude })
    XCTAssertTrue(answer.logProbabilities.allSatisfy(\.isFinite))
  }

  /// With `swin_norm` the norms stand behind attention and feed-forward.
  func testEveryTensorOfChameleonWithNormsBehind() throws {
    let model = try XCTUnwrap(FamilyCase.model("chameleon", changing: ["swin_norm": true]) as? ChameleonModel)
    let family = try FamilyCase("chameleon_swin", model: model)
    try family.compareDecoder("a", family.inputs("a")) { model.imageIDs.contains($0) }
    family.oracle.finish()
  }

  func testALayerTooFewIsRefused() throws {
    for name in ["qwen2_text", "chameleon"] {
      XCTAssertThrowsError(try FamilyCase.model(name, changing: ["num_hidden_layers": 2])) { error in
        XCTAssertEqual((error as? ConfigurationError)?.exitStatus, .unsupported)
        XCTAssertTrue(error.localizedDescription.contains("3, as many as the weight files hold"), "\(error)")
      }
    }
  }

  func testASlidingWindowThatMattersIsRefused() throws {
    func error(_ changes: [String: JSONValue]) -> String? {
      do {
        _ = try FamilyCase.model("qwen2_text", changing: changes)
        return nil
      } catch { return error.localizedDescription }
    }
    // The model was made for 256 positions and has three layers.
    XCTAssertNil(error(["use_sliding_window": false, "sliding_window": 16]))
    XCTAssertNil(error(["use_sliding_window": true, "sliding_window": 256, "max_window_layers": 0]))
    XCTAssertNil(error(["use_sliding_window": true, "sliding_window": 16, "max_window_layers": 3]))
    XCTAssertEqual(
      error([
        "use_sliding_window": true, "sliding_window": 16, "max_window_layers": 2, "layer_types": .null,
      ])?.contains("\"sliding_window\" is 16"), true)
    // The kinds of the layers count more than their number.
    let some: JSONValue = ["full_attention", "sliding_attention", "full_attention"]
    let none: JSONValue = ["full_attention", "full_attention", "full_attention"]
    let window: [String: JSONValue] = ["use_sliding_window": true, "sliding_window": 16]
    func kinds(_ kinds: JSONValue, _ more: [String: JSONValue]) -> String? {
      error(window.merging(more) { $1 }.merging(["layer_types": kinds]) { $1 })
    }
    XCTAssertEqual(kinds(some, ["max_window_layers": 3])?.contains("\"sliding_window\" is 16"), true)
    XCTAssertNil(kinds(some, ["max_window_layers": 3, "sliding_window": 256]))
    XCTAssertNil(kinds(none, ["max_window_layers": 0]))
  }

  /// The base of rotary positions stands inside the rotary settings or beside them, and transformers reads both.
  func testTheRotaryBaseIsFoundWhereTransformersFindsIt() throws {
    func base(_ changes: [String: JSONValue]) throws -> Double {
      var all: [String: JSONValue] = ["rope_theta": .null, "rope_scaling": .null, "rope_parameters": .null]
      all.merge(changes) { $1 }
      return try FamilyCase.model("llama", changing: all).decoder.configuration.rotaryBase
    }
    let plain: JSONValue = ["rope_type": "default"]
    XCTAssertEqual(try base([:]), 10000)
    XCTAssertEqual(try base(["rope_theta": 500, "rope_parameters": plain]), 500)
    XCTAssertEqual(try base(["rope_theta": 500, "rope_parameters": [:]]), 500)
    XCTAssertEqual(
      try base(["rope_theta": 500, "rope_parameters": ["rope_type": "default", "rope_theta": 300]]), 300)
    let linear: JSONValue = ["rope_type": "linear", "factor": 2.0, "rope_theta": 77]
    XCTAssertEqual(try base(["rope_theta": 500, "rope_scaling": linear]), 77)
    // The scaling wins as a whole over the settings of transformers 5.
    let model = try FamilyCase.model(
      "llama",
      changing: [
        "rope_theta": .null, "rope_scaling": ["type": "linear", "factor": 2.0],
        "rope_parameters": ["rope_type": "default", "rope_theta": 300],
      ])
    XCTAssertEqual(model.decoder.configuration.rotaryBase, 10000)
    XCTAssertEqual(model.decoder.configuration.rotaryScaling, .linear(factor: 2))
    XCTAssertThrowsError(
      try base(["rope_parameters": ["full_attention": plain, "sliding_attention": plain]])
    ) {
      XCTAssertEqual(($0 as? ConfigurationError)?.exitStatus, .unsupported)
    }
  }

  /// transformers 5 ties the output layer to the embeddings only where the files have none of its own.
  func testAnOutputLayerOfItsOwnCountsMoreThanTheSetting() throws {
    let ids = try StoredTensor(name: "input_ids", shape: [1, 5], integers: [3, 9, 4, 30, 7])
    func logits(_ model: any LanguageModel) throws -> [Float] {
      try Trace(model, names: ["logits"]).run(TraceInputs([ids], path: "in", model: model))[0].floats()
    }
    let (untied, tied) = try (
      FamilyCase.model("llama"), FamilyCase.model("llama", changing: ["tie_word_embeddings": true])
    )
    XCTAssertFalse(tied.decoder.configuration.tiesEmbeddings)
    XCTAssertEqual(try logits(tied), try logits(untied))
    // An equal one is the same, and one that is missing is what the setting is for.
    let files = try ShardedTensors(folder: Fixtures.url("llama").path)
    let embedding = try XCTUnwrap(files["model.embed_tokens.weight"])
    let others = files.tensors.filter { $0.name != "lm_head.weight" }
    let object = try XCTUnwrap(Fixtures.json("llama/config.json").objectValue)
    var results: [[Float]] = []
    for tensors in [others, others + [embedding.renamed("lm_head.weight")]] {
      let folder = try TemporaryDirectory()
      try SafetensorsWriter.write(tensors: tensors, to: folder.path + "/model.safetensors")
      var object = object
      object["tie_word_embeddings"] = true
      let model = try FamilyCase.load(object, WeightSource(ShardedTensors(folder: folder.path)))
      XCTAssertTrue(model.decoder.configuration.tiesEmbeddings)
      results.append(try logits(model))
    }
    XCTAssertEqual(results[0], results[1])
    XCTAssertNotEqual(results[0], try logits(untied))
  }

  /// Quantised weights are refused wherever the configuration speaks of them.
  func testQuantisedWeightsAreRefusedInTheOuterConfigurationToo() throws {
    for name in ["qwen2_text", "llava", "idefics3", "qwen2_audio", "qwen2_vl"] {
      let changes: [String: JSONValue] = ["quantization_config": ["quant_method": "awq"]]
      XCTAssertThrowsError(try FamilyCase.model(name, changing: changes), name) {
        XCTAssertEqual(($0 as? ConfigurationError)?.exitStatus, .unsupported, name)
      }
    }
  }

  /// The defaults of the code are those of transformers' classes.
  func testDefaultsAreThoseOfTransformers() throws {
    let classes = try Fixtures.json("config_defaults/expected.json")
    let cases: [(json: JSONValue?, defaults: TextDefaults)] = [
      (classes["llama"], .llama), (classes["mistral"], .mistral), (classes["qwen2"], .qwen2),
      (classes["qwen2_vl"]?["text_config"], .qwen2VL), (classes["chameleon"], .chameleon),
      (classes["llava"]?["text_config"], .llama), (classes["qwen2_audio"]?["text_config"], .qwen2),
    ]
    var count = 0
    for (json, defaults) in cases {
      let name = json?["model_type"]?.stringValue ?? "?"
      // Two classes derive the size of a head; a configuration that says nothing derives it too.
      let empty = try ConfigurationReader.withoutKeys
      var widened = defaults
      widened.slidingWindow = nil
      let found = try LLaMAConfiguration(empty, defaults: widened)
      let expected: [(String, Double?)] = [
        ("vocab_size", Double(found.vocabularySize)), ("hidden_size", Double(found.hiddenSize)),
        ("intermediate_size", Double(found.intermediateSize)),
        ("num_hidden_layers", Double(found.layerCount)),
        ("num_attention_heads", Double(found.headCount)),
        ("num_key_value_heads", Double(found.keyValueHeadCount)),
        ("max_position_embeddings", Double(found.contextLength)),
        ("bos_token_id", found.beginID.map(Double.init)),
        ("eos_token_id", found.endIDs.first.map(Double.init)),
        ("pad_token_id", found.paddingID.map(Double.init)),
      ]
      for (key, value) in expected {
        // Of Qwen2-Audio the class of the text says 22016 as Qwen2 does.
        XCTAssertEqual(json?[key]?.doubleValue, value, "\(name) \(key)")
        count += 1
      }
      XCTAssertEqual(json?["rope_parameters"]?["rope_theta"]?.doubleValue, found.rotaryBase, name)
      XCTAssertEqual((json?["rms_norm_eps"]?.doubleValue).map { Float($0) }, found.normEpsilon, name)
      XCTAssertEqual(json?["hidden_act"]?.stringValue, "silu", name)
      if let head = json?["head_dim"]?.intValue { XCTAssertEqual(head, found.headSize, name) }
      if let tied = json?["tie_word_embeddings"]?.boolValue { XCTAssertEqual(tied, found.tiesEmbeddings) }
      count += 3
    }
    XCTAssertEqual(classes["mistral"]?["sliding_window"]?.intValue, TextDefaults.mistral.slidingWindow)
    let clip = try CLIPVisionTower.Configuration(.withoutKeys)
    let json = try XCTUnwrap(classes["clip_vision_model"])
    XCTAssertEqual(json["hidden_size"]?.intValue, clip.hiddenSize)
    XCTAssertEqual(json["intermediate_size"]?.intValue, clip.intermediateSize)
    XCTAssertEqual(json["num_hidden_layers"]?.intValue, clip.layerCount)
    XCTAssertEqual(json["num_attention_heads"]?.intValue, clip.headCount)
    XCTAssertEqual(json["image_size"]?.intValue, clip.imageSize)
    XCTAssertEqual(json["patch_size"]?.intValue, clip.patchSize)
    XCTAssertEqual(json["layer_norm_eps"]?.doubleValue, clip.normEpsilon)
    XCTAssertEqual(json["hidden_act"]?.stringValue, clip.activation.rawValue)
    print("configuration defaults: \(count + 8) values compared")
  }
}

extension ConfigurationReader {
  /// A configuration that says nothing.
  static var withoutKeys: ConfigurationReader {
    get throws { try ConfigurationReader(path: "config.json", bytes: Array("{}".utf8)) }
  }
}
