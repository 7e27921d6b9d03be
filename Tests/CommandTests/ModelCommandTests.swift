import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

/// Commands that run a model: their results, and that nothing else is printed with `--json`.
final class ModelCommandTests: XCTestCase {
  private let llama = Fixtures.url("llama").path

  private func json(_ arguments: [String], status: Int32 = 0) throws -> JSONValue {
    let outcome = try Program.run(arguments + ["--json", "--quiet"])
    XCTAssertEqual(outcome.status, status, "\(arguments): \(outcome.errors)")
    XCTAssertEqual(outcome.errors, "", "\(arguments)")
    return try JSONValue(parsing: outcome.output)
  }

  func testInspectSaysWhatTheEmbeddedModelIs() throws {
    let result = try json(["inspect", Embedded.model])
    XCTAssertEqual(result["family"], "avt_llama")
    XCTAssertEqual(result["layers"], 4)
    XCTAssertEqual(result["parameters"], 845_312)
    XCTAssertEqual(result["media"]?.arrayValue?.map { $0["tokens"] }, [16, 24])
    XCTAssertEqual(result["types"]?.arrayValue?.map { $0["type"] }, ["BF16"])
    let families = try json(["inspect", "--families"])["families"]?.arrayValue?.compactMap {
      $0["model_type"]?.stringValue
    }
    XCTAssertEqual(
      families,
      [
        "avt_llama", "chameleon", "idefics3", "llama", "llava", "llava_next", "qwen2", "qwen2_5_vl",
        "qwen2_audio",
        "qwen2_vl", "smolvlm",
      ])
  }

  func testTokensShowRolesAndMedia() throws {
    let result = try json(["tokens", llama, "--text", "hello world"])
    XCTAssertEqual(result["tokens"]?.arrayValue?.first?["role"], "bos")
    XCTAssertEqual(result["roles"]?["question"], 7)
    XCTAssertEqual(result["count"], 8)
  }

  func testGenerateGivesTheSameAnswerForTheSameSeed() throws {
    let line = ["generate", llama, "--text", "hello", "--max-new-tokens", "8", "--temperature", "2"]
    let first = try json(line + ["--seed", "5"])
    XCTAssertEqual(first, try json(line + ["--seed", "5"]))
    XCTAssertNotEqual(first["ids"], try json(line + ["--seed", "6"])["ids"])
    XCTAssertEqual(first["ids"]?.arrayValue?.count, 8)
  }

  func testEvalCountsExactMatches() throws {
    let result = try json([
      "eval", Embedded.model, "--data", Embedded.data, "-n", "60", "--by", "hint,type+hint",
    ])
    let accuracy = try XCTUnwrap(result["accuracy"]?.doubleValue)
    let correct = try XCTUnwrap(result["correct"]?.intValue)
    XCTAssertEqual(result["n"], 60)
    XCTAssertEqual(accuracy, Double(correct) / 60)
    // 88.7 % of all test questions are answered rightly; of 60 at least two thirds.
    XCTAssertGreaterThan(accuracy, 2.0 / 3)
    XCTAssertEqual(result["by"]?.objectValue?.keys, ["hint", "type+hint"])
    let parts = result["by"]?["hint"]?.objectValue?.members.compactMap { $0.value["n"]?.intValue } ?? []
    XCTAssertEqual(parts.reduce(0, +), 60)
    XCTAssertEqual(
      try json([
        "eval", Embedded.model, "--data", Embedded.data, "-n", "60", "--by", "hint,type+hint", "--batch", "7",
      ]), result)
  }

  func testVerifyPassesOnTheReferenceAndMissesOnAChangedOne() throws {
    let reference = Fixtures.url("llama/expected.safetensors").path
    let passed = try json(["verify", llama, "--reference", reference])
    XCTAssertEqual(passed["passed"], true)
    XCTAssertEqual(passed["tensors"], 38)
    XCTAssertEqual(passed["not_compared"]?.arrayValue?.map { $0["name"] }, ["left_defaultpos.logits"])

    let folder = try TemporaryFolder()
    let file = try SafetensorsFile(path: reference)
    for (change, name) in [(Float(0.001), "changed"), (Float.nan, "nan")] {
      let tensors = try file.tensors.map { tensor -> StoredTensor in
        guard tensor.name == "b.hidden.2" else { return tensor }
        var values = try tensor.floats()
        values[17] += change
        return try StoredTensor(name: tensor.name, shape: tensor.shape, floats: values)
      }
      try SafetensorsWriter.write(tensors: tensors, to: folder.path(name))
      let missed = try json(["verify", llama, "--reference", folder.path(name)], status: 3)
      let rows = missed["compared"]?.arrayValue ?? []
      XCTAssertEqual(rows.filter { $0["passed"] == false }.map { $0["name"] }, ["b.hidden.2"])
    }
  }

  /// Folders of real families: every reference tensor by the command, and every command on an image file.
  func testCommandsWorkOnRealFamilies() throws {
    for (name, tensors) in [("llava", 33), ("llava_next", 37), ("chameleon", 19), ("qwen2_text", 19)] {
      let folder = Fixtures.url(name).path
      let passed = try json(["verify", folder, "--reference", folder + "/expected.safetensors"])
      XCTAssertEqual(passed["passed"], true, name)
      XCTAssertEqual(passed["tensors"]?.intValue, tensors, name)
      XCTAssertEqual(try json(["verify", folder])["passed"], true, name)
      XCTAssertEqual(
        try json(["inspect", folder])["family"]?.stringValue, name == "qwen2_text" ? "qwen2" : name)
    }
    let temporary = try TemporaryFolder()
    var pixels = Array("P6\n40 31\n255\n".utf8)
    pixels += (0..<40 * 31 * 3).map { UInt8($0 * 37 % 251) }
    let image = temporary.path("image.ppm")
    try Data(pixels).write(to: URL(fileURLWithPath: image))
    for (name, rows) in [("llava", 16), ("llava_next", 0)] {
      let sample = [Fixtures.url(name).path, "--image", image, "--text", "What is it?"]
      let counts = try json(["tokens"] + sample)
      XCTAssertTrue(counts.text().contains("image"), name)
      let generated = try json(["generate"] + sample + ["--max-new-tokens", "3"])
      XCTAssertNotNil(generated["text"] ?? generated["answer"], name)
      let measured = try json(["attention"] + sample + ["--queries", "last"])
      let groups = measured["groups"]?.arrayValue ?? []
      let share = groups.first { $0["name"] == "image" }?["share"]?["mean"]?.doubleValue ?? 0
      XCTAssertGreaterThan(share, 0, name)
      if rows > 0 { XCTAssertEqual(measured["data"]?["tokens"]?["image"]?["mean"]?.intValue, rows) }
      let contributed = try json(["contribution"] + sample)
      XCTAssertTrue(contributed.text().contains("image"), name)
    }
  }

  func testVerifyWithoutAReferenceChecksInvariants() throws {
    let passed = try json(["verify", Embedded.model])
    XCTAssertEqual(passed["passed"], true)
    XCTAssertEqual(passed["checks"]?.arrayValue?.count, 6)

    // A checkpoint with one NaN: the tensor is named, and nothing is computed with it.
    let folder = try TemporaryFolder()
    for name in ["config.json", "tokenizer.model"] {
      try FileManager.default.copyItem(at: Fixtures.url("llama/\(name)"), to: folder.url(name))
    }
    let weights = try SafetensorsFile(path: Fixtures.url("llama/model.safetensors").path)
    let tensors = try weights.tensors.map { tensor -> StoredTensor in
      guard tensor.name == "model.layers.1.mlp.up_proj.weight" else { return tensor }
      var values = try tensor.floats()
      values[values.count - 1] = .nan
      return try StoredTensor(name: tensor.name, shape: tensor.shape, floats: values)
    }
    try SafetensorsWriter.write(tensors: tensors, to: folder.path("model.safetensors"))
    let missed = try json(["verify", folder.path("")], status: 3)
    XCTAssertEqual(
      missed["checks"]?.arrayValue?.map { $0["detail"] },
      ["tensor \"model.layers.1.mlp.up_proj.weight\" holds NaN or infinity"])
  }

  func testTraceGivesTheSameBytesForAnyNumberOfThreads() throws {
    let folder = try TemporaryFolder()
    // 700 rows: several tiles of rows and blocks of queries in every kernel.
    var stream = RandomStream(seed: 3, purpose: "trace test")
    let ids = (0..<2 * 700).map { _ in 8 + stream.integer(below: 400) }
    try SafetensorsWriter.write(
      tensors: [StoredTensor(name: "input_ids", shape: [2, 700], integers: ids)], to: folder.path("in"))
    var first: Data?
    for threads in ["1", "2", "3", "5"] {
      let output = folder.url("out-\(threads)")
      _ = try json([
        "trace", llama, "--inputs", folder.path("in"), "-o", output.path, "--threads", threads, "--capture",
        "logits,hidden.0,hidden.3,attention.1,layers.2.gate",
      ])
      let bytes = try Data(contentsOf: output)
      XCTAssertEqual(first ?? bytes, bytes, "\(threads) threads")
      first = bytes
    }
  }

  func testTraceRefusesUnknownNamesWithASuggestion() throws {
    let folder = try TemporaryFolder()
    let outcome = try Program.run([
      "trace", llama, "--inputs", folder.path("in"), "-o", folder.path("out"), "--capture", "layers.1.querry",
    ])
    XCTAssertEqual(outcome.status, 64)
    XCTAssertTrue(outcome.errors.contains("Did you mean \"layers.1.query\"?"), outcome.errors)
  }

  func testTraceDoesNotReplaceItsInputs() throws {
    let folder = try TemporaryFolder()
    try SafetensorsWriter.write(
      tensors: [StoredTensor(name: "input_ids", shape: [1, 3], integers: [10, 11, 12])],
      to: folder.path("in.safetensors"))
    try FileManager.default.createSymbolicLink(
      at: folder.url("link.safetensors"), withDestinationURL: folder.url("in.safetensors"))
    let before = try Data(contentsOf: folder.url("in.safetensors"))
    for name in ["in.safetensors", "link.safetensors"] {
      let outcome = try Program.run([
        "trace", llama, "--inputs", folder.path("in.safetensors"), "-o", folder.path(name),
      ])
      XCTAssertEqual(outcome.status, 64)
      XCTAssertTrue(outcome.errors.contains("--output would replace the file of --inputs"), outcome.errors)
    }
    XCTAssertEqual(try Data(contentsOf: folder.url("in.safetensors")), before)
  }

  /// Patches of Qwen's families stand under prefixes of their own and serve the cases with their grids.
  func testVerifyFindsMediaUnderOtherPrefixes() throws {
    for (name, tensors) in [("qwen2_vl", 20), ("qwen2_5_vl", 30)] {
      let folder = Fixtures.url(name).path
      let passed = try json(["verify", folder, "--reference", folder + "/expected.safetensors"])
      XCTAssertEqual(passed["passed"], true, name)
      let names = passed["compared"]?.arrayValue?.compactMap { $0["name"]?.stringValue } ?? []
      XCTAssertGreaterThan(names.count, tensors, name)
      for expected in ["AB.logits", "left.logits", "visionB.merged", "visionB.block.0"] {
        XCTAssertTrue(names.contains(expected), "\(name): \(expected)")
      }
      print("\(name): \(names.count) tensors compared")
    }
  }

  func testBenchForwardMeasuresEveryPass() throws {
    let folder = try TemporaryFolder()
    try SafetensorsWriter.write(
      tensors: [StoredTensor(name: "input_ids", shape: [1, 20], integers: Array(10..<30))],
      to: folder.path("in"))
    let result = try json([
      "bench-forward", llama, "--inputs", folder.path("in"), "--statistics", "--repeat", "3", "--warmup", "1",
    ])
    XCTAssertEqual(result["seconds"]?.arrayValue?.count, 3)
    // 3 layers x 8 heads x 20 rows, each row of shares sums to 1 within float32.
    XCTAssertEqual(try XCTUnwrap(result["share_sum"]?.doubleValue), 480, accuracy: 1e-3)
    XCTAssertNotNil(result["peak_anonymous_bytes"]?.intValue)
  }

  func testDoctorSaysWhatItFinds() throws {
    let result = try json(["doctor", "--threads", "1"])
    XCTAssertEqual(result["threads"], 1)
    XCTAssertGreaterThan(try XCTUnwrap(result["gflops"]?.doubleValue), 0)
  }
}
