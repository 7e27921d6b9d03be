public import Foundation
import Synchronization

/// Writing a file so that its name holds either the old contents or all of the new ones, even after a crash.
///
/// The bytes go to a temporary name in the same folder, to the disk, and then under the final name in one step;
/// at last the folder goes to the disk. After any failure the temporary file is removed.
///
/// A symbolic link keeps standing: the file it points at is replaced. A device or pipe is written directly.
public enum AtomicFile {
  /// Writes these bytes.
  ///
  /// - Throws: `FileError.cannotCreate`, `.isFolder`, `.readOnly`, `.noSpace` or `.failed`.
  public static func write(_ bytes: [UInt8], to url: URL) throws(FileError) {
    try writeTyped(to: url) { file throws(FileError) in try file.write(bytes) }
  }

  /// Writes this text as UTF-8.
  ///
  /// - Throws: As `write(_:to:)` for bytes.
  public static func write(_ text: String, to url: URL) throws(FileError) {
    try write([UInt8](text.utf8), to: url)
  }

  /// Writes what `body` gives to the file, without holding it in memory.
  ///
  /// - Throws: What `body` throws, and as `write(_:to:)` for bytes. Nothing is left behind either way.
  public static func write(
    to url: URL, _ body: (OutputFile) throws -> Void
  ) throws {
    // One generic function cannot throw both kinds by type, so the body's error travels in a result.
    var bodyError: (any Error)?
    do throws(FileError) {
      try writeTyped(to: url) { (file) throws(FileError) in
        do { try body(file) } catch {
          bodyError = error
          throw (error as? FileError) ?? .failed(path: url.path, operation: .write, reason: "\(error)")
        }
      }
    } catch {
      throw bodyError ?? error
    }
  }

  private static func writeTyped(
    to url: URL, _ body: (OutputFile) throws(FileError) -> Void
  ) throws(FileError) {
    let path = FileSystem.resolvingLinks(in: url.path) ?? url.path
    switch FileSystem.status(of: path)?.kind {
    case .folder: throw .isFolder(path: url.path, purpose: .writing)
    case .other:
      // Renaming would put a file in the place of, say, /dev/null.
      let output = OutputFile(try OpenFile(path, for: .device))
      try body(output)
      try output.flush()
    case .regular, nil: try replace(path, body)
    }
  }

  private static func replace(
    _ path: String, _ body: (OutputFile) throws(FileError) -> Void
  ) throws(FileError) {
    let folder = (path as NSString).deletingLastPathComponent
    let folderPath = folder.isEmpty ? "." : folder
    let temporary = folderPath + "/" + temporaryName()
    // A killed process of the same number may have left one of the same name.
    try FileSystem.remove(temporary)
    do throws(FileError) {
      try writeAndSync(temporary, body)
      try FileSystem.rename(temporary, to: path)
      try FileSystem.syncFolder(folderPath)
    } catch {
      try? FileSystem.remove(temporary)
      throw error.renaming(temporary, to: path)
    }
  }

  private static func writeAndSync(
    _ temporary: String, _ body: (OutputFile) throws(FileError) -> Void
  ) throws(FileError) {
    let output = OutputFile(try OpenFile(temporary, for: .creating))
    try body(output)
    try output.flushAndSync()
  }

  private static let temporaryCount = Atomic<Int>(0)

  // Not made from the final name, which may already be as long as the file system allows.
  private static func temporaryName() -> String {
    let (_, number) = temporaryCount.add(1, ordering: .relaxed)
    return ".mmprobe-\(ProcessFacts.identifier)-\(number).partial"
  }

  /// Whether a name is one a killed process may have left behind.
  static func isTemporaryName(_ name: String) -> Bool {
    name.hasPrefix(".mmprobe-") && name.hasSuffix(".partial")
  }
}

extension FileError {
  /// The same error about the file the user knows, in place of its temporary name.
  fileprivate func renaming(_ temporary: String, to path: String) -> FileError {
    guard self.path == temporary else { return self }
    switch self {
    case .cannotCreate(_, let reason): return .cannotCreate(path: path, reason: reason)
    case .readOnly: return .readOnly(path: path)
    case .noSpace(_, let operation): return .noSpace(path: path, operation: operation)
    case .failed(_, let operation, let reason):
      return .failed(path: path, operation: operation, reason: reason)
    default: return self
    }
  }
}
