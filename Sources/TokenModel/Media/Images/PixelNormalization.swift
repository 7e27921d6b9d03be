import RunKit

/// Turns levels 0...255 into the numbers a vision tower takes.
///
///     x = level · rescaleFactor,  y = (x - mean) / deviation
///
/// each step only where the configuration asks for it, in Float32, as the transformers library computes them: with
/// Pillow the product is made in Float64 and rounded; with torchvision mean and deviation are divided by the factor
/// instead. Every level of a channel is computed once, so there is nothing to vectorise.
public struct PixelNormalization: Sendable, Equatable {
  /// The number for each level of red, green and blue, `[3, 256]`.
  let numbers: [Float]
  /// The mean of each channel, from 0 to 1; the colour around an image that is made square.
  let mean: [Double]

  /// Reads `do_rescale`, `rescale_factor`, `do_normalize`, `image_mean` and `image_std`.
  ///
  /// - Parameters:
  ///   - mean: Where the configuration has none.
  ///   - deviation: Where the configuration has none.
  /// - Throws: `ConfigurationError`.
  init(
    _ settings: ConfigurationReader, mean: [Double], deviation: [Double],
    arithmetic: Resampling.Arithmetic = .pillow
  ) throws(ConfigurationError) {
    let rescales = try settings.bool("do_rescale", default: true)
    let normalizes = try settings.bool("do_normalize", default: true)
    let factor = try settings.number("rescale_factor", above: 0, default: 1.0 / 255)
    let mean = try settings.numbers("image_mean", count: 3, above: -1e6, default: mean)
    let deviation = try settings.numbers("image_std", count: 3, above: 0, default: deviation)
    self.mean = mean
    numbers = (0..<3).flatMap { channel in
      let (center, spread) = (Float(mean[channel]), Float(deviation[channel]))
      return (0..<256).map { level -> Float in
        if arithmetic == .torchvision {
          if rescales && normalizes {
            let unit = Float(1 / factor)
            return (Float(level) - center * unit) / (spread * unit)
          }
          let value = rescales ? Float(level) * Float(factor) : Float(level)
          return normalizes ? (value - center) / spread : value
        }
        let value = rescales ? Float(Double(level) * factor) : Float(level)
        return normalizes ? (value - center) / spread : value
      }
    }
  }

  /// The numbers of an image, `[3, height, width]`.
  func callAsFunction(_ image: RGBImage) -> [Float] {
    var result: [Float] = []
    append(image, to: &result)
    return result
  }

  /// Adds the numbers of an image, `[3, height, width]`.
  func append(_ image: RGBImage, to result: inout [Float]) {
    let count = image.height * image.width
    result.reserveCapacity(result.count + 3 * count)
    let source = image.pixels.span
    for channel in 0..<3 {
      for pixel in 0..<count { result.append(numbers[256 * channel + Int(source[3 * pixel + channel])]) }
    }
  }

  /// The mean of the CLIP vision towers.
  static let clipMean = [0.48145466, 0.4578275, 0.40821073]
  /// The deviation of the CLIP vision towers.
  static let clipDeviation = [0.26862954, 0.26130258, 0.27577711]
  /// Mean and deviation that bring 0...1 to -1...1.
  static let half = [0.5, 0.5, 0.5]
}
