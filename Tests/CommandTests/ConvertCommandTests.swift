import Foundation
import TestSupport
import XCTest

@testable import RunKit

/// `mmprobe convert` and `mmprobe verify --against`: a copy of few bits works, is smaller, and is as near as it should be.
final class ConvertCommandTests: XCTestCase {
  private func json(_ arguments: [String]) throws -> JSONValue {
    try JSONValue(parsing: Array(Program.succeed(arguments + ["--json"]).output.utf8))
  }

  func testCopiesOfTheTrainedModelStayNear() throws {
    let folder = try TemporaryFolder()
    let model = Fixtures.url("avdigits_model").path
    let data = Fixtures.avdigitsData("test.qa.jsonl").path
    var divergences: [Double] = []
    for (weights, limit, size) in [("int8", 0.002, 0.6), ("int4", 0.5, 0.4)] {
      let copy = folder.path(weights)
      let summary = try json(["convert", model, "-o", copy, "--weights", weights, "--group-size", "32"])
      XCTAssertEqual(summary["quantised_matrices"]?.intValue, 28)
      // Embeddings stay in float32.
      let before = try XCTUnwrap(summary["bytes_before"]?.doubleValue)
      XCTAssertLessThan(try XCTUnwrap(summary["bytes_after"]?.doubleValue), size * before)
      let drift = try json(["verify", copy, "--against", model, "--data", data, "-n", "20"])
      let divergence = try XCTUnwrap(drift["mean_divergence_nats"]?.doubleValue)
      XCTAssertGreaterThan(divergence, 0)
      XCTAssertLessThan(divergence, limit)
      XCTAssertEqual(drift["samples"]?.intValue, 20)
      divergences.append(divergence)
      // Invariants hold for the copy itself.
      try Program.succeed(["verify", copy])
      let missed = try Program.run([
        "verify", copy, "--against", model, "--max-divergence", "1e-12",
      ])
      XCTAssertEqual(missed.status, 3, missed.errors)
    }
    XCTAssertLessThan(divergences[0], divergences[1] / 10)
    let same = try json(["verify", model, "--against", model])
    XCTAssertEqual(same["mean_divergence_nats"]?.doubleValue, 0)
  }

  func testWhatCannotBeConvertedIsRefused() throws {
    let folder = try TemporaryFolder()
    let model = Fixtures.url("avdigits_model").path
    let copy = folder.path("copy")
    try Program.succeed(["convert", model, "-o", copy])
    for (arguments, status, word) in [
      (["convert", copy, "-o", folder.path("again")], Int32(65), "quantised already"),
      (["convert", copy, "-o", copy], 65, "quantised already"),
      (["convert", model, "-o", model], 64, "own folder"),
      (["convert", model, "-o", folder.path("odd"), "--group-size", "48"], 64, "32, 64 or 128"),
      (["verify", copy, "--against", Fixtures.url("llama").path], 65, "another family"),
    ] {
      let outcome = try Program.run(arguments)
      XCTAssertEqual(outcome.status, status, outcome.errors)
      XCTAssertTrue(outcome.errors.contains(word), outcome.errors)
    }
    // Other programs look for these names.
    for name in ["model.safetensors", "model.safetensors.index.json"] {
      XCTAssertFalse(FileManager.default.fileExists(atPath: copy + "/" + name), name)
    }
    // Scales that are gone are one clear error.
    let file = URL(fileURLWithPath: copy + "/model-00001-of-00002.safetensors")
    var bytes = try Data(contentsOf: file)
    let name = Data("q_proj.weight.scale".utf8)
    let place = try XCTUnwrap(bytes.range(of: name))
    bytes.replaceSubrange(place, with: Data("q_proj.weight.skale".utf8))
    try bytes.write(to: file)
    let outcome = try Program.run(["inspect", copy])
    XCTAssertEqual(outcome.status, 65, outcome.errors)
  }

  /// The configuration says which weights are meant, not what else lies in the folder.
  func testQuantisedWeightsAreReadOnlyWhereTheConfigurationAsksForThem() throws {
    let folder = try TemporaryFolder()
    let (model, copy, plain) = (Fixtures.url("llama").path, folder.path("copy"), folder.path("plain"))
    try Program.succeed(["convert", model, "-o", copy, "--weights", "int4", "--group-size", "32"])
    try FileManager.default.copyItem(atPath: model, toPath: plain)
    try FileManager.default.copyItem(
      atPath: copy + "/quantised.safetensors", toPath: plain + "/quantised.safetensors")
    XCTAssertEqual(try json(["verify", plain, "--against", model])["mean_divergence_nats"]?.doubleValue, 0)
    try FileManager.default.removeItem(atPath: copy + "/config.json")
    try FileManager.default.copyItem(atPath: model + "/config.json", toPath: copy + "/config.json")
    let outcome = try Program.run(["inspect", copy])
    XCTAssertEqual(outcome.status, 66, outcome.errors)
    XCTAssertTrue(outcome.errors.contains("model.safetensors"), outcome.errors)
  }
}
