import TestSupport
import XCTest

@testable import TensorCore

/// A naive image of Float64 numbers, `[images, rows, columns, channels]`.
struct NaiveImages {
  let shape: [Int]
  var values: [Double]

  init(_ values: [Double], _ shape: [Int]) { (self.values, self.shape) = (values, shape) }

  /// Nil outside the image.
  subscript(image: Int, row: Int, column: Int, channel: Int) -> Double? {
    guard 0..<shape[1] ~= row, 0..<shape[2] ~= column else { return nil }
    return values[((image * shape[1] + row) * shape[2] + column) * shape[3] + channel]
  }

  /// Calls `body` for each window and gives its results in order.
  func forEachWindow(
    _ window: ImageWindow, _ body: (_ image: Int, _ top: Int, _ left: Int) -> [Double]
  ) -> [Double] {
    let (down, across) = window.count(onRows: shape[1], columns: shape[2])
    return (0..<shape[0] * down * across).flatMap { index in
      body(
        index / (down * across), index / across % down * window.stride.rows - window.padding.rows,
        index % across * window.stride.columns - window.padding.columns)
    }
  }

  /// The numbers of one window and channel; nil outside the image.
  func window(_ window: ImageWindow, _ image: Int, _ top: Int, _ left: Int, channel: Int) -> [Double?] {
    (0..<window.size.rows * window.size.columns).map {
      self[image, top + $0 / window.size.columns, left + $0 % window.size.columns, channel]
    }
  }
}

/// Windows of many kinds, with images that they fit.
let windowCases: [(window: ImageWindow, images: [Int])] = [
  (ImageWindow(size: (1, 1)), [3, 5, 4, 3]),
  (ImageWindow(size: (3, 3), padding: (1, 1)), [2, 5, 7, 2]),
  (ImageWindow(size: (3, 3)), [2, 5, 4, 1]),
  (ImageWindow(size: (2, 2), stride: (2, 2)), [2, 5, 6, 3]),
  (ImageWindow(size: (3, 2), stride: (2, 1), padding: (1, 0)), [2, 6, 5, 2]),
  (ImageWindow(size: (5, 3), stride: (1, 2), padding: (2, 2)), [1, 4, 3, 2]),
  (ImageWindow(size: (1, 1), stride: (2, 2)), [2, 5, 5, 4]),
  (ImageWindow(size: (4, 6)), [3, 4, 6, 2]),
  (ImageWindow(size: (7, 7), stride: (2, 3), padding: (3, 3)), [1, 8, 9, 1]),
]

final class ConvolutionTests: XCTestCase {
  /// y by its definition.
  private func convolve(
    _ images: NaiveImages, _ weight: [Double], _ bias: [Double]?, _ window: ImageWindow, outputs: Int
  ) -> [Double] {
    let channels = images.shape[3]
    let inner = window.size.rows * window.size.columns * channels
    return images.forEachWindow(window) { image, top, left in
      let parts = (0..<channels).map { images.window(window, image, top, left, channel: $0) }
      return (0..<outputs).map { output in
        var sum = bias?[output] ?? 0
        for place in 0..<inner {
          sum += weight[output * inner + place] * (parts[place % channels][place / channels] ?? 0)
        }
        return sum
      }
    }
  }

  func testConvolutionAndItsGradientsMatchTheDefinition() {
    var lines: [String] = []
    for (window, shape) in windowCases {
      let weight = [3, window.size.rows, window.size.columns, shape[3]]
      for hasBias in [false, true] {
        let check = GradientCheck(
          operation: { Convolution(window)($0[0], weight: $0[1], bias: hasBias ? $0[2] : nil) },
          twin: {
            self.convolve(NaiveImages($0[0], shape), $0[1], hasBias ? $0[2] : nil, window, outputs: 3)
          })
        let inputs = [
          randomTensor(shape, seed: 1), randomTensor(weight, seed: 2), randomTensor([3], seed: 3),
        ]
        let worst = check.worstError(hasBias ? inputs : Array(inputs.prefix(2)))
        XCTAssertLessThan(worst, 1e-3, "\(window)")
        lines.append("convolution \(window.size) every \(window.stride) on \(shape): \(worst)")
      }
    }
    print("largest relative difference of gradients\n  " + lines.joined(separator: "\n  "))
  }

  /// Sizes of several blocks of windows, and of blocks that begin within a row of windows.
  private let large: [(window: ImageWindow, images: [Int], outputs: Int)] = [
    (ImageWindow(size: (3, 3), padding: (1, 1)), [9, 40, 48, 1], 16),
    (ImageWindow(size: (3, 3), padding: (1, 1)), [5, 19, 23, 16], 140),
    (ImageWindow(size: (5, 3), stride: (2, 2), padding: (2, 1)), [3, 31, 45, 24], 8),
    (ImageWindow(size: (1, 1)), [4, 30, 31, 20], 33),
  ]

  func testLargeConvolutionsMatchTheDefinition() throws {
    for (window, shape, outputs) in large {
      let (x, w) = (
        randomTensor(shape, seed: 1),
        randomTensor([outputs, window.size.rows, window.size.columns, shape[3]], seed: 2)
      )
      let tape = Tape()
      let leaves = [tape.leaf(x), tape.leaf(w)]
      let y = Convolution(window)(leaves[0], weight: leaves[1])
      let images = NaiveImages(x.doubles, shape)
      assertClose(
        y, convolve(images, w.doubles, nil, window, outputs: outputs), shape: y.shape, absolute: 2e-5)
      // Both gradients are linear in the other factor: <dx, x> = <dw, w> = <dy, y> for any dy.
      let seed = randomTensor(y.shape, seed: 3)
      let gradients = tape.gradients(of: y, for: leaves, seed: seed)
      let expected = zip(seed.doubles, y.doubles).reduce(0) { $0 + $1.0 * $1.1 }
      for (gradient, value) in zip(gradients, [x, w]) {
        let found = zip(try XCTUnwrap(gradient).doubles, value.doubles).reduce(0) { $0 + $1.0 * $1.1 }
        XCTAssertEqual(found, expected, accuracy: 1e-4 * max(abs(expected), 100), "\(window) \(shape)")
      }
      // One number of each: its definition.
      let (dy, dx, dw) = (
        seed.doubles, try XCTUnwrap(gradients[0]).doubles, try XCTUnwrap(gradients[1]).doubles
      )
      for place in [0, 7, dw.count - 1] {
        var moved = [Double](repeating: 0, count: dw.count)
        moved[place] = 1
        let slope = convolve(images, moved, nil, window, outputs: outputs)
        let wanted = zip(dy, slope).reduce(0) { $0 + $1.0 * $1.1 }
        XCTAssertEqual(dw[place], wanted, accuracy: 2e-3, "dw \(window) \(shape)")
      }
      for place in [0, 11, dx.count / 2, dx.count - 1] {
        var moved = NaiveImages([Double](repeating: 0, count: dx.count), shape)
        moved.values[place] = 1
        let slope = convolve(moved, w.doubles, nil, window, outputs: outputs)
        let wanted = zip(dy, slope).reduce(0) { $0 + $1.0 * $1.1 }
        XCTAssertEqual(dx[place], wanted, accuracy: 1e-4, "dx \(window) \(shape)")
      }
    }
  }

  func testAnImageHasTheSameBitsAloneAndInABatch() throws {
    for (window, shape, outputs) in large {
      let x = randomTensor(shape, seed: 1)
      let w = randomTensor([outputs, window.size.rows, window.size.columns, shape[3]], seed: 2)
      func run(_ x: Tensor, _ seed: Tensor?) throws -> (Tensor, Tensor) {
        let tape = Tape()
        let leaf = tape.leaf(x)
        let y = Convolution(window)(leaf, weight: w)
        let seed = seed ?? randomTensor(y.shape, seed: 3)
        return (y, try XCTUnwrap(tape.gradients(of: y, for: [leaf], seed: seed)[0]))
      }
      let (together, gradient) = try run(x, nil)
      let seed = randomTensor(together.shape, seed: 3)
      for image in 0..<shape[0] {
        let alone = try run(x.slice(image..<image + 1), seed.slice(image..<image + 1))
        assertSameBits(alone.0, together.slice(image..<image + 1), "\(window) image \(image)")
        assertSameBits(alone.1, gradient.slice(image..<image + 1), "\(window) gradient of image \(image)")
      }
    }
  }

  func testThreadsChangeNoBit() throws {
    let before = Workers.threadCount
    defer { Workers.threadCount = before }
    for (window, shape, outputs) in large {
      let inputs = [
        randomTensor(shape, seed: 1),
        randomTensor([outputs, window.size.rows, window.size.columns, shape[3]], seed: 2),
        randomTensor([outputs], seed: 3),
      ]
      func run() throws -> [Tensor] {
        let tape = Tape()
        let leaves = inputs.map(tape.leaf)
        let y = Convolution(window)(leaves[0], weight: leaves[1], bias: leaves[2])
        let gradients = tape.gradients(of: y, for: leaves, seed: randomTensor(y.shape, seed: 4))
        return try [y] + gradients.map { try XCTUnwrap($0) }
      }
      Workers.threadCount = 1
      let expected = try run()
      for threads in [2, 3, 5] {
        Workers.threadCount = threads
        for (index, pair) in zip(try run(), expected).enumerated() {
          assertSameBits(pair.0, pair.1, "\(window) tensor \(index) with \(threads) threads")
        }
      }
    }
  }
}
