import Foundation
import TestSupport
import XCTest

@testable import TensorCore

/// The fixtures were written by NumPy 2.4.6 (`save`, `savez`, `savez_compressed`).
final class NPYFileTests: XCTestCase {
  private var folder = ""

  override func setUpWithError() throws {
    folder = NSTemporaryDirectory() + "npy-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
  }

  override func tearDownWithError() throws {
    try FileManager.default.removeItem(atPath: folder)
  }

  private func fixture(_ name: String) -> String { Fixtures.url("numpy/\(name)").path }

  /// Writes an array file with this header text and data.
  private func file(_ text: String, data: [UInt8] = [], version: [UInt8] = [1, 0]) throws -> String {
    var bytes: [UInt8] = [0x93] + "NUMPY".utf8 + version
    bytes.append(text.utf8.count, bytes: version[0] == 1 ? 2 : 4)
    let path = "\(folder)/case.npy"
    try Data(bytes + text.utf8 + data).write(to: URL(fileURLWithPath: path))
    return path
  }

  private func assertRefused(_ expected: NumPyFileError.Code, _ path: String, line: UInt = #line) {
    XCTAssertThrowsError(try NPYFile.read(path: path), line: line) {
      XCTAssertEqual(($0 as? NumPyFileError)?.code, expected, $0.localizedDescription, line: line)
      XCTAssertTrue($0.localizedDescription.hasPrefix(path), line: line)
    }
  }

  func testArraysOfNumPyAreReadInCOrder() throws {
    let rows = try NPYFile.read(path: fixture("c_order.npy"))
    XCTAssertEqual(rows.name, "c_order")
    XCTAssertEqual(rows.shape, [2, 3])
    XCTAssertEqual(try rows.floats(), [0, 0.25, 0.5, 0.75, 1, 1.25])
    let cube = try NPYFile.read(path: fixture("fortran_order.npy"))
    XCTAssertEqual(cube.shape, [2, 3, 4])
    XCTAssertEqual(try cube.integers(), Array(0..<24))
    XCTAssertEqual(try NPYFile.read(path: fixture("version3.npy")).bytes(), [1, 0, 255])
  }

  func testTypesWithoutAnExactReadingAreRefused() {
    assertRefused(.bigEndian, fixture("big_endian.npy"))
    assertRefused(.unsupportedType, fixture("complex.npy"))
    assertRefused(.unsupportedType, fixture("records.npy"))
    assertRefused(.notNPY, fixture("stored.npz"))
  }

  func testWhatIsWrittenReadsBackTheSame() throws {
    for type in ElementType.allCases where type != .bf16 {
      for shape in [[], [0], [3], [2, 3], [2, 1, 2, 2]] {
        let count = try XCTUnwrap(type.byteCount(shape: shape))
        let bytes = (0..<count).map { UInt8(truncatingIfNeeded: $0 &* 37) }
        let tensor = try StoredTensor(name: "out", elementType: type, shape: shape, storage: .owned(bytes))
        let path = "\(folder)/out.npy"
        try NPYFile.write(tensor, to: path)
        let read = try NPYFile.read(path: path)
        XCTAssertEqual(read.name, "out")
        XCTAssertEqual(read.elementType, type)
        XCTAssertEqual(read.shape, shape)
        XCTAssertEqual(read.bytes(), bytes)
        // NumPy maps arrays only where data are aligned to 64 bytes.
        XCTAssertEqual(try Data(contentsOf: URL(fileURLWithPath: path)).count % 64, count % 64)
      }
    }
  }

  func testWhatNumPyDoesNotHaveIsNotWritten() throws {
    let brain = try StoredTensor(name: "b", elementType: .bf16, shape: [1], storage: .owned([0, 0]))
    let deep = try StoredTensor(name: "d", shape: [Int](repeating: 1, count: 65), bytes: [0])
    for (tensor, code) in [(brain, TensorWriteError.Code.noNumPyType), (deep, .tooManyAxes)] {
      XCTAssertThrowsError(try NPYFile.write(tensor, to: "\(folder)/out.npy")) {
        XCTAssertEqual(($0 as? TensorWriteError)?.code, code)
      }
    }
    XCTAssertEqual(try FileManager.default.contentsOfDirectory(atPath: folder), [])
  }

  func testEveryFaultOfAHeaderHasItsCode() throws {
    func text(_ type: String, _ shape: String) -> String {
      "{'descr': '\(type)', 'fortran_order': False, 'shape': \(shape), }"
    }
    XCTAssertEqual(try NPYFile.read(path: file(text("<f4", "(1,)"), data: [0, 0, 0, 0])).shape, [1])
    XCTAssertEqual(
      try NPYFile.read(path: file(text("<u1", "(1, 1)"), data: [9], version: [2, 0])).bytes(), [9])
    assertRefused(.unsupportedVersion, try file(text("<f4", "(0,)"), version: [4, 0]))
    assertRefused(.unsupportedVersion, try file(text("<f4", "(0,)"), version: [1, 1]))
    assertRefused(.headerTooLong, try file(String(repeating: " ", count: 65_536), version: [2, 0]))
    assertRefused(.missingKey, try file("{}"))
    assertRefused(.missingKey, try file("{'descr': '<f4', 'shape': (1,)}"))
    assertRefused(.unsupportedType, try file(text("|O", "(1,)")))
    assertRefused(.unsupportedType, try file(text("", "(1,)")))
    assertRefused(.bigEndian, try file(text(">f8", "(1,)")))
    assertRefused(.sizeOverflow, try file(text("<f8", "(4294967296, 4294967296)")))
    assertRefused(.sizeMismatch, try file(text("<f8", "(2,)"), data: [0]))
    assertRefused(.sizeMismatch, try file(text("<f8", "()"), data: [UInt8](repeating: 0, count: 9)))
    let deep = "(" + String(repeating: "1,", count: 65) + ")"
    for broken in [
      "", "{", "{'descr'", "{'descr': <f4}", "{'descr': '<f4", text("<f4", "(1)"), text("<f4", "(1,"),
      text("<f4", "(-1,)"), text("<f4", "[1]"), text("<f4", "(99999999999999999999,)"), text("<f4", deep),
      text("<f4", "(1,)") + "x", "{'descr': '<f4', 'descr': '<f4'}", "{'other': 1}",
      "{'fortran_order': 0, 'descr': '<f4', 'shape': ()}",
    ] {
      assertRefused(.badHeader, try file(broken))
    }
    let whole = [UInt8](try Data(contentsOf: URL(fileURLWithPath: fixture("c_order.npy"))))
    for count in 6..<128 {
      let path = "\(folder)/cut.npy"
      try Data(whole.prefix(count)).write(to: URL(fileURLWithPath: path))
      assertRefused(.truncatedHeader, path)
    }
  }
}
