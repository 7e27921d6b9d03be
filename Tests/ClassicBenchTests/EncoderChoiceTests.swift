import Foundation
import RunKit
import TensorCore
import TestSupport
import TokenModel
import XCTest

@testable import ClassicBench

/// `encoders` of an experiment: what is made of it, what is recorded, and what is refused.
final class EncoderChoiceTests: XCTestCase {
  private let source = Fixtures.url("../../datasets/avdigits").standardizedFileURL

  private func directory(_ url: URL) -> URL { URL(fileURLWithPath: url.path, isDirectory: true) }

  private func experiment(
    _ encoders: String, _ modalities: String = #"["image", "audio"]"#, base: URL? = nil
  ) throws -> BenchExperiment {
    let text = """
      {"data": "\(source.path)", "modalities": \(modalities), "methods": [{"id": "joint"}],
       "encoders": \(encoders)}
      """
    return try BenchExperiment(
      path: "experiment.json", bytes: [UInt8](text.utf8), base: base ?? directory(source), choices: .init())
  }

  private func data(_ encoders: String, _ modalities: String = #"["image", "audio"]"#) throws -> ClassicData {
    try Benchmark.data(of: experiment(encoders, modalities))
  }

  private func code(_ body: () throws -> Void) -> String? {
    do {
      try body()
      return nil
    } catch let error as any DescribedError {
      XCTAssertFalse((error.errorDescription ?? "").isEmpty)
      XCTAssertFalse((error.recoverySuggestion ?? "").isEmpty)
      func word(_ error: some DescribedError) -> String {
        "\(error.code.rawValue) \(error.exitStatus.rawValue)"
      }
      return word(error)
    } catch {
      return "not described: \(error)"
    }
  }

  func testWhatIsNotSaidIsAsBefore() throws {
    let all = #"["image", "audio", "text"]"#
    let data = try Benchmark.data(of: experiment("{}", all))
    XCTAssertEqual(data.encoders.map(\.kind), ["cnn", "cnn", "mlp"])
    XCTAssertEqual(data.encoders.map(\.featureSize), [64, 64, 64])
    let effective = try experiment("null", all).effective["encoders"]
    XCTAssertEqual(
      effective, ["image": ["type": "default"], "audio": ["type": "default"], "text": ["type": "default"]])
  }

  func testDefaultsAreRecordedAndReadAgain() throws {
    let mixed = try experiment(
      #"{"image": "cnn", "audio": {"type": "transformer", "layers": 1, "width": 40, "tokenizer": "words"}}"#)
    let effective = try XCTUnwrap(mixed.effective["encoders"])
    XCTAssertEqual(effective["image"], ["type": "cnn", "features": 64])
    XCTAssertEqual(
      effective["audio"],
      [
        "type": "transformer", "layers": 1, "width": 40, "heads": 4, "inner": 2048, "dropout": 0.1,
        "steps": "auto", "length": .null, "tokenizer": .string(source.path + "/words"),
      ])
    let again = try experiment(effective.text(), base: URL(fileURLWithPath: "/elsewhere"))
    XCTAssertEqual(again.effective["encoders"], effective)
  }

  func testEncodersOfAVDigits() throws {
    let all = #"["image", "audio", "text"]"#
    let corrected = #"{"type": "transformer-corrected", "width": 16, "inner": 24, "layers": 1}"#
    let data = try data(
      "{\"image\": \(corrected), \"audio\": \(corrected), \"text\": \(corrected)}", all)
    XCTAssertEqual(data.encoders.map(\.inputShape), [[8, 8, 1], [40, 48, 1], [40]])
    let readings = data.encoders.compactMap { ($0 as? TransformerEncoder)?.reading }
    let words = try JSONValue(parsing: Data(contentsOf: source.appendingPathComponent("vocab.json")))
    let count = try XCTUnwrap(words.arrayValue?.count)
    XCTAssertEqual(readings, [.rows, .columns, .tokens(vocabulary: count)])
    // Each clue has as many tokens as words.
    let lines = try String(contentsOf: source.appendingPathComponent("test.jsonl"), encoding: .utf8).split(
      separator: "\n")
    let texts = try lines.map { try XCTUnwrap(JSONValue(parsing: [UInt8]($0.utf8))["text"]?.stringValue) }
    let ids = data.test.inputs[2].hostRows()
    XCTAssertEqual(
      ids.map { row in row.count { $0 > 0 } }, texts.map { $0.split(separator: " ").count })
    let first = try XCTUnwrap(texts[0].split(separator: " ").first.map(String.init))
    XCTAssertEqual(
      words.arrayValue?[Int(ids[0][0]) - 1].stringValue, first, "the first word of the first clue")
    // All of them run, on a missing modality too.
    let model = ClassicModel(modalities: data.modalities, encoders: data.encoders, classCount: 10)
    let parameters = Parameters(
      Dictionary(uniqueKeysWithValues: model.initialParameters(seed: 0).map { ($0.name, $0.value) }))
    let batch = data.test.batch([0, 5, 9])
    for (index, encoder) in data.encoders.enumerated() {
      let zero = Tensor(zeros: [1] + encoder.inputShape)
      for input in [batch.inputs[index], zero] {
        let features = model.features(index, of: input, parameters)
        XCTAssertEqual(features.shape, [input.shape[0], 16])
        XCTAssertTrue(features.hostValues().allSatisfy(\.isFinite))
      }
    }
    let other = try self.data(
      #"{"image": {"type": "vit", "patch": 4, "width": 16, "heads": 2, "layers": 1}, "audio": "resnet18"}"#)
    XCTAssertEqual(other.encoders.map(\.kind), ["vit", "resnet18"])
    XCTAssertEqual(try self.data("\"mlp\"").encoders.map(\.inputShape), [[8, 8, 1], [40, 48, 1]])
  }

  func testWhatCannotBeIsRefused() throws {
    let text = #"["text"]"#
    let cases: [(encoders: String, modalities: String, code: String)] = [
      (#""resnet19""#, text, "experiment_out_of_range 65"),
      (#"{"text": {"type": "cnn", "layers": 2}}"#, text, "experiment_unknown_key 65"),
      (#"{"image": "cnn"}"#, text, "experiment_unknown_key 65"),
      (#"{"text": 3}"#, text, "experiment_wrong_kind 65"),
      (#"{"text": {"type": "transformer", "width": 10, "heads": 4}}"#, text, "experiment_out_of_range 65"),
      (#"{"text": {"type": "transformer", "positions": "none"}}"#, text, "experiment_unknown_key 65"),
      (#""bert""#, text, "experiment_missing_key 65"), (#""cnn""#, text, "encoder_unfit 64"),
      (#""resnet18""#, text, "encoder_unfit 64"), (#""vit""#, text, "encoder_unfit 64"),
      (#"{"image": "vit"}"#, #"["image"]"#, "encoder_unfit 64"),
      (#"{"audio": "vit"}"#, #"["audio"]"#, "encoder_unfit 64"),
      (#"{"image": {"type": "bert", "folder": "none"}}"#, #"["image"]"#, "encoder_unfit 64"),
    ]
    for (encoders, modalities, expected) in cases {
      XCTAssertEqual(code { _ = try data(encoders, modalities) }, expected, encoders)
    }
    XCTAssertNotNil(code { _ = try data(#"{"image": {"type": "resnet18", "weights": "none"}}"#) })
    XCTAssertNotNil(code { _ = try data(#"{"text": {"type": "bert", "folder": "none"}}"#, text) })
  }

  func testWeightsOfAFileAreTheStart() throws {
    let directory = try TemporaryDirectory()
    let path = directory.path + "/resnet18.safetensors"
    let network = ResNet18(channels: 1)
    let values = Dictionary(
      uniqueKeysWithValues: network.initialParameters(seed: 6).map { ($0.name, $0.value) })
    var state = ResNet18.State()
    state.buffers["bn1"]?.mean = randomTensor([64], seed: 1)
    try SafetensorsWriter.write(
      tensors: network.stored(state: state) { values[$0] ?? Tensor(zeros: []) }, to: path)
    let data = try data("{\"image\": {\"type\": \"resnet18\", \"weights\": \"\(path)\"}}")
    let model = ClassicModel(modalities: data.modalities, encoders: data.encoders, classCount: 10)
    let start = Dictionary(uniqueKeysWithValues: model.initialParameters(seed: 0).map { ($0.name, $0.value) })
    for (name, value) in values {
      assertSameBits(try XCTUnwrap(start["encoder.image." + name]), value, name)
    }
    assertSameBits(
      try XCTUnwrap(start["encoder.image.bn1.running_mean"]), randomTensor([64], seed: 1))
    let hash = try FileHashes().sha256(of: [URL(fileURLWithPath: path)])[0]
    XCTAssertEqual(data.hashes["encoder.image/resnet18.safetensors"]?.stringValue, hash)
  }

  // MARK: Packed data

  func testFramesAndSpectrogramsOfPackedData() throws {
    let tree = try DataTree.cremad()
    let packed = try tree.packed(.cremad)
    let text = """
      {"data": "x", "modalities": ["visual", "audio"], "methods": [{"id": "joint"}], "encoders":
        {"visual": {"type": "vit", "patch": 8, "width": 16, "heads": 2, "layers": 1},
         "audio": {"type": "transformer-corrected", "width": 16, "inner": 16, "layers": 1, "steps": "columns"}}}
      """
    let experiment = try BenchExperiment(
      path: "e", bytes: [UInt8](text.utf8), base: directory(tree.folder), choices: .init())
    let data = try packed.data(experiment.modalities, experiment.encoders)
    XCTAssertEqual(data.encoders.map(\.inputShape), [[2, 16, 16, 3], [257, 13, 1]])
    let model = ClassicModel(modalities: data.modalities, encoders: data.encoders, classCount: 6)
    let parameters = Parameters(
      Dictionary(uniqueKeysWithValues: model.initialParameters(seed: 0).map { ($0.name, $0.value) }))
    let batch = data.test.batch([0, 1])
    let features = (0..<2).map { model.features($0, of: batch.inputs[$0], parameters) }
    XCTAssertEqual(features.map(\.shape), [[2, 16], [2, 16]])
    // The features of frames are the mean of those of each.
    let frames = batch.inputs[0].reshaped(to: [4, 16, 16, 3])
    let tower = try XCTUnwrap(data.encoders[0] as? VisionTransformerEncoder)
    let rows = tower.features(
      of: frames.reshaped(to: [4, 1, 16, 16, 3]), EncoderPass(parameters, under: "encoder.visual.")
    ).hostRows()
    var mean: [Double] = []
    for sample in 0..<2 {
      for (first, second) in zip(rows[2 * sample], rows[2 * sample + 1]) {
        mean.append(Double(first + second) / 2)
      }
    }
    assertClose(features[0], mean, shape: [2, 16], absolute: 1e-5)
  }

  func testSequencesArePaddedAtTheirEnd() throws {
    let tree = try DataLayoutTests.mosei()
    let packed = try tree.packed(.mosei)
    func read(_ options: String) throws -> ClassicData {
      let text = """
        {"data": "x", "modalities": ["audio", "text"], "methods": [{"id": "joint"}],
         "encoders": {"audio": {"type": "transformer"\(options)}, "text": "transformer-corrected"}}
        """
      let experiment = try BenchExperiment(
        path: "e", bytes: [UInt8](text.utf8), base: directory(tree.folder), choices: .init())
      return try packed.data(experiment.modalities, experiment.encoders)
    }
    let data = try read("")
    XCTAssertEqual(data.encoders.map(\.inputShape), [[2, 3], [2, 5]])
    let file = try SafetensorsFile(path: tree.output().appendingPathComponent("train-00000.safetensors").path)
    let all = try file.tensor("audio").floats()
    let batch = data.training.batch([2, 0])
    XCTAssertEqual(batch.inputs[0].hostValues(), Array(all[12..<18] + all[0..<6]))
    let long = try read(#", "length": 4"#).training.batch([1]).inputs[0]
    XCTAssertEqual(long.hostValues(), Array(all[6..<12]) + [Float](repeating: 0, count: 6))
    let short = try read(#", "length": 1"#).training.batch([3]).inputs[0]
    XCTAssertEqual(short.hostValues(), Array(all[18..<21]))
    XCTAssertEqual(
      code { _ = try packed.data([.audio]) }, "packed_no_encoder 69", "there is no default for sequences")
  }

  func testTitlesArePiecesForBert() throws {
    let tree = try DataTree()
    let header = "text,label,Image_path\n"
    try tree.write(
      "texts/train_titles.csv",
      header + "The pie of it,pie,1.jpg\nthe and,soup,2.jpg\nof,pie,3.jpg\nwith the,soup,4.jpg\n")
    try tree.write("texts/test_titles.csv", header + "the the the the the the the,pie,5.jpg\n")
    for name in ["train/pie/1", "train/soup/2", "train/pie/3", "train/soup/4", "test/pie/5"] {
      try tree.write("images/\(name).jpg", DataTree.pictures[0])
    }
    let packed = try tree.packed(.food101)
    let vocabulary = try Fixtures.bytes("encoders/wordpiece/vocab.txt")
    try tree.write("model/vocab.txt", Data(vocabulary))
    let count = vocabulary.count { $0 == UInt8(ascii: "\n") }
    func settings(_ pieces: Int) -> String {
      """
      {"model_type": "bert", "vocab_size": \(pieces), "hidden_size": 8, "intermediate_size": 12,
       "num_hidden_layers": 1, "num_attention_heads": 2, "max_position_embeddings": 8}
      """
    }
    try tree.write("model/config.json", settings(count))
    func read(_ options: String) throws -> ClassicData {
      let text = """
        {"data": "x", "modalities": ["text"], "methods": [{"id": "joint"}], "encoders": {"text": {\(options)}}}
        """
      let experiment = try BenchExperiment(
        path: "e", bytes: [UInt8](text.utf8), base: directory(tree.folder), choices: .init())
      return try packed.data(experiment.modalities, experiment.encoders)
    }
    let bert = #""type": "bert", "folder": "model", "random": true, "length": 5"#
    let data = try read(bert)
    let tokenizer = try WordPieceTokenizer(folder: tree.url("model"))
    let ids = try tokenizer.encode("the the the the the the the", addingSpecialTokens: true)
    XCTAssertEqual(
      data.test.inputs[0].hostValues(), (ids.prefix(4) + ids.suffix(1)).map { Float($0 + 1) })
    XCTAssertEqual(ids.last, tokenizer.endID)
    XCTAssertNotNil(data.hashes["encoder.text/vocab.txt"])
    XCTAssertEqual(
      try read(#""type": "transformer", "tokenizer": "model", "length": 6"#).encoders[0].inputShape, [6])
    XCTAssertEqual(code { _ = try read(#""type": "transformer""#) }, "encoder_unfit 64")
    XCTAssertEqual(code { _ = try read(bert.replacing("5", with: "9")) }, "encoder_wrong_folder 64")
    try tree.write("model/config.json", settings(count - 1))
    XCTAssertEqual(code { _ = try read(bert) }, "encoder_wrong_folder 64")
    XCTAssertEqual(code { _ = try packed.data([.text]) }, "packed_no_encoder 69")
  }

  // MARK: Presets

  func testPresetsAreExperiments() throws {
    for preset in BenchPreset.allCases {
      let experiment = try BenchExperiment(preset, isQuick: true)
      XCTAssertEqual(experiment.seeds.count, 3, preset.rawValue)
      // Unimodal is there once for each modality; AVDigits has a pair of methods too.
      let pairs = preset.rawValue.hasPrefix("avdigits") ? 1 : 0
      XCTAssertEqual(
        experiment.methods.count, MethodCatalog.entries.count - 1 + experiment.modalities.count + pairs,
        preset.rawValue)
      XCTAssertFalse(preset.summary.isEmpty)
      for name in experiment.modalities {
        let type = experiment.effective["encoders"]?[name.rawValue]?["type"]?.stringValue
        XCTAssertEqual(type, experiment.encoders[name].kind.rawValue, preset.rawValue)
      }
    }
    XCTAssertEqual(BenchPreset.food101.summary.contains("bert and resnet18"), true)
    XCTAssertEqual(BenchPreset.mosei.summary.contains("audio, vision, text of packed/mosei"), true)
  }

  func testAPresetForOtherModalitiesIsRefused() throws {
    var choices = BenchExperiment.Choices()
    choices.dataFolder = source
    XCTAssertEqual(
      code { _ = try Benchmark.data(of: BenchExperiment(.cremad, isQuick: true, choices)) },
      "classic_unknown_modality 64")
  }

  func testThePlanNamesEncoders() throws {
    let facts = RunFolder.Facts(version: "test", arguments: [], threads: 1)
    let plan = try Benchmark(
      experiment(#"{"image": {"type": "transformer-corrected", "width": 8, "inner": 8, "layers": 1}}"#),
      facts: facts
    ).dryRun()
    let rows = try XCTUnwrap(plan["encoders"]?.arrayValue)
    XCTAssertEqual(rows.map { $0["type"]?.stringValue }, ["transformer-corrected", "cnn"])
    // 8·8 of the projection; 24·8 + 24 + 8·8 + 8 of attention, 2·(8·8 + 8) of feed-forward, 4·8 of norms.
    XCTAssertEqual(rows[0]["parameters"]?.intValue, 64 + 216 + 72 + 144 + 32)
    XCTAssertEqual(rows[0]["features"]?.intValue, 8)
  }
}
