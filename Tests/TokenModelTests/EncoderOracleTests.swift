import Foundation
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// ResNet18 beside torchvision, ViT and BERT beside transformers.
final class EncoderOracleTests: XCTestCase {
  // MARK: - ResNet18

  /// `[outputs, rows, columns, channels]` as `[outputs, channels, rows, columns]`, the order of the oracle.
  private func channelsFirst(_ gradient: Tensor) -> [Float] {
    let (values, shape) = (gradient.hostValues(), gradient.shape)
    guard shape.count == 4 else { return values }
    let (taps, channels) = (shape[1] * shape[2], shape[3])
    return values.indices.map { index in
      let (output, rest) = (index / (taps * channels), index % (taps * channels))
      return values[(output * taps + rest % taps) * channels + rest / taps]
    }
  }

  /// A file in the naming of torchvision, with a classifier, which is not read.
  private func torchvisionFile(channels: Int, in folder: TemporaryDirectory) throws -> SafetensorsFile {
    var stored: [StoredTensor] = []
    func add(_ name: String, _ shape: [Int]) throws {
      let values = DrawnWeights.tensor(name, shape).hostValues()
      stored.append(try StoredTensor(name: name, shape: shape, floats: values))
    }
    for parameter in ResNet18(channels: channels).parameters {
      let shape = parameter.shape
      try add(
        parameter.name, shape.count == 4 ? [shape[0], shape[3], shape[1], shape[2]] : shape)
    }
    for (name, channels) in ResNet18.norms {
      try add(name + ".running_mean", [channels])
      try add(name + ".running_var", [channels])
      stored.append(try StoredTensor(name: name + ".num_batches_tracked", shape: [], integers: [7]))
    }
    try add("fc.weight", [10, 512])
    try add("fc.bias", [10])
    let path = folder.path + "/resnet18.safetensors"
    try SafetensorsWriter.write(tensors: stored, to: path)
    return try SafetensorsFile(path: path)
  }

  private struct Case {
    let name: String
    let channels: Int
    let images: Tensor
  }

  private func cases(_ oracle: OracleCase) throws -> [Case] {
    try XCTUnwrap(oracle.description["cases"]?.objectValue).members.map { name, value in
      let sizes = try XCTUnwrap(value.arrayValue).map { try XCTUnwrap($0.intValue) }
      let (channels, samples, frames) = (sizes[0], sizes[1], sizes[2])
      let shape = [samples] + (frames > 1 ? [frames] : []) + [sizes[3], sizes[4], channels]
      return Case(
        name: name, channels: channels, images: randomTensor(shape, seed: DrawnWeights.seed(name)))
    }
  }

  private func check(_ oracle: OracleCase, _ precision: Convolution.Precision, output tolerance: Double)
    throws
    -> [String]
  {
    var lines: [String] = []
    for test in try cases(oracle) {
      let folder = try TemporaryDirectory()
      let network = ResNet18(channels: test.channels, precision: precision)
      let weights = try network.weights(in: torchvisionFile(channels: test.channels, in: folder))
      XCTAssertEqual(weights.state.stepCount, 7)
      for mode in test.name == "frames" ? ["train", "eval"] : ["train"] {
        let tape = Tape()
        let leaves = Dictionary(
          uniqueKeysWithValues: weights.parameters.map { ($0.name, tape.leaf($0.value)) })
        var state = weights.state
        let parameter = { (name: String) in leaves[name] ?? Tensor(zeros: []) }
        let output =
          mode == "train"
          ? network.train(test.images, state: &state, parameter)
          : network.evaluate(test.images, state: state, parameter)
        try oracle.compare(
          output.hostValues(), with: "\(test.name).\(mode).output", absolute: tolerance)
        let ordered = weights.parameters.compactMap { leaves[$0.name] }
        let gradients = tape.gradients(of: output, for: ordered, seed: randomTensor(output.shape, seed: 7))
        let worst = try DrawnWeights.worstGradient(
          gradients.map { channelsFirst(try XCTUnwrap($0)) }, oracle, "\(test.name).\(mode).gradients")
        XCTAssertLessThan(worst, 1e-3, "\(test.name) \(mode)")
        lines.append("\(precision) \(test.name) \(mode): largest relative difference of gradients \(worst)")
        if mode == "train" {
          let found = ResNet18.norms.flatMap { norm -> [Float] in
            guard let buffers = state.buffers[norm.name] else { return [] }
            return [buffers.mean, buffers.variance].flatMap { buffer -> [Float] in
              let values = buffer.hostValues()
              return [values[0], values[values.count - 1], values.reduce(0, +)]
            }
          }
          // Sums of up to 512 numbers.
          try oracle.compare(found, with: test.name + ".buffers", absolute: 20 * tolerance)
          XCTAssertEqual(state.stepCount, 8)
        }
      }
    }
    return lines
  }

  func testResNet18IsThatOfTorchvision() throws {
    let oracle = try OracleCase("encoders/resnet18")
    let lines = try check(oracle, .exact, output: 1e-4)
    oracle.finish()
    print("  " + lines.joined(separator: "\n  "))
  }

  func testResNet18WithFastConvolutionsIsNear() throws {
    let oracle = try OracleCase("encoders/resnet18")
    let lines = try check(oracle, .fast, output: 1e-4)
    oracle.finish()
    print("  " + lines.joined(separator: "\n  "))
  }

  func testAFileOfResNet18ComesBackAsItWas() throws {
    let folder = try TemporaryDirectory()
    let network = ResNet18(channels: 3)
    let file = try torchvisionFile(channels: 3, in: folder)
    let weights = try network.weights(in: file)
    let values = Dictionary(uniqueKeysWithValues: weights.parameters.map { ($0.name, $0.value) })
    let stored = try network.stored(state: weights.state) { values[$0] ?? Tensor(zeros: []) }
    XCTAssertEqual(
      Set(stored.map(\.name)), Set(file.names).subtracting(["fc.weight", "fc.bias"]))
    for tensor in stored {
      let original = try file.tensor(tensor.name)
      XCTAssertEqual(tensor.shape, original.shape, tensor.name)
      XCTAssertEqual(tensor.bytes(), original.bytes(), tensor.name)
    }
  }

  func testAFirstConvolutionOfOtherChannelsIsRefusedOrAveraged() throws {
    let folder = try TemporaryDirectory()
    let file = try torchvisionFile(channels: 3, in: folder)
    let network = ResNet18(channels: 1)
    XCTAssertThrowsError(try network.weights(in: file)) { error in
      guard case ConfigurationError.wrongShape(_, "conv1.weight", [64, 3, 7, 7], [64, 1, 7, 7]) = error
      else { return XCTFail("\(error)") }
    }
    // A picture of equal channels gets the same features.
    let gray = randomTensor([2, 40, 36, 1], seed: 3)
    let colour = Tensor(
      gray.hostValues().flatMap { [$0, $0, $0] }, shape: [2, 40, 36, 3])
    func features(_ network: ResNet18, _ images: Tensor, _ rule: ResNet18.FirstConvolution) throws -> Tensor {
      let weights = try network.weights(in: file, firstConvolution: rule)
      let values = Dictionary(uniqueKeysWithValues: weights.parameters.map { ($0.name, $0.value) })
      return network.evaluate(images, state: weights.state) { values[$0] ?? Tensor(zeros: []) }
    }
    let expected = try features(ResNet18(channels: 3), colour, .asStored)
    assertClose(
      try features(network, gray, .averaged), expected.doubles, shape: [2, 512], absolute: 2e-5)
  }

  func testAFileOfAnotherNetworkIsRefused() throws {
    let folder = try TemporaryDirectory()
    let file = try torchvisionFile(channels: 3, in: folder)
    let network = ResNet18(channels: 3)
    func refusal(_ tensors: [StoredTensor]) throws -> ConfigurationError? {
      let path = folder.path + "/changed.safetensors"
      try SafetensorsWriter.write(tensors: tensors, to: path)
      do {
        _ = try network.weights(in: SafetensorsFile(path: path))
      } catch let error as ConfigurationError {
        return error
      }
      return nil
    }
    let more = try StoredTensor(name: "layer1.2.conv1.weight", shape: [1], floats: [0])
    guard case .unsupportedValue(_, "layer1.2.conv1.weight", _, _)? = try refusal(file.tensors + [more])
    else { return XCTFail("a deeper network was read") }
    guard
      case .missingTensor(_, "layer2.0.bn2.running_var")? = try refusal(
        file.tensors.filter { $0.name != "layer2.0.bn2.running_var" })
    else { return XCTFail("a network without a buffer was read") }
  }

  func testInitialParametersAreDrawnAsStated() throws {
    let network = ResNet18(channels: 2)
    let initial = network.initialParameters(seed: 4)
    XCTAssertEqual(initial.map(\.name), network.parameters.map(\.name))
    XCTAssertEqual(initial.map(\.value.shape), network.parameters.map(\.shape))
    // 11,173,376 as counted for the encoder of flow in BalanceBenchmark.
    XCTAssertEqual(initial.reduce(0) { $0 + $1.value.count }, 11_173_376)
    let wanted: [String: (Double, Double)] = [
      "layer3.1.conv2.weight": (0, (2.0 / 2304).squareRoot()),
      "layer4.0.bn1.weight": (1, 0.02),
    ]
    for (name, (mean, deviation)) in wanted {
      let values = try XCTUnwrap(initial.first { $0.name == name }).value.doubles
      let found = values.reduce(0, +) / Double(values.count)
      let spread = (values.reduce(0) { $0 + ($1 - found) * ($1 - found) } / Double(values.count)).squareRoot()
      XCTAssertEqual(found, mean, accuracy: 5 * deviation / Double(values.count).squareRoot(), name)
      XCTAssertEqual(spread / deviation, 1, accuracy: 5 / Double(2 * values.count).squareRoot(), name)
    }
  }

  // MARK: - ViT and BERT

  /// The small case of the fixtures, or that of full size in a folder that make_encoders.py was told to make.
  private func transformerCase(_ name: String) throws -> OracleCase {
    let folder = ProcessInfo.processInfo.environment["MMPROBE_ENCODER_CASES"]
    return try OracleCase((folder ?? "encoders") + "/" + name)
  }

  /// A source of leaves, and a list of them in the order of the case.
  private func leaves(_ oracle: OracleCase, _ tape: Tape, under prefix: String) throws -> (
    source: WeightSource, list: [Tensor]
  ) {
    let parameters = try DrawnWeights.parameters(of: oracle)
    let list = parameters.map { tape.leaf(DrawnWeights.tensor($0.drawn, $0.shape)) }
    let named = Dictionary(uniqueKeysWithValues: zip(parameters.map(\.name), list))
    // Tensors in memory carry the family's own names, those of a tower that stands alone.
    return (WeightSource(in: "memory") { name, _ in named[name] ?? named[prefix + name] }, list)
  }

  private func reader(_ oracle: OracleCase) throws -> ConfigurationReader {
    let configuration = try XCTUnwrap(oracle.description["configuration"])
    return try ConfigurationReader(path: "config.json", bytes: Array(configuration.text().utf8))
  }

  func testVisionTransformerIsThatOfTransformers() throws {
    let oracle = try transformerCase("vit")
    let side = try XCTUnwrap(oracle.description["configuration"]?["image_size"]?.intValue)
    let images = randomTensor([3, side, side, 3], seed: DrawnWeights.seed("images"))
    let folder = try TemporaryDirectory()
    try DrawnWeights.write(oracle, to: folder)
    let stored = try VisionTransformer(folder: URL(fileURLWithPath: folder.path))
    try oracle.compare(stored.hidden(images).hostValues(), with: "hidden", absolute: 1e-4)
    try oracle.compare(stored.logits(images).hostValues(), with: "logits", absolute: 1e-4)

    let tape = Tape()
    let (source, list) = try leaves(oracle, tape, under: "vit.")
    let tower = try VisionTransformer(
      VisionTransformer.Configuration(reader(oracle)), weights: source, classCount: 6)
    let logits = tower.logits(images)
    assertClose(logits, stored.logits(images).doubles, shape: [3, 6], absolute: 1e-6)
    let gradients = tape.gradients(of: logits, for: list, seed: randomTensor([3, 6], seed: 7))
    let worst = try DrawnWeights.worstGradient(
      gradients.map { try XCTUnwrap($0).hostValues() }, oracle, "logits.gradients")
    XCTAssertLessThan(worst, 1e-3)
    oracle.finish()
    print("  ViT: largest relative difference of gradients \(worst)")
  }

  func testBertIsThatOfTransformers() throws {
    let oracle = try transformerCase("bert")
    func lists(_ key: String) throws -> [[Int]] {
      try XCTUnwrap(oracle.description[key]?.arrayValue).map { list in
        try XCTUnwrap(list.arrayValue).map { try XCTUnwrap($0.intValue) }
      }
    }
    let (sequences, types) = (try lists("sequences"), try lists("types"))
    let folder = try TemporaryDirectory()
    try DrawnWeights.write(oracle, to: folder)
    let stored = try BertEncoder(folder: URL(fileURLWithPath: folder.path))
    try oracle.compare(
      stored.hidden(sequences, types: types).hostValues(), with: "hidden", absolute: 1e-4)
    try oracle.compare(
      stored.pooled(sequences, types: types).hostValues(), with: "pooled", absolute: 1e-4)

    let tape = Tape()
    let (source, list) = try leaves(oracle, tape, under: "bert.")
    let encoder = try BertEncoder(BertEncoder.Configuration(reader(oracle)), weights: source)
    let pooled = encoder.pooled(sequences, types: types)
    let gradients = tape.gradients(of: pooled, for: list, seed: randomTensor(pooled.shape, seed: 7))
    let worst = try DrawnWeights.worstGradient(
      gradients.map { try XCTUnwrap($0).hostValues() }, oracle, "pooled.gradients")
    XCTAssertLessThan(worst, 1e-3)
    oracle.finish()
    print("  BERT: largest relative difference of gradients \(worst)")
  }

  func testNormsOfOldBertFilesAreRead() throws {
    let oracle = try OracleCase("encoders/bert")
    let (new, old) = (try TemporaryDirectory(), try TemporaryDirectory())
    for folder in [new, old] { try DrawnWeights.write(oracle, to: folder) }
    let path = old.path + "/model.safetensors"
    let renamed = try SafetensorsFile(path: path).tensors.map { tensor in
      tensor.renamed(
        "bert."
          + tensor.name.replacing("LayerNorm.weight", with: "LayerNorm.gamma")
          .replacing("LayerNorm.bias", with: "LayerNorm.beta"))
    }
    let changed = old.path + "/changed.safetensors"
    try SafetensorsWriter.write(tensors: renamed, to: changed)
    try FileManager.default.removeItem(atPath: path)
    try FileManager.default.moveItem(atPath: changed, toPath: path)
    let outputs = try [new, old].map {
      try BertEncoder(folder: URL(fileURLWithPath: $0.path)).pooled([[2, 5, 9, 3]])
    }
    assertSameBits(outputs[1], outputs[0])
  }
}
