import Foundation
import RunKit
import TestSupport
import XCTest

@testable import TokenModel

/// Records of messages.
final class MessageDataTests: XCTestCase {
  private func data(_ text: String) throws -> DataSet {
    try DataSet(bytes: [UInt8](text.utf8), url: URL(fileURLWithPath: "messages.jsonl"))
  }

  private func sample(_ text: String) throws -> Sample {
    let checkpoint = try Checkpoint(folder: Fixtures.url("avdigits_model"))
    return try data(text).sample(at: 0, for: checkpoint.model)
  }

  func testTurnsAndAnswer() throws {
    let line = """
      {"id": 7, "messages": [{"role": "system", "content": "be brief"}, {"role": "user", "content": "one ?"}, \
      {"role": "assistant", "content": "two"}, {"role": "user", "content": [{"type": "text", "text": "and "}, \
      {"type": "text", "text": "now ?"}]}, {"role": "assistant", "content": "three"}], "category": "x"}
      """
    let set = try data(line)
    XCTAssertEqual(set.format, .messages)
    XCTAssertTrue(set.hasAnswer(at: 0))
    let sample = try sample(line)
    XCTAssertEqual(sample.id, "7")
    XCTAssertEqual(sample.turns.map(\.speaker), [.system, .user, .assistant, .user])
    XCTAssertEqual(sample.turns.map(\.text), ["be brief", "one ?", "two", "and now ?"])
    XCTAssertEqual(sample.answer, "three")
    XCTAssertEqual(sample.tags, ["category": "x"])
  }

  func testMediaStandWhereTheirPartsDo() throws {
    let folder = try TemporaryDirectory()
    for name in ["a.pgm", "b.pgm"] {
      let file = try XCTUnwrap(
        FileManager.default.contentsOfDirectory(atPath: Fixtures.url("avdigits_samples").path)
          .first { $0.hasSuffix(".pgm") })
      try FileManager.default.copyItem(
        atPath: Fixtures.url("avdigits_samples/\(file)").path, toPath: "\(folder.path)/\(name)")
    }
    let text = """
      {"images": ["a.pgm", "b.pgm"], "messages": [{"role": "user", "content": [{"type": "image"}, \
      {"type": "text", "text": "before "}, {"type": "image"}, {"type": "text", "text": "?"}]}]}
      """
    let set = try DataSet(
      bytes: [UInt8](text.utf8), url: URL(fileURLWithPath: "\(folder.path)/messages.jsonl"))
    XCTAssertFalse(set.hasAnswer(at: 0))
    let checkpoint = try Checkpoint(folder: Fixtures.url("avdigits_model"))
    let sample = try set.sample(at: 0, for: checkpoint)
    XCTAssertEqual(sample.turns.map(\.text), ["<image>before <image>?"])
    XCTAssertEqual(sample.media.count, 2)
    XCTAssertNil(sample.answer)
  }

  func testWhatIsNoMessageIsRefused() throws {
    for (text, code) in [
      ("{\"messages\": 3}", DataSetError.Code.wrongKind),
      ("{\"messages\": [3]}", .wrongKind),
      ("{\"messages\": [{\"role\": \"tool\", \"content\": \"x\"}]}", .unknownSpeaker),
      ("{\"messages\": [{\"role\": \"user\"}]}", .missingKey),
      ("{\"messages\": [{\"role\": \"user\", \"content\": [{\"type\": \"tool\"}]}]}", .wrongKind),
      ("{\"messages\": [{\"role\": \"user\", \"content\": \"x\"}], \"images\": [3]}", .wrongKind),
    ] {
      XCTAssertThrowsError(try sample(text), text) { error in
        XCTAssertEqual((error as? DataSetError)?.code, code, "\(text): \(error)")
      }
    }
  }
}
