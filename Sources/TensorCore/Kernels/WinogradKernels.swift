import CKernels

/// A 3x3 convolution of stride 1 by Winograd's F(4x4, 3x3), with its gradients.
///
///     y = Aᵀ [ (G w Gᵀ) ⊙ (Bᵀ x B) ] A        for each tile of 4x4 outputs, summed over channels before A
///     dw = Gᵀ [ Σ (A dy Aᵀ) ⊙ (Bᵀ x B) ] G    summed over tiles
///
/// and dX is the convolution of dy with the weights turned around. 36 products take the place of 144 for a whole tile.
/// Tiles go through the cache a block at a time. A number of y depends on its own tile alone, so an image has the same bits
/// alone and in any batch; sums over tiles are cut into parts that shapes decide.
///
/// Source: Lavin and Gray, "Fast Algorithms for Convolutional Neural Networks", CVPR 2016, arXiv:1509.09308.
struct WinogradJob {
  /// The sizes of the convolution.
  let job: ConvolutionJob

  /// The places of a transformed tile.
  private static let places = 36
  /// Between the places of transformed tiles, so that they do not fall on the same lines of the cache.
  private static let gap = 16
  /// The fewest channels and outputs that fill a vector.
  private static let smallestWidth = 16

  init(_ job: ConvolutionJob) { self.job = job }

  /// Whether a convolution can be computed so, and is quicker than as one product of its windows.
  static func suits(_ job: ConvolutionJob) -> Bool {
    guard job.window.size == (3, 3), job.window.stride == (1, 1),
      min(job.channels, job.outputs) >= smallestWidth
    else { return false }
    // The weights have to be transformed whatever the batch; per weight that takes as long as some tiles.
    let tiles = job.images * ((job.down + 3) / 4) * ((job.across + 3) / 4)
    return places * (tiles + transformCost) < 9 * job.images * job.down * job.across
  }
  private static let transformCost = 24

  /// y.
  func forward(_ input: Tensor, weight: Tensor, bias: Tensor?) -> Tensor {
    let inner = 9 * job.channels
    // Panels of sixteen outputs, taps and channels in their order.
    let panels = TensorStorage(uninitialized: KeyValueBlock.panels(job.outputs) * inner)
    unsafe ck_pack_transposed(weight.base, inner, job.outputs, inner, panels.pointer)
    let source = unsafe Shared(panels.pointer)
    let factors = unsafe transformedWeights(rows: job.channels, columns: job.outputs) {
      column, target, stride in
      unsafe ck_winograd_weight(
        source.pointer + column * inner, 16 * job.channels, 16, job.channels, 16, target, stride)
    }
    withExtendedLifetime(panels) {}
    let tiles = WinogradTiles(
      images: job.images, rows: job.rows, columns: job.columns, down: job.down, across: job.across,
      padding: job.window.padding)
    return convolve(input, tiles, factors, outputs: job.outputs, bias: bias)
  }

  /// dX.
  func inputGradient(_ gradient: Tensor, weight: Tensor) -> Tensor {
    let source = unsafe Shared(weight.base)
    let channels = job.channels
    // The tap in the opposite corner comes first.
    let factors = unsafe transformedWeights(rows: job.outputs, columns: channels) { column, target, stride in
      unsafe ck_winograd_weight(
        source.pointer + 8 * channels + column, -channels, 9 * channels, job.outputs, channels - column,
        target, stride)
    }
    let tiles = WinogradTiles(
      images: job.images, rows: job.down, columns: job.across, down: job.rows, across: job.columns,
      padding: (2 - job.window.padding.rows, 2 - job.window.padding.columns))
    return convolve(gradient, tiles, factors, outputs: channels, bias: nil)
  }

  /// Transformed weights in panels of sixteen columns, `[36, panels, rows, 16]`.
  private struct Factors {
    let storage: TensorStorage
    let rows: Int
    /// From one place to the next.
    let stride: Int
  }

  /// - Parameter transform: Given the first column of a panel, writes it.
  private func transformedWeights(
    rows: Int, columns: Int,
    _ transform: @Sendable (_ column: Int, _ target: UnsafeMutablePointer<Float>, _ stride: Int) -> Void
  ) -> Factors {
    let width = KeyValueBlock.panels(columns)
    let stride = width * rows + Self.gap
    let factors = Factors(
      storage: TensorStorage(uninitialized: Self.places * stride), rows: rows, stride: stride)
    let target = unsafe Shared(factors.storage.pointer)
    Workers.forEachChunk(width / 16, operations: Self.places * rows * columns) { panel in
      unsafe transform(16 * panel, target.pointer + 16 * panel * rows, stride)
    }
    return factors
  }

  /// Tiles in a block: products of enough rows, few enough to stay in the cache.
  private static func block(_ channels: Int) -> Int { channels <= 128 ? 24 : 48 }
  /// Outputs whose products are in the cache together.
  private static let outputGroup = 128

  private func convolve(
    _ input: Tensor, _ tiles: WinogradTiles, _ factors: Factors, outputs: Int, bias: Tensor?
  ) -> Tensor {
    let output = Tensor(uninitialized: [tiles.images, tiles.down, tiles.across, outputs])
    let channels = factors.rows
    let blocks = AttentionJob.cut(0..<tiles.count, into: Self.block(channels))
    let groups = AttentionJob.cut(0..<outputs, into: Self.outputGroup)
    let shift = bias ?? Tensor(zeros: [outputs])
    let (source, target) = unsafe (Shared(input.base), Shared(output.base))
    let (weights, shifts) = unsafe (Shared(factors.storage.pointer), Shared(shift.base))
    OperationCount.add(2 * job.operations)
    Workers.forEachChunk(blocks.count, operations: job.operations) { index in
      let block = blocks[index]
      let (width, groupWidth) = (
        KeyValueBlock.panels(channels), KeyValueBlock.panels(min(outputs, Self.outputGroup))
      )
      let (stride, productStride) = (block.count * width + Self.gap, block.count * groupWidth + Self.gap)
      let transformed = TensorStorage(uninitialized: Self.places * stride)
      let products = TensorStorage(uninitialized: Self.places * productStride)
      for (row, number) in block.enumerated() {
        let tile = tiles.input(number)
        unsafe ck_winograd_image(
          source.pointer + tile.offset * channels, tiles.columns * channels, channels, tile.rows.lowerBound,
          tile.rows.upperBound, tile.columns.lowerBound, tile.columns.upperBound,
          transformed.pointer + row * width, stride, 16)
      }
      for group in groups {
        for place in 0..<Self.places {
          unsafe ck_product(
            transformed.pointer + place * stride, width, block.count,
            weights.pointer + place * factors.stride + group.lowerBound * channels, 16 * channels, channels,
            KeyValueBlock.panels(group.count), products.pointer + place * productStride, groupWidth, 0)
        }
        for (row, number) in block.enumerated() {
          let tile = tiles.output(number)
          unsafe ck_winograd_result(
            products.pointer + row * groupWidth, productStride, shifts.pointer + group.lowerBound,
            group.count, tile.rows.count, tile.columns.count,
            target.pointer + tile.offset * outputs + group.lowerBound, tiles.across * outputs, outputs)
        }
      }
    }
    withExtendedLifetime((factors.storage, shift)) {}
    return output
  }

  /// dW.
  func weightGradient(_ input: Tensor, _ gradient: Tensor) -> Tensor {
    let (channels, outputs) = (job.channels, job.outputs)
    let tiles = WinogradTiles(
      images: job.images, rows: job.rows, columns: job.columns, down: job.down, across: job.across,
      padding: job.window.padding)
    // The sums of a part, [36, outputs, channels].
    let stride = outputs * channels + Self.gap
    let parts = Self.parts(tiles.count, size: Self.places * stride)
    let sums = TensorStorage(uninitialized: parts.count * Self.places * stride)
    let (source, gradients) = unsafe (Shared(input.base), Shared(gradient.base))
    let total = unsafe Shared(sums.pointer)
    OperationCount.add(2 * job.operations)
    Workers.forEachChunk(parts.count, operations: job.operations) { index in
      let part = parts[index]
      let capacity = min(part.count, Self.block(max(channels, outputs)))
      let (width, outputWidth) = (KeyValueBlock.panels(channels), KeyValueBlock.panels(outputs))
      let (imageStride, gradientStride) = (capacity * width + Self.gap, capacity * outputWidth + Self.gap)
      let images = TensorStorage(uninitialized: Self.places * imageStride)
      let slopes = TensorStorage(uninitialized: Self.places * gradientStride)
      for block in AttentionJob.cut(part, into: capacity) {
        for (row, number) in block.enumerated() {
          let (tile, result) = (tiles.input(number), tiles.output(number))
          // Panels of sixteen channels: the right-hand side of the products.
          unsafe ck_winograd_image(
            source.pointer + tile.offset * channels, tiles.columns * channels, channels,
            tile.rows.lowerBound, tile.rows.upperBound, tile.columns.lowerBound, tile.columns.upperBound,
            images.pointer + 16 * row, imageStride, 16 * block.count)
          unsafe ck_winograd_gradient(
            gradients.pointer + result.offset * outputs, tiles.across * outputs, outputs,
            result.rows.lowerBound, result.rows.upperBound, result.columns.lowerBound,
            result.columns.upperBound, slopes.pointer + row * outputWidth, gradientStride, 16)
        }
        for place in 0..<Self.places {
          unsafe ck_product_transposed(
            slopes.pointer + place * gradientStride, outputWidth, outputs,
            images.pointer + place * imageStride, 16 * block.count, block.count, channels,
            total.pointer + (index * Self.places + place) * stride, channels,
            block.lowerBound == part.lowerBound ? 0 : 1)
        }
      }
    }
    let output = Tensor(uninitialized: [outputs, 3, 3, channels])
    let target = unsafe Shared(output.base)
    Workers.forEachChunk(outputs, operations: parts.count * Self.places * outputs * channels) { row in
      for part in parts.indices {
        unsafe ck_winograd_weight_gradient(
          total.pointer + part * Self.places * stride + row * channels, stride, channels,
          target.pointer + row * 9 * channels, part == 0 ? 0 : 1)
      }
    }
    withExtendedLifetime(sums) {}
    return output
  }

  /// Tiles in parts whose sums, of `size` numbers each, do not take too much memory.
  private static func parts(_ count: Int, size: Int) -> [Range<Int>] {
    var limit = 16
    while limit > 2 && limit * size > 1 << 24 { limit /= 2 }
    return AttentionJob.cut(0..<count, into: max(1, (count + limit - 1) / limit))
  }
}

/// The tiles of 4x4 outputs of some images, and the 6x6 inputs of each.
private struct WinogradTiles {
  let images: Int
  /// Of an input image.
  let (rows, columns): (Int, Int)
  /// Of an output image.
  let (down, across): (Int, Int)
  let padding: (rows: Int, columns: Int)
  private let tilesDown: Int
  private let tilesAcross: Int

  /// The part of a tile that lies on its image.
  struct Tile {
    /// Of its first pixel, in pixels.
    let offset: Int
    /// Counted from the tile's corner.
    let rows: Range<Int>
    let columns: Range<Int>
  }

  init(
    images: Int, rows: Int, columns: Int, down: Int, across: Int, padding: (rows: Int, columns: Int)
  ) {
    (self.images, self.rows, self.columns, self.down, self.across) = (images, rows, columns, down, across)
    self.padding = padding
    (tilesDown, tilesAcross) = ((down + 3) / 4, (across + 3) / 4)
  }

  var count: Int { images * tilesDown * tilesAcross }

  private func corner(_ number: Int) -> (image: Int, row: Int, column: Int) {
    (
      number / (tilesDown * tilesAcross), number / tilesAcross % tilesDown * 4, number % tilesAcross * 4
    )
  }

  func output(_ number: Int) -> Tile {
    let (image, row, column) = corner(number)
    return Tile(
      offset: (image * down + row) * across + column, rows: 0..<min(4, down - row),
      columns: 0..<min(4, across - column))
  }

  func input(_ number: Int) -> Tile {
    let (image, row, column) = corner(number)
    let (top, left) = (row - padding.rows, column - padding.columns)
    let (firstRow, firstColumn) = (max(top, 0), max(left, 0))
    // A tile may lie beyond the image where the output is padded more than the tile is wide.
    let insideRows = firstRow - top..<max(firstRow - top, min(6, rows - top))
    let insideColumns = firstColumn - left..<max(firstColumn - left, min(6, columns - left))
    return Tile(
      offset: (image * rows + firstRow) * columns + firstColumn, rows: insideRows, columns: insideColumns)
  }
}
