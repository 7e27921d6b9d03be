import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// Files as a model takes them, with the reference checkpoint.
final class MediaReaderTests: XCTestCase {
  func testFilesBecomeMediaOfTheModelsShape() throws {
    let model = try Checkpoint(folder: Fixtures.url("avdigits_model")).model
    let image = try read(.image, "test-0217.pgm", model)
    XCTAssertEqual(image.shape, [1, 8, 8])
    XCTAssertEqual(image.bytes.count, 64)
    XCTAssertEqual(image.identity, "an item")
    let audio = try read(.audio, "test-0217.wav", model)
    XCTAssertEqual(audio.shape, model.exampleMedium(of: .audio)?.shape)
    XCTAssertEqual(audio.bytes.count, 40 * 48)
  }

  func testAWrongKindOfFileIsRefusedByItsContents() throws {
    let model = try Checkpoint(folder: Fixtures.url("avdigits_model")).model
    XCTAssertThrowsError(try read(.audio, "test-0217.pgm", model)) { error in
      XCTAssertEqual((error as? MediaError)?.code, .badHeader)
    }
    XCTAssertThrowsError(try read(.image, "test-0217.wav", model)) { error in
      XCTAssertEqual((error as? MediaError)?.code, .badHeader)
    }
    XCTAssertThrowsError(try read(.video, "test-0217.wav", model)) { error in
      XCTAssertEqual(
        error as? PromptError,
        .unsupportedModality(sample: "an item", modality: "video", supported: ["image", "audio"]))
    }
  }

  /// In a data set the record that names a bad medium is part of the message, and the exit status stays.
  func testABadMediumIsReportedWithItsRecord() throws {
    let model = try Checkpoint(folder: Fixtures.url("avdigits_model")).model
    let folder = Fixtures.url("avdigits_samples/data.jsonl")
    for (name, status, words) in [
      ("none.pgm", ExitStatus.missingInput, "there is no such file"), ("test-0217.wav", .data, "expected P2"),
    ] {
      let line = #"{"id": "a", "text": "What?", "image": "\#(name)"}"#
      let data = try DataSet(bytes: Array(line.utf8), url: folder)
      XCTAssertThrowsError(try data.sample(at: 0, for: model)) { error in
        let error = error as? DataSetError
        XCTAssertEqual(error?.code, .badMedium)
        XCTAssertEqual(error?.exitStatus, status)
        let text = error?.errorDescription ?? ""
        XCTAssertTrue(text.contains(#"line 1 (id "a")"#) && text.contains(name) && text.contains(words), text)
        XCTAssertFalse((error?.recoverySuggestion ?? "").isEmpty)
      }
    }
  }

  private func read(_ modality: Modality, _ name: String, _ model: any LanguageModel) throws -> Medium {
    try MediaReader(model).medium(
      modality, at: Fixtures.url("avdigits_samples/" + name), named: "an item")
  }
}
