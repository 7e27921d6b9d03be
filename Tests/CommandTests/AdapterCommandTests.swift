import Foundation
import TensorCore
import TestSupport
import XCTest

/// `mmprobe adapter`, and runs with adapters: what is refused so that nothing is lost, mixed up or believed.
final class AdapterCommandTests: XCTestCase {
  private let llama = Fixtures.url("llama").path
  private let adapter = Fixtures.url("lora/adapter_qv").path

  /// Merging into a folder with files would leave old ones among the new: rotations, shards, quantised matrices.
  func testFoldersWithFilesAreNotWrittenInto() throws {
    let folder = try TemporaryFolder()
    let merged = folder.path("merged")
    let merge = ["adapter", "merge", adapter, "--model", llama, "-o", merged]
    try Program.succeed(merge)
    let again = try Program.run(merge)
    XCTAssertEqual(again.status, 73, again.errors)
    XCTAssertTrue(again.errors.contains("merged: found other files"), again.errors)
    let converted = try Program.run(["convert", llama, "-o", merged])
    XCTAssertEqual(converted.status, 73, converted.errors)
    let plain = try Program.run([
      "adapter", "extract", adapter, "--model", llama, "--modality", "text", "-o", folder.path("text"),
    ])
    XCTAssertEqual(plain.status, 64, plain.errors)
    XCTAssertTrue(plain.errors.contains("plain LoRA already"), plain.errors)
    let alpha = try Program.run(["adapter", "show", adapter, "--alpha", "3"])
    XCTAssertEqual(alpha.status, 64, alpha.errors)
  }

  func testNumbersThatAreNotFiniteAreNamedWithTheirFile() throws {
    let folder = try TemporaryFolder()
    let copy = folder.path("copy")
    try FileManager.default.copyItem(atPath: adapter, toPath: copy)
    let path = copy + "/adapter_model.safetensors"
    let file = try SafetensorsFile(path: path)
    let first = try XCTUnwrap(file.tensors.first)
    let tensors = try file.tensors.map { tensor in
      var values = try tensor.floats()
      if tensor.name == first.name { values[1] = .nan }
      return try StoredTensor(name: tensor.name, shape: tensor.shape, floats: values)
    }
    try FileManager.default.removeItem(atPath: path)
    try SafetensorsWriter.write(tensors: tensors, metadata: ["format": "pt"], to: path)
    for words in [
      ["adapter", "show", copy, "--model", llama],
      ["adapter", "merge", copy, "--model", llama, "-o", folder.path("merged")],
    ] {
      let outcome = try Program.run(words)
      XCTAssertEqual(outcome.status, 65, outcome.errors)
      XCTAssertTrue(outcome.errors.contains(first.name), outcome.errors)
      XCTAssertTrue(outcome.errors.contains("NaN or infinity"), outcome.errors)
    }
    XCTAssertFalse(FileManager.default.fileExists(atPath: folder.path("merged")))
  }

  /// A run goes on only with the media it began with, and comparing runs names media that differ.
  func testMediaBelongToARun() throws {
    let folder = try TemporaryFolder()
    let noisy = Fixtures.avdigitsData("test_noisy.safetensors").path
    func line(_ run: String, _ more: [String]) -> [String] {
      [
        "eval", Embedded.model, "--data", Embedded.data, "-n", "4", "--max-new-tokens", "1", "-q", "-o",
        folder.path(run),
      ] + more
    }
    try Program.succeed(line("a", []))
    let mixed = try Program.run(line("a", ["--media", noisy, "--resume"]))
    XCTAssertEqual(mixed.status, 65, mixed.errors)
    XCTAssertTrue(mixed.errors.contains("data.media.test_noisy.safetensors"), mixed.errors)
    try Program.succeed(line("b", ["--media", noisy]))
    let compared = try Program.succeed(["compare", folder.path("a"), folder.path("b"), "--pair", "id"])
    XCTAssertTrue(compared.output.contains("data.media.test_noisy.safetensors"), compared.output)
    XCTAssertFalse(compared.output.contains("settings: identical"), compared.output)
  }

  /// The folder of a run has its adapters one level below.
  func testARunFolderIsNotAnAdapter() throws {
    let folder = try TemporaryFolder()
    try FileManager.default.createDirectory(at: folder.url("run"), withIntermediateDirectories: true)
    try FileManager.default.copyItem(atPath: adapter, toPath: folder.path("run/last"))
    let outcome = try Program.run([
      "generate", Embedded.model, "--text", "one ?", "--adapter", folder.path("run"),
    ])
    XCTAssertEqual(outcome.status, 64, outcome.errors)
    XCTAssertTrue(outcome.errors.contains("run/last"), outcome.errors)
  }

  /// What the limits of a process leave is all there is: a rank too large is refused before it is drawn.
  func testATrainingThatCannotFitIsRefusedBeforeItBegins() throws {
    let folder = try TemporaryFolder()
    let program = Program.url.path
    let shell = """
      ulimit -v 6000000; exec '\(program)' finetune lora '\(Embedded.model)' --data '\(Embedded.data)' \
        --rank 65536 --steps 1 --batch 1 -o '\(folder.path("run"))'
      """
    let outcome = try Program.run(["-c", shell], executable: URL(fileURLWithPath: "/bin/sh"))
    XCTAssertEqual(outcome.status, 69, outcome.errors)
    XCTAssertTrue(outcome.errors.contains("are free"), outcome.errors)
    XCTAssertFalse(FileManager.default.fileExists(atPath: folder.path("run")))
  }
}
