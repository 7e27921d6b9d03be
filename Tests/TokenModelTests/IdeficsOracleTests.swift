import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// Idefics3 and SmolVLM against transformers: every tensor of the cases.
final class IdeficsOracleTests: XCTestCase {
  func testIdefics3() throws { try compareCase("idefics3") }
  func testSmolVLM() throws { try compareCase("smolvlm") }

  private func compareCase(_ name: String) throws {
    let oracle = try OracleCase(name)
    let model = try Checkpoint(folder: Fixtures.url(name)).model
    let tolerance = try OracleTolerance(oracle)
    let inputs = try TraceInputs(media([0, 1], oracle), path: name, model: model)
    // The fourth tile is all 0: padding of the batch.
    XCTAssertEqual(inputs.media.count, 3)
    let names =
      ["vision.projected", "vision.finalNorm"]
      + (0..<2).flatMap { ["vision.layers.\($0).output", "vision.attention.\($0)"] }
    let outputs = try Trace(model, names: names).run(inputs)
    func values(_ name: String) throws -> [Float] {
      try XCTUnwrap(outputs.first { $0.name == name }).floats()
    }
    for layer in 0..<2 {
      try oracle.compare(
        values("vision.layers.\(layer).output"), with: "vision.layer.\(layer)", absolute: tolerance.hidden)
      try oracle.compare(
        values("vision.attention.\(layer)"), with: "vision.attn.\(layer)", absolute: tolerance.attention)
    }
    try oracle.compare(
      values("vision.finalNorm"), with: "vision.last_hidden_state", absolute: tolerance.hidden)
    try oracle.compare(values("vision.projected"), with: "image_features", absolute: tolerance.hidden)
    for (name, samples) in [("two", [0]), ("left", [0, 1]), ("text", [])] {
      try OracleRun(oracle, model, name, media: media(samples, oracle)).compareDecoder()
    }
    oracle.finish()
  }

  private func media(_ samples: [Int], _ oracle: OracleCase) throws -> [StoredTensor] {
    if samples.isEmpty { return [] }
    let (pixels, mask) = (try oracle.stored("pixel_values"), try oracle.stored("pixel_attention_mask"))
    let (values, bits) = (try pixels.floats(), try mask.integers())
    let (size, area) = (values.count / 2, bits.count / 2)
    return [
      try StoredTensor(
        name: "pixel_values", shape: [samples.count] + pixels.shape.dropFirst(),
        floats: samples.flatMap { values[$0 * size..<($0 + 1) * size] }),
      try StoredTensor(
        name: "pixel_attention_mask", shape: [samples.count] + mask.shape.dropFirst(),
        integers: samples.flatMap { bits[$0 * area..<($0 + 1) * area] }),
    ]
  }

  func testTheConfigurationOfTransformers5GivesTheSameLogits() throws {
    for name in ["idefics3", "smolvlm"] {
      let oracle = try OracleCase(name)
      let folder = try alteredCheckpoint(name, configuration: "config.transformers5.json") { _ in }
      defer { try? FileManager.default.removeItem(at: folder) }
      let runs = try [Fixtures.url(name), folder].map {
        try OracleRun(oracle, Checkpoint(folder: $0).model, "two", media: media([0], oracle))
      }
      XCTAssertEqual(try runs[0].values("logits"), try runs[1].values("logits"), name)
    }
  }

  func testSettingsThatWouldChangeTheNumbersAreRefused() throws {
    let refused: [(String?, String, Any, ConfigurationError.Code)] = [
      ("vision_config", "hidden_act", "relu", .unsupportedValue),
      ("vision_config", "model_type", "clip_vision_model", .unsupportedValue),
      ("vision_config", "num_hidden_layers", 1, .unsupportedValue),
      ("text_config", "hidden_act", "gelu", .unsupportedValue),
      ("text_config", "model_type", "phi3", .unsupportedValue),
      (nil, "scale_factor", 5, .wrongShape), ("vision_config", "patch_size", 5, .wrongShape),
    ]
    for (section, key, value, code) in refused {
      let folder = try alteredCheckpoint("idefics3") { object in
        guard let section else { return object[key] = value }
        var inner = object[section] as? [String: Any] ?? [:]
        inner[key] = value
        object[section] = inner
      }
      defer { try? FileManager.default.removeItem(at: folder) }
      XCTAssertThrowsError(try Checkpoint(folder: folder), "\(key) \(value)") { error in
        XCTAssertEqual((error as? ConfigurationError)?.code, code, "\(key): \(error)")
      }
    }
  }

  /// Tile by tile, with the marks of the processor between the tiles.
  func testTheRowsOfTilesStandBetweenTheirMarks() throws {
    let model = try Checkpoint(folder: Fixtures.url("smolvlm")).model
    var layout = Medium.Layout()
    layout.tiles = Medium.Extent(height: 1, width: 2)
    let shape = [3, 3, 24, 24]
    let medium = Medium(
      modality: .image, shape: shape, values: .numbers([Float](repeating: 0.5, count: shape.reduce(1, *))),
      layout: layout, identity: "tiles")
    try model.validate(medium, sample: "tiles")
    XCTAssertEqual(model.rowCount(of: medium), 12)
    let tile = [Int](repeating: 199, count: 4)
    let ids = [5, 198, 10] + tile + [198, 11] + tile + [12, 198, 13] + tile + [198, 6]
    let known: [Int: Role] = [10: .separator, 198: .separator, 5: .question, 6: .question]
    let prompt = try model.expand(
      ids: ids, pieces: ids.map(String.init), roles: ids.map { known[$0] ?? .instruction }, media: [medium],
      promptCount: ids.count, sample: "tiles")
    XCTAssertEqual(
      prompt.spans.roles,
      ids.map { $0 == 199 ? .image : $0 == 5 || $0 == 6 ? .question : .separator })
    XCTAssertEqual(
      prompt.spans.spans.compactMap(\.grid), Array(repeating: SpanMap.Grid(rows: 2, columns: 2), count: 3))
    XCTAssertEqual(model.embeddings(prompt).shape, [ids.count, 36])
  }

  /// The written-out prompt of an image in 1 x 2 tiles.
  func testThePromptWritesOutTilesAndOverview() throws {
    let model = try Checkpoint(folder: Fixtures.url("smolvlm")).model
    var layout = Medium.Layout()
    layout.tiles = Medium.Extent(height: 1, width: 2)
    let shape = [3, 3, 24, 24]
    let medium = Medium(
      modality: .image, shape: shape, values: .numbers([Float](repeating: 0, count: shape.reduce(1, *))),
      layout: layout, identity: "tiles")
    let parts = try model.format(Sample(id: "tiles", media: [medium], question: "what ?"))
    let text = parts.map { part in
      switch part {
      case .text(let text, _): text
      case .placeholder: "#"
      case .begin: "^"
      case .end: "$"
      }
    }.joined()
    let fake = "<fake_token_around_image>"
    XCTAssertEqual(
      text,
      "^User:\(fake)<row_1_col_1>####\(fake)<row_1_col_2>####\n\n\(fake)<global-img>####\(fake)what ?"
        + "<end_of_utterance>\nAssistant:")
  }

  /// Places in the position table for images of fewer patches than it has; torch.bucketize computes the same.
  func testFractionalPositionsSpreadOverTheTable() {
    XCTAssertEqual(IdeficsVisionTower.buckets(visible: 6, count: 6, tableSide: 6), [0, 1, 2, 3, 4, 5])
    XCTAssertEqual(IdeficsVisionTower.buckets(visible: 3, count: 6, tableSide: 6), [0, 2, 4, 5, 5, 5])
    XCTAssertEqual(IdeficsVisionTower.buckets(visible: 4, count: 4, tableSide: 6), [0, 1, 3, 4])
    XCTAssertEqual(IdeficsVisionTower.buckets(visible: 1, count: 1, tableSide: 1), [0])
    for side in [26, 27, 32] {
      XCTAssertEqual(
        IdeficsVisionTower.buckets(visible: side, count: side, tableSide: side), Array(0..<side))
    }
    XCTAssertEqual(
      IdeficsVisionTower.buckets(visible: 20, count: 27, tableSide: 27),
      [0, 1, 2, 4, 5, 6, 8, 9, 10, 12, 13, 14, 16, 17, 18, 20, 21, 22, 24, 25]
        + [Int](repeating: 26, count: 7))
    XCTAssertEqual(
      IdeficsVisionTower.buckets(visible: 20, count: 20, tableSide: 32),
      [0, 1, 3, 4, 6, 8, 9, 11, 12, 14, 16, 17, 19, 20, 22, 24, 25, 27, 28, 30])
  }
}
