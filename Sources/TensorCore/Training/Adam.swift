import Foundation

/// Adam: steps along a running mean of the gradient, over the root of a running mean of its square.
///
///     g ← g + λ p
///     m ← β₁ m + (1 − β₁) g,   s ← β₂ s + (1 − β₂) g²
///     p ← p − η (m / (1 − β₁ᵗ)) / (√(s / (1 − β₂ᵗ)) + ε)
///
/// t counts the updates of the parameter, from 1.
///
/// Source: Kingma and Ba, "Adam: A Method for Stochastic Optimization", ICLR 2015, arXiv:1412.6980, algorithm 1; weight
/// decay λ is coupled: it is part of the gradient.
public struct Adam: UpdateRule {
  /// β₁, in 0..<1.
  public let beta1: Double
  /// β₂, in 0..<1.
  public let beta2: Double
  /// ε, above 0.
  public let epsilon: Double

  /// - Parameters:
  ///   - beta1: In 0..<1.
  ///   - beta2: In 0..<1.
  ///   - epsilon: Above 0.
  public init(beta1: Double = 0.9, beta2: Double = 0.999, epsilon: Double = 1e-8) {
    require(0 <= beta1 && beta1 < 1 && 0 <= beta2 && beta2 < 1, "β of \(beta1) and \(beta2)")
    require(epsilon > 0, "an ε of \(epsilon)")
    (self.beta1, self.beta2, self.epsilon) = (beta1, beta2, epsilon)
  }

  /// The running means m of the gradient and s of its square.
  public var stateNames: [String] { ["mean", "square"] }

  /// One step.
  public func update(_ parameter: Tensor, gradient: Tensor, state: [Tensor], _ settings: UpdateSettings) {
    Kernels.adam(
      parameter, gradient, mean: state[0], square: state[1],
      step(settings, decay: settings.weightDecay, keep: 1))
  }

  /// The numbers of a step, rounded to Float32 at the end.
  func step(_ settings: UpdateSettings, decay: Double, keep: Double) -> Kernels.AdamStep {
    let t = Double(settings.step)
    return Kernels.AdamStep(
      scale: settings.gradientScale, beta1: Float(beta1), beta2: Float(beta2),
      rate: Float(settings.learningRate / (1 - pow(beta1, t))),
      rootCorrection: Float(1 / (1 - pow(beta2, t)).squareRoot()), epsilon: Float(epsilon),
      decay: Float(decay), keep: Float(keep))
  }
}
