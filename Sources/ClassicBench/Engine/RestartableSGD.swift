import Synchronization
import TensorCore

/// SGD whose momentum can be forgotten at a step: v ← d in place of μ v + d for every parameter that moves then.
///
/// Whether a step restarts depends on the step alone, so that a resumed run restarts likewise.
final class RestartableSGD: UpdateRule {
  private let usual: SGD
  private let restarting = SGD(momentum: 0)
  private let isRestarting = Mutex(false)

  /// - Parameter momentum: μ, in 0..<1.
  init(momentum: Double) { usual = SGD(momentum: momentum) }

  /// Says whether the next step restarts.
  func prepare(restarts: Bool) { isRestarting.withLock { $0 = restarts } }

  var stateNames: [String] { usual.stateNames }

  func update(_ parameter: Tensor, gradient: Tensor, state: [Tensor], _ settings: UpdateSettings) {
    // Without momentum the rule still writes the velocity it is given.
    (isRestarting.withLock { $0 } ? restarting : usual)
      .update(parameter, gradient: gradient, state: state, settings)
  }
}
