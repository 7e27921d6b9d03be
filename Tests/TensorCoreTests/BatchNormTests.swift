import Foundation
import TestSupport
import XCTest

@testable import TensorCore

final class BatchNormTests: XCTestCase {
  private let layer = BatchNorm(epsilon: 1e-3, momentum: 0.3)

  /// Mean and variance of each of `channels` columns.
  private func statistics(_ x: [Double], channels: Int, unbiased: Bool = false) -> ([Double], [Double]) {
    let columns = (0..<channels).map { channel in
      stride(from: channel, to: x.count, by: channels).map { x[$0] }
    }
    let means = columns.map { $0.reduce(0, +) / Double($0.count) }
    let variances = zip(columns, means).map { column, mean in
      column.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / Double(column.count - (unbiased ? 1 : 0))
    }
    return (means, variances)
  }

  private func normalize(
    _ x: [Double], _ weight: [Double], _ bias: [Double], _ statistics: ([Double], [Double])
  ) -> [Double] {
    x.indices.map { index in
      let channel = index % weight.count
      let deviation = (statistics.1[channel] + Double(layer.epsilon)).squareRoot()
      return (x[index] - statistics.0[channel]) / deviation * weight[channel] + bias[channel]
    }
  }

  func testBatchNormAndItsGradientsMatchTheDefinition() {
    var lines: [String] = []
    for shape in [[2, 3, 2, 5], [7, 3], [3, 2, 2, 17]] {
      let channels = shape[shape.count - 1]
      let buffers = BatchNorm.Buffers(
        mean: randomTensor([channels], seed: 8), variance: randomTensor([channels], seed: 9) + 1.5)
      let inputs = [
        randomTensor(shape, seed: 1) + 2, randomTensor([channels], seed: 2),
        randomTensor([channels], seed: 3),
      ]
      let training = GradientCheck(
        operation: { self.layer.train($0[0], weight: $0[1], bias: $0[2], buffers: buffers).output },
        twin: { self.normalize($0[0], $0[1], $0[2], self.statistics($0[0], channels: channels)) })
      let evaluation = GradientCheck(
        operation: { self.layer.evaluate($0[0], weight: $0[1], bias: $0[2], buffers: buffers) },
        twin: { self.normalize($0[0], $0[1], $0[2], (buffers.mean.doubles, buffers.variance.doubles)) })
      for (name, check) in [("training", training), ("evaluation", evaluation)] {
        let worst = check.worstError(inputs)
        XCTAssertLessThan(worst, 1e-3, "\(name) of \(shape)")
        lines.append("batch norm, \(name) of \(shape): \(worst)")
      }
    }
    print("largest relative difference of gradients\n  " + lines.joined(separator: "\n  "))
  }

  func testWhatIsAddedAndRectifiedHasTheGradientsOfItsDefinition() {
    for shape in [[2, 3, 2, 5], [3, 2, 2, 17]] {
      let channels = shape[shape.count - 1]
      let buffers = BatchNorm.Buffers(
        mean: randomTensor([channels], seed: 8), variance: randomTensor([channels], seed: 9) + 1.5)
      let inputs = [
        randomTensor(shape, seed: 1), randomTensor([channels], seed: 2), randomTensor([channels], seed: 3),
        randomTensor(shape, seed: 4),
      ]
      for (isTraining, isAdding) in [(true, true), (true, false), (false, true), (false, false)] {
        let check = GradientCheck(
          operation: {
            let added = isAdding ? $0[3] : nil
            return isTraining
              ? self.layer.train(
                $0[0], weight: $0[1], bias: $0[2], buffers: buffers, adding: added, isRectified: true
              ).output
              : self.layer.evaluate(
                $0[0], weight: $0[1], bias: $0[2], buffers: buffers, adding: added, isRectified: true)
          },
          twin: { values in
            let statistics =
              isTraining
              ? self.statistics(values[0], channels: channels)
              : (buffers.mean.doubles, buffers.variance.doubles)
            let normal = self.normalize(values[0], values[1], values[2], statistics)
            return normal.indices.map { max(0, normal[$0] + (isAdding ? values[3][$0] : 0)) }
          })
        let worst = check.worstError(isAdding ? inputs : Array(inputs.dropLast()))
        XCTAssertLessThan(worst, 1e-3, "training \(isTraining), added \(isAdding), \(shape)")
      }
    }
  }

  func testRectifyingAtOnceAndAfterwardsGivesTheSameNumbers() throws {
    let shape = [6, 9, 11, 20]
    let inputs = [
      randomTensor(shape, seed: 1), randomTensor([20], seed: 2), randomTensor([20], seed: 3),
      randomTensor(shape, seed: 4),
    ]
    func run(atOnce: Bool, isAdding: Bool) throws -> [Tensor] {
      let tape = Tape()
      let leaves = inputs.map(tape.leaf)
      let buffers = BatchNorm.Buffers(channels: 20)
      let added = isAdding ? leaves[3] : nil
      var y = layer.train(
        leaves[0], weight: leaves[1], bias: leaves[2], buffers: buffers, adding: atOnce ? added : nil,
        isRectified: atOnce
      ).output
      if !atOnce { y = (added.map { y + $0 } ?? y).relu() }
      let gradients = tape.gradients(
        of: y, for: Array(leaves.prefix(isAdding ? 4 : 3)), seed: randomTensor(shape, seed: 5))
      return try [y] + gradients.map { try XCTUnwrap($0) }
    }
    for isAdding in [false, true] {
      let expected = try run(atOnce: false, isAdding: isAdding)
      for (found, expected) in zip(try run(atOnce: true, isAdding: isAdding), expected) {
        assertClose(found, expected.doubles, shape: expected.shape, absolute: 1e-6, relative: 1e-6)
      }
    }
  }

  func testBuffersTakeTheMeanAndTheUnbiasedVariance() {
    let x = randomTensor([5, 4, 3, 6], seed: 1, scale: 2)
    let old = BatchNorm.Buffers(mean: randomTensor([6], seed: 2), variance: randomTensor([6], seed: 3) + 2)
    let one = Tensor(repeating: 1, shape: [6])
    let (_, new) = layer.train(x, weight: one, bias: one, buffers: old)
    let (mean, variance) = statistics(x.doubles, channels: 6, unbiased: true)
    func mixed(_ old: Tensor, _ new: [Double]) -> [Double] {
      zip(old.doubles, new).map { 0.7 * $0 + 0.3 * $1 }
    }
    assertClose(new.mean, mixed(old.mean, mean), shape: [6], absolute: 1e-6)
    assertClose(new.variance, mixed(old.variance, variance), shape: [6], absolute: 1e-6)
    let fresh = BatchNorm.Buffers(channels: 6)
    XCTAssertEqual(fresh, BatchNorm.Buffers(mean: Tensor(zeros: [6]), variance: one))
  }

  func testAFarMeanDoesNotLoseTheVariance() {
    // A thousand: squares less the squared mean would leave no digit of a variance of 1/3 · 1e-4.
    let x = 0.01 * randomTensor([900, 40], seed: 1) + 1000
    let (_, buffers) = BatchNorm(momentum: 1).train(
      x, weight: Tensor(repeating: 1, shape: [40]), bias: Tensor(zeros: [40]),
      buffers: BatchNorm.Buffers(channels: 40))
    let (mean, variance) = statistics(x.doubles, channels: 40, unbiased: true)
    assertClose(buffers.mean, mean, shape: [40], absolute: 1e-4)
    assertClose(buffers.variance, variance, shape: [40], relative: 1e-4)
  }

  func testReLUAndItsGradientMatchTheDefinition() throws {
    let check = GradientCheck(operation: { $0[0].relu() }, twin: { $0[0].map { max($0, 0) } })
    XCTAssertLessThan(check.worstError([randomTensor([7, 19], seed: 1)]), 1e-3)
    let tape = Tape()
    let leaf = tape.leaf(Tensor([-1, 0, 2, .nan], shape: [4]))
    let y = leaf.relu()
    XCTAssertEqual(y.hostValues()[0..<3], [0, 0, 2])
    XCTAssertTrue(y.hostValues()[3].isNaN)
    let gradient = tape.gradients(of: y, for: [leaf], seed: Tensor(repeating: 3, shape: [4]))[0]
    XCTAssertEqual(try XCTUnwrap(gradient).hostValues()[0..<3], [0, 0, 3])
  }

  func testThreadsChangeNoBit() throws {
    let before = Workers.threadCount
    defer { Workers.threadCount = before }
    let inputs = [
      randomTensor([9, 20, 24, 24], seed: 1), randomTensor([24], seed: 2), randomTensor([24], seed: 3),
    ]
    func run() throws -> [Tensor] {
      let tape = Tape()
      let leaves = inputs.map(tape.leaf)
      let (y, buffers) = layer.train(
        leaves[0], weight: leaves[1], bias: leaves[2], buffers: BatchNorm.Buffers(channels: 24),
        isRectified: true)
      let z = layer.train(
        y, weight: leaves[1], bias: leaves[2], buffers: buffers, adding: y, isRectified: true
      ).output
      let gradients = tape.gradients(of: z, for: leaves, seed: randomTensor(z.shape, seed: 4))
      return try [z, buffers.mean, buffers.variance] + gradients.map { try XCTUnwrap($0) }
    }
    Workers.threadCount = 1
    let expected = try run()
    for threads in [2, 3, 5] {
      Workers.threadCount = threads
      for (index, pair) in zip(try run(), expected).enumerated() {
        assertSameBits(pair.0, pair.1, "tensor \(index) with \(threads) threads")
      }
    }
  }
}
