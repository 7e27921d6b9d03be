import Foundation

/// A file that appears under its name only when it is complete.
///
/// Bytes go to a temporary name in the same folder; `commit` flushes them to the disk and renames the file, so that
/// a reader sees the old contents or all of the new ones. Without `commit` the temporary file is removed.
struct OutputFile: ~Copyable {
  private let path: String
  private let temporaryPath: String
  private let descriptor: Int32
  private var isCommitted = false

  init(path: String) throws(TensorWriteError) {
    self.path = path
    // The process number keeps two writers of one name apart.
    temporaryPath = "\(path).\(getpid()).tmp"
    descriptor = unsafe open(temporaryPath, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0o644)
    guard descriptor >= 0 else { throw Self.failure(path) }
  }

  deinit {
    close(descriptor)
    if !isCommitted { unsafe _ = unlink(temporaryPath) }
  }

  mutating func write(_ bytes: [UInt8]) throws(TensorWriteError) { try write(.owned(bytes)) }

  /// Writes the bytes from where they lie, and lets go of the pages of a mapped file behind it.
  mutating func write(_ storage: StoredBytes) throws(TensorWriteError) {
    let isWritten = unsafe storage.withUnsafeBytes { bytes in
      var offset = 0
      while offset < bytes.count {
        let written = unsafe Foundation.write(descriptor, bytes.baseAddress! + offset, bytes.count - offset)
        if written < 0 && errno == EINTR { continue }
        guard written > 0 else { return false }
        offset += written
      }
      return true
    }
    guard isWritten else { throw Self.failure(path) }
    storage.releasePages()
  }

  mutating func commit() throws(TensorWriteError) {
    guard fsync(descriptor) == 0, unsafe rename(temporaryPath, path) == 0 else { throw Self.failure(path) }
    isCommitted = true
    // The new name is on the disk once its folder is.
    let folder = (path as NSString).deletingLastPathComponent
    let folderDescriptor = unsafe open(folder.isEmpty ? "." : folder, O_RDONLY | O_CLOEXEC)
    if folderDescriptor >= 0 {
      fsync(folderDescriptor)
      close(folderDescriptor)
    }
  }

  private static func failure(_ path: String) -> TensorWriteError {
    let reason = unsafe String(cString: strerror(errno))
    return .cannotWrite(path: path, reason: reason)
  }
}
