import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// Image preprocessing against the transformers library with Pillow, element by element.
final class ImageProcessorTests: XCTestCase {
  /// Sizes after resizing to the last bit, and the numbers of the whole chain, with both ways of rounding.
  func testCLIPEqualsPillowAndTorchvision() throws {
    let media = try MediaOracle("clip_preprocess")
    for set in media.oracle.description["sets"]?.arrayValue ?? [] {
      let name = try XCTUnwrap(set["name"]?.stringValue)
      let side = try XCTUnwrap(set["shortest_edge"]?.intValue)
      let crop = try XCTUnwrap(set["crop"]?.intValue)
      let image = try media.pictures("\(name).image_u8")[0]
      let size = TargetSize.shortestEdge(side).size(of: image.size)
      let resized = Resampling(.bicubic).resized(image, to: size)
      let expected = try media.pictures("\(name).resized_u8_pil")[0]
      XCTAssertEqual(resized.size, expected.size)
      XCTAssertEqual(zip(resized.pixels, expected.pixels).count { $0 != $1 }, 0, "\(name): differing pixels")
      for back in ["pil", "torchvision"] {
        let settings = try ConfigurationReader(
          path: "a", bytes: Array(#"{"size": {"shortest_edge": \#(side)}, "crop_size": \#(crop)}"#.utf8))
        let arithmetic: Resampling.Arithmetic = back == "pil" ? .pillow : .torchvision
        let middle = Resampling(.bicubic, arithmetic: arithmetic).resized(image, to: size)
          .centerCropped(to: Medium.Extent(height: crop, width: crop))
        let normalization = try PixelNormalization(
          settings, mean: PixelNormalization.clipMean, deviation: PixelNormalization.clipDeviation,
          arithmetic: arithmetic)
        try media.oracle.compare(normalization(middle), with: "\(name).pixel_values_\(back)", absolute: 1e-6)
        if back == "pil" {
          let medium = try CLIPImageProcessor(settings).medium(image, path: "a", identity: "a")
          XCTAssertEqual(medium.values, .numbers(normalization(middle)))
        }
      }
    }
    media.oracle.finish()
  }

  func testSiglip() throws { try compare("preprocess_siglip") }
  func testLLaVAOnSquares() throws { try compare("preprocess_llava") }

  func testLLaVANeXT() throws {
    try compare("preprocess_llava_next") { media, set, medium in
      try self.assertOriginal(media, set, medium)
      let tiles = try XCTUnwrap(medium.layout.tiles)
      XCTAssertEqual(medium.shape[0], 1 + tiles.height * tiles.width)
    }
  }

  func testLLaVAOneVision() throws {
    try compare("preprocess_llava_onevision") { try self.assertOriginal($0, $1, $2) }
  }

  func testQwen2VL() throws {
    try compare("preprocess_qwen2_vl") { media, set, medium in
      let grid = try XCTUnwrap(medium.layout.patchGrid)
      try media.oracle.compare([grid.time, grid.height, grid.width], with: "\(set).image_grid_thw")
    }
  }

  func testIdefics3() throws { try compare("preprocess_idefics3", visible: true) }
  func testSmolVLM() throws { try compare("preprocess_smolvlm", visible: true) }

  private func assertOriginal(_ media: MediaOracle, _ set: String, _ medium: Medium) throws {
    let size = try XCTUnwrap(medium.layout.originalSize)
    try media.oracle.compare([size.height, size.width], with: "\(set).image_sizes")
  }

  private func compare(
    _ name: String, visible: Bool = false,
    check: (MediaOracle, String, Medium) throws -> Void = { _, _, _ in }
  ) throws {
    let media = try MediaOracle(name)
    for set in media.sets {
      let processor = try ImageProcessors.processor(set.settings)
      let medium = try processor.medium(
        media.pictures("\(set.name).image")[0], path: "a", identity: "an image")
      XCTAssertEqual(medium.modality, .image)
      try media.compare(medium, with: "\(set.name).pixel_values")
      if visible {
        try media.oracle.compare(
          medium.layout.visibleSizes.map { $0.height * $0.width }, with: "\(set.name).pixel_attention_mask")
      }
      try check(media, set.name, medium)
    }
    media.oracle.finish()
  }

  /// A setting that would change the numbers must not be passed over.
  func testSettingsThatAreNotSupportedAreRefused() throws {
    let cases = [
      (#"{"image_processor_type": "BeitImageProcessor"}"#, "image_processor_type"),
      (#"{"image_processor_type": "CLIPImageProcessor", "do_pad": true}"#, "do_pad"),
      (
        #"{"image_processor_type": "CLIPImageProcessor", "size": {"longest_edge": 9, "shortest_edge": 5}}"#,
        "size.longest_edge"
      ),
      (
        #"{"image_processor_type": "Idefics3ImageProcessor", "size": {"height": 9, "width": 5}}"#,
        "size.height"
      ),
      (
        #"{"image_processor_type": "Qwen2VLImageProcessor", "size": {"height": 9, "width": 5}}"#,
        "size.height"
      ),
    ]
    for (text, key) in cases {
      let settings = try ConfigurationReader(path: "a.json", bytes: Array(text.utf8))
      XCTAssertThrowsError(try ImageProcessors.processor(settings), text) { error in
        guard case .unsupportedValue(_, let found, _, _)? = error as? ConfigurationError else {
          return XCTFail("\(error)")
        }
        XCTAssertEqual(found, key)
        XCTAssertEqual((error as? ConfigurationError)?.exitStatus, .unsupported)
      }
    }
  }

  func testShapesThatCannotBePreparedAreRefused() throws {
    let strip = RGBImage(height: 1, width: 900, color: [1, 2, 3])
    for type in ["Qwen2VLImageProcessor", "Idefics3ImageProcessor"] {
      let settings = try ConfigurationReader(
        path: "a.json", bytes: Array(#"{"image_processor_type": "\#(type)", "do_resize": true}"#.utf8))
      let processor = try ImageProcessors.processor(settings)
      guard type.hasPrefix("Qwen") else {
        XCTAssertNoThrow(try processor.medium(strip, path: "a", identity: "a"))
        continue
      }
      XCTAssertThrowsError(try processor.medium(strip, path: "a", identity: "a")) {
        XCTAssertEqual(($0 as? MediaError)?.code, .unsupportedShape)
        XCTAssertEqual(($0 as? MediaError)?.exitStatus, .data)
      }
    }
  }

  /// A folder cannot ask for an image that is enlarged without measure.
  func testImagesAreNotEnlargedWithoutMeasure() throws {
    let text =
      #"{"image_processor_type": "Qwen2VLImageProcessor", "min_pixels": 268435456, "max_pixels": 268435456}"#
    let processor = try ImageProcessors.processor(
      ConfigurationReader(path: "a.json", bytes: Array(text.utf8)))
    let image = RGBImage(height: 40, width: 60, color: [1, 2, 3])
    XCTAssertThrowsError(try processor.medium(image, path: "a", identity: "a")) {
      XCTAssertEqual(($0 as? MediaError)?.code, .tooLarge)
      XCTAssertTrue($0.localizedDescription.contains("at most 33554432"), $0.localizedDescription)
    }
  }
}
