public import Foundation

/// The exit status of a process, as every command uses it.
public enum ExitStatus: Int32, Sendable, CaseIterable {
  /// The command did what it was asked.
  case success = 0
  /// A failure with no more exact status.
  case failure = 1
  /// A check ran and did not pass.
  case checkNotPassed = 3
  /// The command line is wrong.
  case usage = 64
  /// An input file has bad contents.
  case data = 65
  /// An input file is missing or cannot be opened.
  case missingInput = 66
  /// The architecture or feature is not supported.
  case unsupported = 69
  /// A defect of this program.
  case internalFailure = 70
  /// An output cannot be created.
  case cannotCreate = 73
  /// Reading or writing failed.
  case inputOutput = 74
  /// Stopped by the first interrupt after saving; the run can be resumed.
  case stopped = 75
  /// Stopped at once by the second interrupt.
  case interrupted = 130
}

/// An error a user can act on: what was wrong, where, what was expected, and what to do.
///
/// `errorDescription` says what, where, found and expected; `recoverySuggestion` the remedy.
public protocol DescribedError: LocalizedError, Equatable, Sendable {
  /// The closed list of an enum's cases, so that tests can tell which were never produced.
  associatedtype Code: RawRepresentable<String>, CaseIterable, Hashable, Sendable
  /// Which case this is.
  var code: Code { get }
  /// The exit status a command ends with when this error reaches it.
  var exitStatus: ExitStatus { get }
  /// The file concerned, if there is one.
  var path: String? { get }
}

extension DescribedError {
  /// Bad contents, unless an error says otherwise.
  public var exitStatus: ExitStatus { .data }
  /// No file, unless an error names one.
  public var path: String? { nil }
}
