import Foundation
import TestSupport
import XCTest

@testable import TensorCore

/// Rotary embeddings against Float64.
final class RotaryEmbeddingTests: XCTestCase {
  /// Positions from the first token to beyond the longest contexts.
  private let positions = [0, 1, 2, 77, 4095, 8191, 131_071, 1_000_003]

  func testFrequenciesFollowTheirFormulas() {
    for (headSize, base) in [(8, 10_000.0), (64, 10_000), (128, 500_000), (2, 10_000)] {
      let plain = (0..<headSize / 2).map { pow(base, -2 * Double($0) / Double(headSize)) }
      let shape = [headSize / 2]
      // Two roundings in float32: of the power and of its inverse.
      let rounding = 1.8e-7
      let found = RotaryEmbedding(headSize: headSize, base: base).frequencies
      assertClose(Tensor(found, shape: shape), plain, shape: shape, relative: rounding, "default \(headSize)")
      let linear = RotaryEmbedding(headSize: headSize, base: base, scaling: .linear(factor: 4)).frequencies
      assertClose(
        Tensor(linear, shape: shape), plain.map { $0 / 4 }, shape: shape, relative: rounding, "linear")
      let llama3 = RotaryEmbedding(
        headSize: headSize, base: base,
        scaling: .llama3(factor: 8, lowFrequencyFactor: 1, highFrequencyFactor: 4, originalContext: 8192)
      ).frequencies
      let scaled = plain.map { frequency -> Double in
        let wavelength = 2 * Double.pi / frequency
        if wavelength < 8192.0 / 4 { return frequency }
        if wavelength > 8192 { return frequency / 8 }
        let smooth = (8192 / wavelength - 1) / 3
        return (1 - smooth) * frequency / 8 + smooth * frequency
      }
      // The interpolation weight is a difference that can lose one digit.
      assertClose(Tensor(llama3, shape: shape), scaled, shape: shape, relative: 2e-6, "llama3 \(headSize)")
    }
  }

  func testTablesAreTheCosineAndSineOfTheRoundedAngle() {
    let rotary = RotaryEmbedding(headSize: 64, base: 500_000)
    let (cosine, sine) = rotary.tables(positions: positions)
    let angles = positions.flatMap { position in rotary.frequencies.map { Double(Float(position) * $0) } }
    // The angle is the reference's float32 product; its cosine is then rounded once.
    assertClose(cosine, angles.map { cos($0) }, shape: [positions.count, 32], absolute: 6e-8)
    assertClose(sine, angles.map { sin($0) }, shape: [positions.count, 32], absolute: 6e-8)
  }

  func testRotationTurnsEveryPairOfEveryHead() {
    for (headSize, heads) in [(2, 1), (8, 3), (40, 2), (64, 5)] {
      let rotary = RotaryEmbedding(headSize: headSize, base: 10_000)
      let (cosine, sine) = rotary.tables(positions: positions)
      let (columns, half) = (heads * headSize, headSize / 2)
      let x = randomTensor([positions.count, columns], seed: UInt64(headSize))
      let (values, c, s) = (x.doubles, cosine.doubles, sine.doubles)
      var expected = values
      for row in positions.indices {
        for head in 0..<heads {
          for pair in 0..<half {
            let (first, table) = (row * columns + head * headSize + pair, row * half + pair)
            expected[first] = values[first] * c[table] - values[first + half] * s[table]
            expected[first + half] = values[first + half] * c[table] + values[first] * s[table]
          }
        }
      }
      // Two products and a sum below 2, each rounded.
      assertClose(
        x.rotated(cosine: cosine, sine: sine), expected, shape: x.shape, absolute: 2.4e-7,
        "\(heads) x \(headSize)")
      assertSameBits(
        x, randomTensor([positions.count, columns], seed: UInt64(headSize)), "the input must stay")
    }
  }

  func testPositionZeroLeavesRowsUnchanged() {
    let x = randomTensor([3, 32], seed: 1)
    let (cosine, sine) = RotaryEmbedding(headSize: 16, base: 10_000).tables(positions: [0, 0, 0])
    XCTAssertEqual(x.rotated(cosine: cosine, sine: sine), x)
  }
}
