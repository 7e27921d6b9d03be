import Foundation
import TestSupport
import XCTest

@testable import TensorCore

/// The fixtures were written by NumPy 2.4.6 (`savez`, `savez_compressed`).
final class NPZFileTests: XCTestCase {
  private var folder = ""
  private var target: String { "\(folder)/out.npz" }

  override func setUpWithError() throws {
    folder = NSTemporaryDirectory() + "npz-\(UUID().uuidString)"
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
  }

  override func tearDownWithError() throws {
    try FileManager.default.removeItem(atPath: folder)
  }

  private func fixture(_ name: String) -> String { Fixtures.url("numpy/\(name)").path }

  private func contents(_ path: String) throws -> [UInt8] {
    [UInt8](try Data(contentsOf: URL(fileURLWithPath: path)))
  }

  private func assertRefused(_ expected: NumPyFileError.Code, _ bytes: [UInt8], line: UInt = #line) throws {
    try Data(bytes).write(to: URL(fileURLWithPath: target))
    XCTAssertThrowsError(try NPZArchive(path: target), line: line) {
      XCTAssertEqual(($0 as? NumPyFileError)?.code, expected, $0.localizedDescription, line: line)
    }
  }

  func testAnArchiveOfNumPyIsReadInFull() throws {
    let archive = try NPZArchive(path: fixture("stored.npz"))
    XCTAssertEqual(archive.names, ["half", "double", "flags", "empty", "layer/0.share", "größe"])
    XCTAssertEqual(try archive.array("half").floats(), [1.5, -65_504])
    XCTAssertEqual(try archive.array("double").doubles(), [.pi])
    XCTAssertEqual(try archive.array("double").shape, [])
    XCTAssertEqual(try archive.array("flags").integers(), [1, 0])
    XCTAssertEqual(try archive.array("empty").shape, [0, 4])
    XCTAssertEqual(try archive.array("layer/0.share").floats(), [0, 0.25, 0.5, 0.75, 1, 1.25])
    XCTAssertEqual(try archive.array("größe").bytes(), [0, 0, 0, 0, 0, 0, 0, 0x80])
    XCTAssertThrowsError(try archive.array("none")) {
      XCTAssertEqual(($0 as? NumPyFileError)?.code, .missingArray)
    }
  }

  /// Written with the limit for zip64 fields lowered to 100 bytes.
  func testSizesOf64BitsAreRead() throws {
    let archive = try NPZArchive(path: fixture("zip64.npz"))
    XCTAssertEqual(try archive.array("rows").floats(), [0, 0.25, 0.5, 0.75, 1, 1.25])
    XCTAssertEqual(try archive.array("more").integers(), [0, 1, 2])
  }

  func testACompressedArchiveIsRefusedWithItsRemedy() {
    XCTAssertThrowsError(try NPZArchive(path: fixture("compressed.npz"))) { error in
      let error = error as? NumPyFileError
      XCTAssertEqual(error?.code, .compressed)
      XCTAssertTrue(error?.recoverySuggestion?.contains("numpy.savez instead") == true)
    }
  }

  func testWhatIsWrittenReadsBackTheSameAndIsTheSameEachTime() throws {
    let arrays = [
      try StoredTensor(name: "mean", shape: [2, 2], doubles: [1, 2, 3, .nan]),
      try StoredTensor(name: "größe/ä", shape: [3], integers: [1, -1, 0]),
      try StoredTensor(name: "none", shape: [0], floats: []),
    ]
    try NPZArchive.write(arrays, to: target)
    let bytes = try contents(target)
    let archive = try NPZArchive(path: target)
    XCTAssertEqual(archive.names, arrays.map(\.name))
    for (read, written) in zip(archive.arrays, arrays) {
      XCTAssertEqual(read.shape, written.shape)
      XCTAssertEqual(read.elementType, written.elementType)
      XCTAssertEqual(read.bytes(), written.bytes())
    }
    try NPZArchive.write(arrays, to: target)
    XCTAssertEqual(try contents(target), bytes)
    try NPZArchive.write([], to: target)
    XCTAssertEqual(try NPZArchive(path: target).names, [])
  }

  func testWhatDoesNotFitAnArchiveIsNotWritten() throws {
    let array = try StoredTensor(name: "a", shape: [100], bytes: [UInt8](repeating: 0, count: 100))
    let brain = try StoredTensor(name: "b", elementType: .bf16, shape: [1], storage: .owned([0, 0]))
    let long = String(repeating: "x", count: 60_000)
    let cases: [(TensorWriteError.Code, [StoredTensor], Int)] = [
      (.duplicateName, [array, array], 1_000), (.emptyName, [array.renamed("")], 1_000),
      (.reservedName, [array.renamed(long)], 1_000), (.noNumPyType, [brain], 1_000),
      (.tooLarge, [array], 200),
    ]
    for (code, arrays, limit) in cases {
      XCTAssertThrowsError(try NPZArchive.write(arrays, to: target, limit: limit)) {
        XCTAssertEqual(($0 as? TensorWriteError)?.code, code)
      }
    }
    XCTAssertEqual(try FileManager.default.contentsOfDirectory(atPath: folder), [])
  }

  /// Each single changed byte is noticed, or changes nothing that is read (times, versions, attributes).
  func testNoChangedByteChangesAnArraySilently() throws {
    let original = try contents(fixture("stored.npz"))
    let expected = try NPZArchive(path: fixture("stored.npz")).arrays
    for offset in original.indices {
      var bytes = original
      bytes[offset] ^= 0x10
      try Data(bytes).write(to: URL(fileURLWithPath: target))
      guard let found = try? NPZArchive(path: target).arrays else { continue }
      XCTAssertEqual(found.map { $0.bytes() }, expected.map { $0.bytes() }, "byte \(offset)")
      XCTAssertEqual(found.map(\.shape), expected.map(\.shape), "byte \(offset)")
    }
  }

  func testEveryFaultOfAnArchiveHasItsCode() throws {
    let array = try StoredTensor(name: "a", shape: [4], bytes: [1, 2, 3, 4])
    try NPZArchive.write([array, array.renamed("b")], to: target)
    let good = try contents(target)
    func changed(_ offset: Int, _ value: UInt8) -> [UInt8] {
      var bytes = good
      bytes[offset] = value
      return bytes
    }
    // The record at the end has 22 bytes, each entry of the directory 46 and the name.
    let directory = good.count - 22 - 2 * (46 + 5)
    try assertRefused(.notAnArchive, Array(good.dropLast()))
    try assertRefused(.notAnArchive, [0x50, 0x4B])
    try assertRefused(.badArchive, good[..<directory] + good.suffix(22))
    try assertRefused(.badArchive, changed(good.count - 18, 1))
    try assertRefused(.badArchive, [0] + good)
    try assertRefused(.badArchive, changed(directory, 0))
    try assertRefused(.encrypted, changed(directory + 8, 1))
    try assertRefused(.compressed, changed(directory + 10, 8))
    try assertRefused(.badArchive, changed(directory + 20, 0))
    try assertRefused(.badArchive, changed(0, 0))
    try assertRefused(.badArchive, changed(30, UInt8(ascii: "x")))
    try assertRefused(.checksumMismatch, changed(directory + 16, good[directory + 16] ^ 1))
    // Both names, in the entry's own header and in the directory.
    let second = 30 + 5 + 128 + 4
    func renamed(_ character: Int, _ value: UInt8) -> [UInt8] {
      var bytes = changed(second + 30 + character, value)
      bytes[directory + 46 + 5 + 46 + character] = value
      return bytes
    }
    try assertRefused(.duplicateArray, renamed(0, UInt8(ascii: "a")))
    try assertRefused(.badArchive, renamed(0, 0xFF))
    try assertRefused(.notAnArray, renamed(4, UInt8(ascii: "x")))
  }
}
