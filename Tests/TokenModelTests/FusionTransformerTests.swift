import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

final class FusionTransformerTests: XCTestCase {
  private func batches() -> [FusionBatch] {
    let plain = FusionBatch.pair { $0.headCount = 2 }
    let deep = FusionBatch.pair { ($0.headCount, $0.layerCount, $0.block) = (2, 2, .residual) }
    var three = FusionConfiguration(
      inputs: [.init(.audio, size: 5), .init(.video, size: 8), .init(.text, size: 3)], width: 8, outputSize: 4
    )
    (three.block, three.layerCount, three.feedForwardSize) = (.residual, 2, 12)
    return [plain, deep, FusionBatch(three, lengths: [[2, 0, 4, 1], [3, 5, 1, 2], [1, 2, 0, 3]])]
  }

  private func loss(_ batch: FusionBatch, _ parameters: [String: Tensor], _ rolling: RollingQueries?) throws
    -> Tensor
  {
    var options = FusionOptions()
    options.rolling = rolling
    return try batch.model(parameters)(batch.inputs, options: options).logits
      .crossEntropy(labels: [2, 0, 1, 2]).mean()
  }

  /// Gradients of every parameter along a random direction, with and without rotations.
  ///
  /// Tolerance: the loss is about 1 with 24 bits, the step 0.01: rounding leaves 1e-5, the third derivative 1e-4.
  func testGradientsMatchFiniteDifferences() throws {
    for (number, batch) in batches().enumerated() {
      var rolling = try batch.rolling()
      rolling.observe(try batch.model()(batch.inputs))
      _ = rolling.endEpoch(0)
      for turned in [nil, rolling] {
        let (names, values) = (batch.parameters.names, batch.parameters.values)
        let tape = Tape()
        let leaves = values.map(tape.leaf)
        let named = Dictionary(uniqueKeysWithValues: zip(names, leaves))
        let gradients = tape.gradients(of: try loss(batch, named, turned), for: leaves)
        for (index, name) in names.enumerated() {
          let direction = randomTensor(values[index].shape, seed: UInt64(70 + index))
          func value(_ step: Float) throws -> Double {
            var changed = batch.parameters.named
            changed[name] = values[index] + step * direction
            return try loss(batch, changed, turned).doubles[0]
          }
          let gradient = try XCTUnwrap(gradients[index], name)
          let expected = (try value(0.01) - value(-0.01)) / 0.02
          let found = (gradient * direction).total().doubles[0]
          XCTAssertEqual(
            found, expected, accuracy: 1e-4 + 5e-3 * abs(expected), "batch \(number), \(name)")
        }
        // Nothing is cut off by accident: every matrix has a gradient that is not 0.
        for (name, gradient) in zip(names, gradients) where name.hasSuffix("weight") {
          let size = try XCTUnwrap(gradient).doubles.reduce(0) { $0 + abs($1) }
          XCTAssertGreaterThan(size, 0, name)
        }
      }
    }
  }

  /// Of one head and layer, against sums in Float64.
  func testOneHeadIsAttentionOfTheClassToken() throws {
    let batch = FusionBatch.pair()
    let result = try batch.model()(batch.inputs)
    let (queries, keys, values) = (
      result.layers[0].classQueries.hostRows(), result.layers[0].keys.hostRows(),
      result.layers[0].values.hostRows()
    )
    func linear(_ row: [Double], _ name: String) throws -> [Double] {
      let weight = try XCTUnwrap(batch.parameters["\(name).weight"]).hostRows()
      let bias = try XCTUnwrap(batch.parameters["\(name).bias"]).doubles
      return weight.indices.map { output in
        zip(weight[output], row).reduce(bias[output]) { $0 + Double($1.0) * $1.1 }
      }
    }
    for sample in 0..<4 {
      let rows = sample * 13..<(sample + 1) * 13
      let logits = rows.map { row in
        zip(queries[sample], keys[row]).reduce(0.0) { $0 + Double($1.0) * Double($1.1) } / 8.0.squareRoot()
      }
      let sum = logits.reduce(0) { $0 + exp($1) }
      var attended = [Double](repeating: 0, count: 8)
      for (place, row) in rows.enumerated() {
        for column in 0..<8 { attended[column] += exp(logits[place]) / sum * Double(values[row][column]) }
      }
      let expected = try linear(linear(attended, "layers.0.output"), "head")
      assertClose(
        result.logits.slice(sample..<sample + 1), expected, shape: [1, 3], absolute: 1e-5, "sample \(sample)")
    }
  }

  func testABatchIsItsSamplesOneByOne() throws {
    for batch in batches() {
      let whole = try batch.model()(batch.inputs).logits
      var starts = batch.inputs.map { _ in 0 }
      for sample in 0..<4 {
        let alone = batch.inputs.indices.map { modality -> FusionInput in
          let input = batch.inputs[modality]
          let rows = starts[modality]..<starts[modality] + input.lengths[sample]
          starts[modality] = rows.upperBound
          return FusionInput(input.tokens.slice(rows), lengths: [rows.count])
        }
        assertClose(
          try batch.model()(alone).logits, whole.slice(sample..<sample + 1).doubles,
          shape: [1, batch.configuration.outputSize], absolute: 1e-5)
      }
    }
  }

  func testTheLastLayerGivesTheSameForTheClassTokenAlone() throws {
    for batch in batches() {
      var options = FusionOptions()
      let short = try batch.model()(batch.inputs, options: options).logits
      options.computesAllRows = true
      let long = try batch.model()(batch.inputs, options: options).logits
      assertClose(short, long.doubles, shape: long.shape, absolute: 1e-5)
    }
  }

  func testGroupMassSumsToOneOverClassTokenAndModalities() throws {
    let batch = batches()[2]
    var options = FusionOptions()
    options.request.wantsGroupMass = true
    for layer in try batch.model()(batch.inputs, options: options).layers {
      let mass = try XCTUnwrap(layer.statistics?.groupMass)
      XCTAssertEqual(mass.columns, 4)
      for sum in mass.rowSums().doubles { XCTAssertEqual(sum, 1, accuracy: 1e-6) }
    }
  }

  /// Parameters come back by the names they were taken by, and train.
  func testParametersAreVisitedInOrderAndTrain() throws {
    for batch in batches() {
      var visited: [(name: String, value: Tensor)] = []
      try batch.model().visitParameters { visited.append(($0, $1)) }
      XCTAssertEqual(visited.map(\.name), batch.parameters.names)
      for (visit, value) in zip(visited, batch.parameters.values) { assertSameBits(visit.value, value) }
    }
    let batch = batches()[1]
    let parameters = batch.parameters.copy()
    let optimizer = Optimizer(parameters, rule: AdamW(), groups: [ParameterGroup()])
    var losses: [Double] = []
    for _ in 0..<40 {
      let tape = Tape()
      let leaves = parameters.values.map(tape.leaf)
      let value = try loss(batch, Dictionary(uniqueKeysWithValues: zip(parameters.names, leaves)), nil)
      losses.append(value.doubles[0])
      optimizer.step(tape.gradients(of: value, for: leaves), learningRate: 1e-2)
    }
    XCTAssertLessThan(losses[39], 0.1 * losses[0])
  }

  func testDropoutDependsOnItsKeyAlone() throws {
    let batch = FusionBatch.pair { ($0.layerCount, $0.block) = (2, .residual) }
    func logits(_ key: UInt64) throws -> Tensor {
      var options = FusionOptions()
      (options.dropoutRate, options.dropoutKey) = (0.3, key)
      return try batch.model()(batch.inputs, options: options).logits
    }
    assertSameBits(try logits(5), try logits(5))
    XCTAssertNotEqual(try logits(5), try logits(6))
  }
}
