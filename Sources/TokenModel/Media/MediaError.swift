public import RunKit

/// Why an image or audio file cannot be used.
public enum MediaError: DescribedError {
  case empty(path: String)
  case badHeader(path: String, offset: Int, expected: String)
  case truncated(path: String, found: Int, expected: Int)
  case trailingBytes(path: String, offset: Int)
  case badSample(path: String, offset: Int, found: String, expected: String)
  case unsupportedFormat(path: String, found: String, supported: String)
  case tooLarge(path: String, what: String, found: Int, limit: Int)
  case wrongSampleRate(path: String, found: Int, expected: Int)
  case wrongLength(path: String, found: Int, expected: Int)
  case wrongImageSize(path: String, found: [Int], expected: [Int])
  /// Sides `[height, width]` that the model's preprocessing has no answer for.
  case unsupportedShape(path: String, found: [Int], expected: String)
  /// A decoder found the contents broken.
  case notDecodable(path: String, reason: String)
  /// The file has no image, sound or video.
  case noStream(path: String, kind: String)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case empty = "media_empty"
    case badHeader = "media_bad_header"
    case truncated = "media_truncated"
    case trailingBytes = "media_trailing_bytes"
    case badSample = "media_bad_sample"
    case unsupportedFormat = "media_unsupported_format"
    case tooLarge = "media_too_large"
    case wrongSampleRate = "media_wrong_sample_rate"
    case wrongLength = "media_wrong_length"
    case wrongImageSize = "media_wrong_image_size"
    case unsupportedShape = "media_unsupported_shape"
    case notDecodable = "media_not_decodable"
    case noStream = "media_no_stream"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .empty: .empty
    case .badHeader: .badHeader
    case .truncated: .truncated
    case .trailingBytes: .trailingBytes
    case .badSample: .badSample
    case .unsupportedFormat: .unsupportedFormat
    case .tooLarge: .tooLarge
    case .wrongSampleRate: .wrongSampleRate
    case .wrongLength: .wrongLength
    case .wrongImageSize: .wrongImageSize
    case .unsupportedShape: .unsupportedShape
    case .notDecodable: .notDecodable
    case .noStream: .noStream
    }
  }

  /// The status a command ends with.
  public var exitStatus: ExitStatus {
    if case .unsupportedFormat = self { .unsupported } else { .data }
  }

  /// The file concerned.
  public var path: String? {
    switch self {
    case .empty(let path), .badHeader(let path, _, _), .truncated(let path, _, _),
      .trailingBytes(let path, _),
      .badSample(let path, _, _, _), .unsupportedFormat(let path, _, _), .tooLarge(let path, _, _, _),
      .wrongSampleRate(let path, _, _), .wrongLength(let path, _, _), .wrongImageSize(let path, _, _),
      .unsupportedShape(let path, _, _), .notDecodable(let path, _), .noStream(let path, _):
      path
    }
  }

  /// What, where, found and expected.
  public var errorDescription: String? {
    switch self {
    case .empty(let path): "\(path): the file is empty"
    case .badHeader(let path, let offset, let expected): "\(path): at byte \(offset): expected \(expected)"
    case .truncated(let path, let found, let expected):
      "\(path): the file ends after \(found) bytes, its header promises \(expected)"
    case .trailingBytes(let path, let offset): "\(path): the contents end at byte \(offset), but bytes follow"
    case .badSample(let path, let offset, let found, let expected):
      "\(path): at byte \(offset): found \(found), expected \(expected)"
    case .unsupportedFormat(let path, let found, let supported):
      "\(path): found \(found), can be read: \(supported)"
    case .tooLarge(let path, let what, let found, let limit):
      "\(path): found \(found) \(what), expected at most \(limit)"
    case .wrongSampleRate(let path, let found, let expected):
      "\(path): sampled at \(found) Hz, the model takes \(expected) Hz"
    case .wrongLength(let path, let found, let expected):
      "\(path): has \(found) samples, the model takes exactly \(expected)"
    case .wrongImageSize(let path, let found, let expected):
      "\(path): the image is \(Self.size(found)), the model takes \(Self.size(expected))"
    case .unsupportedShape(let path, let found, let expected):
      "\(path): the image is \(found.last ?? 0) wide and \(found.first ?? 0) high, expected \(expected)"
    case .notDecodable(let path, let reason):
      "\(path): the contents cannot be decoded: \(reason.shown(limit: 300))"
    case .noStream(let path, let kind): "\(path): the file has no \(kind)"
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    switch self {
    case .badHeader(_, 0, _):
      "convert other kinds of file: 'ffmpeg -i FILE out.wav' for audio, 'ffmpeg -i FILE out.pgm' for images"
    case .empty, .badHeader, .truncated, .trailingBytes, .badSample:
      "check that the file was copied completely, or write it again from its source"
    case .unsupportedFormat:
      "convert the file: 'ffmpeg -i FILE out.wav' for audio, 'ffmpeg -i FILE out.pgm' for images"
    case .tooLarge: "cut the recording or make the image smaller"
    case .wrongSampleRate(_, _, let expected): "resample it: 'ffmpeg -i FILE -ar \(expected) -ac 1 out.wav'"
    case .wrongLength(_, let found, let expected):
      found < expected
        ? "add \(expected - found) samples of silence at the end: 'ffmpeg -i FILE -af apad=whole_len=\(expected) out.wav'"
        : "keep \(expected) samples: 'ffmpeg -i FILE -af atrim=end_sample=\(expected) out.wav'"
    case .wrongImageSize(_, _, let expected):
      expected.count == 3
        ? "scale it: 'ffmpeg -i FILE -vf scale=\(expected[2]):\(expected[1]) out.\(expected[0] == 1 ? "pgm" : "ppm")'"
        : "scale it to the size the model takes"
    case .unsupportedShape: "cut the image to a shape nearer to a square"
    case .notDecodable: "check that the file was copied completely, or write it again from its source"
    case .noStream: "name a file of that kind"
    }
  }

  /// Sizes `[channels, height, width]` in words.
  private static func size(_ shape: [Int]) -> String {
    guard shape.count == 3 else { return "\(shape)" }
    return
      "\(shape[2]) wide and \(shape[1]) high with \(shape[0] == 1 ? "1 channel" : "\(shape[0]) channels")"
  }
}
