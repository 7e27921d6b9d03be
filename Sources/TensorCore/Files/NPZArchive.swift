import Foundation
import RunKit

/// NumPy's `.npz` archives: several named arrays in a zip file without compression, as `numpy.savez` writes.
public struct NPZArchive: Sendable {
  /// The path it was opened with.
  public let path: String
  /// The arrays, in the order of the archive, in C order; named as in NumPy, without `.npy`.
  public let arrays: [StoredTensor]

  /// Opens an archive and checks every array and its checksum.
  ///
  /// - Throws: `FileError`, or `NumPyFileError` if the contents are not as they must be or not supported.
  public init(path: String) throws {
    let file = try MappedFile(path: path)
    self.path = path
    self.arrays = try ZipDirectory(of: file).entries.map { entry throws(NumPyFileError) in
      let place = NumPyFileError.Place(path: path, array: entry.name)
      var check = CRC32()
      StoredBytes.mapped(file, entry.range).withSpan { check.update($0) }
      guard check.value == entry.checksum else {
        throw .checksumMismatch(place, found: check.value, expected: entry.checksum)
      }
      guard entry.name.hasSuffix(".npy"), entry.name != ".npy" else { throw .notAnArray(place) }
      return try NPYFile.array(in: file, range: entry.range, name: String(entry.name.dropLast(4)), at: place)
    }
  }

  /// The names of the arrays in the order of the archive.
  public var names: [String] { arrays.map(\.name) }

  /// The array of this name, or nil.
  public subscript(name: String) -> StoredTensor? {
    arrays.first { $0.name.utf8.elementsEqual(name.utf8) }
  }

  /// The array of this name.
  ///
  /// - Throws: `NumPyFileError.missingArray`.
  public func array(_ name: String) throws(NumPyFileError) -> StoredTensor {
    guard let array = self[name] else {
      throw .missingArray(NumPyFileError.Place(path: path, array: nil), name: name, count: arrays.count)
    }
    return array
  }

  /// Writes an archive, whole or not at all; the same arrays in the same order give the same bytes.
  ///
  /// - Throws: `TensorWriteError` for names that are empty or stand twice, bf16, or an archive of 4 GiB or more;
  ///   `FileError` if writing fails.
  public static func write(_ arrays: [StoredTensor], to path: String) throws {
    try write(arrays, to: path, limit: Int(UInt32.max))
  }

  /// Writes an archive of at most `limit` bytes: sizes and offsets have 32 bits.
  static func write(_ arrays: [StoredTensor], to path: String, limit: Int) throws {
    var names: Set<[UInt8]> = []
    var headers: [[UInt8]] = []
    var total = 0
    for array in arrays {
      guard !array.name.isEmpty else { throw TensorWriteError.emptyName(path: path) }
      guard names.insert([UInt8](array.name.utf8)).inserted else {
        throw TensorWriteError.duplicateName(path: path, name: array.name)
      }
      // The name stands in the archive with a length of two bytes.
      guard array.name.utf8.count < 60_000 else {
        throw TensorWriteError.reservedName(path: path, name: array.name)
      }
      let header = try NPYHeader.bytes(describing: array, path: path)
      headers.append(header)
      total += header.count + array.storage.count + 2 * (array.name.utf8.count + 64)
    }
    guard total <= limit, arrays.count < Int(UInt16.max) else {
      throw TensorWriteError.tooLarge(path: path, found: total, limit: limit)
    }
    var directory = ZipDirectoryWriter()
    try AtomicFile.write(to: URL(fileURLWithPath: path)) { file in
      for (array, header) in zip(arrays, headers) {
        // The check stands before the contents, so they are read once for it beforehand.
        var check = CRC32()
        check.update(header)
        array.storage.withSpan { check.update($0) }
        let byteCount = header.count + array.storage.count
        try file.write(directory.add(array.name + ".npy", byteCount: byteCount, checksum: check.value))
        try file.write(header)
        try array.storage.withSpan { try file.write($0) }
      }
      try file.write(directory.end())
    }
  }
}
