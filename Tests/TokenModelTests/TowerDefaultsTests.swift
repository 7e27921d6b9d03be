import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// Configurations leave out fields that equal the defaults of their class: what the towers read then is compared with the
/// classes of transformers, field by field or by the shapes of the weights they ask for.
final class TowerDefaultsTests: XCTestCase {
  private func reader(_ text: String) throws -> ConfigurationReader {
    try ConfigurationReader(path: "config.json", bytes: Array(text.utf8))
  }

  private func defaults(_ model: String, _ section: String) throws -> JSONObject {
    let all = try Fixtures.json("config_defaults/expected.json")
    return try XCTUnwrap(all[model]?[section]?.objectValue)
  }

  /// The shapes of all weights that a tower asks for.
  private func shapes(_ load: (WeightSource) throws -> Void) throws -> [String: [Int]] {
    var shapes: [String: [Int]] = [:]
    try load(
      WeightSource(in: "memory") { name, shape in
        shapes[name] = shape
        return Tensor(zeros: shape)
      })
    return shapes
  }

  func testQwen2VL() throws {
    let expected = try defaults("qwen2_vl", "vision_config")
    func number(_ key: String) throws -> Int { try XCTUnwrap(expected[key]?.intValue, key) }
    let sizes = try QwenVisionSizes(reader("{}"))
    XCTAssertEqual(sizes.depth, try number("depth"))
    XCTAssertEqual(sizes.heads, try number("num_heads"))
    XCTAssertEqual(sizes.patchSize, try number("patch_size"))
    XCTAssertEqual(sizes.temporalPatchSize, try number("temporal_patch_size"))
    XCTAssertEqual(sizes.mergeSize, try number("spatial_merge_size"))
    XCTAssertEqual(sizes.channels, try number("in_channels"))
    XCTAssertEqual(sizes.rotaryBase, expected["rope_parameters"]?["rope_theta"]?.doubleValue)
    let hidden = try number("hidden_size")
    let found = try shapes {
      _ = try Qwen2VisionTower(reader(#"{"depth": 1}"#), outputWidth: hidden, weights: $0)
    }
    let width = try number("embed_dim")
    XCTAssertEqual(found["patch_embed.proj.weight"], [width, 3, 2, 14, 14])
    XCTAssertEqual(found["blocks.0.mlp.fc1.weight"], [try number("mlp_ratio") * width, width])
    XCTAssertEqual(found["merger.mlp.2.weight"], [hidden, 4 * width])
    for (model, key) in [("qwen2_vl", "image_token_id"), ("qwen2_vl", "vision_end_token_id")] {
      XCTAssertEqual(
        try Fixtures.json("config_defaults/expected.json")[model]?[key]?.intValue,
        key == "image_token_id" ? 151_655 : 151_653)
    }
  }

  func testIdefics3AndSmolVLM() throws {
    for model in ["idefics3", "smolvlm"] {
      let expected = try defaults(model, "vision_config")
      func number(_ key: String) throws -> Int { try XCTUnwrap(expected[key]?.intValue, key) }
      let width = try number("hidden_size")
      let found = try shapes {
        _ = try IdeficsVisionTower(
          reader(#"{"vision_config": {"num_hidden_layers": 1}}"#), outputWidth: 8, weights: $0)
      }
      let (patch, side) = (try number("patch_size"), try number("image_size") / number("patch_size"))
      XCTAssertEqual(
        found["vision_model.embeddings.patch_embedding.weight"],
        [width, try number("num_channels"), patch, patch])
      XCTAssertEqual(
        found["vision_model.embeddings.position_embedding.weight"], [side * side, width])
      XCTAssertEqual(
        found["vision_model.encoder.layers.0.mlp.fc1.weight"], [try number("intermediate_size"), width])
      let scale = try XCTUnwrap(
        Fixtures.json("config_defaults/expected.json")[model]?["scale_factor"]?.intValue)
      XCTAssertEqual(found["connector.modality_projection.proj.weight"], [8, width * scale * scale])
      let whole = try shapes {
        _ = try IdeficsVisionTower(
          reader(#"{"vision_config": {"hidden_size": 16, "num_attention_heads": 2}}"#), outputWidth: 8,
          weights: $0)
      }
      XCTAssertEqual(
        whole.keys.count { $0.hasSuffix("layer_norm1.weight") }, try number("num_hidden_layers"))
    }
  }

  func testQwen2Audio() throws {
    let expected = try defaults("qwen2_audio", "audio_config")
    func number(_ key: String) throws -> Int { try XCTUnwrap(expected[key]?.intValue, key) }
    let width = try number("d_model")
    let found = try shapes {
      _ = try WhisperEncoder(reader(#"{"encoder_layers": 1}"#), weights: $0)
    }
    XCTAssertEqual(found["conv1.weight"], [width, try number("num_mel_bins"), 3])
    XCTAssertEqual(found["embed_positions.weight"], [try number("max_source_positions"), width])
    XCTAssertEqual(found["layers.0.fc1.weight"], [try number("encoder_ffn_dim"), width])
    let whole = try shapes {
      _ = try WhisperEncoder(reader(#"{"d_model": 20, "encoder_ffn_dim": 4}"#), weights: $0)
    }
    XCTAssertEqual(whole.keys.count { $0.hasSuffix("fc1.weight") }, try number("encoder_layers"))
  }
}
