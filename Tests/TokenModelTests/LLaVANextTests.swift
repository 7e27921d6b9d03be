import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// LLaVA-NeXT against transformers: tiles, padding, newlines, every key layout.
final class LLaVANextTests: XCTestCase {
  private let media = ["pixel_values", "image_sizes"]

  func testEveryReferenceTensor() throws {
    for configuration in ["config.json", "config.transformers5.json"] {
      let family = try FamilyCase(
        "llava_next", model: FamilyCase.model("llava_next", configuration: configuration))
      let oracle = family.oracle
      for prefix in ["A", "B", "AC", "left", "text"] {
        try family.compareDecoder(prefix, family.inputs(prefix) + family.inputs(prefix, media))
      }
      let counts = try XCTUnwrap(oracle.description["rows_per_image"])
      for prefix in ["A", "B", "C"] {
        let images = try family.model.media(
          from: MediaTensors(family.inputs(prefix, media), path: "llava_next"))
        XCTAssertEqual(family.model.rowCount(of: images[0]), counts[prefix]?.intValue)
        try oracle.compare(
          family.model.mediumEmbeddings(images[0]).hostValues(), with: "\(prefix).image_features",
          absolute: family.bound("hidden_abs"))
        // The picture itself is for the tests of preprocessing.
        _ = try oracle.stored("\(prefix).image_u8")
      }
      try family.compareTower(
        family.inputs("B", media),
        [("B.image_features", "vision.projected")]
          + (0...3).map { ("B.vision.hidden.\($0)", "vision.hidden.\($0)") }
          + (0..<3).map { ("B.vision.attn.\($0)", "vision.attention.\($0)") })
      try compareGeneration(family)
      oracle.finish()
    }
  }

  private func compareGeneration(_ family: FamilyCase) throws {
    let raw = try TraceInputs(
      family.inputs("B") + family.inputs("B", media), path: "B", model: family.model)
    let prompt = try prompt(family.model, raw.rows[0].ids, raw.media)
    var generator = Generator(family.model)
    generator.limit = 12
    generator.endIDs = []
    var steps: [Float] = []
    generator.onLogits = { _, logits in steps += logits.hostValues() }
    let answer = try generator.answers(to: Generator.Start([prompt], model: family.model))[0]
    try family.oracle.compare(answer.ids, with: "gen.generated_ids")
    try family.oracle.compare(
      steps, with: "gen.step_logits", absolute: family.bound("logits_abs_vs_f32"))
  }

  private func prompt(_ model: any LanguageModel, _ ids: [Int], _ media: [Medium]) throws -> Prompt {
    try model.expand(
      ids: ids, pieces: ids.map(String.init), roles: ids.map { _ in .question }, media: media,
      promptCount: ids.count, sample: "s")
  }

  func testNewlinesAreSeparators() throws {
    let family = try FamilyCase("llava_next", model: FamilyCase.model("llava_next"))
    let raw = try TraceInputs(
      family.inputs("B") + family.inputs("B", media), path: "B", model: family.model)
    let long = try prompt(family.model, raw.rows[0].ids, raw.media)
    // 61 x 26 in 84 x 28: 12 lines, of 5.1 patches 4 after the padding of whole patches, and the overview of 16.
    let spans = long.spans.spans.filter { $0.medium != nil }
    let lines = spans.dropFirst()
    XCTAssertEqual(spans[0].grid, SpanMap.Grid(rows: 4, columns: 4))
    XCTAssertEqual(lines.count { $0.role == .separator }, lines.count { $0.role == .image })
    XCTAssertEqual(
      spans.reduce(0) { $0 + $1.positions.count },
      try XCTUnwrap(family.oracle.description["rows_per_image"]?["B"]?.intValue))
    XCTAssertTrue(lines.allSatisfy { $0.role != .separator || ($0.grid == nil && $0.positions.count == 1) })
    // One placeholder gives the same roles and rows.
    let ids = raw.rows[0].ids
    let first = try XCTUnwrap(ids.firstIndex(of: 512))
    let short = try prompt(family.model, ids.filter { $0 != 512 }.inserting(512, at: first), raw.media)
    XCTAssertEqual(short.spans.roles, long.spans.roles)
    XCTAssertEqual(family.model.embeddings(short), family.model.embeddings(long))
  }

  func testEveryKeyLayoutLoads() throws {
    let folder = Fixtures.url("llava_next")
    let files = try ShardedTensors(folder: folder.path)
    let layouts = try XCTUnwrap(Fixtures.json("llava_next/key_layouts.json").objectValue)
    XCTAssertEqual(layouts.keys.count, 3)
    let family = try FamilyCase("llava_next", model: FamilyCase.model("llava_next"))
    let inputs = try family.inputs("AC") + family.inputs("AC", media)
    func states(_ model: any LanguageModel) throws -> [Float] {
      try Trace(model, names: ["finalNorm"]).run(TraceInputs(inputs, path: "AC", model: model))[0].floats()
    }
    let reference = try states(family.model)
    let keys = LLaVANextModel.keys
    let own = Dictionary(
      uniqueKeysWithValues: try files.tensors.map { (try XCTUnwrap(keys.ownName(of: $0.name)), $0) })
    for (layout, list) in layouts.members {
      let tensors = try XCTUnwrap(list.arrayValue).compactMap(\.stringValue).map { name in
        try XCTUnwrap(own[try XCTUnwrap(keys.ownName(of: name))], name).renamed(name)
      }
      XCTAssertEqual(tensors.count, files.tensors.count)
      let temporary = try TemporaryDirectory()
      try SafetensorsWriter.write(tensors: tensors, to: temporary.path + "/model.safetensors")
      let object = try XCTUnwrap(Fixtures.json("llava_next/config.json").objectValue)
      let model = try FamilyCase.load(object, WeightSource(ShardedTensors(folder: temporary.path)))
      XCTAssertEqual(try states(model), reference, layout)
    }
  }

  /// The arrangement of published checkpoints, against the reference's function for many sizes.
  func testTilesOfManySizes() throws {
    let arrangement = try TileArrangement(.withoutKeys, tileSize: 336, patchSize: 14)
    // By hand: 640 x 480 fills 672 x 672 to 504 x 672; patches of 48 lines, 36 of them visible.
    XCTAssertEqual(
      arrangement.bestSize(for: .init(height: 480, width: 640)), .init(height: 672, width: 672))
    XCTAssertEqual(arrangement.visiblePatches(of: .init(height: 480, width: 640)).rows, 6..<42)
    XCTAssertEqual(arrangement.visiblePatches(of: .init(height: 480, width: 640)).columns, 0..<48)
    XCTAssertEqual(arrangement.tileCount(of: .init(height: 1000, width: 200)), 4)
    for height in stride(from: 1, to: 1500, by: 97) {
      for width in stride(from: 1, to: 1500, by: 89) {
        let visible = arrangement.visiblePatches(of: .init(height: height, width: width))
        XCTAssertFalse(visible.rows.isEmpty && visible.columns.isEmpty)
      }
    }
  }

  func testWhatDoesNotFitIsRefused() throws {
    for (key, value) in [
      ("vision_feature_select_strategy", "full"), ("use_image_newline_parameter", false),
    ] as [(String, JSONValue)] {
      XCTAssertThrowsError(try FamilyCase.model("llava_next", changing: [key: value])) { error in
        XCTAssertEqual((error as? ConfigurationError)?.exitStatus, .unsupported)
        XCTAssertTrue(error.localizedDescription.contains(key))
      }
    }
    // No multiple of a tile; and more tiles than an image is cut into.
    for pinpoints in [[[28, 30]], [[65520, 65520]], [[28, 7196]]] as [JSONValue] {
      XCTAssertThrowsError(
        try FamilyCase.model("llava_next", changing: ["image_grid_pinpoints": pinpoints])
      ) { XCTAssertEqual(($0 as? ConfigurationError)?.code, .outOfRange) }
    }
    let family = try FamilyCase("llava_next", model: FamilyCase.model("llava_next"))
    func message(_ tensors: [StoredTensor]) -> String {
      do {
        _ = try TraceInputs(tensors, path: "in", model: family.model)
        return ""
      } catch { return error.localizedDescription }
    }
    let pixels = try family.inputs("B", ["pixel_values"])
    XCTAssertEqual(message(pixels), "in: no tensor \"image_sizes\"")
    let sizes = try StoredTensor(name: "image_sizes", shape: [1, 2], integers: [50, 50])
    XCTAssertEqual(
      message(pixels + [sizes]),
      "in: \"pixel_values\" has shape [1, 4, 3, 28, 28], expected at least 5 tiles for image 0 of 50 x 50")
    for size in [[1 << 40, 1 << 40], [Int.max, Int.max], [1, 1 << 31], [0, 5]] {
      let sizes = try StoredTensor(name: "image_sizes", shape: [1, 2], integers: size)
      XCTAssertEqual(
        message(pixels + [sizes]),
        "in: \"image_sizes\" holds \(size[0]) x \(size[1]), expected sizes from 1 to 1073741824")
    }
  }
}

extension Array {
  /// With an element put in.
  fileprivate func inserting(_ element: Element, at index: Int) -> [Element] {
    var copy = self
    copy.insert(element, at: index)
    return copy
  }
}
