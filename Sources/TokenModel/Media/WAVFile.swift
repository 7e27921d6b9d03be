public import Foundation
import RunKit

/// Sound from a RIFF WAVE file: PCM of 8, 16, 24 or 32 bits, or floats of 32 or 64 bits, any number of channels.
///
/// Source: "Multimedia Programming Interface and Data Specifications 1.0", IBM and Microsoft, 1991, and
/// "Multiple Channel Audio Data and WAVE Files", Microsoft, 2001 (the extensible format).
public struct WAVFile: Sendable, Equatable {
  /// The file, for messages.
  public let path: String
  /// Samples a second, in Hz.
  public let sampleRate: Int
  /// Channels in the file, before they were averaged.
  public let channelCount: Int
  /// The mean of the channels; whole numbers of b bits are divided by 2^(b-1), so that full scale is -1..<1.
  public let samples: [Double]

  /// The largest file in bytes.
  public static let sizeLimit = 64 << 20
  /// The most samples of one channel: half an hour at 8 kHz. Each takes 8 bytes here and may take 1 in the file.
  public static let sampleLimit = 1 << 24
  private static let channelLimit = 256
  private static let sampleRateLimit = 1_000_000
  private static let supported = "PCM of 8, 16, 24 or 32 bits, and floats of 32 or 64 bits"

  /// Reads a file.
  ///
  /// - Throws: `FileError`, `MediaError`.
  public init(contentsOf url: URL) throws {
    try self.init(path: url.path, bytes: FileReader.bytes(of: url, limit: Self.sizeLimit))
  }

  /// Reads the bytes of a file.
  ///
  /// - Parameter path: For messages.
  /// - Throws: `MediaError.badHeader`, `.truncated`, `.trailingBytes`, `.badSample`, `.unsupportedFormat`, `.tooLarge`.
  public init(path: String, bytes: [UInt8]) throws(MediaError) {
    guard bytes.count <= Self.sizeLimit else {
      throw .tooLarge(path: path, what: "bytes", found: bytes.count, limit: Self.sizeLimit)
    }
    let chunks = try RIFFChunks(path: path, bytes: bytes)
    let format = try Format(path: path, bytes: bytes, range: chunks.format)
    let frameSize = format.channelCount * format.encoding.byteCount
    guard chunks.data.count % frameSize == 0 else {
      throw .badHeader(
        path: path, offset: chunks.data.lowerBound - 4,
        expected: "a data size that is a multiple of \(frameSize) bytes, found \(chunks.data.count)")
    }
    let count = chunks.data.count / frameSize
    guard count <= Self.sampleLimit else {
      throw .tooLarge(path: path, what: "samples", found: count, limit: Self.sampleLimit)
    }
    var samples: [Double] = []
    samples.reserveCapacity(count)
    for frame in stride(from: chunks.data.lowerBound, to: chunks.data.upperBound, by: frameSize) {
      var sum = 0.0
      for channel in 0..<format.channelCount {
        let offset = frame + channel * format.encoding.byteCount
        let value = format.encoding.value(bytes, offset)
        // A float may be anything; a sum of 256 of them must stay a number too.
        guard abs(value) <= 1e6 else {
          throw .badSample(
            path: path, offset: offset, found: "\(value)",
            expected: "a sample of at most 1e6 (full scale is 1)")
        }
        sum += value
      }
      samples.append(sum / Double(format.channelCount))
    }
    (self.path, self.samples) = (path, samples)
    (sampleRate, channelCount) = (format.sampleRate, format.channelCount)
  }

  /// How long the sound would be that a header promises; nil where the header does not say it plainly.
  ///
  /// - Parameter start: The first bytes of a file.
  static func promisedSeconds(_ start: [UInt8]) -> Double? {
    func number(_ offset: Int) -> Int { (0..<4).reduce(0) { $0 | Int(start[offset + $1]) << (8 * $1) } }
    var (offset, bytesPerSecond) = (12, 0)
    while offset + 8 <= start.count {
      let size = number(offset + 4)
      switch Array(start[offset..<offset + 4]) {
      case Array("fmt ".utf8) where size >= 16 && offset + 24 <= start.count:
        bytesPerSecond = number(offset + 16)
      case Array("data".utf8): return bytesPerSecond > 0 ? Double(size) / Double(bytesPerSecond) : nil
      default: break
      }
      offset += 8 + size + size % 2
    }
    return nil
  }

  /// How a sample is stored.
  private enum Encoding {
    case unsigned8, signed16, signed24, signed32, float32, float64

    var byteCount: Int {
      switch self {
      case .unsigned8: 1
      case .signed16: 2
      case .signed24: 3
      case .signed32, .float32: 4
      case .float64: 8
      }
    }

    /// The sample at an offset; full scale is 1.
    func value(_ bytes: [UInt8], _ offset: Int) -> Double {
      var word: UInt64 = 0
      for index in 0..<byteCount { word |= UInt64(bytes[offset + index]) << (8 * index) }
      switch self {
      case .unsigned8: return (Double(word) - 128) / 128
      case .signed16: return Double(Int16(truncatingIfNeeded: word)) / 32768
      case .signed24: return Double(Int32(truncatingIfNeeded: word << 8) >> 8) / 8_388_608
      case .signed32: return Double(Int32(truncatingIfNeeded: word)) / 2_147_483_648
      case .float32: return Double(Float(bitPattern: UInt32(truncatingIfNeeded: word)))
      case .float64: return Double(bitPattern: word)
      }
    }
  }

  /// The format chunk.
  private struct Format {
    let channelCount: Int
    let sampleRate: Int
    let encoding: Encoding

    private static let (pcm, float, extensible) = (1, 3, 0xFFFE)
    /// The last 14 bytes of the identifiers that stand for the old format numbers.
    private static let subformatTail: [UInt8] = [
      0x00, 0x00, 0x00, 0x00, 0x10, 0x00, 0x80, 0x00, 0x00, 0xAA, 0x00, 0x38, 0x9B, 0x71,
    ]

    init(path: String, bytes: [UInt8], range: Range<Int>) throws(MediaError) {
      let start = range.lowerBound
      func number(_ offset: Int, _ count: Int) -> Int {
        (0..<count).reduce(0) { $0 | Int(bytes[start + offset + $1]) << (8 * $1) }
      }
      guard range.count >= 16 else {
        throw .badHeader(
          path: path, offset: start, expected: "a format of at least 16 bytes, found \(range.count)")
      }
      var tag = number(0, 2)
      let bits = number(14, 2)
      channelCount = number(2, 2)
      sampleRate = number(4, 4)
      guard channelCount > 0 else {
        throw .badHeader(path: path, offset: start + 2, expected: "at least 1 channel, found 0")
      }
      guard channelCount <= WAVFile.channelLimit else {
        throw .tooLarge(path: path, what: "channels", found: channelCount, limit: WAVFile.channelLimit)
      }
      guard sampleRate > 0 else {
        throw .badHeader(path: path, offset: start + 4, expected: "a sample rate above 0, found 0")
      }
      guard sampleRate <= WAVFile.sampleRateLimit else {
        throw .tooLarge(
          path: path, what: "samples a second", found: sampleRate, limit: WAVFile.sampleRateLimit)
      }
      if tag == Self.extensible {
        guard range.count >= 40, number(16, 2) >= 22 else {
          throw .badHeader(path: path, offset: start + 16, expected: "the 22 bytes of an extensible format")
        }
        guard Array(bytes[(start + 26)..<(start + 40)]) == Self.subformatTail else {
          throw .unsupportedFormat(
            path: path, found: "a WAVE subformat of its own", supported: WAVFile.supported)
        }
        // Fewer valid bits than stored ones are the high bits, so the scale is that of the stored ones.
        let validBits = number(18, 2)
        guard validBits <= bits else {
          throw .badHeader(
            path: path, offset: start + 18, expected: "at most \(bits) valid bits, found \(validBits)")
        }
        tag = number(24, 2)
      }
      switch (tag, bits) {
      case (Self.pcm, 8): encoding = .unsigned8
      case (Self.pcm, 16): encoding = .signed16
      case (Self.pcm, 24): encoding = .signed24
      case (Self.pcm, 32): encoding = .signed32
      case (Self.float, 32): encoding = .float32
      case (Self.float, 64): encoding = .float64
      default:
        throw .unsupportedFormat(
          path: path, found: "WAVE format \(tag) of \(bits) bits", supported: WAVFile.supported)
      }
      let frameSize = channelCount * encoding.byteCount
      guard number(12, 2) == frameSize, number(8, 4) == sampleRate * frameSize else {
        throw .badHeader(
          path: path, offset: start + 8,
          expected: "\(sampleRate * frameSize) bytes a second and \(frameSize) a frame, "
            + "found \(number(8, 4)) and \(number(12, 2))")
      }
    }
  }
}

/// The places of the two chunks of a WAVE file that hold the sound.
private struct RIFFChunks {
  let format: Range<Int>
  let data: Range<Int>

  init(path: String, bytes: [UInt8]) throws(MediaError) {
    func tag(_ offset: Int) -> [UInt8] { Array(bytes[offset..<offset + 4]) }
    func size(_ offset: Int) -> Int { (0..<4).reduce(0) { $0 | Int(bytes[offset + $1]) << (8 * $1) } }
    guard bytes.starts(with: Array("RIFF".utf8)) else {
      throw .badHeader(path: path, offset: 0, expected: "'RIFF', the start of a WAV file")
    }
    guard bytes.count >= 12 else { throw .truncated(path: path, found: bytes.count, expected: 12) }
    guard tag(8) == Array("WAVE".utf8) else { throw .badHeader(path: path, offset: 8, expected: "'WAVE'") }
    let end = 8 + size(4)
    guard end <= bytes.count else { throw .truncated(path: path, found: bytes.count, expected: end) }
    guard end == bytes.count else { throw .trailingBytes(path: path, offset: end) }
    var (format, data): (Range<Int>?, Range<Int>?)
    var offset = 12
    while offset < end {
      guard end - offset >= 8 else {
        throw .badHeader(path: path, offset: offset, expected: "a chunk's name and size")
      }
      let contents = offset + 8
      let size = size(offset + 4)
      guard size <= end - contents else {
        throw .truncated(path: path, found: bytes.count, expected: contents + size)
      }
      let range = contents..<contents + size
      switch tag(offset) {
      case Array("fmt ".utf8):
        guard format == nil else {
          throw .badHeader(path: path, offset: offset, expected: "one 'fmt ' chunk")
        }
        format = range
      case Array("data".utf8):
        guard data == nil else { throw .badHeader(path: path, offset: offset, expected: "one 'data' chunk") }
        data = range
      default: break
      }
      // A chunk of an odd size is followed by a byte that fills it up; some writers leave it out at the end.
      offset = min(end, contents + size + size % 2)
    }
    guard let format else { throw .badHeader(path: path, offset: end, expected: "a 'fmt ' chunk") }
    guard let data else { throw .badHeader(path: path, offset: end, expected: "a 'data' chunk") }
    (self.format, self.data) = (format, data)
  }
}
