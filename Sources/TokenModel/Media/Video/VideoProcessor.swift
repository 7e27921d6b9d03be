import Foundation
import RunKit
import TensorCore

/// The preprocessing of video of one kind of checkpoint: which frames are taken, and what becomes of them.
///
/// Frames are resized with torchvision's arithmetic, the only one that the transformers library has for video.
protocol VideoProcessor: Sendable {
  /// The name it has in `video_processor_type`.
  static var name: String { get }
  /// The names of the image processors it stands beside, where no file speaks of video alone.
  static var imageNames: [String] { get }
  /// Reads its settings.
  ///
  /// - Throws: `ConfigurationError`.
  init(_ settings: ConfigurationReader) throws(ConfigurationError)
  /// The frames to take, rising.
  func indices(of facts: VideoFile.Facts) -> [Int]
  /// A frame in the size the model takes, made as soon as it is decoded so that no large ones are kept.
  ///
  /// - Parameter count: How many frames are taken.
  /// - Throws: `MediaError.unsupportedShape`.
  func resized(_ frame: RGBImage, count: Int, path: String) throws(MediaError) -> RGBImage
  /// The frames as the model takes them.
  ///
  /// - Parameter frames: Resized, all of one size.
  /// - Parameter layout: With what all kinds of video have in common.
  func medium(_ frames: [RGBImage], facts: VideoFile.Facts, layout: Medium.Layout, identity: String) -> Medium
}

extension VideoProcessor {
  /// Decodes and prepares a file.
  ///
  /// - Throws: `FileError`, `MediaError`, `DecoderError`.
  func medium(_ file: VideoFile, at url: URL, identity: String) throws -> Medium {
    let facts = try file.facts(of: url)
    let indices = indices(of: facts)
    var (frames, original): ([RGBImage], Medium.Extent?) = ([], nil)
    try file.frames(at: url, indices: indices) { _, frame in
      // A stream may change its size; all frames are shown as the first one is.
      if let original, frame.size != original {
        throw MediaError.notDecodable(path: url.path, reason: "the frames are not all of one size")
      }
      original = frame.size
      frames.append(try resized(frame, count: indices.count, path: url.path))
    }
    return medium(frames, facts: facts, indices: indices, original: original, identity: identity)
  }

  /// The medium of resized frames.
  func medium(
    _ frames: [RGBImage], facts: VideoFile.Facts, indices: [Int], original: Medium.Extent?, identity: String
  ) -> Medium {
    var layout = Medium.Layout()
    layout.originalSize = original
    layout.frameTimes = indices.map { Double($0) / facts.rate }
    layout.duration = facts.duration
    return medium(frames, facts: facts, layout: layout, identity: identity)
  }
}

/// Every kind of video preprocessing.
enum VideoProcessors {
  static let all: [any VideoProcessor.Type] = [
    Qwen2VLVideoProcessor.self, LlavaOnevisionVideoProcessor.self, SmolVLMVideoProcessor.self,
  ]

  /// The processor a configuration names; nil where it names one of images that has no video beside it.
  ///
  /// - Throws: `ConfigurationError.unsupportedValue` for one that is not here.
  static func processor(_ settings: ConfigurationReader) throws(ConfigurationError) -> (any VideoProcessor)? {
    let name = settings.processorType
    let ofVideo = try settings.string("video_processor_type", default: "")
    for type in all {
      if ofVideo.isEmpty ? type.imageNames.contains(name) : type.name == ofVideo {
        return try make(type, settings)
      }
    }
    if ofVideo.isEmpty { return nil }
    throw .unsupportedValue(
      path: settings.path, key: "video_processor_type", found: ofVideo.inQuotes,
      supported: all.map { $0.name }.joined(separator: ", "))
  }

  private static func make<Processor: VideoProcessor>(
    _ type: Processor.Type, _ settings: ConfigurationReader
  ) throws(ConfigurationError) -> any VideoProcessor {
    try Processor(settings)
  }

  /// `count` frames of `total`, evenly from the first one.
  ///
  /// Source: `torch.arange(0, total, total / count).int()`, whose values are of 32 bits.
  static func evenly(_ count: Int, of total: Int) -> [Int] {
    require(1...total ~= count, "\(count) of \(total) frames")
    let step = Double(total) / Double(count)
    let steps = Int((Double(total) / step).rounded(.up))
    return (0..<min(steps, count)).map { min(total - 1, Int(Float(step * Double($0)))) }
  }
}
