import TensorCore
import TestSupport
import XCTest

@testable import ClassicBench

/// The gradient of every loss that is composed here against central differences.
final class LossGradientTests: XCTestCase {
  /// Fails unless the gradient by every input is that of central differences in steps of 2⁻⁷.
  private func check(
    _ label: String, _ inputs: [Tensor], _ loss: ([Tensor]) -> Tensor, file: StaticString = #filePath,
    line: UInt = #line
  ) {
    let tape = Tape()
    let leaves = inputs.map { tape.leaf($0) }
    let gradients = tape.gradients(of: loss(leaves), for: leaves)
    let step: Float = 1.0 / 128
    for (place, input) in inputs.enumerated() {
      var numeric: [Double] = []
      for index in 0..<input.count {
        func value(_ shift: Float) -> Double {
          var elements = input.hostValues()
          elements[index] += shift
          var moved = inputs
          moved[place] = Tensor(elements, shape: input.shape)
          return loss(moved).doubles[0]
        }
        numeric.append((value(step) - value(-step)) / (2 * Double(step)))
      }
      guard let found = gradients[place]?.doubles else {
        return XCTFail("\(label): no gradient by input \(place)", file: file, line: line)
      }
      let scale = max(0.05, numeric.map(abs).max() ?? 0)
      for index in found.indices {
        XCTAssertEqual(
          found[index], numeric[index], accuracy: 4e-3 * scale, "\(label), input \(place), element \(index)",
          file: file, line: line)
      }
    }
  }

  private let a = randomTensor([5, 4], seed: 1, scale: 1.5)
  private let b = randomTensor([5, 4], seed: 2, scale: 1.5)
  private let labels = [0, 3, 1, 2, 2]

  func testElementaryFunctions() {
    check("logistic", [a]) { ($0[0].logistic() * self.b).total() }
    check("tanh", [a]) { ($0[0].hyperbolicTangent() * self.b).total() }
    check("unit rows", [a]) { ($0[0].rowsNormalized() * self.b).total() }
    check("log of a sum", [a, b]) { $0[0].logAddedExponentials($0[1]).total() }
  }

  func testDivergences() {
    check("Jensen-Shannon", [a, b]) { jensenShannonDivergence($0[0], $0[1]) }
    check("reversed", [a, b]) { LFM.reversedDivergence($0[0], $0[1]) }
    check("Kullback-Leibler", [a, b]) { divergence(of: $0[0], from: $0[1]).mean() }
  }

  func testPrototypeDistances() {
    let prototypes = randomTensor([4, 4], seed: 3)
    check("prototypes", [a, prototypes]) {
      PMR.negativeDistances($0[0], $0[1]).meanCrossEntropy(self.labels)
    }
  }

  func testConditionalDensities() {
    let parameters = [
      randomTensor([4, 4], seed: 4), randomTensor([4], seed: 5), randomTensor([4], seed: 6, scale: 0.5),
    ]
    for acrossPairs in [false, true] {
      check("density", [a, b] + parameters) { inputs in
        let named = Parameters(["q.x.A": inputs[2], "q.x.c": inputs[3], "q.x.s": inputs[4]])
        return UDI.logDensities(inputs[0], inputs[1], "x", named, acrossPairs: acrossPairs).mean()
      }
    }
  }

  func testHeads() {
    let names = ["a", "b"]
    for head in [
      FusionHead.concatenation, .sum, .shared, .cosine(scale: 3), .gated, .film,
    ] {
      let shapes = head.parameters(names: names, sizes: [4, 4], classes: 4)
      let values = shapes.enumerated().map { randomTensor($1.shape, seed: UInt64(20 + $0)) }
      let used = shapes.indices.filter { !(head == .cosine(scale: 3) && shapes[$0].name == "head.bias") }
      check(head.name, [a, b] + used.map { values[$0] }) { inputs in
        var named = Dictionary(uniqueKeysWithValues: zip(shapes.map(\.name), values))
        for (place, index) in used.enumerated() { named[shapes[index].name] = inputs[2 + place] }
        return head.fused([inputs[0], inputs[1]], names, Parameters(named)).meanCrossEntropy(self.labels)
      }
    }
  }

  /// Blocks of an additive head add up to the fused logits.
  func testBlocksAddUp() {
    for head in [FusionHead.concatenation, .sum, .shared, .cosine(scale: 3)] {
      let names = ["a", "b", "c"]
      let features = [a, b, randomTensor([5, 4], seed: 9)]
      let shapes = head.parameters(names: names, sizes: [4, 4, 4], classes: 3)
      let parameters = Parameters(
        Dictionary(
          uniqueKeysWithValues: shapes.enumerated().map {
            ($1.name, randomTensor($1.shape, seed: UInt64(40 + $0)))
          }))
      let parts = features.indices.map { head.unimodal($0, features, names, parameters) }
      let sum = parts[0] + parts[1] + parts[2]
      assertClose(
        sum, head.fused(features, names, parameters).doubles, shape: [5, 3], absolute: 2e-6, head.name)
    }
    XCTAssertNotNil(FusionHead.gated.refusal(featureSizes: [4, 4, 4]))
    XCTAssertNotNil(FusionHead.shared.refusal(featureSizes: [4, 5]))
    XCTAssertNil(FusionHead.film.refusal(featureSizes: [4, 4]))
  }
}
