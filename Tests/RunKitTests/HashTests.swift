import Foundation
import XCTest

@testable import RunKit

final class HashTests: XCTestCase {
  /// The examples of FIPS 180-4, and lengths around every edge of the padding (values from another program).
  func testSHA256GivesTheKnownAnswers() {
    XCTAssertEqual(
      SHA256.hexadecimal(of: []), "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855")
    XCTAssertEqual(
      SHA256.hexadecimal(of: [UInt8]("abc".utf8)),
      "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad")
    XCTAssertEqual(
      SHA256.hexadecimal(of: [UInt8](repeating: UInt8(ascii: "a"), count: 1_000_000)),
      "cdc76e5c9914fb9281a1c7e284d73e67f1809a48a497200e046d39ccc7112cd0")
    let starts = [
      55: "d5e285683cd4efc0", 56: "04c26261370ee754", 63: "75220b47218278e6", 64: "7ce100971f64e700",
      65: "9537c5fdf120482f", 119: "000b48d4edf0fa7b", 120: "13f05a0b594787f5",
    ]
    for (count, start) in starts {
      let digest = SHA256.hexadecimal(of: [UInt8](repeating: UInt8(ascii: "x"), count: count))
      XCTAssertEqual(String(digest.prefix(16)), start, "\(count) bytes")
    }
  }

  func testSHA256DoesNotDependOnThePieces() {
    let bytes = (0..<76_800).map { UInt8($0 % 256) }
    let expected = "f8b0585eb91f58c007a5634362c9f90d8543822c113f702523bc7b73408a9392"
    for size in [1, 63, 64, 65, 1000, 76_800] {
      var sha = SHA256()
      for start in stride(from: 0, to: bytes.count, by: size) {
        sha.update(Array(bytes[start..<min(start + size, bytes.count)]))
      }
      XCTAssertEqual(sha.hexadecimal(), expected, "pieces of \(size)")
    }
  }

  func testSHA256OfAFileIsThatOfItsBytes() throws {
    try withTemporaryFolder { folder in
      let url = folder.appendingPathComponent("file")
      let bytes = (0..<76_800).map { UInt8($0 % 256) }
      try AtomicFile.write(bytes, to: url)
      XCTAssertEqual(try SHA256.hexadecimal(ofFile: url), SHA256.hexadecimal(of: bytes))
    }
  }

  func testCRC32GivesTheKnownAnswers() {
    XCTAssertEqual(CRC32.of([]), 0)
    XCTAssertEqual(CRC32.of([UInt8]("123456789".utf8)), 0xCBF4_3926)
    let bytes = (0..<768).map { UInt8($0 % 256) }
    XCTAssertEqual(CRC32.of(bytes), 0xB0C0_DF2A)
    // RFC 3720, appendix B.4.
    XCTAssertEqual(CRC32.of([UInt8](repeating: 0, count: 32), .castagnoli), 0x8A91_36AA)
    XCTAssertEqual(CRC32.of((0..<32).map { UInt8($0) }, .castagnoli), 0x46DD_794E)
    var check = CRC32()
    check.update(bytes[..<100])
    check.update(Array(bytes[100...]).span)
    XCTAssertEqual(check.value, 0xB0C0_DF2A)
  }
}
