import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// Video preprocessing against the transformers library, whose only back end is torchvision.
final class VideoProcessorTests: XCTestCase {
  func testQwen2VL() throws {
    try compare("video_qwen2_vl") { media, set, facts, medium in
      let grid = try XCTUnwrap(medium.layout.patchGrid)
      try media.oracle.compare([grid.time, grid.height, grid.width], with: "\(set).video_grid_thw")
      let rate = try XCTUnwrap(facts["sampled_fps"]?.doubleValue)
      XCTAssertEqual(try XCTUnwrap(medium.layout.secondsPerStep), 2 / rate, accuracy: 1e-12)
    }
  }

  func testLLaVAOneVision() throws { try compare("video_llava_onevision") }
  func testSmolVLM() throws { try compare("video_smolvlm") }

  private func compare(
    _ name: String, check: (MediaOracle, String, JSONValue, Medium) throws -> Void = { _, _, _, _ in }
  ) throws {
    let media = try MediaOracle(name)
    for set in media.sets {
      let processor = try XCTUnwrap(try VideoProcessors.processor(set.settings))
      let frames = try media.pictures("\(set.name).frames")
      let facts = VideoFile.Facts(
        frameCount: frames.count, rate: try XCTUnwrap(set.facts["fps"]?.doubleValue))
      let indices = processor.indices(of: facts)
      try media.oracle.compare(indices, with: "\(set.name).indices")
      let resized = try indices.map { try processor.resized(frames[$0], count: indices.count, path: "a") }
      let medium = processor.medium(
        resized, facts: facts, indices: indices, original: frames[0].size, identity: "a video")
      XCTAssertEqual(medium.layout.frameTimes, indices.map { Double($0) / facts.rate })
      // Mean and deviation are multiplied by 255 in Float32 before they are used, so a quotient may differ in its last
      // place from the one computed here.
      try media.compare(medium, with: "\(set.name).pixel_values")
      try check(media, set.name, set.facts, medium)
    }
    media.oracle.finish()
  }
}
