import Foundation

/// Why a file could not be read or written.
public enum FileError: DescribedError {
  case missing(path: String)
  case notReadable(path: String, reason: String)
  case isFolder(path: String, purpose: Purpose)
  case notRegular(path: String)
  case tooLarge(path: String, size: Int, limit: Int)
  case notText(path: String)
  case cannotCreate(path: String, reason: String)
  case readOnly(path: String)
  case noSpace(path: String, operation: Operation)
  case failed(path: String, operation: Operation, reason: String)

  /// What the file was wanted for.
  public enum Purpose: String, Sendable {
    case reading
    case writing
  }

  /// The step that failed, as a verb for messages.
  public enum Operation: String, Sendable {
    case readStatus = "examine"
    case read
    case write
    case sync = "write to the disk"
    case truncate = "shorten"
    case rename = "put in place"
    case syncFolder = "record on the disk"
    case remove
    case lock
  }

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case missing = "io_missing"
    case notReadable = "io_not_readable"
    case isFolder = "io_is_folder"
    case notRegular = "io_not_regular"
    case tooLarge = "io_too_large"
    case notText = "io_not_text"
    case cannotCreate = "io_cannot_create"
    case readOnly = "io_read_only"
    case noSpace = "io_no_space"
    case failed = "io_failed"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .missing: .missing
    case .notReadable: .notReadable
    case .isFolder: .isFolder
    case .notRegular: .notRegular
    case .tooLarge: .tooLarge
    case .notText: .notText
    case .cannotCreate: .cannotCreate
    case .readOnly: .readOnly
    case .noSpace: .noSpace
    case .failed: .failed
    }
  }

  /// 66 for an input that cannot be had, 65 for its contents, 73 for an output that cannot be created, 74 for a
  /// failure under way.
  public var exitStatus: ExitStatus {
    switch self {
    case .missing, .notReadable, .isFolder(_, .reading), .notRegular: .missingInput
    case .tooLarge, .notText: .data
    case .isFolder(_, .writing), .cannotCreate, .readOnly: .cannotCreate
    case .noSpace, .failed: .inputOutput
    }
  }

  /// The file concerned.
  public var path: String? {
    switch self {
    case .missing(let path), .notReadable(let path, _), .isFolder(let path, _), .notRegular(let path),
      .tooLarge(let path, _, _), .notText(let path), .cannotCreate(let path, _), .readOnly(let path),
      .noSpace(let path, _), .failed(let path, _, _):
      path
    }
  }

  /// What, where, found and expected.
  public var errorDescription: String? {
    switch self {
    case .missing(let path): "\(path): there is no such file"
    case .notReadable(let path, let reason): "\(path): cannot be opened: \(reason)"
    case .isFolder(let path, _): "\(path): found a folder, expected a file"
    case .notRegular(let path): "\(path): found a device or pipe, expected a file"
    case .tooLarge(let path, let size, let limit):
      "\(path): holds \(size) bytes, expected at most \(limit)"
    case .notText(let path): "\(path): found bytes that are not UTF-8, expected text"
    case .cannotCreate(let path, let reason): "\(path): cannot be created: \(reason)"
    case .readOnly(let path): "\(path): cannot be written: the file system is read-only"
    case .noSpace(let path, let operation): "\(path): cannot \(operation.rawValue): the disk is full"
    case .failed(let path, let operation, let reason): "\(path): cannot \(operation.rawValue): \(reason)"
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    switch self {
    case .missing: "check the spelling of the path"
    case .notReadable: "check that you may read the file and every folder above it"
    case .isFolder(_, .reading), .notRegular: "name the file itself"
    case .isFolder(_, .writing): "give a file name inside the folder"
    case .tooLarge: "check that this is the file you meant"
    case .notText: "check that this is the file you meant, and save it as UTF-8"
    case .cannotCreate: "check that the folder exists and that you may write to it"
    case .readOnly: "choose an output on a disk that can be written"
    case .noSpace: "free some space, or choose an output on another disk; a run folder can be resumed"
    case .failed: "check the disk and its permissions; a run folder can be resumed"
    }
  }

  /// The error for a file that did not open.
  init(opening path: String, for purpose: Purpose, errorNumber: Int32) {
    let reason = FileSystem.reason(errorNumber)
    switch (errorNumber, purpose) {
    case (EISDIR, _): self = .isFolder(path: path, purpose: purpose)
    case (ENOENT, .reading), (ENOTDIR, .reading): self = .missing(path: path)
    case (_, .reading): self = .notReadable(path: path, reason: reason)
    case (EROFS, .writing): self = .readOnly(path: path)
    case (ENOSPC, .writing), (EDQUOT, .writing): self = .noSpace(path: path, operation: .write)
    case (_, .writing): self = .cannotCreate(path: path, reason: reason)
    }
  }

  /// The error for a step that failed on an open file or a name.
  init(failing operation: Operation, path: String, errorNumber: Int32) {
    switch errorNumber {
    case ENOSPC, EDQUOT: self = .noSpace(path: path, operation: operation)
    case EROFS: self = .readOnly(path: path)
    default: self = .failed(path: path, operation: operation, reason: FileSystem.reason(errorNumber))
    }
  }
}
