import Foundation
import TestSupport
import XCTest

@testable import TensorCore

/// The gradients of every simple operation against central differences of a Float64 twin.
final class GradientTests: XCTestCase {
  private typealias Numbers = [Double]

  private func rows(_ values: Numbers, _ columns: Int) -> [Numbers] {
    stride(from: 0, to: values.count, by: columns).map { Array(values[$0..<$0 + columns]) }
  }

  private func logSumExp(_ row: Numbers) -> Double {
    let largest = row.max() ?? 0
    return largest + log(row.reduce(0) { $0 + exp($1 - largest) })
  }

  /// [rows, inner] x [inner, columns] for flat matrices.
  private func product(_ a: Numbers, _ b: Numbers, inner: Int, columns: Int) -> Numbers {
    rows(a, inner).flatMap { row in
      (0..<columns).map { column in
        row.indices.reduce(0) { $0 + row[$1] * b[$1 * columns + column] }
      }
    }
  }

  private func transpose(_ a: Numbers, columns: Int) -> Numbers {
    let matrix = rows(a, columns)
    return (0..<columns).flatMap { column in matrix.map { $0[column] } }
  }

  private func rotate(_ row: Numbers, _ cosine: Numbers, _ sine: Numbers) -> Numbers {
    let half = cosine.count
    var result: Numbers = []
    for head in rows(row, 2 * half) {
      for pair in 0..<half { result.append(head[pair] * cosine[pair] - head[pair + half] * sine[pair]) }
      for pair in 0..<half { result.append(head[pair + half] * cosine[pair] + head[pair] * sine[pair]) }
    }
    return result
  }

  private let cosine = randomTensor([3, 4], seed: 70)
  private let sine = randomTensor([3, 4], seed: 71)

  private struct Entry {
    let name: String
    let shapes: [[Int]]
    let check: GradientCheck
  }

  /// Every operation with the shapes of its inputs and its twin.
  private func table() -> [Entry] {
    var entries: [Entry] = []
    func add(
      _ name: String, _ shapes: [[Int]], _ operation: @escaping ([Tensor]) -> Tensor,
      _ twin: @escaping ([Numbers]) -> Numbers
    ) {
      entries.append(
        Entry(name: name, shapes: shapes, check: GradientCheck(operation: operation, twin: twin)))
    }
    let (cosines, sines) = (rows(cosine.doubles, 4), rows(sine.doubles, 4))
    let labels = [2, -1, 0, 18]
    add("add", [[3, 5], [3, 5]], { $0[0] + $0[1] }, { zip($0[0], $0[1]).map(+) })
    add("add row", [[3, 5], [5]], { $0[0] + $0[1] }, { v in v[0].indices.map { v[0][$0] + v[1][$0 % 5] } })
    add(
      "subtract column", [[3, 5], [3, 1]], { $0[0] - $0[1] },
      { v in v[0].indices.map { v[0][$0] - v[1][$0 / 5] } })
    add("subtract", [[4], [4]], { $0[0] - $0[1] }, { zip($0[0], $0[1]).map(-) })
    add(
      "multiply middle", [[2, 3, 4], [2, 1, 4]], { $0[0] * $0[1] },
      { v in v[0].indices.map { v[0][$0] * v[1][$0 / 12 * 4 + $0 % 4] } })
    add("multiply scalar", [[3, 5], []], { $0[0] * $0[1] }, { v in v[0].map { $0 * v[1][0] } })
    add(
      "divide", [[3, 5], [5]], { $0[0] / ($0[1] * $0[1] + 1) },
      { v in v[0].indices.map { v[0][$0] / (v[1][$0 % 5] * v[1][$0 % 5] + 1) } })
    add("exponential", [[3, 17]], { $0[0].exponential() }, { $0[0].map { exp($0) } })
    add("silu", [[3, 17]], { (5 * $0[0]).silu() }, { $0[0].map { 5 * $0 / (1 + exp(-5 * $0)) } })
    add(
      "silu multiplied", [[3, 17], [3, 17]], { $0[0].siluMultiplied(by: $0[1]) },
      { zip($0[0], $0[1]).map { $0 / (1 + exp(-$0)) * $1 } })
    add(
      "gelu", [[3, 17]], { (3 * $0[0]).gelu() },
      { $0[0].map { 3 * $0 * 0.5 * erfc(-3 * $0 / 2.0.squareRoot()) } })
    add(
      "gelu tanh", [[3, 17]], { (3 * $0[0]).geluTanh() },
      {
        $0[0].map {
          let x = 3 * $0
          return x / 2 * (1 + tanh((2 / Double.pi).squareRoot() * (x + 0.044715 * x * x * x)))
        }
      })
    add(
      "softmax", [[4, 19]], { $0[0].softmax() },
      { self.rows($0[0], 19).flatMap { row in row.map { exp($0 - self.logSumExp(row)) } } })
    add(
      "log softmax", [[4, 19]], { $0[0].logSoftmax() },
      { self.rows($0[0], 19).flatMap { row in row.map { $0 - self.logSumExp(row) } } })
    add("log-sum-exp", [[4, 19]], { $0[0].logSumExp() }, { self.rows($0[0], 19).map(self.logSumExp) })
    add(
      "cross-entropy", [[4, 19]], { $0[0].crossEntropy(labels: labels) },
      { zip(self.rows($0[0], 19), labels).map { $1 < 0 ? 0 : self.logSumExp($0) - $0[$1] } })
    add("row sums", [[3, 17]], { $0[0].rowSums() }, { self.rows($0[0], 17).map { $0.reduce(0, +) } })
    add("row means", [[3, 17]], { $0[0].rowMeans() }, { self.rows($0[0], 17).map { $0.reduce(0, +) / 17 } })
    add("row maxima", [[3, 17]], { $0[0].rowMaxima() }, { self.rows($0[0], 17).map { $0.max() ?? 0 } })
    add("total", [[3, 17]], { $0[0].total() }, { [$0[0].reduce(0, +)] })
    add("mean", [[3, 17]], { $0[0].mean() }, { [$0[0].reduce(0, +) / 51] })
    add(
      "RMS norm", [[5, 33], [33]], { $0[0].rmsNorm(weight: $0[1], epsilon: 1e-2) },
      { v in
        self.rows(v[0], 33).flatMap { row -> Numbers in
          let factor = 1 / (row.reduce(0) { $0 + $1 * $1 } / 33 + 1e-2).squareRoot()
          return row.indices.map { row[$0] * factor * v[1][$0] }
        }
      })
    add(
      "layer norm", [[5, 33], [33], [33]], { $0[0].layerNorm(weight: $0[1], bias: $0[2], epsilon: 1e-2) },
      { v in
        self.rows(v[0], 33).flatMap { row -> Numbers in
          let mean = row.reduce(0, +) / 33
          let factor = 1 / (row.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 33 + 1e-2).squareRoot()
          return row.indices.map { (row[$0] - mean) * factor * v[1][$0] + v[2][$0] }
        }
      })
    add(
      "matrix product", [[3, 7], [7, 5]], { $0[0].matmul($0[1]) },
      { self.product($0[0], $0[1], inner: 7, columns: 5) })
    add(
      "matrix product, left transposed", [[7, 3], [7, 5]], { $0[0].matmul($0[1], transposingSelf: true) },
      { self.product(self.transpose($0[0], columns: 3), $0[1], inner: 7, columns: 5) })
    add(
      "matrix product, right transposed", [[3, 7], [5, 7]], { $0[0].matmul($0[1], transposingOther: true) },
      { self.product($0[0], self.transpose($0[1], columns: 7), inner: 7, columns: 5) })
    add(
      "matrix product, both transposed", [[7, 3], [5, 7]],
      { $0[0].matmul($0[1], transposingSelf: true, transposingOther: true) },
      {
        self.product(
          self.transpose($0[0], columns: 3), self.transpose($0[1], columns: 7), inner: 7, columns: 5)
      })
    add(
      "linear", [[6, 7], [5, 7], [5]],
      { LinearWeight($0[1]).forward($0[0], segments: RowSegments(lengths: [1, 5]), bias: $0[2]) },
      { v in
        let product = self.product(v[0], self.transpose(v[1], columns: 7), inner: 7, columns: 5)
        return product.indices.map { product[$0] + v[2][$0 % 5] }
      })
    add(
      "embedding", [[5, 3]], { LinearWeight($0[0]).rows([4, 0, 4, 2]) },
      { v in [4, 0, 4, 2].flatMap { self.rows(v[0], 3)[$0] } })
    add(
      "rotary embedding", [[3, 16]], { $0[0].rotated(cosine: self.cosine, sine: self.sine) },
      { v in (0..<3).flatMap { self.rotate(self.rows(v[0], 16)[$0], cosines[$0], sines[$0]) } })
    add("concatenate", [[2, 3], [1, 3], [2, 3]], { Tensor.concatenated($0) }, { $0.flatMap { $0 } })
    add(
      "concatenate columns", [[2, 3], [2, 1]], { Tensor.concatenatedColumns($0) },
      { v in (0..<2).flatMap { self.rows(v[0], 3)[$0] + [v[1][$0]] } })
    add(
      "split", [[5, 2]],
      {
        let parts = $0[0].split(sizes: [2, 3]); return parts[1].rowSums().total() + parts[0] * parts[0]
      },
      { v in
        let sum = v[0][4...].reduce(0, +)
        return v[0][..<4].map { sum + $0 * $0 }
      })
    add("columns", [[3, 5]], { $0[0].columns(1..<4) }, { v in self.rows(v[0], 5).flatMap { $0[1..<4] } })
    add(
      "gather rows", [[3, 2]], { $0[0].gatherRows([2, 0, 2]) },
      { v in [2, 0, 2].flatMap { self.rows(v[0], 2)[$0] } })
    add(
      "add rows", [[3, 2], [3, 2]], { $0[0].addingRows($0[1], at: [2, 0, 2]) },
      { v in
        var matrix = self.rows(v[0], 2)
        for (row, index) in [2, 0, 2].enumerated() {
          for column in 0..<2 { matrix[index][column] += v[1][2 * row + column] }
        }
        return matrix.flatMap { $0 }
      })
    add(
      "replace rows", [[3, 2], [3, 2]], { $0[0].replacingRows([2, 0, 2], with: $0[1]) },
      { v in Array(v[1][2..<4]) + Array(v[0][2..<4]) + Array(v[1][4..<6]) })
    add("transpose", [[3, 5]], { $0[0].transposed() }, { self.transpose($0[0], columns: 5) })
    add("reshape", [[3, 4]], { $0[0].reshaped(to: [2, 6]) }, { $0[0] })
    return entries
  }

  func testGradientsMatchCentralDifferences() {
    var lines: [String] = []
    for (index, entry) in table().enumerated() {
      let inputs = entry.shapes.enumerated().map { randomTensor($1, seed: UInt64(10 * index + $0 + 1)) }
      let worst = entry.check.worstError(inputs)
      lines.append("\(entry.name): \(worst)")
      XCTAssertLessThan(worst, 1e-3, entry.name)
    }
    print("largest relative difference of gradients\n  " + lines.joined(separator: "\n  "))
  }

  func testDropoutKeepsTheRateAndDropsTheSameInTheGradient() throws {
    let x = Tensor(repeating: 1, shape: [1000, 100])
    let tape = Tape()
    let leaf = tape.leaf(x)
    let output = leaf.dropout(rate: 0.3, key: 17)
    let gradient = try XCTUnwrap(tape.gradients(of: output, for: [leaf], seed: x)[0])
    XCTAssertEqual(gradient, output.detached)
    let kept = output.hostValues().filter { $0 != 0 }
    XCTAssertEqual(Double(kept.count) / 1e5, 0.7, accuracy: 0.01)
    XCTAssertTrue(kept.allSatisfy { abs($0 - 1 / 0.7) < 1e-6 })
    XCTAssertEqual(x.dropout(rate: 0, key: 17), x)
    XCTAssertNotEqual(x.dropout(rate: 0.3, key: 18), output.detached)
  }

  func testAStoredWeightGivesTheGradientOfItsInput() throws {
    let matrix = randomTensor([700, 40], seed: 4)
    let stored = try StoredTensor(name: "w", shape: [700, 40], floats: matrix.hostValues())
    let x = randomTensor([9, 40], seed: 5)
    let seed = randomTensor([9, 700], seed: 6)
    func gradient(_ weight: LinearWeight) throws -> Tensor {
      let tape = Tape()
      let leaf = tape.leaf(x)
      return try XCTUnwrap(tape.gradients(of: weight.forward(leaf), for: [leaf], seed: seed)[0])
    }
    let (panels, dense) = (try gradient(LinearWeight(stored)), try gradient(LinearWeight(matrix)))
    assertClose(panels, dense.doubles, shape: [9, 40], absolute: 1e-4)
  }
}
