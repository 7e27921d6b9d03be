import Foundation
import RunKit
import TestSupport
import XCTest

/// `contribution` from the outside: the same bytes however a run was made, and options that fit their method.
final class ContributionCommandTests: XCTestCase {
  private func line(_ run: String, count: Int, _ more: [String]) -> [String] {
    [
      "contribution", Embedded.model, "--data", Embedded.data, "-n", "\(count)", "--replicates", "200", "-q",
      "-o", run,
    ] + more
  }

  private func assertEqual(_ left: URL, _ right: URL, _ note: String) throws {
    let tables = try FileManager.default.contentsOfDirectory(
      atPath: left.appendingPathComponent("tables").path)
    XCTAssertTrue(tables.contains("contribution.csv"), note)
    for name in ["config.json", "result.json", "samples.jsonl", "report.html"]
      + tables.map({ "tables/\($0)" })
    {
      XCTAssertEqual(
        try Data(contentsOf: left.appendingPathComponent(name)),
        try Data(contentsOf: right.appendingPathComponent(name)), "\(name) \(note)")
    }
  }

  func testResultsAreTheSameBytesForAnyNumberOfThreads() throws {
    for (number, method) in ContributionMethods.all.enumerated() {
      let folder = try TemporaryFolder()
      for threads in ["1", "2", "3", "5"] {
        try Program.succeed(line(folder.path(threads), count: 4, ["--threads", threads] + method))
        try assertEqual(folder.url("1"), folder.url(threads), "\(number): \(method), \(threads) threads")
      }
    }
  }

  func testMergedShardsAndResumedRunsAreTheWholeRun() throws {
    let folder = try TemporaryFolder()
    let method = ["--removal", "replacement", "--target", "margin"]
    try Program.succeed(line(folder.path("whole"), count: 9, method))
    for part in 1...2 {
      try Program.succeed(line(folder.path("part\(part)"), count: 9, method + ["--shard", "\(part)/2"]))
    }
    try Program.succeed([
      "merge", folder.path("part1"), folder.path("part2"), "-o", folder.path("merged"), "-q",
    ])
    try assertEqual(folder.url("whole"), folder.url("merged"), "merged")

    // The run as if it had been killed after five samples and a half.
    let samples = folder.url("part1").deletingLastPathComponent().appendingPathComponent(
      "whole/samples.jsonl")
    try FileManager.default.copyItem(at: folder.url("whole"), to: folder.url("killed"))
    let lines = try Data(contentsOf: samples).split(separator: 10, omittingEmptySubsequences: false)
    let kept = lines.prefix(5).flatMap { Array($0) + [10] } + lines[5].prefix(100)
    try Data(kept).write(to: folder.url("killed/samples.jsonl"))
    try Program.succeed(line(folder.path("killed"), count: 9, method + ["--resume"]))
    try assertEqual(folder.url("whole"), folder.url("killed"), "resumed")
    let other = try Program.run(line(folder.path("killed"), count: 9, ["--removal", "blank", "--resume"]))
    XCTAssertNotEqual(other.status, 0, "another definition must not go on with the run")
  }

  func testOptionsOfAnotherMethodAreRefused() throws {
    for arguments in [
      ["--method", "knockout", "--removal", "blank"], ["--steps", "8"], ["--by-head"], ["--window", "1"],
      ["--method", "ig", "--keys", "image"], ["--method", "value-norm", "--baseline", "zero"],
      ["--method", "knockout", "--keys", "image,image"], ["--method", "knockout", "--queries", "lost"],
      ["--method", "knockout", "--window", "9"],
    ] {
      let outcome = try Program.run(
        ["contribution", Embedded.model, "--data", Embedded.data, "-n", "1"] + arguments)
      XCTAssertEqual(outcome.status, 64, "\(arguments)")
      XCTAssertEqual(outcome.output, "")
    }
    let alone = try Program.run(
      ["contribution", Embedded.model, "--text", "add 8 and 3 .", "--removal", "replacement"])
    XCTAssertEqual(alone.status, 64)
  }

  func testOneQuestionOfTheCommandLine() throws {
    let outcome = try Program.succeed([
      "contribution", Embedded.model, "--text", "add 8 and 3 .", "--json", "-q",
    ])
    let result = try JSONValue(parsing: outcome.output)
    XCTAssertEqual(result["kind"], "contribution")
    XCTAssertEqual(result["definition"]?["contribution"]?["piece"], "prediction")
    XCTAssertEqual(result["contribution"]?["groups"]?["question"]?["share"]?["mean"], 1.0)
    XCTAssertNil(result["contribution"]?["groups"]?["image"])
  }

  func testFormats() throws {
    let start = ["contribution", Embedded.model, "--data", Embedded.data, "-n", "2", "-q", "--format"]
    XCTAssertTrue(try Program.succeed(start + ["csv"]).output.hasPrefix("tag,value,group,quantity,mean,"))
    XCTAssertTrue(try Program.succeed(start + ["table"]).output.contains("among these"))
    let plan = try Program.succeed(start.dropLast() + ["--dry-run", "--json"]).output
    XCTAssertEqual(try JSONValue(parsing: plan)["samples"], 2)
  }
}

/// Every method with options of its own.
enum ContributionMethods {
  static let all: [[String]] = [
    [], ["--removal", "blank", "--target", "log-probability"], ["--removal", "mean"],
    ["--method", "knockout", "--window", "1", "--piece", "prediction", "--by-head"],
    ["--method", "value-norm"],
    ["--method", "grad-input", "--target", "margin"],
    ["--method", "ig", "--steps", "8", "--baseline", "blank", "--target", "log-probability"],
  ]
}
