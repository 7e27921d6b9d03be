public import RunKit

/// Something wrong with a data set, and where.
public struct DataProblem: Sendable, Equatable {
  /// What is wrong.
  public enum Kind: String, CaseIterable, Sendable {
    case missingList = "missing_list"
    case badLine = "bad_line"
    case unknownClass = "unknown_class"
    case duplicateID = "duplicate_id"
    case splitOverlap = "split_overlap"
    case missingModality = "missing_modality"
    case gitLFSPointer = "git_lfs_pointer"
    case refusedFormat = "refused_format"
    case tooFewFrames = "too_few_frames"
    case notFinite = "not_finite"
    case wrongShape = "wrong_shape"
    case unreadable
    case emptySplit = "empty_split"
    case hashMismatch = "hash_mismatch"
  }

  /// What is wrong.
  public let kind: Kind
  /// The file or folder.
  public let path: String
  /// The line of a list, from 1.
  public let line: Int?
  /// The id of the sample concerned.
  public let sample: String?
  /// What was found and expected.
  public let message: String

  init(_ kind: Kind, path: String, line: Int? = nil, sample: String? = nil, _ message: String) {
    (self.kind, self.path, self.line, self.sample, self.message) = (kind, path, line, sample, message)
  }

  /// `path:line: message [kind]`.
  public var text: String {
    path + (line.map { ":\($0)" } ?? "") + ": " + message + " [\(kind.rawValue)]"
  }

  /// The same with a key for each part.
  public var json: JSONValue {
    [
      "kind": .string(kind.rawValue), "path": .string(path), "line": line.map(JSONValue.integer) ?? .null,
      "sample": sample.map(JSONValue.string) ?? .null, "message": .string(message),
    ]
  }
}

/// Why a data set cannot be packed.
public enum PackingError: DescribedError {
  /// The data set has problems; `first` is one of them. `canSkip` if all are of samples that can be left out.
  case problems(path: String, count: Int, first: String, layout: String, canSkip: Bool)
  /// The output holds something already; `isUnfinished` if it is part of this packing.
  case occupied(path: String, what: String, canResume: Bool)
  /// A resumed packing that is not the same.
  case changed(path: String)
  /// Numbers of a sample that cannot be stored.
  case badSample(path: String, sample: String, reason: String)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case problems = "packing_problems"
    case occupied = "packing_occupied"
    case changed = "packing_changed"
    case badSample = "packing_bad_sample"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .problems: .problems
    case .occupied: .occupied
    case .changed: .changed
    case .badSample: .badSample
    }
  }

  /// 73 for an output that is taken, 65 for the rest.
  public var exitStatus: ExitStatus { code == .occupied ? .cannotCreate : .data }

  /// The file or folder concerned.
  public var path: String? {
    switch self {
    case .problems(let path, _, _, _, _), .occupied(let path, _, _), .changed(let path),
      .badSample(let path, _, _):
      path
    }
  }

  /// What, where, found and expected.
  public var errorDescription: String? {
    switch self {
    case .problems(_, let count, let first, _, _):
      count == 1 ? first.shown(limit: 600) : "\(first.shown(limit: 600)); and \(count - 1) more"
    case .occupied(let path, let what, _): "\(path): the folder holds \(what) already"
    case .changed(let path): "\(path): the packing that was begun here had other data or options"
    case .badSample(let path, let sample, let reason): "\(path): sample \(sample.inQuotes): \(reason.shown())"
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    switch self {
    case .problems(let path, _, _, let layout, let canSkip):
      "'mmprobe data check \(layout) \(path)' lists all of them"
        + (canSkip ? "; '--skip-incomplete' leaves such samples out" : "")
    case .occupied(_, _, true): "go on with '--resume', or begin again with '--overwrite'"
    case .occupied: "choose another folder, or replace it with '--overwrite'"
    case .changed: "give the same options and data, or begin again with '--overwrite'"
    case .badSample: "'mmprobe data check' with '--decode' lists all samples that cannot be read"
    }
  }
}
