public import TensorCore

/// Merges sequences that ran side by side into the same hidden states at the entry of a layer.
///
/// The batch holds one branch per sequence, all of one length; from the layer on every branch carries, row by row, the
/// weighted mean of all branches. With branches that lack one modality each this is fork-merge decoding.
///
/// Source: Jung et al., "Fork-Merge Decoding", 2025, arXiv:2505.20873. How rows are weighted is this project's reading:
/// weights are given for each branch and role.
public struct MergeBranches: Intervention {
  /// The layer at whose entry branches meet.
  public let layer: Int
  /// For each branch the weight of a row of a role; weights of a role over the branches sum to 1.
  public let weights: [[Role: Float]]

  /// Merges at the entry of `layer`.
  public init(layer: Int, weights: [[Role: Float]]) {
    for role in Role.allCases {
      let sum = weights.reduce(0) { $0 + $1[role, default: 0] }
      require(abs(sum - 1) < 1e-5, "weights of \(role) sum to \(sum)")
    }
    (self.layer, self.weights) = (layer, weights)
  }

  /// Whether this tensor is changed.
  public func edits(_ name: TensorName) -> Bool { name == TensorName(.input, layer: layer) }

  /// The changed tensor.
  public func edit(_ tensor: Tensor, _ name: TensorName, context: TokenContext) -> Tensor {
    let segments = context.segments
    require(
      segments.count == weights.count
        && (1..<segments.count).allSatisfy { segments[$0].count == segments[0].count },
      "\(weights.count) branches of one length, found \(segments.count) sequences")
    let roles = Array(context.roles[segments[0]])
    var merged: Tensor?
    for branch in 0..<segments.count {
      let weight = Tensor(roles.map { weights[branch][$0, default: 0] }, shape: [roles.count, 1])
      let part = tensor.slice(segments[branch]) * weight
      merged = merged.map { $0 + part } ?? part
    }
    return Tensor.concatenated(Array(repeating: merged ?? tensor, count: segments.count))
  }
}
