import TensorCore

/// A parameter before it has values.
struct ParameterShape: Sendable {
  /// Its name behind that of its module.
  let name: String
  let shape: [Int]
  /// Inputs of one output: the start is uniform in ±1/√fanIn, as PyTorch has it for linear maps and convolutions.
  let fanIn: Int
}

/// Turns the input of one modality into a feature vector; a value without parameters of its own.
protocol Encoder: Sendable {
  /// The shape of one sample's input.
  var inputShape: [Int] { get }
  /// d, the size of a feature vector.
  var featureSize: Int { get }
  /// Places of a sample that have a feature vector each; 1 for encoders that give one vector.
  var positions: Int { get }
  /// The parameters, in order; the weight and bias of the last layer come last.
  var parameters: [ParameterShape] { get }
  /// The features of a batch, `[samples · positions, featureSize]`.
  ///
  /// - Parameters:
  ///   - input: `[samples] + inputShape`.
  ///   - parameter: Gives a parameter by its name behind that of the encoder.
  func features(of input: Tensor, _ parameter: (String) -> Tensor) -> Tensor
}

extension Encoder {
  var positions: Int { 1 }
}

/// Linear, activation, linear.
struct MLPEncoder: Encoder {
  /// The function between the layers.
  enum Activation: Sendable {
    case relu, tanh
  }

  let inputSize: Int
  let hiddenSize: Int
  let featureSize: Int
  var activation = Activation.relu

  var inputShape: [Int] { [inputSize] }

  var parameters: [ParameterShape] {
    [
      ParameterShape(name: "0.weight", shape: [hiddenSize, inputSize], fanIn: inputSize),
      ParameterShape(name: "0.bias", shape: [hiddenSize], fanIn: inputSize),
      ParameterShape(name: "2.weight", shape: [featureSize, hiddenSize], fanIn: hiddenSize),
      ParameterShape(name: "2.bias", shape: [featureSize], fanIn: hiddenSize),
    ]
  }

  func features(of input: Tensor, _ parameter: (String) -> Tensor) -> Tensor {
    let hidden = LinearWeight(parameter("0.weight")).forward(input, bias: parameter("0.bias"))
    let active = activation == .relu ? hidden.relu() : hidden.hyperbolicTangent()
    return LinearWeight(parameter("2.weight")).forward(active, bias: parameter("2.bias"))
  }
}

/// The small network of AVDigits: two 3x3 convolutions of 16 and 32 channels with ReLU and 2x2 maximum pooling, the mean
/// over four quarters of the picture, and a linear map.
struct ConvolutionEncoder: Encoder {
  let rows: Int
  let columns: Int
  var channels = 1
  var featureSize = 64

  private static let widths = (16, 32)
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

  func features(of input: Tensor, _ parameter: (String) -> Tensor) -> Tensor {
    let around = Convolution(ImageWindow(size: (3, 3), padding: (1, 1)))
    let half = ImageWindow(size: (2, 2), stride: (2, 2))
    // The greatest of rectified numbers is the rectified greatest one, of which there are four times fewer.
    let first = around(input, weight: parameter("0.weight"), bias: parameter("0.bias")).maxPooled(half).relu()
    let second = around(first, weight: parameter("3.weight"), bias: parameter("3.bias"))
      .maxPooled(half).relu()
    let flat = second.averagePooled(lastWindow).reshaped(to: [input.shape[0], flatSize])
    return LinearWeight(parameter("7.weight")).forward(flat, bias: parameter("7.bias"))
  }
}
