import Foundation
import XCTest

@testable import RunKit

final class FolderPatternTests: XCTestCase {
  private func make(_ names: [String], in folder: URL) throws {
    for name in names {
      try FileManager.default.createDirectory(
        at: folder.appendingPathComponent(name), withIntermediateDirectories: true)
    }
  }

  func testStarsStandForNamesInTheOrderOfTheirNumbers() throws {
    try withTemporaryFolder { folder in
      try make(
        [
          "lora-10/eval", "lora-2/eval", "lora-1/eval", "lora-3", "lora-/eval", ".lora-4/eval", "moka-1/eval",
        ],
        in: folder)
      try Data().write(to: folder.appendingPathComponent("lora-5"))
      let pattern = try XCTUnwrap(FolderPattern("\(folder.path)/lora-*/eval/"))
      XCTAssertEqual(pattern.matches.map(\.stars), ["", "1", "2", "10"])
      XCTAssertEqual(pattern.matches[1].path, "\(folder.path)/lora-1/eval")
      let both = try XCTUnwrap(FolderPattern("\(folder.path)/*o*a-1/*"))
      XCTAssertEqual(both.matches.map(\.stars), ["l/r/eval", "m/k/eval"])
      XCTAssertEqual(try XCTUnwrap(FolderPattern("\(folder.path)/none-*")).matches, [])
      XCTAssertEqual(try XCTUnwrap(FolderPattern("\(folder.path)/none/*")).matches, [])
      XCTAssertNil(FolderPattern("\(folder.path)/lora-1"))
    }
  }

  func testANameWithAStarIsThatName() throws {
    try withTemporaryFolder { folder in
      try make(["a*", "ab"], in: folder)
      XCTAssertNil(FolderPattern("\(folder.path)/a*"))
    }
  }

  func testAStarIsAsShortAsCanBe() {
    XCTAssertEqual(FolderPattern.stars("a*b*c", "abbcc"), ["", "bc"])
    XCTAssertEqual(FolderPattern.stars("**", "xy"), ["", "xy"])
    XCTAssertEqual(FolderPattern.stars("a", "a"), [])
    XCTAssertNil(FolderPattern.stars("a*b", "ac"))
    XCTAssertNil(FolderPattern.stars("*.x", "x"))
  }

  func testNumbersAreOrderedByTheirValue() {
    let names = [
      "seed-10", "seed-9", "seed-09", "a", "", "seed-", "seed-9b", "100000000000000000000000", "20",
    ]
    XCTAssertEqual(
      names.sorted(by: FolderPattern.precedes),
      ["", "20", "100000000000000000000000", "a", "seed-", "seed-09", "seed-9", "seed-9b", "seed-10"])
  }
}
