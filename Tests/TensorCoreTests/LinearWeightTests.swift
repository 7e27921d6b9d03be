import Foundation
import RunKit
import TestSupport
import XCTest

@testable import TensorCore

/// Linear maps with dense and mapped weights against sums in Float64.
final class LinearWeightTests: XCTestCase {
  private var folder = FileManager.default.temporaryDirectory

  override func setUpWithError() throws {
    folder = FileManager.default.temporaryDirectory.appendingPathComponent(
      "LinearWeightTests-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  }

  override func tearDownWithError() throws {
    try FileManager.default.removeItem(at: folder)
  }

  /// A mapped weight whose first byte lies `offset` bytes into its file.
  private func mapped(_ tensor: Tensor, as type: ElementType, offset: Int) throws -> LinearWeight {
    let values = tensor.hostValues()
    let stored: StoredBytes =
      switch type {
      case .f16: StoredBytes(elements: values.map { Float16($0).bitPattern })
      case .bf16: StoredBytes(elements: values.map { UInt16(truncatingIfNeeded: $0.bitPattern >> 16) })
      default: StoredBytes(elements: values)
      }
    let url = folder.appendingPathComponent("\(type)-\(offset)-\(values.count)")
    try Data([UInt8](repeating: 0xFF, count: offset) + stored.bytes(0..<stored.count)).write(to: url)
    let file = try MappedFile(path: url.path)
    return try LinearWeight(
      StoredTensor(
        name: "weight", elementType: type, shape: tensor.shape,
        storage: .mapped(file, offset..<offset + stored.count)))
  }

  /// What the weight really holds, in Float64.
  private func rounded(_ tensor: Tensor, to type: ElementType?) -> [Double] {
    tensor.hostValues().map {
      switch type {
      case .f16: Double(Float16($0))
      case .bf16: Double(Float(bitPattern: $0.bitPattern & 0xFFFF_0000))
      default: Double($0)
      }
    }
  }

  private func expected(_ x: Tensor, _ weight: [Double], _ bias: Tensor?, outputSize: Int) -> [Double] {
    let (input, inner) = (x.doubles, x.columns)
    let bias = bias?.doubles
    return (0..<x.rows * outputSize).map { index in
      let (row, output) = (index / outputSize, index % outputSize)
      var sum = bias?[output] ?? 0
      for k in 0..<inner { sum += input[row * inner + k] * weight[output * inner + k] }
      return sum
    }
  }

  /// Every form a weight can take, with the type its elements are rounded to.
  private func forms(of tensor: Tensor) throws -> [(name: String, weight: LinearWeight, type: ElementType?)] {
    var forms: [(String, LinearWeight, ElementType?)] = [("dense", LinearWeight(tensor), nil)]
    for type in [ElementType.f32, .f16, .bf16] {
      for offset in [0, 1, 2, 3, 7, 64] {
        forms.append(("\(type) at byte \(offset)", try mapped(tensor, as: type, offset: offset), type))
      }
    }
    return forms
  }

  func testEveryFormOfWeightMatchesTheDefinition() throws {
    // Sizes around the vector width, and output sizes around the panels of 64 and 128 rows.
    for (inputSize, outputSize) in [(1, 1), (15, 63), (33, 65), (64, 129), (100, 300)] {
      let matrix = randomTensor([outputSize, inputSize], seed: UInt64(inputSize))
      let bias = randomTensor([outputSize], seed: 9)
      for (name, weight, type) in try forms(of: matrix) {
        for rows in [1, 2, 64, 65] {
          let x = randomTensor([rows, inputSize], seed: UInt64(1000 + rows))
          let values = rounded(matrix, to: type)
          // `inputSize` roundings by 2^-24 of a running sum of random signs, which stays below 4.
          let tolerance = Double(inputSize + 1) * 2.4e-7
          assertClose(
            weight.forward(x), expected(x, values, nil, outputSize: outputSize), shape: [rows, outputSize],
            absolute: tolerance, "\(name) \(rows) rows of \(inputSize)")
          assertClose(
            weight.forward(x, bias: bias), expected(x, values, bias, outputSize: outputSize),
            shape: [rows, outputSize], absolute: tolerance, "\(name) with bias")
        }
      }
    }
  }

  func testLongSegmentsCrossTilesInEveryForm() throws {
    let matrix = randomTensor([Kernels.tileColumns + 9, 40], seed: 11)
    let x = randomTensor([Kernels.tileRows + 1, 40], seed: 12)
    for type in [ElementType.f32, .f16, .bf16] {
      assertClose(
        try mapped(matrix, as: type, offset: 5).forward(x),
        expected(x, rounded(matrix, to: type), nil, outputSize: matrix.rows),
        shape: [x.rows, matrix.rows], absolute: 41 * 2.4e-7, "\(type)")
    }
  }

  func testRowsAndPanelsAreExact() throws {
    let matrix = randomTensor([70, 19], seed: 13)
    for (name, weight, type) in try forms(of: matrix) {
      let values = rounded(matrix, to: type)
      let ids = [69, 0, 3, 3, 68]
      assertClose(
        weight.rows(ids), ids.flatMap { Array(values[$0 * 19..<($0 + 1) * 19]) }, shape: [5, 19],
        "\(name) rows")
      assertClose(weight.panel(7..<40), Array(values[7 * 19..<40 * 19]), shape: [33, 19], "\(name) panel")
      XCTAssertEqual(weight.rows([]).shape, [0, 19])
    }
  }

  func testARaggedBatchHasTheBitsOfItsSequencesAlone() throws {
    // Lengths around 1, 64 and the tile, with empty sequences and neighbours of one row.
    let lengths = [5, 1, 0, 64, 1, 1, 65, Kernels.tileRows, 2, Kernels.tileRows + 1, 1, 63, 0]
    let segments = RowSegments(lengths: lengths)
    let matrix = randomTensor([Kernels.tileColumns + 37, 96], seed: 14)
    let x = randomTensor([segments.rowCount, 96], seed: 15)
    for (name, weight, _) in try forms(of: matrix) {
      let together = weight.forward(x, segments: segments)
      for segment in 0..<segments.count {
        assertSameBits(
          together.slice(segments[segment]),
          weight.forward(x.slice(segments[segment]), segments: .single(lengths[segment])),
          "\(name) segment \(segment) of \(lengths[segment])")
      }
    }
  }

  func testNaNInTheInputOrTheWeightReachesTheOutput() throws {
    for rows in [1, 3] {
      var input = randomTensor([rows, 33], seed: 16).hostValues()
      input[32] = .nan
      let weight = randomTensor([20, 33], seed: 17)
      for (name, weight, _) in try forms(of: weight) {
        let out = weight.forward(Tensor(input, shape: [rows, 33])).hostValues()
        for (index, value) in out.enumerated() {
          XCTAssertEqual(value.isNaN, index < 20, "\(name) element \(index)")
        }
      }
      var broken = weight.hostValues()
      broken[4 * 33 + 1] = .nan
      for (name, weight, _) in try forms(of: Tensor(broken, shape: [20, 33])) {
        let out = weight.forward(randomTensor([rows, 33], seed: 18)).hostValues()
        for (index, value) in out.enumerated() {
          XCTAssertEqual(value.isNaN, index % 20 == 4, "\(name) element \(index)")
        }
      }
    }
  }

  func testAWeightSurvivesTheReleaseOfItsPages() throws {
    let matrix = randomTensor([200, 64], seed: 19)
    let weight = try mapped(matrix, as: .bf16, offset: 3)
    let x = randomTensor([4, 64], seed: 20)
    let before = weight.forward(x)
    weight.releasePages()
    assertSameBits(weight.forward(x), before)
  }

  func testAWeightThatIsNoFloatMatrixIsRefused() throws {
    let vector = try StoredTensor(name: "v", shape: [4], floats: [1, 2, 3, 4])
    XCTAssertThrowsError(try LinearWeight(vector)) {
      XCTAssertEqual($0 as? StoredTensorError, .impossibleShape(tensor: "v", shape: [4]))
    }
    let bytes = try StoredTensor(name: "b", shape: [1, 4], bytes: [1, 2, 3, 4])
    XCTAssertThrowsError(try LinearWeight(bytes)) {
      XCTAssertEqual(
        $0 as? StoredTensorError, .wrongElementType(tensor: "b", found: .u8, wanted: "f32, f16 or bf16"))
    }
  }

  /// x Wᵀ + b + s · x Aᵀ Bᵀ and its gradients, for every form of the frozen weight.
  func testALowRankUpdateIsItsDefinitionAndSoAreItsGradients() throws {
    let (rows, inner, outer, rank) = (9, 12, 10, 3)
    let matrix = randomTensor([outer, inner], seed: 31)
    let bias = randomTensor([outer], seed: 32)
    let inputs = [
      randomTensor([rows, inner], seed: 33), randomTensor([rank, inner], seed: 34),
      randomTensor([outer, rank], seed: 35),
    ]
    for (name, weight, type) in try forms(of: matrix) {
      let frozen = rounded(matrix, to: type)
      let offsets = bias.doubles
      let check = GradientCheck(
        operation: { weight.forward($0[0], bias: bias, lowRank: $0[1], $0[2], scale: 1.5) },
        twin: { values in
          let (x, a, b) = (values[0], values[1], values[2])
          return (0..<rows * outer).map { index in
            let (row, column) = (index / outer, index % outer)
            var sum = offsets[column]
            for k in 0..<inner {
              var entry = frozen[column * inner + k]
              for r in 0..<rank { entry += 1.5 * b[column * rank + r] * a[r * inner + k] }
              sum += x[row * inner + k] * entry
            }
            return sum
          }
        })
      XCTAssertLessThan(check.worstError(inputs), 1e-4, name)
    }
  }

  /// One product of all rows is the product of each segment, up to rounding.
  func testJoinedRowsGiveTheSameProducts() throws {
    let matrix = randomTensor([300, 70], seed: 36)
    let bias = randomTensor([300], seed: 37)
    let x = randomTensor([130, 70], seed: 38)
    for (name, weight, type) in try forms(of: matrix) {
      assertClose(
        weight.forward(x, bias: bias), expected(x, rounded(matrix, to: type), bias, outputSize: 300),
        shape: [130, 300], absolute: 1e-4, name)
    }
  }

  /// Losses of logits that are never held all at once, and the gradient of what leads to them.
  func testCrossEntropyInPiecesIsItsDefinition() throws {
    let (rows, inner, outer) = (37, 6, 11)
    let matrix = randomTensor([outer, inner], seed: 41)
    let labels = (0..<rows).map { $0 % 5 == 2 ? -1 : $0 * 7 % outer }
    for (name, weight, type) in try forms(of: matrix) {
      let frozen = rounded(matrix, to: type)
      for rowsAtATime in [16, 64] {
        let check = GradientCheck(
          operation: { weight.crossEntropy(of: $0[0], labels: labels, rowsAtATime: rowsAtATime) },
          twin: { values in
            (0..<rows).map { row in
              if labels[row] < 0 { return 0 }
              let logits = (0..<outer).map { column in
                (0..<inner).reduce(0.0) { $0 + values[0][row * inner + $1] * frozen[column * inner + $1] }
              }
              return log(logits.reduce(0) { $0 + exp($1) }) - logits[labels[row]]
            }
          })
        let x = randomTensor([rows, inner], seed: 42)
        XCTAssertLessThan(check.worstError([x]), 1e-4, "\(name), \(rowsAtATime) rows at a time")
        XCTAssertFalse(weight.crossEntropy(of: x, labels: labels, rowsAtATime: rowsAtATime).isTracked)
      }
    }
  }
}
