import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// LLaVA-1.5 against transformers: tower, projector, decoder, every key layout, and what is refused.
final class LLaVATests: XCTestCase {
  func testEveryReferenceTensor() throws { try compare(FamilyCase.model("llava")) }

  /// The same weights as transformers 5 writes them: other names of the tower and a complete configuration.
  func testEveryReferenceTensorWithTheLayoutOfTransformers5() throws {
    let folder = try TemporaryDirectory()
    for name in ["config.json", "generation_config.json"] {
      try FileManager.default.copyItem(
        atPath: Fixtures.url("llava_layout_tf5/\(name)").path, toPath: folder.path + "/" + name)
    }
    let weights = try SafetensorsFile(path: Fixtures.url("llava/model.safetensors").path)
    let tensors = try weights.tensors.map { tensor in
      try tensor.named(
        tensor.name.replacingOccurrences(of: "vision_tower.vision_model.", with: "vision_tower."))
    }
    try SafetensorsWriter.write(
      tensors: tensors, metadata: ["format": "pt"], to: folder.path + "/model.safetensors")
    try compare(Checkpoint(folder: URL(fileURLWithPath: folder.path)).model)
  }

  private func compare(_ model: any LanguageModel) throws {
    let family = try FamilyCase("llava", model: model)
    let oracle = family.oracle
    let pixels = try oracle.stored("pixel_values")
    for prefix in ["single", "pair_left", "multi", "text"] {
      let media = prefix == "text" ? [] : [pixels]
      try family.compareDecoder(prefix, family.inputs(prefix) + media, mayLeaveMedia: prefix == "single")
    }
    let layers = 3
    try family.compareTower(
      [pixels],
      (0...layers).map { ("vision.hidden.\($0)", "vision.hidden.\($0)") }
        + (0..<layers).map { ("vision.attn.\($0)", "vision.attention.\($0)") }
        + [("vision.last_hidden_state", "vision.hidden.\(layers)"), ("image_features", "vision.projected")])
    let tower = try XCTUnwrap(model as? LLaVAModel).tower
    let last = try XCTUnwrap(
      tower.hiddenStates(pixels: pixels.floats(), images: 2, states: [layers], options: ForwardOptions())
        .first)
    try oracle.compare(
      tower.pooled(last).hostValues(), with: "vision.pooler_output", absolute: family.bound("hidden_abs"))

    let full = try FamilyCase.model(
      "llava", changing: ["vision_feature_layer": -1, "vision_feature_select_strategy": "full"])
    let media = try full.media(from: MediaTensors([pixels], path: "llava"))
    XCTAssertEqual(full.rowCount(of: media[0]), 17)
    try oracle.compare(
      media.flatMap { full.mediumEmbeddings($0).hostValues() }, with: "image_features_layer-1_full",
      absolute: family.bound("hidden_abs"))
    oracle.finish()
  }

  /// Several layers side by side: the projector of wider rows gives what a product by hand gives.
  func testAListOfLayersStandsSideBySide() throws {
    let folder = Fixtures.url("llava")
    let files = try ShardedTensors(folder: folder.path)
    let wide = randomTensor([48, 64], seed: 5, scale: 0.2)
    let weights = WeightSource(in: "memory") { name, shape in
      if name == "multi_modal_projector.linear_1.weight" { return wide }
      let stored = LLaVAModel.keys.resolved(in: files.names).name(of: name)
      return try files[stored].map { Tensor(try $0.floats(), shape: shape) }
    }
    var object = try XCTUnwrap(
      JSONValue(parsing: Data(contentsOf: folder.appendingPathComponent("config.json"))).objectValue)
    object["vision_feature_layer"] = [-2, 1]
    let model = try XCTUnwrap(FamilyCase.load(object, weights) as? LLaVAModel)
    let medium = try XCTUnwrap(model.exampleMedium(of: .image))
    let drawn = Medium(
      modality: .image, shape: medium.shape,
      values: .numbers(randomTensor(medium.shape, seed: 6).hostValues()), identity: "")
    let states = model.tower.hiddenStates(
      pixels: drawn.numbers, images: 1, states: [2, 1], options: ForwardOptions())
    let rows = Tensor.concatenatedColumns(states).slice(1..<17)
    func vector(_ name: String, _ shape: [Int]) throws -> Tensor {
      try weights.tensor("multi_modal_projector." + name, shape: shape)
    }
    let inner = (LinearWeight(wide).forward(rows) + (try vector("linear_1.bias", [48]))).gelu()
    let second = LinearWeight(try vector("linear_2.weight", [48, 48]))
    let expected = second.forward(inner) + (try vector("linear_2.bias", [48]))
    for (found, wanted) in zip(model.mediumEmbeddings(drawn).hostValues(), expected.hostValues()) {
      XCTAssertEqual(found, wanted, accuracy: 1e-5)
    }
  }

  func testEveryKeyLayoutLoads() throws {
    let folder = Fixtures.url("llava")
    let files = try ShardedTensors(folder: folder.path)
    let layouts = try XCTUnwrap(Fixtures.json("llava/key_layouts.json").objectValue)
    XCTAssertEqual(layouts.keys.count, 3)
    let names = try XCTUnwrap(layouts["hub_llava_1.5"]?.arrayValue).compactMap(\.stringValue)
    XCTAssertEqual(names.sorted(), files.names)
    let reference = try logits(FamilyCase.model("llava"))
    for (layout, list) in layouts.members {
      let theirs = try XCTUnwrap(list.arrayValue).compactMap(\.stringValue)
      let temporary = try TemporaryDirectory()
      // Each name of this layout is the name of the same tensor in the family's own words.
      let byOwnName = Dictionary(
        uniqueKeysWithValues: try files.tensors.map {
          (try XCTUnwrap(LLaVAModel.keys.ownName(of: $0.name)), $0)
        })
      let tensors = try theirs.map { name in
        try XCTUnwrap(byOwnName[try XCTUnwrap(LLaVAModel.keys.ownName(of: name))], name).renamed(name)
      }
      XCTAssertEqual(tensors.count, files.tensors.count)
      try SafetensorsWriter.write(tensors: tensors, to: temporary.path + "/model.safetensors")
      try FileManager.default.copyItem(
        at: folder.appendingPathComponent("config.json"),
        to: URL(fileURLWithPath: temporary.path + "/config.json"))
      let checkpoint = try Checkpoint(folder: URL(fileURLWithPath: temporary.path, isDirectory: true))
      XCTAssertEqual(try logits(checkpoint.model), reference, layout)
    }
  }

  private func logits(_ model: any LanguageModel) throws -> [Float] {
    let oracle = try OracleCase("llava")
    let inputs = [
      try oracle.stored("pixel_values"), try oracle.stored("multi.input_ids").renamed("input_ids"),
    ]
    let outputs = try Trace(model, names: ["logits"]).run(
      TraceInputs(inputs, path: "llava", model: model))
    return try outputs[0].floats()
  }

  func testGenerationGivesTheReferenceIDs() throws {
    let oracle = try OracleCase("generate")
    let checkpoint = try Checkpoint(folder: Fixtures.url("llava"))
    let pixels = try oracle.stored("pixel_values")
    for prefix in ["llava_single", "llava_left"] {
      let inputs = try ["input_ids", "attention_mask"].map {
        try oracle.stored("\(prefix).\($0)").renamed($0)
      }
      let raw = try TraceInputs(
        inputs + [pixels], path: prefix, model: checkpoint.model, mayLeaveMedia: prefix == "llava_single")
      let prompts = try raw.rows.enumerated().map { index, row in
        try checkpoint.model.expand(
          ids: row.ids, pieces: row.ids.map(String.init), roles: row.ids.map { _ in .question },
          media: [raw.media[index]], promptCount: row.ids.count, sample: prefix)
      }
      var generator = Generator(checkpoint.model)
      generator.limit = 12
      generator.endIDs = []
      var steps: [[[Float]]] = []
      generator.onLogits = { _, logits in steps.append(logits.hostRows()) }
      let answers = try generator.answers(to: Generator.Start(prompts, model: checkpoint.model))
      try oracle.compare(answers.flatMap(\.ids), with: "\(prefix).generated_ids")
      let logits = prompts.indices.flatMap { sequence in steps.flatMap { $0[sequence] } }
      for name in ["step_logits", "step_logits_f64"] {
        try oracle.compare(logits, with: "\(prefix).\(name)", absolute: 2e-4)
      }
    }
    oracle.finish { $0.hasPrefix("llama_") }
  }

  /// One placeholder for an image is the same prompt as sixteen.
  func testOnePlaceholderIsExpanded() throws {
    let model = try FamilyCase.model("llava")
    let medium = try XCTUnwrap(model.exampleMedium(of: .image))
    func prompt(_ ids: [Int], _ media: Int = 1) throws -> Prompt {
      try model.expand(
        ids: ids, pieces: ids.map(String.init), roles: ids.map { _ in .question },
        media: [Medium](repeating: medium, count: media), promptCount: ids.count, sample: "s")
    }
    let image = [Int](repeating: 512, count: 16)
    let (short, long) = (try prompt([1, 5, 512, 7]), try prompt([1, 5] + image + [7]))
    XCTAssertEqual(short.spans.roles, long.spans.roles)
    XCTAssertEqual(short.spans.spans.map(\.grid), long.spans.spans.map(\.grid))
    XCTAssertEqual(short.spans.sources, [0, 1] + [Int](repeating: 2, count: 16) + [3])
    XCTAssertEqual(long.spans.sources, Array(0..<19))
    XCTAssertEqual(model.embeddings(short), model.embeddings(long))
    XCTAssertEqual(long.spans.counts.map(\.count), [16, 3])

    XCTAssertThrowsError(try prompt([1] + image.dropLast())) {
      XCTAssertEqual(
        $0.localizedDescription,
        "s: found 15 image placeholders for 1 image media, expected 1, or 16 with one for each row")
    }
    XCTAssertThrowsError(try prompt([1] + image.dropLast() + [5, 512])) {
      XCTAssertEqual(
        $0.localizedDescription, "s: found 15 image placeholders in a run, expected 16 for the next medium")
    }
    XCTAssertThrowsError(try prompt([1] + image, 0)) {
      XCTAssertEqual(
        $0.localizedDescription, "s: the text has 16 <image> placeholders, the record has 0 image media")
    }
    let bytes = Medium(modality: .image, shape: medium.shape, bytes: [1, 2], identity: "")
    XCTAssertThrowsError(try model.validate(bytes, sample: "s")) {
      XCTAssertEqual(
        $0.localizedDescription, "s: the image has stored bytes, the model takes 2352 normalised numbers")
    }
    let sound = Medium(modality: .audio, shape: [1], bytes: [0], identity: "")
    XCTAssertThrowsError(try model.validate(sound, sample: "s")) {
      XCTAssertEqual(($0 as? PromptError)?.exitStatus, .unsupported)
    }
  }

  /// Text to ids as the tokenizer of transformers makes them of the whole prompt.
  func testThePromptIsEncodedAsAWhole() throws {
    let checkpoint = try Checkpoint(folder: Fixtures.url("llava"))
    let medium = try XCTUnwrap(checkpoint.model.exampleMedium(of: .image))
    let sample = Sample(id: "s", media: [medium], question: "What is on the sofa?", answer: "a cat")
    let prompt = try checkpoint.prompt(for: sample, includesAnswer: true)
    let tokenizer = try checkpoint.requiredTokenizer()
    let text = "USER: <image>\nWhat is on the sofa? ASSISTANT:"
    let expected = [1] + (try tokenizer.encode(text))
    XCTAssertEqual(Array(prompt.ids.prefix(expected.count)), expected)
    XCTAssertEqual(prompt.ids, [1] + (try tokenizer.encode(text + " a cat")) + [2])
    XCTAssertEqual(prompt.promptCount, expected.count + 15)
    XCTAssertEqual(prompt.spans.roles[0], .bos)
    XCTAssertEqual(prompt.spans.roles.count { $0 == .image }, 16)
    func pieces(_ role: Role) -> String {
      (0..<prompt.count).filter { prompt.spans.roles[$0] == role }.map(prompt.piece).joined()
        .replacingOccurrences(of: "▁", with: " ")
    }
    XCTAssertEqual(pieces(.question), "What is on the sofa?")
    XCTAssertEqual(pieces(.response), " a cat</s>")
    // The normalizer of tokenizer.json begins every stretch between special tokens with a space.
    XCTAssertEqual(pieces(.instruction), " USER:  <0x0A> ASSISTANT:")
  }

  func testWhatWouldChangeTheNumbersIsRefused() throws {
    func refusal(_ changes: [String: JSONValue]) throws -> ConfigurationError {
      do {
        _ = try FamilyCase.model("llava", changing: changes)
      } catch let error as ConfigurationError {
        return error
      }
      throw XCTSkip("not refused: \(changes)")
    }
    let text = try XCTUnwrap(Fixtures.json("llava/config.json")["text_config"]?.objectValue)
    let vision = try XCTUnwrap(Fixtures.json("llava/config.json")["vision_config"]?.objectValue)
    func changed(_ object: JSONObject, _ key: String, _ value: JSONValue) -> JSONValue {
      var object = object
      object[key] = value
      return .object(object)
    }
    let cases: [(changes: [String: JSONValue], word: String)] = [
      (["projector_hidden_act": "relu"], "projector_hidden_act"),
      (["vision_feature_select_strategy": "cls_patch"], "vision_feature_select_strategy"),
      (["text_config": changed(text, "num_hidden_layers", 2)], "num_hidden_layers"),
      (["text_config": changed(text, "hidden_act", "gelu")], "text_config.hidden_act"),
      (["text_config": changed(text, "rope_scaling", ["type": "yarn", "factor": 2])], "rope_type"),
      (["text_config": changed(text, "sliding_window", 100)], "text_config.sliding_window"),
      (["text_config": changed(text, "model_type", "gemma")], "text_config.model_type"),
      (["vision_config": changed(vision, "num_hidden_layers", 2)], "layers"),
      (["vision_config": changed(vision, "hidden_act", "relu")], "vision_config.hidden_act"),
      (["vision_config": changed(vision, "model_type", "siglip_vision_model")], "vision_config.model_type"),
    ]
    for (changes, word) in cases {
      let error = try refusal(changes)
      XCTAssertEqual(error.exitStatus, .unsupported, "\(changes)")
      XCTAssertTrue(error.localizedDescription.contains(word), error.localizedDescription)
    }
    XCTAssertEqual(try refusal(["vision_feature_layer": -5]).code, .outOfRange)
    XCTAssertEqual(try refusal(["vision_feature_layer": []]).code, .outOfRange)
    XCTAssertEqual(try refusal(["multimodal_projector_bias": 3]).code, .wrongKind)
  }

  func testInputsOfAnotherTypeAreSaidAsSuch() throws {
    let model = try FamilyCase.model("llava")
    func message(_ tensor: StoredTensor) -> String {
      do {
        _ = try TraceInputs([tensor], path: "in", model: model)
        return ""
      } catch { return error.localizedDescription }
    }
    XCTAssertEqual(
      message(
        try StoredTensor(
          name: "pixel_values", shape: [1, 3, 28, 28], bytes: [UInt8](repeating: 0, count: 2352))),
      "in: \"pixel_values\" has elements of type U8, expected floating-point numbers, such as f32")
    XCTAssertEqual(
      message(
        try StoredTensor(
          name: "pixel_values", shape: [3, 28, 28], floats: [Float](repeating: 0, count: 2352))),
      "in: \"pixel_values\" has shape [3, 28, 28], expected [any, 3, 28, 28]")
    XCTAssertEqual(
      message(try StoredTensor(name: "input_ids", shape: [1, 2], floats: [1, 2])),
      "in: \"input_ids\" has elements of type F32, expected integers, such as i64")
    XCTAssertEqual(
      message(try StoredTensor(name: "image_u8", shape: [1], bytes: [1])),
      "in: the tensor \"image_u8\" is no input of this model (inputs: input_ids, attention_mask, position_ids, pixel_values)"
    )
  }
}
