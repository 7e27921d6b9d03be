import TestSupport
import XCTest

@testable import TensorCore

/// The streaming kernel against the definition, computed in Float64 with whole rows.
final class AttentionTests: XCTestCase {
  private struct Case {
    let attention: Attention
    let queries: Tensor
    let keys: Tensor
    let values: Tensor
    let sequences: [AttentionSequence]
    let mask: AttentionMask
  }

  private func makeCase(mask: AttentionMask, block: (Int, Int) = (128, 512), scale: Float = 3) -> Case {
    let sequences = [
      AttentionSequence(queries: 0..<37, keys: 0..<37),
      AttentionSequence(queries: 37..<38, keys: 37..<57),
      AttentionSequence(queries: 38..<60, keys: 57..<90),
    ]
    return Case(
      attention: Attention(heads: 4, keyValueHeads: 2, headSize: 8, queryBlock: block.0, keyBlock: block.1),
      queries: randomTensor([60, 32], seed: 1, scale: scale),
      keys: randomTensor([90, 16], seed: 2, scale: scale),
      values: randomTensor([90, 16], seed: 3), sequences: sequences, mask: mask)
  }

  private let groups = (0..<90).map { $0 % 11 < 4 ? 0 : $0 % 7 == 0 ? 1 : 2 }

  /// Whole probabilities in Float64 by definition, `[row][head][key]`.
  private func reference(_ test: Case, isHidden: (Int, Int) -> Bool = { _, _ in false }) -> [[[Double]]] {
    let (q, k) = (test.queries.hostValues(), test.keys.hostValues())
    let size = test.attention.headSize
    var result = [[[Double]]](repeating: [], count: test.queries.rows)
    for (index, sequence) in test.sequences.enumerated() {
      let visible = test.mask.visibleKeys(sequence, index: index)
      for row in sequence.queries {
        result[row] = (0..<test.attention.heads).map { head in
          let keyHead = head * test.attention.keyValueHeads / test.attention.heads
          let seen = visible[row - sequence.queries.lowerBound]
          let logits = (0..<sequence.keys.count).map { key -> Double in
            guard seen.first.contains(key) || seen.second.contains(key),
              !isHidden(row, sequence.keys.lowerBound + key)
            else { return -.infinity }
            var dot = 0.0
            for i in 0..<size {
              dot +=
                Double(q[row * 32 + head * size + i])
                * Double(k[(sequence.keys.lowerBound + key) * 16 + keyHead * size + i])
            }
            return dot * Double(test.attention.scale)
          }
          let maximum = logits.max() ?? 0
          guard maximum > -.infinity else { return logits.map { _ in 0 } }
          let exponentials = logits.map { exp($0 - maximum) }
          let sum = exponentials.reduce(0, +)
          return exponentials.map { $0 / sum }
        }
      }
    }
    return result
  }

  private var masks: [AttentionMask] {
    let ids = [37, 20, 33].map { count in (0..<count).map { $0 < 5 ? -1 : $0 / 6 } }
    return [
      .causal, .full, .prefix(lengths: [9, 4, 0]), .blocks(ids: ids),
      .branches(prefix: [7, 3, 12], ids: ids.map { $0.map { $0 / 2 } }),
    ]
  }

  private func everything() -> AttentionRequest {
    var request = AttentionRequest()
    request.groups = groups
    request.groupCount = 3
    request.wantsGroupMass = true
    request.wantsValueSums = true
    request.wantsEntropy = true
    request.topKeyCount = 3
    request.wantsColumnSums = true
    request.wantsProbabilities = true
    return request
  }

  private func run(
    _ test: Case, _ request: AttentionRequest, knockouts: [AttentionKnockout] = [], edit: AttentionEdit? = nil
  ) throws -> (Tensor, AttentionStatistics) {
    let (output, statistics) = test.attention(
      queries: test.queries, keys: test.keys, values: test.values, sequences: test.sequences, mask: test.mask,
      request: request, knockouts: knockouts, edit: edit)
    return (output, try XCTUnwrap(statistics))
  }

  /// Compares output and every statistic. Tolerance: float32 logits of size 30 carry 2e-6, probabilities follow.
  private func compare(
    _ test: Case, _ probabilities: [[[Double]]], _ output: Tensor, _ statistics: AttentionStatistics,
    tolerance: Double = 2e-5, _ label: String
  ) throws {
    let v = test.values.hostValues()
    let out = output.hostValues()
    let mass = try XCTUnwrap(statistics.groupMass).hostValues()
    let sums = try XCTUnwrap(statistics.valueSums).hostValues()
    let entropy = try XCTUnwrap(statistics.entropy).hostValues()
    let top = try XCTUnwrap(statistics.topKeys)
    for (index, sequence) in test.sequences.enumerated() {
      let full = try XCTUnwrap(statistics.probabilities)[index]
      let columns = try XCTUnwrap(statistics.columnSums)[index].hostValues()
      let fullValues = full.hostValues()
      for head in 0..<4 {
        var columnTotals = [Double](repeating: 0, count: sequence.keys.count)
        for row in sequence.queries {
          let p = probabilities[row][head]
          let place = row * 4 + head
          for key in p.indices {
            columnTotals[key] += p[key]
            let found = fullValues[
              (head * sequence.queries.count + row - sequence.queries.lowerBound) * p.count + key]
            XCTAssertEqual(Double(found), p[key], accuracy: tolerance, "\(label) p row \(row) key \(key)")
          }
          for group in 0..<3 {
            let expected = p.indices.filter { groups[sequence.keys.lowerBound + $0] == group }
            XCTAssertEqual(
              Double(mass[place * 3 + group]), expected.reduce(0) { $0 + p[$1] }, accuracy: tolerance,
              "\(label) mass row \(row) group \(group)")
            for i in 0..<8 {
              let value = expected.reduce(0.0) {
                $0 + p[$1] * Double(v[(sequence.keys.lowerBound + $1) * 16 + head / 2 * 8 + i])
              }
              XCTAssertEqual(
                Double(sums[(place * 3 + group) * 8 + i]), value, accuracy: tolerance, "\(label) value sum")
            }
          }
          for i in 0..<8 {
            let value = p.indices.reduce(0.0) {
              $0 + p[$1] * Double(v[(sequence.keys.lowerBound + $1) * 16 + head / 2 * 8 + i])
            }
            XCTAssertEqual(
              Double(out[row * 32 + head * 8 + i]), value, accuracy: tolerance, "\(label) output")
          }
          let expectedEntropy = p.reduce(0) { $1 > 0 ? $0 - $1 * log($1) : $0 }
          XCTAssertEqual(
            Double(entropy[place]), expectedEntropy, accuracy: 10 * tolerance, "\(label) entropy")
          let best = p.sorted(by: >).prefix(3).filter { $0 > 0 }
          XCTAssertEqual(top[row][head].count, best.count, label)
          for (found, expected) in zip(top[row][head], best) {
            XCTAssertEqual(Double(found.probability), expected, accuracy: tolerance, "\(label) top")
            XCTAssertEqual(p[found.key], expected, accuracy: tolerance, "\(label) top key")
          }
        }
        for key in columnTotals.indices {
          XCTAssertEqual(
            Double(columns[head * columnTotals.count + key]), columnTotals[key], accuracy: 10 * tolerance,
            "\(label) column sum")
        }
      }
    }
  }

  func testEveryMaskAndReductionMatchesTheDefinition() throws {
    for (index, mask) in masks.enumerated() {
      for block in [(1, 1), (7, 5), (64, 16), (128, 512)] {
        let test = makeCase(mask: mask, block: block)
        let (output, statistics) = try run(test, everything())
        try compare(test, reference(test), output, statistics, "mask \(index) block \(block)")
      }
    }
  }

  func testExtremeLogitsStayFinite() throws {
    let test = makeCase(mask: .causal, block: (7, 5), scale: 400)
    let (output, statistics) = try run(test, everything())
    XCTAssertTrue(output.hostValues().allSatisfy(\.isFinite))
    let mass = try XCTUnwrap(statistics.groupMass).hostValues()
    for start in stride(from: 0, to: mass.count, by: 3) {
      XCTAssertEqual(mass[start] + mass[start + 1] + mass[start + 2], 1, accuracy: 1e-5)
    }
  }

  func testAQueryRowHasTheSameBitsForAnyQueryBlock() throws {
    for (index, mask) in masks.enumerated() {
      let (output, whole) = try run(makeCase(mask: mask, block: (128, 16)), everything())
      let mass = try XCTUnwrap(whole.groupMass)
      for block in [1, 2, 3, 7, 64] {
        let (found, statistics) = try run(makeCase(mask: mask, block: (block, 16)), everything())
        assertSameBits(found, output, "mask \(index) block \(block)")
        assertSameBits(try XCTUnwrap(statistics.groupMass), mass, "mask \(index) block \(block)")
      }
    }
  }

  func testHeadSizesThatFillNoPanelMatchTheDefinition() throws {
    for size in [1, 6, 16, 20, 40] {
      let (queries, keys) = (randomTensor([9, size], seed: 1), randomTensor([9, size], seed: 2))
      let values = randomTensor([9, size], seed: 3)
      let (output, _) = Attention(heads: 1, keyValueHeads: 1, headSize: size, keyBlock: 5)(
        queries: queries, keys: keys, values: values,
        sequences: [AttentionSequence(queries: 0..<9, keys: 0..<9)],
        mask: .causal)
      let (q, k, v) = (queries.doubles, keys.doubles, values.doubles)
      let expected = (0..<9).flatMap { row -> [Double] in
        let weights = (0...row).map { key in
          exp(
            (0..<size).reduce(0) { $0 + q[row * size + $1] * k[key * size + $1] } / Double(size).squareRoot())
        }
        let sum = weights.reduce(0, +)
        return (0..<size).map { i in (0...row).reduce(0) { $0 + weights[$1] / sum * v[$1 * size + i] } }
      }
      assertClose(output, expected, shape: [9, size], absolute: 1e-6, "head size \(size)")
    }
  }

  func testBlockSizesAgreeOnGroupMass() throws {
    // Shares agree to 1e-6. Key blocks change the order of sums and the running maximum; query blocks change no bit.
    for (scale, absolute, relative): (Float, Double, Double) in [(1, 1e-6, 0), (3, 1e-6, 0)] {
      let (count, heads) = (333, 3)
      let queries = randomTensor([count, 48], seed: 1, scale: scale)
      let (keys, values) = (
        randomTensor([count, 48], seed: 2, scale: scale), randomTensor([count, 48], seed: 3)
      )
      var request = AttentionRequest()
      request.groups = (0..<count).map { $0 < 40 ? 0 : $0 < 200 ? 1 : $0 % 5 < 3 ? 2 : 3 }
      request.groupCount = 4
      request.wantsGroupMass = true
      let masses = try [count, 1, 7, 64].map { block in
        let attention = Attention(
          heads: heads, keyValueHeads: heads, headSize: 16, queryBlock: block, keyBlock: block)
        let (_, statistics) = attention(
          queries: queries, keys: keys, values: values,
          sequences: [AttentionSequence(queries: 0..<count, keys: 0..<count)], mask: .causal, request: request
        )
        return try XCTUnwrap(statistics?.groupMass)
      }
      for mass in masses {
        assertClose(
          mass, masses[0].doubles, shape: [count, heads, 4], absolute: absolute, relative: relative,
          "scale \(scale)")
      }
    }
  }

  func testNaNInAQueryReachesEveryStatisticOfItsRow() throws {
    for place in [0, 7] {
      let test = makeCase(mask: .causal, block: (7, 5))
      var queries = test.queries.hostValues()
      queries[20 * 32 + 8 + place] = .nan  // row 20, head 1
      let broken = Case(
        attention: test.attention, queries: Tensor(queries, shape: [60, 32]), keys: test.keys,
        values: test.values,
        sequences: test.sequences, mask: test.mask)
      for edit in [nil, { _, _, _ in }] as [AttentionEdit?] {
        let (output, statistics) = try run(broken, everything(), edit: edit)
        let isBroken = { (row: Int, head: Int) in row == 20 && head == 1 }
        for (index, value) in output.hostValues().enumerated() {
          XCTAssertEqual(value.isNaN, isBroken(index / 32, index % 32 / 8), "output \(index)")
        }
        for (index, value) in try XCTUnwrap(statistics.groupMass).hostValues().enumerated() {
          XCTAssertEqual(value.isNaN, isBroken(index / 12, index % 12 / 3), "mass \(index)")
        }
        for (index, value) in try XCTUnwrap(statistics.entropy).hostValues().enumerated() {
          XCTAssertEqual(value.isNaN, isBroken(index / 4, index % 4), "entropy \(index)")
        }
        XCTAssertTrue(try XCTUnwrap(statistics.topKeys)[20][1].allSatisfy(\.probability.isNaN))
        XCTAssertEqual(try XCTUnwrap(statistics.topKeys)[20][1].count, 3)
        let columns = try XCTUnwrap(statistics.columnSums)[0].hostValues()
        for (index, value) in columns.enumerated() {
          XCTAssertEqual(value.isNaN, index / 37 == 1 && index % 37 <= 20, "column sum \(index)")
        }
      }
    }
  }

  func testNaNInAKeyReachesEveryRowThatSeesIt() throws {
    let test = makeCase(mask: .causal, block: (7, 5))
    var keys = test.keys.hostValues()
    keys[10 * 16 + 3] = .nan  // key 10 of the first sequence, key-value head 0, which heads 0 and 1 share
    let broken = Case(
      attention: test.attention, queries: test.queries, keys: Tensor(keys, shape: [90, 16]),
      values: test.values,
      sequences: test.sequences, mask: test.mask)
    let (output, statistics) = try run(broken, everything())
    let isBroken = { (row: Int, head: Int) in 10..<37 ~= row && head < 2 }
    for (index, value) in output.hostValues().enumerated() {
      XCTAssertEqual(value.isNaN, isBroken(index / 32, index % 32 / 8), "output \(index)")
    }
    for (index, value) in try XCTUnwrap(statistics.groupMass).hostValues().enumerated() {
      XCTAssertEqual(value.isNaN, isBroken(index / 12, index % 12 / 3), "mass \(index)")
    }
  }

  func testKnockedOutKeysGetNothingAndTheRestIsRenormalised() throws {
    let test = makeCase(mask: .causal, block: (7, 5))
    let knockout = AttentionKnockout(
      queries: (0..<60).map { $0 % 3 == 0 }, keys: (0..<90).map { groups[$0] == 0 })
    let (output, statistics) = try run(test, everything(), knockouts: [knockout])
    let expected = reference(test) { row, key in knockout.queries[row] && knockout.keys[key] }
    try compare(test, expected, output, statistics, "knockout")
  }

  func testAnEditThatChangesNothingGivesTheSameAttention() throws {
    let test = makeCase(mask: .causal, block: (7, 5))
    let (output, statistics) = try run(test, everything(), edit: { _, _, _ in })
    try compare(test, reference(test), output, statistics, "identity edit")
  }

  func testAnEditRewritesProbabilities() throws {
    let test = makeCase(mask: .full)
    let (output, statistics) = try run(
      test, everything(),
      edit: { _, _, probabilities in
        for key in probabilities.indices { probabilities[key] = key == 0 ? 1 : 0 }
      })
    let expected = reference(test).map { $0.map { row in row.indices.map { $0 == 0 ? 1.0 : 0.0 } } }
    try compare(test, expected, output, statistics, "first key")
  }

  func testObserversDoNotChangeTheOutput() throws {
    for mask in masks {
      let test = makeCase(mask: mask, block: (7, 5))
      let (observed, _) = try run(test, everything())
      let plain = test.attention(
        queries: test.queries, keys: test.keys, values: test.values, sequences: test.sequences, mask: mask)
      XCTAssertNil(plain.statistics)
      XCTAssertEqual(observed, plain.output)
    }
  }

  func testARaggedBatchHasTheBitsOfItsSequencesAlone() throws {
    let test = makeCase(mask: .causal)
    let together = test.attention(
      queries: test.queries, keys: test.keys, values: test.values, sequences: test.sequences, mask: .causal
    ).output
    for sequence in test.sequences {
      let alone = test.attention(
        queries: test.queries.slice(sequence.queries), keys: test.keys.slice(sequence.keys),
        values: test.values.slice(sequence.keys),
        sequences: [
          AttentionSequence(queries: 0..<sequence.queries.count, keys: 0..<sequence.keys.count)
        ], mask: .causal
      ).output
      XCTAssertEqual(alone, together.slice(sequence.queries))
    }
  }
}
