public import Foundation
import RunKit

/// An image from a portable graymap or pixmap: P2 and P3 in text, P5 and P6 in bytes.
///
/// Source: "pgm" and "ppm" file formats, Netpbm documentation. One image a file; a plain file may have comments
/// between its numbers too, as Netpbm reads it.
public struct PNMFile: Sendable, Equatable {
  /// The file, for messages.
  public let path: String
  /// 1 for a graymap, 3 (red, green, blue) for a pixmap.
  public let channelCount: Int
  /// Rows.
  public let height: Int
  /// Columns.
  public let width: Int
  /// The value of full brightness, 1 to 65535.
  public let maximum: Int
  /// Values from 0 to `maximum`, `[channels, height, width]`.
  public let values: [UInt16]

  /// The largest file in bytes.
  public static let sizeLimit = 128 << 20
  /// The most values (pixels times channels).
  public static let valueLimit = 1 << 25

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
    var scanner = PNMScanner(path: path, bytes: bytes)
    let (channelCount, isPlain) = try scanner.kind()
    let width = try scanner.number("the width", in: 1...Self.valueLimit)
    let height = try scanner.number("the height", in: 1...Self.valueLimit)
    let maximum = try scanner.number("the value of full brightness", in: 1...65535)
    // Each factor is at most 2^25, so the product fits.
    let count = channelCount * width * height
    guard count <= Self.valueLimit else {
      throw .tooLarge(path: path, what: "values", found: count, limit: Self.valueLimit)
    }
    let interleaved =
      try isPlain
      ? scanner.plainValues(count, maximum: maximum) : scanner.rawValues(count, maximum: maximum)
    self.path = path
    (self.channelCount, self.height, self.width, self.maximum) = (channelCount, height, width, maximum)
    let pixelCount = width * height
    values =
      channelCount == 1
      ? interleaved
      : (0..<count).map { interleaved[$0 % pixelCount * channelCount + $0 / pixelCount] }
  }

  /// The image as bytes for a model, `[channels, height, width]`.
  ///
  ///     u8 = floor(255 value / maximum + 0.5)
  ///
  /// which leaves the values of an image of maximum 255 as they are.
  public func bytes() -> [UInt8] {
    // Whole numbers: 255 v / m + 1/2 = (510 v + m) / 2m.
    values.map { UInt8((510 * Int($0) + maximum) / (2 * maximum)) }
  }

  /// The image as a medium of a model.
  ///
  /// - Parameters:
  ///   - shape: What the model takes, `[channels, height, width]`.
  ///   - identity: What the image is called in results.
  /// - Throws: `MediaError.wrongImageSize`.
  public func medium(shape: [Int], identity: String) throws(MediaError) -> Medium {
    let found = [channelCount, height, width]
    guard found == shape else { throw .wrongImageSize(path: path, found: found, expected: shape) }
    return Medium(modality: .image, shape: shape, bytes: bytes(), identity: identity)
  }
}

/// Reads the tokens of a PNM file from front to back.
private struct PNMScanner {
  let path: String
  let bytes: [UInt8]
  private var offset = 0

  init(path: String, bytes: [UInt8]) { (self.path, self.bytes) = (path, bytes) }

  /// The magic number: how many channels, and whether values are text.
  mutating func kind() throws(MediaError) -> (channelCount: Int, isPlain: Bool) {
    guard bytes.count >= 2 else {
      throw bytes.isEmpty || bytes[0] == UInt8(ascii: "P")
        ? .truncated(path: path, found: bytes.count, expected: 2)
        : .badHeader(path: path, offset: 0, expected: "P2, P3, P5 or P6, the start of a PNM file")
    }
    offset = 2
    let magic = String(decoding: bytes[..<2], as: UTF8.self)
    switch magic {
    case "P2": return (1, true)
    case "P3": return (3, true)
    case "P5": return (1, false)
    case "P6": return (3, false)
    case "P1", "P4", "P7", "Pf", "PF":
      throw .unsupportedFormat(path: path, found: "a \(magic) file", supported: "P2, P3, P5 and P6")
    default: throw .badHeader(path: path, offset: 0, expected: "P2, P3, P5 or P6, the start of a PNM file")
    }
  }

  /// The next number of the header or of plain values, after white space and comments.
  mutating func number(_ what: String, in range: ClosedRange<Int>) throws(MediaError) -> Int {
    let before = offset
    skipSpace()
    let start = offset
    guard start < bytes.count else {
      throw .truncated(path: path, found: bytes.count, expected: bytes.count + 1)
    }
    var value = 0
    while offset < bytes.count, UInt8(ascii: "0")...UInt8(ascii: "9") ~= bytes[offset] {
      // More digits cannot bring it back into the range, and must not overflow.
      value = min(1 << 40, value * 10 + Int(bytes[offset] - UInt8(ascii: "0")))
      offset += 1
    }
    guard offset > start, start > before else {
      throw .badHeader(path: path, offset: start, expected: "\(what), a number after white space")
    }
    guard range.contains(value) else {
      throw .badHeader(
        path: path, offset: start,
        expected: "\(what) from \(range.lowerBound) to \(range.upperBound), found \(value)")
    }
    return value
  }

  /// `count` values as text; white space may follow, nothing else.
  mutating func plainValues(_ count: Int, maximum: Int) throws(MediaError) -> [UInt16] {
    // Two bytes a value at least: checked before room is made for them.
    guard bytes.count - offset >= 2 * count else {
      throw .truncated(path: path, found: bytes.count, expected: offset + 2 * count)
    }
    var values: [UInt16] = []
    values.reserveCapacity(count)
    for _ in 0..<count { values.append(UInt16(try number("a value", in: 0...maximum))) }
    skipSpace()
    guard offset == bytes.count else { throw .trailingBytes(path: path, offset: offset) }
    return values
  }

  /// `count` values as bytes, or as pairs of bytes with the high one first if `maximum` needs them.
  mutating func rawValues(_ count: Int, maximum: Int) throws(MediaError) -> [UInt16] {
    guard offset < bytes.count else { throw .truncated(path: path, found: bytes.count, expected: offset + 1) }
    guard Self.isSpace(bytes[offset]) else {
      throw .badHeader(path: path, offset: offset, expected: "one white space before the values")
    }
    offset += 1
    let valueSize = maximum > 255 ? 2 : 1
    let end = offset + count * valueSize
    guard end <= bytes.count else { throw .truncated(path: path, found: bytes.count, expected: end) }
    guard end == bytes.count else { throw .trailingBytes(path: path, offset: end) }
    var values: [UInt16] = []
    values.reserveCapacity(count)
    for place in stride(from: offset, to: end, by: valueSize) {
      let value = valueSize == 1 ? UInt16(bytes[place]) : UInt16(bytes[place]) << 8 | UInt16(bytes[place + 1])
      guard value <= maximum else {
        throw .badSample(
          path: path, offset: place, found: "\(value)", expected: "a value of at most \(maximum)")
      }
      values.append(value)
    }
    return values
  }

  /// Skips white space and comments, which run from # to the end of the line.
  private mutating func skipSpace() {
    while offset < bytes.count {
      if Self.isSpace(bytes[offset]) {
        offset += 1
      } else if bytes[offset] == UInt8(ascii: "#") {
        while offset < bytes.count, bytes[offset] != 0x0A, bytes[offset] != 0x0D { offset += 1 }
      } else {
        return
      }
    }
  }

  private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || 0x09...0x0D ~= byte }
}
