import CKernels

/// The sizes of one pooling.
struct PoolingJob {
  let window: ImageWindow
  let images: Int
  let rows: Int
  let columns: Int
  let channels: Int
  /// Windows down and across each image.
  let down: Int
  let across: Int

  /// The part of one window that lies on its image.
  private struct Place {
    /// Of the window's number in the output, and of its first one in the images.
    let output: Int
    let image: Int
    let rows: Int
    let columns: Int
  }

  init(_ window: ImageWindow, images shape: [Int]) {
    require(shape.count == 4, "pooling of shape \(shape)")
    self.window = window
    (images, rows, columns, channels) = (shape[0], shape[1], shape[2], shape[3])
    (down, across) = window.count(onRows: rows, columns: columns)
  }

  private var outputShape: [Int] { [images, down, across, channels] }
  private var rowStride: Int { columns * channels }

  /// Calls `body` with every window of some images, in parallel over images: windows overlap only within one.
  private func forEachWindow(_ body: @Sendable (Place) -> Void) {
    let perImage = max(1, down * across * channels * window.size.rows * window.size.columns)
    Workers.forEachRange(rows: images, rowsPerChunk: max(1, Kernels.elementsPerChunk / perImage)) { range in
      for image in range {
        for index in 0..<down * across {
          let top = index / across * window.stride.rows - window.padding.rows
          let left = index % across * window.stride.columns - window.padding.columns
          let (firstRow, firstColumn) = (max(top, 0), max(left, 0))
          body(
            Place(
              output: (image * down * across + index) * channels,
              image: ((image * rows + firstRow) * columns + firstColumn) * channels,
              rows: min(top + window.size.rows, rows) - firstRow,
              columns: min(left + window.size.columns, columns) - firstColumn))
        }
      }
    }
  }

  func maximum(_ input: Tensor) -> Tensor {
    let output = Tensor(uninitialized: outputShape)
    let (source, target) = unsafe (Shared(input.base), Shared(output.base))
    forEachWindow { place in
      unsafe ck_window_max(
        source.pointer + place.image, rowStride, place.rows, place.columns, channels,
        target.pointer + place.output)
    }
    return output
  }

  func maximumGradient(_ gradient: Tensor, input: Tensor, output: Tensor) -> Tensor {
    let result = Tensor(zeros: input.shape)
    let (source, largest) = unsafe (Shared(input.base), Shared(output.base))
    let (gradients, target) = unsafe (Shared(gradient.base), Shared(result.base))
    forEachWindow { place in
      unsafe ck_window_max_backward(
        source.pointer + place.image, largest.pointer + place.output, gradients.pointer + place.output,
        rowStride, place.rows, place.columns, channels, target.pointer + place.image)
    }
    return result
  }

  func average(_ input: Tensor, countsPadding: Bool) -> Tensor {
    let output = Tensor(uninitialized: outputShape)
    let (source, target) = unsafe (Shared(input.base), Shared(output.base))
    forEachWindow { place in
      unsafe ck_window_sum(
        source.pointer + place.image, rowStride, place.rows, place.columns, channels,
        factor(place, countsPadding), target.pointer + place.output)
    }
    return output
  }

  func averageGradient(_ gradient: Tensor, countsPadding: Bool) -> Tensor {
    let result = Tensor(zeros: [images, rows, columns, channels])
    let (gradients, target) = unsafe (Shared(gradient.base), Shared(result.base))
    forEachWindow { place in
      unsafe ck_window_spread(
        gradients.pointer + place.output, rowStride, place.rows, place.columns, channels,
        factor(place, countsPadding), target.pointer + place.image)
    }
    return result
  }

  private func factor(_ place: Place, _ countsPadding: Bool) -> Float {
    1 / Float(countsPadding ? window.size.rows * window.size.columns : place.rows * place.columns)
  }
}
