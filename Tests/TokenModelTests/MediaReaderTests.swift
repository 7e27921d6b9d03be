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

  private func read(_ modality: Modality, _ name: String, _ model: any LanguageModel) throws -> Medium {
    try MediaReader(model).medium(
      modality, at: Fixtures.url("avdigits_samples/" + name), named: "an item")
  }
}
