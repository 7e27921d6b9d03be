import Foundation
import RunKit
import TensorCore
import TestSupport
import TokenModel
import XCTest

@testable import ClassicBench

/// Encoders with buffers and dropout in the loop: what moves, what does not, and the same bytes after a resumption.
final class EncoderRunTests: XCTestCase {
  /// A ResNet18 of tiny pictures beside an MLP.
  private func residual(epochs: Int, samples: Int = 8, weightDecay: Double = 1e-4) -> SmallTask {
    SmallTask(
      count: 2, epochs: epochs,
      given: [
        ResNet18Encoder(inputShape: [9, 7, 1]), MLPEncoder(inputSize: 5, hiddenSize: 8, featureSize: 6),
      ],
      samples: samples, batchSize: 4, weightDecay: weightDecay)
  }

  static func bert(dropout: Double) throws -> BertTextEncoder {
    let text = """
      {"model_type": "bert", "vocab_size": 12, "hidden_size": 8, "intermediate_size": 12, "num_hidden_layers": 2,
       "num_attention_heads": 2, "max_position_embeddings": 8}
      """
    let configuration = try BertEncoder.Configuration(
      ConfigurationReader(path: "config.json", bytes: [UInt8](text.utf8)))
    return try BertTextEncoder(
      length: 5, configuration, tensors: nil, pooling: .pooler, dropout: dropout, paddingID: 0, featureSize: 6
    )
  }

  private static func vit() throws -> VisionTransformerEncoder {
    let text = """
      {"model_type": "vit", "image_size": 6, "patch_size": 3, "num_channels": 2, "hidden_size": 8,
       "intermediate_size": 12, "num_hidden_layers": 1, "num_attention_heads": 2}
      """
    let configuration = try VisionTransformer.Configuration(
      ConfigurationReader(path: "config.json", bytes: [UInt8](text.utf8)))
    return try VisionTransformerEncoder(inputShape: [2, 6, 6, 2], configuration, tensors: nil)
  }

  /// Three kinds of transformers, two of them with dropout.
  private func attending(epochs: Int) throws -> SmallTask {
    var options = TransformerEncoder.Options.corrected
    (options.width, options.heads, options.inner, options.dropout) = (8, 2, 12, 0.3)
    options.positions = .learned
    return SmallTask(
      count: 3, epochs: epochs,
      given: [
        TransformerEncoder(inputShape: [6, 3], reading: .rows, options), try Self.vit(),
        try Self.bert(dropout: 0.2),
      ], samples: 24, batchSize: 8)
  }

  private let joint = SmallTask.Entry("joint") { Joint() }

  private func bytes(_ folder: RunFolder, _ name: String) throws -> Data {
    try Data(contentsOf: folder.url(of: name))
  }

  /// Stops a run before some steps, resumes it each time, and compares it with one that was not stopped.
  private func checkResumption(_ small: SmallTask, stops: [Int], _ label: String) throws {
    let (directory, parts) = (try TemporaryDirectory(), try TemporaryDirectory())
    let whole = try SmallTask.folder(directory, .fresh)
    let task = try small.finish(joint, in: whole)
    for (index, stop) in stops.enumerated() {
      try small.stop(joint, after: stop, in: try SmallTask.folder(parts, index == 0 ? .fresh : .resume))
    }
    let resumed = try SmallTask.folder(parts, .resume)
    try small.finish(joint, in: resumed)
    let names = [
      "state.safetensors", "log.jsonl", "best/parameters.safetensors", "last/parameters.safetensors",
    ]
    for name in names {
      XCTAssertEqual(try bytes(resumed, name), try bytes(whole, name), "\(label): \(name)")
    }
    // What is written holds every buffer as it was left.
    let file = try SafetensorsFile(path: whole.url(of: "last/parameters.safetensors").path)
    for shape in task.model.bufferShapes {
      let stored = try file.tensor(shape.name).floats()
      XCTAssertEqual(stored, task.parameters[shape.name]?.hostValues(), shape.name)
      guard case .values(let start) = shape.start else { return XCTFail(shape.name) }
      XCTAssertNotEqual(stored, start.hostValues(), shape.name)
    }
  }

  func testResNet18ResumesInsideAnEpochToTheSameBytes() throws {
    try checkResumption(residual(epochs: 2), stops: [1, 3], "resnet18")
  }

  func testTransformersResumeInsideAnEpochToTheSameBytes() throws {
    try checkResumption(attending(epochs: 2), stops: [1, 3, 5], "transformers")
  }

  func testThreadsChangeNoByte() throws {
    let before = Workers.threadCount
    defer { Workers.threadCount = before }
    for small in [residual(epochs: 1), try attending(epochs: 1)] {
      var states: Set<Data> = []
      for threads in 1...3 {
        Workers.threadCount = threads
        let directory = try TemporaryDirectory()
        let folder = try SmallTask.folder(directory, .fresh)
        try small.finish(joint, in: folder)
        states.insert(try bytes(folder, "state.safetensors") + bytes(folder, "log.jsonl"))
      }
      XCTAssertEqual(states.count, 1, small.given[0].kind)
    }
  }

  // MARK: Buffers

  private func buffers(_ task: ClassicTask) -> [String: Tensor] {
    Dictionary(
      uniqueKeysWithValues: task.model.bufferShapes.compactMap { shape in
        task.parameters[shape.name].map { (shape.name, 1 * $0) }
      })
  }

  func testWeightDecayDoesNotReachBuffers() throws {
    var found: [[String: Tensor]] = []
    for decay in [0, 10.0] {
      let directory = try TemporaryDirectory()
      let small = residual(epochs: 1, samples: 4, weightDecay: decay)
      let task = try small.finish(joint, in: try SmallTask.folder(directory, .fresh))
      XCTAssertEqual(task.stepsPerEpoch, 1)
      found.append(buffers(task))
    }
    XCTAssertEqual(found[0].count, 40)
    for (name, value) in found[0] { assertSameBits(try XCTUnwrap(found[1][name]), value, name) }
  }

  /// Two passes in a step move the buffers twice, as two forward passes of a module of PyTorch in training mode do.
  func testEveryTrainingPassOfAStepMovesTheBuffers() throws {
    let encoder = ResNet18Encoder(inputShape: [8, 8, 1])
    let model = ClassicModel(modalities: [.image], encoders: [encoder], classCount: 2)
    let values = Dictionary(
      uniqueKeysWithValues: model.initialParameters(seed: 1).map { ($0.name, $0.value) })
    let inputs = [randomTensor([3, 8, 8, 1], seed: 2), randomTensor([3, 8, 8, 1], seed: 3)]
    let training = EncoderTraining(KeyedRandom(seed: 0, place: StepPlace()))
    let parameters = Parameters(values, training: training)
    for input in inputs { _ = model.features(0, of: input, parameters) }
    var state = ResNet18.State()
    let network = ResNet18(channels: 1)
    for input in inputs {
      _ = network.train(input, state: &state) { values["encoder.image." + $0] ?? Tensor(zeros: []) }
    }
    XCTAssertEqual(training.buffers.count, 40)
    for (name, buffers) in state.buffers {
      let prefix = "encoder.image." + name
      assertSameBits(try XCTUnwrap(training.buffers[prefix + ".running_mean"]), buffers.mean, name)
      assertSameBits(try XCTUnwrap(training.buffers[prefix + ".running_var"]), buffers.variance, name)
    }
    // Evaluation moves nothing and uses them.
    let moved = Parameters(values.merging(training.buffers) { $1 })
    assertSameBits(
      model.features(0, of: inputs[0], moved),
      network.evaluate(inputs[0], state: state) { values["encoder.image." + $0] ?? Tensor(zeros: []) })
    XCTAssertNotEqual(
      model.features(0, of: inputs[0], moved), model.features(0, of: inputs[0], Parameters(values)))
  }

  /// Passes that a method makes beside those of the step are as in evaluation.
  func testExtraPassesMoveNothing() throws {
    let encoders: [any Encoder] = [
      ResNet18Encoder(inputShape: [8, 8, 1]), MLPEncoder(inputSize: 5, hiddenSize: 8, featureSize: 6),
    ]
    let base = ClassicModel(modalities: [.image, .audio], encoders: encoders, classCount: 2)
    let values = Dictionary(uniqueKeysWithValues: base.initialParameters(seed: 1).map { ($0.name, $0.value) })
    let batch = ClassicBatch(
      inputs: [randomTensor([4, 8, 8, 1], seed: 2), randomTensor([4, 5], seed: 3)], labels: [0, 1, 1, 0])
    func step(_ method: any ImbalanceMethod) -> StepResult {
      var model = base
      method.build(&model)
      method.fitStart(model, ParameterSet(values.sorted { $0.key < $1.key }.map { ($0, $1) }), samples: 4)
      return StepEngine(model: model, method: method).step(
        values, batch, at: StepPlace(), random: KeyedRandom(seed: 0, place: StepPlace()))
    }
    let expected = step(Joint()).buffers
    XCTAssertEqual(expected.count, 40)
    // AGM's features of inputs of zeros, the teachers of UMT.
    for method in [AGM(), UMT(teachers: values)] as [any ImbalanceMethod] {
      let found = step(method).buffers
      XCTAssertEqual(Set(found.keys), Set(expected.keys))
      for (name, value) in expected { assertSameBits(try XCTUnwrap(found[name]), value, name) }
    }
    XCTAssertNotNil(
      UMT(teachers: values.filter { !$0.key.hasSuffix("running_var") }).refusal(of: base),
      "a teacher without its buffers")
    // Features that the loop gives to methods.
    let small = residual(epochs: 1)
    let task = try small.task(Joint())
    let before = buffers(task)
    let features = task.trainingFeatures(Array(0..<8))
    assertSameBits(task.trainingFeatures([3])[0], features[0].slice(3..<4), "alone and in a batch")
    for (name, value) in buffers(task) { assertSameBits(value, try XCTUnwrap(before[name]), name) }
    // An encoder that is looked at but not trained stays as it is.
    var observed = SubStep.joint(2)
    observed.participation[0] = .observed
    let looking = Looking(observed)
    XCTAssertTrue(step(looking).buffers.isEmpty)
  }

  private final class Looking: ImbalanceMethod {
    static let id = "looking"
    static let name = "Looking"
    static let stage = MethodStage.baseline
    static let source = "a test"
    let plan: SubStep
    init(_ plan: SubStep) { self.plan = plan }
    func subStep(_ model: ClassicModel, at place: StepPlace) -> SubStep { plan }
  }

  func testDropoutIsDrawnAnewForEveryStepAndPass() throws {
    let encoder = try Self.bert(dropout: 0.5)
    let model = ClassicModel(modalities: [.text], encoders: [encoder], classCount: 2)
    let values = Dictionary(
      uniqueKeysWithValues: model.initialParameters(seed: 1).map { ($0.name, $0.value) })
    let input = Tensor([3, 8, 4, 0, 0, 3, 9, 9, 7, 4], shape: [2, 5])
    func training(_ step: Int) -> Parameters {
      Parameters(
        values, training: EncoderTraining(KeyedRandom(seed: 0, place: StepPlace(step: step))))
    }
    let first = training(1)
    let outputs = [model.features(0, of: input, first), model.features(0, of: input, first)]
    XCTAssertNotEqual(outputs[0], outputs[1])
    assertSameBits(model.features(0, of: input, training(1)), outputs[0])
    XCTAssertNotEqual(model.features(0, of: input, training(2)), outputs[0])
    assertSameBits(
      model.features(0, of: input, first.evaluating), model.features(0, of: input, Parameters(values)))
  }
}
