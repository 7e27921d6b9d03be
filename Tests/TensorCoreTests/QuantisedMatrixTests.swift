import RunKit
import TestSupport
import XCTest

@testable import TensorCore

/// Matrices of few bits a number against float64 twins that read the stored codes by hand.
final class QuantisedMatrixTests: XCTestCase {
  private let rows = 150
  private let columns = 384

  private func matrix(_ bits: QuantisedMatrix.Bits, groupSize: Int, seed: UInt64 = 3) throws -> (
    values: [Float], matrix: QuantisedMatrix
  ) {
    // Groups of very different sizes, and one of zeros.
    var values = randomTensor([rows, columns], seed: seed).hostValues()
    for index in values.indices { values[index] *= Float(1 + index / 1000) / 50 }
    for index in 128..<256 { values[index] = 0 }
    return (
      values,
      try QuantisedMatrix(
        name: "w", bits: bits, rows: rows, columns: columns, groupSize: groupSize, values: values)
    )
  }

  /// The numbers the documented layout stands for, in float64.
  private func decoded(_ matrix: QuantisedMatrix) throws -> [Double] {
    let (bytes, scales) = (matrix.codes.bytes(), try matrix.scales.doubles())
    let (group, half) = (matrix.groupSize, matrix.groupSize / 2)
    return (0..<matrix.rows * matrix.columns).map { index in
      let (number, place) = (index / group, index % group)
      let code: Int
      if matrix.bits == .eight {
        code = Int(Int8(bitPattern: bytes[index]))
      } else {
        let byte = bytes[number * half + place % half]
        code = Int(place < half ? byte & 15 : byte >> 4) - 8
      }
      return Double(code) * scales[number]
    }
  }

  func testEveryNumberIsWithinHalfAScale() throws {
    for bits in QuantisedMatrix.Bits.allCases {
      for groupSize in QuantisedMatrix.groupSizes {
        let (values, matrix) = try matrix(bits, groupSize: groupSize)
        let scales = try matrix.scales.doubles()
        for (index, (value, found)) in zip(values, try decoded(matrix)).enumerated() {
          let scale = scales[index / groupSize]
          // The scale itself is rounded to 11 bits, so the largest number may lie beyond the last code.
          let slack = Double(bits.limit) * scale / 2048
          XCTAssertLessThanOrEqual(abs(Double(value) - found), scale / 2 + slack + 1e-12, "\(bits) \(index)")
        }
      }
    }
  }

  func testProductsAreThoseOfTheDecodedMatrix() throws {
    for bits in QuantisedMatrix.Bits.allCases {
      for groupSize in QuantisedMatrix.groupSizes {
        let (_, matrix) = try matrix(bits, groupSize: groupSize)
        let weight = LinearWeight(matrix)
        let decoded = try decoded(matrix)
        XCTAssertEqual(weight.panel(0..<rows).hostValues(), decoded.map { Float($0) })
        for count in [1, 2, 70] {
          let x = randomTensor([count, columns], seed: 5)
          let (input, output) = (x.hostValues(), weight.forward(x).hostValues())
          for row in 0..<count {
            for column in 0..<rows {
              var (sum, magnitude) = (0.0, 0.0)
              for k in 0..<columns {
                let term = Double(input[row * columns + k]) * decoded[column * columns + k]
                (sum, magnitude) = (sum + term, magnitude + abs(term))
              }
              XCTAssertEqual(Double(output[row * rows + column]), sum, accuracy: 2e-6 * magnitude + 1e-9)
            }
          }
          // The gradient of the input goes through the same numbers.
          let tape = Tape()
          let leaf = tape.leaf(x)
          let gradient = try XCTUnwrap(tape.gradients(of: weight.forward(leaf).total(), for: [leaf])[0])
          let expected = (0..<columns).map { k in (0..<rows).reduce(0.0) { $0 + decoded[$1 * columns + k] } }
          for (found, value) in zip(gradient.hostRows()[0], expected) {
            XCTAssertEqual(Double(found), value, accuracy: 1e-3)
          }
        }
      }
    }
  }

  func testARaggedBatchHasTheBitsOfItsSequencesAlone() throws {
    for bits in QuantisedMatrix.Bits.allCases {
      let weight = LinearWeight(try matrix(bits, groupSize: 64).matrix)
      let segments = RowSegments(lengths: [5, 1, 0, 64, 1, 65])
      let x = randomTensor([segments.rowCount, columns], seed: 6)
      let together = weight.forward(x, segments: segments)
      for segment in 0..<segments.count {
        let rows = segments[segment]
        assertSameBits(
          together.slice(rows), weight.forward(x.slice(rows), segments: .single(rows.count)),
          "\(bits) segment \(segment)")
      }
    }
  }

  func testWhatCannotBeQuantisedIsRefused() throws {
    for (value, word) in [(Float.nan, "not finite"), (.infinity, "not finite"), (1e9, "too large")] {
      var values = [Float](repeating: 1, count: 64)
      values[40] = value
      XCTAssertThrowsError(
        try QuantisedMatrix(name: "w", bits: .eight, rows: 2, columns: 32, groupSize: 32, values: values)
      ) { error in
        let text = (error as? StoredTensorError)?.errorDescription ?? ""
        XCTAssertTrue(text.contains("\"w\", row 1") && text.contains(word), text)
      }
    }
    let codes = try StoredTensor(name: "w.int4", shape: [2, 16], bytes: [UInt8](repeating: 0, count: 32))
    let scales = try StoredTensor(name: "w.scale", shape: [2, 1], floats: [1, 1])
    XCTAssertThrowsError(
      try QuantisedMatrix(bits: .four, rows: 2, columns: 32, codes: codes, scales: scales))
    XCTAssertThrowsError(
      try QuantisedMatrix(bits: .eight, rows: 2, columns: 16, codes: codes, scales: scales))
  }
}
