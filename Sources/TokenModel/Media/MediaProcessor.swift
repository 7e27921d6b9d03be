public import Foundation
import RunKit

/// Reads files of images, sound and video and prepares them as a checkpoint was trained with.
///
/// What is done is read from the checkpoint's folder: `processor_config.json` (transformers 5),
/// `preprocessor_config.json` and `video_preprocessor_config.json`. Where the folder has none that speaks of a modality,
/// the defaults of the `model_type` in `config.json` hold, with the sizes of its towers.
///
/// Numbers equal those of the transformers library with Pillow; see Documentation/Media.md for what is exact.
public struct MediaProcessor: Sendable {
  private let images: (any ImageProcessor)?
  private let sounds: (any SoundProcessor)?
  private let videos: (any VideoProcessor)?
  private let ffmpeg: FFmpeg

  /// Reads the settings of a checkpoint; no medium is touched.
  ///
  /// - Throws: `FileError`, `ConfigurationError`; settings that would change the numbers and are not supported are
  ///   refused.
  public init(folder: URL) throws { try self.init(folder: folder, ffmpeg: FFmpeg()) }

  /// As above with given decoders.
  init(folder: URL, ffmpeg: FFmpeg) throws {
    let settings = try ProcessorSettings(folder: folder)
    self.ffmpeg = ffmpeg
    images = try settings.image.map { try ImageProcessors.processor($0) }
    sounds = try settings.sound.map { try SoundProcessors.processor($0) }
    videos = try settings.video.flatMap { try VideoProcessors.processor($0) }
  }

  /// The modalities that can be prepared.
  public var modalities: [Modality] {
    (images == nil ? [] : [.image]) + (sounds == nil ? [] : [.audio]) + (videos == nil ? [] : [.video])
  }

  /// A file as the model takes it.
  ///
  /// - Parameters:
  ///   - url: A local file.
  ///   - identity: What the medium is called in results.
  /// - Throws: `FileError`, `MediaError`, `DecoderError`, `PromptError.unsupportedModality`.
  public func medium(from url: URL, modality: Modality, identity: String) throws -> Medium {
    if modality == .image, let images {
      return try images.medium(
        ImageFile(ffmpeg: ffmpeg).image(at: url), path: url.path, identity: identity)
    }
    if modality == .audio, let sounds {
      let samples = try SoundFile(ffmpeg: ffmpeg)
        .samples(at: url, rate: sounds.sampleRate, seconds: sounds.seconds)
      return try sounds.medium(samples, path: url.path, identity: identity)
    }
    if modality == .video, let videos {
      return try videos.medium(VideoFile(ffmpeg: ffmpeg), at: url, identity: identity)
    }
    throw PromptError.unsupportedModality(
      sample: identity, modality: modality.rawValue, supported: modalities.map(\.rawValue))
  }
}
