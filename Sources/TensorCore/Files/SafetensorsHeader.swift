import RunKit

/// Reads and checks the header of a safetensors file.
struct SafetensorsHeader {
  /// The notes under `__metadata__`.
  private(set) var metadata: [String: String] = [:]
  /// The tensors in the order of the header.
  private(set) var tensors: [StoredTensor] = []

  private let file: MappedFile
  /// Where tensor data begin in the file.
  private let dataStart: Int
  private var dataCount: Int { file.count - dataStart }

  init(of file: MappedFile) throws(SafetensorsError) {
    guard file.count >= 8 else { throw .tooShort(path: file.path, found: file.count) }
    var length: UInt64 = 0
    for byte in file.bytes(0..<8).reversed() { length = length << 8 | UInt64(byte) }
    guard length <= UInt64(SafetensorsFile.headerLimit) else {
      throw .headerTooLong(path: file.path, found: length, limit: SafetensorsFile.headerLimit)
    }
    guard length <= UInt64(file.count - 8) else {
      throw .headerPastEnd(path: file.path, found: Int(length), available: file.count - 8)
    }
    self.file = file
    self.dataStart = 8 + Int(length)
    let document = try Self.object(file.bytes(8..<dataStart), path: file.path)
    for (key, value) in document.members {
      if key == "__metadata__" {
        metadata = try notes(value)
      } else {
        tensors.append(try tensor(key, value))
      }
    }
    try checkCoverage()
  }

  private static func object(_ bytes: [UInt8], path: String) throws(SafetensorsError) -> JSONObject {
    guard bytes.first == UInt8(ascii: "{") else { throw .headerNotAnObject(path: path) }
    let document: JSONValue
    do {
      // Header, tensor and list are three levels; a little more lets the wrong kind be named.
      document = try JSONValue(parsing: bytes, depthLimit: 8)
    } catch .duplicateKey(_, let key) {
      throw .duplicateKey(path: path, key: key)
    } catch .notUTF8(let offset) {
      throw .notUTF8(path: path, offset: offset + 8)
    } catch {
      throw .headerNotJSON(path: path, reason: error)
    }
    guard let object = document.objectValue else { throw .headerNotAnObject(path: path) }
    return object
  }

  private func notes(_ value: JSONValue) throws(SafetensorsError) -> [String: String] {
    guard let object = value.objectValue else {
      throw .badMetadata(path: file.path, key: nil, found: value.kind)
    }
    var notes: [String: String] = [:]
    for (key, value) in object.members {
      guard let text = value.stringValue else {
        throw .badMetadata(path: file.path, key: key, found: value.kind)
      }
      notes[key] = text
    }
    return notes
  }

  private func tensor(_ name: String, _ value: JSONValue) throws(SafetensorsError) -> StoredTensor {
    let path = file.path
    guard !name.isEmpty else { throw .emptyName(path: path) }
    guard let entry = value.objectValue else {
      throw .badEntry(path: path, tensor: name, key: nil, found: value.kind, expected: "an object")
    }
    if let key = entry.keys.first(where: { !["dtype", "shape", "data_offsets"].contains($0) }) {
      throw .unknownKey(path: path, tensor: name, key: key)
    }
    let type = try elementType(name, entry)
    let shape = try integers(name, entry, "shape")
    if let size = shape.first(where: { $0 < 0 }) {
      throw .negativeSize(path: path, tensor: name, found: size)
    }
    guard let expected = type.byteCount(shape: shape) else {
      throw .sizeOverflow(path: path, tensor: name, shape: shape)
    }
    let offsets = try integers(name, entry, "data_offsets")
    guard offsets.count == 2, offsets[0] >= 0 else {
      throw .badOffsets(path: path, tensor: name, found: offsets)
    }
    guard offsets[0] <= offsets[1] else { throw .offsetsReversed(path: path, tensor: name, found: offsets) }
    guard offsets[1] <= dataCount else {
      throw .offsetsPastEnd(path: path, tensor: name, found: offsets, available: dataCount)
    }
    let range = offsets[0]..<offsets[1]
    guard range.count == expected else {
      throw .sizeMismatch(
        path: path, tensor: name, type: type, shape: shape, found: range.count, expected: expected)
    }
    let fileRange = dataStart + range.lowerBound..<dataStart + range.upperBound
    return StoredTensor(checked: name, type, shape, .mapped(file, fileRange))
  }

  private func elementType(_ name: String, _ entry: JSONObject) throws(SafetensorsError) -> ElementType {
    guard let value = entry["dtype"] else { throw .missingKey(path: file.path, tensor: name, key: "dtype") }
    guard let text = value.stringValue else {
      throw .badEntry(path: file.path, tensor: name, key: "dtype", found: value.kind, expected: "a string")
    }
    if let type = ElementType(rawValue: text) { return type }
    if ElementType.unsupportedNames.contains(text) {
      throw .unsupportedType(path: file.path, tensor: name, found: text)
    }
    throw .unknownType(path: file.path, tensor: name, found: text)
  }

  private func integers(_ name: String, _ entry: JSONObject, _ key: String) throws(SafetensorsError) -> [Int]
  {
    let expected = "a list of whole numbers"
    guard let value = entry[key] else { throw .missingKey(path: file.path, tensor: name, key: key) }
    guard let elements = value.arrayValue else {
      throw .badEntry(path: file.path, tensor: name, key: key, found: value.kind, expected: expected)
    }
    var integers: [Int] = []
    for element in elements {
      // 2.0 and 2e3 are refused too: no writer of the format spells sizes so.
      guard case .integer(let integer) = element else {
        throw .badEntry(
          path: file.path, tensor: name, key: key, found: "a list with \(element.kind)", expected: expected)
      }
      integers.append(integer)
    }
    return integers
  }

  /// Checks that the tensors cover the data from the first byte to the last, each byte once.
  private func checkCoverage() throws(SafetensorsError) {
    var placed: [(range: Range<Int>, name: String)] = []
    for tensor in tensors {
      if case .mapped(_, let range) = tensor.storage { placed.append((range, tensor.name)) }
    }
    placed.sort {
      ($0.range.lowerBound, $0.range.upperBound) < ($1.range.lowerBound, $1.range.upperBound)
    }
    var end = dataStart
    var last: String?
    for (range, name) in placed {
      guard range.lowerBound >= end else {
        throw .overlap(path: file.path, tensor: name, other: last ?? name, bytes: end - range.lowerBound)
      }
      guard range.lowerBound == end else {
        throw .gap(path: file.path, tensor: name, bytes: range.lowerBound - end)
      }
      end = range.upperBound
      last = name
    }
    guard end == file.count else { throw .trailingBytes(path: file.path, bytes: file.count - end) }
  }
}
