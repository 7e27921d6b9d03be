import TensorCore

/// Linear, activation, linear, of all numbers of the input.
struct MLPEncoder: Encoder {
  /// The function between the layers.
  enum Activation: String, CaseIterable, Sendable {
    case relu, tanh
  }

  let inputShape: [Int]
  let hiddenSize: Int
  let featureSize: Int
  var activation = Activation.relu
  var kind: String { "mlp" }

  init(inputShape: [Int], hiddenSize: Int, featureSize: Int, activation: Activation = .relu) {
    (self.inputShape, self.hiddenSize, self.featureSize) = (inputShape, hiddenSize, featureSize)
    self.activation = activation
  }

  init(inputSize: Int, hiddenSize: Int, featureSize: Int, activation: Activation = .relu) {
    self.init(
      inputShape: [inputSize], hiddenSize: hiddenSize, featureSize: featureSize, activation: activation)
  }

  private var inputSize: Int { inputShape.reduce(1, *) }

  var parameters: [ParameterShape] {
    [
      ParameterShape(name: "0.weight", shape: [hiddenSize, inputSize], fanIn: inputSize),
      ParameterShape(name: "0.bias", shape: [hiddenSize], fanIn: inputSize),
      ParameterShape(name: "2.weight", shape: [featureSize, hiddenSize], fanIn: hiddenSize),
      ParameterShape(name: "2.bias", shape: [featureSize], fanIn: hiddenSize),
    ]
  }

  func features(of input: Tensor, _ pass: EncoderPass) -> Tensor {
    let rows = input.reshaped(to: [input.shape[0], inputSize])
    let hidden = LinearWeight(pass["0.weight"]).forward(rows, bias: pass["0.bias"])
    let active = activation == .relu ? hidden.relu() : hidden.hyperbolicTangent()
    return LinearWeight(pass["2.weight"]).forward(active, bias: pass["2.bias"])
  }
}
