import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

/// What the program says of broken and hostile input: exit status and message, in little memory.
///
/// Documentation/Bad-input.md shows the messages; `MMPROBE_UPDATE_HELP=1` writes its table anew.
final class BadInputTests: XCTestCase {
  private var folder: TemporaryFolder!

  override func setUpWithError() throws { folder = try TemporaryFolder() }
  override func tearDown() { folder = nil }

  /// Enough for the program and a small model, and far less than what the headers below promise.
  private static let addressSpace = 2_500_000

  /// Runs the program with a bounded address space.
  private func run(_ arguments: [String], _ environment: [String: String]) throws -> Program.Outcome {
    try Program.run(
      ["-c", "ulimit -v \(Self.addressSpace); exec \"$0\" \"$@\"", Program.url.path] + arguments,
      environment: environment, executable: URL(fileURLWithPath: "/bin/sh"))
  }

  private func copy(_ fixture: String, as name: String) throws -> URL {
    try FileManager.default.copyItem(at: Fixtures.url(fixture), to: folder.url(name))
    return folder.url(name)
  }

  private func write(_ bytes: [UInt8], _ name: String) throws -> String {
    try Data(bytes).write(to: folder.url(name))
    return folder.path(name)
  }

  private func edit(_ url: URL, _ change: (inout JSONObject) throws -> Void) throws {
    var object = try XCTUnwrap(JSONValue(parsing: [UInt8](Data(contentsOf: url))).objectValue)
    try change(&object)
    try Data(JSONValue.object(object).text().utf8).write(to: url)
  }

  private func big(_ value: Int, bytes: Int) -> [UInt8] {
    (0..<bytes).map { UInt8(truncatingIfNeeded: value >> (8 * (bytes - 1 - $0))) }
  }

  private func little(_ value: Int, bytes: Int) -> [UInt8] { big(value, bytes: bytes).reversed() }

  /// A sound file whose header promises `seconds` at 16 kHz, with `present` bytes of them.
  private func wave(seconds: Int, present: Int) -> [UInt8] {
    let size = seconds * 32_000
    var bytes = Array("RIFF".utf8) + little(36 + size, bytes: 4) + Array("WAVEfmt ".utf8)
    bytes += little(16, bytes: 4) + little(1, bytes: 2) + little(1, bytes: 2) + little(16_000, bytes: 4)
    bytes += little(32_000, bytes: 4) + little(2, bytes: 2) + little(16, bytes: 2)
    return bytes + Array("data".utf8) + little(size, bytes: 4) + [UInt8](repeating: 0, count: present)
  }

  /// The beginning of a PNG file of a size; its check sums are not looked at before the size is.
  private func png(width: Int, height: Int) -> [UInt8] {
    [0x89, 0x50, 0x4E, 0x47, 0x0D, 0x0A, 0x1A, 0x0A, 0, 0, 0, 13] + Array("IHDR".utf8) + big(width, bytes: 4)
      + big(height, bytes: 4) + [8, 2, 0, 0, 0, 0, 0, 0, 0]
  }

  /// A program in a folder of its own, which becomes the search path.
  private func programs(_ scripts: [String: String]) throws -> [String: String] {
    let place = folder.url("programs")
    try FileManager.default.createDirectory(at: place, withIntermediateDirectories: true)
    for (name, script) in scripts {
      let url = place.appendingPathComponent(name)
      try Data(("#!/bin/sh\n" + script).utf8).write(to: url)
      try FileManager.default.setAttributes([.posixPermissions: 0o755], ofItemAtPath: url.path)
    }
    return ["PATH": "\(place.path):/usr/bin:/bin"]
  }

  private func weightCases() throws -> [RefusedCase] {
    let ask = ["--text", "hello"]
    let truncated = try copy("llama_bf16_sharded", as: "truncated")
    let shard = truncated.appendingPathComponent("model-00002-of-00002.safetensors")
    let bytes = try Data(contentsOf: shard)
    try bytes.dropLast(1_000).write(to: shard)

    let missing = try copy("llama_bf16_sharded", as: "missing")
    try FileManager.default.removeItem(
      at: missing.appendingPathComponent("model-00002-of-00002.safetensors"))

    let outside = try copy("llama_bf16_sharded", as: "outside")
    try edit(outside.appendingPathComponent("model.safetensors.index.json")) { index in
      var map = try XCTUnwrap(index["weight_map"]?.objectValue)
      map[try XCTUnwrap(map.keys.first)] = "../secret.safetensors"
      index["weight_map"] = .object(map)
    }

    let shape = try copy("llama", as: "shape")
    try edit(shape.appendingPathComponent("config.json")) { $0["intermediate_size"] = 120 }

    let broken = try copy("llama", as: "nan")
    let weights = try SafetensorsFile(path: broken.appendingPathComponent("model.safetensors").path)
    let tensors = try weights.tensors.map { tensor -> StoredTensor in
      guard tensor.name == "model.layers.1.mlp.up_proj.weight" else { return tensor }
      var values = try tensor.floats()
      values[values.count - 1] = .nan
      return try StoredTensor(name: tensor.name, shape: tensor.shape, floats: values)
    }
    try SafetensorsWriter.write(tensors: tensors, to: broken.path + "/model.safetensors")
    let named = "the weights of tensor \"model.layers.1.mlp.up_proj.weight\" contain NaN or infinity"
    let data = try write(
      Array("{\"text\": \"hello\", \"answer\": \"yes\"}\n{\"text\": \"you\", \"answer\": \"no\"}\n".utf8),
      "data.jsonl")

    let duplicate = try copy("llama", as: "duplicate")
    try edit(duplicate.appendingPathComponent("tokenizer.json")) { tokenizer in
      var model = try XCTUnwrap(tokenizer["model"]?.objectValue)
      var vocabulary = try XCTUnwrap(model["vocab"]?.objectValue)
      vocabulary[try XCTUnwrap(vocabulary.keys.last)] = vocabulary["H"]
      model["vocab"] = .object(vocabulary)
      tokenizer["model"] = .object(model)
    }
    return [
      RefusedCase(
        what: "a shard cut short", arguments: ["generate", truncated.path] + ask, status: 65,
        fragment: "but the file has 122264 bytes of data"),
      RefusedCase(
        what: "a shard missing", arguments: ["generate", missing.path] + ask, status: 66,
        fragment: "the file \"model-00002-of-00002.safetensors\" it names is not in the folder"),
      RefusedCase(
        what: "`../` in the index", arguments: ["generate", outside.path] + ask, status: 65,
        fragment: "found \"../secret.safetensors\""),
      RefusedCase(
        what: "a tensor of another shape", arguments: ["generate", shape.path] + ask, status: 65,
        fragment: "has shape [112, 64], the configuration asks for [120, 64]"),
      RefusedCase(
        what: "weights with NaN, an answer", arguments: ["generate", broken.path] + ask, status: 65,
        fragment: named),
      RefusedCase(
        what: "the same, attention", arguments: ["attention", broken.path] + ask, status: 65, fragment: named),
      RefusedCase(
        what: "the same, contributions", arguments: ["contribution", broken.path, "--data", data, "-q"],
        status: 65, fragment: named),
      RefusedCase(
        what: "the same, an evaluation", arguments: ["eval", broken.path, "--data", data, "-q"], status: 65,
        fragment: named),
      RefusedCase(
        what: "two tokens with one id", arguments: ["generate", duplicate.path] + ask, status: 65,
        fragment: "belongs to \"H\" and to"),
      RefusedCase(
        what: "no such folder", arguments: ["generate", folder.path("nowhere")] + ask, status: 66,
        fragment: "nowhere: there is no such folder"),
      RefusedCase(
        what: "a file instead of a folder", arguments: ["generate", data] + ask, status: 66,
        fragment: "found a file, expected the folder of a model"),
      RefusedCase(
        what: "a folder without a model",
        arguments: ["generate", Fixtures.url("whole_folders/qwen2_vl").path] + ask, status: 66,
        fragment: "the folder has no config.json"),
    ]
  }

  private func mediaCases() throws -> [RefusedCase] {
    let llava = Fixtures.url("llava").path
    let sound = try copy("qwen2_audio", as: "sound")
    for name in ["tokenizer.json", "tokenizer_config.json"] {
      try FileManager.default.copyItem(
        at: Fixtures.url("whole_folders/qwen2_vl/\(name)"), to: sound.appendingPathComponent(name))
    }
    func picture(_ name: String, _ bytes: [UInt8]) throws -> [String] {
      ["generate", llava, "--image", try write(bytes, name), "--text", "what is it?"]
    }
    func sounds(_ name: String, _ bytes: [UInt8]) throws -> [String] {
      ["generate", sound.path, "--audio", try write(bytes, name), "--text", "what is it?"]
    }
    // A file of ten hours, of which the disk holds only the header.
    let whole = try sounds("ten-hours.wav", wave(seconds: 36_000, present: 0))
    let handle = try FileHandle(forWritingTo: folder.url("ten-hours.wav"))
    try handle.truncate(atOffset: UInt64(44 + 36_000 * 32_000))
    try handle.close()
    let side = 30_000
    let killed = try programs([
      "ffprobe":
        #"echo '{"streams": [{"codec_type": "video", "width": 8, "height": 8, "pix_fmt": "rgb24"}]}'"#,
      "ffmpeg": "printf 'P6 8 8 255 '\nkill -9 $$",
    ])
    let none = ["PATH": folder.path("nothing")]
    return [
      RefusedCase(
        what: "an image of 0 bytes", arguments: try picture("empty.png", []), status: 65,
        fragment: "empty.png: the file is empty"),
      RefusedCase(
        what: "a PNG header of 30,000 x 30,000",
        arguments: try picture("huge.png", png(width: side, height: side)), status: 65,
        fragment: "found 900000000 pixels, expected at most 100000000"),
      RefusedCase(
        what: "the same as PPM", arguments: try picture("huge.ppm", Array("P6\n30000 30000\n255\n".utf8)),
        status: 65, fragment: "found 900000000 pixels, expected at most 100000000"),
      RefusedCase(
        what: "a sound of 0 bytes", arguments: try sounds("empty.wav", []), status: 65,
        fragment: "empty.wav: the file is empty"),
      RefusedCase(
        what: "a sound header of 10 hours",
        arguments: try sounds("header.wav", wave(seconds: 36_000, present: 64)),
        status: 65, fragment: "found 36000 seconds, expected at most 14400"),
      RefusedCase(
        what: "10 hours of sound", arguments: whole, status: 65,
        fragment: "found 36000 seconds, expected at most 14400"),
      RefusedCase(
        what: "a sound that ends early", arguments: try sounds("short.wav", wave(seconds: 10, present: 64)),
        status: 65, fragment: "the file ends after 108 bytes, its header promises 320044"),
      RefusedCase(
        what: "ffmpeg killed while it decodes",
        arguments: try picture("killed.png", png(width: 8, height: 8)), status: 74,
        fragment: "ffmpeg was ended by signal 9 before it was done", environment: killed),
      RefusedCase(
        what: "no ffmpeg", arguments: try picture("none.png", png(width: 8, height: 8)), status: 69,
        fragment: "install it: 'apt install ffmpeg'", environment: none),
    ]
  }

  func testBadInputIsNamedWithItsStatus() throws {
    var table = "| input | command | status | message |\n| --- | --- | ---: | --- |\n"
    for refused in try weightCases() + mediaCases() {
      let outcome = try run(refused.arguments, refused.environment)
      table += refused.row(of: outcome, words: 1, folder)
    }
    try PageTable.check(table, page: "Bad-input.md", section: "Table")
  }

  /// A long sound in another form, whose length only ffprobe knows.
  func testALongSoundThatFFmpegReadsIsRefused() throws {
    try XCTSkipIf(MachineFacts.program("ffprobe") == nil, "ffmpeg is not installed")
    let sound = try copy("qwen2_audio", as: "sound")
    for name in ["tokenizer.json", "tokenizer_config.json"] {
      try FileManager.default.copyItem(
        at: Fixtures.url("whole_folders/qwen2_vl/\(name)"), to: sound.appendingPathComponent(name))
    }
    let facts = 16_000 << 44 | 15 << 36 | 36_000 * 16_000
    var flac = Array("fLaC".utf8) + [0x80, 0, 0, 34] + big(4_096, bytes: 2) + big(4_096, bytes: 2)
    flac += [UInt8](repeating: 0, count: 6) + big(facts, bytes: 8) + [UInt8](repeating: 0, count: 16)
    let outcome = try run(
      ["generate", sound.path, "--audio", try write(flac, "ten.flac"), "--text", "what is it?"], [:])
    XCTAssertEqual(outcome.status, 65)
    XCTAssertTrue(outcome.errors.contains("found 36000 seconds, expected at most 14400"), outcome.errors)
  }

  /// One bad medium of a data set is skipped and counted, not the end of the run.
  func testABadMediumOfADataSetIsSkippedAndCounted() throws {
    _ = try write([], "empty.ppm")
    _ = try write(Array("P6\n30000 30000\n255\n".utf8), "huge.ppm")
    _ = try write(Array("P6\n2 2\n255\n".utf8) + [UInt8](repeating: 9, count: 12), "good.ppm")
    let records = ["empty", "huge", "good"].map {
      "{\"image\": \"\($0).ppm\", \"text\": \"what?\", \"answer\": \"no\"}"
    }
    let data = try write(Array((records.joined(separator: "\n") + "\n").utf8), "data.jsonl")
    let outcome = try run(["attention", Fixtures.url("llava").path, "--data", data, "--json", "-q"], [:])
    XCTAssertEqual(outcome.status, 0, outcome.errors)
    let result = try JSONValue(parsing: outcome.output)
    let codes = result["warnings"]?.arrayValue?.compactMap { $0["code"]?.stringValue } ?? []
    XCTAssertTrue(codes.contains("skipped_samples"), outcome.output)
  }
}
