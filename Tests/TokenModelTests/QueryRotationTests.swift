import Foundation
import RunKit
import XCTest

@testable import TokenModel

/// Properties of rotations between random directions.
final class QueryRotationTests: XCTestCase {
  private func vector(_ size: Int, _ stream: inout RandomStream) -> [Double] {
    (0..<size).map { _ in stream.normal() }
  }

  private func product(_ matrix: [Double], _ vector: [Double]) -> [Double] {
    vector.indices.map { row in
      QueryRotation.product(Array(matrix[row * vector.count..<(row + 1) * vector.count]), vector)
    }
  }

  private func distance(_ left: [Double], _ right: [Double]) -> Double {
    QueryRotation.length(zip(left, right).map { $0 - $1 })
  }

  /// The largest |RᵀR − I|.
  private func defect(_ matrix: [Double], _ size: Int) -> Double {
    var worst = 0.0
    for row in 0..<size {
      for column in 0..<size {
        var sum = 0.0
        for inner in 0..<size { sum += matrix[inner * size + row] * matrix[inner * size + column] }
        worst = max(worst, abs(sum - (row == column ? 1 : 0)))
      }
    }
    return worst
  }

  /// By elimination with the largest pivot.
  private func determinant(_ matrix: [Double], _ size: Int) -> Double {
    var rows = (0..<size).map { Array(matrix[$0 * size..<($0 + 1) * size]) }
    var product = 1.0
    for column in 0..<size {
      let pivot = (column..<size).max { abs(rows[$0][column]) < abs(rows[$1][column]) } ?? column
      if pivot != column {
        rows.swapAt(pivot, column)
        product = -product
      }
      product *= rows[column][column]
      guard rows[column][column] != 0 else { return 0 }
      for row in column + 1..<size {
        let factor = rows[row][column] / rows[column][column]
        for place in column..<size { rows[row][place] -= factor * rows[column][place] }
      }
    }
    return product
  }

  /// Orthogonal, determinant +1, R x = y: both kinds, sizes 2 to 65. Tolerance: sums of some hundred products in Float64.
  func testRotationsAreProperAndMapXToY() {
    var stream = RandomStream(seed: 1, purpose: "test")
    for size in [2, 3, 8, 16, 33, 65] {
      for _ in 0..<5 {
        let (x, y) = (vector(size, &stream), vector(size, &stream))
        for rotation in [
          QueryRotation.minimal(from: x, to: y), QueryRotation.arbitrary(from: x, to: y, using: &stream),
        ] {
          let matrix = rotation.matrix
          XCTAssertLessThan(defect(matrix, size), 1e-12, "size \(size)")
          XCTAssertEqual(determinant(matrix, size), 1, accuracy: 1e-10, "size \(size)")
          let image = product(matrix, QueryRotation.unit(x))
          XCTAssertLessThan(distance(image, QueryRotation.unit(y)), 1e-13, "size \(size)")
          XCTAssertLessThan(distance(rotation.applied(to: x), product(matrix, x)), 1e-12)
        }
      }
    }
  }

  /// R = I − (x + y)(x + y)ᵀ / (1 + c) + 2 y xᵀ, the closed form of the minimal rotation.
  func testTheMinimalRotationIsTheClosedForm() {
    var stream = RandomStream(seed: 2, purpose: "test")
    let size = 12
    let x = QueryRotation.unit(vector(size, &stream))
    let y = QueryRotation.unit(vector(size, &stream))
    let cosine = QueryRotation.product(x, y)
    let matrix = QueryRotation.minimal(from: x, to: y).matrix
    for row in 0..<size {
      for column in 0..<size {
        let sum = (x[row] + y[row]) * (x[column] + y[column]) / (1 + cosine)
        let expected = (row == column ? 1 : 0) - sum + 2 * y[row] * x[column]
        XCTAssertEqual(matrix[row * size + column], expected, accuracy: 1e-13)
      }
    }
  }

  func testEqualDirectionsGiveTheIdentityExactly() {
    var stream = RandomStream(seed: 3, purpose: "test")
    let x = vector(20, &stream)
    XCTAssertEqual(QueryRotation.minimal(from: x, to: x).matrix, QueryRotation.identity(20))
    // Lengths do not matter; 4 is a power of two, so that the directions are the same to the bit.
    XCTAssertEqual(
      QueryRotation.minimal(from: x, to: x.map { 4 * $0 }).matrix, QueryRotation.identity(20))
  }

  func testOppositeDirectionsAndThoseNearlySoAreMapped() {
    var stream = RandomStream(seed: 4, purpose: "test")
    for size in [2, 3, 50] {
      let x = QueryRotation.unit(vector(size, &stream))
      let other = vector(size, &stream)
      for deviation in [0.0, 1e-13, 1e-10, 1e-8, 1e-6, 1e-3] {
        let y = QueryRotation.unit(zip(x, other).map { -$0 + deviation * $1 })
        let rotation = QueryRotation.minimal(from: x, to: y)
        XCTAssertLessThan(distance(rotation.applied(to: x), y), 1e-8, "size \(size), \(deviation)")
        XCTAssertLessThan(defect(rotation.matrix, size), 1e-13)
        XCTAssertEqual(determinant(rotation.matrix, size), 1, accuracy: 1e-12)
      }
    }
  }

  func testTheWayBackIsTheTransposeAndRotationsCompose() {
    var stream = RandomStream(seed: 5, purpose: "test")
    let size = 9
    let (x, y, z) = (vector(size, &stream), vector(size, &stream), vector(size, &stream))
    let there = QueryRotation.minimal(from: x, to: y).matrix
    let back = QueryRotation.minimal(from: y, to: x).matrix
    for row in 0..<size {
      for column in 0..<size {
        XCTAssertEqual(there[row * size + column], back[column * size + row], accuracy: 1e-13)
      }
    }
    var both = there
    QueryRotation.minimal(from: y, to: z).multiply(onto: &both)
    XCTAssertLessThan(distance(product(both, QueryRotation.unit(x)), QueryRotation.unit(z)), 1e-13)
  }

  /// What is across x and y stays; a rotation of the other kind moves it about as far as chance would.
  func testOnlyTheMinimalRotationKeepsTheComplement() {
    var stream = RandomStream(seed: 6, purpose: "test")
    let size = 64
    let (x, y) = (vector(size, &stream), vector(size, &stream))
    let minimal = QueryRotation.minimal(from: x, to: y)
    let arbitrary = QueryRotation.arbitrary(from: x, to: y, using: &stream)
    let (first, third) = (QueryRotation.unit(x), vector(size, &stream))
    let second = QueryRotation.unit(
      zip(y, first).map { $0 - QueryRotation.product(y, first) * $1 })
    let across = third.indices.map {
      third[$0] - QueryRotation.product(third, first) * first[$0]
        - QueryRotation.product(third, second) * second[$0]
    }
    XCTAssertLessThan(distance(minimal.applied(to: across), across), 1e-12)
    XCTAssertGreaterThan(distance(arbitrary.applied(to: across), across), QueryRotation.length(across))
    func distanceFromIdentity(_ rotation: QueryRotation) -> Double {
      distance(rotation.matrix, QueryRotation.identity(size))
    }
    XCTAssertLessThan(distanceFromIdentity(minimal), 2 * 2.0.squareRoot() + 1e-9)
    XCTAssertGreaterThan(distanceFromIdentity(arbitrary), 9)
  }

  /// In float32, as it is applied, at the width of the published model.
  func testTheRotationIsExactEnoughInFloat32() {
    var stream = RandomStream(seed: 7, purpose: "test")
    let size = 768
    let x = QueryRotation.unit(vector(size, &stream))
    let y = QueryRotation.unit(vector(size, &stream))
    let matrix = QueryRotation.minimal(from: x, to: y).matrix.map { Double(Float($0)) }
    XCTAssertLessThan(distance(product(matrix, x), y), 1e-6)
  }
}
