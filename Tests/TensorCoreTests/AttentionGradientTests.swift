import TestSupport
import XCTest

@testable import TensorCore

/// Attention's backward pass against central differences of the definition, and against the formulas in Float64.
final class AttentionGradientTests: XCTestCase {
  private struct Case {
    var attention: Attention
    var sequences: [AttentionSequence]
    var mask: AttentionMask
    var knockouts: [AttentionKnockout] = []
    let queries: Tensor
    let keys: Tensor
    let values: Tensor
    /// The scalar y is Σ weight · output, so these are ∂y/∂o.
    let weights: Tensor

    init(
      heads: (Int, Int), headSize: Int, block: (Int, Int) = (128, 256), lengths: [(queries: Int, keys: Int)],
      mask: AttentionMask, scale: Float = 1
    ) {
      attention = Attention(
        heads: heads.0, keyValueHeads: heads.1, headSize: headSize, queryBlock: block.0, keyBlock: block.1)
      var (row, key) = (0, 0)
      sequences = lengths.map { length in
        defer { (row, key) = (row + length.queries, key + length.keys) }
        return AttentionSequence(queries: row..<row + length.queries, keys: key..<key + length.keys)
      }
      self.mask = mask
      queries = randomTensor([row, heads.0 * headSize], seed: 1, scale: scale)
      keys = randomTensor([key, heads.1 * headSize], seed: 2, scale: scale)
      values = randomTensor([key, heads.1 * headSize], seed: 3)
      weights = randomTensor([row, heads.0 * headSize], seed: 4)
    }

    /// Every other query is blinded for some keys, and the second row of the call for all.
    mutating func knockOutSome() {
      let (rows, keyRows) = (queries.rows, keys.rows)
      knockouts = [
        AttentionKnockout(queries: (0..<rows).map { $0 % 2 == 0 }, keys: (0..<keyRows).map { $0 % 5 < 2 }),
        AttentionKnockout(
          queries: (0..<rows).map { $0 == 1 }, keys: [Bool](repeating: true, count: keyRows)),
      ]
    }

    func attend(_ queries: Tensor, _ keys: Tensor, _ values: Tensor) -> Tensor {
      attention(
        queries: queries, keys: keys, values: values, sequences: sequences, mask: mask, knockouts: knockouts
      ).output
    }

    /// ∂y of queries, keys and values, through a tape that follows the wanted ones.
    func gradients(wanted: [Bool] = [true, true, true]) -> [Tensor?] {
      let tape = Tape()
      let inputs = zip([queries, keys, values], wanted).map { $1 ? tape.leaf($0) : $0 }
      let output = attend(inputs[0], inputs[1], inputs[2])
      var found = tape.gradients(of: output, for: inputs.filter(\.isTracked), seed: weights)[...]
      return wanted.map { $0 ? found.removeFirst() : nil }
    }
  }

  /// One row of the definition in Float64: the probabilities of head `head` of a query.
  private func probabilities(
    _ test: Case, _ q: [Double], _ k: [Double], sequence: Int, row: Int, head: Int, _ visible: VisibleKeys
  ) -> [Double] {
    let (size, heads, keyHeads) = (
      test.attention.headSize, test.attention.heads, test.attention.keyValueHeads
    )
    let keys = test.sequences[sequence].keys
    let logits = keys.map { key -> Double in
      let place = key - keys.lowerBound
      let isHidden = test.knockouts.contains { $0.queries[row] && $0.keys[key] }
      guard !isHidden, visible.first.contains(place) || visible.second.contains(place) else {
        return -.infinity
      }
      let (a, b) = ((row * heads + head) * size, (key * keyHeads + head * keyHeads / heads) * size)
      return (0..<size).reduce(0) { $0 + q[a + $1] * k[b + $1] } * Double(test.attention.scale)
    }
    guard let maximum = logits.max(), maximum > -.infinity else { return logits.map { _ in 0 } }
    let exponentials = logits.map { exp($0 - maximum) }
    let sum = exponentials.reduce(0, +)
    return exponentials.map { $0 / sum }
  }

  /// Calls `body` with every query row and head and its probabilities.
  private func forEachRow(
    _ test: Case, _ q: [Double], _ k: [Double],
    _ body: (_ keys: Range<Int>, _ row: Int, _ head: Int, _ probabilities: [Double]) -> Void
  ) {
    for (index, sequence) in test.sequences.enumerated() {
      let visible = test.mask.visibleKeys(sequence, index: index)
      for row in sequence.queries {
        for head in 0..<test.attention.heads {
          body(
            sequence.keys, row, head,
            probabilities(
              test, q, k, sequence: index, row: row, head: head, visible[row - sequence.queries.lowerBound]))
        }
      }
    }
  }

  /// The output by the definition.
  private func output(_ test: Case, _ q: [Double], _ k: [Double], _ v: [Double]) -> [Double] {
    let (size, heads, keyHeads) = (
      test.attention.headSize, test.attention.heads, test.attention.keyValueHeads
    )
    var output = q.map { _ in 0.0 }
    forEachRow(test, q, k) { keys, row, head, p in
      for (key, p) in zip(keys, p) where p != 0 {
        let (a, b) = ((row * heads + head) * size, (key * keyHeads + head * keyHeads / heads) * size)
        for i in 0..<size { output[a + i] += p * v[b + i] }
      }
    }
    return output
  }

  /// The gradients by their formulas, in Float64 with whole rows.
  private func twin(_ test: Case) -> [[Double]] {
    let (q, k, v, w) = (test.queries.doubles, test.keys.doubles, test.values.doubles, test.weights.doubles)
    let (size, heads, keyHeads) = (
      test.attention.headSize, test.attention.heads, test.attention.keyValueHeads
    )
    var (dq, dk, dv) = (q.map { _ in 0.0 }, k.map { _ in 0.0 }, v.map { _ in 0.0 })
    forEachRow(test, q, k) { keys, row, head, p in
      let a = (row * heads + head) * size
      let starts = keys.map { ($0 * keyHeads + head * keyHeads / heads) * size }
      let gradients = starts.map { b in (0..<size).reduce(0) { $0 + w[a + $1] * v[b + $1] } }
      let mean = zip(p, gradients).reduce(0) { $0 + $1.0 * $1.1 }
      for (index, b) in starts.enumerated() {
        let slope = p[index] * (gradients[index] - mean) * Double(test.attention.scale)
        for i in 0..<size {
          dq[a + i] += slope * k[b + i]
          dk[b + i] += slope * q[a + i]
          dv[b + i] += p[index] * w[a + i]
        }
      }
    }
    return [dq, dk, dv]
  }

  private func masks(_ counts: [Int]) -> [(name: String, mask: AttentionMask)] {
    let ids = counts.map { count in (0..<count).map { $0 < 3 ? -1 : $0 / 4 } }
    return [
      ("causal", .causal), ("full", .full), ("prefix", .prefix(lengths: counts.map { $0 / 2 })),
      ("blocks", .blocks(ids: ids)), ("branches", .branches(prefix: counts.map { $0 / 3 }, ids: ids)),
    ]
  }

  func testGradientsMatchCentralDifferencesForEveryMask() {
    let lengths = [(queries: 7, keys: 7), (queries: 1, keys: 5), (queries: 3, keys: 6)]
    var lines: [String] = []
    for (name, mask) in masks(lengths.map(\.keys)) {
      for hasKnockouts in [false, true] {
        var worst = 0.0
        for heads in [(2, 2), (4, 2), (3, 1)] {
          for block in [(1, 1), (3, 4), (128, 256)] {
            var test = Case(heads: heads, headSize: 3, block: block, lengths: lengths, mask: mask)
            if hasKnockouts { test.knockOutSome() }
            let check = GradientCheck(
              operation: { test.attend($0[0], $0[1], $0[2]) },
              twin: { self.output(test, $0[0], $0[1], $0[2]) })
            let error = check.worstError([test.queries, test.keys, test.values])
            XCTAssertLessThan(error, 1e-3, "\(name) knockouts \(hasKnockouts) heads \(heads) block \(block)")
            worst = max(worst, error)
          }
        }
        lines.append("attention \(name)\(hasKnockouts ? " with knockouts" : ""): \(worst)")
      }
    }
    print("largest relative difference of gradients\n  " + lines.joined(separator: "\n  "))
  }

  func testGradientsOfLongSequencesMatchTheFormulas() {
    let lengths = [(queries: 150, keys: 150), (queries: 70, keys: 300)]
    for (name, mask) in masks(lengths.map(\.keys)) {
      for (heads, size) in [((4, 2), 16), ((2, 1), 20)] {
        var test = Case(heads: heads, headSize: size, lengths: lengths, mask: mask, scale: 2)
        test.knockOutSome()
        for (found, expected) in zip(test.gradients(), twin(test)) {
          // Float32 sums of some hundred terms of size 1.
          assertClose(
            found ?? Tensor(zeros: [0]), expected, shape: found?.shape ?? [], absolute: 2e-5, relative: 2e-5,
            "\(name) head size \(size)")
        }
      }
    }
  }

  func testOnlyWantedGradientsAreComputedWithTheSameBits() {
    let test = Case(heads: (4, 2), headSize: 8, lengths: [(40, 50)], mask: .causal)
    let all = test.gradients()
    for number in 1..<8 {
      let wanted = (0..<3).map { number >> $0 & 1 != 0 }
      for (index, found) in test.gradients(wanted: wanted).enumerated() {
        XCTAssertEqual(found != nil, wanted[index])
        if let found, let expected = all[index] { assertSameBits(found, expected, "wanted \(wanted)") }
      }
    }
  }

  func testRowsOfNoSequenceGetNoGradient() throws {
    var test = Case(heads: (2, 2), headSize: 8, lengths: [(6, 6), (5, 5), (7, 7)], mask: .causal)
    test.sequences.remove(at: 1)
    for gradient in test.gradients() {
      let rows = try XCTUnwrap(gradient).hostRows()
      XCTAssertTrue(rows[6..<11].allSatisfy { $0.allSatisfy { $0 == 0 } })
      XCTAssertTrue(rows[0..<6].contains { $0.contains { $0 != 0 } })
    }
  }

  func testASequenceHasTheSameGradientBitsAloneAndInABatch() throws {
    let lengths = [(queries: 37, keys: 37), (queries: 1, keys: 20), (queries: 22, keys: 33)]
    let test = Case(heads: (4, 2), headSize: 8, block: (7, 5), lengths: lengths, mask: .causal)
    let together = test.gradients()
    for sequence in test.sequences {
      let tape = Tape()
      let leaves = [
        test.queries.slice(sequence.queries), test.keys.slice(sequence.keys),
        test.values.slice(sequence.keys),
      ].map(tape.leaf)
      let (output, _) = test.attention(
        queries: leaves[0], keys: leaves[1], values: leaves[2],
        sequences: [
          AttentionSequence(queries: 0..<sequence.queries.count, keys: 0..<sequence.keys.count)
        ], mask: .causal)
      let alone = tape.gradients(of: output, for: leaves, seed: test.weights.slice(sequence.queries))
      let rows = [sequence.queries, sequence.keys, sequence.keys]
      for (index, found) in alone.enumerated() {
        assertSameBits(
          try XCTUnwrap(found), try XCTUnwrap(together[index]).slice(rows[index]), "gradient \(index)")
      }
    }
  }

  func testThreadsChangeNoBit() throws {
    let before = Workers.threadCount
    defer { Workers.threadCount = before }
    let lengths = [(queries: 200, keys: 200), (queries: 1, keys: 90), (queries: 60, keys: 300)]
    for (name, mask) in masks(lengths.map(\.keys)) {
      var test = Case(heads: (4, 2), headSize: 16, lengths: lengths, mask: mask)
      test.knockOutSome()
      Workers.threadCount = 1
      let expected = test.gradients()
      for threads in [2, 3, 5] {
        Workers.threadCount = threads
        for (found, expected) in zip(test.gradients(), expected) {
          assertSameBits(try XCTUnwrap(found), try XCTUnwrap(expected), "\(name) with \(threads) threads")
        }
      }
    }
  }

  func testATapeDoesNotChangeOutputAndStatistics() throws {
    var request = AttentionRequest()
    request.wantsEntropy = true
    request.wantsColumnSums = true
    let test = Case(heads: (4, 2), headSize: 8, block: (7, 5), lengths: [(30, 40)], mask: .causal)
    let tape = Tape()
    let results = [test.queries, tape.leaf(test.queries)].map {
      test.attention(
        queries: $0, keys: test.keys, values: test.values, sequences: test.sequences, mask: test.mask,
        request: request)
    }
    XCTAssertTrue(results[1].output.isTracked)
    assertSameBits(results[0].output, results[1].output)
    assertSameBits(
      try XCTUnwrap(results[0].statistics?.entropy), try XCTUnwrap(results[1].statistics?.entropy))
    assertSameBits(
      try XCTUnwrap(results[0].statistics?.columnSums?[0]),
      try XCTUnwrap(results[1].statistics?.columnSums?[0]))
  }

  func testACheckpointGivesTheSameGradientBits() throws {
    let test = Case(heads: (4, 2), headSize: 8, block: (7, 5), lengths: [(30, 40)], mask: .causal)
    let tape = Tape()
    let leaves = [test.queries, test.keys, test.values].map(tape.leaf)
    let output = tape.checkpoint { test.attend(leaves[0], leaves[1], leaves[2]) }
    for (found, expected) in zip(
      tape.gradients(of: output, for: leaves, seed: test.weights), test.gradients())
    {
      assertSameBits(try XCTUnwrap(found), try XCTUnwrap(expected))
    }
  }

  func testProbabilityBlocksMatchTheDefinition() throws {
    let lengths = [(queries: 30, keys: 30), (queries: 12, keys: 41)]
    for (name, mask) in masks(lengths.map(\.keys)) {
      for block in [(7, 5), (128, 256)] {
        var test = Case(heads: (4, 2), headSize: 8, block: block, lengths: lengths, mask: mask)
        test.knockOutSome()
        let collected = Collected()
        test.attention.visitProbabilityGradients(
          queries: test.queries, keys: test.keys, values: test.values, sequences: test.sequences, mask: mask,
          knockouts: test.knockouts, outputGradient: test.weights
        ) { collected.add($0) }
        let pairs = collected.pairs
        let (v, w) = (test.values.doubles, test.weights.doubles)
        forEachRow(test, test.queries.doubles, test.keys.doubles) { keys, row, head, p in
          for (key, p) in zip(keys, p) {
            let found = pairs[Pair(head: head, row: row, key: key - keys.lowerBound, first: keys.lowerBound)]
            XCTAssertEqual(Double(found?.0 ?? 0), p, accuracy: 1e-6, "\(name) row \(row) key \(key)")
            guard p > 0 else { continue }
            let gradient = (0..<8).reduce(0.0) {
              $0 + w[row * 32 + head * 8 + $1] * v[key * 16 + head / 2 * 8 + $1]
            }
            XCTAssertEqual(
              Double(found?.1 ?? .nan), gradient, accuracy: 1e-5, "\(name) row \(row) key \(key)")
          }
        }
      }
    }
  }
}

private struct Pair: Hashable {
  let head: Int
  let row: Int
  let key: Int
  let first: Int
}

/// Blocks as they come from several threads.
private final class Collected: @unchecked Sendable {
  private let lock = NSLock()
  private var blocks: [AttentionProbabilityBlock] = []

  func add(_ block: AttentionProbabilityBlock) { lock.withLock { blocks.append(block) } }

  /// Probability and gradient of every pair; a pair that comes twice is not a pair.
  var pairs: [Pair: (Float, Float)] {
    var pairs: [Pair: (Float, Float)] = [:]
    for block in blocks {
      let (p, g) = (block.probabilities.hostRows(), block.gradients.hostRows())
      for (i, row) in block.queryRows.enumerated() {
        for (j, key) in block.keys.enumerated() {
          let pair = Pair(head: block.head, row: row, key: key, first: block.sequence == 0 ? 0 : 30)
          XCTAssertNil(pairs[pair])
          pairs[pair] = (p[i][j], g[i][j])
        }
      }
    }
    return pairs
  }
}
