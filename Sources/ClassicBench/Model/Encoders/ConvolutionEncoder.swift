import TensorCore

/// The small network of AVDigits: two 3x3 convolutions of 16 and 32 channels with ReLU and 2x2 maximum pooling, the mean
/// over four quarters of the picture, and a linear map.
struct ConvolutionEncoder: Encoder {
  /// Two poolings and a mean over quarters need as many rows and columns.
  static let smallestSide = 8
  let rows: Int
  let columns: Int
  var channels = 1
  var featureSize = 64

  private static let widths = (16, 32)
  var kind: String { "cnn" }
  var inputShape: [Int] { [rows, columns, channels] }

  var parameters: [ParameterShape] {
    let (first, second) = Self.widths
    let flat = flatSize
    return [
      ParameterShape(name: "0.weight", shape: [first, 3, 3, channels], fanIn: 9 * channels),
      ParameterShape(name: "0.bias", shape: [first], fanIn: 9 * channels),
      ParameterShape(name: "3.weight", shape: [second, 3, 3, first], fanIn: 9 * first),
      ParameterShape(name: "3.bias", shape: [second], fanIn: 9 * first),
      ParameterShape(name: "7.weight", shape: [featureSize, flat], fanIn: flat),
      ParameterShape(name: "7.bias", shape: [featureSize], fanIn: flat),
    ]
  }

  /// What is left of the picture after both poolings is averaged in windows of half its size.
  private var lastWindow: ImageWindow {
    ImageWindow(size: (rows / 8, columns / 8), stride: (rows / 8, columns / 8))
  }
  private var flatSize: Int {
    let count = lastWindow.count(onRows: rows / 4, columns: columns / 4)
    return count.rows * count.columns * Self.widths.1
  }

  func features(of input: Tensor, _ pass: EncoderPass) -> Tensor {
    let around = Convolution(ImageWindow(size: (3, 3), padding: (1, 1)))
    let half = ImageWindow(size: (2, 2), stride: (2, 2))
    // The greatest of rectified numbers is the rectified greatest one, of which there are four times fewer.
    let first = around(input, weight: pass["0.weight"], bias: pass["0.bias"]).maxPooled(half).relu()
    let second = around(first, weight: pass["3.weight"], bias: pass["3.bias"]).maxPooled(half).relu()
    let flat = second.averagePooled(lastWindow).reshaped(to: [input.shape[0], flatSize])
    return LinearWeight(pass["7.weight"]).forward(flat, bias: pass["7.bias"])
  }
}
