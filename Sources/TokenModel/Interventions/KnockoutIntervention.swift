public import TensorCore

/// Attention knockout by role: in a window of layers, rows of some roles no longer see rows of others.
///
/// A row whose own key is among the hidden ones does not see itself either; one left without keys takes nothing.
///
/// Source: Geva et al., "Dissecting Recall of Factual Associations", EMNLP 2023, arXiv:2304.14767, section 5.
public struct KnockoutIntervention: Intervention {
  /// Roles of the blinded queries.
  public let queryRoles: Set<Role>
  /// Roles of the hidden keys.
  public let keyRoles: Set<Role>
  /// The layers, from 0.
  public let layers: Range<Int>

  /// Hides keys of `keyRoles` from queries of `queryRoles` in `layers`.
  public init(queryRoles: Set<Role>, keyRoles: Set<Role>, layers: Range<Int>) {
    (self.queryRoles, self.keyRoles, self.layers) = (queryRoles, keyRoles, layers)
  }

  /// The keys hidden in a layer.
  public func knockout(layer: Int, context: TokenContext, keyRows: KeyRows) -> AttentionKnockout? {
    guard layers.contains(layer) else { return nil }
    return AttentionKnockout(
      queries: context.roles.map(queryRoles.contains),
      keys: keyRows.groups(of: context) { keyRoles.contains($0) ? 1 : 0 }.map { $0 == 1 })
  }
}
