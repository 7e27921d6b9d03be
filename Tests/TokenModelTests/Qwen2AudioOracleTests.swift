import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// Qwen2-Audio against transformers: every tensor of the case.
final class Qwen2AudioOracleTests: XCTestCase {
  func testEveryReferenceTensor() throws {
    let oracle = try OracleCase("qwen2_audio")
    let model = try XCTUnwrap(try Checkpoint(folder: Fixtures.url("qwen2_audio")).model as? Qwen2AudioModel)
    try compareRowsWithoutPadding(oracle, model)
    try compareTower(oracle, model)
    for (name, sounds) in [("single", [0]), ("partial", [1]), ("left", [0, 1])] {
      try OracleRun(oracle, model, name, media: media(sounds, oracle)).compareDecoder()
    }
    oracle.finish()
  }

  private func media(_ sounds: [Int], _ oracle: OracleCase) throws -> [StoredTensor] {
    let (features, mask) = (try oracle.stored("input_features"), try oracle.stored("feature_attention_mask"))
    let (values, bits) = (try features.floats(), try mask.integers())
    let size = features.shape[1] * features.shape[2]
    return [
      try StoredTensor(
        name: "input_features", shape: [sounds.count] + features.shape.dropFirst(),
        floats: sounds.flatMap { values[$0 * size..<($0 + 1) * size] }),
      try StoredTensor(
        name: "feature_attention_mask", shape: [sounds.count, mask.shape[1]],
        integers: sounds.flatMap { bits[$0 * mask.shape[1]..<($0 + 1) * mask.shape[1]] }),
    ]
  }

  /// Every element of the reference, positions of padding too: what a trace shows.
  private func compareTower(_ oracle: OracleCase, _ model: Qwen2AudioModel) throws {
    let tolerance = try OracleTolerance(oracle)
    let inputs = try TraceInputs(media([0, 1], oracle), path: "audio", model: model)
    let names =
      ["audio.projected", "audio.finalNorm"]
      + (0..<2).flatMap { ["audio.layers.\($0).output", "audio.attention.\($0)"] }
    let outputs = try Trace(model, names: names).run(inputs)
    func values(_ name: String) throws -> [Float] {
      try XCTUnwrap(outputs.first { $0.name == name }).floats()
    }
    for layer in 0..<2 {
      try oracle.compare(
        values("audio.layers.\(layer).output"), with: "audio.layer.\(layer)", absolute: tolerance.hidden)
      try oracle.compare(
        values("audio.attention.\(layer)"), with: "audio.attn.\(layer)", absolute: tolerance.attention)
    }
    try oracle.compare(values("audio.finalNorm"), with: "audio.encoder_output", absolute: tolerance.hidden)
    try oracle.compare(values("audio.projected"), with: "audio.projected", absolute: tolerance.hidden)
  }

  /// Without padding, as the model runs when nobody watches: the rows that feed the decoder, and the lengths of the case.
  private func compareRowsWithoutPadding(_ oracle: OracleCase, _ model: Qwen2AudioModel) throws {
    let sounds = try TraceInputs(media([0, 1], oracle), path: "audio", model: model).media
    let lengths = try XCTUnwrap(oracle.description["lengths"])
    XCTAssertEqual(sounds.map { $0.layout.frameCount }, lengths["frames"]?.arrayValue?.map(\.intValue))
    XCTAssertEqual(
      sounds.map { model.rowCount(of: $0) }, lengths["audio_tokens"]?.arrayValue?.compactMap(\.intValue))
    let rows = sounds.flatMap { model.mediumEmbeddings($0).hostValues() }
    let padding = [Float](repeating: 0, count: (15 - 9) * 48)
    try oracle.compare(
      rows + padding, with: "audio.projected", absolute: OracleTolerance(oracle).hidden,
      isReal: { $0 / 48 < 15 + 9 })
  }

  func testTheOtherLayoutsGiveTheSameLogits() throws {
    let oracle = try OracleCase("qwen2_audio")
    let folder = try alteredCheckpoint("qwen2_audio", configuration: "config.transformers5.json") { _ in }
    defer { try? FileManager.default.removeItem(at: folder) }
    let runs = try [Fixtures.url("qwen2_audio"), folder].map {
      try OracleRun(oracle, Checkpoint(folder: $0).model, "single", media: media([0], oracle))
    }
    XCTAssertEqual(try runs[0].values("logits"), try runs[1].values("logits"))
    let names = try XCTUnwrap(oracle.description["tensor_names_in_file"]?.arrayValue).compactMap(
      \.stringValue)
    // Inside transformers 5 every part but the output layer is under "model".
    let inner = names.map { name in
      name.hasPrefix("language_model.lm_head")
        ? String(name.dropFirst(15))
        : name.hasPrefix("language_model.model")
          ? "model.language_model" + name.dropFirst(20) : "model." + name
    }
    for files in [names, inner] {
      let layout = Qwen2AudioModel.keys.resolved(in: files)
      for own in [
        "model.layers.1.mlp.up_proj.weight", "lm_head.weight", "audio_tower.conv1.bias",
        "multi_modal_projector.linear.bias",
      ] {
        XCTAssertTrue(files.contains(layout.name(of: own)), "\(own) among \(files[0])")
      }
    }
  }

  func testSettingsThatWouldChangeTheNumbersAreRefused() throws {
    let refused: [(String, String, Any)] = [
      ("audio_config", "activation_function", "relu"), ("audio_config", "model_type", "clap_audio_model"),
      ("audio_config", "encoder_layers", 1), ("text_config", "hidden_act", "gelu"),
      ("text_config", "model_type", "gemma"),
    ]
    for (section, key, value) in refused {
      let folder = try alteredCheckpoint("qwen2_audio") { object in
        var inner = object[section] as? [String: Any] ?? [:]
        inner[key] = value
        object[section] = inner
      }
      defer { try? FileManager.default.removeItem(at: folder) }
      XCTAssertThrowsError(try Checkpoint(folder: folder), "\(key) \(value)") { error in
        XCTAssertEqual((error as? ConfigurationError)?.code, .unsupportedValue, "\(key): \(error)")
      }
    }
  }

  /// A mask with a hole, and sound too short for one row.
  func testBadMasksAreRefused() throws {
    let oracle = try OracleCase("qwen2_audio")
    let model = try Checkpoint(folder: Fixtures.url("qwen2_audio")).model
    let features = try media([0], oracle)[0]
    var hole = [Int](repeating: 1, count: 60)
    hole[5] = 0
    for (bits, code) in [
      (hole, "trace_wrong_value"), ([1, 1] + [Int](repeating: 0, count: 58), "prompt_unusable_medium"),
    ] {
      let mask = try StoredTensor(name: "feature_attention_mask", shape: [1, 60], integers: bits)
      XCTAssertThrowsError(try TraceInputs([features, mask], path: "mask", model: model)) { error in
        let found = (error as? TraceError)?.code.rawValue ?? (error as? PromptError)?.code.rawValue
        XCTAssertEqual(found, code, "\(error)")
      }
    }
  }
}
