import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// Qwen2.5-VL against transformers: every tensor of the case that Benchmarks/oracles/make_qwen2_5_vl.py makes.
final class Qwen2_5VLOracleTests: XCTestCase {
  private let contents = [
    "B": ["B"], "AB": ["A", "B"], "AV": ["A", "V"], "left": ["A", "V", "A", "B"], "text": [],
  ]

  func testEveryReferenceTensor() throws {
    let oracle = try OracleCase("qwen2_5_vl")
    let model = try XCTUnwrap(try Checkpoint(folder: Fixtures.url("qwen2_5_vl")).model as? Qwen2_5VLModel)
    for medium in ["A", "B", "V"] { try compareTower(medium, oracle, model) }
    for (name, media) in contents.sorted(by: { $0.key < $1.key }) {
      let run = try OracleRun(oracle, model, name, media: tensors(media, oracle))
      try run.compareDecoder()
      if name == "AV" { try run.compareGeneration("gen") }
      for (kind, modality) in [("image", Modality.image), ("video", .video)]
      where oracle.listed.contains("\(name).\(kind)_grid_thw") {
        let grids = try run.inputs.media.filter { $0.modality == modality }
          .map { try XCTUnwrap($0.layout.patchGrid) }
        try oracle.compare(
          grids.flatMap { [$0.time, $0.height, $0.width] }, with: "\(name).\(kind)_grid_thw")
      }
      if oracle.listed.contains("\(name).second_per_grid_ts") {
        let seconds = run.inputs.media.compactMap(\.layout.secondsPerStep)
        try oracle.compare(seconds.map { Float($0) }, with: "\(name).second_per_grid_ts", absolute: 0)
      }
    }
    oracle.finish()
  }

  private func compareTower(_ medium: String, _ oracle: OracleCase, _ model: Qwen2_5VLModel) throws {
    let tolerance = try OracleTolerance(oracle)
    let inputs = try TraceInputs(tensors([medium], oracle), path: medium, model: model)
    let names =
      ["vision.projected"] + (0..<3).flatMap { ["vision.layers.\($0).output", "vision.attention.\($0)"] }
    let outputs = try Trace(model, names: names).run(inputs)
    func output(_ name: String) throws -> StoredTensor {
      try XCTUnwrap(outputs.first { $0.name == name })
    }
    let grid = try XCTUnwrap(inputs.media[0].layout.patchGrid)
    let windows = grid.merged(by: 2).windows(side: 2).lengths.map { 4 * $0 }
    for layer in 0..<3 {
      try oracle.compare(
        output("vision.layers.\(layer).output").floats(), with: "vision\(medium).block.\(layer)",
        absolute: tolerance.hidden)
      let lengths = layer == 1 ? grid.frameLengths : windows
      try oracle.compare(lengths, with: "vision\(medium).segments.\(layer)")
      try oracle.compare(
        flattened(output("vision.attention.\(layer)"), lengths: lengths),
        with: "vision\(medium).attn.\(layer)",
        absolute: tolerance.attention)
    }
    let merged = try output("vision.projected").floats()
    try oracle.compare(merged, with: "vision\(medium).merged", absolute: tolerance.hidden)
    if oracle.listed.contains("vision\(medium).merged_f64") {
      try oracle.compare(merged, with: "vision\(medium).merged_f64", absolute: tolerance.hidden)
    }
  }

  /// `[segments, heads, longest, longest]` without the places that only longer segments have.
  private func flattened(_ tensor: StoredTensor, lengths: [Int]) throws -> [Float] {
    let values = try tensor.floats()
    let (heads, longest) = (tensor.shape[1], tensor.shape[3])
    XCTAssertEqual(tensor.shape, [lengths.count, heads, longest, longest])
    var result: [Float] = []
    for (segment, length) in lengths.enumerated() {
      for head in 0..<heads {
        for row in 0..<length {
          let start = ((segment * heads + head) * longest + row) * longest
          result += values[start..<start + length]
        }
      }
    }
    return result
  }

  private func tensors(_ media: [String], _ oracle: OracleCase) throws -> [StoredTensor] {
    let (images, videos) = (media.filter { $0 != "V" }, media.filter { $0 == "V" })
    var tensors: [StoredTensor] = []
    for (names, pixels, grids) in [
      (images, "pixel_values", "image_grid_thw"), (videos, "pixel_values_videos", "video_grid_thw"),
    ] where !names.isEmpty {
      tensors.append(try oracle.joined(names.map { "vision\($0).pixel_values" }, as: pixels))
      tensors.append(try oracle.joined(names.map { "vision\($0).grid_thw" }, as: grids))
    }
    if !videos.isEmpty {
      tensors.append(try oracle.stored("AV.second_per_grid_ts").renamed("second_per_grid_ts"))
    }
    return tensors
  }

  func testTheConfigurationOfTransformers5GivesTheSameLogits() throws {
    let oracle = try OracleCase("qwen2_5_vl")
    let folder = try alteredCheckpoint("qwen2_5_vl", configuration: "config.transformers5.json") { _ in }
    defer { try? FileManager.default.removeItem(at: folder) }
    let runs = try [Fixtures.url("qwen2_5_vl"), folder].map {
      try OracleRun(oracle, Checkpoint(folder: $0).model, "AV", media: tensors(["A", "V"], oracle))
    }
    XCTAssertEqual(try runs[0].values("logits"), try runs[1].values("logits"))
  }

  /// A video is a grid for each step, with the role video.
  func testTheSpanMapHasAGridForEachStep() throws {
    let oracle = try OracleCase("qwen2_5_vl")
    let model = try Checkpoint(folder: Fixtures.url("qwen2_5_vl")).model
    let inputs = try TraceInputs(
      tensors(["A", "V"], oracle) + [oracle.stored("AV.input_ids").renamed("input_ids")], path: "AV",
      model: model)
    let ids = inputs.rows[0].ids
    let prompt = try model.expand(
      ids: ids, pieces: ids.map(String.init), roles: ids.map { _ in .question }, media: inputs.media,
      promptCount: ids.count, sample: "AV")
    let roles: [Int: Role] = [256: .separator, 257: .separator, 258: .image, 259: .video]
    XCTAssertEqual(prompt.spans.roles, ids.map { roles[$0] ?? .question })
    XCTAssertEqual(
      prompt.spans.spans.compactMap(\.grid),
      [SpanMap.Grid(rows: 2, columns: 3)] + Array(repeating: SpanMap.Grid(rows: 3, columns: 2), count: 3))
  }

  func testSettingsThatWouldChangeTheNumbersAreRefused() throws {
    for (key, value) in [("hidden_act", "gelu"), ("in_chans", 1), ("depth", 2)] as [(String, Any)] {
      let folder = try alteredCheckpoint("qwen2_5_vl") { object in
        var vision = object["vision_config"] as? [String: Any] ?? [:]
        vision[key] = value
        object["vision_config"] = vision
      }
      defer { try? FileManager.default.removeItem(at: folder) }
      XCTAssertThrowsError(try Checkpoint(folder: folder), key) { error in
        XCTAssertEqual((error as? ConfigurationError)?.code, .unsupportedValue, "\(key): \(error)")
      }
    }
  }

  /// Windows of a grid that they do not divide: full ones, those at the edges, the corner.
  func testWindowsAtTheEdgesAreSmaller() {
    let (order, lengths) = Medium.PatchGrid(time: 2, height: 3, width: 3).windows(side: 2)
    XCTAssertEqual(lengths, [4, 2, 2, 1, 4, 2, 2, 1])
    XCTAssertEqual(order, [0, 1, 3, 4, 2, 5, 6, 7, 8, 9, 10, 12, 13, 11, 14, 15, 16, 17])
  }
}
