/// Where windows lie on an image: the size of a window, the step between windows, and zeros around the image.
public struct ImageWindow: Sendable, Equatable {
  /// Rows and columns of a window.
  public let size: (rows: Int, columns: Int)
  /// Rows and columns from one window to the next.
  public let stride: (rows: Int, columns: Int)
  /// Rows above and below the image, and columns beside it on either side.
  public let padding: (rows: Int, columns: Int)

  /// - Parameters:
  ///   - size: At least 1 x 1.
  ///   - stride: At least 1 x 1.
  ///   - padding: Less than a window, so that each window holds a part of the image.
  public init(
    size: (rows: Int, columns: Int), stride: (rows: Int, columns: Int) = (1, 1),
    padding: (rows: Int, columns: Int) = (0, 0)
  ) {
    require(
      size.rows > 0 && size.columns > 0 && stride.rows > 0 && stride.columns > 0
        && 0..<size.rows ~= padding.rows && 0..<size.columns ~= padding.columns,
      "windows of \(size) every \(stride) with padding \(padding)")
    (self.size, self.stride, self.padding) = (size, stride, padding)
  }

  /// How many windows fit on an image, ⌊(size + 2 padding − window) / stride⌋ + 1 in each direction.
  public func count(onRows rows: Int, columns: Int) -> (rows: Int, columns: Int) {
    require(
      rows + 2 * padding.rows >= size.rows && columns + 2 * padding.columns >= size.columns,
      "no window of \(size) fits on \(rows) x \(columns) with padding \(padding)")
    return (
      (rows + 2 * padding.rows - size.rows) / stride.rows + 1,
      (columns + 2 * padding.columns - size.columns) / stride.columns + 1
    )
  }

  /// Whether two windows are the same.
  public static func == (left: ImageWindow, right: ImageWindow) -> Bool {
    left.size == right.size && left.stride == right.stride && left.padding == right.padding
  }
}

/// Two-dimensional convolution (cross-correlation, as everywhere in deep learning) of images with channels innermost:
///
///     y[n, r, c, o] = bias[o] + Σ w[o, i, j, k] · x[n, r·strideᵣ + i − padᵣ, c·strideₒ + j − padₒ, k]
///
/// with zeros outside the image.
public struct Convolution: Sendable, Equatable {
  /// How it is computed.
  public enum Precision: String, Sendable, CaseIterable {
    /// Windows become rows of a matrix, a block that fits the cache at a time, and a matrix product does the rest: every
    /// number is a sum of its own products.
    case exact
    /// Windows of 3x3 at stride 1 with at least 16 channels and outputs by Winograd's F(4x4, 3x3) where that is quicker, all
    /// others as `exact`. It needs a quarter of the multiplications, but its intermediate numbers are larger than the
    /// result: of convolutions of 16 to 512 channels of evenly spread numbers outputs and gradients of images are off by
    /// less than 2e-4 of their mean magnitude, gradients of weights by less than 1e-4.
    case fast
  }

  /// Where the windows lie.
  public let window: ImageWindow
  /// How it is computed.
  public let precision: Precision

  /// A convolution over these windows.
  public init(_ window: ImageWindow, precision: Precision = .exact) {
    (self.window, self.precision) = (window, precision)
  }

  /// Convolves.
  ///
  /// - Parameters:
  ///   - images: `[images, rows, columns, channels]`.
  ///   - weight: `[outputs, window rows, window columns, channels]`. Checkpoints of other tools often hold
  ///     `[outputs, channels, window rows, window columns]`.
  ///   - bias: `[outputs]`.
  /// - Returns: `[images, windows down, windows across, outputs]`.
  public func callAsFunction(_ images: Tensor, weight: Tensor, bias: Tensor? = nil) -> Tensor {
    let job = ConvolutionJob(window, images: images.shape, weight: weight.shape)
    require(
      bias.map { $0.shape == [job.outputs] } ?? true,
      "a bias of shape \(bias?.shape ?? []) for \(job.outputs) outputs")
    let (x, w) = (images.detached, weight.detached)
    let fast = precision == .fast && WinogradJob.suits(job) ? WinogradJob(job) : nil
    let output = fast?.forward(x, weight: w, bias: bias) ?? job.forward(x, weight: w, bias: bias)
    return output.recorded(from: [images, weight] + (bias.map { [$0] } ?? [])) { gradient, needs in
      let gradients = [
        needs[0]
          ? fast?.inputGradient(gradient, weight: w) ?? job.inputGradient(gradient, weight: w) : nil,
        needs[1] ? fast?.weightGradient(x, gradient) ?? job.weightGradient(x, gradient) : nil,
      ]
      if needs.count == 2 { return gradients }
      let width = gradient.columns
      return gradients + [
        needs[2] ? Kernels.columnSums(gradient.reshaped(to: [gradient.rows, width])) : nil
      ]
    }
  }
}
