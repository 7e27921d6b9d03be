import Foundation
import RunKit
import TensorCore
import TestSupport
import TokenModel
import XCTest

@testable import Analysis

/// Probes on the families whose media are prepared numbers: the groups follow the real grids, and generation goes on.
final class MediaFamilyProbeTests: XCTestCase {
  /// A fixture with a tokenizer of 150 pieces, whose ids are below every placeholder.
  private func folder(_ fixture: String) throws -> URL {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(
      "\(fixture)-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    for (from, name) in [
      ("\(fixture)/config.json", "config.json"), ("\(fixture)/model.safetensors", "model.safetensors"),
      ("small_tokenizer/tokenizer.model", "tokenizer.model"),
    ] {
      try FileManager.default.copyItem(at: Fixtures.url(from), to: folder.appendingPathComponent(name))
    }
    return folder
  }

  private func medium(
    _ modality: Modality, shape: [Int], _ change: (inout Medium.Layout) -> Void
  ) -> Medium {
    var layout = Medium.Layout()
    change(&layout)
    return Medium(
      modality: modality, shape: shape,
      values: .numbers(randomTensor(shape, seed: 11, scale: 2).hostValues()),
      layout: layout, identity: modality.rawValue)
  }

  private func check(_ fixture: String, _ media: [Medium], rows: [Role: Int], separators: Int) throws {
    let folder = try folder(fixture)
    defer { try? FileManager.default.removeItem(at: folder) }
    let checkpoint = try Checkpoint(folder: folder)
    let configuration = checkpoint.model.decoder.configuration
    let sample = Sample(id: fixture, media: media, question: "what is in the image ?")
    let prompt = try checkpoint.prompt(for: sample)
    let counts = Dictionary(uniqueKeysWithValues: prompt.spans.counts.map { ($0.role, $0.count) })
    for (role, count) in rows { XCTAssertEqual(counts[role], count, "\(fixture) \(role)") }
    XCTAssertGreaterThanOrEqual(counts[.separator] ?? 0, separators, fixture)
    XCTAssertGreaterThan(counts[.question] ?? 0, 0, fixture)

    let definition = AttentionDefinition(
      queries: .last, layers: Array(0..<configuration.layerCount),
      heads: Array(0..<configuration.headCount))
    let record = try AttentionProbe(checkpoint, definition: definition).record(of: sample, keepsKeys: true)
    XCTAssertEqual(record.nonfiniteCount, 0, fixture)
    XCTAssertLessThan(record.rowSumError, 1e-5, fixture)
    // Ids, since a random model also generates those without a piece.
    var generator = Generator(checkpoint.model)
    generator.limit = 4
    generator.endIDs = []
    let answers = try generator.answers(to: Generator.Start([prompt], model: checkpoint.model))
    XCTAssertEqual(answers.map(\.ids.count), [4], fixture)
    let groups = definition.groups.map(\.name)
    let heads = configuration.layerCount * configuration.headCount
    for head in 0..<heads {
      let own = record.share[head * groups.count..<(head + 1) * groups.count]
      XCTAssertEqual(own.reduce(0, +), 1, accuracy: 1e-5, "\(fixture) head \(head)")
      for role in rows.keys {
        let group = try XCTUnwrap(groups.firstIndex(of: role.rawValue))
        XCTAssertGreaterThan(own[own.startIndex + group], 0, "\(fixture) head \(head) \(role)")
      }
    }
  }

  func testQwen2VL() throws {
    let image = medium(.image, shape: [48, 96]) { $0.patchGrid = .init(time: 1, height: 6, width: 8) }
    try check("qwen2_vl", [image], rows: [.image: 12], separators: 1)
  }

  func testQwen2_5VLWithAVideo() throws {
    let image = medium(.image, shape: [24, 96]) { $0.patchGrid = .init(time: 1, height: 4, width: 6) }
    let video = medium(.video, shape: [72, 96]) {
      $0.patchGrid = .init(time: 3, height: 4, width: 6)
      $0.secondsPerStep = 1
    }
    try check("qwen2_5_vl", [image, video], rows: [.image: 6, .video: 18], separators: 1)
  }

  func testQwen2Audio() throws {
    let sound = medium(.audio, shape: [20, 60]) { $0.frameCount = 41 }
    try check("qwen2_audio", [sound], rows: [.audio: 10], separators: 1)
  }

  func testIdefics3WithTiles() throws {
    let image = medium(.image, shape: [3, 3, 24, 24]) { $0.tiles = .init(height: 2, width: 1) }
    try check("idefics3", [image], rows: [.image: 27], separators: 4)
  }

  func testSmolVLM() throws {
    let image = medium(.image, shape: [1, 3, 24, 24]) { $0.tiles = .init(height: 0, width: 0) }
    try check("smolvlm", [image], rows: [.image: 4], separators: 2)
  }

  /// A report shows patches put together again, for each step in time.
  func testPatchesBecomeAPictureAgain() throws {
    // Two steps of 8 x 12 pixels in patches of 2 x 2, merged 2 x 2; a pixel's number says where it is.
    func number(_ step: Int, _ channel: Int, _ row: Int, _ column: Int) -> Float {
      Float(((step * 3 + channel) * 8 + row) * 12 + column)
    }
    var numbers: [Float] = []
    for step in 0..<2 {
      for (top, left) in (0..<2).flatMap({ top in (0..<3).map { (top, $0) } }) {
        for (inRow, inColumn) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
          for channel in 0..<3 {
            for frame in 0..<2 {
              for pixel in 0..<4 {
                let row = (2 * top + inRow) * 2 + pixel / 2
                let column = (2 * left + inColumn) * 2 + pixel % 2
                numbers.append(frame == 0 ? number(step, channel, row, column) : -1)
              }
            }
          }
        }
      }
    }
    var layout = Medium.Layout()
    layout.patchGrid = .init(time: 2, height: 4, width: 6)
    let medium = Medium(
      modality: .video, shape: [48, 24], values: .numbers(numbers), layout: layout, identity: "video")
    let part = medium.part(rows: 6..<12, of: 12, grid: SpanMap.Grid(rows: 2, columns: 3))
    XCTAssertEqual(part.shape, [3, 8, 12])
    var expected: [Float] = []
    for channel in 0..<3 {
      for row in 0..<8 { expected += (0..<12).map { number(1, channel, row, $0) } }
    }
    XCTAssertEqual(part.values, .numbers(expected))
  }
}
