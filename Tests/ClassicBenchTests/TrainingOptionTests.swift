import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import ClassicBench

/// Accumulation of batches, what coefficients are multiplied with, and weights of classes.
final class TrainingOptionTests: XCTestCase {
  private func trained(
    _ method: @escaping () -> any ImbalanceMethod, count: Int = 2,
    _ change: (inout TrainingPlan) -> Void
  ) throws -> ParameterSet {
    let directory = try TemporaryDirectory()
    let entry = SmallTask.Entry("method", nil, method)
    return try withExtendedLifetime(directory) {
      try SmallTask(count: count)
        .finish(entry, in: try SmallTask.folder(directory, .fresh), change: change).parameters
    }
  }

  /// Fails unless all parameters are equal within a share of the largest element of each.
  private func assertSame(
    _ found: ParameterSet, _ expected: ParameterSet, relative: Double, file: StaticString = #filePath,
    line: UInt = #line
  ) {
    for (name, (a, b)) in zip(found.names, zip(found.values, expected.values)) {
      let scale = max(1e-3, b.doubles.map(abs).max() ?? 0)
      assertClose(a, b.doubles, shape: b.shape, absolute: relative * scale, name, file: file, line: line)
    }
  }

  // MARK: Accumulation

  /// Two batches of 8 are one of 16: the order of samples is the same, and the mean of the means is the mean.
  func testTwoBatchesAreOneOfTwiceTheSize() throws {
    let whole = try trained({ Joint() }) { $0.batchSize = 16 }
    let parts = try trained({ Joint() }) { ($0.batchSize, $0.accumulation) = (8, 2) }
    assertSame(parts, whole, relative: 1e-6)
    let other = try trained({ Joint() }) { $0.batchSize = 8 }
    XCTAssertGreaterThan(norm(other.values[0] - whole.values[0]), 1e-3)
  }

  /// The last parts of a step belong to no other step, and an epoch ends with a whole step.
  func testStepsOfAnEpochTakeWholeBatches() throws {
    let task = try SmallTask(count: 2).task(Joint()) { ($0.batchSize, $0.accumulation) = (8, 3) }
    // 64 samples are 8 batches, of which 6 make two steps.
    XCTAssertEqual(task.stepsPerEpoch, 2)
    XCTAssertThrowsError(
      try SmallTask(count: 2).task(Joint()) { ($0.batchSize, $0.accumulation) = (16, 5) }
    ) { error in
      XCTAssertEqual(
        (error as? BenchError)?.errorDescription,
        "training.accumulation: found 5 accumulated batches of 16, expected no more than the 64 samples that are trained on (method \"joint\")"
      )
      XCTAssertEqual((error as? BenchError)?.exitStatus, .data)
    }
  }

  /// A method with memory and random draws, and one whose optimizer restarts.
  func testAccumulatedRunsResumeInTheSameBytes() throws {
    let small = SmallTask(count: 2)
    for id in ["ogm-ge", "agm", "reconboost", "opm"] {
      let entry = try XCTUnwrap(small.entries.first { $0.id == id })
      let change = { (plan: inout TrainingPlan) in (plan.batchSize, plan.accumulation) = (8, 2) }
      let (directory, parts) = (try TemporaryDirectory(), try TemporaryDirectory())
      let whole = try SmallTask.folder(directory, .fresh)
      let steps = try small.finish(entry, in: whole, change: change).stepsPerEpoch
      try small.stop(entry, after: steps + 1, in: try SmallTask.folder(parts, .fresh), change: change)
      let resumed = try SmallTask.folder(parts, .resume)
      try small.finish(entry, in: resumed, change: change)
      for name in ["state.safetensors", "log.jsonl"] {
        XCTAssertEqual(
          try Data(contentsOf: resumed.url(of: name)), try Data(contentsOf: whole.url(of: name)),
          "\(id): \(name)")
      }
    }
  }

  // MARK: Coefficients

  /// θ ← θ − η k v with v ← μ v + g + λ θ, in Float64 by hand; a factor of 1 where nothing is said.
  func testAFactorMultipliesTheStepWithItsMomentumAndDecay() {
    let start: [Float] = [0.5, -1.25, 2]
    let parameters = ParameterSet([
      ("scaled", Tensor(start, shape: [3])), ("plain", Tensor(start, shape: [3])),
    ])
    let rule = RestartableSGD(momentum: 0.9)
    let optimizer = Optimizer(parameters, rule: rule, groups: [ParameterGroup(weightDecay: 0.1)])
    var (scaled, plain) = (start.map(Double.init), start.map(Double.init))
    var velocities = [[Double](repeating: 0, count: 3), [Double](repeating: 0, count: 3)]
    for (step, k) in [0.25, 1, 0.5].enumerated() {
      let gradient = [0.1, 0.2, -0.3].map { Float($0 * Double(step + 1)) }
      let tensor = Tensor(gradient, shape: [3])
      optimizer.step([tensor, tensor], learningRate: 0.05, factors: ["scaled": k])
      for index in 0..<3 {
        velocities[0][index] = 0.9 * velocities[0][index] + Double(gradient[index]) + 0.1 * scaled[index]
        velocities[1][index] = 0.9 * velocities[1][index] + Double(gradient[index]) + 0.1 * plain[index]
        scaled[index] -= 0.05 * k * velocities[0][index]
        plain[index] -= 0.05 * velocities[1][index]
      }
    }
    assertClose(parameters.values[0], scaled, shape: [3], absolute: 1e-6)
    assertClose(parameters.values[1], plain, shape: [3], absolute: 1e-6)
  }

  /// Gradients stay as they are and factors are the method's coefficients.
  func testFactorsAreTheCoefficients() throws {
    for (method, isOGM) in [(OGM(), true), (MLB(), false)] as [(any ImbalanceMethod, Bool)] {
      let toy = ToyModel(method, strengths: [3, 0.3], noise: 0.1)
      let batch = ToyModel.batch()
      var engine = StepEngine(model: toy.model, method: method)
      engine.coefficients = .update
      let place = StepPlace()
      let result = engine.step(toy.values, batch, at: place, random: KeyedRandom(seed: 1, place: place))
      XCTAssertEqual(result.gradients, result.rawGradients)
      let k = try result.figures("k")
      XCTAssertNotEqual(k[0], 1)
      XCTAssertEqual(result.updateFactors["encoder.audio.weight"], k[0])
      XCTAssertEqual(result.updateFactors["encoder.image.bias"], k[1])
      XCTAssertNil(result.updateFactors["head.weight"])
      let usual = toy.step(batch)
      XCTAssertEqual(usual.updateFactors, [:], "\(isOGM)")
      assertNear(
        try usual.gradient("encoder.audio.weight"),
        Float(k[0]) * (try result.gradient("encoder.audio.weight")))
    }
  }

  /// Without momentum and decay η (k g) is (η k) g; with them it is not.
  func testBothFormsAgreeWithoutMomentumAndDecay() throws {
    func difference(momentum: Double, decay: Double) throws -> (Double, ParameterSet, ParameterSet) {
      func run(_ target: CoefficientTarget) throws -> ParameterSet {
        try trained({ OGM() }) {
          ($0.momentum, $0.weightDecay, $0.coefficients) = (momentum, decay, target)
        }
      }
      let (grad, update) = (try run(.grad), try run(.update))
      return (norm(grad.values[0] - update.values[0]), grad, update)
    }
    let plain = try difference(momentum: 0, decay: 0)
    assertSame(plain.2, plain.1, relative: 1e-5)
    XCTAssertGreaterThan(try difference(momentum: 0.9, decay: 1e-3).0, 1e-4)
  }

  // MARK: Refusals

  func testWhatAMethodCannotHonourIsRefused() throws {
    let small = SmallTask(count: 2)
    func reason(_ id: String, _ change: (inout TrainingPlan) -> Void) throws -> String? {
      let entry = try XCTUnwrap(small.entries.first { $0.id == id })
      do {
        _ = try small.task(entry.make(), change: change)
        return nil
      } catch BenchError.refused(_, let reason) { return reason }
    }
    let ids = Set(small.entries.map(\.id))
    let accumulating = try ids.filter { try reason($0) { ($0.batchSize, $0.accumulation) = (4, 2) } != nil }
    XCTAssertEqual(accumulating, ["mla", "greedy"])
    let updating = try ids.filter { try reason($0) { $0.coefficients = .update } != nil }
    XCTAssertEqual(updating, ["ogm-ge", "agm", "mmpareto", "inforeg", "mla"])
    let composed = ComposedMethod([OPM(), OGMGE()])
    XCTAssertThrowsError(try small.task(composed) { $0.coefficients = .update }) { error in
      guard case BenchError.refused(_, let reason)? = error as? BenchError else { return XCTFail("\(error)") }
      XCTAssertTrue(reason.hasPrefix("apply_to update: ogm-ge: "), reason)
    }
    XCTAssertThrowsError(try small.task(Joint()) { $0.classWeights = .given([1, 2]) }) { error in
      XCTAssertEqual(
        (error as? BenchError)?.errorDescription,
        "training.class_weights: found 2 numbers, expected one for each of 3 classes (method \"joint\")")
    }
  }

  func testOptionsAreReadAndChecked() throws {
    func plan(_ training: String) throws -> TrainingPlan {
      let text = """
        {"data": "data", "modalities": ["a", "b"], "methods": [{"id": "joint"}], "training": \(training)}
        """
      return try BenchExperiment(
        path: "test", bytes: [UInt8](text.utf8), base: URL(fileURLWithPath: "/"), choices: .init()
      ).plan
    }
    let read = try plan(#"{"accumulation": 4, "class_weights": [1, 0.5, 2]}"#)
    XCTAssertEqual(read.accumulation, 4)
    XCTAssertEqual(read.classWeights, .given([1, 0.5, 2]))
    XCTAssertEqual(try plan(#"{"class_weights": "balanced"}"#).classWeights, .balanced)
    XCTAssertEqual(try plan(#"{"apply_to": "update"}"#).coefficients, .update)
    XCTAssertEqual(try plan("{}"), TrainingPlan())
    for wrong in [
      #"{"apply_to": "update", "accumulation": 2}"#, #"{"apply_to": "gradients"}"#, #"{"accumulation": 0}"#,
      #"{"class_weights": "even"}"#, #"{"class_weights": [1, -1]}"#, #"{"class_weights": [1, "a"]}"#,
      #"{"class_weights": 3}"#,
    ] {
      XCTAssertThrowsError(try plan(wrong), wrong) { XCTAssertTrue($0 is ExperimentError, "\($0)") }
    }
  }

  // MARK: Weights of classes

  /// Σ w[y_i] CE_i / Σ w[y_i], in Float64 by hand, and its gradient by the logits.
  func testTheMeanIsThatOfWeightedSamples() throws {
    let weights = [0.5, 2, 1]
    let toy = ToyModel(Joint(), strengths: [1, 0.5], noise: 0.2)
    let batch = ToyModel.batch(samples: 7)
    var engine = StepEngine(model: toy.model, method: Joint())
    engine.classWeights = weights
    let place = StepPlace()
    let result = engine.step(toy.values, batch, at: place, random: KeyedRandom(seed: 1, place: place))
    let logits = result.forward.fused.detached.hostRows().map { $0.map(Double.init) }
    let total = batch.labels.reduce(0.0) { $0 + weights[$1] }
    var (loss, bias) = (0.0, [0.0, 0, 0])
    for (row, label) in zip(logits, batch.labels) {
      let sum = row.reduce(0.0) { $0 + exp($1) }
      loss += weights[label] / total * (log(sum) - row[label])
      for c in 0..<3 { bias[c] += weights[label] / total * (exp(row[c]) / sum - (c == label ? 1 : 0)) }
    }
    XCTAssertEqual(result.total, loss, accuracy: 1e-6)
    assertClose(try result.gradient("head.bias"), bias, shape: [3], absolute: 1e-6)
  }

  /// n / (C n_c); a class without samples counts 1, which nothing asks for.
  func testBalancedWeights() {
    XCTAssertEqual(
      TrainingPlan.ClassWeights.balanced.values([0, 0, 0, 1], classes: 3), [4.0 / 9, 4.0 / 3, 1])
    XCTAssertNil(TrainingPlan.ClassWeights.given([1]).values([0], classes: 2))
  }

  /// Weights of 1 change nothing but rounding, and every method takes others.
  func testEveryMethodTakesWeights() throws {
    let small = SmallTask(count: 2, epochs: 2)
    for entry in small.entries {
      func run(_ weights: [Double]?) throws -> ParameterSet {
        let directory = try TemporaryDirectory()
        return try withExtendedLifetime(directory) {
          try small.finish(
            entry, in: try SmallTask.folder(directory, .fresh),
            change: { $0.classWeights = weights.map { .given($0) } }
          ).parameters
        }
      }
      let (none, ones, other) = (try run(nil), try run([1, 1, 1]), try run([3, 0.2, 1]))
      XCTAssertEqual(norm(ones.values[0] - none.values[0]), 0, accuracy: 1e-3, entry.label)
      XCTAssertGreaterThan(norm(other.values[0] - none.values[0]), 1e-3, entry.label)
    }
  }
}
