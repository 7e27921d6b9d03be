import Foundation
import TestSupport
import XCTest

@testable import RunKit

/// From a picture, a question and a folder in the layout of the Hub to the ids that transformers writes.
final class WholeFolderTests: XCTestCase {
  func testAQwen2VLFolderAnswersAsTransformersDoes() throws {
    let folder = try TemporaryFolder()
    for name in ["config.json", "model.safetensors", "preprocessor_config.json", "generation_config.json"] {
      try FileManager.default.copyItem(at: Fixtures.url("qwen2_vl/\(name)"), to: folder.url(name))
    }
    for name in ["tokenizer.json", "tokenizer_config.json"] {
      try FileManager.default.copyItem(at: Fixtures.url("qwen2_vl_folder/\(name)"), to: folder.url(name))
    }
    let expected = try JSONValue(
      parsing: [UInt8](Data(contentsOf: Fixtures.url("qwen2_vl_folder/case.json"))))
    let picture = Fixtures.url("qwen2_vl_folder/picture.ppm").path
    let question = try XCTUnwrap(expected["question"]?.stringValue)
    let prompt = ["--image", picture, "--text", question]
    let outcome = try Program.succeed(
      ["generate", folder.path(""), "--max-new-tokens", "12", "--json"] + prompt)
    let answer = try JSONValue(parsing: Array(outcome.output.utf8))
    let ids = answer["ids"]?.arrayValue?.compactMap(\.intValue)
    XCTAssertEqual(ids?.count, 12)
    XCTAssertEqual(ids, expected["generated"]?.arrayValue?.compactMap(\.intValue))
    let tokens = try Program.succeed(["tokens", folder.path("")] + prompt).output
    XCTAssertTrue(tokens.contains("15 rows, 3 x 5"), tokens)
    XCTAssertTrue(tokens.contains("image 15 | separator 2 | instruction 15 | question 11"), tokens)
  }
}
