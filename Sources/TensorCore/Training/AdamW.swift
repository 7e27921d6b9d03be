/// Adam with decoupled weight decay: parameters shrink by themselves, not through the gradient.
///
///     p ← (1 − η λ) p − η (m / (1 − β₁ᵗ)) / (√(s / (1 − β₂ᵗ)) + ε)
///
/// Source: Loshchilov and Hutter, "Decoupled Weight Decay Regularization", ICLR 2019, arXiv:1711.05101, algorithm 2,
/// with the decay multiplied by the learning rate, as PyTorch has it.
public struct AdamW: UpdateRule {
  /// The rule without decay.
  public let adam: Adam

  /// - Parameters: As `Adam`.
  public init(beta1: Double = 0.9, beta2: Double = 0.999, epsilon: Double = 1e-8) {
    adam = Adam(beta1: beta1, beta2: beta2, epsilon: epsilon)
  }

  /// The running means of Adam.
  public var stateNames: [String] { adam.stateNames }

  /// One step.
  public func update(_ parameter: Tensor, gradient: Tensor, state: [Tensor], _ settings: UpdateSettings) {
    Kernels.adam(
      parameter, gradient, mean: state[0], square: state[1],
      adam.step(settings, decay: 0, keep: 1 - settings.learningRate * settings.weightDecay))
  }
}
