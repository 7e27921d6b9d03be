/// Writes WAV files field by field, right or wrong.
struct WAVBytes {
  var tag = 1
  var channelCount = 1
  var sampleRate = 8000
  var bits = 16
  var byteRate: Int?
  var frameSize: Int?
  /// What follows the first 16 bytes of the format.
  var formatTail: [UInt8] = []
  /// Chunks before the data.
  var chunks: [UInt8] = []
  var data: [UInt8] = [0, 0x40, 0, 0xC0]

  var bytes: [UInt8] {
    let frameSize = frameSize ?? channelCount * bits / 8
    let format =
      Self.number(tag, 2) + Self.number(channelCount, 2) + Self.number(sampleRate, 4)
      + Self.number(byteRate ?? sampleRate * frameSize, 4) + Self.number(frameSize, 2) + Self.number(bits, 2)
      + formatTail
    return Self.file(Self.chunk("fmt ", format) + chunks + Self.chunk("data", data))
  }

  static func file(_ contents: [UInt8]) -> [UInt8] {
    Array("RIFF".utf8) + number(4 + contents.count, 4) + Array("WAVE".utf8) + contents
  }

  static func chunk(_ name: String, _ contents: [UInt8]) -> [UInt8] {
    Array(name.utf8) + number(contents.count, 4) + contents + [UInt8](repeating: 0, count: contents.count % 2)
  }

  static func number(_ value: Int, _ count: Int) -> [UInt8] {
    (0..<count).map { UInt8(truncatingIfNeeded: value >> (8 * $0)) }
  }

  /// The extension of a format: bits that count, speakers, and the identifier of a format number.
  static func extensible(validBits: Int, tag: Int) -> [UInt8] {
    number(22, 2) + number(validBits, 2) + number(0, 4) + number(tag, 2)
      + [0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71]
  }
}
