/// A block of attention probabilities and of a scalar's gradient with respect to them.
///
/// Probabilities A and ∂y/∂A are `[query rows, keys]`; both are 0 behind the last key that a query sees, and A is 0
/// wherever a mask or a knockout hides a key.
public struct AttentionProbabilityBlock: Sendable {
  /// Index of the sequence in the call.
  public let sequence: Int
  /// The query head.
  public let head: Int
  /// Rows of the query tensor.
  public let queryRows: Range<Int>
  /// Keys, counted within the sequence.
  public let keys: Range<Int>
  /// A, `[queryRows, keys]`.
  public let probabilities: Tensor
  /// ∂y/∂A, `[queryRows, keys]`.
  public let gradients: Tensor
}

extension Attention {
  /// Gives the attention probabilities A and the gradient ∂y/∂A of a scalar y block by block, for relevance measures
  /// such as the mean over heads of (A ⊙ ∂y/∂A)⁺; nothing of size queries x keys is kept.
  ///
  ///     ∂y/∂Aᵢⱼ = (∂y/∂oᵢ) · vⱼ
  ///
  /// Source: Chefer, Gur and Wolf, "Generic Attention-model Explainability for Interpreting Bi-Modal and Encoder-Decoder
  /// Transformers", ICCV 2021, arXiv:2103.15679, equation 5.
  ///
  /// - Parameters:
  ///   - queries: As in the call, and so the next five.
  ///   - outputGradient: ∂y/∂o, `[query rows, heads * headSize]`.
  ///   - visit: Called from several threads at a time; the blocks of one head of one sequence come one after another, by
  ///     ascending keys, then query rows. Blocks that no query sees are left out.
  public func visitProbabilityGradients(
    queries: Tensor, keys: Tensor, values: Tensor, sequences: [AttentionSequence], mask: AttentionMask,
    knockouts: [AttentionKnockout] = [], outputGradient: Tensor,
    _ visit: @Sendable (AttentionProbabilityBlock) -> Void
  ) {
    require(
      outputGradient.shape == queries.shape, "a gradient of \(outputGradient.shape) for \(queries.shape)")
    let job = AttentionJob(
      self, queries: queries, keys: keys, values: values, sequences: sequences, mask: mask,
      request: AttentionRequest(), knockouts: knockouts, edit: nil, keepsNormalisers: true)
    _ = job.run()
    job.visitProbabilityGradients(outputGradient: outputGradient, visit)
  }
}
