import RunKit
import TensorCore
import TestSupport
import TokenModel
import XCTest

@testable import ClassicBench

/// One linear map: with the identity as its weight features are what the test puts in.
struct PlainEncoder: Encoder {
  let size: Int
  var inputShape: [Int] { [size] }
  var featureSize: Int { size }
  var parameters: [ParameterShape] {
    [
      ParameterShape(name: "weight", shape: [size, size], fanIn: size),
      ParameterShape(name: "bias", shape: [size], fanIn: size),
    ]
  }
  func features(of input: Tensor, _ pass: EncoderPass) -> Tensor {
    LinearWeight(pass["weight"]).forward(input, bias: pass["bias"])
  }
}

/// A model whose features and logits of every modality are its inputs, each times a strength, plus what is asked for.
///
/// Encoders are multiples of the identity; the head's blocks, a shared head and classifiers of single modalities are the
/// identity; everything else starts as the model does. Modalities are audio, image and text.
final class ToyModel {
  let method: any ImbalanceMethod
  let model: ClassicModel
  var values: [String: Tensor]

  /// - Parameters:
  ///   - strengths: What the features of each modality are multiplied by.
  ///   - noise: How far every parameter may be from the value it is said to have.
  init(_ method: any ImbalanceMethod, classes: Int = 3, strengths: [Float], noise: Float = 0) {
    self.method = method
    let names = ["audio", "image", "text"].prefix(strengths.count)
    var model = ClassicModel(
      modalities: names.map { Modality(rawValue: $0) },
      encoders: strengths.map { _ in PlainEncoder(size: classes) }, classCount: classes)
    method.build(&model)
    XCTAssertNil(method.refusal(of: model))
    self.model = model
    func identity(_ factor: Float, blocks: Int = 1) -> [Float] {
      (0..<classes).flatMap { row in (0..<classes * blocks).map { $0 % classes == row ? factor : 0 } }
    }
    values = [:]
    for (index, (name, start)) in model.initialParameters(seed: 4).enumerated() {
      let count = start.count
      var plain = [Float](repeating: 0, count: count)
      if let m = model.encoderIndex(of: name) {
        if name.hasSuffix("weight") { plain = identity(strengths[m]) }
      } else if name == "head.weight" {
        plain = identity(1, blocks: strengths.count)
      } else if name == "shared.weight" || name.hasPrefix("unihead.") && name.hasSuffix("weight") {
        plain = identity(1)
      } else if !name.hasSuffix("bias") {
        plain = start.hostValues()
      }
      let shift = randomTensor(start.shape, seed: UInt64(100 + index), scale: noise)
      values[name] = Tensor(plain, shape: start.shape) + shift
    }
    method.fitStart(model, parameterSet, samples: 12)
  }

  var parameterSet: ParameterSet {
    ParameterSet(model.parameterShapes.map { ($0.name, 1 * (values[$0.name] ?? Tensor(zeros: $0.shape))) })
  }

  /// What the engine computes.
  func step(
    _ batch: ClassicBatch, at place: StepPlace = StepPlace(), random: (any StepRandom)? = nil,
    method other: (any ImbalanceMethod)? = nil
  ) -> StepResult {
    StepEngine(model: model, method: other ?? method, recordsTensors: true)
      .step(values, batch, at: place, random: random ?? KeyedRandom(seed: 1, place: place))
  }

  /// Moves the parameters down the gradients of a step.
  func descend(_ result: StepResult, rate: Float) {
    for (name, gradient) in result.gradients { values[name] = values[name].map { $0 - rate * gradient } }
  }

  func features(_ batch: ClassicBatch) -> [Tensor] {
    batch.inputs.indices.map { model.features($0, of: batch.inputs[$0], Parameters(values)) }
  }

  /// Samples of every class in turn, their inputs near the unit vector of the class in each modality.
  static func batch(
    modalities: Int = 2, classes: Int = 3, samples: Int = 12, noise: Float = 0.2, seed: UInt64 = 1
  ) -> ClassicBatch {
    let labels = (0..<samples).map { $0 % classes }
    return ClassicBatch(
      inputs: (0..<modalities).map { m in
        let shift = randomTensor([samples, classes], seed: seed + UInt64(m), scale: noise)
        return shift + units(labels, classes: classes)
      }, labels: labels)
  }

  /// The unit vector of each class.
  static func units(_ labels: [Int], classes: Int) -> Tensor {
    Tensor(
      labels.flatMap { label in (0..<classes).map { $0 == label ? Float(1) : 0 } },
      shape: [labels.count, classes])
  }
}

/// What methods see of a training between its steps, on one batch.
final class ToyServices: TrainingServices {
  let toy: ToyModel
  let batch: ClassicBatch
  let held: ClassicBatch
  let parameters: ParameterSet
  let solo: (Int) -> SoloLosses
  var model: ClassicModel { toy.model }
  var seed: Int { 1 }
  var classWeights: [Double]?
  var trainingLabels: [Int] { batch.labels }
  var heldOutLabels: [Int] { held.labels }

  init(
    _ toy: ToyModel, _ batch: ClassicBatch, held: ClassicBatch? = nil,
    solo: @escaping (Int) -> SoloLosses = { _ in
      SoloLosses(trainBefore: 1, heldOutBefore: 1, trainAfter: 1, heldOutAfter: 1)
    }
  ) {
    (self.toy, self.batch, self.held, self.solo) = (toy, batch, held ?? batch, solo)
    parameters = toy.parameterSet
  }

  private func features(_ batch: ClassicBatch) -> [Tensor] {
    batch.inputs.indices.map { model.features($0, of: batch.inputs[$0], Parameters(parameters.named)) }
  }
  func trainingFeatures(_ indices: [Int]) -> [Tensor] { features(batch).map { $0.gatherRows(indices) } }
  func heldOutFeatures() -> [Tensor] { features(held) }
  private func part(_ batch: ClassicBatch, _ indices: [Int]) -> ClassicBatch {
    ClassicBatch(
      inputs: batch.inputs.map { $0.gatherRows(indices) }, labels: indices.map { batch.labels[$0] })
  }
  func trainingBatch(_ indices: [Int]) -> ClassicBatch { part(batch, indices) }
  func heldOutBatch(_ indices: [Int]) -> ClassicBatch { part(held, indices) }
  var learningRate: Double { 0.1 }
  func soloLosses(head: Int, epochs: Int) throws -> SoloLosses { solo(head) }
}

extension StepResult {
  /// The latest figures of a name.
  func figures(_ name: String) throws -> [Double] {
    try XCTUnwrap(context.figures.last { $0.name == name }?.values, name)
  }

  /// The value of one term of the loss.
  func loss(_ name: String) throws -> Double { try XCTUnwrap(losses.first { $0.name == name }?.value, name) }

  /// The gradient that the optimizer takes.
  func gradient(_ name: String) throws -> Tensor { try XCTUnwrap(gradients[name], name) }
}

/// Fails unless two tensors are equal up to rounding.
func assertNear(
  _ found: Tensor, _ expected: Tensor, _ label: String = "", absolute: Double = 2e-6,
  file: StaticString = #filePath, line: UInt = #line
) {
  assertClose(
    found, expected.doubles, shape: expected.shape, absolute: absolute, label, file: file, line: line)
}

/// The Euclidean norm.
func norm(_ tensor: Tensor) -> Double { innerProduct([tensor], [tensor]).squareRoot() }
