import Foundation
import XCTest

@testable import RunKit

final class CSVWriterTests: XCTestCase {
  func testFieldsAreQuotedWhereTheStandardAsks() {
    var table = CSVWriter(columns: ["id", "text, with comma", "value"])
    table.append([1, "plain", 0.1])
    table.append([.integer(-2), "say \"so\"", .number(nil)])
    table.append(["a\r\nb", "a\nb", .number(.nan)])
    table.append(["\r", "", .number(1e300)])
    table.append([.empty, " é ", 2.0])
    XCTAssertEqual(
      table.text,
      "id,\"text, with comma\",value\r\n1,plain,0.1\r\n-2,\"say \"\"so\"\"\",\r\n\"a\r\nb\",\"a\nb\",\r\n"
        + "\"\r\",,1e+300\r\n, é ,2.0\r\n")
  }
}

final class NameSuggestionTests: XCTestCase {
  private let commands = ["attention", "trace", "generate", "eval", "verify", "inspect", "tokens", "report"]

  func testSlipsAndAbbreviationsAreUnderstood() {
    let meant = [
      "attn": "attention", "atention": "attention", "Trace": "trace", "tarce": "trace", "gen": "generate",
      "evla": "eval", "inspct": "inspect", "token": "tokens", "verfiy": "verify",
    ]
    for (typed, command) in meant {
      XCTAssertEqual(NameSuggestion.nearest(to: typed, in: commands), command, typed)
    }
  }

  func testNothingNearGivesNothing() {
    for typed in ["", "x", "benchmark", "zzzz", "noitnetta"] {
      XCTAssertNil(NameSuggestion.nearest(to: typed, in: commands), typed)
    }
    XCTAssertNil(NameSuggestion.nearest(to: "trace", in: []))
  }

  func testTheQuestionIsPartOfASentence() {
    XCTAssertEqual(NameSuggestion.question(for: "attn", in: commands), " Did you mean 'attention'?")
    XCTAssertEqual(NameSuggestion.question(for: "zzzz", in: commands), "")
  }

  func testEditDistanceCountsSwapsOnce() {
    func distance(_ left: String, _ right: String) -> Int {
      NameSuggestion.editDistance(Array(left.unicodeScalars), Array(right.unicodeScalars))
    }
    XCTAssertEqual(distance("kitten", "sitting"), 3)
    XCTAssertEqual(distance("ab", "ba"), 1)
    XCTAssertEqual(distance("", "abc"), 3)
  }
}

final class NumberTextTests: XCTestCase {
  func testDecimalsAreRoundedAwayFromZero() {
    XCTAssertEqual(Decimals.text(1.25, places: 1), "1.3")
    XCTAssertEqual(Decimals.text(-0.04, places: 1), "0.0")
    XCTAssertEqual(Decimals.text(-1.06, places: 1), "-1.1")
    XCTAssertEqual(Decimals.text(0.007, places: 2), "0.01")
    XCTAssertEqual(Decimals.text(12, places: 0), "12")
    XCTAssertEqual(Decimals.text(.nan, places: 2), "nan")
    XCTAssertEqual(Decimals.text(1e300, places: 2), "1e+300")
  }

  func testBytesUseDecimalUnits() {
    XCTAssertEqual(ByteCount.text(999), "999 B")
    XCTAssertEqual(ByteCount.text(5_120_000_000), "5.1 GB")
    XCTAssertEqual(ByteCount.text(1_500), "1.5 kB")
  }

  func testTimestampsAreRFC3339() {
    let moments: [(Double, String)] = [
      (0, "1970-01-01T00:00:00Z"), (951_782_399.9, "2000-02-28T23:59:59Z"),
      (951_782_400, "2000-02-29T00:00:00Z"), (1_795_254_412, "2026-11-21T09:46:52Z"),
      (-1, "1969-12-31T23:59:59Z"), (4_107_542_400, "2100-03-01T00:00:00Z"),
    ]
    for (seconds, text) in moments {
      XCTAssertEqual(Timestamp.text(of: Date(timeIntervalSince1970: seconds)), text)
    }
  }
}

final class ProcessFactsTests: XCTestCase {
  func testMemoryIsReadFromTheStatusFile() {
    let memory = ProcessMemory(status: "Name:\tx\nVmHWM:\t    300 kB\nVmRSS:\t 200 kB\nRssAnon:\t 100 kB\n")
    XCTAssertEqual([memory.peakResident, memory.resident, memory.anonymous], [307_200, 204_800, 102_400])
    XCTAssertEqual(ProcessMemory(status: "VmRSS:\tnone").resident, 0)
    let current = ProcessMemory.current
    XCTAssertGreaterThan(current.anonymous, 0)
    XCTAssertGreaterThanOrEqual(current.peakResident, current.resident)
  }

  func testAHostHasAName() {
    XCTAssertFalse(ProcessFacts.host.isEmpty)
  }
}
