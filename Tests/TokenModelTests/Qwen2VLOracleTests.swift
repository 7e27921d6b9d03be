import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// Qwen2-VL against transformers: every tensor of the case.
final class Qwen2VLOracleTests: XCTestCase {
  func testEveryReferenceTensor() throws {
    let oracle = try OracleCase("qwen2_vl")
    let model = try Checkpoint(folder: Fixtures.url("qwen2_vl")).model
    let tolerance = try OracleTolerance(oracle)
    for image in ["A", "B"] {
      let inputs = try TraceInputs(media([image], oracle), path: image, model: model)
      let names =
        ["vision.projected"]
        + (0..<2).flatMap { ["vision.layers.\($0).output", "vision.attention.\($0)"] }
      let outputs = try Trace(model, names: names).run(inputs)
      func values(_ name: String) throws -> [Float] {
        try XCTUnwrap(outputs.first { $0.name == name }).floats()
      }
      for layer in 0..<2 {
        try oracle.compare(
          values("vision.layers.\(layer).output"), with: "vision\(image).block.\(layer)",
          absolute: tolerance.hidden)
        guard image == "B" else { continue }
        try oracle.compare(
          values("vision.attention.\(layer)"), with: "visionB.attn.\(layer)", absolute: tolerance.attention)
      }
      try oracle.compare(
        values("vision.projected"), with: "vision\(image).merged", absolute: tolerance.hidden)
    }
    for (name, images) in [("B", ["B"]), ("AB", ["B", "A"]), ("left", ["B", "A"]), ("text", [])] {
      let run = try OracleRun(oracle, model, name, media: media(images, oracle))
      try run.compareDecoder()
      if name == "B" { try run.compareGeneration("gen") }
      if !images.isEmpty {
        let grids = try run.inputs.media.map { try XCTUnwrap($0.layout.patchGrid) }
        try oracle.compare(grids.flatMap { [$0.time, $0.height, $0.width] }, with: "\(name).image_grid_thw")
      }
    }
    // The image from which visionA.pixel_values were made is for the tests of preprocessing.
    oracle.finish { $0 == "visionA.image_u8" }
  }

  private func media(_ images: [String], _ oracle: OracleCase) throws -> [StoredTensor] {
    if images.isEmpty { return [] }
    return [
      try oracle.joined(images.map { "vision\($0).pixel_values" }, as: "pixel_values"),
      try oracle.joined(images.map { "vision\($0).grid_thw" }, as: "image_grid_thw"),
    ]
  }

  /// transformers 5 writes the same settings and names in other places; the numbers must not change.
  func testTheOtherLayoutsGiveTheSameLogits() throws {
    let oracle = try OracleCase("qwen2_vl")
    let folder = try alteredCheckpoint("qwen2_vl", configuration: "config.transformers5.json") { _ in }
    defer { try? FileManager.default.removeItem(at: folder) }
    let published = try OracleRun(
      oracle, Checkpoint(folder: Fixtures.url("qwen2_vl")).model, "AB", media: media(["B", "A"], oracle))
    let current = try OracleRun(
      oracle, Checkpoint(folder: folder).model, "AB", media: media(["B", "A"], oracle))
    XCTAssertEqual(try published.values("logits"), try current.values("logits"))

    let layouts = try Fixtures.json("qwen2_vl/key_layouts.json")
    let names = try XCTUnwrap(layouts["hub"]?.arrayValue).compactMap(\.stringValue)
    XCTAssertEqual(names.count, 70)
    // Inside transformers 4.52 and later both parts are under "model".
    let inner = names.map { name in
      name.hasPrefix("visual.")
        ? "model." + name
        : name.hasPrefix("model.") ? "model.language_model." + name.dropFirst(6) : name
    }
    for files in [names, inner] {
      let layout = Qwen2VLModel.keys.resolved(in: files)
      XCTAssertTrue(files.contains(layout.name(of: "model.layers.2.mlp.up_proj.weight")), files[1])
      XCTAssertTrue(files.contains(layout.name(of: "visual.merger.ln_q.bias")), files[1])
      XCTAssertTrue(files.contains(layout.name(of: "lm_head.weight")), files[1])
    }
  }

  func testSettingsThatWouldChangeTheNumbersAreRefused() throws {
    func change(_ section: String?, _ key: String, _ value: Any) -> (inout [String: Any]) -> Void {
      { object in
        guard let section else { return object[key] = value }
        var inner = object[section] as? [String: Any] ?? [:]
        inner[key] = value
        object[section] = inner
      }
    }
    let refused: [(String?, String, Any)] = [
      (nil, "hidden_act", "gelu"), (nil, "use_sliding_window", true), ("vision_config", "hidden_act", "relu"),
      ("vision_config", "in_chans", 4), ("vision_config", "model_type", "clip_vision_model"),
      ("vision_config", "rope_parameters", ["rope_type": "default"]),
      ("rope_scaling", "type", "yarn"), ("vision_config", "depth", 1), (nil, "num_hidden_layers", 2),
    ]
    for (section, key, value) in refused {
      let folder = try alteredCheckpoint("qwen2_vl") { object in
        change(section, key, value)(&object)
        if key == "use_sliding_window" {
          object["max_window_layers"] = 0
          object["sliding_window"] = 16
        }
      }
      defer { try? FileManager.default.removeItem(at: folder) }
      XCTAssertThrowsError(try Checkpoint(folder: folder), "\(key) \(value)") { error in
        XCTAssertEqual((error as? ConfigurationError)?.code, .unsupportedValue, "\(key): \(error)")
        XCTAssertEqual((error as? ConfigurationError)?.exitStatus, .unsupported, key)
      }
    }
    let without = try alteredCheckpoint("qwen2_vl") { $0["rope_scaling"] = nil }
    defer { try? FileManager.default.removeItem(at: without) }
    XCTAssertThrowsError(try Checkpoint(folder: without)) { error in
      XCTAssertEqual((error as? ConfigurationError)?.code, .missingKey, "\(error)")
    }
  }

  /// The span map comes from the grids: rows of images, and the marks around them.
  func testTheSpanMapFollowsTheGrids() throws {
    let oracle = try OracleCase("qwen2_vl")
    let model = try Checkpoint(folder: Fixtures.url("qwen2_vl")).model
    let inputs = try TraceInputs(
      media(["B", "A"], oracle) + [oracle.stored("AB.input_ids").renamed("input_ids")], path: "AB",
      model: model)
    let ids = inputs.rows[0].ids
    let prompt = try model.expand(
      ids: ids, pieces: ids.map(String.init), roles: ids.map { _ in .question }, media: inputs.media,
      promptCount: ids.count, sample: "AB")
    let expected = ids.map { $0 == 258 ? Role.image : $0 == 256 || $0 == 257 ? .separator : .question }
    XCTAssertEqual(prompt.spans.roles, expected)
    XCTAssertEqual(
      prompt.spans.spans.compactMap(\.grid),
      [SpanMap.Grid(rows: 2, columns: 3), SpanMap.Grid(rows: 3, columns: 4)])
    // One placeholder for each image gives the same rows.
    let short = ids.enumerated().filter { $0.offset == 0 || $0.element != 258 || ids[$0.offset - 1] != 258 }
      .map(\.element)
    let again = try model.expand(
      ids: short, pieces: short.map(String.init), roles: short.map { _ in .question }, media: inputs.media,
      promptCount: short.count, sample: "AB")
    XCTAssertEqual(again.spans.roles, expected)
    XCTAssertEqual(again.positions, prompt.positions)
  }
}
