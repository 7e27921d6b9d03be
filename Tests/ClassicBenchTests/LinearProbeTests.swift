import Foundation
import TensorCore
import TestSupport
import XCTest

@testable import ClassicBench

/// The linear probe against plain gradient descent in Float64.
final class LinearProbeTests: XCTestCase {
  private let classes = 3

  /// Features of different means and sizes, with something to learn, and one that never changes.
  private func data(_ count: Int, seed: UInt64) -> (features: Tensor, labels: [Int]) {
    let labels = randomIndices(count, below: classes, seed: seed)
    let noise = randomTensor([count, 4], seed: seed + 1, scale: 1).hostValues()
    var values: [Float] = []
    for (row, label) in labels.enumerated() {
      values.append(noise[4 * row] + (label == 0 ? 2 : 0))
      values.append(100 + 30 * (noise[4 * row + 1] + (label == 1 ? 1.5 : 0)))
      values.append(0.01 * noise[4 * row + 2])
      values.append(7)
    }
    return (Tensor(values, shape: [count, 4]), labels)
  }

  /// The minimum of the penalised loss on standardised features, `[class][feature]` with the bias last.
  private func twin(_ features: Tensor, _ labels: [Int], ridge: Double) -> [[Double]] {
    let rows = features.hostRows().map { $0.map(Double.init) }
    let (count, width) = (Double(rows.count), features.columns)
    let means = (0..<width).map { column in rows.reduce(0) { $0 + $1[column] } / count }
    let deviations = (0..<width).map { column in
      (rows.reduce(0) { $0 + ($1[column] - means[column]) * ($1[column] - means[column]) } / count)
        .squareRoot()
    }
    let inputs = rows.map { row -> [Double] in
      (0..<width).map { deviations[$0] > 1e-12 ? (row[$0] - means[$0]) / deviations[$0] : 0 } + [1]
    }
    var weights = [[Double]](repeating: [Double](repeating: 0, count: width + 1), count: classes)
    for _ in 0..<20_000 {
      var gradient = weights.map { row in row.enumerated().map { $0.offset < width ? ridge * $0.element : 0 }
      }
      for (input, label) in zip(inputs, labels) {
        let logits = weights.map { row in zip(row, input).reduce(0) { $0 + $1.0 * $1.1 } }
        let most = logits.max() ?? 0
        let powers = logits.map { exp($0 - most) }
        let total = powers.reduce(0, +)
        for c in 0..<classes {
          let error = (powers[c] / total - (c == label ? 1 : 0)) / count
          for column in 0...width { gradient[c][column] += error * input[column] }
        }
      }
      for c in 0..<classes {
        for column in 0...width { weights[c][column] -= 0.5 * gradient[c][column] }
      }
    }
    return weights
  }

  /// Tolerance: the probe stops at gradients of 2e-5, and the penalty is 0.01.
  func testTheMinimumIsFound() {
    let (features, labels) = data(60, seed: 4)
    let probe = LinearProbe(features, labels, classes: classes, ridge: 0.01)
    let expected = twin(features, labels, ridge: 0.01)
    for (row, twin) in zip(probe.weights.hostRows(), expected) {
      for (value, number) in zip(row, twin) { XCTAssertEqual(Double(value), number, accuracy: 5e-3) }
    }
    XCTAssertEqual(probe.weights.shape, [3, 5])
    // The feature that never changes gets no weight.
    for row in probe.weights.hostRows() { XCTAssertEqual(row[3], 0) }
  }

  func testItLearnsWhatIsThereAndNothingElse() {
    let correct = LinearProbe.correct(
      training: data(300, seed: 1), validation: data(100, seed: 11), test: data(200, seed: 21),
      classes: classes)
    let share = Double(correct.count { $0 }) / 200
    XCTAssertGreaterThan(share, 0.6)
    // Labels of another draw have nothing to do with the features.
    let features = data(300, seed: 1).features
    let other = randomIndices(300, below: classes, seed: 99)
    let (test, labels) = (data(200, seed: 21).features, randomIndices(200, below: classes, seed: 98))
    let chance = LinearProbe.correct(
      training: (features, other), validation: (test, labels), test: (test, labels), classes: classes)
    XCTAssertLessThan(Double(chance.count { $0 }) / 200, 0.5)
  }
}
