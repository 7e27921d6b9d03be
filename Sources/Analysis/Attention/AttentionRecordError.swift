public import RunKit

/// Where a JSON object stands: a file and, in a file of lines, the line (counted from 1).
public struct RecordPlace: Hashable, Sendable, CustomStringConvertible {
  /// The file, as the user named it.
  public let file: String
  /// The line, from 1, or nil for a file that is one document.
  public let line: Int?

  /// A place in a file.
  public init(file: String, line: Int? = nil) {
    self.file = file
    self.line = line
  }

  /// The file and the line: "samples.jsonl:3".
  public var description: String { line.map { "\(file):\($0)" } ?? file }
}

/// Why a line of samples or a description of a run was refused.
public enum AttentionRecordError: DescribedError {
  /// The text is not JSON; `reason` is the parser's.
  case notJSON(place: RecordPlace, reason: String)
  case missingKey(place: RecordPlace, key: String)
  case unknownKey(place: RecordPlace, key: String)
  case wrongType(place: RecordPlace, key: String, found: String, expected: String)
  case wrongValue(place: RecordPlace, key: String, found: String, expected: String)
  case wrongCount(place: RecordPlace, key: String, found: Int, expected: Int)
  /// Two lines hold the same sample.
  case duplicateIndex(place: RecordPlace, index: Int, first: RecordPlace)
  /// A sample number that the data set does not have.
  case indexOutOfRange(place: RecordPlace, index: Int, count: Int)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case notJSON = "record_not_json"
    case missingKey = "record_missing_key"
    case unknownKey = "record_unknown_key"
    case wrongType = "record_wrong_type"
    case wrongValue = "record_wrong_value"
    case wrongCount = "record_wrong_count"
    case duplicateIndex = "record_duplicate_index"
    case indexOutOfRange = "record_index_out_of_range"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .notJSON: .notJSON
    case .missingKey: .missingKey
    case .unknownKey: .unknownKey
    case .wrongType: .wrongType
    case .wrongValue: .wrongValue
    case .wrongCount: .wrongCount
    case .duplicateIndex: .duplicateIndex
    case .indexOutOfRange: .indexOutOfRange
    }
  }

  /// Where the fault stands.
  public var place: RecordPlace {
    switch self {
    case .notJSON(let place, _), .missingKey(let place, _), .unknownKey(let place, _),
      .wrongType(let place, _, _, _), .wrongValue(let place, _, _, _), .wrongCount(let place, _, _, _),
      .duplicateIndex(let place, _, _), .indexOutOfRange(let place, _, _):
      place
    }
  }

  /// The file concerned.
  public var path: String? { place.file }

  /// What, where, found and expected.
  public var errorDescription: String? {
    switch self {
    case .notJSON(let place, let reason): "\(place): \(reason)"
    case .missingKey(let place, let key): "\(place): the key \(key.inQuotes) is missing"
    case .unknownKey(let place, let key): "\(place): the key \(key.inQuotes) is not known here"
    case .wrongType(let place, let key, let found, let expected):
      "\(place): \(key.inQuotes) is \(found.shown()), expected \(expected.shown(limit: 400))"
    case .wrongValue(let place, let key, let found, let expected):
      "\(place): \(key.inQuotes) is \(found.shown()), expected \(expected.shown(limit: 400))"
    case .wrongCount(let place, let key, let found, let expected):
      "\(place): \(key.inQuotes) has \(found) elements, expected \(expected)"
    case .duplicateIndex(let place, let index, let first):
      "\(place): sample \(index) stands twice, first at \(first)"
    case .indexOutOfRange(let place, let index, let count):
      "\(place): \"index\" is \(index), but the run has samples 0 to \(count - 1)"
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    switch self {
    case .notJSON: "the file may be cut off: run the command again with --resume"
    case .duplicateIndex: "name each run folder once, and merge only shards of one run"
    case .indexOutOfRange: "check that this samples file belongs to this run folder"
    default: "check that the file was written by this version of mmprobe and not edited"
    }
  }
}
