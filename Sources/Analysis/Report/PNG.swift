import Foundation
import RunKit

/// Writes small pictures as PNG files inside the report.
///
/// Source: "Portable Network Graphics (PNG) Specification (Third Edition)", W3C, 2025. Pixels stand in stored
/// (uncompressed) blocks: the pictures are a few kilobytes, and no compressor is needed.
enum PNG {
  /// A picture of one byte (grey) or three bytes (red, green, blue) a pixel, row by row.
  static func file(width: Int, height: Int, pixels: [UInt8]) -> [UInt8] {
    let samples = pixels.count / max(1, width * height)
    var header: [UInt8] = bytes(UInt32(width)) + bytes(UInt32(height))
    header += [8, samples == 3 ? 2 : 0, 0, 0, 0]
    var rows: [UInt8] = []
    rows.reserveCapacity(pixels.count + height)
    for row in 0..<height {
      rows.append(0)
      rows += pixels[row * width * samples..<(row + 1) * width * samples]
    }
    return [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A]
      + chunk("IHDR", header) + chunk("IDAT", zlib(rows)) + chunk("IEND", [])
  }

  private static func bytes(_ word: UInt32) -> [UInt8] {
    [24, 16, 8, 0].map { UInt8(truncatingIfNeeded: word >> $0) }
  }

  private static func chunk(_ name: String, _ contents: [UInt8]) -> [UInt8] {
    let body = [UInt8](name.utf8) + contents
    var crc = CRC32()
    crc.update(body)
    return bytes(UInt32(contents.count)) + body + bytes(crc.value)
  }

  /// RFC 1950 around stored blocks of RFC 1951.
  private static func zlib(_ data: [UInt8]) -> [UInt8] {
    var stream: [UInt8] = [0x78, 0x01]
    let blockSize = 65_535
    for start in stride(from: 0, to: max(1, data.count), by: blockSize) {
      let block = data[start..<min(start + blockSize, data.count)]
      let (low, high) = (UInt8(block.count & 0xFF), UInt8(block.count >> 8))
      stream += [start + blockSize >= data.count ? 1 : 0, low, high, ~low, ~high]
      stream += block
    }
    var (first, second): (UInt32, UInt32) = (1, 0)
    for byte in data {
      first = (first + UInt32(byte)) % 65_521
      second = (second + first) % 65_521
    }
    return stream + bytes(second << 16 | first)
  }
}

extension AttentionRecord.Medium {
  /// The widest and highest picture drawn in a report; larger ones are averaged down.
  private static let drawnSide = 224

  /// The medium as a data address: an image as it is, sound with the lowest band at the bottom.
  var pictureAddress: String {
    let samples = pixels.count / (width * height)
    let factor = max(1, (max(width, height) + Self.drawnSide - 1) / Self.drawnSide)
    let (columns, rows) = ((width + factor - 1) / factor, (height + factor - 1) / factor)
    var drawn: [UInt8] = []
    drawn.reserveCapacity(columns * rows * samples)
    for row in 0..<rows {
      let source = kind == "audio" ? rows - 1 - row : row
      for column in 0..<columns {
        for sample in 0..<samples {
          drawn.append(average(source * factor, column * factor, factor, sample, samples))
        }
      }
    }
    let file = PNG.file(width: columns, height: rows, pixels: drawn)
    return "data:image/png;base64," + Data(file).base64EncodedString()
  }

  /// The mean of a square of pixels, cut at the edge.
  private func average(_ top: Int, _ left: Int, _ side: Int, _ sample: Int, _ samples: Int) -> UInt8 {
    var sum = 0
    var count = 0
    for row in top..<min(top + side, height) {
      for column in left..<min(left + side, width) {
        sum += Int(pixels[(row * width + column) * samples + sample])
        count += 1
      }
    }
    return UInt8((sum + count / 2) / max(1, count))
  }
}
