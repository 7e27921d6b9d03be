import XCTest

@testable import RunKit

final class RandomStreamTests: XCTestCase {
  /// The docstring's recipe run in Python (hashlib and xoshiro256**).
  func testStreamsGiveTheGoldenValues() {
    var stream = RandomStream(seed: 0, purpose: "test")
    XCTAssertEqual(
      (0..<4).map { _ in stream.next() },
      [0xde4b_ab61_06a5_0696, 0x60db_04aa_8018_8366, 0x392e_711a_a54b_77e8, 0x14e7_4330_6227_8ad2])
    stream = RandomStream(seed: -7, purpose: "dropout é", epoch: 3, step: 5, id: 11)
    XCTAssertEqual(
      (0..<3).map { _ in stream.next() },
      [0xc924_fa96_a73c_9959, 0xc5a7_6bc4_d5d3_d9b8, 0xd76f_8ec3_966e_0f14])
    stream = RandomStream(seed: 1, purpose: "u")
    XCTAssertEqual(
      (0..<3).map { _ in stream.uniform() }, [0.9042437774969873, 0.3568306466569052, 0.6584319238441466])
    stream = RandomStream(seed: 1, purpose: "f")
    XCTAssertEqual(
      (0..<3).map { _ in stream.uniformFloat() },
      [0.28184211254119873, 0.7520143985748291, 0.0837363600730896])
    stream = RandomStream(seed: 1, purpose: "i")
    XCTAssertEqual((0..<12).map { _ in stream.integer(below: 10) }, [4, 3, 0, 0, 5, 8, 2, 8, 1, 9, 0, 1])
    XCTAssertEqual(stream.integer(below: 3 << 61), 5_010_167_955_931_554_348)
    stream = RandomStream(seed: 1, purpose: "p")
    XCTAssertEqual(stream.permutation(of: 10), [9, 8, 3, 2, 0, 4, 7, 1, 5, 6])
  }

  /// Tolerance: logarithm and cosine of two C libraries may differ in the last digit.
  func testNormalNumbersAreTheGoldenValues() {
    var stream = RandomStream(seed: 1, purpose: "n")
    for expected in [2.1673782401392843, 2.3625321425328716, -0.9152616079584359, 1.348812043167322] {
      XCTAssertEqual(stream.normal(), expected, accuracy: 1e-14)
    }
  }

  func testEveryPartOfTheKeyMatters() {
    let streams = [
      RandomStream(seed: 1, purpose: "a"), RandomStream(seed: 2, purpose: "a"),
      RandomStream(seed: 1, purpose: "b"), RandomStream(seed: 1, purpose: "a", epoch: 1),
      RandomStream(seed: 1, purpose: "a", step: 1), RandomStream(seed: 1, purpose: "a", id: 1),
    ]
    let first = streams.map { stream -> UInt64 in
      var stream = stream
      return stream.next()
    }
    XCTAssertEqual(Set(first).count, first.count)
  }

  /// χ² over 7 cells of 70,000 draws: below 27.9 with probability 0.9999 for 6 degrees of freedom.
  func testIntegersAreEquallyLikely() {
    var stream = RandomStream(seed: 5, purpose: "cells")
    var counts = [Double](repeating: 0, count: 7)
    for _ in 0..<70_000 { counts[stream.integer(below: 7)] += 1 }
    XCTAssertLessThan(counts.reduce(0) { $0 + ($1 - 10_000) * ($1 - 10_000) / 10_000 }, 27.9)
  }

  /// A bound of 3/4 · 2⁶³ maps 2⁶⁴ draws to it unevenly unless some are drawn again.
  func testLargeBoundsHaveNoBias() {
    var stream = RandomStream(seed: 5, purpose: "bias")
    let bound = 3 << 61
    let below = (0..<40_000).count { _ in stream.integer(below: bound) < bound / 2 }
    // Four standard deviations of a fair coin.
    XCTAssertEqual(Double(below), 20_000, accuracy: 400)
  }

  /// Tolerances: five standard errors of the mean and of the variance of 100,000 draws.
  func testNormalNumbersHaveMeanZeroAndVarianceOne() {
    var stream = RandomStream(seed: 9, purpose: "normal")
    let moments = StreamingMoments((0..<100_000).map { _ in stream.normal() })
    XCTAssertEqual(moments.mean, 0, accuracy: 0.0158)
    XCTAssertEqual(moments.sampleVariance ?? .nan, 1, accuracy: 0.0224)
  }
}
