import TestSupport
import XCTest

@testable import TensorCore

/// Movements of whole elements, which are exact.
final class ShapeKernelsTests: XCTestCase {
  private func counting(_ shape: [Int]) -> Tensor {
    Tensor((0..<shape.reduce(1, *)).map { Float($0) }, shape: shape)
  }

  func testShapesSlicesAndReshapesShareElements() {
    let x = counting([4, 3, 2])
    XCTAssertEqual([x.rank, x.count, x.columns, x.rows], [3, 24, 2, 12])
    XCTAssertEqual(x.slice(1..<3), Tensor((6..<18).map { Float($0) }, shape: [2, 3, 2]))
    XCTAssertEqual(
      x.slice(1..<3).reshaped(to: [3, 4]).slice(2..<3), Tensor([14, 15, 16, 17], shape: [1, 4]))
    XCTAssertEqual(x.slice(2..<2).shape, [0, 3, 2])
    let scalar = Tensor(scalar: 7)
    XCTAssertEqual([scalar.rank, scalar.count, scalar.columns, scalar.rows], [0, 1, 1, 1])
    XCTAssertEqual(Tensor(zeros: [2, 0]).rows, 2)
    XCTAssertEqual(Tensor(repeating: 3, shape: [2, 2]), Tensor([3, 3, 3, 3], shape: [2, 2]))
    XCTAssertNotEqual(Tensor([.nan], shape: [1]), Tensor([.nan], shape: [1]))
    XCTAssertNotEqual(Tensor([1, 2], shape: [1, 2]), Tensor([1, 2], shape: [2, 1]))
  }

  func testConcatenationStacksAndSplitUndoesIt() {
    let x = counting([5, 2])
    let parts = x.split(sizes: [2, 0, 3])
    XCTAssertEqual(parts.map(\.shape), [[2, 2], [0, 2], [3, 2]])
    XCTAssertEqual(Tensor.concatenated(parts), x)
    XCTAssertEqual(Tensor.concatenated([parts[2]]), parts[2])
    XCTAssertEqual(
      Tensor.concatenated([counting([1, 2, 2]), counting([2, 2, 2])]).hostValues(),
      [0, 1, 2, 3, 0, 1, 2, 3, 4, 5, 6, 7])
  }

  func testColumnsAreCutAndJoined() {
    let x = counting([2, 3, 4])
    XCTAssertEqual(x.columns(1..<3), Tensor([1, 2, 5, 6, 9, 10, 13, 14, 17, 18, 21, 22], shape: [2, 3, 2]))
    XCTAssertEqual(x.columns(4..<4).shape, [2, 3, 0])
    XCTAssertEqual(Tensor.concatenatedColumns([x.columns(0..<1), x.columns(1..<1), x.columns(1..<4)]), x)
  }

  func testGatheredRowsComeInTheOrderAsked() {
    let x = counting([4, 3])
    XCTAssertEqual(x.gatherRows([3, 0, 3]), Tensor([9, 10, 11, 0, 1, 2, 9, 10, 11], shape: [3, 3]))
    XCTAssertEqual(x.gatherRows([]).shape, [0, 3])
    XCTAssertEqual(counting([3, 2, 2]).gatherRows([1]), Tensor([4, 5, 6, 7], shape: [1, 2, 2]))
    XCTAssertEqual(counting([3]).gatherRows([2, 1]), Tensor([2, 1], shape: [2]))
  }

  func testReplacedRowsLeaveTheOriginalAlone() {
    let x = counting([4, 2])
    let replaced = x.replacingRows([2, 0], with: Tensor([-1, -2, -3, -4], shape: [2, 2]))
    XCTAssertEqual(replaced, Tensor([-3, -4, 2, 3, -1, -2, 6, 7], shape: [4, 2]))
    XCTAssertEqual(x, counting([4, 2]))
    XCTAssertEqual(x.replacingRows([], with: Tensor(zeros: [0, 2])), x)
    // A later row wins where an index comes twice.
    XCTAssertEqual(
      x.replacingRows([1, 1], with: Tensor([8, 8, 9, 9], shape: [2, 2])).slice(1..<2),
      Tensor([9, 9], shape: [1, 2]))
  }

  func testTransposeSwapsRowsAndColumns() {
    for (rows, columns) in [(1, 1), (3, 5), (129, 200), (1, 40_000), (300, 0)] {
      let x = randomTensor([rows, columns], seed: 1)
      let (values, found) = (x.hostValues(), x.transposed())
      XCTAssertEqual(found.shape, [columns, rows])
      let transposed = found.hostValues()
      for row in 0..<rows {
        for column in 0..<columns where transposed[column * rows + row] != values[row * columns + column] {
          XCTFail("\(rows)x\(columns) element \(row), \(column)")
        }
      }
    }
  }
}
