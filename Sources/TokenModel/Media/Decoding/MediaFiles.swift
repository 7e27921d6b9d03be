public import Foundation

/// Reads files of pictures, sound and video as they are, for data sets that are prepared here and not by a checkpoint.
public struct MediaFiles: Sendable {
  private let ffmpeg: FFmpeg

  /// With the decoders on the search path.
  public init() { ffmpeg = FFmpeg() }

  /// A picture in red, green and blue, upright.
  ///
  /// - Throws: `FileError`, `MediaError`, `DecoderError`.
  public func image(at url: URL) throws -> RGBImage { try ImageFile(ffmpeg: ffmpeg).image(at: url) }

  /// The beginning of a recording, its channels averaged; full scale is 1.
  ///
  /// - Parameters:
  ///   - rate: Samples a second that are wanted.
  ///   - seconds: How much of it is wanted; a second more may come.
  /// - Throws: `FileError`, `MediaError`, `DecoderError`.
  public func samples(at url: URL, rate: Int, seconds: Double) throws -> [Double] {
    try SoundFile(ffmpeg: ffmpeg).samples(at: url, rate: rate, seconds: seconds)
  }

  /// How many frames a video has.
  ///
  /// - Throws: `FileError`, `MediaError`, `DecoderError`.
  public func frameCount(of url: URL) throws -> Int {
    try VideoFile(ffmpeg: ffmpeg).facts(of: url).frameCount
  }

  /// Some frames of a video, upright.
  ///
  /// - Parameter indices: Of the frames, rising, each once.
  /// - Throws: `FileError`, `MediaError`, `DecoderError`.
  public func frames(at url: URL, indices: [Int]) throws -> [RGBImage] {
    var frames: [RGBImage] = []
    try VideoFile(ffmpeg: ffmpeg).frames(at: url, indices: indices) { _, frame in frames.append(frame) }
    return frames
  }
}
