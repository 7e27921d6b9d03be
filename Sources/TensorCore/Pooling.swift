/// Pooling of images with channels innermost, `[images, rows, columns, channels]`.
extension Tensor {
  /// The largest number of each window and channel; what lies outside the image does not count.
  ///
  /// The gradient goes to the first place, row by row, that holds the largest number.
  ///
  /// - Returns: `[images, windows down, windows across, channels]`.
  public func maxPooled(_ window: ImageWindow) -> Tensor {
    let job = PoolingJob(window, images: shape)
    let input = detached
    let output = job.maximum(input)
    return output.recorded(from: [self]) { gradient, _ in
      [job.maximumGradient(gradient, input: input, output: output)]
    }
  }

  /// The mean of each window and channel.
  ///
  /// - Parameter countsPadding: Whether places outside the image count, as zeros.
  /// - Returns: `[images, windows down, windows across, channels]`.
  public func averagePooled(_ window: ImageWindow, countsPadding: Bool = true) -> Tensor {
    let job = PoolingJob(window, images: shape)
    return job.average(self, countsPadding: countsPadding).recorded(from: [self]) { gradient, _ in
      [job.averageGradient(gradient, countsPadding: countsPadding)]
    }
  }

  /// The largest number of each image and channel, `[images, channels]`.
  public func globalMaxPooled() -> Tensor {
    maxPooled(wholeImage).reshaped(to: [shape[0], shape[3]])
  }

  /// The mean of each image and channel, `[images, channels]`.
  public func globalAveragePooled() -> Tensor {
    averagePooled(wholeImage).reshaped(to: [shape[0], shape[3]])
  }

  private var wholeImage: ImageWindow {
    require(rank == 4, "pooling of shape \(shape)")
    return ImageWindow(size: (shape[1], shape[2]))
  }
}
