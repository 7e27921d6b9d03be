import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

/// What `mmprobe data` and `mmprobe bench` say of data sets and experiments that cannot be used.
///
/// Documentation/Classic/data.md shows the messages; `MMPROBE_UPDATE_HELP=1` writes its table anew.
final class BadBenchDataTests: XCTestCase {
  private let digits = Fixtures.url("../../datasets/avdigits").standardizedFileURL.path
  private var folder: TemporaryFolder!

  override func setUpWithError() throws { folder = try TemporaryFolder() }
  override func tearDown() { folder = nil }

  // MARK: Data sets

  private func write(_ text: String, _ name: String) throws { try write(Data(text.utf8), name) }

  private func write(_ data: Data, _ name: String) throws {
    let url = folder.url(name)
    try FileManager.default.createDirectory(
      at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
    try data.write(to: url)
  }

  private func features(_ name: String, _ value: Float = 1) throws {
    let url = folder.url(name)
    try FileManager.default.createDirectory(
      at: url.deletingLastPathComponent(), withIntermediateDirectories: true)
    try NPYFile.write(StoredTensor(name: "a", shape: [2, 2], floats: [1, 2, 3, value]), to: url.path)
  }

  /// Twelve samples in the layout of CREMA-D, with features of sound and pictures that need no decoder.
  private func tree(_ name: String, _ change: (String) throws -> Void) throws -> String {
    for (split, ids) in [("train", 0..<8), ("test", 8..<12)] {
      let lines = ids.map { "s\($0),\($0 % 2 == 0 ? "HAP" : "SAD")\n" }
      try write(lines.joined(), "\(name)/\(split).csv")
      for id in ids {
        try features("\(name)/audio/s\(id).npy")
        for frame in 1...2 {
          try write("P6\n2 2\n255\nabcdefghijkl", "\(name)/visual/s\(id)/\(frame).ppm")
        }
      }
    }
    try change(name + "/")
    return folder.path(name)
  }

  private func remove(_ name: String) throws { try FileManager.default.removeItem(at: folder.url(name)) }

  private func check(
    _ what: String, _ name: String, finds fragment: String, _ change: (String) throws -> Void
  )
    throws -> RefusedCase
  {
    RefusedCase(
      what: what, arguments: ["data", "check", "cremad", try tree(name, change)], status: 65,
      fragment: fragment)
  }

  private let pointer = "version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n"
  private let unknown = "s0,HAP\ns1,SAD\ns2,GLAD\n"

  private func dataCases() throws -> [RefusedCase] {
    let several = { (name: String) in
      try self.write(self.unknown, name + "train.csv")
      try self.write(self.pointer, name + "audio/s0.npy")
      try self.remove(name + "visual/s9")
    }
    return [
      try check("a list that is missing", "list", finds: "missing_list") { try remove($0 + "train.csv") },
      try check("an unknown class in a list", "class", finds: "unknown_class") {
        try write(unknown, $0 + "train.csv")
      },
      try check("a sample without one modality", "modality", finds: "missing_modality") {
        try remove($0 + "audio/s3.npy")
      },
      try check("a git-LFS pointer", "pointer", finds: "git lfs pull") {
        try write(pointer, $0 + "audio/s3.npy")
      },
      try check("features with NaN", "nan", finds: "not_finite") { try features($0 + "audio/s3.npy", .nan) },
      try check("features of another shape", "shape", finds: "wrong_shape") {
        try NPYFile.write(
          StoredTensor(name: "a", shape: [3], floats: [1, 2, 3]), to: folder.path($0 + "audio/s3.npy"))
      },
      try check("a recording that ends early", "early", finds: "its header promises") {
        try remove($0 + "audio/s3.npy")
        let header = Array("RIFF".utf8) + [0, 16, 0, 0] + Array("WAVE".utf8)
        try write(Data(header), $0 + "audio/s3.wav")
      },
      try check("a clip with one frame", "frames", finds: "too_few_frames") {
        try remove($0 + "visual/s3/2.ppm")
      },
      try check("a pickle", "pickle", finds: "refused_format") {
        try remove($0 + "audio/s3.npy")
        try write("x", $0 + "audio/s3.pkl")
      },
      try check("one sample in two splits", "overlap", finds: "split_overlap") {
        try write("s0,HAP\ns8,HAP\ns9,SAD\n", $0 + "test.csv")
      },
      try check("several of these", "several", finds: "3 problems", several),
      RefusedCase(
        what: "the same, packed",
        arguments: ["data", "pack", "cremad", folder.path("several"), "-o", folder.path("packed"), "-q"],
        status: 65, fragment: "and 2 more"),
    ]
  }

  // MARK: Experiments

  private func experiment(_ name: String, data: String, _ more: String) throws -> [String] {
    try write(
      """
      {"data": "\(data)", "modalities": ["audio", "visual"], \(more)}
      """, name)
    return ["bench", "run", folder.path(name), "--dry-run"]
  }

  /// Synthetic vectors, the last number of which is not one.
  private func poisoned() throws -> String {
    let packed = folder.path("poisoned")
    _ = try Program.succeed(["data", "synthesize", "-o", packed, "--samples", "100", "-q"])
    let names = try FileManager.default.subpathsOfDirectory(atPath: packed).sorted()
    let shard = URL(fileURLWithPath: packed).appendingPathComponent(
      try XCTUnwrap(names.first { $0.contains("train") && $0.hasSuffix(".safetensors") }))
    var bytes = try Data(contentsOf: shard)
    bytes.replaceSubrange(bytes.count - 4..<bytes.count, with: [0, 0, 0xC0, 0x7F])
    try bytes.write(to: shard)
    return packed
  }

  private func experimentCases() throws -> [RefusedCase] {
    let joint = #""methods": [{"id": "joint"}]"#
    let packed = try poisoned()
    let run = try experiment(
      "nan.json", data: packed, #""seeds": 1, "training": {"batch_size": 8}, "# + joint)
    return [
      RefusedCase(
        what: "a preset for other modalities",
        arguments: ["bench", "run", "--preset", "cremad-resnet18", "--data", digits, "--dry-run"], status: 64,
        fragment: "has no modality \"visual\""),
      RefusedCase(
        what: "data that are not there",
        arguments: [
          "bench", "run", "--preset", "cremad-resnet18", "--data", folder.path("nowhere"), "--dry-run",
        ], status: 66, fragment: "dataset.json: the file is missing"),
      RefusedCase(
        what: "packed features with NaN", arguments: run.dropLast() + ["-o", folder.path("run"), "-q"],
        status: 65, fragment: "NaN"),
      RefusedCase(
        what: "an option with a mistake",
        arguments: try experiment(
          "key.json", data: packed, #""training": {"learning_rat": 0.1}, "# + joint),
        status: 65, fragment: "learning_rate"),
      RefusedCase(
        what: "a method that is not known",
        arguments: try experiment("method.json", data: packed, #""methods": [{"id": "ogm_ge"}]"#), status: 65,
        fragment: "ogm-ge"),
      RefusedCase(
        what: "a batch beyond the training samples",
        arguments: try experiment("batch.json", data: packed, #""training": {"batch_size": 100}, "# + joint),
        status: 65, fragment: "training.batch_size: found 100"),
    ]
  }

  func testBadDataIsNamedWithItsStatus() throws {
    var table = "| input | command | status | message |\n| --- | --- | ---: | --- |\n"
    for refused in try dataCases() + experimentCases() {
      let outcome = try Program.run(refused.arguments)
      table += refused.row(of: outcome, words: 2, folder)
    }
    table = table.replacingOccurrences(of: digits, with: "datasets/avdigits")
    try PageTable.check(table, page: "Classic/data.md", section: "Bad data")
  }
}
