import Foundation
import RunKit
import TokenModel

/// Names what is drawn for a sample: the same for any batch, shard or resumed run.
struct AugmentationDraw: Sendable {
  let seed: Int
  let epoch: Int

  /// The numbers of one sample; all its modalities and frames get the same.
  func stream(_ sample: Int) -> RandomStream {
    RandomStream(seed: seed, purpose: "augmentation", epoch: epoch, id: sample)
  }
}

/// How pictures are changed at random in training: a part of random place, size and shape, mirrored or not.
///
///     area ~ U(scale) · height · width,  ln ratio ~ U(ln ratios),  width = √(area · ratio), height = √(area / ratio)
///
/// A part that does not fit is drawn again, ten times at most; then it is the largest one in the middle with a ratio
/// within the limits. All frames of a sample, and all its modalities, get the same part.
///
/// Source: `RandomResizedCrop` and `RandomHorizontalFlip` of torchvision, with other random numbers. The benchmark's own
/// loaders draw anew for each frame.
public struct PictureAugmentation: Sendable, Equatable {
  /// The least and the largest share of the picture that is kept, within 0...1.
  public var cropScale = 0.08...1.0
  /// The least and the largest ratio of width to height.
  public var cropRatio = 3.0 / 4...4.0 / 3
  /// The probability of mirroring.
  public var flipProbability = 0.5

  /// The values of torchvision.
  public init() {}

  /// A part of a picture, as shares of its sides.
  struct Window: Equatable {
    var (top, left, height, width) = (0.0, 0.0, 1.0, 1.0)
    var isMirrored = false
  }

  /// Draws for one sample.
  func window(_ stream: inout RandomStream) -> Window {
    var window = Window()
    for _ in 0..<10 {
      let area = between(cropScale, stream.uniform())
      let ratio = exp(between(log(cropRatio.lowerBound)...log(cropRatio.upperBound), stream.uniform()))
      let (width, height) = ((area * ratio).squareRoot(), (area / ratio).squareRoot())
      guard width <= 1, height <= 1 else { continue }
      window.top = stream.uniform() * (1 - height)
      window.left = stream.uniform() * (1 - width)
      (window.height, window.width) = (height, width)
      window.isMirrored = stream.uniform() < flipProbability
      return window
    }
    // Stored pictures are square, so the whole of one has a ratio of 1.
    let ratio = min(max(1, cropRatio.lowerBound), cropRatio.upperBound)
    (window.width, window.height) = (min(1, ratio), min(1, 1 / ratio))
    (window.left, window.top) = ((1 - window.width) / 2, (1 - window.height) / 2)
    window.isMirrored = stream.uniform() < flipProbability
    return window
  }

  private func between(_ range: ClosedRange<Double>, _ share: Double) -> Double {
    range.lowerBound + (range.upperBound - range.lowerBound) * share
  }
}

/// Cuts and resizes stored pictures to what encoders take.
struct PictureTransform: Sendable {
  /// Rows and columns of a stored picture.
  let side: Int
  /// 1 for grey, 2 for optical flow (u, v), 3 for red, green and blue.
  let channels: Int
  /// Rows and columns of an input.
  let inputSide: Int
  /// Whether evaluation takes the middle of the stored picture instead of all of it.
  let cropsCentre: Bool

  private static let resampling = Resampling(.bilinear)

  /// One frame, `[inputSide, inputSide, channels]`.
  ///
  /// - Parameters:
  ///   - bytes: `[side, side, channels]`.
  ///   - window: Drawn for the sample; nil for evaluation.
  func frame(_ bytes: [UInt8], _ window: PictureAugmentation.Window?) -> [UInt8] {
    let (rows, columns) = part(window)
    let isMirrored = window?.isMirrored ?? false
    if rows == 0..<inputSide, columns == 0..<inputSide, side == inputSide {
      return isMirrored ? mirrored(bytes) : bytes
    }
    var image = wide(bytes).cropped(rows: rows, columns: columns)
    image = Self.resampling.resized(image, to: Medium.Extent(height: inputSide, width: inputSide))
    let result = narrow(image.pixels)
    return isMirrored ? mirrored(result) : result
  }

  private func part(_ window: PictureAugmentation.Window?) -> (Range<Int>, Range<Int>) {
    guard let window else {
      let kept = cropsCentre ? inputSide : side
      let start = (side - kept) / 2
      return (start..<start + kept, start..<start + kept)
    }
    func range(_ start: Double, _ length: Double) -> Range<Int> {
      let count = min(side, max(1, Int((length * Double(side)).rounded())))
      let first = min(side - count, max(0, Int((start * Double(side)).rounded())))
      return first..<first + count
    }
    return (range(window.top, window.height), range(window.left, window.width))
  }

  /// Resizing is made for three channels.
  private func wide(_ bytes: [UInt8]) -> RGBImage {
    if channels == 3 { return RGBImage(height: side, width: side, pixels: bytes) }
    var pixels: [UInt8] = []
    pixels.reserveCapacity(3 * side * side)
    for pixel in 0..<side * side {
      for channel in 0..<3 { pixels.append(channel < channels ? bytes[pixel * channels + channel] : 0) }
    }
    return RGBImage(height: side, width: side, pixels: pixels)
  }

  private func narrow(_ pixels: [UInt8]) -> [UInt8] {
    if channels == 3 { return pixels }
    var bytes: [UInt8] = []
    bytes.reserveCapacity(pixels.count / 3 * channels)
    for start in stride(from: 0, to: pixels.count, by: 3) { bytes += pixels[start..<start + channels] }
    return bytes
  }

  /// Left and right exchanged. The first channel of optical flow is motion to the right: its sign changes, and with 0
  /// motion between 127 and 128 that is 255 − u.
  private func mirrored(_ bytes: [UInt8]) -> [UInt8] {
    var result: [UInt8] = []
    result.reserveCapacity(bytes.count)
    for row in 0..<inputSide {
      for column in (0..<inputSide).reversed() {
        let start = (row * inputSide + column) * channels
        for channel in 0..<channels {
          let value = bytes[start + channel]
          result.append(channels == 2 && channel == 0 ? 255 - value : value)
        }
      }
    }
    return result
  }
}
