import XCTest

@testable import RunKit

/// Documents and names that are too much for memory or for a message.
final class JSONLimitTests: XCTestCase {
  func testDocumentsOfTooManyValuesAreRefused() throws {
    let text = [UInt8]("[1,[2,{\"a\":3}]]".utf8)
    XCTAssertNoThrow(try JSONValue(parsing: text, countLimit: 6))
    XCTAssertThrowsError(try JSONValue(parsing: text, countLimit: 5)) {
      XCTAssertEqual($0 as? JSONError, .tooManyValues(offset: 11, limit: 5))
    }
    let zeros = [UInt8](("[" + String(repeating: "0,", count: JSONValue.countLimit) + "0]").utf8)
    XCTAssertThrowsError(try JSONValue(parsing: zeros)) {
      XCTAssertEqual(($0 as? JSONError)?.code, .tooManyValues)
    }
  }

  func testAKeyThatStandsTwiceIsNamedWithItsSecondPlace() {
    XCTAssertThrowsError(try JSONValue(parsing: #"{"a":1,"b":2,"a":3}"#)) {
      XCTAssertEqual($0 as? JSONError, .duplicateKey(offset: 13, key: "a"))
    }
  }

  /// With a literal for null the missing value was `.some(.null)`, and no record without an answer could be read.
  func testNilIsAMissingValueAndNotNull() {
    func value(isMissing: Bool) -> JSONValue? { isMissing ? nil : 1 }
    XCTAssertNil(value(isMissing: true))
    XCTAssertEqual(value(isMissing: false), 1)
  }

  func testMessagesShowNamesWithoutControlsAndCutThem() {
    XCTAssertEqual("a\u{1B}[2Jé\n".shown(), "a\\u{1b}[2Jé\\u{a}")
    XCTAssertEqual(String(repeating: "é", count: 121).shown(), String(repeating: "é", count: 120) + "…")
    XCTAssertEqual("plain \"text\"".shown(), "plain \"text\"")
  }

  func testDifferencesOfConfigurationsAreListedAsFarAsAMessageGoes() throws {
    let differences = (0..<100).map { number in
      RunFolderError.Difference(
        key: "option\(number)", stored: String(repeating: "9", count: 5_000), asked: nil)
    }
    let message = try XCTUnwrap(
      RunFolderError.configurationDiffers(path: "run", differences: differences).errorDescription)
    XCTAssertTrue(
      message.contains("option4 999") && message.contains("; and 95 more; a run cannot mix"), message)
    XCTAssertLessThan(message.count, 1_500)
  }
}
