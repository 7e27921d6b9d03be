public import TensorCore

/// Moves attention from sink keys to the other rows of a medium, in heads that look at the medium anyway.
///
///     Âᵢⱼ = p Aᵢⱼ                               for sinks j ∈ Ω
///     Âᵢⱼ = Aᵢⱼ + b Aᵢⱼ / Σ_{k ∈ v \ Ω} Aᵢₖ      for other rows j of the medium,  b = (1 − p) Σ_{j ∈ Ω} Aᵢⱼ
///
/// Rows keep their sum. A head takes part when its attention on the medium is at least `minimumShare`, and at least
/// `minimumNonSinkShare` of that falls on rows that are no sinks.
///
/// Source: Kang et al., "See What You Are Told: Visual Attention Sink in Large Multimodal Models", ICLR 2025,
/// arXiv:2503.03321, equations 6 to 8.
public struct RedistributeAttention: Intervention {
  /// Keys of the sequence that are sinks, counted from its start.
  public let sinks: Set<Int>
  /// The role that gains.
  public let role: Role
  /// The layers, from 0.
  public let layers: Range<Int>
  /// p: the part of the attention that sinks keep, 0...1.
  public let kept: Float
  /// The least attention on the medium for a head to take part.
  public let minimumShare: Float
  /// The least part of it that must fall on rows that are no sinks (ρ).
  public let minimumNonSinkShare: Float

  /// Redistributes in `layers`; `kept` in 0...1.
  public init(
    sinks: Set<Int>, role: Role, layers: Range<Int>, kept: Float, minimumShare: Float = 0.2,
    minimumNonSinkShare: Float = 0.5
  ) {
    require(0...1 ~= kept, "kept part \(kept)")
    (self.sinks, self.role, self.layers, self.kept) = (sinks, role, layers, kept)
    (self.minimumShare, self.minimumNonSinkShare) = (minimumShare, minimumNonSinkShare)
  }

  /// The rewriting of the probabilities of a layer.
  public func attentionEdit(layer: Int, context: TokenContext) -> AttentionEdit? {
    guard layers.contains(layer) else { return nil }
    let rolesOfSequence = context.keyRoles
    let segments = context.segments
    return { _, row, probabilities in
      let sequence = segments.offsets.lastIndex { $0 <= row } ?? 0
      redistribute(&probabilities, roles: rolesOfSequence[min(sequence, rolesOfSequence.count - 1)])
    }
  }

  /// Rewrites one row of probabilities.
  func redistribute(_ probabilities: inout [Float], roles: [Role]) {
    var (sinkMass, mediumMass, gainMass): (Float, Float, Float) = (0, 0, 0)
    for (key, probability) in probabilities.enumerated() {
      let isSink = sinks.contains(key)
      if isSink { sinkMass += probability }
      if roles[key] == role {
        mediumMass += probability
        if !isSink { gainMass += probability }
      }
    }
    guard mediumMass >= minimumShare, gainMass >= minimumNonSinkShare * mediumMass, gainMass > 0 else {
      return
    }
    let gain = 1 + (1 - kept) * sinkMass / gainMass
    for key in probabilities.indices {
      if sinks.contains(key) {
        probabilities[key] *= kept
      } else if roles[key] == role {
        probabilities[key] *= gain
      }
    }
  }
}
