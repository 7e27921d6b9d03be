import Foundation
import RunKit
import TestSupport
import XCTest

/// What `mmprobe finetune` says of data it cannot train on and of adapters that do not fit.
///
/// Documentation/Finetuning.md shows the messages; `MMPROBE_UPDATE_HELP=1` writes its table anew.
final class FinetuneBadDataTests: XCTestCase {
  private var folder: TemporaryFolder!

  override func setUpWithError() throws { folder = try TemporaryFolder() }
  override func tearDown() { folder = nil }

  private func data(_ name: String, _ text: String) throws -> [String] {
    try text.write(to: folder.url(name), atomically: true, encoding: .utf8)
    return [Embedded.model, "--data", folder.path(name), "--dry-run"]
  }

  private func turns(_ user: String, _ answer: String?, speaker: String = "human") -> String {
    let last = answer.map { ", {\"from\": \"gpt\", \"value\": \"\($0)\"}" } ?? ""
    return
      "{\"id\": \"7\", \"conversations\": [{\"from\": \"\(speaker)\", \"value\": \"\(user)\"}\(last)]}\n"
  }

  private func cases() throws -> [RefusedCase] {
    func lora(_ name: String, _ text: String) throws -> [String] {
      ["finetune", "lora"] + (try data(name, text))
    }
    let question = turns("one ?", "one")
    let adapter = Fixtures.url("lora/adapter_qv").path
    return [
      RefusedCase(
        what: "an empty file", arguments: try lora("empty.jsonl", ""), status: 65, fragment: "no records"),
      RefusedCase(
        what: "no such file",
        arguments: ["finetune", "lora", Embedded.model, "--data", folder.path("nowhere.jsonl"), "--dry-run"],
        status: 66, fragment: "nowhere.jsonl"),
      RefusedCase(
        what: "no media at all, MokA",
        arguments: ["finetune", "moka"] + (try data("text.jsonl", question)), status: 65,
        fragment: "none of the records has media"),
      RefusedCase(
        what: "more placeholders than media", arguments: try lora("more.jsonl", turns("<image>one ?", "one")),
        status: 65, fragment: "placeholder"),
      RefusedCase(
        what: "media that are not there",
        arguments: try lora(
          "gone.jsonl", "{\"image\": \"gone.pgm\", " + turns("<image>one ?", "one").dropFirst()),
        status: 66, fragment: "gone.pgm"),
      RefusedCase(
        what: "an empty answer: all labels masked", arguments: try lora("masked.jsonl", turns("one ?", "")),
        status: 65, fragment: "all its labels are masked"),
      RefusedCase(
        what: "no answer", arguments: try lora("question.jsonl", turns("one ?", nil)), status: 65,
        fragment: "has no answer to learn"),
      RefusedCase(
        what: "an unknown speaker",
        arguments: try lora("robot.jsonl", turns("one ?", "one", speaker: "robot")), status: 65,
        fragment: "robot"),
      RefusedCase(
        what: "an unknown role of a message",
        arguments: try lora(
          "tool.jsonl", "{\"id\": 3, \"messages\": [{\"role\": \"tool\", \"content\": \"one\"}]}\n"),
        status: 65, fragment: "tool"),
      RefusedCase(
        what: "a record that is too long",
        arguments: try lora("long.jsonl", question) + ["--max-length", "3"], status: 65,
        fragment: "at most 3 are allowed"),
      RefusedCase(
        what: "a line that is no JSON", arguments: try lora("broken.jsonl", question + "{\"id\": \n"),
        status: 65, fragment: "broken.jsonl"),
      RefusedCase(
        what: "an adapter of another model",
        arguments: ["eval", Embedded.model, "--data", Embedded.data, "--adapter", adapter], status: 65,
        fragment: "has shape"),
      RefusedCase(
        what: "an adapter of another family",
        arguments: [
          "generate", Embedded.model, "--text", "one ?", "--adapter",
          Fixtures.url("lora_llava/adapter_pattern").path,
        ], status: 65, fragment: "match no linear layer"),
      RefusedCase(
        what: "RollingQ between media that never meet",
        arguments: try lora("apart.jsonl", question + question) + [
          "--batch", "1", "--epochs", "2", "--rebalance", "rollingq", "--rebalance-layers", "1",
        ],
        status: 65, fragment: "none of the records has image and audio together"),
    ]
  }

  func testBadDataIsNamedWithItsStatus() throws {
    var table = "| data | command | status | message |\n| --- | --- | ---: | --- |\n"
    for refused in try cases() {
      let outcome = try Program.run(refused.arguments)
      XCTAssertTrue(outcome.errors.contains("hint: "), "\(refused.what): \(outcome.errors)")
      table += refused.row(of: outcome, words: refused.arguments[0] == "finetune" ? 2 : 1, folder)
    }
    try PageTable.check(table, page: "Finetuning.md", section: "Bad data")
  }
}
