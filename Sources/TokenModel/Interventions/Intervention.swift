public import TensorCore

/// Changes a forward pass at named places, without state: the writing twin of an observer.
public protocol Intervention: Sendable {
  /// Whether `edit` should be asked about this tensor.
  func edits(_ name: TensorName) -> Bool
  /// The tensor to go on with; of the same shape.
  func edit(_ tensor: Tensor, _ name: TensorName, context: TokenContext) -> Tensor
  /// Keys to hide from queries in a layer; nil for none.
  func knockout(layer: Int, context: TokenContext, keyRows: KeyRows) -> AttentionKnockout?
  /// A rewriting of the attention probabilities of a layer; nil for none.
  func attentionEdit(layer: Int, context: TokenContext) -> AttentionEdit?
}

extension Intervention {
  /// Whether this tensor is changed.
  public func edits(_ name: TensorName) -> Bool { false }
  /// The changed tensor.
  public func edit(_ tensor: Tensor, _ name: TensorName, context: TokenContext) -> Tensor { tensor }
  /// The keys hidden in a layer.
  public func knockout(layer: Int, context: TokenContext, keyRows: KeyRows) -> AttentionKnockout? { nil }
  /// The rewriting of the probabilities of a layer.
  public func attentionEdit(layer: Int, context: TokenContext) -> AttentionEdit? { nil }
}
