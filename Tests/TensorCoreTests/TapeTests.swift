import TestSupport
import XCTest

@testable import TensorCore

final class TapeTests: XCTestCase {
  private let x = randomTensor([6, 8], seed: 1)
  private let first = randomTensor([16, 8], seed: 2)
  private let second = randomTensor([3, 16], seed: 3)
  private let labels = [0, 2, 1, 1, 0, 2]

  /// Two layers with a residual use of the first weight.
  private static func layer(_ x: Tensor, _ first: Tensor, _ second: Tensor) -> Tensor {
    let inner = LinearWeight(first).forward(x).dropout(rate: 0.25, key: 5).silu()
    return LinearWeight(second).forward(inner * inner + inner)
  }

  func testSeveralPassesOverOneForwardEqualSeparateForwards() throws {
    let tape = Tape()
    let leaves = [first, second].map(tape.leaf)
    let logits = Self.layer(x, leaves[0], leaves[1])
    let losses = logits.crossEntropy(labels: labels)
    let (one, two) = (losses.slice(0..<2).total(), losses.slice(2..<6).mean())
    let both = [one, two].map { tape.gradients(of: $0, for: leaves) }
    let again = tape.gradients(of: one, for: leaves)
    let picks: [(Tensor) -> Tensor] = [{ $0.slice(0..<2).total() }, { $0.slice(2..<6).mean() }]
    for (index, pick) in picks.enumerated() {
      let own = Tape()
      let ownLeaves = [first, second].map(own.leaf)
      let loss = pick(Self.layer(x, ownLeaves[0], ownLeaves[1]).crossEntropy(labels: labels))
      let gradients = own.gradients(of: loss, for: ownLeaves, retaining: false)
      XCTAssertEqual(own.count, 0, "a tape that is not retained is empty")
      for (found, expected) in zip(both[index], gradients) {
        XCTAssertEqual(try XCTUnwrap(found), try XCTUnwrap(expected))
      }
    }
    for (found, expected) in zip(again, both[0]) {
      XCTAssertEqual(try XCTUnwrap(found), try XCTUnwrap(expected))
    }
  }

  func testCheckpointsGiveTheSameBits() throws {
    func gradients(checkpointed: Bool) throws -> [Tensor] {
      let tape = Tape()
      let leaves = [x, first, second, randomTensor([8, 3], seed: 4)].map(tape.leaf)
      func run(_ body: @escaping @Sendable () -> Tensor) -> Tensor {
        checkpointed ? tape.checkpoint(body) : body()
      }
      let a = run { Self.layer(leaves[0], leaves[1], leaves[2]) }
      let b = run {
        // Another layer within, which has a checkpoint of its own.
        let hidden = LinearWeight(leaves[3]).forward(a)
        return
          (checkpointed
          ? tape.checkpoint { Self.layer(hidden, leaves[1], leaves[2]) }
          : Self.layer(hidden, leaves[1], leaves[2])) + a
      }
      if checkpointed { XCTAssertEqual(tape.count, 6) }
      let loss = b.crossEntropy(labels: labels).mean()
      let count = tape.count
      let results = tape.gradients(of: loss, for: leaves)
      XCTAssertEqual(tape.count, count, "the operations of a checkpoint are removed again")
      return try results.map { try XCTUnwrap($0) }
    }
    for (found, expected) in zip(try gradients(checkpointed: true), try gradients(checkpointed: false)) {
      XCTAssertEqual(found, expected)
    }
  }

  func testGradientsOfIntermediatesAndOfWhatDoesNotMatter() throws {
    let tape = Tape()
    let (a, b, unused) = (tape.leaf(x), tape.leaf(first), tape.leaf(second))
    let inner = LinearWeight(b).forward(a)
    let loss = (inner * inner).total()
    let results = tape.gradients(of: loss, for: [inner, unused, b])
    XCTAssertEqual(try XCTUnwrap(results[0]), 2 * inner.detached)
    XCTAssertNil(results[1])
    let expected = (2 * inner.detached).matmul(x, transposingSelf: true)
    XCTAssertEqual(try XCTUnwrap(results[2]), expected)
    XCTAssertFalse(try XCTUnwrap(results[0]).isTracked)
    XCTAssertNil(tape.gradients(of: x.total(), for: [a])[0], "an untracked scalar depends on nothing")
  }

  func testFrozenWeightsGetNoGradient() {
    let tape = Tape()
    let leaf = tape.leaf(x)
    let output = LinearWeight(first).forward(leaf)
    XCTAssertEqual(tape.count, 2)
    XCTAssertFalse(LinearWeight(first).forward(x).isTracked)
    XCTAssertTrue(output.isTracked)
  }

  /// A graph of objects would overflow the stack when it is freed.
  func testAMillionEntriesBuildAndFree() throws {
    let tape = Tape()
    let leaf = tape.leaf(Tensor(scalar: 1))
    var value = leaf
    for _ in 1..<1_000_000 { value = value + Float(1e-6) }
    XCTAssertEqual(tape.count, 1_000_000)
    XCTAssertEqual(
      try XCTUnwrap(tape.gradients(of: value, for: [leaf], retaining: false)[0]), Tensor(scalar: 1))
  }

  func testATapeIsFreedWithItsLastTensor() {
    weak var watched: Tape?
    do {
      let tape = Tape()
      watched = tape
      let leaf = tape.leaf(first)
      let output = Self.layer(x, leaf, second).softmax().logSoftmax().gelu().geluTanh().exponential()
      XCTAssertNotNil(output)
    }
    XCTAssertNil(watched, "a recorded operation keeps its tape alive")
  }

  func testGradientsHaveTheSameBitsForAnyNumberOfThreads() throws {
    let before = Workers.threadCount
    defer { Workers.threadCount = before }
    let inputs = [
      randomTensor([700, 300], seed: 7), randomTensor([400, 300], seed: 8), randomTensor([400], seed: 9),
    ]
    var results: [[Tensor]] = []
    for threads in [1, 2, 3, 5] {
      Workers.threadCount = threads
      let tape = Tape()
      let leaves = inputs.map(tape.leaf)
      let hidden = LinearWeight(leaves[1]).forward(leaves[0]).dropout(rate: 0.1, key: 3)
      let normed = hidden.rmsNorm(weight: leaves[2], epsilon: 1e-5).layerNorm(
        weight: leaves[2], bias: leaves[2], epsilon: 1e-5)
      let loss = (normed.siluMultiplied(by: hidden) + leaves[2]).softmax().crossEntropy(
        labels: (0..<700).map { $0 % 400 }
      ).mean()
      results.append(try tape.gradients(of: loss, for: leaves).map { try XCTUnwrap($0) })
    }
    for result in results.dropFirst() { XCTAssertEqual(result, results[0]) }
  }
}
