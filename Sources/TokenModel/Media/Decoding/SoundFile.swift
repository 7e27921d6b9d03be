import Foundation
import RunKit

/// Reads a sound file of any common kind.
///
/// WAV files of PCM and floats are read here, everything else by ffmpeg, in its own rate and channels: the channels are
/// averaged and the rate is changed here in either case.
struct SoundFile {
  let ffmpeg: FFmpeg

  /// The longest recording in seconds.
  static let secondsLimit = 4 * 3600
  private static let rates = 1...768_000
  private static let channels = 1...64

  /// The beginning of a recording at a sample rate; full scale is 1.
  ///
  /// - Parameters:
  ///   - seconds: How much of it is wanted.
  /// - Throws: `FileError`, `MediaError`, `DecoderError`.
  func samples(at url: URL, rate: Int, seconds: Double) throws -> [Double] {
    let sound = try read(url, seconds: seconds)
    guard !sound.samples.isEmpty else { throw MediaError.wrongLength(path: url.path, found: 0, expected: 1) }
    if sound.rate == rate { return sound.samples }
    guard let converter = SampleRateConverter(from: sound.rate, to: rate) else {
      throw MediaError.wrongSampleRate(path: url.path, found: sound.rate, expected: rate)
    }
    return converter.convert(sound.samples)
  }

  /// Bytes of a file in which its sizes are looked for.
  private static let headerSize = 4096

  private static func check(_ seconds: Double, path: String) throws(MediaError) {
    guard seconds <= Double(secondsLimit) else {
      throw .tooLarge(path: path, what: "seconds", found: Int(min(seconds, 1e12)), limit: secondsLimit)
    }
  }

  private func read(_ url: URL, seconds: Double) throws -> (samples: [Double], rate: Int) {
    // A little more than wanted, so that the filter that changes the rate finds what it needs at the end.
    let wanted = seconds + 1
    let start = try FileReader.start(of: url, count: Self.headerSize)
    guard !start.isEmpty else { throw MediaError.empty(path: url.path) }
    if start.starts(with: Array("RIFF".utf8)), start.dropFirst(8).starts(with: Array("WAVE".utf8)) {
      if let promised = WAVFile.promisedSeconds(start) { try Self.check(promised, path: url.path) }
      do {
        let wav = try WAVFile(contentsOf: url)
        return (Array(wav.samples.prefix(Int(wanted * Double(wav.sampleRate)))), wav.sampleRate)
      } catch let error as MediaError where error.code == .unsupportedFormat && ffmpeg.decoder != nil {
        // A coded WAV file: ffmpeg knows more of them.
      } catch let error as FileError where error.code == .tooLarge && ffmpeg.decoder != nil {
        // A long recording, of which ffmpeg decodes only the beginning.
      }
    }
    return try decode(url, seconds: wanted)
  }

  private func decode(_ url: URL, seconds: Double) throws -> (samples: [Double], rate: Int) {
    let facts = try ffmpeg.describe(
      url, .audio, entries: "stream=codec_type,sample_rate,channels,duration:format=duration",
      options: ["-select_streams", "a:0"])
    guard let stream = facts["streams"]?.arrayValue?.first else {
      throw MediaError.noStream(path: url.path, kind: "sound")
    }
    guard let rate = stream["sample_rate"]?.stringValue.flatMap({ Int($0) }), Self.rates ~= rate,
      let channelCount = stream["channels"]?.intValue, Self.channels ~= channelCount
    else {
      throw MediaError.notDecodable(path: url.path, reason: "the sample rate or the channels are not known")
    }
    let duration = (facts["format"]?["duration"] ?? stream["duration"])?.stringValue.flatMap { Double($0) }
    if let duration { try Self.check(duration, path: url.path) }
    let byteLimit = 4 * channelCount * Int(Double(rate) * (seconds + 1))
    var bytes: [UInt8] = []
    try ffmpeg.decode(
      url, .audio, output: ["-map", "0:a:0", "-t", "\(seconds)", "-f", "f32le", "-c:a", "pcm_f32le"],
      byteLimit: byteLimit
    ) {
      bytes += $0
      return true
    }
    let frameSize = 4 * channelCount
    var samples: [Double] = []
    samples.reserveCapacity(bytes.count / frameSize)
    for frame in stride(from: 0, to: bytes.count - frameSize + 1, by: frameSize) {
      var sum = 0.0
      for place in stride(from: frame, to: frame + frameSize, by: 4) {
        let word = (0..<4).reduce(UInt32(0)) { $0 | UInt32(bytes[place + $1]) << (8 * UInt32($1)) }
        let value = Double(Float(bitPattern: word))
        guard abs(value) <= 1e6 else {
          throw MediaError.notDecodable(path: url.path, reason: "a sample of \(value) (full scale is 1)")
        }
        sum += value
      }
      samples.append(sum / Double(channelCount))
    }
    return (samples, rate)
  }
}
