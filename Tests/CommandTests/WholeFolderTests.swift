import Foundation
import RunKit
import TestSupport
import XCTest

/// From a picture or a sound, a question and a folder in the layout of the Hub to the ids that transformers writes.
final class WholeFolderTests: XCTestCase {
  /// Ids of the prompt, generated ids, and the log-probabilities that follow from the logits.
  ///
  /// Tolerance: float32 sums over media features, towers and decoder in other orders.
  private func check(_ family: String, file: StaticString = #filePath, line: UInt = #line) throws {
    let folder = try WholeFolder(family)
    try check(folder, folder.expected, folder.prompt, family, file, line)
  }

  private func check(
    _ folder: WholeFolder, _ expected: JSONValue, _ prompt: [String], _ family: String, _ file: StaticString,
    _ line: UInt
  ) throws {
    let outcome = try Program.succeed(
      ["generate", folder.path, "--max-new-tokens", "12", "--json"] + prompt)
    let answer = try JSONValue(parsing: Array(outcome.output.utf8))
    let ids = answer["ids"]?.arrayValue?.compactMap(\.intValue) ?? []
    XCTAssertEqual(ids.count, 12, family, file: file, line: line)
    XCTAssertEqual(
      ids, expected["generated"]?.arrayValue?.compactMap(\.intValue), family, file: file, line: line)
    let tokens = try JSONValue(
      parsing: Program.succeed(["tokens", folder.path, "--json"] + prompt).output)
    if let wanted = expected["prompt"]?.arrayValue?.compactMap(\.intValue) {
      let expanded = (tokens["tokens"]?.arrayValue ?? []).flatMap { token -> [Int] in
        Array(repeating: token["id"]?.intValue ?? -1, count: token["count"]?.intValue ?? 0)
      }
      XCTAssertEqual(expanded, wanted, family, file: file, line: line)
    }
    let wanted = expected["log_probabilities"]?.arrayValue?.compactMap(\.doubleValue) ?? []
    let found = answer["log_probabilities"]?.arrayValue?.compactMap(\.doubleValue) ?? []
    for (place, pair) in zip(found, wanted).enumerated() {
      XCTAssertEqual(
        pair.0, pair.1, accuracy: 2e-5, "\(family): log-probability \(place)", file: file, line: line)
    }
    let worst = zip(found, wanted).map { abs($0 - $1) }.max() ?? 0
    print("\(family): \(ids.count) ids equal, log-probabilities within \(worst)")
  }

  func testAQwen2VLFolderAnswersAsTransformersDoes() throws {
    try check("qwen2_vl")
    let folder = try WholeFolder("qwen2_vl")
    let tokens = try Program.succeed(["tokens", folder.path] + folder.prompt).output
    XCTAssertTrue(tokens.contains("15 rows, 3 x 5"), tokens)
    XCTAssertTrue(tokens.contains("image 15 | separator 2 | instruction 15 | question 11"), tokens)
  }

  func testAQwen2_5VLFolderAnswersAsTransformersDoes() throws { try check("qwen2_5_vl") }
  func testAQwen2AudioFolderAnswersAsTransformersDoes() throws { try check("qwen2_audio") }
  func testAnIdefics3FolderAnswersAsTransformersDoes() throws { try check("idefics3") }
  func testASmolVLMFolderAnswersAsTransformersDoes() throws { try check("smolvlm") }
  /// A video: frames, their times in words, and the answer.
  func testASmolVLMFolderAnswersAboutAVideo() throws {
    try XCTSkipIf(MachineFacts.program("ffmpeg") == nil, "ffmpeg is not installed")
    let folder = try WholeFolder("smolvlm")
    let prompt = ["--video", Fixtures.url("media_files/frames.mkv").path] + folder.prompt.suffix(2)
    try check(folder, XCTUnwrap(folder.expected["video"]), prompt, "smolvlm, video", #filePath, #line)
    // Frames have the placeholder of images.
    let both = try Program.run(["tokens", folder.path] + folder.prompt + prompt.prefix(2))
    XCTAssertEqual(both.status, 65, both.errors)
    XCTAssertTrue(both.errors.contains("the same placeholder"), both.errors)
  }

  /// `generation_config.json` ends an answer with any of its ids; without it `config.json` does.
  func testTheEndIDsOfTheGenerationConfigurationEndAnAnswer() throws {
    let folder = try WholeFolder("idefics3")
    let ids = folder.expected["generated"]?.arrayValue?.compactMap(\.intValue) ?? []
    let file = folder.temporary.url("generation_config.json")
    for (ends, count) in [("[\(ids[4]), \(ids[2])]", 3), ("\(ids[1])", 2), ("null", 12)] {
      try Data("{\"eos_token_id\": \(ends)}".utf8).write(to: file)
      let answer = try JSONValue(
        parsing: Program.succeed(
          ["generate", folder.path, "--max-new-tokens", "12", "--json"] + folder.prompt
        ).output)
      XCTAssertEqual(answer["ids"]?.arrayValue?.compactMap(\.intValue), Array(ids.prefix(count)), ends)
      XCTAssertEqual(answer["complete"], .bool(count < 12), ends)
    }
    try Data("{\"eos_token_id\": [2, 999]}".utf8).write(to: file)
    let refused = try Program.run(["generate", folder.path] + folder.prompt)
    XCTAssertEqual(refused.status, 65)
    XCTAssertTrue(refused.errors.contains("eos_token_id"), refused.errors)
  }

  func testALLaVAFolderAnswersAsTransformersDoes() throws { try check("llava") }
  func testALLaVANextFolderAnswersAsTransformersDoes() throws { try check("llava_next") }
}
