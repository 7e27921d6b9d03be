import TensorCore
import XCTest

/// The gradient of a scalar function by central differences in Float64.
///
/// With a step of 1e-5 the method errs by about 1e-10, far below float32.
func centralDifferences(at point: [Double], of function: ([Double]) -> Double) -> [Double] {
  let step = 1e-5
  var moved = point
  return point.indices.map { index in
    moved[index] = point[index] + step
    let above = function(moved)
    moved[index] = point[index] - step
    let below = function(moved)
    moved[index] = point[index]
    return (above - below) / (2 * step)
  }
}

/// The worst relative error of each operation's gradients, printed as a table.
struct GradientTable {
  /// Errors are relative to the element or, where that is small, to this part of the largest one: sums of terms that
  /// cancel have the rounding of their terms.
  private static let smallPart = 0.05
  private static let tolerance = 1e-3
  private var worst: [(operation: String, error: Double)] = []

  /// Compares a gradient in float32 with central differences.
  mutating func check(
    _ operation: String, _ found: Tensor?, _ expected: [Double], _ label: String = "",
    file: StaticString = #filePath, line: UInt = #line
  ) {
    guard let found, found.count == expected.count else {
      XCTFail(
        "\(operation) \(label): \(found.map { "\($0.shape)" } ?? "no gradient") for \(expected.count) elements",
        file: file, line: line)
      return
    }
    let floor = Self.smallPart * (expected.map(abs).max() ?? 0)
    var largest = 0.0
    for (value, wanted) in zip(found.hostValues(), expected) {
      let difference = abs(Double(value) - wanted)
      let error = difference == 0 ? 0 : difference / max(abs(wanted), floor)
      // NaN must not be passed over.
      if !(error <= largest) { largest = error }
    }
    XCTAssertLessThan(largest, Self.tolerance, "\(operation) \(label)", file: file, line: line)
    if let place = worst.firstIndex(where: { $0.operation == operation }) {
      worst[place].error = max(worst[place].error, largest)
    } else {
      worst.append((operation, largest))
    }
  }

  /// Prints a line for each operation.
  func report() {
    for (operation, error) in worst {
      let name = operation.padding(toLength: 44, withPad: " ", startingAt: 0)
      print("gradient check  \(name) worst relative error \(error)")
    }
  }
}
