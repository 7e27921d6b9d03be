import TensorCore
import TokenModel

/// `VisionTransformer` of TokenModel without its classifier: the normed class row of a picture, or its mean over frames.
struct VisionTransformerEncoder: Encoder {
  let inputShape: [Int]
  let parameters: [ParameterShape]
  private let configuration: VisionTransformer.Configuration

  var kind: String { "vit" }
  var featureSize: Int { configuration.hiddenSize }

  /// - Parameters:
  ///   - inputShape: `[side, side, channels]` or `[frames, side, side, channels]`.
  ///   - tensors: Of a folder; nil to start at random.
  /// - Throws: `ConfigurationError`, `StoredTensorError`.
  init(
    inputShape: [Int], _ configuration: VisionTransformer.Configuration, tensors: ShardedTensors?
  ) throws {
    (self.inputShape, self.configuration) = (inputShape, configuration)
    let make = { (source: WeightSource) throws in
      _ = try VisionTransformer(configuration, weights: source)
    }
    parameters =
      try tensors.map { try TowerWeights.stored($0, VisionTransformer.layout, make) }
      ?? TowerWeights.drawn(make)
  }

  func features(of input: Tensor, _ pass: EncoderPass) -> Tensor {
    let tower = TowerWeights.model(pass) { try VisionTransformer(configuration, weights: $0) }
    let samples = input.shape[0]
    let pictures = input.reshaped(to: [input.shape.dropLast(3).reduce(1, *)] + inputShape.suffix(3))
    let rows = tower.features(pictures)
    if pictures.shape[0] == samples { return rows }
    return rows.reshaped(to: [samples, rows.rows / samples, 1, featureSize]).globalAveragePooled()
  }
}
