import Foundation
import XCTest

@testable import RunKit

final class FileHashesTests: XCTestCase {
  func testAHashIsRememberedAndAChangedFileIsReadAgain() throws {
    try withTemporaryFolder { folder in
      let (large, small) = (
        folder.appendingPathComponent("large"), folder.appendingPathComponent("small")
      )
      let cache = folder.appendingPathComponent("cache/sha256.json")
      try Data(repeating: 7, count: 16 << 20).write(to: large)
      try Data("abc".utf8).write(to: small)
      let expected = try [large, small].map { try SHA256.hexadecimal(ofFile: $0) }
      var read: [Int] = []
      let hashes = FileHashes(cache: cache)
      XCTAssertEqual(try hashes.sha256(of: [large, small]) { read.append($0) }, expected)
      XCTAssertEqual(read, [16 << 20])
      XCTAssertEqual(try hashes.sha256(of: [large, small]) { read.append($0) }, expected)
      XCTAssertEqual(read.count, 1, "the second time the large file is not read")

      // Same size, other bytes: the times and the inode tell.
      try Data(repeating: 8, count: 16 << 20).write(to: large)
      XCTAssertEqual(
        try hashes.sha256(of: [large]) { read.append($0) }, [try SHA256.hexadecimal(ofFile: large)])
      XCTAssertEqual(read.count, 2)
    }
  }

  func testACacheThatIsNotOneIsIgnored() throws {
    try withTemporaryFolder { folder in
      let large = folder.appendingPathComponent("large")
      try Data(repeating: 7, count: 16 << 20).write(to: large)
      let expected = try SHA256.hexadecimal(ofFile: large)
      let cache = folder.appendingPathComponent("sha256.json")
      for text in ["not JSON", "[1]", "{\"x\": \"short\"}", ""] {
        try Data(text.utf8).write(to: cache)
        XCTAssertEqual(try FileHashes(cache: cache).sha256(of: [large]), [expected], text)
      }
      XCTAssertEqual(try FileHashes(cache: nil).sha256(of: [large]), [expected])
      XCTAssertThrowsError(try FileHashes(cache: nil).sha256(of: [folder.appendingPathComponent("none")])) {
        XCTAssertTrue($0 is FileError, "\($0)")
      }
    }
  }
}
