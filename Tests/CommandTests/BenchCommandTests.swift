import Foundation
import RunKit
import TestSupport
import XCTest

/// `mmprobe bench` as a user runs it.
final class BenchCommandTests: XCTestCase {
  private let data = Fixtures.url("../../datasets/avdigits").standardizedFileURL.path

  private func experiment(
    _ folder: TemporaryFolder, _ methods: String, more: String = "", epochs: Int = 1
  ) throws -> String {
    let text = """
      {"data": "\(data)", "modalities": ["image", "audio"], "seeds": 2, \(more)
       "training": {"epochs": \(epochs), "batch_size": 256}, "methods": [\(methods)]}
      """
    try Data(text.utf8).write(to: folder.url("experiment.json"))
    return folder.url("experiment.json").path
  }

  func testListShowsEveryMethodWithItsStageAndSource() throws {
    let rows = try XCTUnwrap(
      JSONValue(parsing: [UInt8](Program.succeed(["bench", "list", "--json"]).output.utf8)).arrayValue)
    XCTAssertEqual(rows.count, 26)
    XCTAssertTrue(rows.allSatisfy { $0["source"]?.stringValue?.isEmpty == false })
    XCTAssertTrue(rows.contains { $0["reconstruction"]?.boolValue == true })
    let pages = Fixtures.url("../../Documentation/Methods").standardizedFileURL
    for row in rows {
      let id = try XCTUnwrap(row["id"]?.stringValue)
      let page = pages.appendingPathComponent("\(id).md").path
      XCTAssertTrue(FileManager.default.fileExists(atPath: page), id)
    }
  }

  func testARunComparesMethodsOverSeeds() throws {
    let folder = try TemporaryFolder()
    let path = try experiment(folder, #"{"id": "joint"}, {"id": "ogm", "label": "ogm-strong", "alpha": 1.0}"#)
    let run = folder.path("run")
    let result = try JSONValue(
      parsing: [UInt8](Program.succeed(["bench", "run", path, "-o", run, "--json", "-q"]).output.utf8))
    XCTAssertEqual(result["reference"]?.stringValue, "joint")
    let methods = try XCTUnwrap(result["rows"]?.arrayValue)
    XCTAssertEqual(methods.map { $0["label"]?.stringValue }, ["joint", "ogm-strong"])
    for row in methods {
      XCTAssertEqual(row["values"]?.arrayValue?.count, 2)
      XCTAssertEqual(row["unimodal_accuracy"]?.arrayValue?.count, 2)
      let accuracy = try XCTUnwrap(row["mean"]?.doubleValue)
      XCTAssertTrue((0.02...1).contains(accuracy))
    }
    XCTAssertTrue(methods[0]["difference"]?.isNull ?? false)
    XCTAssertFalse(methods[1]["difference"]?.isNull ?? true)
    for name in ["results.json", "results.csv", "runs/joint-seed0/result.json"] {
      XCTAssertTrue(FileManager.default.fileExists(atPath: run + "/" + name), name)
    }
    // The table of the run is that of `bench table`.
    let table = try Program.succeed(["bench", "table", run, "--json"]).output
    XCTAssertEqual(try JSONValue(parsing: [UInt8](table.utf8)), result)
    let stored = try JSONValue(
      parsing: [UInt8](Data(contentsOf: URL(fileURLWithPath: run + "/results.json"))))
    XCTAssertEqual(stored["notes"], result["notes"])
    XCTAssertEqual(stored["data"], "avdigits")
    // Everything is there: resuming computes nothing and prints the same.
    let again = try Program.succeed(["bench", "run", path, "-o", run, "--json", "--resume"])
    XCTAssertEqual(try JSONValue(parsing: [UInt8](again.output.utf8)), result)
    XCTAssertTrue(again.errors.contains("done before"), again.errors)
  }

  func testComposedMethodsTheirWorkAndCorruptedModalities() throws {
    let folder = try TemporaryFolder()
    let path = try experiment(
      folder, #"{"id": "joint"}, {"id": "opm+mmpareto", "opm": {"warmup_epochs": 0}}"#)
    let run = folder.path("run")
    let text = try Program.succeed(["bench", "run", path, "-o", run, "-q"]).output
    for word in ["Gop", "x joint", "alone image", "φ audio", "composed", "corrupted", "noise 0.5"] {
      XCTAssertTrue(text.contains(word), "\(word): \(text)")
    }
    func document(_ name: String) throws -> JSONValue {
      try JSONValue(parsing: [UInt8](Data(contentsOf: URL(fileURLWithPath: run + "/" + name))))
    }
    let rows = try XCTUnwrap(document("results.json")["rows"]?.arrayValue)
    XCTAssertEqual(rows[1]["label"]?.stringValue, "opm+mmpareto")
    let ratio = try XCTUnwrap(rows[1]["operations_ratio"]?.doubleValue)
    XCTAssertTrue((1.5...2).contains(ratio), "\(ratio)")
    let result = try document("runs/opm+mmpareto-seed1/result.json")
    XCTAssertEqual(result["method"]?.stringValue, "opm+mmpareto")
    XCTAssertEqual(result["operations"]?["teachers"]?.intValue, 0)
    XCTAssertEqual(result["robustness"]?["modalities"]?.arrayValue?.count, 2)
    let epochs = run + "/runs/joint-seed0/epochs.csv"
    XCTAssertTrue(
      String(decoding: try Data(contentsOf: URL(fileURLWithPath: epochs)), as: UTF8.self)
        .contains("validation.accuracy"))
    let table = try Program.succeed(["bench", "table", run, "--corrupted"]).output
    XCTAssertTrue(table.contains("shuffled"), table)
    XCTAssertEqual(
      try Program.run(["bench", "table", run, "--corrupted", "--format", "csv"]).status,
      ExitStatus.usage.rawValue)
    XCTAssertTrue(try Program.succeed(["bench", "list"]).output.contains("\"opm+ogm-ge\""))
  }

  /// Encoders that an earlier experiment in the folder learned from are not taken for those of the next.
  func testOverwritingLeavesNoTeachers() throws {
    let folder = try TemporaryFolder()
    let run = folder.path("run")
    let learning = try experiment(folder, #"{"id": "joint"}, {"id": "umt"}"#)
    _ = try Program.succeed(["bench", "run", learning, "-o", run, "-q"])
    let text = try String(contentsOfFile: learning, encoding: .utf8)
    let other = text.replacingOccurrences(of: #"["image", "audio"]"#, with: #"["audio", "image"]"#)
      .replacingOccurrences(of: #", {"id": "umt"}"#, with: "")
    XCTAssertNotEqual(other, text)
    try Data(other.utf8).write(to: URL(fileURLWithPath: learning))
    _ = try Program.succeed(["bench", "run", learning, "-o", run, "-q", "--overwrite"])
    XCTAssertFalse(FileManager.default.fileExists(atPath: run + "/runs/teachers-seed0"))
  }

  func testThreadsChangeNoByte() throws {
    let folder = try TemporaryFolder()
    let path = try experiment(folder, #"{"id": "joint"}, {"id": "agm"}, {"id": "mmpareto"}"#)
    var outputs: Set<String> = []
    for threads in 1...3 {
      let run = folder.path("run\(threads)")
      _ = try Program.succeed(["bench", "run", path, "-o", run, "-q", "--threads", "\(threads)"])
      outputs.insert(
        String(decoding: try Data(contentsOf: URL(fileURLWithPath: run + "/results.json")), as: UTF8.self))
    }
    XCTAssertEqual(outputs.count, 1)
  }

  func testPresetsArePlannedWithTheirMethods() throws {
    for (preset, width) in [("avdigits", 2), ("avdigits-three", 3), ("avdigits-transformer", 2)] {
      let plan = try JSONValue(
        parsing: [UInt8](
          Program.succeed(["bench", "run", "--preset", preset, "--data", data, "--dry-run", "--json"]).output
            .utf8))
      XCTAssertEqual(plan["seeds"]?.arrayValue?.count, 10)
      XCTAssertEqual(plan["methods"]?.arrayValue?.count, 26 + width)
      let quick = try JSONValue(
        parsing: [UInt8](
          Program.succeed([
            "bench", "run", "--preset", preset, "--data", data, "--dry-run", "--json", "--quick", "--methods",
            "joint,opm",
          ]).output.utf8))
      XCTAssertEqual(quick["runs"]?.intValue, 6)
    }
  }

  func testMistakesAreRefusedWithTheirPlace() throws {
    let folder = try TemporaryFolder()
    let cases: [(methods: String, more: String, status: ExitStatus, text: String)] = [
      (#"{"id": "ogn"}"#, "", .data, "\"ogm\""),
      (#"{"id": "ogm", "alpah": 1}"#, "", .data, "\"alpha\""),
      (#"{"id": "ogm", "alpha": -1}"#, "", .data, "alpha"),
      (#"{"id": "opm+ogm", "ogm": {"alpah": 1}}"#, "", .data, "\"alpha\""),
      (#"{"id": "cml+agm"}"#, "", .unsupported, "a loss of their own"),
      (#"{"id": "joint"}, {"id": "joint"}"#, "", .data, "label"),
      (#"{"id": "joint", "label": "../x"}"#, "", .data, "letters"),
      (#"{"id": "ogm", "label": "teachers"}"#, "", .data, "learn from"),
      (#"{"id": "joint"}"#, #""reference": "none","#, .data, "reference"),
      (#"{"id": "unimodal", "modality": "text"}"#, "", .data, "image, audio"),
      ("", "", .data, "methods"),
      (#"{"id": "joint"}"#, #""encoders": "resnet19","#, .data, "'resnet18'"),
      (
        #"{"id": "joint"}"#, #""encoders": {"audio": {"type": "cnn", "width": 2}},"#, .data,
        "encoders.audio.width"
      ),
      (#"{"id": "joint"}"#, #""encoders": {"image": "vit"},"#, .usage, "patches"),
    ]
    for (methods, more, status, text) in cases {
      let path = try experiment(folder, methods, more: more)
      let result = try Program.run(["bench", "run", path, "--dry-run"])
      XCTAssertEqual(result.status, status.rawValue, "\(methods): \(result.errors)")
      XCTAssertTrue(result.errors.contains(text), "\(methods): \(result.errors)")
    }
    _ = try Program.succeed([
      "bench", "run", try experiment(folder, #"{"id": "unimodal-ensemble", "label": "teachers"}"#),
      "--dry-run",
    ])
    let preset = ["bench", "run", "--preset", "avdigits", "--dry-run"]
    let other = ["bench", "run", "--preset", "cremad-resnet18", "--dry-run", "--data", data]
    let lacking = try Program.run(other)
    XCTAssertEqual(lacking.status, ExitStatus.usage.rawValue, lacking.errors)
    XCTAssertTrue(lacking.errors.contains("\"visual\""), lacking.errors)
    let missing = try Program.run(preset + ["--data", folder.path("none")])
    XCTAssertEqual(missing.status, ExitStatus.missingInput.rawValue, missing.errors)
    XCTAssertEqual(
      try Program.run(preset + ["--data", data, "--methods", "jiont"]).status, ExitStatus.data.rawValue)
    for usage in [
      ["bench", "run"], ["bench", "list", "--quick"], ["bench", "walk"],
      ["bench", "run", "file.json", "--preset", "avdigits", "--dry-run"],
      ["bench", "run", "file.json", "--quick", "--dry-run"],
    ] {
      XCTAssertEqual(try Program.run(usage).status, ExitStatus.usage.rawValue, usage.joined(separator: " "))
    }
  }
}
