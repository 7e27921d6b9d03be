public import Foundation

/// Appends records to a JSON Lines file: one compact document and a line feed each.
///
/// Every record is handed to the system at once, so that a killed process loses none; every few records and at
/// the end the file goes to the disk, so that a crashed machine loses few.
public final class JSONLinesWriter {
  /// The file.
  public let url: URL
  private let file: AppendedFile
  private let recordsPerSync: Int
  private var recordsSinceSync = 0
  /// Bytes in the file.
  public var size: Int { file.size }

  /// Opens a file for appending; it is created if it is missing.
  ///
  /// A file that a killed process may have left must first be read with `JSONLinesReader` in recovering mode.
  ///
  /// - Parameter recordsPerSync: After how many records the file goes to the disk; at least 1.
  /// - Throws: `FileError`.
  public init(appendingTo url: URL, recordsPerSync: Int = 16) throws(FileError) {
    self.url = url
    self.recordsPerSync = max(1, recordsPerSync)
    file = try AppendedFile(url)
  }

  /// Adds one record.
  ///
  /// After a failure the file ends with the last complete record, and another can be tried.
  ///
  /// - Throws: `FileError.noSpace`, `.readOnly` or `.failed`.
  public func append(_ record: JSONValue) throws(FileError) {
    try file.append([UInt8]((record.text(.compact) + "\n").utf8))
    recordsSinceSync += 1
    if recordsSinceSync >= recordsPerSync { try sync() }
  }

  /// Waits until all records are on the disk.
  public func sync() throws(FileError) {
    if recordsSinceSync == 0 { return }
    try file.sync()
    recordsSinceSync = 0
  }
}
