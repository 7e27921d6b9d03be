import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

/// `attention`, `merge` and `report` from the outside: the same bytes however a run was made.
final class AttentionCommandTests: XCTestCase {
  private static let resultNames = [
    "config.json", "result.json", "samples.jsonl", "stats.npz", "report.html",
  ]

  private func line(_ run: String, count: Int, _ more: [String] = []) -> [String] {
    [
      "attention", Embedded.model, "--data", Embedded.data, "-n", "\(count)", "--replicates", "200", "-q",
      "-o", run,
    ] + more
  }

  private func assertEqual(
    _ left: URL, _ right: URL, _ note: String = "", file: StaticString = #filePath, line: UInt = #line
  ) throws {
    let tables = try FileManager.default.contentsOfDirectory(
      atPath: left.appendingPathComponent("tables").path)
    for name in Self.resultNames + tables.map({ "tables/\($0)" }) {
      XCTAssertEqual(
        try Data(contentsOf: left.appendingPathComponent(name)),
        try Data(contentsOf: right.appendingPathComponent(name)),
        "\(name) \(note)", file: file, line: line)
    }
  }

  func testResultsAreTheSameBytesForAnyNumberOfThreads() throws {
    let folder = try TemporaryFolder()
    for threads in ["1", "2", "3", "5"] {
      try Program.succeed(
        line(folder.path(threads), count: 12, ["--threads", threads, "--exclude-sinks", "auto"]))
      try assertEqual(folder.url("1"), folder.url(threads), "\(threads) threads")
    }
  }

  func testMergedShardsAreTheWholeRun() throws {
    let folder = try TemporaryFolder()
    try Program.succeed(line(folder.path("whole"), count: 10))
    for part in 1...3 {
      try Program.succeed(line(folder.path("part\(part)"), count: 10, ["--shard", "\(part)/3"]))
    }
    let parts = (1...3).map { folder.path("part\($0)") }
    try Program.succeed(["merge"] + parts + ["-o", folder.path("merged"), "-q"])
    try assertEqual(folder.url("whole"), folder.url("merged"))
    try Program.succeed(["report"] + parts + ["-o", folder.path("again.html"), "-q"])
    XCTAssertEqual(
      try Data(contentsOf: folder.url("again.html")), try Data(contentsOf: folder.url("whole/report.html")))
    let incomplete = try Program.run(["merge"] + parts.dropLast() + ["-o", folder.path("two"), "-q"])
    XCTAssertEqual(incomplete.status, 65)
  }

  func testImportedAttentionGivesTheSharesOfTheModelItself() throws {
    let folder = try TemporaryFolder()
    let llama = Fixtures.url("llama").path
    let text = "hello world"
    let prompt = try JSONValue(parsing: Program.succeed(["tokens", llama, "--text", text, "--json"]).output)
    let ids = (prompt["tokens"]?.arrayValue ?? []).compactMap { $0["id"]?.intValue }
    try SafetensorsWriter.write(
      tensors: [StoredTensor(name: "input_ids", shape: [1, ids.count], integers: ids)], to: folder.path("in"))
    try Program.succeed([
      "trace", llama, "--inputs", folder.path("in"), "-o", folder.path("traced"), "--capture",
      "attention.0,attention.1,attention.2", "-q",
    ])
    // Roles by their place in the list of help: bos 0, question 7.
    let roles = [0] + Array(repeating: 7, count: ids.count - 1)
    let traced = try SafetensorsFile(path: folder.path("traced")).tensors
    try SafetensorsWriter.write(
      tensors: traced + [StoredTensor(name: "roles", shape: [1, ids.count], integers: roles)],
      to: folder.path("from"))
    let common = ["--queries", "all", "--json", "-q"]
    let imported = try JSONValue(
      parsing: Program.succeed(["attention", "--from", folder.path("from")] + common).output)
    let direct = try JSONValue(
      parsing: Program.succeed(["attention", llama, "--text", text] + common).output)
    for (left, right) in zip(imported["groups"]?.arrayValue ?? [], direct["groups"]?.arrayValue ?? []) {
      XCTAssertEqual(left["name"], right["name"])
      let expected = try XCTUnwrap(right["share"]?["mean"]?.doubleValue)
      // Both sum the same float32 probabilities, in another order.
      XCTAssertEqual(try XCTUnwrap(left["share"]?["mean"]?.doubleValue), expected, accuracy: 1e-5)
    }
  }

  func testADryRunWritesNothingAndEstimates() throws {
    let folder = try TemporaryFolder()
    let outcome = try Program.succeed(line(folder.path("run"), count: 20, ["--dry-run", "--json"]))
    let plan = try JSONValue(parsing: outcome.output)
    XCTAssertEqual(plan["samples"], 20)
    XCTAssertGreaterThan(try XCTUnwrap(plan["peak_rss_bytes"]?.intValue), 0)
    XCTAssertFalse(FileManager.default.fileExists(atPath: folder.path("run")))
  }

  func testARunWithoutAnyMeasuredSampleIsAnError() throws {
    let folder = try TemporaryFolder()
    let data = "{\"text\": \"<image><image> what ?\"}\n{\"text\": \"<audio> what ?\"}\n"
    try data.write(to: folder.url("data.jsonl"), atomically: true, encoding: .utf8)
    let start = ["attention", Embedded.model, "--data", folder.path("data.jsonl"), "-q"]
    for line in [start, start + ["-o", folder.path("run")]] {
      let outcome = try Program.run(line)
      XCTAssertEqual(outcome.status, 65)
      XCTAssertEqual(outcome.output, "")
      XCTAssertTrue(
        outcome.errors.contains("no sample of 2 could be measured; the first: data-0000: "), outcome.errors)
      XCTAssertTrue(outcome.errors.contains("2 <image> placeholders"), outcome.errors)
    }
  }

  func testASkippedSampleIsNamedWithItsReason() throws {
    let folder = try TemporaryFolder()
    try "{\"text\": \"what ?\"}\n{\"text\": \"<audio> what ?\", \"id\": \"bad\"}\n".write(
      to: folder.url("data.jsonl"), atomically: true, encoding: .utf8)
    let outcome = try Program.succeed([
      "attention", Embedded.model, "--data", folder.path("data.jsonl"), "-q",
    ])
    XCTAssertTrue(
      outcome.output.contains("1 sample could not be measured, so no mean includes it; the first: bad: "),
      outcome.output)
  }

  func testFormatsOfTheResult() throws {
    let start = ["attention", Embedded.model, "--data", Embedded.data, "-n", "3", "-q", "--format"]
    XCTAssertTrue(try Program.succeed(start + ["table"]).output.contains("queries: answer"))
    XCTAssertEqual(
      try JSONValue(parsing: Program.succeed(start + ["json"]).output)["schema"], "mmprobe.result/v1")
    XCTAssertTrue(try Program.succeed(start + ["csv"]).output.hasPrefix("group,quantity,mean,"))
    let lines = try Program.succeed(start + ["jsonl"]).output.split(separator: "\n")
    XCTAssertEqual(try lines.map { try JSONValue(parsing: String($0))["index"] }, [0, 1, 2])
  }

  func testGroupsCanBeJoinedAndNoRoleIsLost() throws {
    let outcome = try Program.succeed([
      "attention", Embedded.model, "--data", Embedded.data, "-n", "3", "--json", "-q", "--groups",
      "media=image+audio,text=instruction+question+response",
    ])
    let groups = try JSONValue(parsing: outcome.output)["groups"]?.arrayValue ?? []
    XCTAssertEqual(groups.map { $0["name"] }, ["media", "text", "other"])
    let sum = groups.reduce(0) { $0 + ($1["share"]?["mean"]?.doubleValue ?? .nan) }
    // Three float32 shares.
    XCTAssertEqual(sum, 1, accuracy: 1e-5)
  }

  /// A group that mixes a medium with other roles has no index, and says so.
  func testAMediumThatSharesItsGroupIsNamed() throws {
    func codes(_ groups: String) throws -> [String] {
      let outcome = try Program.succeed([
        "attention", Embedded.model, "--data", Embedded.data, "-n", "2", "--json", "-q", "--groups", groups,
      ])
      let warnings = try JSONValue(parsing: outcome.output)["warnings"]?.arrayValue ?? []
      return warnings.filter { $0["code"] == "no_medium_index" }.compactMap { $0["message"]?.stringValue }
    }
    XCTAssertEqual(
      try codes("m=image+system,audio,question"),
      ["no index for image: the group \"m\" also holds system; give image a group of its own"])
    XCTAssertEqual(try codes("image,audio,question"), [])
    XCTAssertEqual(try codes("image,question"), [])
  }

  func testGroupsCanComeFromAFile() throws {
    let folder = try TemporaryFolder()
    try "# media beside text\nmedia = image + audio\n\ntext=instruction+question+response  # all said\n"
      .write(
        to: folder.url("groups.txt"), atomically: true, encoding: .utf8)
    let line = ["attention", Embedded.model, "--data", Embedded.data, "-n", "2", "--json", "-q", "--groups"]
    XCTAssertEqual(
      try Program.succeed(line + [folder.path("groups.txt")]).output,
      try Program.succeed(line + ["media=image+audio,text=instruction+question+response"]).output)
    let missing = try Program.run(line + [folder.path("none.txt")])
    XCTAssertEqual(missing.status, 66, missing.errors)
    try "media=image+sound\n".write(to: folder.url("bad.txt"), atomically: true, encoding: .utf8)
    let bad = try Program.run(line + [folder.path("bad.txt")])
    XCTAssertEqual(bad.status, 64, bad.errors)
    XCTAssertTrue(bad.errors.contains("found 'sound'"), bad.errors)
    try "# nothing\n".write(to: folder.url("empty.txt"), atomically: true, encoding: .utf8)
    XCTAssertEqual(try Program.run(line + [folder.path("empty.txt")]).status, 64)
  }

  /// Query rows that a file gives are called so, in the result and beside the table.
  func testQueriesOfAFileAreCalledGiven() throws {
    let folder = try TemporaryFolder()
    // Two positions, one head: the second row attends to both.
    try SafetensorsWriter.write(
      tensors: [
        StoredTensor(name: "attention.0", shape: [1, 1, 2, 2], floats: [1, 0, 0.25, 0.75]),
        StoredTensor(name: "roles", shape: [1, 2], integers: [2, 7]),
        StoredTensor(name: "queries", shape: [1, 2], integers: [0, 1]),
      ], to: folder.path("from.safetensors"))
    let line = ["attention", "--from", folder.path("from.safetensors")]
    let result = try JSONValue(parsing: Program.succeed(line + ["--json", "-q"]).output)
    XCTAssertEqual(result["definition"]?["queries"], "given")
    let image = result["groups"]?.arrayValue?.first { $0["name"] == "image" }
    XCTAssertEqual(image?["share"]?["mean"]?.doubleValue, 0.25)
    let shown = try Program.succeed(line + ["--queries", "last"])
    XCTAssertTrue(
      shown.output.contains("queries: given (the rows that the file marks as queries)"), shown.output)
    XCTAssertTrue(shown.errors.contains("--queries does not apply"), shown.errors)
    XCTAssertEqual(try Program.run(line + ["--queries", "given"]).status, 64)
  }
}
