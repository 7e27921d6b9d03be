import Foundation
import RunKit

/// Reads and writes NumPy's `.npy` files: one array of numbers or truth values.
public enum NPYFile {
  /// Reads an array, in C order whatever the order in the file; it is named after the file.
  ///
  /// - Throws: `FileError` if the file cannot be mapped, `NumPyFileError` if its contents are not as they must
  ///   be or of a type that is not supported (objects, text, records, complex and big-endian numbers).
  public static func read(path: String) throws -> StoredTensor {
    let file = try MappedFile(path: path)
    let name = URL(fileURLWithPath: path).deletingPathExtension().lastPathComponent
    return try array(
      in: file, range: 0..<file.count, name: name, at: NumPyFileError.Place(path: path, array: nil))
  }

  /// Writes an array in version 1.0 of the format, whole or not at all.
  ///
  /// - Throws: `TensorWriteError` for bf16, which NumPy does not have; `FileError` if writing fails.
  public static func write(_ tensor: StoredTensor, to path: String) throws {
    let header = try NPYHeader.bytes(describing: tensor, path: path)
    try AtomicFile.write(to: URL(fileURLWithPath: path)) { file in
      try file.write(header)
      try tensor.storage.withSpan { try file.write($0) }
    }
  }

  /// The array file that lies in `range` of `file`.
  static func array(
    in file: MappedFile, range: Range<Int>, name: String, at place: NumPyFileError.Place
  ) throws(NumPyFileError) -> StoredTensor {
    let header = try NPYHeader(of: .mapped(file, range), at: place)
    guard let expected = header.elementType.byteCount(shape: header.shape) else {
      throw .sizeOverflow(place, shape: header.shape)
    }
    let data = range.lowerBound + header.byteCount..<range.upperBound
    guard data.count == expected else {
      throw .sizeMismatch(
        place, type: header.elementType, shape: header.shape, found: data.count, expected: expected)
    }
    let tensor = StoredTensor(checked: name, header.elementType, header.shape, .mapped(file, data))
    return header.isFortranOrder ? inCOrder(tensor) : tensor
  }

  /// The same array with its elements reordered: in the file the first axis is the fastest, here the last is.
  private static func inCOrder(_ tensor: StoredTensor) -> StoredTensor {
    let shape = tensor.shape
    guard shape.filter({ $0 > 1 }).count > 1, tensor.elementCount > 0 else { return tensor }
    let size = tensor.elementType.byteCount
    var strides = [size]
    for length in shape.dropLast() { strides.append(strides[strides.count - 1] * length) }
    let source = tensor.bytes()
    var result: [UInt8] = []
    result.reserveCapacity(source.count)
    var indices = [Int](repeating: 0, count: shape.count)
    var offset = 0
    for _ in 0..<tensor.elementCount {
      result.append(contentsOf: source[offset..<offset + size])
      // Counts like an odometer: the last axis first, carrying to the left.
      for axis in shape.indices.reversed() {
        indices[axis] += 1
        offset += strides[axis]
        if indices[axis] < shape[axis] { break }
        offset -= strides[axis] * shape[axis]
        indices[axis] = 0
      }
    }
    return StoredTensor(checked: tensor.name, tensor.elementType, shape, .owned(result))
  }
}
