/// Stochastic gradient descent with momentum and coupled weight decay.
///
///     d = g + λ p
///     v ← d in the first step of a parameter, μ v + d after it
///     p ← p − η v,   or with Nesterov's momentum p ← p − η (d + μ v)
///
/// Source: Sutskever et al., "On the Importance of Initialization and Momentum in Deep Learning", ICML 2013, in the form
/// of PyTorch, where the learning rate stands outside the velocity.
public struct SGD: UpdateRule {
  /// μ, from 0 to 1; without momentum nothing is kept.
  public let momentum: Double
  /// Whether the gradient is taken as if the velocity had been followed already.
  public let isNesterov: Bool

  /// - Parameters:
  ///   - momentum: μ, in 0..<1.
  ///   - isNesterov: Only with momentum.
  public init(momentum: Double = 0, isNesterov: Bool = false) {
    require(0 <= momentum && momentum < 1, "a momentum of \(momentum)")
    require(!isNesterov || momentum > 0, "Nesterov's momentum of 0")
    (self.momentum, self.isNesterov) = (momentum, isNesterov)
  }

  /// The velocity v, if there is momentum.
  public var stateNames: [String] { momentum > 0 ? ["velocity"] : [] }

  /// One step.
  public func update(_ parameter: Tensor, gradient: Tensor, state: [Tensor], _ settings: UpdateSettings) {
    // The velocity is zeros at first, so that the first step needs no case of its own.
    Kernels.sgd(
      parameter, gradient, velocity: state.first, scale: settings.gradientScale,
      rate: Float(settings.learningRate), momentum: Float(momentum), decay: Float(settings.weightDecay),
      isNesterov: isNesterov)
  }
}
