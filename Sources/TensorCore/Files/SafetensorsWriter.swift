import Foundation
import RunKit

/// Writes safetensors files.
public enum SafetensorsWriter {
  /// Writes a file that appears whole or not at all; the same tensors give the same bytes, in whatever order.
  ///
  /// Wide elements come first, then names in the order of their bytes: with the header padded to 8 bytes, every
  /// element is aligned. Data go to the file from where they lie, without a second copy.
  ///
  /// - Parameter metadata: Notes for `__metadata__`; left out when empty.
  /// - Throws: `TensorWriteError` for names that are empty, reserved or stand twice; `FileError` if writing fails.
  public static func write(
    tensors: [StoredTensor], metadata: [String: String] = [:], to path: String
  ) throws {
    try write(
      tensors.map { tensor in
        Part(name: tensor.name, elementType: tensor.elementType, shape: tensor.shape) { tensor.storage }
      }, metadata: metadata, to: path)
  }

  /// A tensor whose bytes are made when they are written.
  public struct Part {
    /// The name in the file.
    public let name: String
    /// The type of one element.
    public let elementType: ElementType
    /// Sizes of the axes.
    public let shape: [Int]
    /// Makes the bytes, as many as shape and type ask for; called once.
    public let bytes: () throws -> StoredBytes

    /// A tensor to be made.
    public init(
      name: String, elementType: ElementType, shape: [Int], bytes: @escaping () throws -> StoredBytes
    ) {
      (self.name, self.elementType, self.shape, self.bytes) = (name, elementType, shape, bytes)
    }

    var byteCount: Int { elementType.byteCount(shape: shape) ?? 0 }
  }

  /// Writes tensors that are made one after another, in the order in which the file holds them.
  ///
  /// - Throws: As `write(tensors:metadata:to:)`; what making a tensor throws, and then there is no file.
  public static func write(_ parts: [Part], metadata: [String: String] = [:], to path: String) throws {
    let ordered = parts.sorted {
      let (left, right) = ($0.elementType.byteCount, $1.elementType.byteCount)
      return left == right ? $0.name.utf8.lexicographicallyPrecedes($1.name.utf8) : left > right
    }
    let header = try header(of: ordered, metadata: metadata, path: path)
    var length: [UInt8] = []
    length.append(header.count, bytes: 8)
    try AtomicFile.write(to: URL(fileURLWithPath: path)) { file in
      try file.write(length)
      try file.write(header)
      for part in ordered {
        let storage = try part.bytes()
        require(storage.count == part.byteCount, "\(storage.count) bytes for \(part.name) of \(part.shape)")
        try storage.withSpan { try file.write($0) }
        // A checkpoint that is copied should not fill memory on its way.
        storage.releasePages()
      }
    }
  }

  private static func header(
    of tensors: [Part], metadata: [String: String], path: String
  ) throws(TensorWriteError) -> [UInt8] {
    var header = JSONObject()
    if !metadata.isEmpty {
      let notes = metadata.sorted { $0.key.utf8.lexicographicallyPrecedes($1.key.utf8) }
      header["__metadata__"] = .object(JSONObject(notes.map { ($0.key, .string($0.value)) }))
    }
    var offset = 0
    for tensor in tensors {
      guard !tensor.name.isEmpty else { throw .emptyName(path: path) }
      guard tensor.name != "__metadata__" else { throw .reservedName(path: path, name: tensor.name) }
      guard header[tensor.name] == nil else { throw .duplicateName(path: path, name: tensor.name) }
      let end = offset + tensor.byteCount
      header[tensor.name] = [
        "dtype": .string(tensor.elementType.rawValue),
        "shape": .array(tensor.shape.map { .integer($0) }),
        "data_offsets": [.integer(offset), .integer(end)],
      ]
      offset = end
    }
    var bytes = [UInt8](JSONValue.object(header).text().utf8)
    let padding = (8 - bytes.count % 8) % 8
    bytes.append(contentsOf: repeatElement(UInt8(ascii: " "), count: padding))
    guard bytes.count <= SafetensorsFile.headerLimit else {
      throw .tooLarge(path: path, found: bytes.count, limit: SafetensorsFile.headerLimit)
    }
    return bytes
  }
}
