import Foundation
import RunKit
import TestSupport
import XCTest

/// `mmprobe bench sweep` and the commands that read what it leaves, as a user runs them.
final class BenchSweepTests: XCTestCase {
  private let data = Fixtures.url("../../datasets/avdigits").standardizedFileURL.path

  private func experiment(_ folder: TemporaryFolder, epochs: Int = 1, methods: String? = nil) throws -> String
  {
    let listed = methods ?? #"{"id": "joint"}, {"id": "ogm"}, {"id": "umt"}"#
    let text = """
      {"data": "\(data)", "modalities": ["image", "audio"], "seeds": 2,
       "training": {"epochs": \(epochs), "batch_size": 256, "learning_rate": 0.05}, "methods": [\(listed)]}
      """
    try Data(text.utf8).write(to: folder.url("experiment.json"))
    return folder.path("experiment.json")
  }

  private func line(_ experiment: String, _ sweep: String, _ more: [String] = []) -> [String] {
    ["bench", "sweep", experiment, "-o", sweep, "--set", "ogm.alpha=0.1,0.8", "--jobs", "2"] + more
  }

  private func json(_ arguments: [String], file: StaticString = #filePath, at line: UInt = #line) throws
    -> JSONValue
  {
    try JSONValue(
      parsing: [UInt8](Program.succeed(arguments + ["--json", "-q"], file: file, line: line).output.utf8))
  }

  /// Every file of a sweep but those that say when and where it ran.
  private func contents(_ sweep: String) throws -> [String: Data] {
    let root = URL(fileURLWithPath: sweep).standardizedFileURL
    var files: [String: Data] = [:]
    let paths = try XCTUnwrap(FileManager.default.enumerator(atPath: root.path)).compactMap { $0 as? String }
    for path in paths {
      let name = URL(fileURLWithPath: path).lastPathComponent
      let url = root.appendingPathComponent(path)
      let isFolder = try url.resourceValues(forKeys: [.isDirectoryKey]).isDirectory ?? false
      if isFolder || name == "run.json" || name == ".mmprobe-lock" { continue }
      files[path] = try Data(contentsOf: url)
    }
    return files
  }

  func testASweepAndWhatReadsIt() throws {
    let folder = try TemporaryFolder()
    let (path, sweep) = (try experiment(folder), folder.path("sweep"))
    let index = try json(line(path, sweep))
    let runs = try XCTUnwrap(index["runs"]?.arrayValue)
    XCTAssertEqual(runs.count, 2 * 5)
    XCTAssertTrue(runs.allSatisfy { $0["status"] == "complete" })
    XCTAssertEqual(runs.count { $0["is_teacher"] == true }, 2)
    // A run of the sweep is what the same run of 'bench run' is.
    let single = folder.path("single")
    let other = try experiment(folder, methods: #"{"id": "joint"}, {"id": "umt"}"#)
    _ = try json(["bench", "run", other, "-o", single])
    for run in [
      "joint-seed1/result.json", "umt-seed1/result.json", "joint-seed0/best/parameters.safetensors",
    ] {
      XCTAssertEqual(
        try Data(contentsOf: URL(fileURLWithPath: "\(sweep)/runs/\(run)")),
        try Data(contentsOf: URL(fileURLWithPath: "\(single)/runs/\(run)")), run)
    }

    let table = try json(["bench", "table", sweep, "--replicates", "100"])
    XCTAssertEqual(table["rows"]?.arrayValue?.map { $0["label"] }, ["joint", "ogm", "umt"])
    XCTAssertEqual(table["test_samples"]?.intValue, 382)
    let all = try json(["bench", "table", sweep, "--replicates", "100", "--all"])
    XCTAssertEqual(all["rows"]?.arrayValue?.count, 4)
    let ofRun = try json(["bench", "table", single, "--replicates", "100"])
    XCTAssertEqual(ofRun["rows"]?.arrayValue?[0]["values"], table["rows"]?.arrayValue?[0]["values"])
    for format in ["text", "markdown", "csv", "latex"] {
      let output = try Program.succeed(["bench", "table", sweep, "--replicates", "50", "--format", format])
        .output
      XCTAssertTrue(output.contains("umt"), format)
    }

    let files = try json(["bench", "plot", sweep, "--replicates", "50", "-o", folder.path("plots")])
    XCTAssertEqual(files["files"]?.arrayValue?.count, 4)
    XCTAssertTrue(FileManager.default.fileExists(atPath: folder.path("plots/report.html")))

    let balance = try json([
      "bench", "balance", sweep, "--method", "ogm", "--replicates", "50", "-o", folder.path("ogm.svg"),
    ])
    XCTAssertEqual(balance["steps"]?.arrayValue?.map { $0["strength"] }, [.number(0.1), .number(0.8)])
    XCTAssertTrue(FileManager.default.fileExists(atPath: folder.path("ogm.svg")))

    let probe = try json(["bench", "probe", sweep, "--replicates", "50"])
    XCTAssertEqual(
      probe["rows"]?.arrayValue?.map { $0["encoder"] }, ["alone", "joint", "alone", "joint"])
    for row in try XCTUnwrap(probe["rows"]?.arrayValue) {
      let accuracy = try XCTUnwrap(row["probe_accuracy"]?.doubleValue)
      XCTAssertTrue((0.1...1).contains(accuracy))
    }
    XCTAssertEqual(probe["rows"]?.arrayValue?[0]["gap"], .null)
    // 'bench run' trains teachers too.
    XCTAssertEqual(
      try json(["bench", "probe", single, "--data", data, "--replicates", "50"])["rows"]?.arrayValue?.count, 4
    )
  }

  /// Runs of another experiment, whose index is lost, are not taken for those of this one.
  func testOverwritingDoesAllRunsAnew() throws {
    let folder = try TemporaryFolder()
    let sweep = folder.path("sweep")
    func epochs(trained epochs: Int, _ more: [String]) throws -> Int {
      let path = try experiment(folder, epochs: epochs, methods: #"{"id": "joint"}"#)
      _ = try Program.succeed(["bench", "sweep", path, "-o", sweep, "--seeds", "1", "-q"] + more)
      let lines = try String(contentsOfFile: sweep + "/runs/joint-seed1/epochs.csv", encoding: .utf8)
      return lines.split(separator: "\r\n").count - 1
    }
    XCTAssertEqual(try epochs(trained: 1, []), 1)
    try FileManager.default.removeItem(atPath: sweep + "/index.json")
    XCTAssertEqual(try epochs(trained: 2, ["--overwrite"]), 2)
    // Nor is a run whose options are others.
    let options = URL(fileURLWithPath: sweep + "/runs/joint-seed1/config.json")
    let text = try String(contentsOf: options, encoding: .utf8)
    try Data(text.replacingOccurrences(of: "\"epochs\": 2", with: "\"epochs\": 7").utf8).write(to: options)
    let outcome = try Program.run(
      ["bench", "sweep", folder.path("experiment.json"), "-o", sweep, "--seeds", "1", "--resume"])
    XCTAssertNotEqual(outcome.status, 0)
    XCTAssertTrue(outcome.errors.contains("epochs"), outcome.errors)
  }

  /// The first process and those it started are killed; what is resumed ends in the bytes of an undisturbed sweep.
  func testAKilledSweepGoesOnToTheSameBytes() throws {
    let folder = try TemporaryFolder()
    let path = try experiment(folder, epochs: 2)
    let whole = folder.path("whole")
    _ = try Program.succeed(line(path, whole, ["-q"]))
    let expected = try contents(whole)
    XCTAssertGreaterThan(expected.count, 60)
    for (number, delay) in [0.3, 1.5].enumerated() {
      let sweep = folder.path("killed\(number)")
      let process = try Program.start(
        line(path, sweep, ["-q"]), output: folder.url("out"), errors: folder.url("err"))
      Thread.sleep(forTimeInterval: delay)
      kill(process.processIdentifier, SIGKILL)
      process.waitUntilExit()
      // Runs that are still held are waited for.
      _ = try Program.succeed(line(path, sweep, ["-q", "--resume"]))
      let found = try contents(sweep)
      XCTAssertEqual(Set(found.keys), Set(expected.keys))
      for (name, bytes) in found { XCTAssertEqual(bytes, expected[name], "killed after \(delay) s: \(name)") }
    }
    // Nothing is left to do.
    let again = try Program.succeed(line(path, whole, ["--resume"]))
    XCTAssertTrue(again.errors.contains("10 of 10 runs done before"), again.errors)
    XCTAssertEqual(try contents(whole), expected)
  }

  func testAnInterruptSavesAndIsGoneOnWith() throws {
    let folder = try TemporaryFolder()
    let path = try experiment(folder, epochs: 40, methods: #"{"id": "joint"}"#)
    let sweep = folder.path("sweep")
    let words = ["bench", "sweep", path, "-o", sweep, "--jobs", "2"]
    let process = try Program.start(words, output: folder.url("out"), errors: folder.url("err"))
    let state = folder.url("sweep/runs/joint-seed0/state.safetensors")
    for _ in 0..<600 where !FileManager.default.fileExists(atPath: state.path) {
      Thread.sleep(forTimeInterval: 0.05)
    }
    process.terminate()
    process.waitUntilExit()
    XCTAssertEqual(process.terminationStatus, ExitStatus.stopped.rawValue)
    let errors = try String(contentsOf: folder.url("err"), encoding: .utf8)
    XCTAssertTrue(errors.contains("--resume"), errors)
    let record = try JSONValue(parsing: Data(contentsOf: folder.url("sweep/runs/joint-seed0/run.json")))
    XCTAssertEqual(record["status"], "stopped")
    // A table of what is not there.
    let empty = try Program.run(["bench", "table", sweep])
    XCTAssertEqual(empty.status, ExitStatus.data.rawValue)
    XCTAssertTrue(empty.errors.contains("no run is complete"), empty.errors)
    try Program.succeed(words + ["--resume", "-q"])
  }

  func testARunThatFailsIsNamedAndTheOthersAreDone() throws {
    let folder = try TemporaryFolder()
    let path = try experiment(folder, methods: #"{"id": "joint"}"#)
    let words = ["bench", "sweep", path, "-o", folder.path("sweep")]
    try Program.succeed(words + ["-q", "--seeds", "0"])
    // A file where the folder of a run should be.
    try Data("in the way".utf8).write(to: folder.url("sweep/runs/joint-seed1"))
    let result = try Program.run(words + ["--seeds", "0...2", "--resume"])
    XCTAssertEqual(result.status, ExitStatus.failure.rawValue, result.errors)
    XCTAssertTrue(result.output.hasPrefix("2 runs complete, 1 failed\n"), result.output)
    XCTAssertTrue(result.output.contains("joint-seed1 failed with status 73: "), result.output)
    XCTAssertTrue(result.output.contains("found a file, expected a folder"), result.output)
    let index = try JSONValue(parsing: Data(contentsOf: folder.url("sweep/index.json")))
    let runs = try XCTUnwrap(index["runs"]?.arrayValue)
    XCTAssertEqual(runs.map { $0["status"] }, ["complete", "failed", "complete"])
    XCTAssertEqual(runs[1]["exit_code"]?.intValue, 73)
    let table = try Program.succeed(["bench", "table", folder.path("sweep")]).output
    XCTAssertTrue(table.contains("missing: joint, seed 1: failed with status 73: "), table)
    // What was in the way is gone: it begins again.
    try FileManager.default.removeItem(at: folder.url("sweep/runs/joint-seed1"))
    let again = try Program.succeed(words + ["--seeds", "0...2", "--resume"])
    XCTAssertEqual(again.output, "3 runs complete, 0 failed\n")
    XCTAssertTrue(again.errors.contains("2 of 3 runs done before"), again.errors)
    // Anew: what was there goes.
    let anew = try Program.succeed(words + ["--seeds", "5", "--overwrite"])
    XCTAssertEqual(anew.output, "1 run complete, 0 failed\n")
    XCTAssertEqual(
      try FileManager.default.contentsOfDirectory(atPath: folder.path("sweep/runs")), ["joint-seed5"])
  }

  func testTooMuchMemoryFailsARun() throws {
    let folder = try TemporaryFolder()
    let path = try experiment(folder, epochs: 20, methods: #"{"id": "joint"}"#)
    let result = try Program.run([
      "bench", "sweep", path, "-o", folder.path("sweep"), "--seeds", "0", "--max-memory", "5MB",
    ])
    XCTAssertEqual(result.status, ExitStatus.failure.rawValue)
    XCTAssertTrue(result.output.contains("--max-memory is 5.0 MB"), result.output)
  }

  func testThePlanIsShownAndNothingIsDone() throws {
    let folder = try TemporaryFolder()
    let path = try experiment(folder, epochs: 4)
    let plan = try json([
      "bench", "sweep", path, "--dry-run", "--seeds", "1...3,7", "--set", "ogm.alpha=0.1,0.8",
    ])
    XCTAssertEqual(plan["runs"]?.intValue, 4 * 5)
    let points = try XCTUnwrap(plan["points"]?.arrayValue)
    XCTAssertEqual(
      points.map { $0["name"] }, ["joint", "ogm.alpha=0.1", "ogm.alpha=0.8", "teachers", "umt"])
    XCTAssertEqual(points[0]["joint_runs_each"]?.doubleValue, 1)
    // Teachers are one more forward pass of three.
    XCTAssertEqual(try XCTUnwrap(points[4]["joint_runs_each"]?.doubleValue), 4.0 / 3, accuracy: 1e-12)
    // 1157 samples are four batches of 256.
    XCTAssertEqual(points[0]["steps"]?.intValue, 16)
    let text = try Program.succeed(["bench", "sweep", path, "--dry-run"]).output
    XCTAssertTrue(text.hasSuffix("what methods do between epochs is not in it\n"), text)
    XCTAssertEqual(try FileManager.default.contentsOfDirectory(atPath: folder.path("")), ["experiment.json"])
  }

  func testMistakesAreRefused() throws {
    let folder = try TemporaryFolder()
    let path = try experiment(folder)
    let start = ["bench", "sweep", path, "--dry-run"]
    let cases: [(words: [String], status: ExitStatus, text: String)] = [
      (["--seeds", "3...1"], .usage, "1...10"), (["--seeds", "1,1"], .usage, "each seed once"),
      (["--seeds", "-1"], .usage, "1...10"), (["--set", "alpha"], .usage, "alpha=0.1,0.3"),
      (["--set", "alpha=a/b"], .usage, "alpha=0.1,0.3"), (["--set", "alph=1"], .usage, "\"alpha\""),
      (["--set", "ogm.alph=1"], .data, "\"alpha\""), (["--set", "alpha=0.1,0.1"], .usage, "asked for twice"),
      (["--set", "alpha=1", "--set", "alpha=2"], .usage, "given twice"),
      (["--set", "alpha=-5"], .data, "alpha"), (["--methods", "jiont"], .data, "\"joint\""),
      (["--set", "training.epochs=0"], .data, "training.epochs"), (["--max-memory", "5"], .usage, "a unit"),
      (["--resume", "--overwrite"], .usage, "exclude"), (["--preset", "avdigits"], .usage, "exclude"),
    ]
    for (words, status, text) in cases {
      let result = try Program.run(start + words)
      XCTAssertEqual(result.status, status.rawValue, "\(words): \(result.errors)")
      XCTAssertTrue(result.errors.contains(text), "\(words): \(result.errors)")
    }
    XCTAssertEqual(try Program.run(["bench", "sweep", path]).status, ExitStatus.usage.rawValue)
    XCTAssertEqual(try Program.run(["bench", "sweep", "--dry-run"]).status, ExitStatus.usage.rawValue)
    for command in ["table", "plot", "probe"] {
      let none = try Program.run(["bench", command, folder.path("none")])
      XCTAssertEqual(none.status, ExitStatus.missingInput.rawValue, none.errors)
      let empty = try Program.run(["bench", command, folder.path("")])
      XCTAssertEqual(empty.status, ExitStatus.data.rawValue, empty.errors)
      XCTAssertTrue(empty.errors.contains("'bench run' or 'bench sweep'"), empty.errors)
    }
    XCTAssertEqual(
      try Program.run(["bench", "run", folder.path("none"), "--cell", "joint-seed0"]).status,
      ExitStatus.missingInput.rawValue)
    XCTAssertEqual(
      try Program.run(["bench", "run", path, "--cell", "joint-seed0", "-o", folder.path("x")]).status,
      ExitStatus.usage.rawValue)
    XCTAssertEqual(try Program.run(["bench", "balance", folder.path("")]).status, ExitStatus.usage.rawValue)
  }
}
