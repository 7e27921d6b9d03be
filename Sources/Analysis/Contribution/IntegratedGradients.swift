import TensorCore
import TokenModel

/// Integrated gradients: the gradient averaged along the straight path from a baseline ē to the prompt.
///
///     sⱼ = (eⱼ − ēⱼ) · 1/K Σₖ ∂y/∂eⱼ (ē + (k − ½)/K · (e − ē)),   k = 1 … K
///
/// By completeness Σⱼ sⱼ = y(e) − y(ē) up to the error of the sum, which is reported. Near a baseline of zeros RMS norms
/// turn the path sharply: there even many steps leave a large residual. The effect of a group is the sum over its rows, its
/// magnitude the sum of |sⱼ|.
///
/// Source: Sundararajan et al., "Axiomatic Attribution for Deep Networks", ICML 2017, arXiv:1703.01365, equation 3; the
/// midpoint rule in place of their right ends.
struct IntegratedGradients {
  let steps: Int
  /// The most rows that are recorded together.
  private static let rowLimit = 2048

  /// - Parameter baseline: ē, `[rows, hidden]`.
  func contribution(of item: ContributionCase, baseline: Tensor) -> Contribution {
    let logits = [item.embeddings, baseline].map { embeddings in
      item.decoder.forward(embeddings, context: item.context, options: ForwardOptions()).logits?.hostRows()[0]
        ?? []
    }
    let target = item.target(logits[0])
    let path = Self.path(
      item.decoder, item.embeddings, item.context, from: baseline,
      at: (0..<steps).map { (Double($0) + 0.5) / Double(steps) }, target: target)
    let start = target.value(logits[1])
    return Contribution(
      target: item.record(target, logits[0]), effect: item.groupSums(path.effects),
      magnitude: item.groupSums(path.effects.map(abs)), tokens: path.effects.map { Float($0) },
      baselineValue: start,
      residual: path.effects.reduce(0, +) - (target.value(logits[0]) - start))
  }

  /// The effects sⱼ with gradients averaged over the given places of the path, and the target at each.
  ///
  /// - Parameter places: From 0, the baseline, to 1, the prompt.
  static func path(
    _ decoder: LLaMADecoder, _ embeddings: Tensor, _ context: TokenContext, from baseline: Tensor,
    at places: [Double], target: TargetFunction
  ) -> (effects: [Double], values: [Double]) {
    let difference = embeddings - baseline
    let length = embeddings.rows
    let together = max(1, rowLimit / length)
    var effects = [Double](repeating: 0, count: length)
    var values: [Double] = []
    for start in stride(from: 0, to: places.count, by: together) {
      let chosen = places[start..<min(places.count, start + together)]
      let batch = Tensor.concatenated(chosen.map { baseline + Float($0) * difference })
      let ragged = TokenContext(
        segments: RowSegments(lengths: [Int](repeating: length, count: chosen.count)),
        positions: .concatenated(chosen.map { _ in context.positions }), roles: chosen.flatMap { _ in context.roles },
        mask: context.mask)
      let gradient = GradientInput.gradients(decoder, batch, ragged) { rows in
        values += rows.map(target.value)
        return rows.map(target.gradient)
      }
      for copy in 0..<chosen.count {
        let part = GradientInput.rowProducts(
          gradient.slice(copy * length..<(copy + 1) * length), difference)
        for row in 0..<length { effects[row] += part[row] / Double(places.count) }
      }
    }
    return (effects, values)
  }
}
