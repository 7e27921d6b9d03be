import TestSupport
import XCTest

@testable import TensorCore

/// Every kernel gives the same bits for any number of threads, at sizes that split into several chunks.
final class ThreadInvarianceTests: XCTestCase {
  private var threadsBefore = 1

  override func setUp() { threadsBefore = Workers.threadCount }
  override func tearDown() { Workers.threadCount = threadsBefore }

  /// Runs a computation with 1, 2, 3 and 5 threads and compares all its tensors bit by bit.
  private func check(_ name: String, line: UInt = #line, _ compute: () throws -> [Tensor]) rethrows {
    Workers.threadCount = 1
    let expected = try compute()
    for threads in [2, 3, 5] {
      Workers.threadCount = threads
      let found = try compute()
      XCTAssertEqual(found.count, expected.count, line: line)
      for (index, pair) in zip(found, expected).enumerated() {
        assertSameBits(pair.0, pair.1, "\(name) \(index) with \(threads) threads", line: line)
      }
    }
  }

  func testMatrixProducts() {
    let (a, b) = (randomTensor([1100, 130], seed: 1), randomTensor([130, 1030], seed: 2))
    check("product") { [a.matmul(b)] }
    check("transposed product") {
      [a.transposed().matmul(b.transposed(), transposingSelf: true, transposingOther: true)]
    }
  }

  func testLinearWeights() throws {
    let matrix = randomTensor([1300, 70], seed: 3)
    let stored = try StoredTensor(
      name: "w", elementType: .bf16, shape: matrix.shape,
      storage: StoredBytes(
        elements: matrix.hostValues().map { UInt16(truncatingIfNeeded: $0.bitPattern >> 16) }))
    let segments = RowSegments(lengths: [600, 1, 1, 1, 40, 700])
    let x = randomTensor([segments.rowCount, 70], seed: 4)
    for weight in [LinearWeight(matrix), try LinearWeight(stored)] {
      check("linear") { [weight.forward(x, segments: segments), weight.forward(x.slice(0..<1))] }
    }
  }

  func testElementwiseAndRowKernels() {
    let x = randomTensor([700, 130], seed: 5)
    let (column, row) = (randomTensor([700, 1], seed: 6), randomTensor([130], seed: 7))
    check("elementwise") {
      [
        x + x, x * column, row - x, x.exponential(), x.silu(), x.gelu(), x.geluTanh(),
        x.siluMultiplied(by: x),
      ]
    }
    check("rows") {
      [
        x.softmax(), x.logSoftmax(), x.logSumExp(), x.rowSums(), x.rowMaxima(), x.rowMeans(),
        x.crossEntropy(labels: (0..<700).map { $0 % 130 }), x.rmsNorm(weight: row, epsilon: 1e-6),
        x.layerNorm(weight: row, bias: row, epsilon: 1e-6), x.transposed(),
      ]
    }
    let tables = RotaryEmbedding(headSize: 10, base: 10_000).tables(positions: Array(0..<700))
    check("rotation") { [x.rotated(cosine: tables.cosine, sine: tables.sine)] }
  }

  func testAttentionWithEveryStatistic() {
    let sequences = [
      AttentionSequence(queries: 0..<300, keys: 0..<300),
      AttentionSequence(queries: 300..<301, keys: 300..<700),
      AttentionSequence(queries: 301..<500, keys: 700..<1000),
    ]
    let queries = randomTensor([500, 64], seed: 8, scale: 2)
    let (keys, values) = (randomTensor([1000, 32], seed: 9, scale: 2), randomTensor([1000, 32], seed: 10))
    var request = AttentionRequest()
    request.groups = (0..<1000).map { $0 / 9 % 4 - 1 }
    request.groupCount = 3
    request.wantsGroupMass = true
    request.wantsValueSums = true
    request.wantsEntropy = true
    request.topKeyCount = 4
    request.wantsColumnSums = true
    request.wantsProbabilities = true
    let attention = Attention(heads: 4, keyValueHeads: 2, headSize: 16, queryBlock: 64, keyBlock: 100)
    for edit in [nil, { _, _, row in row.reverse() }] as [AttentionEdit?] {
      check("attention") {
        let (output, statistics) = attention(
          queries: queries, keys: keys, values: values, sequences: sequences, mask: .causal, request: request,
          edit: edit)
        guard let statistics, let mass = statistics.groupMass, let sums = statistics.valueSums,
          let entropy = statistics.entropy, let columns = statistics.columnSums,
          let probabilities = statistics.probabilities, let top = statistics.topKeys
        else {
          XCTFail("a statistic is missing")
          return []
        }
        let best = top.flatMap { $0.flatMap { $0.flatMap { [Float($0.key), $0.probability] } } }
        return [output, mass, sums, entropy, Tensor(best, shape: [best.count])] + columns + probabilities
      }
    }
  }
}
