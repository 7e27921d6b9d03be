public import RunKit

/// Why a data set cannot be read.
public enum DataSetError: DescribedError {
  case unknownFormat(path: String, found: String)
  case empty(path: String)
  case malformedRecord(path: String, line: Int, reason: String)
  case missingKey(path: String, record: String, key: String)
  case wrongKind(path: String, record: String, key: String, found: String, expected: String)
  case noMediaFile(path: String, expected: String)
  case noMediaTensor(path: String, tensor: String)
  case rowOutOfRange(path: String, record: String, key: String, row: Int, count: Int)
  case rowTooLarge(path: String, tensor: String, found: Int, limit: Int)
  case pathLeavesFolder(path: String, record: String, found: String)
  case unknownSpeaker(path: String, record: String, found: String)
  case indexOutOfRange(path: String, index: Int, count: Int)
  case badMedium(path: String, record: String, reason: String, remedy: String, status: ExitStatus)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case unknownFormat = "data_unknown_format"
    case empty = "data_empty"
    case malformedRecord = "data_malformed_record"
    case missingKey = "data_missing_key"
    case wrongKind = "data_wrong_kind"
    case noMediaFile = "data_no_media_file"
    case noMediaTensor = "data_no_media_tensor"
    case rowOutOfRange = "data_row_out_of_range"
    case rowTooLarge = "data_row_too_large"
    case pathLeavesFolder = "data_path_leaves_folder"
    case unknownSpeaker = "data_unknown_speaker"
    case indexOutOfRange = "data_index_out_of_range"
    case badMedium = "data_bad_medium"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .unknownFormat: .unknownFormat
    case .empty: .empty
    case .malformedRecord: .malformedRecord
    case .missingKey: .missingKey
    case .wrongKind: .wrongKind
    case .noMediaFile: .noMediaFile
    case .noMediaTensor: .noMediaTensor
    case .rowOutOfRange: .rowOutOfRange
    case .rowTooLarge: .rowTooLarge
    case .pathLeavesFolder: .pathLeavesFolder
    case .unknownSpeaker: .unknownSpeaker
    case .indexOutOfRange: .indexOutOfRange
    case .badMedium: .badMedium
    }
  }

  /// The exit status a command ends with.
  public var exitStatus: ExitStatus {
    if case .badMedium(_, _, _, _, let status) = self { return status }
    return code == .noMediaFile ? .missingInput : .data
  }

  /// The file concerned, if there is one.
  public var path: String? {
    switch self {
    case .unknownFormat(let path, _), .empty(let path), .malformedRecord(let path, _, _),
      .missingKey(let path, _, _), .wrongKind(let path, _, _, _, _), .noMediaFile(let path, _),
      .noMediaTensor(let path, _), .rowOutOfRange(let path, _, _, _, _), .rowTooLarge(let path, _, _, _),
      .pathLeavesFolder(let path, _, _),
      .unknownSpeaker(let path, _, _), .indexOutOfRange(let path, _, _),
      .badMedium(let path, _, _, _, _):
      path
    }
  }

  /// What was wrong, where, and what was expected.
  public var errorDescription: String? {
    switch self {
    case .unknownFormat(let path, let found):
      "\(path): no known form of data: the first record has the keys \(found.shown())"
    case .empty(let path): "\(path): no records"
    case .malformedRecord(let path, let line, let reason): "\(path):\(line): \(reason)"
    case .missingKey(let path, let record, let key): "\(path): \(record) has no \"\(key)\""
    case .wrongKind(let path, let record, let key, let found, let expected):
      "\(path): \(record): \"\(key)\" is \(found), expected \(expected)"
    case .noMediaFile(let path, let expected):
      "\(path.shown(limit: 1_000)): the media file \(expected.shown()) is missing"
    case .noMediaTensor(let path, let tensor):
      "\(path): no u8 tensor \"\(tensor)\" of at least two axes"
    case .rowOutOfRange(let path, let record, let key, let row, let count):
      "\(path): \(record): \"\(key)\" names row \(row), but there are \(count)"
    case .rowTooLarge(let path, let tensor, let found, let limit):
      "\(path): a row of \"\(tensor)\" has \(found) bytes, expected at most \(limit)"
    case .pathLeavesFolder(let path, let record, let found):
      "\(path): \(record): the medium \(found.inQuotes) is outside the folder of the data"
    case .unknownSpeaker(let path, let record, let found):
      "\(path): \(record): a turn is from \(found.inQuotes), expected system, human, user, gpt or assistant"
    case .indexOutOfRange(let path, let index, let count): "\(path): item \(index) of \(count)"
    case .badMedium(let path, let record, let reason, _, _): "\(path): \(record): \(reason)"
    }
  }

  /// What to do about it.
  public var recoverySuggestion: String? {
    switch self {
    case .unknownFormat:
      "use AVDigits-QA lines (q, y, i, u), LLaVA conversations, or lines with text and media paths; "
        + "'mmprobe attention --help' shows one of each"
    case .empty: "check that the file was written completely"
    case .malformedRecord, .missingKey, .wrongKind, .unknownSpeaker: "correct the record"
    case .noMediaFile, .noMediaTensor, .rowTooLarge: "name the media with --media FILE.safetensors"
    case .rowOutOfRange: "check that the questions and the media belong together"
    case .pathLeavesFolder: "give paths relative to the data file, or name their folder with --media-root"
    case .indexOutOfRange: "count items from 0"
    case .badMedium(_, _, _, let remedy, _): remedy
    }
  }
}
