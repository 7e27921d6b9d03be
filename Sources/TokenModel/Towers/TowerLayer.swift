import TensorCore

/// A transformer layer of a tower with norms before its two blocks:
///
///     h ← h + out_proj(attention(q_proj n, k_proj n, v_proj n)),   n = norm(h)
///     h ← h + fc2(activation(fc1 n)),                              n = norm(h)
struct TowerLayer: Sendable {
  /// What the parts are called in a checkpoint.
  struct Names {
    let attentionNorm: String
    let feedForwardNorm: String
    /// The prefix of fc1 and fc2 with its dot, or nothing.
    let feedForward: String
    /// Whether k_proj has a bias; the others always have.
    let keyHasBias: Bool
  }

  private let attentionNorm: LayerNorm
  private let query: Linear  // self_attn.q_proj
  private let key: Linear  // self_attn.k_proj
  private let value: Linear  // self_attn.v_proj
  private let output: Linear  // self_attn.out_proj
  private let feedForwardNorm: LayerNorm
  private let inner: Linear  // fc1
  private let outer: Linear  // fc2
  private let heads: Int
  private let activation: Activation

  init(
    _ names: Names, width: Int, innerWidth: Int, heads: Int, activation: Activation, epsilon: Float,
    weights: WeightSource
  ) throws {
    let attention = weights.under("self_attn")
    attentionNorm = try LayerNorm(names.attentionNorm, width: width, epsilon: epsilon, weights: weights)
    feedForwardNorm = try LayerNorm(names.feedForwardNorm, width: width, epsilon: epsilon, weights: weights)
    query = try attention.linear("q_proj", from: width, to: width, hasBias: true)
    key = try attention.linear("k_proj", from: width, to: width, hasBias: names.keyHasBias)
    value = try attention.linear("v_proj", from: width, to: width, hasBias: true)
    output = try attention.linear("out_proj", from: width, to: width, hasBias: true)
    inner = try weights.linear("\(names.feedForward)fc1", from: width, to: innerWidth, hasBias: true)
    outer = try weights.linear("\(names.feedForward)fc2", from: innerWidth, to: width, hasBias: true)
    (self.heads, self.activation) = (heads, activation)
  }

  /// `[rows, width]` to the same.
  func callAsFunction(_ hidden: Tensor, layer: Int, _ pass: TowerPass) -> Tensor {
    let rows = pass.segments
    let normed = attentionNorm(hidden)
    let attended = pass.attention(
      query(normed, rows), key(normed, rows), value(normed, rows), heads: heads, layer: layer)
    let middle = hidden + output(attended, rows)
    let result = middle + outer(activation(inner(feedForwardNorm(middle), rows)), rows)
    for linear in [query, key, value, output, inner, outer] { linear.releasePages() }
    return pass.site(.output(layer: layer), result)
  }
}
