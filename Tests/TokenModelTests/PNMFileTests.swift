import RunKit
import TestSupport
import XCTest

@testable import TokenModel

final class PNMFileTests: XCTestCase {
  func testGraymapsInTextAndBytesAreTheSame() throws {
    let plain = try read("P2 # a comment\n3\t2\n# another # one\r255\n0 1 2\n253 254 255 # the end")
    let raw = try read("P5\n3 2\n255\n", [0, 1, 2, 253, 254, 255])
    XCTAssertEqual(plain, raw)
    XCTAssertEqual([raw.channelCount, raw.height, raw.width, raw.maximum], [1, 2, 3, 255])
    XCTAssertEqual(raw.bytes(), [0, 1, 2, 253, 254, 255])
  }

  func testPixmapsAreSortedByChannel() throws {
    let plain = try read("P3\n2 1 9\n1 2 3 4 5 6\n")
    XCTAssertEqual(plain.values, [1, 4, 2, 5, 3, 6])
    XCTAssertEqual(try read("P6 2 1 9 ", [1, 2, 3, 4, 5, 6]), plain)
    XCTAssertEqual([plain.channelCount, plain.height, plain.width], [3, 1, 2])
  }

  func testTwoByteValuesHaveTheHighByteFirst() throws {
    let image = try read("P5 3 1 65535\n", [0x12, 0x34, 0xFF, 0xFF, 0x7F, 0xFF])
    XCTAssertEqual(image.values, [0x1234, 0xFFFF, 0x7FFF])
    // 255 * 32767 / 65535 = 127.498, just below the half.
    XCTAssertEqual(image.bytes(), [18, 255, 127])
  }

  func testEveryMaximumScalesToFullBrightness() throws {
    for maximum in [1, 2, 16, 254, 255, 256, 1000, 65534, 65535] {
      let image = try read("P2 3 1 \(maximum) 0 \(maximum) \(maximum / 2)")
      let middle = (255 * Double(maximum / 2) / Double(maximum) + 0.5).rounded(.down)
      XCTAssertEqual(image.bytes(), [0, 255, UInt8(middle)], "\(maximum)")
    }
  }

  func testFirstByteOfTheValuesMayLookLikeSpaceOrAComment() throws {
    XCTAssertEqual(try read("P5 2 1 255\n", [0x0A, 0x23]).values, [0x0A, 0x23])
  }

  func testWrongFilesAreRefused() {
    assertError(.truncated, "")
    assertError(.truncated, "P")
    assertError(.badHeader, "x")
    assertError(.badHeader, "P9 1 1 1 1")
    for magic in ["P1", "P4", "P7", "Pf", "PF"] { assertError(.unsupportedFormat, magic + " 1 1 1 1") }
    assertError(.badHeader, "P22 2 255 0 0 0 0")
    assertError(.truncated, "P2 2 2")
    assertError(.badHeader, "P2 0 2 255 ")
    assertError(.badHeader, "P2 2 -2 255 ")
    assertError(.badHeader, "P2 1 1 0 0")
    assertError(.badHeader, "P2 1 1 65536 0")
    assertError(.badHeader, "P2 1 99999999999999999999999999 1 0")
    assertError(.badHeader, "P5 67108864 67108864 1\n")
    assertError(.tooLarge, "P6 8192 8192 1\n")
    assertError(.truncated, "P5 4096 4096 1\n")
    assertError(.truncated, "P2 4096 4096 1\n")
    assertError(.truncated, "P2 2 1 1 1   ")
    assertError(.badHeader, "P2 2 1 1 1 2")
    assertError(.badHeader, "P2 2 1 9 1 x")
    assertError(.trailingBytes, "P2 2 1 1 1 1 1")
    assertError(.truncated, "P5 2 1 255")
    assertError(.badHeader, "P5 2 1 255#\nab")
    assertError(.truncated, "P5 2 1 255\na")
    assertError(.trailingBytes, "P5 2 1 255\nabc")
    assertError(.badSample, "P5 2 1 96\naa")
    assertError(.truncated, "P5 2 1 256\nabc")
  }

  func testMediumHasTheShapeOfTheModelOrIsRefused() throws {
    let image = try read("P2 2 1 255 3 4")
    XCTAssertEqual(
      try image.medium(shape: [1, 1, 2], identity: "a"),
      Medium(modality: .image, shape: [1, 1, 2], bytes: [3, 4], identity: "a"))
    XCTAssertThrowsError(try image.medium(shape: [3, 8, 9], identity: "an image")) { error in
      let error = error as? MediaError
      XCTAssertEqual(error, .wrongImageSize(path: "a.pgm", found: [1, 1, 2], expected: [3, 8, 9]))
      XCTAssertEqual(
        error?.errorDescription,
        "a.pgm: the image is 2 wide and 1 high with 1 channel, the model takes 9 wide and 8 high with 3 channels"
      )
      XCTAssertEqual(error?.recoverySuggestion, "scale it: 'ffmpeg -i FILE -vf scale=9:8 out.ppm'")
    }
  }

  func testMissingFileIsAMissingFile() {
    XCTAssertThrowsError(try PNMFile(contentsOf: Fixtures.url("no such.pgm"))) { error in
      guard case FileError.missing = error else { return XCTFail("\(error)") }
    }
  }

  private func read(_ text: String, _ values: [UInt8] = []) throws -> PNMFile {
    try PNMFile(path: "a.pgm", bytes: Array(text.utf8) + values)
  }

  private func assertError(_ code: MediaError.Code, _ text: String, line: UInt = #line) {
    XCTAssertThrowsError(try read(text), text, line: line) { error in
      XCTAssertEqual((error as? MediaError)?.code, code, "\(error)", line: line)
      XCTAssertEqual((error as? MediaError)?.path, "a.pgm", line: line)
    }
  }
}
