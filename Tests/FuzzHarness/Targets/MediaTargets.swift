import Foundation
import RunKit
import TokenModel

private typealias Bytes = CheckpointBytes

/// A WAVE file; sizes that are not given are right.
private func waveFile(
  tag: Int = 1, channels: Int = 1, rate: Int = 8_000, bits: Int = 16, tail: [UInt8] = [],
  before: [UInt8] = [],
  data: [UInt8] = [0, 64, 0, 192], dataCount: Int? = nil
) -> [UInt8] {
  func number(_ value: Int, _ count: Int) -> [UInt8] { Bytes.littleEndian(value, count: count) }
  let frame = channels * bits / 8
  let format =
    number(tag, 2) + number(channels, 2) + number(rate, 4) + number(rate * frame, 4) + number(frame, 2)
    + number(bits, 2) + tail
  let count = dataCount ?? data.count
  let chunks = before + "fmt ".utf8 + number(format.count, 4) + format + "data".utf8 + number(count, 4)
  return "RIFF".utf8 + number(4 + chunks.count + count, 4) + "WAVE".utf8 + chunks + data
}

/// The format by which a WAVE file says which of its bits count.
private let extensibleTail: [UInt8] =
  [22, 0, 16, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0x10, 0, 0x80, 0, 0, 0xAA, 0, 0x38, 0x9B, 0x71]

/// All of a file but its bulk data is structure.
private let waveLayout = FuzzLayout.binary(headerCount: 84)
private let imageLayout = FuzzLayout.binary(headerCount: 24)

/// A sound as long as the models take it.
private func spoken(rate: Int = 8_000, count: Int = 6_400) -> [UInt8] {
  waveFile(rate: rate, bits: 8, data: (0..<count).map { UInt8(truncatingIfNeeded: $0 &* $0 >> 7) })
}

/// Images that are none, or are not whole.
private let refusedImages: [String] = [
  "P1 1 1 1", "P4", "P7", "P9", "P5 0 1 255 ", "P5 1 1 0 ", "P5 1 1 65536 ", "P5 1 1 255",
  "P5 1 1 1 \u{2}",
  "P5 99999999 99999999 255 ", "P5 4096 99999999 255 ", "P2 2 2 9 1 2 3", "P2 1 1 9 10",
  "P2 1 1 9 1 2", "P",
]

/// Sounds that no model takes, and files that are no sounds.
private let refusedSounds: [[UInt8]] = [
  waveFile(tag: 2), waveFile(tag: 3, bits: 64, data: [0, 0, 0, 0, 0, 0, 0xF0, 0x7F]),
  waveFile(channels: 257),
  waveFile(rate: 2_000_000), waveFile(rate: 0), waveFile(tag: 0xFFFE, tail: extensibleTail),
  waveFile(tag: 0xFFFE),
  waveFile(data: [1, 2, 3]), waveFile(dataCount: 100), waveFile() + [0], Array(waveFile().prefix(20)),
  [],
  spoken(rate: 16_000), spoken(count: 6_399), waveFile(dataCount: 0),
]

extension FuzzTarget {
  /// Sound, as far as its log-mel.
  static let wav = FuzzTarget(
    "wav", errors: [MediaError.self],
    seeds: [
      [FuzzFile("a.wav", spoken(), waveLayout)]
    ],
    directed: each(refusedSounds) { [FuzzFile("a.wav", $0, waveLayout)] } + [
      { random in
        let bits = random.pick([8, 16, 24, 32, 64, 12])
        let data = [UInt8](repeating: 1, count: 2 * bits)
        return [FuzzFile("a.wav", waveFile(tag: random.pick([1, 1, 3]), bits: bits, data: data), waveLayout)]
      }
    ],
    large: [
      { random in
        // As many samples as are taken, and one more; they occupy no space on the disk.
        let count = random.pick([1 << 24, 1 << 24 + 1, 1 << 26])
        let header = waveFile(bits: 8, data: [], dataCount: count)
        return [FuzzFile("a.wav", header, zerosUpTo: header.count + count)]
      }
    ],
    read: { folder in
      let file = try WAVFile(contentsOf: URL(fileURLWithPath: "\(folder)/a.wav"))
      let shape = [AVDigitsLogMel.melCount, AVDigitsLogMel.frameCount]
      _ = try AVDigitsLogMel().medium(file, shape: shape, identity: "a")
    })

  /// Images.
  static let pnm = FuzzTarget(
    "pnm", errors: [],
    seeds: [
      ("P5 2 2 255\n", [1, 2, 3, 4]), ("P2\n# a comment\n2 2\n15\n", Array("0 1 2 15\n".utf8)),
      ("P6\n1 1\n255\n", [1, 2, 3]), ("P3 1 1 9 ", Array("1 2 3".utf8)),
      ("P5 2 2 300\n", [0, 1, 1, 44, 0, 0, 0, 9]),
    ].map { header, data in [FuzzFile("a.pnm", Array(header.utf8) + data, imageLayout)] },
    directed: each(refusedImages) { [FuzzFile("a.pnm", [UInt8]($0.utf8), imageLayout)] } + [],
    large: [
      { random in
        let (side, channels) = random.pick([(5_792, 1), (3_344, 3), (8_192, 1)])
        let header = [UInt8]("P\(channels == 1 ? 5 : 6) \(side) \(side) 255\n".utf8)
        return [FuzzFile("a.pnm", header, zerosUpTo: header.count + side * side * channels)]
      }
    ],
    read: { folder in
      let file = try PNMFile(contentsOf: URL(fileURLWithPath: "\(folder)/a.pnm"))
      let shape = file.channelCount == 1 ? [1, 2, 2] : [3, 1, 1]
      let medium = try file.medium(shape: shape, identity: "a")
      guard medium.bytes.count == shape.reduce(1, *) else {
        throw FuzzFailure(message: "an image has another number of bytes than its shape says")
      }
    })
}
