import Foundation
import TestSupport
import XCTest

@testable import TensorCore

/// Elementwise kernels and their broadcasting against Float64.
final class ElementwiseKernelsTests: XCTestCase {
  /// NumPy's broadcasting by definition: the element of `tensor` at an index of the target shape.
  private func element(_ values: [Double], _ shape: [Int], at index: [Int]) -> Double {
    var position = 0
    for (axis, size) in shape.enumerated() {
      let place = index[axis + index.count - shape.count]
      position = position * size + (size == 1 ? 0 : place)
    }
    return values[position]
  }

  private func broadcast(
    _ left: Tensor, _ right: Tensor, _ shape: [Int], _ operation: (Double, Double) -> Double
  ) -> [Double] {
    let (a, b) = (left.doubles, right.doubles)
    return (0..<shape.reduce(1, *)).map { flat in
      var (rest, index) = (flat, [Int](repeating: 0, count: shape.count))
      for axis in shape.indices.reversed() { (index[axis], rest) = (rest % shape[axis], rest / shape[axis]) }
      return operation(element(a, left.shape, at: index), element(b, right.shape, at: index))
    }
  }

  func testArithmeticBroadcastsEveryKindOfShape() {
    let cases: [(left: [Int], right: [Int], result: [Int])] = [
      ([4, 5], [4, 5], [4, 5]), ([4, 5], [5], [4, 5]), ([5], [4, 5], [4, 5]), ([4, 5], [], [4, 5]),
      ([], [4, 5], [4, 5]), ([], [], []), ([4, 1], [4, 5], [4, 5]), ([4, 5], [4, 1], [4, 5]),
      ([4, 1], [1, 5], [4, 5]),
      ([1, 5], [4, 1], [4, 5]), ([3, 1, 2], [1, 4, 1], [3, 4, 2]), ([2, 3, 4], [3, 1], [2, 3, 4]),
      ([2, 1, 4], [3, 4], [2, 3, 4]), ([1], [1], [1]), ([1, 1], [3], [1, 3]), ([3, 1], [1], [3, 1]),
      ([2, 3, 1, 5], [4, 1], [2, 3, 4, 5]), ([0, 5], [5], [0, 5]), ([4, 0], [4, 1], [4, 0]),
      ([3, 40], [1, 40], [3, 40]),
      ([40_000], [1], [40_000]), ([5, 7_000], [7_000], [5, 7_000]), ([5, 7_000], [5, 1], [5, 7_000]),
      ([1, 1], [2, 1], [2, 1]), ([2, 1, 3], [2, 1, 3], [2, 1, 3]),
    ]
    for (leftShape, rightShape, shape) in cases {
      let left = randomTensor(leftShape, seed: 1, scale: 3)
      // Away from 0, so that quotients stay moderate.
      let right = randomTensor(rightShape, seed: 2) + 2
      let label = "\(leftShape) and \(rightShape)"
      // One rounding: half a unit in the last place, 2^-24.
      let rounding = 6e-8
      assertClose(
        left + right, broadcast(left, right, shape, +), shape: shape, relative: rounding, "+ \(label)")
      assertClose(
        left - right, broadcast(left, right, shape, -), shape: shape, relative: rounding, "- \(label)")
      assertClose(
        left * right, broadcast(left, right, shape, *), shape: shape, relative: rounding, "* \(label)")
      assertClose(
        left / right, broadcast(left, right, shape, /), shape: shape, relative: rounding, "/ \(label)")
    }
  }

  func testNumbersCombineWithEveryElement() {
    let x = randomTensor([3, 50], seed: 3)
    assertClose(2.5 * x, x.doubles.map { 2.5 * $0 }, shape: [3, 50], relative: 6e-8)
    assertClose(x + 0.75, x.doubles.map { $0 + 0.75 }, shape: [3, 50], relative: 6e-8)
  }

  /// Values over the whole range of floats, both signs, on a grid too fine to miss a branch.
  private var range: Tensor {
    let steps = stride(from: Float(-30), through: 30, by: 0.01).map { $0 }
    let powers = stride(from: -37, through: 38, by: 1).map { Float(pow(10, Double($0))) }
    let special: [Float] = [0, -0.0, 87.3, 88, 88.5, 88.7, 88.8, 100, 1000]
    let positive = powers + special
    return Tensor(steps + positive + positive.map { -$0 }, shape: [steps.count + 2 * positive.count])
  }

  func testExponentialIsExactToTwoUnitsAndOverflowsToInfinity() {
    let x = range
    let expected = x.doubles.map { exp($0) > Double(Float.greatestFiniteMagnitude) ? .infinity : exp($0) }
    // 2.4e-7 is two units in the last place; below the normal range everything is 0.
    assertClose(x.exponential(), expected, shape: x.shape, absolute: 1.3e-38, relative: 2.4e-7)
  }

  func testSiLUMatchesTheDefinition() {
    let x = range
    let expected = x.doubles.map { $0 / (1 + exp(-$0)) }
    // Exponential, sum and quotient are rounded: three units in the last place.
    assertClose(x.silu(), expected, shape: x.shape, absolute: 1e-36, relative: 3.6e-7)
  }

  func testSwiGLUProductMatchesTheDefinition() {
    let (gate, up) = (
      randomTensor([7, 333], seed: 4, scale: 20), randomTensor([7, 333], seed: 5, scale: 20)
    )
    let expected = zip(gate.doubles, up.doubles).map { $0 / (1 + exp(-$0)) * $1 }
    assertClose(gate.siluMultiplied(by: up), expected, shape: [7, 333], absolute: 1e-36, relative: 4.2e-7)
  }

  func testGELUMatchesTheNormalDistributionFunction() {
    let x = range
    let expected = x.doubles.map { $0 * 0.5 * erfc(-$0 / 2.squareRoot()) }
    // The bound the documentation states; hidden states are compared to 1e-4.
    assertClose(x.gelu(), expected, shape: x.shape, absolute: 4e-7, relative: 2.4e-7)
  }

  func testTanhGELUMatchesTheDefinition() {
    let x = range
    let expected = x.doubles.map {
      $0 / 2 * (1 + tanh((2 / Double.pi).squareRoot() * ($0 + 0.044715 * $0 * $0 * $0)))
    }
    // The argument of the exponential is rounded: 1e-7 of up to 60 before results vanish.
    assertClose(x.geluTanh(), expected, shape: x.shape, absolute: 1e-6, relative: 2.4e-7)
  }

  func testNaNStaysNaNAndTouchesNothingElse() {
    var values = randomTensor([100], seed: 6).hostValues()
    for place in [0, 17, 99] { values[place] = .nan }
    let (x, other) = (Tensor(values, shape: [100]), randomTensor([100], seed: 7))
    let results: [(String, Tensor)] = [
      ("+", x + other), ("-", other - x), ("*", x * other), ("/", other / x), ("exp", x.exponential()),
      ("silu", x.silu()), ("swiglu gate", x.siluMultiplied(by: other)),
      ("swiglu up", other.siluMultiplied(by: x)),
      ("gelu", x.gelu()), ("gelu tanh", x.geluTanh()), ("scaled", 0 * x),
    ]
    for (name, result) in results {
      for (index, value) in result.hostValues().enumerated() {
        XCTAssertEqual(value.isNaN, [0, 17, 99].contains(index), "\(name) element \(index)")
      }
    }
  }

  func testEveryLengthGivesWhatTheElementAloneGives() {
    // Vector loops and their rests must agree, or results would depend on the shape.
    let x = randomTensor([80], seed: 8, scale: 10)
    for (name, operation) in [
      ("exp", { $0.exponential() }), ("silu", { $0.silu() }), ("gelu", { $0.gelu() }),
      ("tanh", { $0.geluTanh() }),
    ] as [(String, (Tensor) -> Tensor)] {
      let whole = operation(x).hostValues()
      for count in 1...80 {
        let part = operation(x.slice(80 - count..<80)).hostValues()
        XCTAssertEqual(part, Array(whole.suffix(count)), "\(name) of \(count)")
      }
    }
  }

  /// The sum is in double precision: a float would lose all of the small terms.
  func testTheInnerProductIsASumOfDoubles() {
    let left = Tensor([1e8, 1, -1e8, 3, 0.5, 2], shape: [2, 3])
    XCTAssertEqual(left.innerProduct(Tensor([1, 1, 1, 1, 2, -1], shape: [6])), 3)
    XCTAssertEqual(left.slice(1..<2).innerProduct(left.slice(1..<2)), 13.25)
  }
}
