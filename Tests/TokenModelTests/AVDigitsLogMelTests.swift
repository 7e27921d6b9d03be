import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

final class AVDigitsLogMelTests: XCTestCase {
  /// `rows.safetensors` holds the rows of the data set that `manifest.json` lists, in its order, as published.
  ///
  /// No tolerance: the README promises every cell exactly in Float64.
  func testSamplesDecodeToExactlyTheirRows() throws {
    let rows = try SafetensorsFile(path: Fixtures.url("avdigits_samples/rows.safetensors").path)
    let (audio, images) = (try rows.tensor("audio").bytes(), try rows.tensor("image").bytes())
    let manifest = try XCTUnwrap(try Fixtures.json("avdigits_samples/manifest.json").arrayValue)
    let logMel = AVDigitsLogMel()
    var (cellCount, pixelCount, imageCount) = (0, 0, 0)
    for (row, sample) in manifest.enumerated() {
      let files = try XCTUnwrap(sample["files"])
      let name = try XCTUnwrap(files["wav"]?["name"]?.stringValue)
      let wav = try WAVFile(contentsOf: Fixtures.url("avdigits_samples/" + name))
      let medium = try logMel.medium(wav, shape: [1, 40, 48], identity: name)
      XCTAssertEqual(medium.bytes, Array(audio[(row * 1920)..<(row + 1) * 1920]), name)
      cellCount += medium.bytes.count
      guard let name = files["pgm"]?["name"]?.stringValue else { continue }
      let image = try PNMFile(contentsOf: Fixtures.url("avdigits_samples/" + name))
      let pixels = try image.medium(shape: [1, 8, 8], identity: name).bytes
      XCTAssertEqual(pixels, Array(images[(row * 64)..<(row + 1) * 64]), name)
      pixelCount += pixels.count
      imageCount += 1
    }
    print(
      "avdigits: \(manifest.count) WAV files, \(cellCount) cells; \(imageCount) PGM files, \(pixelCount) pixels"
    )
    XCTAssertEqual([manifest.count, cellCount, imageCount, pixelCount], [30, 30 * 1920, 3, 3 * 64])
  }

  func testSilenceIsDarkAndOverloadIsBright() {
    let logMel = AVDigitsLogMel()
    XCTAssertEqual(Set(logMel.features([Double](repeating: 0, count: 6400))), [0])
    var generator: UInt64 = 1
    let noise = (0..<6400).map { _ in
      generator = generator &* 6_364_136_223_846_793_005 &+ 1
      return (Double(generator >> 40) / 8_388_608 - 1) * 1e6
    }
    XCTAssertEqual(Set(logMel.features(noise)), [255])
  }

  func testOtherRecordingsAreRefusedWithWhatIsNeeded() throws {
    func medium(_ count: Int, rate: Int = 8000, shape: [Int] = [40, 48]) throws -> Medium {
      let wav = WAVBytes(sampleRate: rate, bits: 8, data: [UInt8](repeating: 128, count: count))
      return try AVDigitsLogMel().medium(
        WAVFile(path: "a.wav", bytes: wav.bytes), shape: shape, identity: "a.wav")
    }
    XCTAssertEqual(try medium(6400).shape, [40, 48])
    func assertError(
      _ expected: MediaError, remedy: String, line: UInt = #line, _ body: @autoclosure () throws -> Medium
    ) {
      XCTAssertThrowsError(try body(), line: line) { error in
        XCTAssertEqual(error as? MediaError, expected, line: line)
        let found = (error as? MediaError)?.recoverySuggestion ?? ""
        XCTAssertTrue(found.contains(remedy), found, line: line)
      }
    }
    assertError(
      .wrongLength(path: "a.wav", found: 6399, expected: 6400), remedy: "whole_len=6400", try medium(6399))
    assertError(
      .wrongLength(path: "a.wav", found: 6401, expected: 6400), remedy: "end_sample=6400", try medium(6401))
    assertError(
      .wrongSampleRate(path: "a.wav", found: 16000, expected: 8000), remedy: "-ar 8000",
      try medium(6400, rate: 16000))
    for shape in [[80, 48], [40], [2, 40, 48], []] {
      XCTAssertThrowsError(try medium(6400, shape: shape)) { error in
        XCTAssertEqual((error as? MediaError)?.code, .unsupportedFormat)
        XCTAssertEqual((error as? MediaError)?.exitStatus, .unsupported)
      }
    }
  }

  /// Against the definition, summed directly.
  ///
  /// Tolerance: 512 terms of at most 1 in Float64, squared.
  func testFourierTransformIsTheDefinition() {
    let count = 512
    let values = (0..<count).map { (index: Int) -> Double in
      let number: Int = (index * index * 7 + index * 3) % 101
      return Double(number) / 101 - 0.5
    }
    let power = FourierTransform(length: count).power(values)
    XCTAssertEqual(power.count, 257)
    for bin in power.indices {
      var (real, imaginary) = (0.0, 0.0)
      for (index, value) in values.enumerated() {
        let turn = Double(bin * index % count) / Double(count)
        let angle: Double = 2 * Double.pi * turn
        real += value * cos(angle)
        imaginary -= value * sin(angle)
      }
      XCTAssertEqual(power[bin], real * real + imaginary * imaginary, accuracy: 1e-9, "bin \(bin)")
    }
  }

  func testEveryErrorSaysWhatToDo() throws {
    let errors: [MediaError] = [
      .empty(path: "p"), .badHeader(path: "p", offset: 0, expected: "e"),
      .truncated(path: "p", found: 1, expected: 2),
      .trailingBytes(path: "p", offset: 1), .badSample(path: "p", offset: 1, found: "f", expected: "e"),
      .unsupportedFormat(path: "p", found: "f", supported: "s"),
      .tooLarge(path: "p", what: "w", found: 2, limit: 1),
      .wrongSampleRate(path: "p", found: 1, expected: 2), .wrongLength(path: "p", found: 1, expected: 2),
      .wrongImageSize(path: "p", found: [1], expected: [2]),
      .unsupportedShape(path: "p", found: [1, 2], expected: "e"), .notDecodable(path: "p", reason: "r"),
      .noStream(path: "p", kind: "k"),
    ]
    XCTAssertEqual(Set(errors.map(\.code)), Set(MediaError.Code.allCases))
    for error in errors {
      XCTAssertTrue(try XCTUnwrap(error.errorDescription).hasPrefix("p: "))
      XCTAssertFalse(try XCTUnwrap(error.recoverySuggestion).isEmpty)
      XCTAssertEqual(error.path, "p")
    }
  }
}
