import Foundation
import RunKit

/// The programs that decode what is not read here.
///
/// They get the file as their standard input, so its name is never read as an option, a protocol or a pattern, and the
/// file examined is the file opened. Only local files may be opened, only by the demuxers of plain media: a play list
/// that names other files is refused. No shell is involved.
struct FFmpeg: Sendable {
  /// The path of `ffmpeg`; nil if it is not installed.
  let decoder: String?
  /// The path of `ffprobe`; nil if it is not installed.
  let prober: String?

  /// Finds the programs on the search path.
  init() {
    self.init(decoder: MachineFacts.program("ffmpeg"), prober: MachineFacts.program("ffprobe"))
  }

  /// These programs.
  init(decoder: String?, prober: String?) { (self.decoder, self.prober) = (decoder, prober) }

  /// What may be read of a modality.
  enum Kind: String, Sendable {
    case image, audio, video

    /// The demuxers allowed.
    fileprivate var formats: String {
      switch self {
      case .image:
        "png_pipe,jpeg_pipe,jpegls_pipe,webp_pipe,bmp_pipe,tiff_pipe,gif,apng,pgm_pipe,ppm_pipe,pbm_pipe,pam_pipe,"
          + "qoi_pipe,j2k_pipe,psd_pipe,dds_pipe,sgi_pipe,pcx_pipe,sunrast_pipe,exr_pipe,hdr_pipe,mov"
      case .audio:
        "wav,w64,aiff,au,caf,flac,ogg,mp3,aac,ac3,eac3,amr,mov,matroska,webm,matroska,asf,avi,flv,mpeg,mpegts,wv,ape,"
          + "tta,tak,dts,mpc,mpc8,opus"
      case .video:
        "mov,matroska,webm,avi,mpeg,mpegts,ogg,asf,flv,gif,apng,m4v,h264,hevc,mpegvideo,ivf,webp_pipe"
      }
    }

    /// Seconds a decoder may take.
    fileprivate var seconds: Double { self == .image ? 120 : 900 }
  }

  /// The most bytes of the description of a file.
  private static let descriptionLimit = 1 << 20

  /// Decodes a file.
  ///
  /// - Parameters:
  ///   - options: For the decoder, before the input.
  ///   - output: What is to be written, and how.
  ///   - byteLimit: The most bytes it may write.
  ///   - receive: Gets the bytes as they come; false means that no more are wanted.
  /// - Throws: `FileError`, `DecoderError`, `MediaError.notDecodable`, and what `receive` throws.
  func decode(
    _ url: URL, _ kind: Kind, options: [String] = [], output: [String], byteLimit: Int,
    receive: ([UInt8]) throws -> Bool
  ) throws {
    let words =
      ["-nostdin", "-hide_banner", "-v", "error", "-xerror", "-err_detect", "explode"]
      + Self.input(kind, options) + output + ["pipe:1"]
    let outcome = try run(decoder, "ffmpeg", words, url, kind, byteLimit: byteLimit, receive)
    if outcome.ending == .stopped { return }
    // A picture of which a part is missing is no picture, though the decoder may put up with it.
    guard outcome.ending == .exited(0), kind != .image || outcome.messages.isEmpty else {
      throw MediaError.notDecodable(path: url.path, reason: Self.reason(outcome.messages, kind))
    }
  }

  /// What the file says about itself, as `ffprobe` writes it.
  ///
  /// - Parameter entries: The facts wanted, in the program's spelling.
  /// - Throws: `FileError`, `DecoderError`, `MediaError.notDecodable`.
  func describe(_ url: URL, _ kind: Kind, entries: String, options: [String] = []) throws -> JSONValue {
    var bytes: [UInt8] = []
    let words =
      ["-hide_banner", "-v", "error"] + options + ["-show_entries", entries, "-of", "json"]
      + Self.input(kind, [])
    let outcome = try run(prober, "ffprobe", words, url, kind, byteLimit: Self.descriptionLimit) {
      bytes += $0
      return true
    }
    guard outcome.ending == .exited(0), let value = try? JSONValue(parsing: bytes) else {
      throw MediaError.notDecodable(path: url.path, reason: Self.reason(outcome.messages, kind))
    }
    return value
  }

  private static func input(_ kind: Kind, _ options: [String]) -> [String] {
    ["-protocol_whitelist", "file", "-format_whitelist", kind.formats] + options + ["-i", "file:/dev/stdin"]
  }

  private func run(
    _ path: String?, _ name: String, _ words: [String], _ url: URL, _ kind: Kind, byteLimit: Int,
    _ receive: ([UInt8]) throws -> Bool
  ) throws -> Subprocess.Outcome {
    guard let path else { throw DecoderError.notInstalled(path: url.path, program: name) }
    let outcome = try Subprocess.run(
      path, words, input: url, limits: Subprocess.Limits(seconds: kind.seconds, outputBytes: byteLimit),
      receive: receive)
    switch outcome.ending {
    case .exited, .stopped: return outcome
    case .killed(let signal): throw DecoderError.killed(path: url.path, program: name, signal: Int(signal))
    case .timedOut: throw DecoderError.tooSlow(path: url.path, program: name, seconds: Int(kind.seconds))
    case .wroteTooMuch:
      throw MediaError.tooLarge(path: url.path, what: "decoded bytes", found: byteLimit + 1, limit: byteLimit)
    }
  }

  /// The first message of a program, without the names and addresses of its parts.
  private static func reason(_ messages: String, _ kind: Kind) -> String {
    if messages.contains("not on whitelist") { return "it is another kind of file than \(kind.rawValue)" }
    let lines = messages.split(whereSeparator: \.isNewline)
    guard let first = lines.first else { return "the decoder gave no reason" }
    var text = first[...]
    if text.hasPrefix("["), let end = text.firstIndex(of: "]") {
      text = text[text.index(after: end)...].drop { $0 == " " }
    }
    return text.replacingOccurrences(of: "file:/dev/stdin: ", with: "")
  }
}
