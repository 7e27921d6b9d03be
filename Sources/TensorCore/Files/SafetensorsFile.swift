import RunKit

/// A safetensors file, mapped and checked in full when it is opened.
///
///     8 bytes   length n of the header, little-endian
///     n bytes   JSON: {"name": {"dtype": "F32", "shape": [2, 3], "data_offsets": [begin, end]}, …}
///     the rest  tensor data; offsets count from its first byte
///
/// Strict: every size is checked against the file before use, keys may stand once, and the tensors must cover the
/// data exactly, without overlaps or gaps. Source: the format's description in the safetensors repository.
public struct SafetensorsFile: Sendable {
  /// The longest header accepted. `JSONValue.countLimit` bounds it too, to 60,000 tensors.
  ///
  /// The format's own reader takes three times as much; such a header would need most of a gigabyte in memory.
  public static let headerLimit = 1 << 25

  /// The path it was opened with.
  public let path: String
  /// The free-form notes under `__metadata__`, by key.
  public let metadata: [String: String]
  /// Every tensor, ordered by the bytes of its name.
  public let tensors: [StoredTensor]

  /// Opens and checks a file; tensor data stay on disk until used.
  ///
  /// - Throws: `FileError` if it cannot be mapped, `SafetensorsError` if its contents are not as they must be.
  public init(path: String) throws {
    let file = try MappedFile(path: path)
    let header = try SafetensorsHeader(of: file)
    self.path = path
    self.metadata = header.metadata
    self.tensors = header.tensors.sorted { $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) }
  }

  /// The names of the tensors, ordered by their bytes.
  public var names: [String] { tensors.map(\.name) }

  /// The tensor of this name, or nil.
  public subscript(name: String) -> StoredTensor? { tensors.named(name) }

  /// The tensor of this name.
  ///
  /// - Throws: `SafetensorsError.missingTensor`.
  public func tensor(_ name: String) throws(SafetensorsError) -> StoredTensor {
    guard let tensor = self[name] else {
      throw .missingTensor(path: path, tensor: name, count: tensors.count)
    }
    return tensor
  }
}

extension [StoredTensor] {
  /// Finds a tensor by the bytes of its name, by which the array must be ordered.
  ///
  /// No dictionary: `String` keys of different bytes can be equal (canonical equivalence), names in files are not.
  func named(_ name: String) -> StoredTensor? {
    var range = 0..<count
    while let first = range.first {
      let middle = first + range.count / 2
      if self[middle].name.utf8.elementsEqual(name.utf8) { return self[middle] }
      let isBefore = self[middle].name.utf8.lexicographicallyPrecedes(name.utf8)
      range = isBefore ? middle + 1..<range.upperBound : first..<middle
    }
    return nil
  }
}
