import CKernels

/// The sizes of one convolution and its three matrix products.
///
///     y = X Wᵀ,    dX = dy W,    dW = dyᵀ X,    X = windows as rows, `[windows, rows · columns · channels]`
///
/// X never exists as a whole: a block of windows that fits the cache is made, multiplied and forgotten. The weight is
/// packed once for y and dX, so each of their numbers is one sum whatever stands beside it: an image has the same bits
/// alone and in any batch.
struct ConvolutionJob {
  let window: ImageWindow
  let images: Int
  let rows: Int
  let columns: Int
  let channels: Int
  let outputs: Int
  /// Windows down and across each image.
  let down: Int
  let across: Int

  init(_ window: ImageWindow, images shape: [Int], weight: [Int]) {
    require(
      shape.count == 4 && weight.count == 4 && weight[1] == window.size.rows
        && weight[2] == window.size.columns
        && weight[3] == shape[3],
      "a convolution over windows of \(window.size) of images \(shape) with a weight \(weight)")
    self.window = window
    (images, rows, columns, channels) = (shape[0], shape[1], shape[2], shape[3])
    outputs = weight[0]
    (down, across) = window.count(onRows: rows, columns: columns)
  }

  /// Numbers in a window.
  var inner: Int { window.size.rows * window.size.columns * channels }
  private var windows: Int { images * down * across }
  /// Multiplications, and as many additions.
  var operations: Int { windows * inner * outputs }
  /// Each window is one pixel, so images are X already.
  private var isPointwise: Bool {
    window.size == (1, 1) && window.stride == (1, 1) && window.padding == (0, 0)
  }

  /// Windows in a block: 256 KiB of X, enough rows for a product to be quick, and blocks for several threads.
  private var block: Int { max(32, min(2048, (1 << 16) / max(inner, 1), (windows + 15) / 16)) }
  private static let outputTile = 128

  /// y.
  func forward(_ input: Tensor, weight: Tensor, bias: Tensor?) -> Tensor {
    let output = Tensor(uninitialized: [images, down, across, outputs])
    OperationCount.add(2 * operations)
    let blocks = AttentionJob.cut(0..<windows, into: block)
    let packed = TensorStorage(uninitialized: KeyValueBlock.panels(outputs) * inner)
    unsafe ck_pack_transposed(weight.base, inner, outputs, inner, packed.pointer)
    let (source, target) = unsafe (Shared(input.base), Shared(output.base))
    let biases = bias.map { unsafe Shared($0.base) }
    Workers.forEachChunk(blocks.count, operations: operations) { index in
      let part = blocks[index]
      let result = unsafe target.pointer + part.lowerBound * outputs
      if let biases {
        for row in 0..<part.count {
          unsafe (result + row * outputs).update(from: biases.pointer, count: outputs)
        }
      }
      unsafe withMatrix(source.pointer, part) { matrix in
        unsafe ck_product(
          matrix, inner, part.count, packed.pointer, 16 * inner, inner, outputs, result, outputs,
          biases == nil ? 0 : 1)
      }
    }
    return output
  }

  /// dX.
  ///
  /// Windows overlap only within an image: a piece of work is some whole images, whose windows add up in their order.
  func inputGradient(_ gradient: Tensor, weight: Tensor) -> Tensor {
    let output = Tensor(uninitialized: [images, rows, columns, channels])
    let perImage = down * across
    OperationCount.add(2 * operations)
    let pieces = AttentionJob.cut(0..<images, into: max(1, block / max(perImage, 1)))
    let (source, target) = unsafe (Shared(gradient.base), Shared(output.base))
    let packed = TensorStorage(uninitialized: KeyValueBlock.panels(inner) * outputs)
    unsafe ck_pack(weight.base, inner, outputs, inner, packed.pointer)
    Workers.forEachChunk(pieces.count, operations: operations) { index in
      let piece = pieces[index]
      let size = rows * columns * channels
      if isPointwise {
        unsafe ck_product(
          source.pointer + piece.lowerBound * perImage * outputs, outputs, piece.count * perImage,
          packed.pointer, 16 * outputs, outputs, inner, target.pointer + piece.lowerBound * size, channels, 0)
        return
      }
      unsafe (target.pointer + piece.lowerBound * size).update(repeating: 0, count: piece.count * size)
      let matrix = TensorStorage(uninitialized: min(block, piece.count * perImage) * inner)
      let windows = piece.lowerBound * perImage..<piece.upperBound * perImage
      for part in AttentionJob.cut(windows, into: block) {
        unsafe ck_product(
          source.pointer + part.lowerBound * outputs, outputs, part.count, packed.pointer, 16 * outputs,
          outputs, inner, matrix.pointer, inner, 0)
        forEachRun(part) { run in
          unsafe ck_add_patches(
            matrix.pointer + run.matrixOffset, inner, run.length, run.windows,
            target.pointer + run.imageOffset,
            window.stride.columns * channels)
        }
      }
    }
    return output
  }

  /// dW.
  ///
  /// The sum over windows is cut into a number of parts that shapes decide; each part is summed in order, then the parts.
  func weightGradient(_ input: Tensor, _ gradient: Tensor) -> Tensor {
    let size = outputs * inner
    let blocks = AttentionJob.cut(0..<windows, into: block)
    let parts = Self.parts(blocks.count, limit: max(2, min(16, (1 << 22) / max(size, 1))))
    let tiles = AttentionJob.cut(0..<outputs, into: Self.outputTile)
    let sums = Tensor(uninitialized: [parts.count, size])
    let (source, gradients) = unsafe (Shared(input.base), Shared(gradient.base))
    let target = unsafe Shared(sums.base)
    Workers.forEachChunk(parts.count * tiles.count, operations: operations) { index in
      let (part, tile) = (parts[index / tiles.count], tiles[index % tiles.count])
      let result = unsafe target.pointer + (index / tiles.count) * size + tile.lowerBound * inner
      for number in part {
        let block = blocks[number]
        unsafe withMatrix(source.pointer, block) { matrix in
          unsafe Kernels.gemm(
            gradients.pointer + block.lowerBound * outputs + tile.lowerBound, transposed: true,
            leading: outputs,
            matrix, transposed: false, leading: inner, result, leading: inner, rows: tile.count,
            columns: inner,
            inner: block.count, beta: number == part.lowerBound ? 0 : 1)
        }
      }
    }
    let shape = [outputs, window.size.rows, window.size.columns, channels]
    guard parts.count > 0 else { return Tensor(zeros: shape) }
    return Kernels.sum(ofParts: sums).reshaped(to: shape)
  }

  /// `0..<count` in at most `limit` even parts.
  private static func parts(_ count: Int, limit: Int) -> [Range<Int>] {
    AttentionJob.cut(0..<count, into: max(1, (count + limit - 1) / limit))
  }

  /// Calls `body` with rows `part` of X.
  private func withMatrix(
    _ input: UnsafePointer<Float>, _ part: Range<Int>, _ body: (UnsafePointer<Float>) -> Void
  ) {
    if isPointwise {
      unsafe body(input + part.lowerBound * channels)
      return
    }
    let matrix = TensorStorage(uninitialized: part.count * inner)
    if window.padding != (0, 0) { unsafe matrix.pointer.update(repeating: 0, count: part.count * inner) }
    forEachRun(part) { run in
      unsafe ck_copy_patches(
        input + run.imageOffset, window.stride.columns * channels, run.length, run.windows,
        matrix.pointer + run.matrixOffset, inner)
    }
    unsafe body(matrix.pointer)
    // The block must outlive the product.
    withExtendedLifetime(matrix) {}
  }

  /// Windows beside each other that hold equally long runs of one row of an image.
  private struct Run {
    /// Of the first window's first number, in the images and in the block of X.
    let imageOffset: Int
    let matrixOffset: Int
    /// Numbers of one window's run.
    let length: Int
    let windows: Int
  }

  /// Calls `body` with all that rows `part` of X have in common with the images.
  private func forEachRun(_ part: Range<Int>, _ body: (Run) -> Void) {
    var first = part.lowerBound
    while first < part.upperBound {
      // The windows of the block in one row of windows.
      let (line, start) = (first / across, first % across)
      let end = min(across, start + part.upperBound - first)
      let (image, top) = (line / down, line % down * window.stride.rows - window.padding.rows)
      for row in max(0, -top)..<min(window.size.rows, rows - top) {
        let imageRow = ((image * rows + top + row) * columns) * channels
        forEachSpan(start..<end) { windows, columns, inside in
          body(
            Run(
              imageOffset: imageRow + columns.lowerBound * channels,
              matrixOffset: (first - part.lowerBound + windows.lowerBound - start) * inner
                + (row * window.size.columns + inside) * channels,
              length: columns.count * channels, windows: windows.count))
        }
      }
      first += end - start
    }
  }

  /// Calls `body` with windows of a row of windows, the columns of the image that the first of them covers, and where
  /// these begin within it: windows that cross the edge one by one, the others all at once.
  private func forEachSpan(_ windows: Range<Int>, _ body: (Range<Int>, Range<Int>, Int) -> Void) {
    let (width, step, padding) = (window.size.columns, window.stride.columns, window.padding.columns)
    // Windows `whole` lie within the image.
    let firstWhole = min((padding + step - 1) / step, windows.upperBound)
    let lastWhole = columns + padding >= width ? (columns + padding - width) / step : -1
    let whole =
      max(
        windows.lowerBound, firstWhole)..<max(
        max(windows.lowerBound, firstWhole), min(windows.upperBound, lastWhole + 1))
    func single(_ index: Int) {
      let left = index * step - padding
      body(index..<index + 1, max(0, left)..<min(columns, left + width), max(0, -left))
    }
    for index in windows.lowerBound..<min(whole.lowerBound, windows.upperBound) { single(index) }
    if !whole.isEmpty {
      let left = whole.lowerBound * step - padding
      body(whole, left..<left + width, 0)
    }
    for index in max(whole.upperBound, windows.lowerBound)..<windows.upperBound { single(index) }
  }
}

extension Kernels {
  /// The sum of the rows of `[parts, columns]`, in their order.
  static func sum(ofParts parts: Tensor) -> Tensor {
    let (rows, columns) = (parts.rows, parts.columns)
    let output = Tensor(uninitialized: [columns])
    let (source, target) = unsafe (Shared(parts.base), Shared(output.base))
    Workers.forEachRange(rows: columns, rowsPerChunk: elementsPerChunk) { range in
      let result = unsafe target.pointer + range.lowerBound
      unsafe result.update(from: source.pointer + range.lowerBound, count: range.count)
      for row in 1..<max(rows, 1) {
        unsafe ck_add(result, source.pointer + row * columns + range.lowerBound, result, range.count)
      }
    }
    return output
  }
}
