import TestSupport
import XCTest

@testable import TensorCore

/// Matrix products against sums in Float64.
final class MatrixProductTests: XCTestCase {
  /// op(a) op(b) by definition; either may be stored transposed.
  private func product(
    _ a: [Double], _ b: [Double], rows: Int, inner: Int, columns: Int, _ transposingA: Bool,
    _ transposingB: Bool
  ) -> [Double] {
    var result = [Double](repeating: 0, count: rows * columns)
    for row in 0..<rows {
      for column in 0..<columns {
        var sum = 0.0
        for k in 0..<inner {
          let left = transposingA ? a[k * rows + row] : a[row * inner + k]
          let right = transposingB ? b[column * inner + k] : b[k * columns + column]
          sum += left * right
        }
        result[row * columns + column] = sum
      }
    }
    return result
  }

  private func check(rows: Int, inner: Int, columns: Int) {
    for (transposingA, transposingB) in [(false, false), (false, true), (true, false), (true, true)] {
      let a = randomTensor(transposingA ? [inner, rows] : [rows, inner], seed: 1)
      let b = randomTensor(transposingB ? [columns, inner] : [inner, columns], seed: 2)
      let found = a.matmul(b, transposingSelf: transposingA, transposingOther: transposingB)
      let expected = product(
        a.doubles, b.doubles, rows: rows, inner: inner, columns: columns, transposingA, transposingB)
      // `inner` roundings by 2^-24 of a running sum of random signs, which stays near 4.
      assertClose(
        found, expected, shape: [rows, columns], absolute: Double(inner) * 2.4e-7,
        "\(rows)x\(inner)x\(columns) \(transposingA) \(transposingB)")
    }
  }

  func testSmallProductsMatchTheDefinition() {
    for (rows, inner, columns) in [(1, 1, 1), (2, 3, 4), (1, 17, 5), (7, 64, 1), (16, 31, 33), (5, 0, 3)] {
      check(rows: rows, inner: inner, columns: columns)
    }
  }

  func testProductsAcrossTileBordersMatchTheDefinition() {
    check(rows: Kernels.tileRows + 1, inner: 67, columns: Kernels.tileColumns + 3)
    check(rows: 33, inner: 130, columns: 2 * Kernels.tileColumns + 1)
    check(rows: 2 * Kernels.tileRows + 5, inner: 9, columns: 40)
  }

  func testAProductWithoutRowsOrColumnsIsEmpty() {
    XCTAssertEqual(Tensor(zeros: [0, 4]).matmul(Tensor(zeros: [4, 3])).shape, [0, 3])
    XCTAssertEqual(Tensor(zeros: [2, 4]).matmul(Tensor(zeros: [4, 0])).shape, [2, 0])
  }

  func testSlicesMultiplyLikeCopies() {
    let a = randomTensor([20, 12], seed: 3)
    let b = randomTensor([9, 12], seed: 4)
    let copy = Tensor(Array(a.hostValues()[5 * 12..<17 * 12]), shape: [12, 12])
    assertSameBits(a.slice(5..<17).matmul(b, transposingOther: true), copy.matmul(b, transposingOther: true))
  }

  func testNaNReachesExactlyItsRowAndColumn() {
    var values = randomTensor([6, 5], seed: 5).hostValues()
    values[2 * 5 + 3] = .nan
    let product = Tensor(values, shape: [6, 5]).matmul(randomTensor([5, 4], seed: 6)).hostValues()
    for (index, value) in product.enumerated() {
      XCTAssertEqual(value.isNaN, index / 4 == 2, "element \(index)")
    }
  }
}
