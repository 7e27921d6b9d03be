import Foundation
import RunKit
import TestSupport
import XCTest

@testable import TokenModel

final class WAVFileTests: XCTestCase {
  func testEveryEncodingHasFullScaleOne() throws {
    let half = Float(0.5).bitPattern, quarter = (-0.25).bitPattern
    // Each value is a power of two, so the result is exact.
    let cases: [(tag: Int, bits: Int, data: [UInt8], samples: [Double])] = [
      (1, 8, [0, 128, 192, 255], [-1, 0, 0.5, 127.0 / 128]),
      (1, 16, [0, 0x80, 0, 0x40, 0xFF, 0xFF], [-1, 0.5, -1.0 / 32768]),
      (1, 24, [0, 0, 0x80, 0, 0, 0x40, 0xFF, 0xFF, 0xFF], [-1, 0.5, -1.0 / 8_388_608]),
      (1, 32, [0, 0, 0, 0x80, 0, 0, 0, 0x40], [-1, 0.5]),
      (3, 32, WAVBytes.number(Int(half), 4), [0.5]),
      (3, 64, (0..<8).map { UInt8(truncatingIfNeeded: quarter >> (8 * $0)) }, [-0.25]),
    ]
    for (tag, bits, data, samples) in cases {
      let plain = WAVBytes(tag: tag, bits: bits, data: data)
      XCTAssertEqual(try read(plain.bytes).samples, samples, "format \(tag), \(bits) bits")
      let extensible = WAVBytes(
        tag: 0xFFFE, bits: bits, formatTail: WAVBytes.extensible(validBits: bits, tag: tag), data: data)
      XCTAssertEqual(try read(extensible.bytes).samples, samples, "extensible format \(tag), \(bits) bits")
    }
  }

  func testChannelsAreAveraged() throws {
    let wav = try read(
      WAVBytes(channelCount: 2, sampleRate: 44100, data: [0, 0x40, 0, 0, 0, 0xC0, 0, 0x40]).bytes)
    XCTAssertEqual(wav.samples, [0.25, 0])
    XCTAssertEqual(wav.channelCount, 2)
    XCTAssertEqual(wav.sampleRate, 44100)
  }

  func testOtherChunksAreSkippedWithTheirFillByte() throws {
    let chunks = WAVBytes.chunk("LIST", [1, 2, 3]) + WAVBytes.chunk("cue ", [])
    XCTAssertEqual(try read(WAVBytes(chunks: chunks).bytes).samples, [0.5, -0.5])
    XCTAssertEqual(try read(WAVBytes(bits: 8, data: [128]).bytes.dropLast().withSize()).samples, [0])
  }

  func testEmptyDataIsNoSamples() throws {
    XCTAssertEqual(try read(WAVBytes(data: []).bytes).samples, [])
  }

  func testEveryPrefixIsRefused() throws {
    let bytes = WAVBytes(chunks: WAVBytes.chunk("LIST", [1, 2])).bytes
    for count in bytes.indices {
      XCTAssertThrowsError(try read(Array(bytes.prefix(count))), "\(count)") {
        XCTAssertTrue($0 is MediaError)
      }
      let resized = Array(bytes.prefix(count)).withSize()
      if count < bytes.count - 4 || count % 2 == 1 {
        XCTAssertThrowsError(try read(resized), "resized \(count)")
      }
    }
  }

  func testWrongHeadersAreRefused() {
    assertError(.badHeader, [1, 2, 3, 4])
    assertError(.badHeader, WAVBytes.file([]))
    assertError(.badHeader, Array("RIFF".utf8) + WAVBytes.number(4, 4) + Array("AVI ".utf8))
    assertError(.truncated, Array("RIFF".utf8))
    assertError(.truncated, Array(WAVBytes().bytes.dropLast()))
    assertError(.truncated, Array(WAVBytes().bytes.dropLast()).withSize())
    assertError(.trailingBytes, WAVBytes().bytes + [0])
    assertError(.badHeader, (WAVBytes().bytes + [0, 0, 0]).withSize())
    assertError(.badHeader, WAVBytes(chunks: WAVBytes.chunk("fmt ", [])).bytes)
    assertError(.badHeader, WAVBytes(chunks: WAVBytes.chunk("data", [])).bytes)
    assertError(.badHeader, WAVBytes.file(WAVBytes.chunk("data", [])))
    assertError(.badHeader, WAVBytes.file(WAVBytes.chunk("fmt ", [1, 0]) + WAVBytes.chunk("data", [])))
    assertError(.badHeader, WAVBytes(channelCount: 0).bytes)
    assertError(.badHeader, WAVBytes(sampleRate: 0).bytes)
    assertError(.badHeader, WAVBytes(byteRate: 1).bytes)
    assertError(.badHeader, WAVBytes(frameSize: 4).bytes)
    assertError(.badHeader, WAVBytes(data: [1, 2, 3]).bytes)
    assertError(.badHeader, WAVBytes(tag: 0xFFFE).bytes)
    assertError(
      .badHeader, WAVBytes(tag: 0xFFFE, formatTail: WAVBytes.extensible(validBits: 17, tag: 1)).bytes)
    assertError(.tooLarge, WAVBytes(channelCount: 257).bytes)
    assertError(.tooLarge, WAVBytes(sampleRate: 1_000_001).bytes)
    assertError(.unsupportedFormat, WAVBytes(bits: 12, frameSize: 2).bytes)
    assertError(.unsupportedFormat, WAVBytes(tag: 6, bits: 8).bytes)
    assertError(
      .unsupportedFormat, WAVBytes(tag: 0xFFFE, formatTail: [22] + [UInt8](repeating: 0, count: 23)).bytes)
  }

  func testFloatsThatAreNoSoundAreRefused() {
    for value in [Float.nan, .infinity, -1e7] {
      assertError(
        .badSample, WAVBytes(tag: 3, bits: 32, data: WAVBytes.number(Int(value.bitPattern), 4)).bytes)
    }
  }

  func testMissingFileIsAMissingFile() {
    XCTAssertThrowsError(try WAVFile(contentsOf: Fixtures.url("no such.wav"))) { error in
      guard case FileError.missing = error else { return XCTFail("\(error)") }
    }
  }

  private func read(_ bytes: [UInt8]) throws -> WAVFile { try WAVFile(path: "a.wav", bytes: bytes) }

  private func assertError(_ code: MediaError.Code, _ bytes: [UInt8], line: UInt = #line) {
    XCTAssertThrowsError(try read(bytes), line: line) { error in
      XCTAssertEqual((error as? MediaError)?.code, code, "\(error)", line: line)
      XCTAssertEqual((error as? MediaError)?.path, "a.wav", line: line)
    }
  }
}

extension Collection<UInt8> {
  /// The same file with the size in its header made right.
  fileprivate func withSize() -> [UInt8] {
    var bytes = Array(self)
    if bytes.count >= 8 { bytes.replaceSubrange(4..<8, with: WAVBytes.number(bytes.count - 8, 4)) }
    return bytes
  }
}
