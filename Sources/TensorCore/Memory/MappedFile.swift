import Foundation
public import RunKit

/// A whole regular file mapped read-only into memory; unmapped when the last reference goes.
///
/// Pages are read when they are touched and can be dropped again, so that a checkpoint larger than memory can be
/// used. The file must not be shortened while it is mapped: POSIX then ends the process on the next access.
@safe public final class MappedFile: Sendable {
  /// The path it was opened with.
  public let path: String
  /// Bytes in the file.
  public let count: Int
  // Never written through and unmapped only in `deinit`, so it may be shared between threads.
  // Nil for an empty file, which cannot be mapped.
  nonisolated(unsafe) private let base: UnsafeRawPointer?

  /// Maps the file at `path`.
  ///
  /// - Throws: `FileError` for a missing file, a folder or device, or one that may not be read.
  public init(path: String) throws(FileError) {
    // Without O_NONBLOCK the opening of a named pipe would wait for a writer.
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw Self.failure(path) }
    defer { close(descriptor) }
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else { throw Self.failure(path) }
    switch status.st_mode & mode_t(S_IFMT) {
    case mode_t(S_IFREG): break
    case mode_t(S_IFDIR): throw .isFolder(path: path, purpose: .reading)
    default: throw .notRegular(path: path)
    }
    self.path = path
    count = Int(status.st_size)
    guard count > 0 else {
      unsafe base = nil
      return
    }
    let start = unsafe mmap(nil, count, PROT_READ, MAP_PRIVATE, descriptor, 0)
    guard let start = unsafe start, unsafe start != MAP_FAILED else { throw Self.failure(path) }
    unsafe base = UnsafeRawPointer(start)
  }

  deinit {
    if let base = unsafe base { unsafe munmap(UnsafeMutableRawPointer(mutating: base), count) }
  }

  /// A copy of some bytes.
  ///
  /// - Parameter range: Within `0..<count`; anything else is a defect of the caller and traps.
  public func bytes(_ range: Range<Int>) -> [UInt8] {
    unsafe withUnsafeBytes(range) { unsafe [UInt8]($0) }
  }

  /// Calls `body` with some bytes, which must not be used after it returns.
  ///
  /// - Parameter range: Within `0..<count`; anything else is a defect of the caller and traps.
  public func withUnsafeBytes<Result>(
    _ range: Range<Int>, _ body: (UnsafeRawBufferPointer) throws -> Result
  ) rethrows -> Result {
    require(range.lowerBound >= 0 && range.upperBound <= count, "bytes \(range) of a file of \(count)")
    return unsafe try body(
      UnsafeRawBufferPointer(start: base.map { unsafe $0 + range.lowerBound }, count: range.count))
  }

  /// Lets the system drop the pages that hold these bytes; they are read again when next touched.
  ///
  /// - Parameter range: Widened to whole pages; the part outside the file is ignored.
  public func releasePages(_ range: Range<Int>) {
    let pageSize = Int(sysconf(Int32(_SC_PAGESIZE)))
    let range = range.clamped(to: 0..<count)
    guard let base = unsafe base, pageSize > 0, !range.isEmpty else { return }
    let start = range.lowerBound / pageSize * pageSize
    // A refused hint leaves the pages where they are, which is correct too.
    unsafe _ = madvise(
      UnsafeMutableRawPointer(mutating: base + start), range.upperBound - start, MADV_DONTNEED)
  }

  private static func failure(_ path: String) -> FileError {
    let number = errno
    if number == ENOENT || number == ENOTDIR { return .missing(path: path) }
    let reason = unsafe String(cString: strerror(number))
    return .notReadable(path: path, reason: reason)
  }
}
