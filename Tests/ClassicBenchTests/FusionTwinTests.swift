import Foundation
import TensorCore
import TestSupport
import XCTest

@testable import ClassicBench

/// Sum, gated and FiLM fusion against the same formulas written out in Float64, and their gradients against central
/// differences of these.
final class FusionTwinTests: XCTestCase {
  private typealias Matrix = [[Double]]

  /// Logits of each sample from features by modality and parameters by name.
  private func twin(_ head: FusionHead, _ features: [Matrix], _ values: [String: Matrix]) -> Matrix {
    func linear(_ name: String, _ row: [Double]) -> [Double] {
      let bias = values[name + ".bias"]?[0] ?? []
      return (values[name + ".weight"] ?? []).enumerated().map { output, weights in
        zip(weights, row).reduce(bias[output]) { $0 + $1.0 * $1.1 }
      }
    }
    return features[0].indices.map { i in
      let rows = features.map { $0[i] }
      switch head {
      case .gated:
        let gate = linear("head.gate", rows[0]).map { 1 / (1 + exp(-$0)) }
        return linear("head", zip(gate, linear("head.value", rows[1])).map { $0 * $1 })
      case .film:
        let modulation = linear("head.film", rows[0])
        let width = rows[1].count
        return linear("head", (0..<width).map { modulation[$0] * rows[1][$0] + modulation[width + $0] })
      default:
        let parts = rows.enumerated().map { linear("head." + Self.names[$0], $1) }
        return parts[0].indices.map { c in parts.reduce(0.0) { $0 + $1[c] } }
      }
    }
  }

  private static let names = ["a", "b", "c"]
  private let labels = [0, 2, 1, 2, 0]

  private func loss(_ logits: Matrix) -> Double {
    zip(logits, labels).reduce(0.0) { sum, pair in
      sum + log(pair.0.reduce(0.0) { $0 + exp($1) }) - pair.0[pair.1]
    } / Double(labels.count)
  }

  private func rows(_ tensor: Tensor) -> Matrix {
    tensor.rank < 2 ? [tensor.doubles] : tensor.hostRows().map { $0.map(Double.init) }
  }

  private func check(_ head: FusionHead, sizes: [Int]) throws {
    let names = Array(Self.names.prefix(sizes.count))
    XCTAssertNil(head.refusal(featureSizes: sizes))
    let features = sizes.enumerated().map { randomTensor([5, $1], seed: UInt64(60 + $0), scale: 1.5) }
    let shapes = head.parameters(names: names, sizes: sizes, classes: 3)
    let values = shapes.enumerated().map { randomTensor($1.shape, seed: UInt64(70 + $0)) }
    let named = Dictionary(uniqueKeysWithValues: zip(shapes.map(\.name), values))
    let (wide, wideValues) = (features.map(rows), named.mapValues(rows))

    let found = head.fused(features, names, Parameters(named))
    let expected = twin(head, wide, wideValues)
    assertClose(found, expected.flatMap { $0 }, shape: [5, 3], absolute: 3e-6, head.name)
    for m in sizes.indices where !head.isAdditive {
      // The others' features are taken away.
      let alone = wide.indices.map { $0 == m ? wide[$0] : wide[$0].map { $0.map { _ in 0 } } }
      assertClose(
        head.unimodal(m, features, names, Parameters(named)), twin(head, alone, wideValues).flatMap { $0 },
        shape: [5, 3], absolute: 3e-6, "\(head.name) \(names[m])")
    }

    let tape = Tape()
    let leaves = (features + values).map { tape.leaf($0) }
    let tracked = Dictionary(uniqueKeysWithValues: zip(shapes.map(\.name), leaves[sizes.count...]))
    let value = head.fused(Array(leaves[..<sizes.count]), names, Parameters(tracked)).meanCrossEntropy(labels)
    let gradients = tape.gradients(of: value, for: leaves)
    for (place, leaf) in leaves.enumerated() {
      let gradient = try XCTUnwrap(gradients[place])
      let width = leaf.rank < 2 ? leaf.count : leaf.columns
      for index in 0..<leaf.count {
        func moved(_ shift: Double) -> Double {
          var (features, values) = (wide, wideValues)
          if place < sizes.count {
            features[place][index / width][index % width] += shift
          } else {
            values[shapes[place - sizes.count].name]?[index / width][index % width] += shift
          }
          return loss(twin(head, features, values))
        }
        XCTAssertEqual(
          gradient.doubles[index], (moved(1e-5) - moved(-1e-5)) / 2e-5, accuracy: 2e-6,
          "\(head.name), input \(place), element \(index)")
      }
    }
  }

  func testSum() throws {
    try check(.sum, sizes: [4, 3])
    try check(.sum, sizes: [4, 3, 5])
  }
  func testGated() throws { try check(.gated, sizes: [4, 4]) }
  func testFiLM() throws { try check(.film, sizes: [4, 4]) }
}
