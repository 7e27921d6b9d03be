import Foundation
import TestSupport
import XCTest

@testable import TensorCore

/// Kernels over innermost rows against Float64, at row sizes around the vector width.
final class RowKernelsTests: XCTestCase {
  private let widths = [1, 2, 15, 16, 17, 31, 32, 33, 100, 2049]

  private func rows(_ tensor: Tensor) -> [[Double]] {
    let values = tensor.doubles
    return (0..<tensor.rows).map { Array(values[$0 * tensor.columns..<($0 + 1) * tensor.columns]) }
  }

  private func logSumExp(_ row: [Double]) -> Double {
    let largest = row.max() ?? 0
    guard largest.isFinite else { return largest }
    return largest + log(row.reduce(0) { $0 + exp($1 - largest) })
  }

  func testSumsMeansAndMaximaMatchTheDefinition() {
    for width in widths {
      let x = randomTensor([3, 2, width], seed: UInt64(width))
      let tolerance = Double(width) * 6e-8
      assertClose(
        x.rowSums(), rows(x).map { $0.reduce(0, +) }, shape: [3, 2], absolute: tolerance, "sum \(width)")
      assertClose(
        x.rowMeans(), rows(x).map { $0.reduce(0, +) / Double(width) }, shape: [3, 2], absolute: 1.2e-7,
        "mean \(width)")
      assertClose(x.rowMaxima(), rows(x).map { $0.max() ?? 0 }, shape: [3, 2], "maximum \(width)")
    }
    assertClose(Tensor(zeros: [2, 0]).rowSums(), [0, 0], shape: [2])
  }

  func testSoftmaxMatchesTheDefinition() {
    for width in widths {
      for scale: Float in [0.1, 5, 80, 3e4] {
        let x = randomTensor([4, width], seed: UInt64(width), scale: scale)
        let expected = rows(x).flatMap { row in row.map { exp($0 - logSumExp(row)) } }
        // A difference of logits of size s carries s · 2^-24, and the exponential makes it relative.
        let tolerance = 4e-7 + Double(scale) * 1.2e-7
        assertClose(
          x.softmax(), expected, shape: [4, width], absolute: tolerance, "width \(width) scale \(scale)")
        assertClose(x.softmax().rowSums(), [1, 1, 1, 1], shape: [4], absolute: 1e-6, "sum \(width)")
      }
    }
  }

  func testLogSoftmaxAndLogSumExpMatchTheDefinition() {
    for width in widths {
      for scale: Float in [0.1, 5, 80, 3e4] {
        let x = randomTensor([4, width], seed: UInt64(width), scale: scale)
        let sums = rows(x).map { logSumExp($0) }
        let expected = zip(rows(x), sums).flatMap { row, sum in row.map { $0 - sum } }
        assertClose(x.logSumExp(), sums, shape: [4], absolute: 1e-6, relative: 1.2e-7, "width \(width)")
        assertClose(
          x.logSoftmax(), expected, shape: [4, width], absolute: 1e-6 + Double(scale) * 2.4e-7,
          "width \(width)")
      }
    }
  }

  func testCrossEntropyMatchesTheDefinitionAndSkipsNegativeLabels() {
    for width in widths {
      let x = randomTensor([5, width], seed: UInt64(width), scale: 90)
      let labels = [0, width - 1, -1, width / 2, -100]
      let expected = zip(rows(x), labels).map { row, label in label < 0 ? 0 : logSumExp(row) - row[label] }
      assertClose(x.crossEntropy(labels: labels), expected, shape: [5], absolute: 3e-5, "width \(width)")
    }
  }

  func testExcludedLogitsGetProbabilityZero() {
    for width in [2, 16, 33] {
      var values = randomTensor([1, width], seed: 1).hostValues()
      values[0] = -.infinity
      values[width / 2] = -.infinity
      let x = Tensor(values, shape: [1, width])
      guard width > 2 else {
        XCTAssertTrue(
          x.softmax().hostValues().allSatisfy(\.isNaN), "nothing is left to share the probability")
        continue
      }
      let row = x.doubles
      let sum = logSumExp(row)
      assertClose(
        x.softmax(), row.map { exp($0 - sum) }, shape: [1, width], absolute: 4e-7, "softmax \(width)")
      assertClose(x.logSumExp(), [sum], shape: [1], absolute: 1e-6)
      assertClose(
        x.logSoftmax(), row.map { $0 - sum }, shape: [1, width], absolute: 1e-6, "log softmax \(width)")
    }
  }

  func testLogSumExpOfInfinitiesIsTheInfinity() {
    let infinite = -Float.infinity
    let x = Tensor([infinite, infinite, 1, .infinity, 1, infinite], shape: [3, 2])
    assertClose(x.logSumExp(), [-.infinity, .infinity, 1], shape: [3])
  }

  func testNormsMatchTheDefinition() {
    for width in widths {
      for (scale, shift): (Float, Float) in [(1, 0), (1e-3, 0), (100, 0), (1, 300)] {
        let x = randomTensor([3, width], seed: UInt64(width), scale: scale) + shift
        let weight = randomTensor([width], seed: 2) + 1
        let bias = randomTensor([width], seed: 3)
        let (scales, shifts) = (weight.doubles, bias.doubles)
        let epsilon = 1e-5
        let rms = rows(x).flatMap { row in
          let factor = 1 / (row.reduce(0) { $0 + $1 * $1 } / Double(width) + epsilon).squareRoot()
          return row.indices.map { row[$0] * factor * scales[$0] }
        }
        assertClose(
          x.rmsNorm(weight: weight, epsilon: Float(epsilon)), rms, shape: [3, width], absolute: 1e-6,
          relative: 1e-6,
          "RMS norm \(width) \(scale) \(shift)")
        let layer = rows(x).flatMap { row in
          let mean = row.reduce(0, +) / Double(width)
          let variance = row.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(width)
          return row.indices.map {
            (row[$0] - mean) / (variance + epsilon).squareRoot() * scales[$0] + shifts[$0]
          }
        }
        // The mean carries 2^-24 of its size, which dividing by a deviation of about 0.5 enlarges; a row of one
        // element has the deviation √ε alone.
        let tolerance = 2e-6 + Double(shift) * (width == 1 ? 2.4e-5 : 4e-7)
        assertClose(
          x.layerNorm(weight: weight, bias: bias, epsilon: Float(epsilon)), layer, shape: [3, width],
          absolute: tolerance, relative: 1e-6, "layer norm \(width) \(scale) \(shift)")
      }
    }
  }

  func testANormOfZerosIsZeroOrTheBias() {
    let (weight, bias) = (randomTensor([20], seed: 4), randomTensor([20], seed: 5))
    let zeros = Tensor(zeros: [2, 20])
    assertClose(
      zeros.rmsNorm(weight: weight, epsilon: 1e-6), [Double](repeating: 0, count: 40), shape: [2, 20])
    assertClose(
      zeros.layerNorm(weight: weight, bias: bias, epsilon: 1e-6), bias.doubles + bias.doubles, shape: [2, 20])
  }

  func testNaNReachesEveryResultOfItsRowAndNoOther() {
    let weight = Tensor(repeating: 1, shape: [40])
    // Places in the first vector, in a later one and in the rest behind the vectors.
    for place in [0, 21, 39] {
      var values = randomTensor([3, 40], seed: 6).hostValues()
      values[40 + place] = .nan
      let x = Tensor(values, shape: [3, 40])
      let results: [(String, Tensor)] = [
        ("softmax", x.softmax()), ("log softmax", x.logSoftmax()), ("log-sum-exp", x.logSumExp()),
        ("cross-entropy", x.crossEntropy(labels: [3, 3, 3])), ("sum", x.rowSums()), ("mean", x.rowMeans()),
        ("maximum", x.rowMaxima()), ("RMS norm", x.rmsNorm(weight: weight, epsilon: 1e-6)),
        ("layer norm", x.layerNorm(weight: weight, bias: weight, epsilon: 1e-6)),
      ]
      for (name, result) in results {
        let perRow = result.count / 3
        for (index, value) in result.hostValues().enumerated() {
          XCTAssertEqual(value.isNaN, index / perRow == 1, "\(name) place \(place) element \(index)")
        }
      }
    }
  }

  func testTopKIsDescendingAndTiesGoToTheLowerIndex() {
    let x = Tensor([1, 3, 2, 3, 3, 0, -1, -1, -1, -1], shape: [2, 5])
    let (values, indices) = x.topK(3)
    XCTAssertEqual(values, [[3, 3, 3], [0, -1, -1]])
    XCTAssertEqual(indices, [[1, 3, 4], [0, 1, 2]])
    XCTAssertEqual(x.topK(0).indices, [[], []])
    XCTAssertEqual(x.topK(99).indices, [[1, 3, 4, 2, 0], [0, 1, 2, 3, 4]])
  }

  func testTopKMatchesASort() {
    for k in [1, 5, 32, 1000] {
      // Few distinct values, so that there are many ties.
      let classes = randomIndices(3000, below: 200, seed: UInt64(k)).map { Float($0) }
      let x = Tensor(classes, shape: [3, 1000])
      let (values, indices) = x.topK(k)
      for (row, elements) in rows(x).enumerated() {
        let sorted = elements.indices.sorted { (-elements[$0], $0) < (-elements[$1], $1) }
        XCTAssertEqual(indices[row], Array(sorted.prefix(k)))
        XCTAssertEqual(values[row].map { Double($0) }, sorted.prefix(k).map { elements[$0] })
      }
    }
  }

  func testTopKPutsNaNFirst() {
    // A logit that is not a number must not be passed over in silence.
    let (values, indices) = Tensor([1, 5, .nan, 2], shape: [1, 4]).topK(2)
    XCTAssertEqual(indices, [[2, 1]])
    XCTAssertTrue(values[0][0].isNaN)
    XCTAssertEqual(values[0][1], 5)
  }

  func testCrossEntropyKeepsSmallLossesAndGradients() throws {
    // The label is far ahead, all logits are far from 0: log-sum-exp rounded as one number would leave a few digits.
    let rows: [[Float]] = [[1024, 1017, 1015.5], [-300, -311, -309], [40.25, 31, 33]]
    let tape = Tape()
    let logits = tape.leaf(Tensor(rows.flatMap { $0 }, shape: [3, 3]))
    let losses = logits.crossEntropy(labels: [0, 0, 0])
    let gradients = try XCTUnwrap(tape.gradients(of: losses.mean(), for: [logits]).first ?? nil)
    for (row, values) in rows.enumerated() {
      let others = values.dropFirst().map { exp(Double($0) - Double(values[0])) }
      let rest = others.reduce(0, +)
      XCTAssertEqual(Double(losses.hostValues()[row]) / log1p(rest), 1, accuracy: 1e-3)
      let expected = ([-rest] + others).map { $0 / (1 + rest) / 3 }
      for column in 0..<3 {
        let found = Double(gradients.hostValues()[3 * row + column])
        XCTAssertEqual(found / expected[column], 1, accuracy: 2e-6)
      }
    }
  }
}
