import TestSupport
import XCTest

@testable import TensorCore

final class PoolingTests: XCTestCase {
  /// One number for each window and channel by a rule on its numbers; nil outside the image.
  private func pool(
    _ values: [Double], _ shape: [Int], _ window: ImageWindow, _ rule: ([Double?]) -> Double
  ) -> [Double] {
    let images = NaiveImages(values, shape)
    return images.forEachWindow(window) { image, top, left in
      (0..<shape[3]).map { rule(images.window(window, image, top, left, channel: $0)) }
    }
  }

  private let largest: ([Double?]) -> Double = { $0.compactMap { $0 }.max() ?? .nan }
  private let paddedMean: ([Double?]) -> Double = { $0.reduce(0) { $0 + ($1 ?? 0) } / Double($0.count) }
  private let innerMean: ([Double?]) -> Double = {
    let inside = $0.compactMap { $0 }
    return inside.reduce(0, +) / Double(inside.count)
  }

  func testPoolingAndItsGradientsMatchTheDefinition() {
    var lines: [String] = []
    func check(
      _ name: String, _ shape: [Int], _ operation: @escaping (Tensor) -> Tensor,
      _ twin: @escaping ([Double]) -> [Double]
    ) {
      let check = GradientCheck(operation: { operation($0[0]) }, twin: { twin($0[0]) })
      let worst = check.worstError([randomTensor(shape, seed: 5)])
      XCTAssertLessThan(worst, 1e-3, name)
      lines.append("\(name) of \(shape): \(worst)")
    }
    for (window, shape) in windowCases {
      // 17 channels fill one vector and begin another.
      let shape: [Int] = shape.dropLast() + [shape == windowCases[1].images ? 17 : shape[3]]
      let name = "pool \(window.size) every \(window.stride)"
      check("largest \(name)", shape, { $0.maxPooled(window) }) {
        self.pool($0, shape, window, self.largest)
      }
      check("mean \(name)", shape, { $0.averagePooled(window) }) {
        self.pool($0, shape, window, self.paddedMean)
      }
      check("mean inside \(name)", shape, { $0.averagePooled(window, countsPadding: false) }) {
        self.pool($0, shape, window, self.innerMean)
      }
      let whole = ImageWindow(size: (shape[1], shape[2]))
      check("global largest", shape, { $0.globalMaxPooled() }) { self.pool($0, shape, whole, self.largest) }
      check("global mean", shape, { $0.globalAveragePooled() }) {
        self.pool($0, shape, whole, self.paddedMean)
      }
    }
    print("largest relative difference of gradients\n  " + lines.joined(separator: "\n  "))
  }

  func testGlobalPoolingDropsTheAxesOfTheImage() {
    let x = randomTensor([3, 4, 5, 2], seed: 1)
    XCTAssertEqual(x.globalMaxPooled().shape, [3, 2])
    XCTAssertEqual(x.globalAveragePooled().shape, [3, 2])
  }

  func testTheFirstOfEqualNumbersTakesTheGradient() throws {
    let x = Tensor([2, 5, 5, 1, 5, 0], shape: [1, 2, 3, 1])
    let tape = Tape()
    let leaf = tape.leaf(x)
    let y = leaf.maxPooled(ImageWindow(size: (2, 2)))
    XCTAssertEqual(y.hostValues(), [5, 5])
    let gradient = try XCTUnwrap(tape.gradients(of: y, for: [leaf], seed: Tensor([3, 4], shape: y.shape))[0])
    XCTAssertEqual(gradient.hostValues(), [0, 7, 0, 0, 0, 0])
  }

  func testNaNIsTheLargestNumberAndTakesTheGradient() throws {
    let x = Tensor([2, .nan, 5, 1], shape: [1, 2, 2, 1])
    let tape = Tape()
    let leaf = tape.leaf(x)
    let y = leaf.globalMaxPooled()
    XCTAssertTrue(y.hostValues()[0].isNaN)
    let gradient = try XCTUnwrap(tape.gradients(of: y, for: [leaf])[0])
    XCTAssertEqual(gradient.hostValues(), [0, 1, 0, 0])
  }

  func testThreadsChangeNoBit() throws {
    let before = Workers.threadCount
    defer { Workers.threadCount = before }
    let x = randomTensor([37, 40, 48, 8], seed: 1)
    let window = ImageWindow(size: (3, 3), stride: (2, 2), padding: (1, 1))
    Workers.threadCount = 1
    let expected = try results(x, window)
    for threads in [2, 3, 5] {
      Workers.threadCount = threads
      for (found, expected) in zip(try results(x, window), expected) {
        assertSameBits(found, expected, "\(threads) threads")
      }
    }
  }

  /// Both poolings and their gradients.
  private func results(_ x: Tensor, _ window: ImageWindow) throws -> [Tensor] {
    let tape = Tape()
    let leaf = tape.leaf(x)
    return try [leaf.maxPooled(window), leaf.averagePooled(window)].flatMap { y in
      let gradient = tape.gradients(of: y, for: [leaf], seed: randomTensor(y.shape, seed: 2))[0]
      return [y, try XCTUnwrap(gradient)]
    }
  }
}
