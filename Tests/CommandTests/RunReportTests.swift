import Foundation
import RunKit
import TestSupport
import XCTest

@testable import Analysis

/// Reports of `train`, `finetune` and `eval` runs: what they show, and that nothing gets in or out.
final class RunReportTests: XCTestCase {
  private func check(_ html: String, _ parts: [String], line: UInt = #line) {
    for part in parts { XCTAssertTrue(html.contains(part), part, line: line) }
    XCTAssertTrue(html.hasPrefix("<!doctype html>"), line: line)
    XCTAssertTrue(html.contains("script-src 'none'"), line: line)
    for part in ["<script", "http:", "https:", "NaN", " nan"] {
      XCTAssertFalse(html.contains(part), part, line: line)
    }
  }

  func testATrainingIsDrawnFromItsLog() throws {
    let setup = try FinetuneCommandTests.Setup()
    let run = setup.folder.path("run")
    var words = setup.line("lora", run, ["--rebalance", "rollingq", "--rebalance-layers", "1"])
    for (option, value) in [("--steps", "10"), ("--batch", "6")] {
      if let place = words.firstIndex(of: option) { words[place + 1] = value }
    }
    try Program.succeed(words)
    let html = try String(contentsOfFile: run + "/report.html", encoding: .utf8)
    check(
      html,
      [
        "How did the training go?", "Where the answers look", "Whose gradient the shared A follows",
        "Gradient that reaches each modality", "Rotated queries", "in 10 steps", "learning rate",
        "gradient norm", "validation", "4 rotated",
      ])
    let again = setup.folder.path("again.html")
    try Program.succeed(["report", run, "-o", again, "-q"])
    XCTAssertEqual(try String(contentsOfFile: again, encoding: .utf8), html)
    let outcome = try Program.succeed(["report", run, "-o", again, "--json"])
    XCTAssertEqual(try JSONValue(parsing: outcome.output)["steps"], 10)

    // Every curve goes through the numbers of the log.
    let log = try TrainingLog(URL(fileURLWithPath: run))
    let lines = try JSONLinesReader(URL(fileURLWithPath: run + "/log.jsonl")).remainingLines().map(\.value)
    let loss = try XCTUnwrap(log.series("loss"))
    XCTAssertEqual(loss.steps, Array(1...10))
    XCTAssertEqual(loss.values, lines.compactMap { $0["loss"]?.doubleValue })
    XCTAssertEqual(log.validation.first?.steps, [2, 4, 6, 8, 10])
    XCTAssertEqual(log.rotations.map(\.step), [4, 8])
    XCTAssertEqual(log.lastStep, 10)
  }

  func testAnEvaluationIsDrawn() throws {
    let folder = try TemporaryFolder()
    let run = folder.path("run")
    try Program.succeed([
      "eval", Embedded.model, "--data", Embedded.data, "-n", "16", "-q", "-o", run, "--conditions",
      "full,missing-image,missing-audio", "--by", "type,needs",
    ])
    let html = try String(contentsOfFile: run + "/report.html", encoding: .utf8)
    let result = try JSONValue(parsing: Data(contentsOf: URL(fileURLWithPath: run + "/result.json")))
    let share = try XCTUnwrap(result["conditions"]?.arrayValue?[1]["accuracy"]?.doubleValue)
    check(
      html,
      [
        "How often is avdigits_model right?", "missing-audio", "By kind of question", "McNemar",
        Text.percent(share), "16 questions",
      ])
  }

  /// Names from outside are text.
  func testNamesCannotBecomeMarkup() throws {
    let folder = try TemporaryFolder()
    let bad = "<script>alert(1)</script>"
    let configuration: JSONValue = [
      "command": "finetune", "method": .string(bad), "model": .string(bad), "data": .string(bad),
      "options": ["x": .string(bad)], "sha256": [bad: .string(bad)],
    ]
    try Data(configuration.text().utf8).write(to: folder.url("config.json"))
    let line: JSONValue = ["step": 1, "epoch": 0, "loss": 1.5, "share/\(bad)": 0.5, bad: 2.0]
    try Data((line.text() + "\n").utf8).write(to: folder.url("log.jsonl"))
    check(TrainingReport(try TrainingLog(folder.url("").standardizedFileURL)).html, ["&lt;script&gt;"])
    try Data("{\"loss\": 1}\n".utf8).write(to: folder.url("log.jsonl"))
    let outcome = try Program.run(["report", folder.path(""), "-o", folder.path("r.html")])
    XCTAssertEqual(outcome.status, 65, outcome.errors)
    XCTAssertTrue(outcome.errors.contains("log.jsonl:1"), outcome.errors)
  }

  func testTicksEncloseTheirRange() {
    for (low, high) in [(0.0, 1.0), (-0.3, 0.2), (2.71, 2.72), (-5, -4.9), (0, 1e-9), (3, 3), (0, 0)] {
      let ticks = LinePlot.ticks(from: low, to: high, count: 5)
      XCTAssertGreaterThan(ticks.count, 1)
      XCTAssertLessThan(ticks.count, 12)
      XCTAssertLessThanOrEqual(ticks[0], low + 1e-9 * abs(low))
      XCTAssertGreaterThanOrEqual(ticks[ticks.count - 1], high - 1e-9 * abs(high))
    }
  }
}
