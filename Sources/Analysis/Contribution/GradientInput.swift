import TensorCore
import TokenModel

/// Gradient times input: what each embedding row adds to the target, to first order at the prompt.
///
///     sⱼ = eⱼ · ∂y/∂eⱼ
///
/// All rows are inputs, those of media as the projector gives them; nothing inside the decoder is held fixed. The effect of a
/// group is the sum over its rows, its magnitude the sum of |sⱼ|.
///
/// Source: Shrikumar et al., "Not Just a Black Box", 2016, arXiv:1605.01713.
struct GradientInput {
  func contribution(of item: ContributionCase) -> Contribution {
    var logits: [Float] = []
    var target: TargetFunction?
    let gradient = Self.gradients(item.decoder, item.embeddings, item.context) { rows in
      logits = rows[0]
      let function = item.target(logits)
      target = function
      return [function.gradient(logits)]
    }
    let effects = Self.rowProducts(gradient, item.embeddings)
    let function = target ?? item.target(logits)
    return Contribution(
      target: item.record(function, logits), effect: item.groupSums(effects),
      magnitude: item.groupSums(effects.map(abs)), tokens: effects.map { Float($0) })
  }

  /// The gradient of Σ seed · logits with respect to embeddings, `[rows, hidden]`.
  ///
  /// - Parameter seeds: Gives the seed of the last row of each sequence from its logits.
  static func gradients(
    _ decoder: LLaMADecoder, _ embeddings: Tensor, _ context: TokenContext, seeds: ([[Float]]) -> [[Float]]
  ) -> Tensor {
    let tape = Tape()
    let input = tape.leaf(embeddings)
    guard let logits = decoder.forward(input, context: context, options: ForwardOptions()).logits else {
      return Tensor(zeros: embeddings.shape)
    }
    let seed = Tensor(seeds(logits.hostRows()).flatMap(\.self), shape: logits.shape)
    return tape.gradients(of: logits, for: [input], seed: seed, retaining: false)[0]
      ?? Tensor(zeros: embeddings.shape)
  }

  /// For each row the sum of the products of two tensors, in Float64.
  static func rowProducts(_ left: Tensor, _ right: Tensor) -> [Double] {
    zip(left.hostRows(), right.hostRows()).map { left, right in
      zip(left, right).reduce(0) { $0 + Double($1.0) * Double($1.1) }
    }
  }
}

extension TargetFunction {
  /// The gradient of the target with respect to the logits.
  func gradient(_ logits: [Float]) -> [Float] {
    var gradient = [Float](repeating: 0, count: logits.count)
    gradient[id] = 1
    switch target {
    case .logit: break
    case .margin: gradient[rival] -= 1
    case .logProbability:
      // ∂ ln p / ∂ logits = 1 at the piece, minus the probabilities.
      for (index, probability) in probabilities(logits).enumerated() { gradient[index] -= Float(probability) }
    }
    return gradient
  }
}
