import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

/// `mmprobe data` as a user runs it.
final class DataCommandTests: XCTestCase {
  private let words = [
    "--samples", "400", "--dimensions", "8", "--redundant", "0", "--unique", "2,0", "--noise", "0.2",
  ]

  private func json(_ outcome: Program.Outcome) throws -> JSONValue {
    try JSONValue(parsing: [UInt8](outcome.output.utf8))
  }

  /// CMU-MOSEI as archives, which need no decoder.
  private func mosei(_ folder: TemporaryFolder) throws -> String {
    let data = folder.url("mosei")
    try FileManager.default.createDirectory(at: data, withIntermediateDirectories: true)
    for (split, count) in [("train", 20), ("valid", 4), ("test", 4)] {
      var arrays = [
        try StoredTensor(name: "labels", shape: [count], floats: (0..<count).map { Float($0 % 3) - 1 })
      ]
      for (name, width) in [("text", 4), ("audio", 3), ("vision", 2)] {
        arrays.append(
          try StoredTensor(
            name: name, shape: [count, 2, width], floats: (0..<count * 2 * width).map { Float($0 + 1) }))
      }
      try NPZArchive.write(arrays, to: data.appendingPathComponent("\(split).npz").path)
    }
    return data.path
  }

  func testPackCheckAndInfo() throws {
    let folder = try TemporaryFolder()
    let source = try mosei(folder)
    let packed = folder.path("packed")
    XCTAssertEqual(try Program.succeed(["data", "check", "mosei", source]).output, "no problem found\n")
    let info = try json(Program.succeed(["data", "pack", "mosei", source, "-o", packed, "--json", "-q"]))
    XCTAssertEqual(info["splits"]?.arrayValue?.compactMap { $0["samples"]?.intValue }, [20, 4, 4])
    XCTAssertEqual(try json(Program.succeed(["data", "info", packed, "--json"])), info)
    let text = try Program.succeed(["data", "info", packed]).output
    XCTAssertTrue(text.contains("mosei: 2 classes"), text)
    XCTAssertTrue(text.contains("sequence of vectors of 4"), text)
    XCTAssertEqual(try Program.succeed(["data", "check", packed, "-q"]).output, "no problem found\n")
    XCTAssertEqual(try Program.run(["data", "pack", "mosei", source, "-o", packed]).status, 73)

    let shard = folder.url("packed/test-00000.safetensors")
    var bytes = try Data(contentsOf: shard)
    bytes[bytes.count - 1] ^= 64
    try bytes.write(to: shard)
    let changed = try Program.run(["data", "check", packed, "-q"])
    XCTAssertEqual(changed.status, 65)
    XCTAssertTrue(changed.output.contains("[hash_mismatch]"), changed.output)
  }

  func testProblemsAreListedWithFileLineAndStatus() throws {
    let folder = try TemporaryFolder()
    let data = folder.url("cremad")
    try FileManager.default.createDirectory(at: data, withIntermediateDirectories: true)
    try Data("a,HAP\nb,GLAD\n".utf8).write(to: data.appendingPathComponent("train.csv"))
    try Data("a,HAP\n".utf8).write(to: data.appendingPathComponent("test.csv"))
    let outcome = try Program.run(["data", "check", "cremad", data.path])
    XCTAssertEqual(outcome.status, 65)
    let lines = outcome.output.split(separator: "\n")
    XCTAssertEqual(lines.count, 9, outcome.output)
    XCTAssertTrue(
      outcome.output.contains("train.csv:2: the class \"GLAD\" is not known, expected one of NEU, HAP"),
      outcome.output)
    XCTAssertTrue(outcome.output.contains("[split_overlap]"), outcome.output)
    XCTAssertEqual(lines.last, "8 problems")
    let document = try json(Program.run(["data", "check", "cremad", data.path, "--json"]))
    XCTAssertEqual(document["problem_count"]?.intValue, 8)
    XCTAssertEqual(document["problems"]?.arrayValue?.count, 8)
    XCTAssertEqual(document["problems"]?.arrayValue?.first?["line"]?.intValue, 1)
    let packing = try Program.run(["data", "pack", "cremad", data.path, "-o", folder.path("out")])
    XCTAssertEqual(packing.status, 65)
    XCTAssertTrue(packing.errors.contains("and 7 more"), packing.errors)
    XCTAssertFalse(FileManager.default.fileExists(atPath: folder.path("out")))
  }

  func testAFullDiskIsOneErrorAndAKilledPackingGoesOn() throws {
    let folder = try TemporaryFolder()
    let whole = folder.path("whole")
    let count = folder.path("count")
    try Program.succeed(
      ["data", "synthesize", "-o", whole, "-q"] + words, environment: ["MMPROBE_FAULT_COUNT": count])
    let points = try XCTUnwrap(
      Int(String(contentsOfFile: count, encoding: .utf8).trimmingCharacters(in: .whitespacesAndNewlines)))
    XCTAssertGreaterThan(points, 15)
    let names = try FileManager.default.contentsOfDirectory(atPath: whole).sorted()
    for point in 1...points {
      let packed = folder.path("packed-\(point)")
      let line = ["data", "synthesize", "-o", packed] + words
      if point % 2 == 0 {
        let full = try Program.run(line, environment: ["MMPROBE_FAULT_FAIL": "\(point):ENOSPC"])
        XCTAssertEqual(full.status, 74, full.errors)
        XCTAssertTrue(full.errors.contains("the disk is full"), full.errors)
        XCTAssertEqual(full.errors.components(separatedBy: "error:").count, 2, full.errors)
      } else {
        let killed = try Program.run(line, environment: ["MMPROBE_FAULT_KILL": "\(point)"])
        XCTAssertEqual(killed.status, 9, killed.errors)
      }
      try Program.succeed(line + ["--resume"])
      XCTAssertEqual(
        try FileManager.default.contentsOfDirectory(atPath: packed).sorted(), names, "point \(point)")
      for name in names {
        XCTAssertEqual(
          try Data(contentsOf: folder.url("packed-\(point)/\(name)")),
          try Data(contentsOf: folder.url("whole/\(name)")))
      }
    }
  }

  func testABenchmarkRunsOnPackedData() throws {
    let folder = try TemporaryFolder()
    let packed = folder.path("packed")
    try Program.succeed(["data", "synthesize", "-o", packed, "-q", "--seed", "3"] + words)
    let text = """
      {"data": "\(packed)", "modalities": ["visual", "audio"], "seeds": 1,
       "training": {"epochs": 30, "batch_size": 35, "learning_rate": 0.1}, "methods": [{"id": "joint"}]}
      """
    try Data(text.utf8).write(to: folder.url("experiment.json"))
    let line = ["bench", "run", folder.path("experiment.json"), "-o", folder.path("run"), "--json", "-q"]
    let result = try json(Program.succeed(line))
    let row = try XCTUnwrap(result["rows"]?.arrayValue?.first)
    // Audio knows both bits of four classes and visual none.
    XCTAssertGreaterThan(try XCTUnwrap(row["mean"]?.doubleValue), 0.95)

    try Data(text.replacingOccurrences(of: "\"visual\"", with: "\"smell\"").utf8).write(
      to: folder.url("experiment.json"))
    let unknown = try Program.run(line)
    XCTAssertEqual(unknown.status, 65)
    XCTAssertTrue(unknown.errors.contains("it has audio, visual"), unknown.errors)

    let sequences = folder.path("sequences")
    try Program.succeed(["data", "pack", "mosei", try mosei(folder), "-o", sequences, "-q"])
    try Data(
      text.replacingOccurrences(of: packed, with: sequences).replacingOccurrences(of: "visual", with: "text")
        .utf8
    ).write(to: folder.url("experiment.json"))
    let refused = try Program.run(line)
    XCTAssertEqual(refused.status, 69, refused.errors)
    XCTAssertTrue(refused.errors.contains("no encoder takes the modality"), refused.errors)
  }

  func testCommandLinesThatMeanNothingAreRefused() throws {
    for line in [
      "data", "data mend", "data pack", "data pack cremad", "data pack cremad x", "data pack cremat x -o y",
      "data info", "data info x y", "data check", "data check x --decode", "data synthesize",
      "data synthesize -o y --frames 3", "data pack cremad x -o y --samples 40",
      "data synthesize -o y --unique a",
      "data synthesize -o y --unique 1", "data pack cremad x -o y --input-size 300", "data synthesize x -o y",
      "data pack mosei x -o y --classes 4", "data pack cremad x -o y --classes 3",
      "data pack mosei x -o y --frames 3", "data pack food101 x -o y --sound fbank",
      "data pack cremad x -o y --sound-frames 100", "data check vggsound x --seconds 2",
      "data pack cremad x -o y --resume --overwrite",
    ] {
      XCTAssertEqual(try Program.run(line.split(separator: " ").map(String.init)).status, 64, line)
    }
    // Options that a layout has get past this, to a folder that is not there.
    for line in [
      "data check vggsound nowhere --sound log-stft --seconds 2",
      "data check food101 nowhere --image-size 300",
      "data check cremad nowhere --sound fbank --sound-frames 100", "data check ucf101 nowhere --frames 3",
      "data check mosei nowhere --classes 3", "data check balancedav nowhere --fit crop --frames 1",
    ] {
      XCTAssertEqual(try Program.run(line.split(separator: " ").map(String.init)).status, 66, line)
    }
    XCTAssertEqual(try Program.run(["data", "info", "nowhere"]).status, 66)
    XCTAssertEqual(try Program.run(["data", "check", "cremad", "nowhere"]).status, 66)
  }
}
