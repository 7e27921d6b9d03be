import Foundation
import RunKit
import TestSupport
import XCTest

/// What `mmprobe finetune` says of data it cannot train on and of adapters that do not fit.
///
/// Documentation/Finetuning.md shows the messages; `MMPROBE_UPDATE_HELP=1` writes its table anew.
final class FinetuneBadDataTests: XCTestCase {
  /// One row of the table.
  private struct Case {
    let what: String
    let arguments: [String]
    let status: Int32
    /// A part of the message.
    let fragment: String
  }

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

  private func cases() throws -> [Case] {
    func lora(_ name: String, _ text: String) throws -> [String] {
      ["finetune", "lora"] + (try data(name, text))
    }
    let question = turns("one ?", "one")
    let adapter = Fixtures.url("lora/adapter_qv").path
    return [
      Case(
        what: "an empty file", arguments: try lora("empty.jsonl", ""), status: 65, fragment: "no records"),
      Case(
        what: "no such file",
        arguments: ["finetune", "lora", Embedded.model, "--data", folder.path("nowhere.jsonl"), "--dry-run"],
        status: 66, fragment: "nowhere.jsonl"),
      Case(
        what: "no media at all, MokA",
        arguments: ["finetune", "moka"] + (try data("text.jsonl", question)), status: 65,
        fragment: "none of the records has media"),
      Case(
        what: "more placeholders than media", arguments: try lora("more.jsonl", turns("<image>one ?", "one")),
        status: 65, fragment: "placeholder"),
      Case(
        what: "media that are not there",
        arguments: try lora(
          "gone.jsonl", "{\"image\": \"gone.pgm\", " + turns("<image>one ?", "one").dropFirst()),
        status: 66, fragment: "gone.pgm"),
      Case(
        what: "an empty answer: all labels masked", arguments: try lora("masked.jsonl", turns("one ?", "")),
        status: 65, fragment: "all its labels are masked"),
      Case(
        what: "no answer", arguments: try lora("question.jsonl", turns("one ?", nil)), status: 65,
        fragment: "has no answer to learn"),
      Case(
        what: "an unknown speaker",
        arguments: try lora("robot.jsonl", turns("one ?", "one", speaker: "robot")), status: 65,
        fragment: "robot"),
      Case(
        what: "an unknown role of a message",
        arguments: try lora(
          "tool.jsonl", "{\"id\": 3, \"messages\": [{\"role\": \"tool\", \"content\": \"one\"}]}\n"),
        status: 65, fragment: "tool"),
      Case(
        what: "a record that is too long",
        arguments: try lora("long.jsonl", question) + ["--max-length", "3"], status: 65,
        fragment: "at most 3 are allowed"),
      Case(
        what: "a line that is no JSON", arguments: try lora("broken.jsonl", question + "{\"id\": \n"),
        status: 65, fragment: "broken.jsonl"),
      Case(
        what: "an adapter of another model",
        arguments: ["eval", Embedded.model, "--data", Embedded.data, "--adapter", adapter], status: 65,
        fragment: "has shape"),
      Case(
        what: "an adapter of another family",
        arguments: [
          "generate", Embedded.model, "--text", "one ?", "--adapter",
          Fixtures.url("lora_llava/adapter_pattern").path,
        ], status: 65, fragment: "match no linear layer"),
      Case(
        what: "RollingQ between media that never meet",
        arguments: try lora("apart.jsonl", question + question) + [
          "--batch", "1", "--epochs", "2", "--rebalance", "rollingq", "--rebalance-layers", "1",
        ],
        status: 65, fragment: "none of the records has image and audio together"),
    ]
  }

  func testBadDataIsNamedWithItsStatus() throws {
    var table = "| data | command | status | message |\n| --- | --- | ---: | --- |\n"
    for row in try cases() {
      let outcome = try Program.run(row.arguments)
      XCTAssertEqual(outcome.status, row.status, "\(row.what): \(outcome.errors)")
      XCTAssertTrue(outcome.errors.contains(row.fragment), "\(row.what): \(outcome.errors)")
      XCTAssertTrue(outcome.errors.contains("hint: "), "\(row.what): \(outcome.errors)")
      let command = row.arguments[0] == "finetune" ? "finetune \(row.arguments[1])" : row.arguments[0]
      table += outcome.row(what: row.what, command: command, folder)
    }
    try PageTable.check(table, page: "Finetuning.md", section: "Bad data")
  }
}
