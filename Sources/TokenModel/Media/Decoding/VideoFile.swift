import Foundation
import RunKit

/// Reads frames of a video file through ffmpeg.
struct VideoFile {
  let ffmpeg: FFmpeg

  /// The longest video in seconds, and the most frames of it.
  static let secondsLimit = 4 * 3600
  static let frameLimit = 1 << 20
  /// The most frames taken out of a video, and the most bytes of all of them as decoded.
  static let takenLimit = 4096
  private static let byteLimit = 1 << 40

  /// What is known of a video before it is decoded.
  struct Facts: Sendable, Equatable {
    /// All frames.
    let frameCount: Int
    /// Frames a second, on average.
    let rate: Double
    /// Seconds.
    var duration: Double { Double(frameCount) / rate }
  }

  /// Counts the frames of a video without decoding them.
  ///
  /// - Throws: `FileError`, `MediaError`, `DecoderError`.
  func facts(of url: URL) throws -> Facts {
    guard try FileReader.size(of: url) > 0 else {
      throw MediaError.empty(path: url.path)
    }
    let selection = ["-select_streams", "v:0"]
    let header = try ffmpeg.describe(
      url, .video, entries: "stream=width,height,avg_frame_rate,duration:format=duration", options: selection)
    guard let stream = header["streams"]?.arrayValue?.first else {
      throw MediaError.noStream(path: url.path, kind: "video")
    }
    let seconds = (header["format"]?["duration"] ?? stream["duration"])?.stringValue.flatMap { Double($0) }
    if let seconds, seconds > Double(Self.secondsLimit) {
      throw MediaError.tooLarge(
        path: url.path, what: "seconds", found: Int(min(seconds, 1e12)), limit: Self.secondsLimit)
    }
    let size = (stream["height"]?.intValue ?? 0, stream["width"]?.intValue ?? 0)
    guard size.0 > 0, size.1 > 0, size.0 < 1 << 24, size.1 < 1 << 24 else {
      throw MediaError.notDecodable(path: url.path, reason: "the size of the frames is not known")
    }
    guard size.0 * size.1 <= ImageFile.pixelLimit else {
      throw MediaError.tooLarge(
        path: url.path, what: "pixels a frame", found: size.0 * size.1, limit: ImageFile.pixelLimit)
    }
    let counted = try ffmpeg.describe(
      url, .video, entries: "stream=nb_read_packets", options: selection + ["-count_packets"])
    let words = (stream["avg_frame_rate"]?.stringValue ?? "").split(separator: "/").compactMap { Double($0) }
    guard words.count == 2, words[0] > 0, words[1] > 0,
      let count = counted["streams"]?.arrayValue?.first?["nb_read_packets"]?.stringValue.flatMap({ Int($0) }),
      count > 0
    else { throw MediaError.notDecodable(path: url.path, reason: "the number of frames is not known") }
    guard count <= Self.frameLimit else {
      throw MediaError.tooLarge(path: url.path, what: "frames", found: count, limit: Self.frameLimit)
    }
    return Facts(frameCount: count, rate: words[0] / words[1])
  }

  /// Decodes some frames, upright, one after the other; only one is held here at a time.
  ///
  /// - Parameters:
  ///   - indices: Of the frames, rising.
  ///   - receive: Gets each frame with its place in `indices`.
  /// - Throws: `FileError`, `MediaError`, `DecoderError`, and what `receive` throws.
  func frames(
    at url: URL, indices: [Int], receive: (Int, RGBImage) throws -> Void
  ) throws {
    guard 1...Self.takenLimit ~= indices.count else {
      throw MediaError.tooLarge(
        path: url.path, what: "frames to be taken", found: indices.count, limit: Self.takenLimit)
    }
    let choice = indices.map { "eq(n,\($0))" }.joined(separator: "+")
    var stream = PPMStream(path: url.path)
    var count = 0
    try ffmpeg.decode(
      url, .video, options: ["-max_pixels", String(ImageFile.pixelLimit)],
      output: [
        "-map", "0:v:0", "-vf", "select='\(choice)'", "-fps_mode", "passthrough", "-sws_flags",
        "bicubic+accurate_rnd+full_chroma_int+full_chroma_inp+bitexact", "-c:v", "ppm", "-pix_fmt", "rgb24",
        "-f", "image2pipe",
      ], byteLimit: Self.byteLimit
    ) { bytes in
      stream.append(bytes)
      while count < indices.count, let frame = try stream.next() {
        try receive(count, frame)
        count += 1
      }
      // The rest of the file need not be decoded.
      return count < indices.count
    }
    guard count == indices.count else {
      throw MediaError.notDecodable(
        path: url.path, reason: "\(count) of the \(indices.count) frames wanted could be decoded")
    }
  }
}
