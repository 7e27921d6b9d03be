import Foundation
import RunKit
import TestSupport
import XCTest

@testable import TokenModel

/// Folders of checkpoints: which file says how media are prepared.
final class MediaProcessorTests: XCTestCase {
  /// The settings of a checkpoint, and a pixmap that needs no decoder.
  func testACheckpointFolderPreparesItsMedia() throws {
    let folder = try folder([
      "preprocessor_config.json":
        #"{"image_processor_type": "CLIPImageProcessor", "size": 4, "crop_size": 4}"#,
      "a.ppm": "P3 2 1 255\n255 0 0 0 0 255\n",
    ])
    let processor = try MediaProcessor(folder: folder, ffmpeg: FFmpeg(decoder: nil, prober: nil))
    XCTAssertEqual(processor.modalities, [.image])
    let medium = try processor.medium(
      from: folder.appendingPathComponent("a.ppm"), modality: .image, identity: "a picture")
    XCTAssertEqual(medium.shape, [3, 4, 4])
    XCTAssertEqual(medium.identity, "a picture")
    XCTAssertEqual(medium.layout.originalSize, Medium.Extent(height: 1, width: 2))
    XCTAssertThrowsError(
      try processor.medium(from: folder.appendingPathComponent("a.wav"), modality: .audio, identity: "a")
    ) { XCTAssertEqual(($0 as? PromptError)?.code, .unsupportedModality) }
  }

  /// transformers 5 keeps all settings in one file, older versions in several.
  func testTheFileOfTransformers5Wins() throws {
    let old = #"{"image_processor_type": "CLIPImageProcessor", "size": 5, "crop_size": 5}"#
    let new =
      #"{"image_processor": {"image_processor_type": "SiglipImageProcessorFast", "size": {"height": 3, "width": 2}}}"#
    let both = try folder([
      "preprocessor_config.json": old, "processor_config.json": new, "a.pgm": "P2 2 2 255\n1 2 3 4\n",
    ])
    let shape = try MediaProcessor(folder: both).medium(
      from: both.appendingPathComponent("a.pgm"), modality: .image, identity: "a"
    ).shape
    XCTAssertEqual(shape, [3, 3, 2])
    let sound = try folder([
      "preprocessor_config.json": #"{"feature_extractor_type": "WhisperFeatureExtractor"}"#
    ])
    XCTAssertEqual(try MediaProcessor(folder: sound).modalities, [.audio])
    let video = try folder([
      "preprocessor_config.json": #"{"image_processor_type": "Qwen2VLImageProcessor"}"#,
      "video_preprocessor_config.json": #"{"video_processor_type": "SmolVLMVideoProcessor"}"#,
    ])
    XCTAssertEqual(try MediaProcessor(folder: video).modalities, [.image, .video])
    XCTAssertEqual(try MediaProcessor(folder: folder([:])).modalities, [])
  }

  /// Where no file speaks of media, the tower's sizes in config.json do.
  func testTheModelTypeStandsInForMissingFiles() throws {
    let picture = "P2 40 30 255\n" + String(repeating: "7 ", count: 1200)
    let cases: [(String, [Modality], [Int])] = [
      (#"{"model_type": "llava", "vision_config": {"image_size": 28}}"#, [.image], [3, 28, 28]),
      (
        #"{"model_type": "llava", "vision_config": {"image_size": 20, "model_type": "siglip_vision_model"}}"#,
        [.image],
        [3, 20, 20]
      ),
      (
        #"{"model_type": "llava_next", "image_grid_pinpoints": [[28, 56]], "vision_config": {"image_size": 28}}"#,
        [.image], [3, 3, 28, 28]
      ),
      (
        #"{"model_type": "llava_onevision", "image_grid_pinpoints": [[24, 24]], "vision_config": {"image_size": 24}}"#,
        [.image, .video], [2, 3, 24, 24]
      ),
      (
        #"{"model_type": "qwen2_vl", "vision_config": {"patch_size": 4, "temporal_patch_size": 3, "spatial_merge_size": 2}}"#,
        [.image, .video], [252, 144]
      ),
      (#"{"model_type": "idefics3", "vision_config": {"image_size": 20}}"#, [.image], [13, 3, 20, 20]),
      (
        #"{"model_type": "smolvlm", "vision_config": {"image_size": 20}}"#, [.image, .video], [13, 3, 20, 20]
      ),
    ]
    for (text, modalities, shape) in cases {
      let folder = try folder(["config.json": text, "a.pgm": picture])
      let processor = try MediaProcessor(folder: folder)
      XCTAssertEqual(processor.modalities, modalities, text)
      let medium = try processor.medium(
        from: folder.appendingPathComponent("a.pgm"), modality: .image, identity: "a")
      XCTAssertEqual(medium.shape, shape, text)
    }
    let audio = try folder([
      "config.json": #"{"model_type": "qwen2_audio", "audio_config": {"num_mel_bins": 16}}"#
    ])
    try Data(WAVBytes(sampleRate: 16_000, data: [UInt8](repeating: 9, count: 3200)).bytes)
      .write(to: audio.appendingPathComponent("a.wav"))
    let medium = try MediaProcessor(folder: audio).medium(
      from: audio.appendingPathComponent("a.wav"), modality: .audio, identity: "a")
    XCTAssertEqual(medium.shape, [16, 3000])
    XCTAssertEqual(medium.layout.frameCount, 10)
  }

  /// A picture may be large: what is kept beside the numbers must not grow with it.
  func testMemoryIsBounded() throws {
    let side = 3_000
    let folder = try folder([
      "preprocessor_config.json": #"{"image_processor_type": "CLIPImageProcessor"}"#
    ])
    let url = folder.appendingPathComponent("a.ppm")
    let pixels = Data(repeating: 9, count: 3 * side * side)
    try (Data("P6 \(side) \(side) 255\n".utf8) + pixels).write(to: url)
    let processor = try MediaProcessor(folder: folder)
    let sampler = MemorySampler()
    XCTAssertEqual(try processor.medium(from: url, modality: .image, identity: "a").shape, [3, 224, 224])
    // 27 MB of levels as file, as 16-bit values, as bytes by channel and by pixel.
    XCTAssertLessThan(sampler.stop().growth, 12 * 27 << 20)
  }

  private func folder(_ files: [String: String]) throws -> URL {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("media-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    addTeardownBlock { try? FileManager.default.removeItem(at: url) }
    for (name, text) in files { try Data(text.utf8).write(to: url.appendingPathComponent(name)) }
    return url
  }
}
