public import RunKit

/// Why a safetensors file was refused.
public enum SafetensorsError: DescribedError {
  case tooShort(path: String, found: Int)
  case headerTooLong(path: String, found: UInt64, limit: Int)
  case headerPastEnd(path: String, found: Int, available: Int)
  case headerNotAnObject(path: String)
  case headerNotJSON(path: String, reason: JSONError)
  case notUTF8(path: String, offset: Int)
  case duplicateKey(path: String, key: String)
  case badMetadata(path: String, key: String?, found: String)
  case emptyName(path: String)
  case badEntry(path: String, tensor: String, key: String?, found: String, expected: String)
  case missingKey(path: String, tensor: String, key: String)
  case unknownKey(path: String, tensor: String, key: String)
  case unknownType(path: String, tensor: String, found: String)
  case unsupportedType(path: String, tensor: String, found: String)
  case negativeSize(path: String, tensor: String, found: Int)
  case sizeOverflow(path: String, tensor: String, shape: [Int])
  case badOffsets(path: String, tensor: String, found: [Int])
  case offsetsReversed(path: String, tensor: String, found: [Int])
  case offsetsPastEnd(path: String, tensor: String, found: [Int], available: Int)
  case sizeMismatch(path: String, tensor: String, type: ElementType, shape: [Int], found: Int, expected: Int)
  case overlap(path: String, tensor: String, other: String, bytes: Int)
  case gap(path: String, tensor: String, bytes: Int)
  case trailingBytes(path: String, bytes: Int)
  case missingTensor(path: String, tensor: String, count: Int)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case tooShort = "safetensors_too_short"
    case headerTooLong = "safetensors_header_too_long"
    case headerPastEnd = "safetensors_header_past_end"
    case headerNotAnObject = "safetensors_header_not_an_object"
    case headerNotJSON = "safetensors_header_not_json"
    case notUTF8 = "safetensors_not_utf8"
    case duplicateKey = "safetensors_duplicate_key"
    case badMetadata = "safetensors_bad_metadata"
    case emptyName = "safetensors_empty_name"
    case badEntry = "safetensors_bad_entry"
    case missingKey = "safetensors_missing_key"
    case unknownKey = "safetensors_unknown_key"
    case unknownType = "safetensors_unknown_type"
    case unsupportedType = "safetensors_unsupported_type"
    case negativeSize = "safetensors_negative_size"
    case sizeOverflow = "safetensors_size_overflow"
    case badOffsets = "safetensors_bad_offsets"
    case offsetsReversed = "safetensors_offsets_reversed"
    case offsetsPastEnd = "safetensors_offsets_past_end"
    case sizeMismatch = "safetensors_size_mismatch"
    case overlap = "safetensors_overlap"
    case gap = "safetensors_gap"
    case trailingBytes = "safetensors_trailing_bytes"
    case missingTensor = "safetensors_missing_tensor"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .tooShort: .tooShort
    case .headerTooLong: .headerTooLong
    case .headerPastEnd: .headerPastEnd
    case .headerNotAnObject: .headerNotAnObject
    case .headerNotJSON: .headerNotJSON
    case .notUTF8: .notUTF8
    case .duplicateKey: .duplicateKey
    case .badMetadata: .badMetadata
    case .emptyName: .emptyName
    case .badEntry: .badEntry
    case .missingKey: .missingKey
    case .unknownKey: .unknownKey
    case .unknownType: .unknownType
    case .unsupportedType: .unsupportedType
    case .negativeSize: .negativeSize
    case .sizeOverflow: .sizeOverflow
    case .badOffsets: .badOffsets
    case .offsetsReversed: .offsetsReversed
    case .offsetsPastEnd: .offsetsPastEnd
    case .sizeMismatch: .sizeMismatch
    case .overlap: .overlap
    case .gap: .gap
    case .trailingBytes: .trailingBytes
    case .missingTensor: .missingTensor
    }
  }

  /// The status a command ends with.
  public var exitStatus: ExitStatus { code == .unsupportedType ? .unsupported : .data }

  /// The file concerned.
  public var path: String? { place.path }

  /// The file, and the tensor where one is concerned.
  private var place: (path: String, tensor: String?) {
    switch self {
    case .tooShort(let path, _), .headerTooLong(let path, _, _), .headerPastEnd(let path, _, _),
      .headerNotAnObject(let path), .headerNotJSON(let path, _), .notUTF8(let path, _),
      .duplicateKey(let path, _),
      .badMetadata(let path, _, _), .emptyName(let path), .trailingBytes(let path, _):
      (path, nil)
    case .badEntry(let path, let tensor, _, _, _), .missingKey(let path, let tensor, _),
      .unknownKey(let path, let tensor, _), .unknownType(let path, let tensor, _),
      .unsupportedType(let path, let tensor, _), .negativeSize(let path, let tensor, _),
      .sizeOverflow(let path, let tensor, _), .badOffsets(let path, let tensor, _),
      .offsetsReversed(let path, let tensor, _), .offsetsPastEnd(let path, let tensor, _, _),
      .sizeMismatch(let path, let tensor, _, _, _, _), .overlap(let path, let tensor, _, _),
      .gap(let path, let tensor, _), .missingTensor(let path, let tensor, _):
      (path, tensor)
    }
  }

  /// What, where, found and expected.
  public var errorDescription: String? {
    let tensor = place.tensor.map { ": tensor \($0.inQuotes)" } ?? ""
    return "\(place.path)\(tensor): \(finding)"
  }

  /// What was found and what was expected.
  private var finding: String {
    switch self {
    case .tooShort(_, let found): "found \(found) bytes, expected at least the 8 of the header's length"
    case .headerTooLong(_, let found, let limit):
      "found a header length of \(found), expected at most \(limit)"
    case .headerPastEnd(_, let found, let available):
      "found a header length of \(found), but only \(available) bytes follow"
    case .headerNotAnObject: "expected the header to be a JSON object that begins with {"
    case .headerNotJSON(_, let reason): "the header is \(reason.errorDescription ?? "not JSON")"
    case .notUTF8(_, let offset): "found text at byte \(offset) that is not UTF-8"
    case .duplicateKey(_, let key): "found the key \(key.inQuotes) twice in the header"
    case .badMetadata(_, let key, let found):
      "found \(found) \(key.map { "under \($0.inQuotes) in" } ?? "as") __metadata__, expected only strings"
    case .emptyName: "found a tensor with an empty name"
    case .badEntry(_, _, let key, let found, let expected):
      "found \(found)\(key.map { " as \($0)" } ?? ""), expected \(expected)"
    case .missingKey(_, _, let key): "the header entry has no \(key)"
    case .unknownKey(_, _, let key):
      "found the key \(key.inQuotes), expected only dtype, shape and data_offsets"
    case .unknownType(_, _, let found):
      "found the dtype \(found.inQuotes), expected one of "
        + ElementType.allCases.map(\.rawValue).joined(separator: ", ")
    case .unsupportedType(_, _, let found): "the dtype \(found) is not supported"
    case .negativeSize(_, _, let found): "found the size \(found) in the shape, expected 0 or more"
    case .sizeOverflow(_, _, let shape): "the shape \(shape.prefix(16)) has too many elements to count"
    case .badOffsets(_, _, let found):
      "found data_offsets \(found.prefix(16)), expected two numbers of 0 or more"
    case .offsetsReversed(_, _, let found):
      "found data_offsets \(found), expected the first not above the second"
    case .offsetsPastEnd(_, _, let found, let available):
      "found data_offsets \(found), but the file has \(available) bytes of data"
    case .sizeMismatch(_, _, let type, let shape, let found, let expected):
      "found \(found) bytes, expected \(expected) for \(type.rawValue) of shape \(shape.prefix(16))"
    case .overlap(_, _, let other, let bytes): "shares \(bytes) bytes or more with tensor \(other.inQuotes)"
    case .gap(_, _, let bytes): "\(bytes) bytes before it belong to no tensor"
    case .trailingBytes(_, let bytes): "the last \(bytes) bytes belong to no tensor"
    case .missingTensor(_, _, let count): "is not among the \(count) tensors of the file"
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    switch self {
    case .unsupportedType: "convert the tensor to F32, F16 or BF16 and save the file again"
    case .missingTensor: "check that the file belongs to this model; `mmprobe inspect` lists its tensors"
    case .headerTooLong, .headerNotAnObject:
      "check that this is a safetensors file; a pickled checkpoint must be converted first"
    case .tooShort, .headerPastEnd, .offsetsPastEnd, .trailingBytes:
      "compare the file's size and checksum with the source and fetch it again"
    default: "write the file again with a current safetensors library"
    }
  }
}
