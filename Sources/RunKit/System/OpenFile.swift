import Foundation

/// A file opened by this process, closed when the last reference goes.
///
/// Each write, sync and truncation passes a `FaultPoint` first, so that none can be forgotten by a caller.
final class OpenFile: Sendable {
  /// What a file is opened for.
  enum Purpose: Sendable {
    /// Reading an existing regular file.
    case reading
    /// Writing a file that must not exist yet.
    case creating
    /// Adding at the end; created if it is missing.
    case appending
    /// Changing an existing file in place, to cut off its end.
    case shortening
    /// Holding a lock; created if it is missing, its contents kept.
    case locking
    /// Writing to something that is not a regular file: a device or a pipe.
    case device

    fileprivate var flags: Int32 {
      switch self {
      // Without O_NONBLOCK the opening of a named pipe would wait for a writer.
      case .reading: O_RDONLY | O_NONBLOCK
      case .creating: O_WRONLY | O_CREAT | O_EXCL
      case .appending: O_WRONLY | O_CREAT | O_APPEND
      case .shortening: O_RDWR
      case .locking: O_RDWR | O_CREAT
      case .device: O_WRONLY
      }
    }
  }

  /// The path it was opened with.
  let path: String
  private let descriptor: Int32
  private let closesDescriptor: Bool

  /// Opens `path`.
  ///
  /// - Throws: `FileError.missing`, `.notReadable`, `.isFolder`, `.notRegular`, `.cannotCreate`, `.readOnly` or
  ///   `.noSpace`.
  init(_ path: String, for purpose: Purpose) throws(FileError) {
    let descriptor = unsafe open(path, purpose.flags | O_CLOEXEC, 0o666)
    guard descriptor >= 0 else {
      throw FileError(opening: path, for: purpose == .reading ? .reading : .writing, errorNumber: errno)
    }
    self.path = path
    self.descriptor = descriptor
    self.closesDescriptor = true
    if purpose == .reading {
      switch try status().kind {
      case .regular: break
      case .folder: throw .isFolder(path: path, purpose: .reading)
      case .other: throw .notRegular(path: path)
      }
    }
  }

  private init(path: String, descriptor: Int32) {
    self.path = path
    self.descriptor = descriptor
    self.closesDescriptor = false
  }

  /// The standard input of this process, which is not closed.
  static let standardInput = OpenFile(path: "standard input", descriptor: STDIN_FILENO)
  /// The standard output of this process, which is not closed.
  static let standardOutput = OpenFile(path: "standard output", descriptor: STDOUT_FILENO)
  /// The standard error of this process, which is not closed.
  static let standardError = OpenFile(path: "standard error", descriptor: STDERR_FILENO)

  deinit {
    if closesDescriptor { close(descriptor) }
  }

  /// Kind and size of the open file.
  func status() throws(FileError) -> FileStatus {
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else {
      throw FileError(failing: .readStatus, path: path, errorNumber: errno)
    }
    return FileStatus(status)
  }

  /// Up to `limit` bytes from the current place; empty at the end of the file.
  func read(upTo limit: Int) throws(FileError) -> [UInt8] {
    while true {
      var count = 0
      let bytes = unsafe [UInt8](unsafeUninitializedCapacity: limit) { buffer, initialized in
        count = unsafe Foundation.read(descriptor, buffer.baseAddress, limit)
        initialized = max(count, 0)
      }
      if count >= 0 { return bytes }
      let number = errno
      guard number == EINTR else { throw FileError(failing: .read, path: path, errorNumber: number) }
    }
  }

  /// Writes all bytes, going on after a short or interrupted write.
  func write(_ bytes: Span<UInt8>) throws(FileError) {
    // Messages come when the clock says so: they must not change the count of fault points.
    guard closesDescriptor else { return try writeAll(bytes) }
    switch FaultPoint.next() {
    case .pass: break
    case .fail(let number): throw FileError(failing: .write, path: path, errorNumber: number)
    case .kill(let tears):
      if tears { try writeAll(bytes.extracting(first: bytes.count / 2)) }
      FaultPoint.killProcess()
    }
    try writeAll(bytes)
  }

  private func writeAll(_ bytes: Span<UInt8>) throws(FileError) {
    var offset = 0
    while offset < bytes.count {
      let rest = bytes.extracting(offset..<bytes.count)
      let count = unsafe rest.withUnsafeBufferPointer {
        unsafe Foundation.write(descriptor, $0.baseAddress, $0.count)
      }
      if count >= 0 {
        offset += count
        continue
      }
      let number = errno
      guard number == EINTR else { throw FileError(failing: .write, path: path, errorNumber: number) }
    }
  }

  /// Waits until the contents are on the disk.
  func sync() throws(FileError) {
    try FaultPoint.reach(.sync, path: path)
    guard fsync(descriptor) == 0 else { throw FileError(failing: .sync, path: path, errorNumber: errno) }
  }

  /// Cuts the file off after `size` bytes.
  func truncate(to size: Int) throws(FileError) {
    try FaultPoint.reach(.truncate, path: path)
    guard ftruncate(descriptor, off_t(size)) == 0 else {
      throw FileError(failing: .truncate, path: path, errorNumber: errno)
    }
  }

  /// Takes the exclusive lock of the file if nobody holds it; it goes when the file is closed.
  ///
  /// - Returns: Whether the lock was taken.
  func lockExclusively() throws(FileError) -> Bool {
    while true {
      if flock(descriptor, LOCK_EX | LOCK_NB) == 0 { return true }
      let number = errno
      if number == EWOULDBLOCK { return false }
      guard number == EINTR else { throw FileError(failing: .lock, path: path, errorNumber: number) }
    }
  }
}
