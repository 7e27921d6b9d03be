/// Bounds on gradients.
public struct GradientClipping: Sendable, Equatable {
  /// The largest norm of all gradients together; nil for none.
  public var norm: Double?
  /// The largest magnitude of an element, applied before the norm; nil for none.
  public var value: Double?

  /// No bound unless given.
  public init(norm: Double? = nil, value: Double? = nil) { (self.norm, self.value) = (norm, value) }

  /// √ Σ g² over all elements of all gradients: sums of each tensor in Float64, added in order.
  public static func norm(of gradients: [Tensor?]) -> Double {
    gradients.reduce(0.0) { sum, gradient in sum + (gradient.map(Kernels.sumOfSquares) ?? 0) }.squareRoot()
  }

  /// Bounds gradients that count `scale` times.
  ///
  /// Clipping by norm is left to the optimizer as a factor, `min(1, limit / (norm + 1e-6))` as in PyTorch.
  ///
  /// Source: Pascanu et al., "On the Difficulty of Training Recurrent Neural Networks", ICML 2013, arXiv:1211.5063,
  /// algorithm 1.
  ///
  /// - Returns: The gradients, clipped by value; their norm; and what they are to be multiplied by.
  func apply(_ gradients: [Tensor?], scale: Double) -> (gradients: [Tensor?], norm: Double, scale: Double) {
    var gradients = gradients
    if let value { gradients = gradients.map { $0.map { Kernels.clamped($0, to: Float(value / scale)) } } }
    let total = Self.norm(of: gradients) * scale
    let factor = norm.map { min(1, $0 / (total + 1e-6)) } ?? 1
    return (gradients, total, scale * factor)
  }
}
