import Foundation
public import RunKit

/// A whole regular file mapped read-only into memory; unmapped when the last reference goes.
///
/// Pages are read when they are touched and can be dropped again, so that a checkpoint larger than memory can be
/// used. The file must not be shortened while it is mapped: POSIX then ends the process on the next access.
@safe public final class MappedFile: Sendable {
  /// The path it was opened with.
  public let path: String
  /// Bytes in the file; at least 1.
  public let count: Int
  // Never written through and unmapped only in `deinit`, so it may be shared between threads.
  nonisolated(unsafe) private let base: UnsafeRawPointer

  /// Maps the file at `path`.
  ///
  /// - Throws: `MappedFileError` for a missing or empty file, a folder or device, or one that may not be read.
  public init(path: String) throws(MappedFileError) {
    // Without O_NONBLOCK the opening of a named pipe would wait for a writer.
    let descriptor = unsafe open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK)
    guard descriptor >= 0 else { throw Self.failure(path) }
    defer { close(descriptor) }
    var status = stat()
    guard unsafe fstat(descriptor, &status) == 0 else { throw Self.failure(path) }
    let kind = status.st_mode & mode_t(S_IFMT)
    guard kind == mode_t(S_IFREG) else {
      throw .notARegularFile(path: path, isFolder: kind == mode_t(S_IFDIR))
    }
    guard status.st_size > 0 else { throw .empty(path: path) }
    let size = Int(status.st_size)
    guard let start = unsafe mmap(nil, size, PROT_READ, MAP_PRIVATE, descriptor, 0),
      unsafe start != MAP_FAILED
    else {
      throw Self.failure(path)
    }
    self.path = path
    self.count = size
    unsafe self.base = UnsafeRawPointer(start)
  }

  deinit {
    unsafe munmap(UnsafeMutableRawPointer(mutating: base), count)
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
    return unsafe try body(UnsafeRawBufferPointer(start: base + range.lowerBound, count: range.count))
  }

  /// Lets the system drop the pages that hold these bytes; they are read again when next touched.
  ///
  /// - Parameter range: Widened to whole pages; the part outside the file is ignored.
  public func releasePages(_ range: Range<Int>) {
    let pageSize = Int(sysconf(Int32(_SC_PAGESIZE)))
    let range = range.clamped(to: 0..<count)
    guard pageSize > 0, !range.isEmpty else { return }
    let start = range.lowerBound / pageSize * pageSize
    // A refused hint leaves the pages where they are, which is correct too.
    unsafe _ = madvise(
      UnsafeMutableRawPointer(mutating: base + start), range.upperBound - start, MADV_DONTNEED)
  }

  private static func failure(_ path: String) -> MappedFileError {
    let number = errno
    if number == ENOENT { return .missing(path: path) }
    let reason = unsafe String(cString: strerror(number))
    return .cannotOpen(path: path, reason: reason)
  }
}

/// Why a file could not be mapped.
public enum MappedFileError: DescribedError {
  case missing(path: String)
  case cannotOpen(path: String, reason: String)
  case notARegularFile(path: String, isFolder: Bool)
  case empty(path: String)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case missing = "file_missing"
    case cannotOpen = "file_cannot_open"
    case notARegularFile = "file_not_regular"
    case empty = "file_empty"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .missing: .missing
    case .cannotOpen: .cannotOpen
    case .notARegularFile: .notARegularFile
    case .empty: .empty
    }
  }

  /// The status a command ends with.
  public var exitStatus: ExitStatus {
    switch self {
    case .missing, .cannotOpen: .missingInput
    case .notARegularFile, .empty: .data
    }
  }

  /// The file concerned.
  public var path: String? {
    switch self {
    case .missing(let path), .cannotOpen(let path, _), .notARegularFile(let path, _), .empty(let path): path
    }
  }

  /// What, where, found and expected.
  public var errorDescription: String? {
    switch self {
    case .missing(let path): "\(path): there is no such file"
    case .cannotOpen(let path, let reason): "\(path): cannot be opened: \(reason)"
    case .notARegularFile(let path, let isFolder):
      "\(path): found a \(isFolder ? "folder" : "device or pipe"), expected a file"
    case .empty(let path): "\(path): found an empty file, expected contents"
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    switch self {
    case .missing: "check the spelling of the path and that the download or export has ended"
    case .cannotOpen: "check that you may read the file and every folder above it"
    case .notARegularFile: "name the file itself"
    case .empty: "fetch or write the file again"
    }
  }
}
