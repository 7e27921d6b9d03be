public import Foundation

/// Appends scalars to a TensorBoard event file.
///
/// The file is a sequence of records, each a serialised `Event` message:
///
///     8 bytes   length n, little-endian
///     4 bytes   masked CRC-32C of these 8 bytes
///     n bytes   Event: wall_time (1, double), step (2, varint), file_version (3, string) or summary (5, message)
///     4 bytes   masked CRC-32C of the n bytes
///
/// A summary holds values (1) of a tag (1, string) and a float (2). The first record names the version, `brain.Event:2`.
/// The same events give the same bytes: no clock is read, the wall time of an event is what its writer says it is.
///
/// Source: TensorFlow's `tensorflow/core/lib/io/record_writer.h`, `event.proto` and `summary.proto`.
public final class EventFileWriter {
  /// The file.
  public let url: URL
  /// Bytes in the file.
  public var size: Int { file.size }
  private let file: AppendedFile

  /// Opens a file for appending; an empty or missing one gets its first record.
  ///
  /// A file that a killed process may have left must first be cut back to a size that `size` had.
  ///
  /// - Throws: `FileError`.
  public init(appendingTo url: URL) throws(FileError) {
    self.url = url
    file = try AppendedFile(url)
    if size == 0 { try append(Self.event(wallTime: 0, step: 0, field: 3, [UInt8]("brain.Event:2".utf8))) }
  }

  /// Adds the scalars of a step as one event.
  ///
  /// - Parameters:
  ///   - wallTime: Seconds; TensorBoard offers them as a horizontal axis beside the step.
  /// - Throws: `FileError.noSpace`, `.readOnly` or `.failed`.
  public func append(
    step: Int, wallTime: Double, scalars: [(tag: String, value: Double)]
  ) throws(FileError) {
    var summary: [UInt8] = []
    for (tag, value) in scalars {
      let name = [UInt8](tag.utf8)
      // Field 1 of kind 2 (bytes), field 2 of kind 5 (32 bits).
      let number =
        [0x0A] + Self.varint(name.count) + name + [0x15] + Self.littleEndian(Float(value).bitPattern)
      summary += [0x0A] + Self.varint(number.count) + number
    }
    try append(Self.event(wallTime: wallTime, step: step, field: 5, summary))
  }

  /// Waits until all events are on the disk.
  public func sync() throws(FileError) { try file.sync() }

  private func append(_ message: [UInt8]) throws(FileError) {
    let length = Self.littleEndian(UInt64(message.count))
    try file.append(
      length + Self.littleEndian(Self.maskedCheck(length)) + message
        + Self.littleEndian(Self.maskedCheck(message)))
  }

  /// Fields of value 0 are left out, as in every message of this kind.
  private static func event(wallTime: Double, step: Int, field: UInt8, _ bytes: [UInt8]) -> [UInt8] {
    (wallTime == 0 ? [] : [0x09] + littleEndian(wallTime.bitPattern))
      + (step == 0 ? [] : [0x10] + varint(step))
      + [field << 3 | 2] + varint(bytes.count) + bytes
  }

  /// A check that may stand among the bytes of another one.
  private static func maskedCheck(_ bytes: [UInt8]) -> UInt32 {
    let check = CRC32.of(bytes, .castagnoli)
    return (check >> 15 | check << 17) &+ 0xA282_EAD8
  }

  /// Seven bits at a time, the lowest first; the top bit of a byte says that more follow.
  private static func varint(_ value: Int) -> [UInt8] {
    var rest = UInt64(bitPattern: Int64(value))
    var bytes: [UInt8] = []
    while rest >= 0x80 {
      bytes.append(UInt8(truncatingIfNeeded: rest) | 0x80)
      rest >>= 7
    }
    return bytes + [UInt8(rest)]
  }

  private static func littleEndian<Word: FixedWidthInteger>(_ word: Word) -> [UInt8] {
    (0..<Word.bitWidth / 8).map { UInt8(truncatingIfNeeded: word >> Word($0 * 8)) }
  }
}
