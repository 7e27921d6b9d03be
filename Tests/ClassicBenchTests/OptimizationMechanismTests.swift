import Foundation
import TensorCore
import TestSupport
import XCTest

@testable import ClassicBench

/// Methods that change gradients, weights or the order of updates, on a model in which audio is far ahead of the image.
final class OptimizationMechanismTests: XCTestCase {
  private let batch = ToyModel.batch()
  private func toy(_ method: any ImbalanceMethod, noise: Float = 0.1) -> ToyModel {
    ToyModel(method, strengths: [3, 0.3], noise: noise)
  }

  /// Fails unless each tensor of a modality's encoder is `factor` times that of another result.
  private func assertScaled(
    _ result: StepResult, _ other: StepResult, _ modality: String, by factor: Double, line: UInt = #line
  ) throws {
    for part in ["weight", "bias"] {
      let name = "encoder.\(modality).\(part)"
      try assertNear(result.gradient(name), Float(factor) * other.gradient(name), name, line: line)
    }
  }

  /// The encoder that is ahead is slowed down, nothing else changes.
  func testOGMSlowsTheEncoderThatIsAhead() throws {
    let toy = toy(OGM())
    let (result, joint) = (toy.step(batch), toy.step(batch, method: Joint()))
    let ratio = try result.figures("rho")[0]
    XCTAssertGreaterThan(ratio, 1.2)
    try assertScaled(result, joint, "audio", by: 1 - tanh(0.3 * ratio))
    try assertScaled(result, joint, "image", by: 1)
    for name in ["head.weight", "head.bias"] {
      XCTAssertEqual(try result.gradient(name), try joint.gradient(name), name)
    }
  }

  /// The noise of both encoders has the spread of their gradients, and heads get none.
  func testOGMGEAddsNoiseAsLargeAsTheGradients() throws {
    let toy = toy(OGMGE())
    let joint = toy.step(batch, method: Joint())
    for (m, name) in ["encoder.audio.weight", "encoder.image.weight"].enumerated() {
      var draws: [Double] = []
      let plain = try joint.gradient(name)
      let mean = plain.doubles.reduce(0, +) / 9
      let spread = (plain.doubles.reduce(0.0) { $0 + ($1 - mean) * ($1 - mean) } / 8).squareRoot()
      for step in 0..<200 {
        let result = toy.step(batch, at: StepPlace(step: step))
        let factor = Float(try result.figures("k")[m])
        draws += (try result.gradient(name) - factor * plain).doubles.map { $0 / spread }
        XCTAssertEqual(try result.gradient("head.weight"), try joint.gradient("head.weight"))
      }
      // 1800 draws: five standard errors.
      XCTAssertEqual(draws.reduce(0, +) / 1800, 0, accuracy: 0.12, name)
      XCTAssertEqual(draws.reduce(0.0) { $0 + $1 * $1 } / 1800, 1, accuracy: 0.17, name)
    }
  }

  /// The modality that is ahead is slowed down and the other sped up, both without changing the loss.
  func testAGMSlowsTheDominantAndSpeedsTheWeakModality() throws {
    let toy = toy(AGM(), noise: 0.05)
    let (result, joint) = (toy.step(batch), toy.step(batch, method: Joint()))
    let kappa = try result.figures("kappa")
    XCTAssertLessThan(kappa[0], 0.9)
    XCTAssertGreaterThan(kappa[1], 1.05)
    XCTAssertEqual(result.total, joint.total, accuracy: 1e-5)
    for (m, name) in toy.model.names.enumerated() {
      // An input of zeros gives the weight no gradient, so that only the response of the batch is left.
      try assertNear(
        result.gradient("encoder.\(name).weight"),
        Float(kappa[m]) * joint.gradient("encoder.\(name).weight"), name)
    }
  }

  /// The slow modality is pulled to the mean features of its classes; the fast one trains as joint does.
  func testPMRSpeedsTheSlowModality() throws {
    var options = PMR.Options()
    options.entropyEpochs = 0
    let method = PMR(options)
    let toy = toy(method)
    method.update(toy.features(batch), batch.labels, isFirst: true)
    let (result, joint) = (toy.step(batch), toy.step(batch, method: Joint()))
    let coefficients = try result.figures("coefficient")
    XCTAssertEqual(coefficients[0], 0)
    XCTAssertGreaterThan(coefficients[1], 0.1)
    try assertScaled(result, joint, "audio", by: 1)
    // One step of the image's encoder: what prototypes say of it rises more than by the joint gradient.
    func score(after step: StepResult) throws -> Double {
      let moved = ToyModel(Joint(), strengths: [3, 0.3])
      moved.values = toy.values
      moved.descend(step, rate: 0.05)
      let logits = PMR.negativeDistances(moved.features(batch)[1], method.prototypes[1])
      return DiscrepancyRatio.scores([logits], batch.labels)[0]
    }
    XCTAssertGreaterThan(try score(after: result), try score(after: joint) + 0.005)
  }

  /// The encoder whose features memorise goes further back to its start; heads stay.
  func testRelearningResetsTheEncoderThatMemorises() throws {
    var options = Relearning.Options()
    options.interval = 1
    let method = Relearning(options)
    let toy = ToyModel(method, strengths: [1, 1], noise: 0.05)
    let start = toy.values
    for name in toy.values.keys { toy.values[name] = toy.values[name].map { $0 + 1 } }
    // Audio tells classes apart in training samples alone; the image does so in both.
    var held = ToyModel.batch(noise: 0.05)
    let constant = randomTensor([12, 3], seed: 5, scale: 0.01)
    held.inputs[0] = constant
    let services = ToyServices(toy, ToyModel.batch(noise: 0.05), held: held)
    try method.epochEnd(1, services)
    let weights = try XCTUnwrap(method.latest).weights
    XCTAssertGreaterThan(weights[0], 0.5)
    XCTAssertLessThan(weights[1], 0.1)
    for (name, value) in services.parameters.named {
      let index = toy.model.encoderIndex(of: name)
      let share = Float(index.map { weights[$0] } ?? 0)
      let expected = (1 - share) * toy.values[name]! + share * start[name]!
      assertNear(value, expected, name)
    }
  }

  /// In the first phase one encoder and the head learn, most from what the others get wrong; in the second everything.
  func testReconBoostLearnsWhatTheOthersGetWrong() throws {
    let method = ReconBoost()
    let toy = toy(method)
    var confused = batch
    // Audio is wrong about the first six samples.
    confused.inputs[0] = ToyModel.units(
      batch.labels.enumerated().map { $0 < 6 ? ($1 + 1) % 3 : $1 }, classes: 3)
    // The second stage is the image's: eight epochs after the first.
    let first = toy.step(confused, at: StepPlace(epoch: 8))
    XCTAssertEqual(
      Set(first.gradients.keys),
      ["encoder.image.weight", "encoder.image.bias", "shared.weight", "shared.bias"])
    let weights = try first.figures("sample_weight")
    XCTAssertGreaterThan(weights[..<6].min() ?? 0, (weights[6...].max() ?? 5) + 0.3)
    XCTAssertTrue(weights.allSatisfy { (4...5).contains($0) })
    let second = toy.step(confused, at: StepPlace(epoch: 12))
    XCTAssertEqual(Set(second.gradients.keys), Set(toy.model.parameterShapes.map(\.name)))
    for epoch in 0..<16 {
      let restarts = method.subStep(toy.model, at: StepPlace(epoch: epoch)).restartsOptimizer
      XCTAssertEqual(restarts, epoch % 4 == 0, "epoch \(epoch)")
    }
  }

  /// In its window the modality that is ahead is held back to where it was at the end of the last epoch.
  func testInfoRegHoldsTheSufficientModalityBack() throws {
    var options = InfoReg.Options()
    options.threshold = -100
    let method = InfoReg(options)
    let toy = toy(method)
    for epoch in 0..<2 {
      let result = toy.step(batch, at: StepPlace(epoch: epoch))
      XCTAssertEqual(try result.figures("strength"), [0, 0], "epoch \(epoch)")
      method.finishEpoch(toy.model, toy.parameterSet)
    }
    XCTAssertEqual(method.isOpen, [true, true])
    let unmoved = toy.step(batch, at: StepPlace(epoch: 2))
    try assertScaled(unmoved, toy.step(batch, method: Joint()), "audio", by: 1)
    for name in toy.values.keys { toy.values[name] = toy.values[name].map { $0 + 0.25 } }
    let (result, joint) = (
      toy.step(batch, at: StepPlace(epoch: 2)), toy.step(batch, method: Joint())
    )
    let gap = try result.figures("gap")[0]
    let pull = Float(0.25 * exp(0.9 * tanh(gap)))
    try assertNear(
      result.gradient("encoder.audio.weight"), joint.gradient("encoder.audio.weight") + pull,
      absolute: 1e-5)
    try assertScaled(result, joint, "image", by: 1)
  }

  /// The encoder that is ahead is slowed down and the other sped up, in the uniform sum of losses.
  func testMLBScalesBothEncoders() throws {
    let toy = toy(MLB())
    let (result, uniform) = (toy.step(batch), toy.step(batch, method: Uniform()))
    let factors = try result.figures("k")
    XCTAssertLessThan(factors[0], 0.9)
    XCTAssertGreaterThan(factors[1], 1.1)
    try assertScaled(result, uniform, "audio", by: factors[0])
    try assertScaled(result, uniform, "image", by: factors[1])
    for name in ["head.weight", "unihead.audio.weight", "unihead.image.weight"] {
      XCTAssertEqual(try result.gradient(name), try uniform.gradient(name), name)
    }
  }
}
