import Foundation
import RunKit
import TensorCore
import XCTest

final class SafetensorsFileTests: XCTestCase {
  private var folder = ""

  override func setUpWithError() throws {
    folder = NSTemporaryDirectory() + "safetensors-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
  }

  override func tearDownWithError() throws {
    try FileManager.default.removeItem(atPath: folder)
  }

  private func path(_ name: String) -> String { "\(folder)/\(name)" }

  /// Writes a file with this header and this many data bytes, and returns its path.
  private func file(header: [UInt8], dataCount: Int, length: UInt64? = nil) throws -> String {
    let length = length ?? UInt64(header.count)
    let bytes = (0..<8).map { UInt8(truncatingIfNeeded: length >> (8 * $0)) } + header
    let path = path("case.safetensors")
    try Data(bytes + [UInt8](repeating: 7, count: dataCount)).write(to: URL(fileURLWithPath: path))
    return path
  }

  private func code(header: String, dataCount: Int = 0) throws -> SafetensorsError.Code? {
    let path = try file(header: [UInt8](header.utf8), dataCount: dataCount)
    var found: SafetensorsError.Code?
    XCTAssertThrowsError(try SafetensorsFile(path: path), header) { error in
      found = (error as? SafetensorsError)?.code
      XCTAssertEqual((error as? SafetensorsError)?.path, path)
      XCTAssertTrue(error.localizedDescription.hasPrefix(path), error.localizedDescription)
    }
    return found
  }

  func testWhatIsWrittenReadsBackTheSame() throws {
    let tensors = [
      try StoredTensor(
        name: "b", shape: [2, 3], floats: [1, -2, .infinity, 0.1, -0.0, .leastNonzeroMagnitude]),
      try StoredTensor(name: "a", shape: [3], bytes: [0, 128, 255]),
      try StoredTensor(name: "é", shape: [], doubles: [.pi]),
      try StoredTensor(name: "none", shape: [0, 4], integers: []),
      try StoredTensor(name: "c", shape: [2], integers: [.min, .max]),
    ]
    let path = path("tensors.safetensors")
    try SafetensorsWriter.write(tensors: tensors, metadata: ["note": "x", "format": "pt"], to: path)
    let file = try SafetensorsFile(path: path)
    XCTAssertEqual(file.names, ["a", "b", "c", "none", "é"])
    XCTAssertEqual(file.metadata, ["note": "x", "format": "pt"])
    for tensor in tensors {
      let read = try file.tensor(tensor.name)
      XCTAssertEqual(read.elementType, tensor.elementType)
      XCTAssertEqual(read.shape, tensor.shape)
      XCTAssertEqual(read.bytes(), tensor.bytes(), tensor.name)
    }
    XCTAssertEqual(try file["c"]?.integers(), [.min, .max])
    XCTAssertThrowsError(try file.tensor("d"))
  }

  func testTheOrderOfTensorsDoesNotChangeTheFile() throws {
    let tensors = try ["x", "y", "a", "q"].enumerated().map {
      try StoredTensor(name: $1, shape: [$0 + 1], bytes: [UInt8](repeating: UInt8($0), count: $0 + 1))
    }
    try SafetensorsWriter.write(tensors: tensors, to: path("one"))
    try SafetensorsWriter.write(tensors: tensors.reversed(), to: path("two"))
    let one = try Data(contentsOf: URL(fileURLWithPath: path("one")))
    XCTAssertEqual(one, try Data(contentsOf: URL(fileURLWithPath: path("two"))))
    XCTAssertEqual(one.count % 2, 0)
    XCTAssertEqual(Set(try FileManager.default.contentsOfDirectory(atPath: folder)), ["one", "two"])
  }

  func testTensorsThatCannotBeToldApartAreNotWritten() throws {
    let tensor = try StoredTensor(name: "a", shape: [1], bytes: [1])
    let target = path("out")
    XCTAssertThrowsError(try SafetensorsWriter.write(tensors: [tensor, tensor], to: target)) {
      XCTAssertEqual($0 as? TensorWriteError, .duplicateName(path: target, name: "a"))
    }
    XCTAssertThrowsError(try SafetensorsWriter.write(tensors: [tensor.renamed("")], to: target)) {
      XCTAssertEqual($0 as? TensorWriteError, .emptyName(path: target))
    }
    XCTAssertThrowsError(try SafetensorsWriter.write(tensors: [tensor.renamed("__metadata__")], to: target)) {
      XCTAssertEqual($0 as? TensorWriteError, .reservedName(path: target, name: "__metadata__"))
    }
    XCTAssertThrowsError(try SafetensorsWriter.write(tensors: [tensor], to: path("no/folder"))) {
      XCTAssertEqual(($0 as? FileError)?.code, .cannotCreate)
    }
    XCTAssertEqual(try FileManager.default.contentsOfDirectory(atPath: folder), [])
  }

  /// "é" in one scalar and in two are equal as `String`s, but are two tensors.
  func testNamesAreComparedByTheirBytes() throws {
    let one = try StoredTensor(name: "\u{E9}", shape: [1], bytes: [1])
    let two = try StoredTensor(name: "e\u{301}", shape: [1], bytes: [2])
    try SafetensorsWriter.write(tensors: [one, two], to: path("names"))
    let file = try SafetensorsFile(path: path("names"))
    XCTAssertEqual(file["\u{E9}"]?.bytes(), [1])
    XCTAssertEqual(file["e\u{301}"]?.bytes(), [2])
  }

  func testEveryFaultOfAHeaderHasItsCode() throws {
    func entry(_ dtype: String, _ shape: String, _ offsets: String) -> String {
      #"{"t": {"dtype": "\#(dtype)", "shape": \#(shape), "data_offsets": \#(offsets)}}"#
    }
    let good = #"{"dtype": "U8", "shape": [4], "data_offsets": [0, 4]}"#
    let cases: [(SafetensorsError.Code, String, Int)] = [
      (.headerNotAnObject, "[1]", 0),
      (.headerNotAnObject, " {}", 0),
      (.headerNotJSON, "{", 0),
      (.headerNotJSON, "{} x", 0),
      (.duplicateKey, #"{"t": \#(good), "t": \#(good)}"#, 4),
      (.duplicateKey, #"{"t": {"dtype": "U8", "dtype": "U8", "shape": [4], "data_offsets": [0, 4]}}"#, 4),
      (.badMetadata, #"{"__metadata__": 1}"#, 0),
      (.badMetadata, #"{"__metadata__": {"a": 1}}"#, 0),
      (.emptyName, #"{"": \#(good)}"#, 4),
      (.badEntry, #"{"t": 1}"#, 0),
      (.badEntry, #"{"t": {"dtype": 1, "shape": [4], "data_offsets": [0, 4]}}"#, 4),
      (.badEntry, entry("U8", "4", "[0, 4]"), 4),
      (.badEntry, entry("U8", "[4.0]", "[0, 4]"), 4),
      (.badEntry, entry("U8", "[4]", #"["0", 4]"#), 4),
      (.missingKey, #"{"t": {"shape": [4], "data_offsets": [0, 4]}}"#, 4),
      (.missingKey, #"{"t": {"dtype": "U8", "shape": [4]}}"#, 4),
      (.unknownKey, #"{"t": {"dtype": "U8", "shape": [4], "data_offsets": [0, 4], "x": 1}}"#, 4),
      (.unknownType, entry("f32", "[1]", "[0, 4]"), 4),
      (.unsupportedType, entry("F8_E4M3", "[4]", "[0, 4]"), 4),
      (.negativeSize, entry("U8", "[-4]", "[0, 4]"), 4),
      (.negativeSize, entry("U8", "[-2, -2]", "[0, 4]"), 4),
      (.sizeOverflow, entry("F32", "[4611686018427387904]", "[0, 0]"), 0),
      (.sizeOverflow, entry("U8", "[4294967296, 4294967296, 0]", "[0, 0]"), 0),
      (.badOffsets, entry("U8", "[4]", "[0]"), 4),
      (.badOffsets, entry("U8", "[4]", "[0, 2, 4]"), 4),
      (.badOffsets, entry("U8", "[4]", "[-4, 0]"), 4),
      (.offsetsReversed, entry("U8", "[4]", "[4, 0]"), 4),
      (.offsetsPastEnd, entry("U8", "[5]", "[0, 5]"), 4),
      (.offsetsPastEnd, entry("U8", "[5]", "[9223372036854775802, 9223372036854775807]"), 4),
      (.sizeMismatch, entry("U8", "[3]", "[0, 4]"), 4),
      (.sizeMismatch, entry("F64", "[4]", "[0, 4]"), 4),
      (.overlap, #"{"a": \#(good), "b": \#(good)}"#, 4),
      (.overlap, #"{"a": \#(good), "b": {"dtype": "U8", "shape": [0], "data_offsets": [2, 2]}}"#, 4),
      (.gap, entry("U8", "[3]", "[1, 4]"), 4),
      (.trailingBytes, entry("U8", "[3]", "[0, 3]"), 4),
      (.trailingBytes, "{}", 1),
    ]
    for (expected, header, dataCount) in cases {
      XCTAssertEqual(try code(header: header, dataCount: dataCount), expected, header)
    }
  }

  func testALyingHeaderLengthIsRefusedBeforeUse() throws {
    let short = path("short")
    try Data([1, 0, 0]).write(to: URL(fileURLWithPath: short))
    let cases: [(SafetensorsError, String)] = [
      (.tooShort(path: short, found: 3), short),
      (
        .headerPastEnd(path: path("case.safetensors"), found: 3, available: 2),
        try file(header: [0x7B, 0x7D], dataCount: 0, length: 3)
      ),
    ]
    for (expected, path) in cases {
      XCTAssertThrowsError(try SafetensorsFile(path: path)) {
        XCTAssertEqual($0 as? SafetensorsError, expected)
      }
    }
    for length in [UInt64(SafetensorsFile.headerLimit) + 1, UInt64(Int.max), .max] {
      let path = try file(header: [0x7B, 0x7D], dataCount: 0, length: length)
      XCTAssertThrowsError(try SafetensorsFile(path: path)) {
        XCTAssertEqual(
          $0 as? SafetensorsError,
          .headerTooLong(path: path, found: length, limit: SafetensorsFile.headerLimit))
      }
    }
  }

  func testNamesThatAreNotUTF8AreRefused() throws {
    let path = try file(header: [UInt8](#"{""#.utf8) + [0xFF] + [UInt8](#"": 1}"#.utf8), dataCount: 0)
    XCTAssertThrowsError(try SafetensorsFile(path: path)) {
      XCTAssertEqual(($0 as? SafetensorsError)?.code, .notUTF8)
    }
  }

  /// A name of control characters must not reach a terminal as such.
  func testMessagesEscapeNames() throws {
    let path = try file(header: [UInt8](#"{"a\u001b[2J\n": 1}"#.utf8), dataCount: 0)
    XCTAssertThrowsError(try SafetensorsFile(path: path)) {
      XCTAssertTrue($0.localizedDescription.contains(#""a\u001b[2J\n""#), $0.localizedDescription)
    }
  }
}
