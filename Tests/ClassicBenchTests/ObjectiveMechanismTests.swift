import Foundation
import TensorCore
import TestSupport
import XCTest

@testable import ClassicBench

/// Methods that change what is minimised, on a model in which audio is far ahead of the image.
final class ObjectiveMechanismTests: XCTestCase {
  private let batch = ToyModel.batch()
  private func toy(_ method: any ImbalanceMethod, noise: Float = 0.1) -> ToyModel {
    ToyModel(method, strengths: [3, 0.3], noise: noise)
  }

  /// Steps bring features nearer to the teachers'; a student that is its teacher trains as joint does.
  func testUMTPullsFeaturesToTheTeachers() throws {
    let start = toy(Joint())
    let same = start.step(batch, method: UMT(weight: 50, teachers: start.values))
    let joint = start.step(batch)
    for name in joint.gradients.keys {
      assertNear(try same.gradient(name), try joint.gradient(name), name)
    }
    let teachers = ToyModel(Joint(), strengths: [1, 2]).values
    let student = toy(UMT(weight: 1, teachers: teachers))
    var distances: [Double] = []
    for _ in 0..<5 {
      let result = student.step(batch)
      distances.append(try result.loss("distill_audio") + result.loss("distill_image"))
      student.descend(result, rate: 0.2)
    }
    XCTAssertEqual(distances, distances.sorted(by: >))
    XCTAssertLessThan(distances[4], 0.7 * distances[0])
  }

  /// The surest modality teaches and learns nothing from it; the other one becomes more like it.
  func testMBSDTeachesTheWeakModalityAlone() throws {
    var options = MBSD.Options()
    (options.divergenceWeight, options.representationWeight) = (0, 0)
    let silent = MBSD(options)
    let toy = toy(MBSD())
    let (taught, plain) = (toy.step(batch), toy.step(batch, method: silent))
    XCTAssertEqual(try taught.figures("strong"), Array(repeating: 0, count: 12))
    for name in ["encoder.audio.weight", "encoder.audio.bias"] {
      assertNear(try taught.gradient(name), try plain.gradient(name), name, absolute: 1e-7)
    }
    let lesson = try taught.gradient("encoder.image.weight") - plain.gradient("encoder.image.weight")
    XCTAssertGreaterThan(norm(lesson), 1e-3)
    let before = try taught.loss("kl") + taught.loss("rs")
    toy.values["encoder.image.weight"] = toy.values["encoder.image.weight"].map { $0 - 0.1 * lesson }
    let after = toy.step(batch)
    XCTAssertLessThan(try after.loss("kl") + after.loss("rs"), before)
  }

  /// Confidence that grows when a modality is taken away is a loss, and steps lower it; other confidence is none.
  func testCMLLowersConfidenceThatGrowsWithoutAModality() throws {
    var options = CML.Options()
    options.weight = 20
    let random = GivenRandom(orders: ["cml order": [1, 0]])
    let toy = toy(CML(options), noise: 0)
    let agreeing = toy.step(batch, random: random)
    XCTAssertEqual(try agreeing.loss("hinge"), 0)
    var contradicting = batch
    contradicting.inputs[1] = 3 * ToyModel.units(batch.labels.map { ($0 + 1) % 3 }, classes: 3)
    var hinges: [Double] = []
    for _ in 0..<5 {
      let result = toy.step(contradicting, random: random)
      hinges.append(try result.loss("hinge"))
      toy.descend(result, rate: 0.02)
    }
    XCTAssertGreaterThan(hinges[0], 0.01)
    XCTAssertLessThan(hinges[4], 0.8 * hinges[0])
  }

  /// The direction of an encoder is against neither loss and not shorter than the sum, also where gradients conflict.
  func testMMParetoConflictsWithNoLoss() throws {
    var conflicts = 0
    for seed in 0..<200 {
      let a = [randomTensor([4, 3], seed: UInt64(seed)), randomTensor([4], seed: UInt64(900 + seed))]
      let b = [
        randomTensor([4, 3], seed: UInt64(300 + seed), scale: 2), randomTensor([4], seed: UInt64(600 + seed)),
      ]
      let direction = MMPareto.direction(a, b, MMPareto.Options())
      if direction.cosine < 0 { conflicts += 1 }
      let slack = -1e-4 * innerProduct(direction.gradients, direction.gradients).squareRoot()
      XCTAssertGreaterThan(innerProduct(direction.gradients, a), slack, "\(seed)")
      XCTAssertGreaterThan(innerProduct(direction.gradients, b), slack, "\(seed)")
      let sum = zip(a, b).map { $0 + $1 }
      XCTAssertGreaterThan(
        innerProduct(direction.gradients, direction.gradients), 2.2499 * innerProduct(sum, sum) - 1e-6)
    }
    XCTAssertGreaterThan(conflicts, 40)
    // Heads take what uniform training gives them.
    let toy = toy(MMPareto())
    let (result, uniform) = (toy.step(batch), toy.step(batch, method: Uniform()))
    for name in ["head.weight", "head.bias", "unihead.audio.weight", "unihead.image.bias"] {
      assertNear(try result.gradient(name), try uniform.gradient(name), name)
    }
  }

  /// A head that gains on training samples alone counts less, one that gains nothing does not count.
  func testGBlendingWeighsDownWhatOverfits() throws {
    let method = GBlending()
    let toy = toy(method)
    let services = ToyServices(toy, batch) { head in
      // Audio overfits, the image gains nothing, the fused head generalises.
      let after = [(0.1, 0.9), (0.5, 1.2), (0.5, 0.55)][head]
      return SoloLosses(trainBefore: 1, heldOutBefore: 1, trainAfter: after.0, heldOutAfter: after.1)
    }
    XCTAssertEqual(method.weights, [1.0 / 3, 1.0 / 3, 1.0 / 3])
    try method.epochStart(0, services)
    let result = toy.step(batch)
    let weights = Dictionary(uniqueKeysWithValues: result.losses.map { ($0.name, $0.weight) })
    XCTAssertEqual(weights.values.reduce(0, +), 1, accuracy: 1e-12)
    XCTAssertEqual(weights["image"], 0)
    XCTAssertLessThan(try XCTUnwrap(weights["audio"]), 0.01)
    // The branch that counts for nothing gets the gradient of the fused loss alone.
    let share = Float(try XCTUnwrap(weights["multi"]))
    let fused = try toy.step(batch, method: Joint()).gradient("encoder.image.weight")
    assertNear(try result.gradient("encoder.image.weight"), share * fused)
    // With half the strength the ratio of two weights is its root, with none all that gain are alike.
    for (strength, ratio) in [(0.5, (method.weights[0] / method.weights[2]).squareRoot()), (0, 1)] {
      var options = GBlending.Options()
      options.strength = strength
      let weaker = GBlending(options)
      try weaker.epochStart(0, services)
      XCTAssertEqual(weaker.weights[0] / weaker.weights[2], ratio, accuracy: 1e-9)
      XCTAssertEqual(weaker.weights.reduce(0, +), 1, accuracy: 1e-12)
    }
  }

  /// At first modalities are matched, whatever the labels; the weight goes down and the labels take over.
  func testLFMMatchesModalitiesFirst() throws {
    let weights = (0..<50).map { LFM().weight(epoch: $0) }
    XCTAssertEqual(weights, weights.sorted(by: >))
    XCTAssertGreaterThan(weights[0], 0.6)
    XCTAssertLessThan(weights[49], 0.03)
    for matching in [LFM.Matching.jensenShannon, .contrastive] {
      var options = LFM.Options()
      (options.matching, options.schedule, options.fixedWeight) = (matching, .fixed, 1)
      let toy = toy(LFM(options))
      var other = batch
      other.labels.reverse()
      XCTAssertEqual(toy.step(batch).gradients, toy.step(other).gradients)
      var values: [Double] = []
      for _ in 0..<5 {
        let result = toy.step(batch)
        values.append(try result.loss("match"))
        toy.descend(result, rate: 0.05)
      }
      XCTAssertEqual(values, values.sorted(by: >), "\(matching)")
    }
  }

  /// The bi-level step follows the slope of the held-out loss by α after one plain step, which central differences know too,
  /// and stays within its bounds.
  func testLFMLearnsItsWeightOnHeldOutSamples() throws {
    var options = LFM.Options()
    (options.schedule, options.weightRate, options.bilevelSamples) = (.bilevel, 3, 12)
    let method = LFM(options)
    let toy = toy(method)
    // Held-out samples are of other noise; the order of a batch does not matter.
    let held = ToyModel.batch(seed: 5)
    let services = ToyServices(toy, batch, held: held)
    try method.epochStart(0, services)
    XCTAssertEqual(method.weight(epoch: 0), 0.95)
    func moved(_ weight: Double) -> Double {
      var options = LFM.Options()
      (options.schedule, options.fixedWeight) = (.fixed, weight)
      let step = toy.step(batch, method: LFM(options))
      let shifted = ToyModel(method, strengths: [3, 0.3], noise: 0.1)
      shifted.values = toy.values
      shifted.descend(step, rate: 0.1)
      return shifted.step(held, method: Joint()).total
    }
    let slope = (moved(0.95 + 0.05) - moved(0.95 - 0.05)) / 0.1
    XCTAssertGreaterThan(abs(slope), 1e-3)
    try method.epochStart(1, services)
    let expected = min(0.95, max(0.05, 0.95 - 3 * slope))
    XCTAssertEqual(method.weight(epoch: 1), expected, accuracy: 0.02 * 3 * abs(slope))
    XCTAssertEqual(toy.step(batch).losses[0].weight, method.weight(epoch: 1))
    for epoch in 2..<60 { try method.epochStart(epoch, services) }
    XCTAssertTrue(LFM.bounds.contains(method.weight(epoch: 60)))
    let again = LFM(options)
    again.state = method.state
    XCTAssertEqual(again.weight(epoch: 60), method.weight(epoch: 60))
    // Classes that count differently, and those that count the same.
    func first(_ weights: [Double]?) throws -> Double {
      let method = LFM(options)
      services.classWeights = weights
      try method.epochStart(1, services)
      return method.weight(epoch: 1)
    }
    let plain = try first(nil)
    let classes = toy.model.classCount
    XCTAssertEqual(try first(Array(repeating: 2, count: classes)), plain, accuracy: 1e-5)
    XCTAssertGreaterThan(abs(try first((0..<classes).map { $0 == 0 ? 8 : 1 }) - plain), 1e-4)
  }

  /// Once the better branch is the anchor it stands still, and only it has a say in how the other learns.
  func testUDIFreezesTheAnchorAndGuidesTheOther() throws {
    for complementarity in [UDI.Complementarity.vCLUB, .correlation] {
      var options = UDI.Options()
      (options.soloEpochs, options.smoothing, options.complementarity) = (1, 0, complementarity)
      let method = UDI(options)
      let toy = toy(method)
      var other = batch
      other.inputs[0] = randomTensor([12, 3], seed: 78)
      func image(_ batch: ClassicBatch) throws -> Tensor {
        try toy.step(batch).gradient("encoder.image.weight")
      }
      XCTAssertEqual(try image(batch), try image(other), "alone")
      // Held-out images are of the wrong class.
      var held = batch
      held.inputs[1] = ToyModel.units(batch.labels.map { ($0 + 1) % 3 }, classes: 3)
      try method.epochEnd(0, ToyServices(toy, batch, held: held))
      XCTAssertEqual(method.anchor, 0)
      let guided = toy.step(batch, at: StepPlace(epoch: 1))
      XCTAssertEqual(guided.gradients.keys.filter { $0.contains("audio") }, [])
      XCTAssertNotEqual(try guided.gradient("encoder.image.weight"), try image(other), "guided")
      XCTAssertTrue(try guided.figures("lambda").allSatisfy { (0...1).contains($0) })
    }
  }
}
