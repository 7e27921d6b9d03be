import Foundation
import RunKit
import TestSupport
import XCTest

/// `eval` into run folders and `compare` of them, from the outside.
final class EvaluationCommandTests: XCTestCase {
  private static let names = ["config.json", "samples.jsonl", "result.json"]

  private static func line(_ run: String, count: Int, _ more: [String] = []) -> [String] {
    ["eval", Embedded.model, "--data", Embedded.data, "-n", "\(count)", "-q", "-o", run] + more
  }

  private func json(_ arguments: [String], status: Int32 = 0) throws -> JSONValue {
    let outcome = try Program.run(arguments + ["--json", "-q"])
    XCTAssertEqual(outcome.status, status, "\(arguments): \(outcome.errors)")
    return try JSONValue(parsing: outcome.output)
  }

  private static func differences(_ run: String, _ whole: String) -> [String] {
    names.filter { !FileManager.default.contentsEqual(atPath: "\(run)/\($0)", andPath: "\(whole)/\($0)") }
  }

  private func refuse(
    _ arguments: [String], status: Int32, _ message: String, file: StaticString = #filePath,
    line: UInt = #line
  ) throws {
    let outcome = try Program.run(arguments)
    XCTAssertEqual(outcome.status, status, outcome.errors, file: file, line: line)
    XCTAssertEqual(outcome.output, "", file: file, line: line)
    XCTAssertTrue(outcome.errors.contains(message), outcome.errors, file: file, line: line)
    XCTAssertTrue(outcome.errors.contains("hint: "), outcome.errors, file: file, line: line)
  }

  // MARK: eval

  func testResultsAreTheSameBytesForAnyThreadsAndBatches() throws {
    let folder = try TemporaryFolder()
    let conditions = ["--conditions", "full,missing-image,noisy-audio=1"]
    try Program.succeed(Self.line(folder.path("whole"), count: 20, conditions + ["--threads", "1"]))
    for (name, more) in [
      ("threads", ["--threads", "3"]), ("batch", ["--batch", "3"]), ("one", ["--batch", "1"]),
    ] {
      try Program.succeed(Self.line(folder.path(name), count: 20, conditions + more))
      XCTAssertEqual(Self.differences(folder.path(name), folder.path("whole")), [], name)
    }
    let result = try JSONValue(parsing: Data(contentsOf: folder.url("whole/result.json")))
    XCTAssertEqual(result["schema"], "mmprobe.eval/v1")
    XCTAssertEqual(
      result["conditions"]?.arrayValue?.map { $0["name"] }, ["full", "missing-image", "noisy-audio=1"])
    XCTAssertEqual(result["conditions"]?.arrayValue?.first?["difference"], .null)
    XCTAssertEqual(result["conditions"]?.arrayValue?.last?["difference"]?["n"], 20)
    XCTAssertEqual(
      result["by"]?["needs"]?.objectValue?.keys, ["audio", "image", "image+audio", "text"])
    // The same document as without a folder.
    XCTAssertEqual(
      try json(["eval", Embedded.model, "--data", Embedded.data, "-n", "20"] + conditions), result)
  }

  func testARunKilledAtEveryFaultPointGoesOnToTheSameBytes() throws {
    let folder = try TemporaryFolder()
    let whole = folder.path("whole")
    func arguments(_ run: String) -> [String] {
      Self.line(run, count: 5, ["--batch", "2", "--threads", "1"])
    }
    try Program.succeed(arguments(whole), environment: ["MMPROBE_FAULT_COUNT": folder.path("count")])
    let text = try String(contentsOf: folder.url("count"), encoding: .utf8)
    let points = try XCTUnwrap(Int(text.trimmingCharacters(in: .whitespacesAndNewlines)))
    XCTAssertGreaterThan(points, 20)
    for number in 1...points {
      let run = folder.path("run\(number)")
      let killed = try Program.run(
        arguments(run),
        environment: ["MMPROBE_FAULT_KILL": "\(number)", "MMPROBE_FAULT_TORN": "\(number % 2)"])
      XCTAssertEqual(killed.status, SIGKILL, killed.errors)
      let resumed = try Program.run(arguments(run) + ["--resume"])
      XCTAssertEqual(resumed.status, 0, "\(number): \(resumed.errors)")
      XCTAssertEqual(Self.differences(run, whole), [], "point \(number)")
      try FileManager.default.removeItem(atPath: run)
    }
    print("eval: kill and resume at \(points) fault points, every other one with a torn write")
  }

  func testAnInterruptSavesAndTheCommandItPrintsGoesOn() throws {
    let folder = try TemporaryFolder()
    let (whole, run) = (folder.path("whole"), folder.path("run"))
    func arguments(_ run: String) -> [String] { Self.line(run, count: 600, ["--batch", "2"]) }
    try Program.succeed(arguments(whole))
    let process = try Program.start(
      arguments(run).filter { $0 != "-q" }, output: folder.url("out"), errors: folder.url("err"))
    let samples = folder.url("run/samples.jsonl")
    while process.isRunning, ((try? Data(contentsOf: samples).count) ?? 0) == 0 { usleep(2_000) }
    process.interrupt()
    process.waitUntilExit()
    XCTAssertEqual(process.terminationStatus, 75)
    let errors = try String(contentsOf: folder.url("err"), encoding: .utf8)
    let command = try XCTUnwrap(errors.split(separator: "\n").last { $0.hasPrefix("  mmprobe ") }, errors)
    try Program.succeed(command.split(separator: " ").dropFirst().map(String.init))
    XCTAssertEqual(Self.differences(run, whole), [])
    // Other options than the stored ones are not mixed in.
    try refuse(
      arguments(run) + ["--resume", "--conditions", "missing-image"], status: 65, "definition.conditions")
  }

  func testWrongConditionsAndFilesAreRefused() throws {
    let line = ["eval", Embedded.model, "--data", Embedded.data, "-n", "2"]
    for bad in ["missing-text", "full,full", "noisy-image", "noisy-image=0", "blurred-image", "full,"] {
      try refuse(line + ["--conditions", bad], status: 64, "option '--conditions': found '\(bad)'")
    }
    try refuse(line + ["--conditions", "full,adapter-text"], status: 64, "has no adapter")
    try refuse(line + ["--resume"], status: 64, "--resume and --overwrite are for -o")
    try refuse(
      line + ["--ci", "wilson", "--cluster-key", "image"], status: 64,
      "--ci wilson takes samples as independent")
    try refuse(line + ["--by", "need"], status: 64, "Did you mean 'needs'?")
    let folder = try TemporaryFolder()
    try refuse(line + ["--needs", folder.path("none.json")], status: 66, "none.json")
    for (text, status, message) in [
      ("{", Int32(65), "needs.json"), ("[1]", 65, "expected an object"),
      (#"{"sum": ["smell"]}"#, 65, "smell"),
      (#"{"needs": {"sum": 3}}"#, 65, "needs.sum"),
    ] {
      try Data(text.utf8).write(to: folder.url("needs.json"))
      try refuse(line + ["--needs", folder.path("needs.json")], status: status, message)
    }
    try Data(#"{"sum": ["image"], "written": ["image"]}"#.utf8).write(to: folder.url("needs.json"))
    let result = try json(
      [
        "eval", Embedded.model, "--data", Embedded.data, "-n", "20", "--needs", folder.path("needs.json"),
        "--by", "needs",
      ])
    XCTAssertEqual(result["by"]?["needs"]?.objectValue?.keys, ["image", "none"])
  }

  // MARK: compare

  func testEvaluationsAttentionAndContributionsAreCompared() throws {
    let folder = try TemporaryFolder()
    try Program.succeed(Self.line(folder.path("a"), count: 40, ["--conditions", "full,missing-image"]))
    try Program.succeed(Self.line(folder.path("b"), count: 30, ["--max-new-tokens", "4"]))
    let runs = [folder.path("a"), folder.path("b")]
    let result = try json(["compare"] + runs)
    XCTAssertEqual(result["schema"], "mmprobe.compare/v1")
    XCTAssertEqual(result["kind"], "eval")
    XCTAssertEqual(result["pairs"]?["n"], 30)
    XCTAssertEqual(result["pairs"]?["only_first"], 10)
    XCTAssertEqual(
      result["settings"]?.arrayValue?.map { $0["key"] },
      ["data.n_requested", "definition.max_new_tokens", "definition.conditions"])
    let first = result["comparisons"]?.arrayValue?.first
    XCTAssertEqual(first?["name"], "full.accuracy")
    XCTAssertEqual(first?["diff"]?.doubleValue, 0)
    XCTAssertEqual(first?["p"]?.doubleValue, 1)

    let probe = ["--data", Embedded.data, "-n", "12", "--replicates", "50", "-q"]
    try Program.succeed(["attention", Embedded.model] + probe + ["-o", folder.path("c")])
    try Program.succeed(
      ["attention", Embedded.model] + probe + ["--queries", "last", "-o", folder.path("d")])
    let attention = try json(["compare", folder.path("c"), folder.path("d")])
    XCTAssertEqual(attention["kind"], "attention")
    XCTAssertEqual(attention["settings"]?.arrayValue?.map { $0["key"] }, ["definition.queries"])
    XCTAssertTrue(
      attention["comparisons"]?.arrayValue?.contains { $0["name"] == "layers.3.image.share" } ?? false)

    try Program.succeed(["contribution", Embedded.model] + probe + ["-o", folder.path("e")])
    try Program.succeed(
      ["contribution", Embedded.model] + probe + ["--method", "value-norm", "-o", folder.path("f")])
    let same = try json(["compare", folder.path("e"), folder.path("e")])
    XCTAssertEqual(same["kind"], "contribution")
    XCTAssertTrue(same["comparisons"]?.arrayValue?.contains { $0["name"] == "image.contribution" } ?? false)
    XCTAssertTrue(same["comparisons"]?.arrayValue?.allSatisfy { $0["significant"] == false } ?? false)
    try refuse(["compare", folder.path("e"), folder.path("f")], status: 65, "contributions by")
    try refuse(["compare", folder.path("a"), folder.path("c")], status: 65, "a run of 'attention'")
    try Program.succeed(["report", folder.path("a"), "-o", folder.path("r.html"), "-q"])
    let page = try Data(contentsOf: folder.url("r.html"))
    XCTAssertEqual(page, try Data(contentsOf: folder.url("a/report.html")))
    try refuse(
      ["report", folder.path("a"), folder.path("a"), "-o", folder.path("r.html")], status: 65,
      "expected a run of")
  }

  func testFailIfEndsWithThreeAndWritesTheReport() throws {
    let folder = try TemporaryFolder()
    try Program.succeed(Self.line(folder.path("a"), count: 12))
    let runs = [folder.path("a"), folder.path("a")]
    let report = folder.path("compare.html")
    let failed = try Program.run(
      ["compare"] + runs + [
        "--fail-if", "full.accuracy.n == 12", "--fail-if", "full.accuracy.diff < 0", "-o", report,
      ])
    XCTAssertEqual(failed.status, 3, failed.errors)
    XCTAssertTrue(failed.output.contains("fail if full.accuracy.n == 12: holds, failed"), failed.output)
    XCTAssertTrue(failed.output.contains("fail if full.accuracy.diff < 0: does not hold"), failed.output)
    XCTAssertTrue(try String(contentsOfFile: report, encoding: .utf8).hasPrefix("<!doctype html>"))
    let passed = try json(["compare"] + runs + ["--fail-if", "full.accuracy.diff < 0"])
    XCTAssertEqual(passed["checks"]?.arrayValue?.first?["holds"], false)
    // The expression is read before anything is opened.
    try refuse(
      ["compare", "none", "none", "--fail-if", "full.accuracy.diff <"], status: 64,
      "found the end at character 21, expected a number or a name")
    try refuse(["compare"] + runs + ["--fail-if", "full.acuracy.diff < 0"], status: 64, "Did you mean")
    try refuse(["compare", folder.path("a")], status: 64, "needs a second RUN")
    try refuse(["compare"] + runs + ["c"], status: 64, "put a name with stars in quotes")
    let table = try Program.succeed(["compare", folder.path("*"), folder.path("a"), "--format", "csv"])
    XCTAssertTrue(table.output.hasPrefix("name,family,group,layer,n,before,"), table.output)
    XCTAssertTrue(table.output.contains("full.accuracy,accuracy,,,12,"), table.output)
    try refuse(["compare", folder.path("none-*"), folder.path("a")], status: 65, "no folder has such a name")
    try refuse(["compare", folder.path("a"), folder.path("none")], status: 66, "none")
    try refuse(
      ["compare"] + runs + ["--ci", "t", "--replicates", "5"], status: 64,
      "--replicates is for --ci bootstrap")
    let empty = folder.path("empty")
    try FileManager.default.createDirectory(atPath: empty, withIntermediateDirectories: true)
    try Data("{}".utf8).write(to: folder.url("empty/config.json"))
    try refuse(["compare", empty, empty], status: 65, "empty/config.json")
    // A record whose claim the answers do not bear out.
    let samples = folder.url("a/samples.jsonl")
    let text = try String(contentsOf: samples, encoding: .utf8)
    try text.replacing("\"correct\":true", with: "\"correct\":false", maxReplacements: 1)
      .write(to: samples, atomically: true, encoding: .utf8)
    try refuse(["compare"] + runs, status: 65, "samples.jsonl:")
  }
}
