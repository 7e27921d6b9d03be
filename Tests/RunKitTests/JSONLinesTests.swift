import Foundation
import XCTest

@testable import RunKit

final class JSONLinesTests: XCTestCase {
  private func read(
    _ text: String, ending: JSONLinesReader.Ending = .asWritten, lineLimit: Int = 1000
  ) throws -> (lines: [JSONLinesReader.Line], left: String) {
    try withTemporaryFolder { folder in
      let url = folder.appendingPathComponent("file")
      try AtomicFile.write(text, to: url)
      let lines = try JSONLinesReader(url, ending: ending, lineLimit: lineLimit).remainingLines()
      return (lines, try FileReader.text(of: url, limit: 1 << 20))
    }
  }

  func testRecordsAreReadWithTheirLineNumbers() throws {
    let expected: [JSONLinesReader.Line] = [.init(number: 1, value: 1), .init(number: 3, value: ["a": "é"])]
    for text in ["1\n\n{\"a\":\"é\"}\n", "1\r\n \t\r\n{\"a\":\"é\"}", "\u{FEFF}1\n\n{\"a\":\"é\"}\n\n"] {
      XCTAssertEqual(try read(text).lines, expected, text)
    }
    XCTAssertEqual(try read("").lines, [])
  }

  func testLinesLongerThanABlockAreWhole() throws {
    let long = String(repeating: "x", count: 200_000)
    let lines = try read("\"\(long)\"\n\"\(long)\"\n2\n", lineLimit: 200_002).lines
    XCTAssertEqual(lines.map(\.value), [.string(long), .string(long), 2])
  }

  func testATornLastLineIsCutOffTheFile() throws {
    // The last is complete JSON, but the half of a longer number looks the same.
    for torn in ["{\"a\":", "\u{0}", "12"] {
      let (lines, left) = try read("1\n2\n" + torn, ending: .recovering)
      XCTAssertEqual(lines.map(\.value), [1, 2])
      XCTAssertEqual(left, "1\n2\n")
    }
    XCTAssertEqual(try read("{\"a", ending: .recovering).left, "")
    XCTAssertEqual(try read("1\n", ending: .recovering).left, "1\n")
  }

  func testAMalformedLineIsNamed() throws {
    for ending in [JSONLinesReader.Ending.asWritten, .recovering] {
      XCTAssertThrowsError(try read("1\n{]\n3\n", ending: ending)) { error in
        guard case JSONLinesError.malformed(let path, let line, .syntax) = error else {
          return XCTFail("\(error)")
        }
        XCTAssertEqual(line, 2)
        XCTAssertEqual((error as? JSONLinesError)?.errorDescription?.hasPrefix("\(path):2: not JSON"), true)
        XCTAssertEqual((error as? JSONLinesError)?.exitStatus, .data)
      }
    }
    XCTAssertThrowsError(try read("1\n{\"a\":"))
  }

  func testALineOverTheLimitIsRefused() throws {
    XCTAssertEqual(try read("123\n", lineLimit: 3).lines.count, 1)
    for text in ["1\n1234\n", "1\n1234"] {
      XCTAssertThrowsError(try read(text, lineLimit: 3)) {
        XCTAssertEqual(($0 as? JSONLinesError)?.code, .tooLong)
        XCTAssertEqual(($0 as? JSONLinesError)?.errorDescription?.contains(":2: "), true)
      }
    }
  }

  func testAppendedRecordsFollowTheStoredOnes() throws {
    try withTemporaryFolder { folder in
      let url = folder.appendingPathComponent("file")
      for start in [0, 3] {
        let writer = try JSONLinesWriter(appendingTo: url, recordsPerSync: 2)
        for number in start..<start + 3 { try writer.append(["n": .integer(number), "t": "a\nb"]) }
        try writer.sync()
      }
      let lines = try JSONLinesReader(url).remainingLines()
      XCTAssertEqual(lines.map { $0.value["n"]?.intValue }, [0, 1, 2, 3, 4, 5])
    }
  }

  func testAFailedAppendLeavesCompleteRecordsAndCanBeRepeated() throws {
    try withTemporaryFolder { folder in
      let url = folder.appendingPathComponent("file")
      let writer = try JSONLinesWriter(appendingTo: url)
      try writer.append(1)
      let plan = FaultPlan(environment: ["MMPROBE_FAULT_FAIL": "1:ENOSPC"])
      XCTAssertThrowsError(try FaultPoint.$testPlan.withValue(plan) { try writer.append(2) }) {
        XCTAssertEqual($0 as? FileError, .noSpace(path: url.path, operation: .write))
      }
      try writer.append(3)
      XCTAssertEqual(try FileReader.text(of: url, limit: 100), "1\n3\n")
    }
  }
}
