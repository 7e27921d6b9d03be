import TestSupport
import XCTest

@testable import TensorCore

/// The fast convolution beside its definition, and beside the exact one.
final class WinogradTests: XCTestCase {
  private struct Shape {
    let images: [Int]
    let outputs: Int
    let padding: (rows: Int, columns: Int)
    var window: ImageWindow { ImageWindow(size: (3, 3), padding: padding) }
    var weight: [Int] { [outputs, 3, 3, images[3]] }
  }

  /// Whole tiles and parts of tiles, every padding, channels that fill vectors and that do not.
  private let shapes = [
    Shape(images: [2, 8, 8, 16], outputs: 16, padding: (1, 1)),
    Shape(images: [3, 7, 9, 17], outputs: 20, padding: (1, 1)),
    Shape(images: [1, 6, 5, 33], outputs: 18, padding: (0, 2)),
    Shape(images: [2, 5, 7, 16], outputs: 40, padding: (2, 0)),
    Shape(images: [2, 1, 3, 16], outputs: 16, padding: (1, 1)),
    Shape(images: [2, 13, 30, 24], outputs: 150, padding: (1, 1)),
  ]

  /// y, dX for dy, and dW for dy, by their definitions.
  private func definition(
    _ shape: Shape, _ x: [Double], _ w: [Double], _ dy: [Double], bias: [Double]
  ) -> (y: [Double], dx: [Double], dw: [Double]) {
    let (rows, columns, channels) = (shape.images[1], shape.images[2], shape.images[3])
    let (down, across) = shape.window.count(onRows: rows, columns: columns)
    let outputs = shape.outputs
    var y: [Double] = []
    var (dx, dw) = ([Double](repeating: 0, count: x.count), [Double](repeating: 0, count: w.count))
    for place in 0..<shape.images[0] * down * across {
      let (image, top) = (place / (down * across), place / across % down - shape.padding.rows)
      let left = place % across - shape.padding.columns
      for output in 0..<outputs {
        var sum = bias[output]
        let slope = dy[place * outputs + output]
        for tap in 0..<9 {
          let (row, column) = (top + tap / 3, left + tap % 3)
          guard 0..<rows ~= row, 0..<columns ~= column else { continue }
          let pixel = ((image * rows + row) * columns + column) * channels
          let weight = (output * 9 + tap) * channels
          for channel in 0..<channels {
            sum += x[pixel + channel] * w[weight + channel]
            dx[pixel + channel] += slope * w[weight + channel]
            dw[weight + channel] += slope * x[pixel + channel]
          }
        }
        y.append(sum)
      }
    }
    return (y, dx, dw)
  }

  func testOutputsAndGradientsMatchTheDefinition() {
    var lines: [String] = []
    for shape in shapes {
      let job = ConvolutionJob(shape.window, images: shape.images, weight: shape.weight)
      let fast = WinogradJob(job)
      let (x, w) = (randomTensor(shape.images, seed: 1), randomTensor(shape.weight, seed: 2))
      let bias = randomTensor([shape.outputs], seed: 3)
      let y = fast.forward(x, weight: w, bias: bias)
      let dy = randomTensor(y.shape, seed: 4)
      let expected = definition(shape, x.doubles, w.doubles, dy.doubles, bias: bias.doubles)
      let found = [y, fast.inputGradient(dy, weight: w), fast.weightGradient(x, dy)]
      let errors = zip(found, [expected.y, expected.dx, expected.dw]).map { relativeError($0, $1) }
      XCTAssertEqual(found.map(\.shape), [y.shape, x.shape, w.shape])
      XCTAssertLessThan(errors[0], 2e-4, "y of \(shape.images)")
      XCTAssertLessThan(errors[1], 2e-4, "dX of \(shape.images)")
      XCTAssertLessThan(errors[2], 1e-4, "dW of \(shape.images)")
      lines.append("\(shape.images) to \(shape.outputs), padding \(shape.padding): \(errors)")
    }
    print("largest difference over mean magnitude of y, dX, dW\n  " + lines.joined(separator: "\n  "))
  }

  /// The largest difference in units of the mean magnitude, as the documentation states it; infinite for NaN.
  private func relativeError(_ found: Tensor, _ expected: [Double]) -> Double {
    let mean = expected.reduce(0) { $0 + abs($1) } / Double(expected.count)
    let differences = zip(found.doubles, expected).map { abs($0 - $1) }
    return differences.contains { $0.isNaN } || found.count != expected.count
      ? .infinity : (differences.max() ?? 0) / mean
  }

  func testTheStatedErrorHoldsForTheLayersOfResNet18() throws {
    var lines: [String] = []
    for (images, outputs) in [
      ([4, 56, 56, 64], 64), ([4, 28, 28, 128], 128), ([4, 14, 14, 256], 256), ([16, 7, 7, 512], 512),
    ] {
      let window = ImageWindow(size: (3, 3), padding: (1, 1))
      let inputs = [
        randomTensor(images, seed: 1), randomTensor([outputs, 3, 3, images[3]], seed: 2),
      ]
      XCTAssertTrue(WinogradJob.suits(ConvolutionJob(window, images: images, weight: inputs[1].shape)))
      func run(_ precision: Convolution.Precision) throws -> [Tensor] {
        let tape = Tape()
        let leaves = inputs.map(tape.leaf)
        let y = Convolution(window, precision: precision)(leaves[0], weight: leaves[1])
        let gradients = tape.gradients(of: y, for: leaves, seed: randomTensor(y.shape, seed: 3))
        return try [y] + gradients.map { try XCTUnwrap($0) }
      }
      let errors = zip(try run(.fast), try run(.exact)).map { relativeError($0, $1.doubles) }
      XCTAssertLessThan(errors[0], 2e-4, "y of \(images)")
      XCTAssertLessThan(errors[1], 2e-4, "dX of \(images)")
      XCTAssertLessThan(errors[2], 1e-4, "dW of \(images)")
      XCTAssertGreaterThan(errors[0], 0, "the fast convolution of \(images) was the exact one")
      lines.append("\(images) to \(outputs): \(errors)")
    }
    print(
      "fast beside exact: difference over mean magnitude of y, dX, dW\n  " + lines.joined(separator: "\n  "))
  }

  func testOtherConvolutionsAreExact() {
    for (window, images, outputs) in [
      (ImageWindow(size: (3, 3), stride: (2, 2), padding: (1, 1)), [2, 16, 16, 32], 32),
      (ImageWindow(size: (5, 5), padding: (2, 2)), [2, 16, 16, 32], 32),
      (ImageWindow(size: (3, 3), padding: (1, 1)), [2, 16, 16, 8], 32),
      // One small image: the weights are most of the work.
      (ImageWindow(size: (3, 3), padding: (1, 1)), [1, 4, 4, 64], 64),
    ] {
      let x = randomTensor(images, seed: 1)
      let w = randomTensor([outputs, window.size.rows, window.size.columns, images[3]], seed: 2)
      assertSameBits(
        Convolution(window, precision: .fast)(x, weight: w), Convolution(window)(x, weight: w), "\(window)")
    }
  }

  func testAnImageHasTheSameBitsAloneAndInABatch() {
    let shape = Shape(images: [7, 17, 14, 32], outputs: 144, padding: (1, 1))
    let (x, w) = (randomTensor(shape.images, seed: 1), randomTensor(shape.weight, seed: 2))
    func run(_ x: Tensor) -> (y: Tensor, dx: Tensor) {
      let fast = WinogradJob(ConvolutionJob(shape.window, images: x.shape, weight: w.shape))
      let y = fast.forward(x, weight: w, bias: nil)
      return (y, fast.inputGradient(y, weight: w))
    }
    let together = run(x)
    for image in 0..<7 {
      let alone = run(x.slice(image..<image + 1))
      assertSameBits(alone.y, together.y.slice(image..<image + 1), "image \(image)")
      assertSameBits(alone.dx, together.dx.slice(image..<image + 1), "gradient of image \(image)")
    }
  }

  func testThreadsChangeNoBit() throws {
    let before = Workers.threadCount
    defer { Workers.threadCount = before }
    let inputs = [
      randomTensor([9, 30, 28, 48], seed: 1), randomTensor([80, 3, 3, 48], seed: 2),
      randomTensor([80], seed: 3),
    ]
    let convolution = Convolution(ImageWindow(size: (3, 3), padding: (1, 1)), precision: .fast)
    func run() throws -> [Tensor] {
      let tape = Tape()
      let leaves = inputs.map(tape.leaf)
      let y = convolution(leaves[0], weight: leaves[1], bias: leaves[2])
      let gradients = tape.gradients(of: y, for: leaves, seed: randomTensor(y.shape, seed: 4))
      return try [y] + gradients.map { try XCTUnwrap($0) }
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
