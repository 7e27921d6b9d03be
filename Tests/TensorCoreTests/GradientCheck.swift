import TestSupport
import XCTest

@testable import TensorCore

/// Compares the gradients of an operation with central differences of its Float64 twin.
struct GradientCheck {
  /// The operation, on tensors.
  let operation: ([Tensor]) -> Tensor
  /// The same function, written again on numbers.
  let twin: ([[Double]]) -> [Double]

  /// The largest difference over all inputs, relative to the largest gradient of the input.
  ///
  /// What is differentiated is a sum of the outputs with fixed random weights.
  func worstError(_ inputs: [Tensor], file: StaticString = #filePath, line: UInt = #line) -> Double {
    let tape = Tape()
    let leaves = inputs.map(tape.leaf)
    let output = operation(leaves)
    let weights = randomTensor(output.shape, seed: 99)
    let gradients = tape.gradients(of: output, for: leaves, seed: weights)
    let factors = weights.doubles
    func weighted(_ values: [[Double]]) -> Double {
      zip(twin(values), factors).reduce(0) { $0 + $1.0 * $1.1 }
    }
    let points = inputs.map(\.doubles)
    XCTAssertEqual(twin(points).count, output.count, "the twin has another size", file: file, line: line)
    for (value, expected) in zip(output.doubles, twin(points)) {
      XCTAssertEqual(value, expected, accuracy: 1e-4 * max(1, abs(expected)), file: file, line: line)
    }
    var worst = 0.0
    for (index, input) in inputs.enumerated() {
      guard let gradient = gradients[index] else {
        XCTFail("no gradient for input \(index)", file: file, line: line)
        return .infinity
      }
      XCTAssertEqual(gradient.shape, input.shape, file: file, line: line)
      let differences = points[index].indices.map { element -> Double in
        var (above, below) = (points, points)
        let step = 1e-5 * max(1, abs(points[index][element]))
        above[index][element] += step
        below[index][element] -= step
        return (weighted(above) - weighted(below)) / (2 * step)
      }
      let scale = differences.reduce(1e-3) { max($0, abs($1)) }
      for (found, expected) in zip(gradient.doubles, differences) {
        let error = abs(found - expected) / scale
        // The larger of a number and NaN is the number.
        worst = error.isNaN ? .infinity : max(worst, error)
      }
    }
    return worst
  }
}
