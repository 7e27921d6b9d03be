import TensorCore

/// A layer norm with a weight and a bias.
struct LayerNorm: Sendable {
  let weight: Tensor
  let bias: Tensor
  let epsilon: Float

  /// - Parameter name: Of `name.weight` and `name.bias`.
  init(_ weights: WeightSource, _ name: String, size: Int, epsilon: Double) throws {
    weight = try weights.tensor(name + ".weight", shape: [size])
    bias = try weights.tensor(name + ".bias", shape: [size])
    self.epsilon = Float(epsilon)
  }

  init(weight: Tensor, bias: Tensor, epsilon: Float) {
    (self.weight, self.bias, self.epsilon) = (weight, bias, epsilon)
  }

  func callAsFunction(_ x: Tensor) -> Tensor { x.layerNorm(weight: weight, bias: bias, epsilon: epsilon) }
}

/// A transformer layer of a tower: layer norms before attention and feed-forward, full attention within each image.
///
///     h ← h + out_proj(attention(q n, k n, v n)),   n = layer_norm1(h)
///     h ← h + fc2(activation(fc1 n)),               n = layer_norm2(h)
///
/// Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, arXiv:2010.11929, equations 2 and 3.
struct TowerLayer: Sendable {
  /// The tensors' names in the file, since towers differ.
  struct Names {
    var attention = "self_attn"
    /// Relative to attention, as the three after it.
    var query = "q_proj"
    var key = "k_proj"
    var value = "v_proj"
    var output = "out_proj"
    var firstNorm = "layer_norm1"
    var secondNorm = "layer_norm2"
    var inner = "mlp.fc1"
    var outer = "mlp.fc2"
    /// Whether k_proj has a bias like the others.
    var keyHasBias = true
  }

  private let firstNorm: LayerNorm
  private let query: any LinearLayer
  private let key: any LinearLayer
  private let value: any LinearLayer
  private let output: any LinearLayer
  private let secondNorm: LayerNorm
  private let inner: any LinearLayer
  private let outer: any LinearLayer
  private let headCount: Int
  private let activation: Activation

  /// - Parameter weights: Names relative to the layer.
  init(
    _ weights: WeightSource, hidden: Int, inner innerSize: Int, heads: Int, activation: Activation,
    epsilon: Double, names: Names = Names()
  ) throws {
    let attention = weights.under(names.attention)
    firstNorm = try LayerNorm(weights, names.firstNorm, size: hidden, epsilon: epsilon)
    query = try attention.linear(names.query, from: hidden, to: hidden, hasBias: true)
    key = try attention.linear(names.key, from: hidden, to: hidden, hasBias: names.keyHasBias)
    value = try attention.linear(names.value, from: hidden, to: hidden, hasBias: true)
    output = try attention.linear(names.output, from: hidden, to: hidden, hasBias: true)
    secondNorm = try LayerNorm(weights, names.secondNorm, size: hidden, epsilon: epsilon)
    inner = try weights.linear(names.inner, from: hidden, to: innerSize, hasBias: true)
    outer = try weights.linear(names.outer, from: innerSize, to: hidden, hasBias: true)
    (headCount, self.activation) = (heads, activation)
  }

  /// - Parameter pass: Its context has a segment for each image or tile and the full mask.
  func callAsFunction(_ hidden: Tensor, _ index: Int, _ pass: ForwardPass) -> Tensor {
    let input = pass.site(.input, layer: index, hidden)
    let attended = pass.site(.afterAttention, layer: index, input + attend(input, index, pass))
    let output = pass.site(.output, layer: index, attended + feedForward(attended, index, pass))
    for linear in [query, key, value, self.output, inner, outer] { linear.releasePages() }
    return output
  }

  private func attend(_ hidden: Tensor, _ index: Int, _ pass: ForwardPass) -> Tensor {
    let context = pass.context
    let normed = pass.site(.attentionNorm, layer: index, firstNorm(hidden))
    let attention = Attention(
      heads: headCount, keyValueHeads: headCount, headSize: query.outputSize / headCount,
      queryBlock: pass.options.queryBlock)
    let attended = pass.attention(
      attention, queries: pass.site(.query, layer: index, query(normed, context)),
      keys: pass.site(.key, layer: index, key(normed, context)),
      values: pass.site(.value, layer: index, value(normed, context)), keyRows: KeyRows(context), layer: index
    )
    return pass.site(
      .attentionOutput, layer: index, output(pass.site(.attention, layer: index, attended), context))
  }

  private func feedForward(_ hidden: Tensor, _ index: Int, _ pass: ForwardPass) -> Tensor {
    let normed = pass.site(.feedForwardNorm, layer: index, secondNorm(hidden))
    let inside = pass.site(.up, layer: index, inner(normed, pass.context))
    return pass.site(.feedForwardOutput, layer: index, outer(activation(inside), pass.context))
  }
}

extension ForwardPass {
  /// A pass through a tower.
  ///
  /// - Parameter lengths: Rows of each image or tile; rows see those of their own only.
  init(_ tower: TensorName.Tower, lengths: [Int], role: Role, options: ForwardOptions) {
    self.init(context: .rows(lengths: lengths, role: role), options: options, tower: tower)
  }
}
