import Foundation
import TensorCore
import TestSupport
import TokenModel
import XCTest

@testable import ClassicBench

/// Baselines, data and fusion: each method does what it is for, on a model in which audio is far ahead of the image.
final class MechanismTests: XCTestCase {
  private let batch = ToyModel.batch()
  private func toy(_ method: any ImbalanceMethod, noise: Float = 0.1) -> ToyModel {
    ToyModel(method, strengths: [3, 0.3], noise: noise)
  }

  /// The batch with other inputs of one modality.
  private func changed(_ index: Int) -> ClassicBatch {
    var other = batch
    other.inputs[index] = randomTensor(batch.inputs[index].shape, seed: 77)
    return other
  }

  /// One loss: the head's bias gets the mean residual, and both encoders that same residual through their blocks.
  func testJointPassesOneResidualToAllEncoders() throws {
    let toy = toy(Joint())
    let result = toy.step(batch)
    XCTAssertEqual(result.losses.map(\.name), ["multi"])
    let residual = result.forward.fused.detached.softmax() - ToyModel.units(batch.labels, classes: 3)
    let mean = (1.0 / 12) * residual
    assertNear(
      try result.gradient("head.bias"), Tensor(repeating: 1, shape: [1, 12]).matmul(mean).reshaped(to: [3]))
    for (m, name) in toy.model.names.enumerated() {
      let block = try XCTUnwrap(toy.values["head.weight"]).columns(3 * m..<3 * m + 3)
      assertNear(
        try result.gradient("encoder.\(name).weight"),
        mean.matmul(block).matmul(batch.inputs[m], transposingSelf: true), name)
    }
  }

  /// Only one branch learns, and the other modality has no say in how.
  func testUnimodalSeesOneModality() throws {
    let toy = toy(Unimodal(modality: 1))
    let result = toy.step(batch)
    XCTAssertEqual(
      Set(result.gradients.keys),
      ["encoder.image.weight", "encoder.image.bias", "unihead.image.weight", "unihead.image.bias"])
    XCTAssertEqual(toy.step(changed(0)).gradients, result.gradients)
    XCTAssertNotEqual(toy.step(changed(1)).gradients, result.gradients)
  }

  /// Branches learn apart; the prediction is the mean of their probabilities.
  func testBranchesOfTheEnsembleLearnApart() throws {
    let toy = toy(UnimodalEnsemble())
    let (result, other) = (toy.step(batch), toy.step(changed(0)))
    for (name, gradient) in result.gradients {
      XCTAssertEqual(gradient == other.gradients[name], name.contains("image"), name)
    }
    let (features, parameters) = (toy.features(batch), Parameters(toy.values))
    let mean = toy.method.evaluationLogits(toy.model, features, present: [true, true], parameters)
    let parts = (0..<2).map { toy.model.unimodalHead($0, of: features[$0], parameters).softmax() }
    assertNear(mean, 0.5 * (parts[0] + parts[1]))
  }

  /// Encoders get the gradient of the fused loss and of their own; the fused head that of joint training.
  func testUniformAddsAnOwnLossToEveryEncoder() throws {
    let toy = toy(Uniform())
    let (result, joint) = (toy.step(batch), toy.step(batch, method: Joint()))
    let alone = toy.step(batch, method: UnimodalEnsemble())
    for name in ["encoder.audio.weight", "encoder.image.weight", "encoder.image.bias"] {
      try assertNear(result.gradient(name), joint.gradient(name) + alone.gradient(name), name)
    }
    for name in ["head.weight", "head.bias"] {
      assertNear(try result.gradient(name), try joint.gradient(name), name)
    }
  }

  /// Samples that only audio gets right are seen again with the image alone, and then only its encoder learns.
  func testValuationShowsTheWeakModalityAlone() throws {
    var options = ModalityValuation.Options()
    (options.level, options.warmupEpochs) = (.sample, 0)
    let toy = toy(ModalityValuation(options), noise: 0)
    // The image says the wrong class.
    var confused = batch
    confused.inputs[1] = ToyModel.units(batch.labels.map { ($0 + 1) % 3 }, classes: 3)
    try toy.method.epochStart(0, ToyServices(toy, confused))
    let items = toy.method.extraItems(0)
    XCTAssertEqual(Set(items.map(\.sample)), Set(0..<12))
    XCTAssertTrue(items.allSatisfy { $0.keep == [false, true] })
    var masked = confused
    masked.keep = items.prefix(12).map(\.keep)
    let result = toy.step(masked)
    XCTAssertEqual(norm(try result.gradient("encoder.audio.weight")), 0)
    XCTAssertGreaterThan(norm(try result.gradient("encoder.image.weight")), 0)
  }

  /// Features of the modality that is ahead are dropped, never those of the other, and none in evaluation.
  func testOPMDropsTheModalityThatIsAhead() throws {
    var options = OPM.Options()
    (options.warmupEpochs, options.executionShare, options.rescales) = (0, 1, false)
    let toy = toy(OPM(options))
    let result = toy.step(batch)
    let keep = try XCTUnwrap(result.context.tensors["keep"]).hostRows()
    XCTAssertTrue(keep.contains { $0[0] == 0 } && keep.contains { $0[0] == 1 })
    XCTAssertTrue(keep.allSatisfy { $0[1] == 1 })
    for (row, kept) in zip(result.forward.feature(0).detached.hostRows(), keep) where kept[0] == 0 {
      XCTAssertEqual(row, [0, 0, 0])
    }
    let (features, parameters) = (toy.features(batch), Parameters(toy.values))
    XCTAssertEqual(
      toy.method.evaluationLogits(toy.model, features, present: [true, true], parameters),
      toy.model.head.fused(features, toy.model.names, parameters))
  }

  /// The branch with the largest share of learning in what crosses over does without it for a window of steps.
  func testGreedyCutsOffTheBranchThatLeansOnTheOthers() throws {
    var options = Greedy.Options()
    (options.threshold, options.window, options.regularSteps) = (0, 2, 2)
    let toy = toy(Greedy(options))
    var (caring, expected): ([Int], [Int]) = ([], [])
    for k in 0..<6 {
      let result = toy.step(batch, at: StepPlace(step: k, batch: k, batchesPerEpoch: 6))
      let now = Int(try result.figures("caring")[0])
      caring.append(now)
      for (m, name) in toy.model.names.enumerated() {
        // A constant gate has no gradient.
        let gate = result.rawGradients["mmtm.excite.\(name).weight"].map(norm) ?? 0
        XCTAssertEqual(gate > 0, now != m, "step \(k), \(name)")
      }
      // After two regular steps, and after every one that follows a window.
      let speeds = try result.figures("speed")
      expected.append(speeds[0] > speeds[1] ? 0 : 1)
      toy.descend(result, rate: 0.1)
      toy.method.afterStep(result.forward, result.context)
    }
    XCTAssertEqual(caring, [-1, -1, expected[1], expected[1], -1, expected[4]])
  }

  /// Only the modality that the prediction depends on is masked, more from epoch to epoch.
  func testAMCoMasksTheDominantModality() throws {
    let method = AMCo()
    let rates = (0..<10).map(method.rate)
    XCTAssertEqual(rates, rates.sorted())
    XCTAssertEqual([rates[0], rates[6], rates[9]], [0, 0.8, 0.8])
    let toy = toy(method)
    let first = toy.step(batch)
    assertNear(try XCTUnwrap(first.context.tensors["masked_z"]), first.forward.fused.detached)
    // ⌊0.8 · 3⌋ coordinates of audio become 0; draws for the image would fail.
    let orders = (0..<12).map { ("mask.audio \($0)", [0, 1, 2]) }
    let random = GivenRandom(orders: Dictionary(uniqueKeysWithValues: orders))
    let late = toy.step(batch, at: StepPlace(epoch: 6), random: random)
    XCTAssertEqual(try late.figures("dependent"), [1, 0])
    let features = toy.features(batch)
    let mask = Tensor((0..<12).flatMap { _ in [Float(0), 0, 1] }, shape: [12, 3])
    assertNear(
      try XCTUnwrap(late.context.tensors["masked_z"]),
      toy.model.head.fused([features[0] * mask, features[1]], toy.model.names, Parameters(toy.values)))
  }

  /// Each modality moves its own encoder and the head, and the head no longer along features that went before.
  func testMLAKeepsTheHeadOffFeaturesOfTheModalityBefore() throws {
    let toy = toy(MLA())
    func place(_ part: Int) -> StepPlace { StepPlace(step: part, batchesPerEpoch: 10, part: part) }
    let first = toy.step(batch, at: place(0))
    XCTAssertEqual(
      Set(first.gradients.keys),
      ["encoder.audio.weight", "encoder.audio.bias", "shared.weight", "shared.bias"])
    let feature = Tensor(try first.figures("hbar").map { Float($0) }, shape: [3, 1])
    let second = toy.step(batch, at: place(1))
    XCTAssertNil(second.gradients["encoder.audio.weight"])
    let raw = norm(try XCTUnwrap(second.rawGradients["shared.weight"]).matmul(feature))
    let edited = norm(try second.gradient("shared.weight").matmul(feature))
    // P h = h α / (α + |h|²) with α = 0.1.
    XCTAssertEqual(edited / raw, 0.1 / (0.1 + norm(feature) * norm(feature)), accuracy: 1e-4)
  }

  /// A query that looks one way is turned to where both modalities are seen alike, as far as their keys allow.
  func testRollingQTurnsTheQueryAwayFromTheFavouredModality() throws {
    let method = RollingQ()
    let toy = toy(method)
    // The query points along the keys of audio.
    let bias = try XCTUnwrap(
      toy.step(batch).context.tensors["key"].map { keys -> Tensor in
        let rows = keys.hostRows()
        let audio = stride(from: 1, to: rows.count, by: 3).map { rows[$0] }
        return Tensor((0..<3).map { column in audio.reduce(0) { $0 + $1[column] } / 12 }, shape: [3])
      })
    toy.values["head.class_token"] = Tensor(zeros: [1, 3])
    toy.values["head.layers.0.query.bias"] = bias
    // Forgets the query from before.
    method.fitStart(toy.model, toy.parameterSet, samples: 12)
    let before = try toy.step(batch).figures("cosine")
    XCTAssertGreaterThan(before[0], before[1])
    try method.epochEnd(0, ToyServices(toy, batch))
    let result = toy.step(batch)
    let after = try result.figures("cosine")
    XCTAssertEqual(try result.figures("rotations"), [1])
    XCTAssertLessThan(after[0] - after[1], before[0] - before[1])
    // The second end of an epoch is beyond the limit.
    let rotation = try XCTUnwrap(method.rolling?[0]?.rotation(head: 0))
    try method.epochEnd(1, ToyServices(toy, batch))
    XCTAssertEqual(method.rolling?[0]?.rotation(head: 0), rotation)
    // The state of another method of the same kind gives the same logits.
    let other = RollingQ()
    other.fitStart(toy.model, toy.parameterSet, samples: 12)
    let (features, parameters) = (toy.features(batch), Parameters(toy.values))
    func logits(_ method: RollingQ) -> Tensor {
      method.evaluationLogits(toy.model, features, present: [true, true], parameters)
    }
    XCTAssertNotEqual(logits(other), logits(method))
    other.state = method.state
    XCTAssertEqual(logits(other), logits(method))
    try other.epochEnd(2, ToyServices(toy, batch))
    // What is no rotation is refused.
    other.state = method.state.map { ($0.name, $0.name.hasSuffix("rotation") ? 2 * $0.value : $0.value) }
    XCTAssertThrowsError(try other.epochEnd(3, ToyServices(toy, batch))) {
      XCTAssertTrue($0 is RollingQueryError, "\($0)")
    }
  }

  /// Longer features and weights give joint training other logits, and MMCosine the same.
  func testMMCosineIgnoresLengths() throws {
    for (method, isSame) in [(MMCosine(scale: 10), true), (Joint(), false)] as [(any ImbalanceMethod, Bool)] {
      let toy = toy(method)
      let before = toy.step(batch).forward.fused.detached
      for name in ["encoder.audio.weight", "encoder.audio.bias"] {
        toy.values[name] = toy.values[name].map { 20 * $0 }
      }
      let after = toy.step(batch).forward.fused.detached
      XCTAssertEqual(norm(after - before) < 1e-4, isSame)
      if isSame { XCTAssertLessThanOrEqual(after.doubles.map(abs).max() ?? 0, 20.0001) }
    }
  }
}
