import RunKit
import TensorCore

/// Where the records of a data file lie: its lines, or the elements of the array it holds.
///
/// Only places are kept, so a file larger than memory can be a data set; a record is parsed when it is asked for.
struct DataSetRecords: Sendable {
  /// One record.
  private struct Place: Sendable {
    let bytes: Range<Int>
    /// The line it begins on, from 1.
    let line: Int
  }

  /// The most records.
  static let countLimit = 1 << 22
  /// The longest record in bytes.
  static let byteLimit = 1 << 24
  private static let blockSize = 1 << 20

  /// Whether the file is one array.
  let isArray: Bool
  private let path: String
  private let storage: StoredBytes
  private var places: [Place] = []

  /// Finds the records and parses each once.
  ///
  /// - Parameters:
  ///   - path: For messages.
  ///   - visit: Called with every record in order.
  /// - Throws: `DataSetError.malformedRecord`, and what `visit` throws.
  init(_ storage: StoredBytes, path: String, visit: (JSONValue) throws -> Void) throws {
    (self.storage, self.path) = (storage, path)
    let head = storage.bytes(0..<min(storage.count, 4_096))
    let start = head.starts(with: [0xEF, 0xBB, 0xBF]) ? 3 : 0
    isArray = head[start...].first { !RecordScanner.isSpace($0) } == UInt8(ascii: "[")
    var scanner = RecordScanner(isArray: isArray, start: start)
    for blockStart in stride(from: start, to: storage.count, by: Self.blockSize) {
      let block = blockStart..<min(blockStart + Self.blockSize, storage.count)
      for byte in storage.bytes(block) {
        if let found = try scanner.take(byte, path: path) { try add(found, visit) }
      }
      storage.slice(block).releasePages()
    }
    if let found = try scanner.finish(path: path) { try add(found, visit) }
  }

  private mutating func add(_ found: RecordScanner.Found, _ visit: (JSONValue) throws -> Void) throws {
    let place = Place(bytes: found.bytes, line: found.line)
    guard places.count < Self.countLimit else {
      throw DataSetError.malformedRecord(
        path: path, line: found.line, reason: "expected at most \(Self.countLimit) records")
    }
    try visit(parse(place))
    places.append(place)
  }

  private func parse(_ place: Place) throws(DataSetError) -> JSONValue {
    do {
      return try JSONValue(parsing: storage.bytes(place.bytes))
    } catch {
      throw .malformedRecord(path: path, line: place.line, reason: error.localizedDescription)
    }
  }

  /// How many records there are.
  var count: Int { places.count }

  /// The line on which a record begins, from 1.
  func line(of index: Int) -> Int { places[index].line }

  /// A record.
  ///
  /// - Throws: `DataSetError.malformedRecord` if the file was changed since it was opened.
  func value(at index: Int) throws(DataSetError) -> JSONValue { try parse(places[index]) }
}

/// Finds where records begin and end, byte by byte, without looking at what they say.
private struct RecordScanner {
  /// A record that has ended.
  struct Found {
    let bytes: Range<Int>
    let line: Int
  }

  private enum State { case before, inside, inString, inEscape, after }

  private let isArray: Bool
  private var state: State
  private var offset: Int
  private var line = 1
  /// Where the record begins, behind its white space, and the line there; nil before it.
  private var start: (offset: Int, line: Int)?
  /// Where its last byte that is no white space ends.
  private var end = 0
  private var depth = 0
  private var hasElements = false

  init(isArray: Bool, start: Int) {
    self.isArray = isArray
    offset = start
    state = isArray ? .before : .inside
  }

  static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || byte == 0x0A || byte == 0x0D || byte == 0x09 }

  /// Takes the next byte; the record that it ends, if it ends one.
  mutating func take(_ byte: UInt8, path: String) throws(DataSetError) -> Found? {
    defer {
      offset += 1
      if byte == 0x0A { line += 1 }
    }
    if isArray { return try takeInArray(byte, path: path) }
    if byte == 0x0A { return found() }
    try extend(byte, path: path)
    return nil
  }

  private mutating func takeInArray(_ byte: UInt8, path: String) throws(DataSetError) -> Found? {
    switch state {
    case .before:
      if byte == UInt8(ascii: "[") { state = .inside }
      return nil
    case .after:
      guard Self.isSpace(byte) else {
        throw .malformedRecord(path: path, line: line, reason: "the array ends, but bytes follow")
      }
      return nil
    case .inEscape: state = .inString
    case .inString:
      if byte == UInt8(ascii: "\\") { state = .inEscape }
      if byte == UInt8(ascii: "\"") { state = .inside }
    case .inside:
      switch byte {
      case UInt8(ascii: "\""): state = .inString
      case UInt8(ascii: "{"), UInt8(ascii: "["): depth += 1
      case UInt8(ascii: ",") where depth == 0:
        hasElements = true
        return try foundElement(path: path)
      case UInt8(ascii: "]") where depth == 0:
        state = .after
        return start == nil && !hasElements ? nil : try foundElement(path: path)
      case UInt8(ascii: "}"), UInt8(ascii: "]"): depth -= 1
      default: break
      }
    }
    try extend(byte, path: path)
    return nil
  }

  /// The record that the file's end ends.
  mutating func finish(path: String) throws(DataSetError) -> Found? {
    guard isArray else { return found() }
    guard state == .after else {
      throw .malformedRecord(path: path, line: line, reason: "the file ends, but its array does not")
    }
    return nil
  }

  private mutating func extend(_ byte: UInt8, path: String) throws(DataSetError) {
    if !Self.isSpace(byte) {
      if start == nil { start = (offset, line) }
      end = offset + 1
    }
    guard let start, offset - start.offset >= DataSetRecords.byteLimit else { return }
    throw .malformedRecord(
      path: path, line: start.line, reason: "expected a record of at most \(DataSetRecords.byteLimit) bytes")
  }

  private mutating func foundElement(path: String) throws(DataSetError) -> Found {
    guard let found = found() else {
      throw .malformedRecord(
        path: path, line: line, reason: "expected a record between the commas of the array")
    }
    return found
  }

  private mutating func found() -> Found? {
    guard let first = start else { return nil }
    start = nil
    return Found(bytes: first.offset..<end, line: first.line)
  }
}
