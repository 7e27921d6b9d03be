public import RunKit

/// Why a `.npy` or `.npz` file was refused.
public enum NumPyFileError: DescribedError {
  /// A file, or an entry of an archive.
  public struct Place: Equatable, Sendable {
    /// The path of the file.
    public let path: String
    /// The name of the entry in an archive, if one is concerned.
    public let array: String?
  }

  case notNPY(Place)
  case truncatedHeader(Place, found: Int)
  case unsupportedVersion(Place, found: String)
  case headerTooLong(Place, found: Int, limit: Int)
  case badHeader(Place, offset: Int, expected: String)
  case missingKey(Place, key: String)
  case unsupportedType(Place, found: String)
  case bigEndian(Place, found: String)
  case sizeOverflow(Place, shape: [Int])
  case sizeMismatch(Place, type: ElementType, shape: [Int], found: Int, expected: Int)
  case notAnArchive(Place)
  case badArchive(Place, found: String)
  case encrypted(Place)
  case compressed(Place, method: Int)
  case duplicateArray(Place)
  case notAnArray(Place)
  case checksumMismatch(Place, found: UInt32, expected: UInt32)
  case missingArray(Place, name: String, count: Int)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case notNPY = "npy_not_npy"
    case truncatedHeader = "npy_truncated_header"
    case unsupportedVersion = "npy_unsupported_version"
    case headerTooLong = "npy_header_too_long"
    case badHeader = "npy_bad_header"
    case missingKey = "npy_missing_key"
    case unsupportedType = "npy_unsupported_type"
    case bigEndian = "npy_big_endian"
    case sizeOverflow = "npy_size_overflow"
    case sizeMismatch = "npy_size_mismatch"
    case notAnArchive = "npz_not_an_archive"
    case badArchive = "npz_bad_archive"
    case encrypted = "npz_encrypted"
    case compressed = "npz_compressed"
    case duplicateArray = "npz_duplicate_array"
    case notAnArray = "npz_not_an_array"
    case checksumMismatch = "npz_checksum_mismatch"
    case missingArray = "npz_missing_array"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .notNPY: .notNPY
    case .truncatedHeader: .truncatedHeader
    case .unsupportedVersion: .unsupportedVersion
    case .headerTooLong: .headerTooLong
    case .badHeader: .badHeader
    case .missingKey: .missingKey
    case .unsupportedType: .unsupportedType
    case .bigEndian: .bigEndian
    case .sizeOverflow: .sizeOverflow
    case .sizeMismatch: .sizeMismatch
    case .notAnArchive: .notAnArchive
    case .badArchive: .badArchive
    case .encrypted: .encrypted
    case .compressed: .compressed
    case .duplicateArray: .duplicateArray
    case .notAnArray: .notAnArray
    case .checksumMismatch: .checksumMismatch
    case .missingArray: .missingArray
    }
  }

  /// The status a command ends with.
  public var exitStatus: ExitStatus {
    switch self {
    case .unsupportedVersion, .unsupportedType, .bigEndian, .encrypted, .compressed: .unsupported
    default: .data
    }
  }

  /// The file concerned.
  public var path: String? { place.path }

  /// The file or entry concerned.
  public var place: Place {
    switch self {
    case .notNPY(let place), .truncatedHeader(let place, _), .unsupportedVersion(let place, _),
      .headerTooLong(let place, _, _), .badHeader(let place, _, _), .missingKey(let place, _),
      .unsupportedType(let place, _), .bigEndian(let place, _), .sizeOverflow(let place, _),
      .sizeMismatch(let place, _, _, _, _), .notAnArchive(let place), .badArchive(let place, _),
      .encrypted(let place), .compressed(let place, _), .duplicateArray(let place), .notAnArray(let place),
      .checksumMismatch(let place, _, _), .missingArray(let place, _, _):
      place
    }
  }

  /// What, where, found and expected.
  public var errorDescription: String? {
    let array = place.array.map { ": array \($0.inQuotes)" } ?? ""
    return "\(place.path)\(array): \(finding)"
  }

  /// What was found and what was expected.
  private var finding: String {
    switch self {
    case .notNPY: "does not begin with the mark of NumPy array files"
    case .truncatedHeader(_, let found): "the file breaks off in its header, after \(found) bytes"
    case .unsupportedVersion(_, let found): "found format version \(found), expected 1.0, 2.0 or 3.0"
    case .headerTooLong(_, let found, let limit):
      "found a header of \(found) bytes, expected at most \(limit)"
    case .badHeader(_, let offset, let expected): "the header at byte \(offset): expected \(expected)"
    case .missingKey(_, let key): "the header has no '\(key)'"
    case .unsupportedType(_, let found):
      "found elements of type \(found.inQuotes), expected "
        + ElementType.allCases.compactMap(\.numpyName).joined(separator: ", ")
    case .bigEndian(_, let found): "found big-endian elements, \(found.inQuotes), expected little-endian ones"
    case .sizeOverflow(_, let shape): "the shape \(shape) has too many elements to count"
    case .sizeMismatch(_, let type, let shape, let found, let expected):
      "found \(found) bytes of data, expected \(expected) for \(type.rawValue) of shape \(shape)"
    case .notAnArchive: "found no zip directory at its end"
    case .badArchive(_, let found): "found \(found)"
    case .encrypted: "is encrypted"
    case .compressed(_, let method): "is compressed (zip method \(method)), expected plain storage"
    case .duplicateArray: "stands twice in the archive"
    case .notAnArray: "expected a name that ends in .npy"
    case .checksumMismatch(_, let found, let expected):
      "found the checksum \(String(found, radix: 16)), expected \(String(expected, radix: 16))"
    case .missingArray(_, let name, let count):
      "the array \(name.inQuotes) is not among the \(count) of the archive"
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    switch self {
    case .unsupportedVersion, .headerTooLong, .badHeader, .missingKey, .sizeOverflow, .duplicateArray,
      .notAnArray:
      "write the file again with numpy.save or numpy.savez"
    case .unsupportedType: "convert the array with astype() to a plain number type"
    case .bigEndian: "convert the array with astype(array.dtype.newbyteorder('<'))"
    case .encrypted, .compressed: "write the archive with numpy.savez instead of numpy.savez_compressed"
    case .missingArray: "check that the archive belongs to this run"
    case .notNPY, .truncatedHeader, .sizeMismatch, .notAnArchive, .badArchive, .checksumMismatch:
      "the file is damaged or of another kind; fetch or write it again"
    }
  }
}
