import TensorCore
import TokenModel

/// `ResNet18` of TokenModel: a spectrogram, a picture, frames or flow to 512 features.
///
/// Training passes normalise by the statistics of the batch and move the means and variances of the batch norms, which
/// evaluation uses. Starts as the encoders of BalanceBenchmark do (arXiv:2502.10816): convolutions from a normal
/// distribution of variance 2 / (outputs · rows · columns), weights of norms around 1 with deviation 0.02.
struct ResNet18Encoder: Encoder {
  let inputShape: [Int]
  let parameters: [ParameterShape]
  let buffers: [ParameterShape]
  private let network: ResNet18
  private let norms: [String]

  var kind: String { "resnet18" }
  var featureSize: Int { ResNet18.featureSize }

  /// - Parameters:
  ///   - inputShape: `[rows, columns, channels]` or `[frames, rows, columns, channels]`.
  ///   - weights: What a file holds; nil to start at random.
  init(inputShape: [Int], precision: Convolution.Precision = .exact, weights: ResNet18.Weights? = nil) {
    self.inputShape = inputShape
    network = ResNet18(channels: inputShape.last ?? 1, precision: precision)
    let values = Dictionary(
      uniqueKeysWithValues: (weights?.parameters ?? []).map { ($0.name, $0.value) })
    parameters = network.parameters.map { parameter in
      let shape = parameter.shape
      let start: ParameterShape.Start
      if let value = values[parameter.name] {
        start = .values(value)
      } else if shape.count == 4 {
        let outputs = Double(shape[0] * shape[1] * shape[2])
        start = .normal(mean: 0, deviation: (2 / outputs).squareRoot())
      } else {
        start = parameter.name.hasSuffix(".bias") ? .constant(0) : .normal(mean: 1, deviation: 0.02)
      }
      return ParameterShape(name: parameter.name, shape: shape, start: start)
    }
    let state = weights?.state ?? ResNet18.State()
    norms = state.buffers.keys.sorted()
    buffers = norms.flatMap { name -> [ParameterShape] in
      guard let buffers = state.buffers[name] else { return [] }
      return [("running_mean", buffers.mean), ("running_var", buffers.variance)].map { part, value in
        ParameterShape(name: "\(name).\(part)", shape: value.shape, start: .values(value))
      }
    }
  }

  func features(of input: Tensor, _ pass: EncoderPass) -> Tensor {
    var state = ResNet18.State()
    for name in norms {
      state.buffers[name] = BatchNorm.Buffers(
        mean: pass.buffer(name + ".running_mean"), variance: pass.buffer(name + ".running_var"))
    }
    guard pass.isTraining else { return network.evaluate(input, state: state) { pass[$0] } }
    let output = network.train(input, state: &state) { pass[$0] }
    for name in norms {
      guard let buffers = state.buffers[name] else { continue }
      pass.move(name + ".running_mean", to: buffers.mean)
      pass.move(name + ".running_var", to: buffers.variance)
    }
    return output
  }
}
