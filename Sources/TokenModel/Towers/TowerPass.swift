public import TensorCore

/// A place in the computation of a tower, the encoder that turns a medium into rows of the decoder.
public enum TowerSite: Hashable, Sendable {
  /// `[rows, width]`: patches or frames as they enter layer 0.
  case embeddings
  /// `[rows, width]`: the residual stream that leaves a layer.
  case output(layer: Int)
  /// The attention probabilities of a layer, for each segment `[heads, queries, keys]`.
  case attention(layer: Int)
  /// `[rows, width]`: after the last norm, and after pooling where there is one.
  case final
  /// `[rows, hidden]`: what the decoder gets.
  case projected
}

/// Reads the intermediates of a tower; what it does not want costs nothing.
public protocol TowerObserver: AnyObject {
  /// Whether the tensors of a site are wanted.
  func wants(_ site: TowerSite) -> Bool
  /// Gets a wanted site: one tensor, or one for each segment where the site has several.
  func observe(_ tensors: [Tensor], _ site: TowerSite)
}

/// What travels through the layers of a tower: where its sequences lie and who reads.
struct TowerPass {
  /// Rows that attend to each other: an image, a frame, a window, a sound.
  let segments: RowSegments
  /// For each row whether it is hidden from every query; nil for none. Hidden rows are ordinary queries.
  var hiddenKeys: [Bool]?
  let observer: (any TowerObserver)?

  /// Shows a tensor to the observer and hands it on.
  func site(_ site: TowerSite, _ tensor: Tensor) -> Tensor {
    if let observer, observer.wants(site) { observer.observe([tensor], site) }
    return tensor
  }

  /// Attention within each segment, before the output projection.
  func attention(_ query: Tensor, _ key: Tensor, _ value: Tensor, heads: Int, layer: Int) -> Tensor {
    let attention = Attention(heads: heads, keyValueHeads: heads, headSize: query.columns / heads)
    var request = AttentionRequest()
    request.wantsProbabilities = observer?.wants(.attention(layer: layer)) ?? false
    let everyRow = [Bool](repeating: true, count: query.rows)
    let (output, statistics) = attention(
      queries: query, keys: key, values: value,
      sequences: (0..<segments.count).map {
        AttentionSequence(queries: segments[$0], keys: segments[$0])
      },
      mask: .full, request: request,
      knockouts: hiddenKeys.map { [AttentionKnockout(queries: everyRow, keys: $0)] } ?? [])
    if let probabilities = statistics?.probabilities {
      observer?.observe(probabilities, .attention(layer: layer))
    }
    return output
  }
}

extension Linear {
  /// x Wᵀ + b for rows in segments.
  func callAsFunction(_ x: Tensor, _ segments: RowSegments) -> Tensor {
    weight.forward(x, segments: segments, bias: bias)
  }
}

/// The weights of a layer norm.
struct LayerNorm: Sendable {
  let weight: Tensor
  let bias: Tensor
  let epsilon: Float

  init(_ name: String, width: Int, epsilon: Float, weights: WeightSource) throws {
    weight = try weights.tensor("\(name).weight", shape: [width])
    bias = try weights.tensor("\(name).bias", shape: [width])
    self.epsilon = epsilon
  }

  func callAsFunction(_ x: Tensor) -> Tensor { x.layerNorm(weight: weight, bias: bias, epsilon: epsilon) }
}

/// The nonlinear step of a feed-forward layer, by its name in transformers.
enum Activation: String, CaseIterable, Sendable {
  /// x Φ(x).
  case gelu
  /// The tanh form of GELU.
  case geluTanh = "gelu_pytorch_tanh"
  /// The tanh form of GELU under its older name.
  case geluNew = "gelu_new"
  /// x · sigmoid(1.702 x).
  case quickGELU = "quick_gelu"
  /// x · sigmoid(x).
  case silu

  /// Reads the name.
  ///
  /// - Throws: `ConfigurationError.unsupportedValue` for an activation that is none of these.
  init(_ reader: ConfigurationReader, _ key: String, default fallback: Activation)
    throws(ConfigurationError)
  {
    try reader.refuse(key, unless: Self.allCases.map { .string($0.rawValue) })
    self = Self(rawValue: try reader.string(key, default: fallback.rawValue)) ?? fallback
  }

  func callAsFunction(_ x: Tensor) -> Tensor {
    switch self {
    case .gelu: x.gelu()
    case .geluTanh, .geluNew: x.geluTanh()
    case .quickGELU: (1 / 1.702) * (1.702 * x).silu()
    case .silu: x.silu()
    }
  }
}
