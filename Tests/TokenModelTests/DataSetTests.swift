import Foundation
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

final class DataSetTests: XCTestCase {
  private static let checkpoint = Result { try Checkpoint(folder: Fixtures.url("avdigits_model")) }

  private func data(_ text: String) throws -> DataSet {
    try DataSet(bytes: [UInt8](text.utf8), url: Fixtures.avdigitsData("made.jsonl"))
  }

  private func questions(_ text: String) throws -> [String] {
    let data = try data(text)
    let model = try Self.checkpoint.get().model
    return try (0..<data.count).map { try data.sample(at: $0, for: model).turns[0].text }
  }

  private func assertRefused(_ text: String, _ expected: DataSetError, line: UInt = #line) {
    XCTAssertThrowsError(try questions(text), line: line) {
      XCTAssertEqual($0 as? DataSetError, expected, line: line)
    }
  }

  private let path = Fixtures.avdigitsData("made.jsonl").path

  func testLinesAndArraysHoldTheSameRecords() throws {
    let lines = ["{\"text\":\"a, [b] \\\"\"}", "{\"text\":\"c\\\\\"}", "{\"text\":\"{\"}"]
    let expected = ["a, [b] \"", "c\\", "{"]
    XCTAssertEqual(try questions(lines.joined(separator: "\n")), expected)
    XCTAssertEqual(try questions("\u{FEFF}" + lines.joined(separator: " \r\n\n") + "\n"), expected)
    XCTAssertEqual(try questions("[" + lines.joined(separator: ",") + "]"), expected)
    XCTAssertEqual(try questions("\n [\n" + lines.joined(separator: " ,\n") + "\n]\n"), expected)
  }

  func testArraysThatAreNoneAreRefusedWithTheirLine() {
    func malformed(_ line: Int, _ reason: String) -> DataSetError {
      .malformedRecord(path: path, line: line, reason: reason)
    }
    assertRefused("[{\"text\":\"a\"}\n", malformed(2, "the file ends, but its array does not"))
    assertRefused("[{\"text\":\"a\"}] x", malformed(1, "the array ends, but bytes follow"))
    let gap = "expected a record between the commas of the array"
    assertRefused("[{\"text\":\"a\"},\n]", malformed(2, gap))
    assertRefused("[,{\"text\":\"a\"}]", malformed(1, gap))
    assertRefused("{\"text\":\"a\"}\n\n{\"text\":", malformed(3, "not JSON at byte 8: expected a value"))
    assertRefused("[]", .empty(path: path))
    assertRefused(" \n", .empty(path: path))
  }

  func testAFaultOfARecordNamesItsLineOrItsPlaceInTheArray() {
    assertRefused(
      "{\"text\":\"a\"}\n\n{\"id\":\"x\\ny\"}",
      .missingKey(path: path, record: "line 3 (id \"x\\ny\")", key: "text"))
    assertRefused(
      "[{\"text\":\"a\"},{\"text\":7}]",
      .wrongKind(path: path, record: "record 1", key: "text", found: "a number", expected: "a text"))
    assertRefused(
      "{\"text\":\"a\"}\n7",
      .malformedRecord(path: path, line: 2, reason: "expected an object, found a number"))
  }

  /// Found by sparse files: they take no space on a disk, and their zeros look like one long record.
  func testARecordWithoutEndIsRefusedBeforeItFillsMemory() {
    for start in ["", "[", "{\"text\":\""] {
      let text = start + String(repeating: "x", count: DataSetRecords.byteLimit + 1)
      assertRefused(
        text,
        .malformedRecord(
          path: path, line: 1, reason: "expected a record of at most \(DataSetRecords.byteLimit) bytes"))
    }
  }

  func testNamesOfMediaAreShortAndPlain() {
    for name in ["a\\u0000b", String(repeating: "x", count: 1_025)] {
      XCTAssertThrowsError(try questions("{\"text\":\"<image>a\",\"image\":\"\(name)\"}")) {
        XCTAssertEqual(($0 as? DataSetError)?.code, .wrongKind)
      }
    }
    for name in ["../a.pgm", "/a.pgm", "b/../../a.pgm"] {
      assertRefused(
        "{\"text\":\"<image>a\",\"image\":\"\(name)\"}",
        .pathLeavesFolder(path: path, record: "line 1", found: name))
    }
  }

  func testMediaOfALLaVAListAreRowsOfATable() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(
      "mmprobe-data-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let rows = StoredBytes.owned([UInt8](repeating: 3, count: 128))
    try SafetensorsWriter.write(
      tensors: [try StoredTensor(name: "image", elementType: .u8, shape: [2, 1, 8, 8], storage: rows)],
      to: folder.appendingPathComponent("set.safetensors").path)
    let text = #"[{"image":["set/1"],"conversations":[{"from":"human","value":"<image>a"}]}]"#
    let data = try DataSet(bytes: [UInt8](text.utf8), url: folder.appendingPathComponent("a.json"))
    let sample = try data.sample(at: 0, for: Self.checkpoint.get().model)
    XCTAssertEqual(sample.media.map(\.identity), ["set/1"])
  }

  func testAPromptOfTooManyPositionsIsRefused() throws {
    let model = try Self.checkpoint.get().model
    let ids = [Int](repeating: 7, count: Prompt.positionLimit + 1)
    XCTAssertThrowsError(
      try model.expand(
        ids: ids, pieces: ids.map { _ in "" }, roles: ids.map { _ in .question }, media: [],
        promptCount: ids.count,
        sample: "s")
    ) {
      XCTAssertEqual(
        $0 as? PromptError,
        .tooLong(sample: "s", count: Prompt.positionLimit + 1, limit: Prompt.positionLimit))
    }
  }

  func testABatchOfTooManyPositionsIsRefusedBeforeItsIdsAreRead() throws {
    let model = try Self.checkpoint.get().model
    let shape = [Prompt.positionLimit, 2]
    let ids = try StoredTensor(
      name: "input_ids", elementType: .u8, shape: shape,
      storage: .owned([UInt8](repeating: 7, count: 2 * shape[0])))
    XCTAssertThrowsError(try TraceInputs([ids], path: "p", model: model)) {
      XCTAssertEqual(($0 as? TraceError)?.code, .wrongShape)
    }
  }
}
