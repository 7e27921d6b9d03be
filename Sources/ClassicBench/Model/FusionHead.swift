import RunKit
import TensorCore
import TokenModel

/// How features of several modalities become the logits of classes.
///
/// `C` classes, `M` modalities with features h_m of size d_m:
///
/// | kind | fused logits z | unimodal logits u_m |
/// | --- | --- | --- |
/// | concatenation | Σ W_m h_m + b, W = [W_1 … W_M] | W_m h_m + b / M |
/// | sum | Σ (W_m h_m + b_m) | W_m h_m + b_m |
/// | shared | Σ (W h_m + b) | W h_m + b |
/// | cosine | s Σ cos(W_m,c, h_m) | s cos(W_m,c, h_m) |
/// | gated (M = 2) | W (σ(G h_1) ⊙ (V h_2)) + b | masked forward |
/// | film (M = 2) | W (γ(h_1) ⊙ h_2 + β(h_1)) + b | masked forward |
/// | transformer | a class token's attention to itself and the tokens h_m, projected, W · + b | masked forward |
///
/// Where the head is additive a unimodal score is its own block; otherwise it is the fused logits with the features of
/// all other modalities set to 0.
///
/// Source: the heads of Peng et al., "Balanced Multimodal Learning via On-the-fly Gradient Modulation", CVPR 2022,
/// arXiv:2203.15332; cosine: Xu et al., "MMCosine", ICASSP 2023, arXiv:2303.05338; transformer: the fusion of Ni et al.,
/// "RollingQ", ICML 2025, arXiv:2506.11465, see `FusionTransformer`.
enum FusionHead: Sendable, Equatable {
  case concatenation
  case sum
  case shared
  /// `scale` is s.
  case cosine(scale: Float)
  case gated
  case film
  /// `positions` are the tokens that each modality has in a sample.
  case transformer(positions: [Int])

  /// The name in experiments.
  var name: String {
    switch self {
    case .concatenation: "concatenation"
    case .sum: "sum"
    case .shared: "shared"
    case .cosine: "cosine"
    case .gated: "gated"
    case .film: "film"
    case .transformer: "transformer"
    }
  }

  /// Whether z is a sum of terms of one modality each.
  var isAdditive: Bool {
    switch self {
    case .concatenation, .sum, .shared, .cosine: true
    case .gated, .film, .transformer: false
    }
  }

  /// Why these features cannot be fused so; nil if they can.
  func refusal(featureSizes: [Int]) -> String? {
    switch self {
    case .gated where featureSizes.count != 2, .film where featureSizes.count != 2:
      "the \(name) head is defined for two modalities, the experiment names \(featureSizes.count)"
    case .shared where Set(featureSizes).count > 1, .gated where Set(featureSizes).count > 1,
      .film where Set(featureSizes).count > 1:
      "the \(name) head needs features of one size, found \(featureSizes)"
    default: nil
    }
  }

  /// The parameters with their full names.
  ///
  /// - Parameters:
  ///   - names: Of the modalities.
  ///   - sizes: d_m.
  func parameters(names: [String], sizes: [Int], classes: Int) -> [ParameterShape] {
    func linear(_ name: String, _ outputs: Int, _ inputs: Int) -> [ParameterShape] {
      [
        ParameterShape(name: name + ".weight", shape: [outputs, inputs], fanIn: inputs),
        ParameterShape(name: name + ".bias", shape: [outputs], fanIn: inputs),
      ]
    }
    let total = sizes.reduce(0, +)
    switch self {
    case .concatenation, .cosine: return linear("head", classes, total)
    case .sum: return zip(names, sizes).flatMap { linear("head." + $0, classes, $1) }
    case .shared: return linear("shared", classes, sizes[0])
    case .gated:
      return linear("head.gate", sizes[0], sizes[0]) + linear("head.value", sizes[0], sizes[1])
        + linear("head", classes, sizes[0])
    case .film: return linear("head.film", 2 * sizes[1], sizes[0]) + linear("head", classes, sizes[1])
    case .transformer:
      let configuration = Self.transformer(names, sizes, classes: classes)
      var inputs = configuration.width
      return configuration.parameterShapes.map { name, shape in
        // The bias of a linear map follows its weight and starts within the same bound.
        if shape.count == 2 { inputs = shape[1] }
        return ParameterShape(name: "head." + name, shape: shape, fanIn: inputs)
      }
    }
  }

  /// z, `[samples, classes]`.
  func fused(_ features: [Tensor], _ names: [String], _ parameters: Parameters) -> Tensor {
    switch self {
    case .concatenation:
      return LinearWeight(parameters["head.weight"]).forward(
        Tensor.concatenatedColumns(features), bias: parameters["head.bias"])
    case .sum, .shared, .cosine:
      let parts = features.indices.map { unimodal($0, features, names, parameters) }
      return parts.dropFirst().reduce(parts[0]) { $0 + $1 }
    case .gated:
      let gate = linear("head.gate", features[0], parameters).logistic()
      return linear("head", gate * linear("head.value", features[1], parameters), parameters)
    case .film:
      let width = features[1].columns
      let modulation = linear("head.film", features[0], parameters)
      let (gamma, beta) = (modulation.columns(0..<width), modulation.columns(width..<2 * width))
      return linear("head", gamma * features[1] + beta, parameters)
    case .transformer: return transformed(features, names, parameters).logits
    }
  }

  /// u_m, `[samples, classes]`.
  func unimodal(_ index: Int, _ features: [Tensor], _ names: [String], _ parameters: Parameters) -> Tensor {
    let feature = features[index]
    switch self {
    case .concatenation:
      let product = feature.matmul(block(index, features, parameters), transposingOther: true)
      return product + (1 / Float(features.count)) * parameters["head.bias"]
    case .sum: return linear("head." + names[index], feature, parameters)
    case .shared: return linear("shared", feature, parameters)
    case .cosine(let scale):
      let rows = block(index, features, parameters).rowsNormalized()
      return scale * feature.rowsNormalized().matmul(rows, transposingOther: true)
    case .gated, .film, .transformer:
      let alone = features.indices.map { $0 == index ? feature : Tensor(zeros: features[$0].shape) }
      return fused(alone, names, parameters)
    }
  }

  // MARK: Transformer

  /// One layer with one head, as wide as the first modality's features.
  static func transformer(_ names: [String], _ sizes: [Int], classes: Int) -> FusionConfiguration {
    FusionConfiguration(
      inputs: zip(names, sizes).map { FusionConfiguration.Input(Modality(rawValue: $0), size: $1) },
      width: sizes[0], outputSize: classes)
  }

  /// The logits of a transformer head with all that its attention computed.
  ///
  /// - Parameter rolling: Rotations of the class token's query.
  func transformed(
    _ features: [Tensor], _ names: [String], _ parameters: Parameters, rolling: RollingQueries? = nil
  ) -> FusionResult {
    guard case .transformer(let positions) = self else { preconditionFailure("a \(name) head has no tokens") }
    let configuration = Self.transformer(
      names, features.map(\.columns), classes: parameters["head.head.weight"].rows)
    let weights = WeightSource(in: "the head") { name, _ in parameters["head." + name] }
    guard let fusion = try? FusionTransformer(configuration, weights: weights) else {
      preconditionFailure("the parameters of the head have other shapes")
    }
    let tokens = zip(features, positions).map { feature, count in
      FusionInput(feature.reshaped(to: [feature.rows / count, count, feature.columns]))
    }
    var options = FusionOptions()
    options.rolling = rolling
    return fusion(tokens, options: options)
  }

  /// W_m, the columns of the head that belong to one modality.
  private func block(_ index: Int, _ features: [Tensor], _ parameters: Parameters) -> Tensor {
    let start = features[..<index].reduce(0) { $0 + $1.columns }
    return parameters["head.weight"].columns(start..<start + features[index].columns)
  }

  private func linear(_ name: String, _ input: Tensor, _ parameters: Parameters) -> Tensor {
    LinearWeight(parameters[name + ".weight"]).forward(input, bias: parameters[name + ".bias"])
  }
}

/// Parameters by name: values, or leaves of a tape.
struct Parameters {
  private let tensors: [String: Tensor]
  /// Where encoders note what a training pass moves; nil in evaluation.
  let training: EncoderTraining?

  init(_ tensors: [String: Tensor], training: EncoderTraining? = nil) {
    (self.tensors, self.training) = (tensors, training)
  }

  /// The tensor of a name, which must be there.
  subscript(name: String) -> Tensor {
    let tensor = tensors[name]
    require(tensor != nil, "the model has no parameter \(name)")
    return tensor ?? Tensor(zeros: [])
  }

  /// Whether there is a tensor of this name.
  func contains(_ name: String) -> Bool { tensors[name] != nil }
  /// All of them.
  var all: [String: Tensor] { tensors }
  /// The same elements, followed by no tape, in evaluation.
  var detached: Parameters { Parameters(tensors.mapValues(\.detached)) }
  /// The same tensors in evaluation.
  var evaluating: Parameters { Parameters(tensors) }
}
