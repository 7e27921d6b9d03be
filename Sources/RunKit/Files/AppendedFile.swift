import Foundation

/// A file that grows by whole records: a record that a full disk cut short is taken off again.
final class AppendedFile {
  /// Bytes in the file.
  private(set) var size: Int
  private let file: OpenFile

  /// Opens a file for appending; it is created if it is missing.
  ///
  /// - Throws: `FileError`.
  init(_ url: URL) throws(FileError) {
    let isNew = FileSystem.status(of: url.path) == nil
    file = try OpenFile(url.path, for: .appending)
    let status = try file.status()
    guard status.kind == .regular else { throw .notRegular(path: url.path) }
    size = status.size
    if isNew { try FileSystem.syncFolder(url.deletingLastPathComponent().path) }
  }

  /// Adds a record; after a failure the file ends with the last whole one, and another can be tried.
  ///
  /// - Throws: `FileError.noSpace`, `.readOnly` or `.failed`.
  func append(_ record: [UInt8]) throws(FileError) {
    do throws(FileError) {
      try file.write(record.span)
    } catch {
      // If cutting it off fails too, whoever reads the file next will do it.
      try? file.truncate(to: size)
      throw error
    }
    size += record.count
  }

  /// Waits until everything is on the disk.
  func sync() throws(FileError) { try file.sync() }
}
