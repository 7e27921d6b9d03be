import Foundation
import RunKit
import TestSupport
import XCTest

@testable import TensorCore

/// Update rules against the oracle case `classic/optimizers`, which PyTorch's optimizers confirm.
final class OptimizerTests: XCTestCase {
  private static let names = ["busy.w", "busy.b", "idle.w"]
  private static let file = Result {
    try SafetensorsFile(path: Fixtures.url("optimizers/tensors.safetensors").path)
  }

  /// Six steps from the start of the case, compared with every stored parameter; how many tensors were.
  private func compare(
    _ rule: any UpdateRule, prefix: String, learningRate: Double, weightDecay: Double, coasting: Bool = false
  ) throws -> Int {
    let file = try Self.file.get()
    let parameters = ParameterSet(
      try Self.names.map { name in
        let stored = try file.tensor("start.\(name)")
        return (name, Tensor(try stored.floats(), shape: stored.shape))
      })
    let optimizer = Optimizer(parameters, rule: rule, groups: [ParameterGroup(weightDecay: weightDecay)])
    let factors = try file.tensor("lr_factor").doubles()
    let schedule = LearningRateSchedule(
      peak: learningRate, shape: .step(interval: 2, factor: 0.5), total: factors.count)
    var compared = 0
    for (step, factor) in factors.enumerated() {
      XCTAssertEqual(schedule.learningRate(at: step), learningRate * factor, accuracy: 1e-12)
      let gradients = try Self.names.map { name -> Tensor? in
        let shape = parameters[name]?.shape ?? []
        guard let stored = file["gradient\(step).\(name)"] else {
          return coasting ? Tensor(zeros: shape) : nil
        }
        return Tensor(try stored.floats(), shape: shape)
      }
      optimizer.step(gradients, learningRate: schedule.learningRate(at: step))
      for name in Self.names {
        guard let expected = file["\(prefix)\(step + 1).\(name)"] else { continue }
        let reference = try expected.doubles()
        let scale = max(1e-3, reference.map(abs).max() ?? 0)
        assertClose(
          try XCTUnwrap(parameters[name]), reference, shape: expected.shape, absolute: 1e-5 * scale,
          "\(prefix)\(step + 1).\(name)")
        compared += 1
      }
    }
    XCTAssertEqual(optimizer.updateCounts, [6, 6, coasting ? 6 : 4])
    return compared
  }

  func testEveryTensorOfTheOracle() throws {
    let sgd = try compare(SGD(momentum: 0.9), prefix: "sgd", learningRate: 0.05, weightDecay: 0.1)
    let adamw = try compare(AdamW(), prefix: "adamw", learningRate: 0.02, weightDecay: 0.1)
    let coasting = try compare(
      SGD(momentum: 0.9), prefix: "coasting", learningRate: 0.05, weightDecay: 0.1, coasting: true)
    let listed = try Self.file.get().names.filter { name in
      ["sgd", "adamw", "coasting"].contains { name.hasPrefix($0) }
    }
    XCTAssertEqual(sgd + adamw + coasting, listed.count)
    print("oracle optimizers: \(listed.count) tensors compared")
  }

  /// Textbook forms in Float64 of what the oracle has not: plain and Nesterov descent, Adam with coupled decay, scale.
  func testOtherRulesAgreeWithTheirFormulas() {
    let start = randomTensor([7, 5], seed: 1)
    let gradients = (0..<4).map { randomTensor([7, 5], seed: UInt64(10 + $0)) }
    let (rate, decay, scale) = (0.1, 0.05, 0.25)
    func check(
      _ rule: any UpdateRule, _ name: String, _ update: (inout [Double], Double, Double, Int) -> Double
    ) {
      let parameters = ParameterSet([("p", start)])
      let optimizer = Optimizer(parameters, rule: rule, groups: [ParameterGroup(weightDecay: decay)])
      for gradient in gradients { optimizer.step([gradient], learningRate: rate, scale: scale) }
      let expected = start.hostValues().enumerated().map { index, value in
        var (p, state) = (Double(value), [0.0, 0.0])
        for (step, gradient) in gradients.enumerated() {
          p -= update(&state, scale * Double(gradient.hostValues()[index]), p, step + 1)
        }
        return p
      }
      assertClose(parameters.values[0], expected, shape: [7, 5], absolute: 2e-6, name)
    }
    check(SGD(), "SGD") { _, g, p, _ in rate * (g + decay * p) }
    check(SGD(momentum: 0.8, isNesterov: true), "Nesterov") { state, g, p, _ in
      let d = g + decay * p
      state[0] = 0.8 * state[0] + d
      return rate * (d + 0.8 * state[0])
    }
    check(Adam(beta1: 0.8, beta2: 0.9, epsilon: 1e-6), "Adam") { state, g, p, t in
      let d = g + decay * p
      state[0] = 0.8 * state[0] + 0.2 * d
      state[1] = 0.9 * state[1] + 0.1 * d * d
      let mean = state[0] / (1 - pow(0.8, Double(t)))
      return rate * mean / ((state[1] / (1 - pow(0.9, Double(t)))).squareRoot() + 1e-6)
    }
  }

  func testGroupsHaveTheirOwnDecayAndLearningRate() {
    let parameters = ParameterSet([
      ("norm", Tensor(repeating: 1, shape: [3])), ("matrix", Tensor(repeating: 1, shape: [3, 3])),
      ("head", Tensor(repeating: 1, shape: [2, 2])),
    ])
    let groups =
      [ParameterGroup(learningRateFactor: 0.5) { name, _ in name == "head" }]
      + ParameterGroup.decayingMatrices(0.1)
    let optimizer = Optimizer(parameters, rule: SGD(), groups: groups)
    optimizer.step(
      parameters.values.map { Tensor(repeating: 1, shape: $0.shape) }, learningRate: 0.5)
    XCTAssertEqual(parameters.values.map { $0.hostValues()[0] }, [0.5, 0.45, 0.75])
  }

  func testAStateThatIsSavedAndRestoredGoesOnWithTheSameBits() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent(
      "optimizer-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let path = folder.appendingPathComponent("state.safetensors").path
    func make() -> Optimizer {
      Optimizer(
        ParameterSet([("a", randomTensor([40, 30], seed: 3)), ("b", randomTensor([9], seed: 4))]),
        rule: AdamW(),
        groups: ParameterGroup.decayingMatrices(0.1))
    }
    func step(_ optimizer: Optimizer, _ number: Int) {
      let gradients = [
        randomTensor([40, 30], seed: UInt64(number)), randomTensor([9], seed: UInt64(number) + 99),
      ]
      optimizer.step([gradients[0], number == 1 ? nil : gradients[1]], learningRate: 0.01)
    }
    let whole = make()
    for number in 0..<5 { step(whole, number) }
    let first = make()
    for number in 0..<3 { step(first, number) }
    try SafetensorsWriter.write(
      tensors: first.stored() + first.parameters.stored(prefix: "parameter."), to: path)
    let second = make()
    let file = try SafetensorsFile(path: path)
    try second.restore(from: file)
    try second.parameters.restore(from: file, prefix: "parameter.")
    for number in 3..<5 { step(second, number) }
    XCTAssertEqual(second.updateCounts, [5, 4])
    for (left, right) in zip(whole.parameters.values, second.parameters.values) {
      assertSameBits(left, right)
    }
    let other = Optimizer(
      ParameterSet([("a", Tensor(zeros: [30, 40])), ("b", Tensor(zeros: [9]))]), rule: AdamW())
    XCTAssertThrowsError(try other.restore(from: file)) {
      XCTAssertEqual(($0 as? TrainingStateError)?.code, .wrongShape)
    }
  }

  func testUpdatesHaveTheSameBitsForAnyNumberOfThreads() {
    let before = Workers.threadCount
    defer { Workers.threadCount = before }
    var expected: [[Float]]?
    for threads in [1, 2, 3, 5] {
      Workers.threadCount = threads
      let parameters = ParameterSet([("a", randomTensor([300, 170], seed: 5))])
      let optimizer = Optimizer(parameters, rule: AdamW())
      let gradient = randomTensor([300, 170], seed: 6)
      optimizer.step([gradient], learningRate: 0.01)
      let average = ParameterSet([("a", gradient)])
      average.move(towards: parameters, share: 0.3)
      let norm = Float(GradientClipping.norm(of: [gradient, nil]))
      let found = [parameters.values[0].hostValues(), average.values[0].hostValues(), [norm]]
      XCTAssertEqual(found, expected ?? found, "\(threads) threads")
      expected = found
    }
  }

  func testTheNormIsClippedOverAllGradientsAndValuesOneByOne() {
    let gradients: [Tensor?] = [Tensor([3, 0], shape: [2]), nil, Tensor([-4], shape: [1])]
    XCTAssertEqual(GradientClipping.norm(of: gradients), 5)
    let byNorm = GradientClipping(norm: 1).apply(gradients, scale: 0.5)
    XCTAssertEqual(byNorm.norm, 2.5)
    XCTAssertEqual(byNorm.scale, 0.5 / (2.5 + 1e-6), accuracy: 1e-12)
    XCTAssertEqual(GradientClipping(norm: 10).apply(gradients, scale: 0.5).scale, 0.5)
    // The limit holds for what is applied, that is after the scale.
    let byValue = GradientClipping(value: 1).apply(gradients, scale: 0.5)
    XCTAssertEqual(byValue.gradients.map { $0?.hostValues() }, [[2, 0], nil, [-2]])
    XCTAssertEqual(byValue.norm, 2.0.squareRoot(), accuracy: 1e-12)
    let broken = GradientClipping(value: 1).apply([Tensor([.nan], shape: [1])], scale: 1)
    XCTAssertTrue(broken.norm.isNaN)
  }

  func testSchedules() {
    func rates(_ schedule: LearningRateSchedule) -> [Double] {
      (0..<schedule.total).map(schedule.learningRate)
    }
    let cosine = rates(LearningRateSchedule(peak: 2, shape: .cosine(floor: 0.01), warmup: 4, total: 15))
    XCTAssertEqual(Array(cosine.prefix(5)), [0.5, 1, 1.5, 2, 2])
    XCTAssertEqual(cosine[9], 1.01, accuracy: 1e-12)
    XCTAssertEqual(cosine[14], 0.02, accuracy: 1e-12)
    XCTAssertEqual(rates(LearningRateSchedule(peak: 3, total: 3)), [3, 3, 3])
    XCTAssertEqual(
      rates(LearningRateSchedule(peak: 1, shape: .linear(floor: 0), warmup: 1, total: 6)),
      [1, 1, 0.75, 0.5, 0.25, 0])
    XCTAssertEqual(
      rates(LearningRateSchedule(peak: 1, shape: .step(interval: 2, factor: 0.5), total: 5)),
      [1, 1, 0.5, 0.5, 0.25])
    // One step in all must not divide by nothing.
    XCTAssertEqual(rates(LearningRateSchedule(peak: 1, shape: .cosine(floor: 0), total: 1)), [1])
  }

  func testATensorOfBFloat16IsRoundedToTheNearest() throws {
    let values: [Float] = [1, 1.00390625, 1.01171875, 1.0039064, -3.1415927, .infinity, .nan, 3.4e38]
    let stored = try StoredTensor(name: "t", shape: [values.count], roundingToBFloat16: values)
    let back = try stored.floats()
    XCTAssertEqual(back.prefix(6), [1, 1, 1.015625, 1.0078125, -3.140625, .infinity])
    XCTAssertTrue(back[6].isNaN)
    XCTAssertEqual(back[7], .infinity)
  }
}
