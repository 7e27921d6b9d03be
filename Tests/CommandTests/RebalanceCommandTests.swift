import Foundation
import RunKit
import TestSupport
import XCTest

/// `mmprobe finetune --rebalance rollingq`: what it logs, writes and refuses, and that stopping it changes no byte.
final class RebalanceCommandTests: XCTestCase {
  private typealias Setup = FinetuneCommandTests.Setup

  /// Four steps a pass, ten in all: queries are turned after steps 4 and 8.
  private static func line(_ setup: Setup, _ method: String, _ run: String, _ more: [String] = []) -> [String]
  {
    var words = setup.line(method, run, ["--rebalance", "rollingq", "--rebalance-layers", "1,2"] + more)
    for (option, value) in [("--steps", "10"), ("--batch", "6"), ("--save-interval", "3")] {
      if let place = words.firstIndex(of: option) { words[place + 1] = value }
    }
    return words
  }

  private func log(_ run: String) throws -> [JSONValue] {
    try JSONLinesReader(URL(fileURLWithPath: run + "/log.jsonl"), ending: .asWritten).remainingLines().map(
      \.value)
  }

  func testQueriesAreTurnedLoggedAndServed() throws {
    let setup = try Setup()
    for method in ["lora", "moka", "full"] {
      let run = setup.folder.path(method)
      try Program.succeed(Self.line(setup, method, run))
      let lines = try log(run)
      let events = lines.filter { $0["event"]?.stringValue == "rollingq" }
      XCTAssertEqual(Set(events.compactMap { $0["step"]?.intValue }), [4, 8], "not after the last step")
      func outcomes(_ step: Int, _ layer: Int) -> Set<String> {
        Set(
          events.filter { $0["step"]?.intValue == step && $0["layer"]?.intValue == layer }
            .compactMap { $0["outcome"]?.stringValue })
      }
      XCTAssertEqual(outcomes(4, 1), ["rotated"])
      XCTAssertEqual(outcomes(4, 2), ["waiting"])
      XCTAssertEqual(outcomes(8, 1), ["limit"])
      XCTAssertEqual(outcomes(8, 2), ["rotated"])
      for event in events where event["outcome"]?.stringValue == "rotated" {
        XCTAssertGreaterThan(event["angle"]?.doubleValue ?? 0, 0)
        XCTAssertNotNil(event["cosines"]?["image"]?.doubleValue)
        XCTAssertNotNil(event["imbalance"]?.doubleValue)
      }
      let tags = String(
        decoding: try Data(contentsOf: URL(fileURLWithPath: run + "/events.out.tfevents.mmprobe")),
        as: UTF8.self)
      for tag in ["rollingq/imbalance/layer.1", "rollingq/angle/layer.2", "rollingq/rotated/layer.2"] {
        XCTAssertTrue(tags.contains(tag), tag)
      }
      let configuration = try JSONValue(parsing: Data(contentsOf: URL(fileURLWithPath: run + "/config.json")))
      XCTAssertEqual(configuration["options"]?["rebalance"]?["layers"], [1, 2])

      // What serves has the rotations; without their file the figures are others.
      let model = method == "full" ? [run + "/last"] : [Embedded.model, "--adapter", run + "/last"]
      let serve = { (command: String) -> [String] in
        [command] + model + ["--data", setup.validation, "--json"]
      }
      let commands = ["attention", "eval"]
      let turned = try commands.map { try Program.succeed(serve($0)).output }
      for output in turned { XCTAssertTrue(output.contains("rollingq.safetensors")) }
      try Program.succeed(["generate"] + model + ["--text", "what is the digit ?"])
      try FileManager.default.removeItem(atPath: run + "/last/rollingq.safetensors")
      let groups = { (output: String) throws -> JSONValue? in
        try JSONValue(parsing: [UInt8](output.utf8))["groups"]
      }
      let plain = try Program.succeed(serve("attention")).output
      XCTAssertNotNil(try groups(plain))
      XCTAssertNotEqual(try groups(plain), try groups(turned[0]), method)
    }
  }

  /// Killed at every third fault point, and with activation checkpointing: the same bytes.
  func testARunGoesOnToTheSameBytes() throws {
    let setup = try Setup()
    let more = ["--threads", "1"]
    let points = try TrainingRuns.killAtFaultPoints(
      in: setup.folder, { count in stride(from: 2, through: count, by: 3).map { ($0, true) } }
    ) { Self.line(setup, "lora", $0, more + $1) }
    XCTAssertGreaterThan(points, 45)
    let expected = try TrainingRuns.contents(setup.folder.path("whole"))
    XCTAssertNotNil(expected["last/rollingq.safetensors"])
    XCTAssertNotNil(expected["best/rollingq.safetensors"])
    let twice = setup.folder.path("twice")
    try Program.succeed(Self.line(setup, "lora", twice, more + ["--activation-checkpointing"]))
    let found = try TrainingRuns.contents(twice)
    for name in ["last/rollingq.safetensors", "last/adapter_model.safetensors"] {
      XCTAssertEqual(found[name], expected[name], name)
    }
  }

  func testItIsRefusedWhereItCannotApply() throws {
    let setup = try Setup()
    let run = setup.folder.path("run")
    for (words, status, part) in [
      (["--rebalance-modalities", "image"], 64, "found 1, expected two or more"),
      (["--rebalance-modalities", "image,smell"], 64, "--rebalance-modalities"),
      (["--rebalance-modalities", "image,video"], 65, "none of the records has image and video"),
      (["--rebalance-layers", "0,9"], 64, "the model has layers 0 to"),
    ] as [([String], Int32, String)] {
      var all = Self.line(setup, "lora", run)
      if let place = all.firstIndex(of: words[0]) { all.removeSubrange(place...place + 1) }
      let outcome = try Program.run(all + words)
      XCTAssertEqual(outcome.status, status, outcome.errors)
      XCTAssertTrue(outcome.errors.contains(part), outcome.errors)
      XCTAssertFalse(FileManager.default.fileExists(atPath: run))
    }
    for (more, part) in [
      (["--rebalance", "rollingq", "--rebalance-layers", "1"], "a pass has 8 steps"),
      (["--rebalance", "rollingq"], "--rebalance-layers"),
      (["--rebalance-limit", "2"], "--rebalance-limit is for --rebalance"),
      (["--rebalance", "rolling"], "rollingq"),
      (["--validation-media", "nowhere.safetensors"], "nowhere.safetensors"),
    ] {
      let outcome = try Program.run(setup.line("lora", run, more))
      XCTAssertNotEqual(outcome.status, 0, outcome.errors)
      XCTAssertTrue(outcome.errors.contains(part), outcome.errors)
      XCTAssertFalse(FileManager.default.fileExists(atPath: run))
    }
  }

  /// Media elsewhere are found for training and validation, and stand in the configuration.
  func testMediaOptionsServeBothFilesAndAreWritten() throws {
    let setup = try Setup()
    let media = setup.folder.url("elsewhere")
    try FileManager.default.createDirectory(at: media, withIntermediateDirectories: true)
    for split in ["train", "val"] {
      try FileManager.default.moveItem(
        at: setup.folder.url("\(split).safetensors"), to: media.appendingPathComponent("\(split).safetensors")
      )
    }
    let beside = try Program.run(setup.line("lora", setup.folder.path("none")))
    XCTAssertNotEqual(beside.status, 0)
    XCTAssertTrue(beside.errors.contains("train.safetensors"), beside.errors)
    let run = setup.folder.path("run")
    try Program.succeed(setup.line("lora", run, ["--media-root", media.path]))
    func configuration(_ run: String) throws -> JSONValue {
      try JSONValue(parsing: Data(contentsOf: URL(fileURLWithPath: run + "/config.json")))
    }
    XCTAssertEqual(try configuration(run)["media"]?["root"], "elsewhere")
    XCTAssertEqual(try configuration(run)["media"]?["file"], .null)
    let table = setup.folder.path("table")
    try Program.succeed(
      setup.line(
        "lora", table,
        [
          "--media", media.appendingPathComponent("train.safetensors").path, "--validation-media",
          media.appendingPathComponent("val.safetensors").path,
        ]))
    XCTAssertEqual(try configuration(table)["media"]?["file"], "train.safetensors")
    XCTAssertEqual(try configuration(table)["validation"]?["media"], "val.safetensors")
    // The same media, so the same weights.
    let files = try [run, table].map {
      try Data(contentsOf: URL(fileURLWithPath: $0 + "/best/adapter_model.safetensors"))
    }
    XCTAssertEqual(files[0], files[1])
  }
}
