import CKernels

/// Loops of the optimizers. They change tensors in place, which nothing else may do: only the tensors of a
/// `ParameterSet` and the state of an `Optimizer` come here, which nobody else refers to.
extension Kernels {
  /// Calls `body` with the same fixed pieces of several buffers of one size.
  private static func forEachPiece(_ count: Int, _ body: @Sendable (_ start: Int, _ count: Int) -> Void) {
    Workers.forEachRange(rows: count, rowsPerChunk: elementsPerChunk) { body($0.lowerBound, $0.count) }
  }

  /// Σ x², each piece and their total in Float64.
  static func sumOfSquares(_ tensor: Tensor) -> Double {
    let pieces = (tensor.count + elementsPerChunk - 1) / elementsPerChunk
    var sums = [Double](repeating: 0, count: pieces)
    let source = unsafe Shared(tensor.base)
    unsafe sums.withUnsafeMutableBufferPointer { buffer in
      guard let base = buffer.baseAddress else { return }
      let target = unsafe Shared(base)
      forEachPiece(tensor.count) { start, count in
        unsafe target.pointer[start / elementsPerChunk] = ck_sum_of_squares(source.pointer + start, count)
      }
    }
    return sums.reduce(0, +)
  }

  /// Every element brought into −limit...limit; NaN stays.
  static func clamped(_ tensor: Tensor, to limit: Float) -> Tensor {
    let output = Tensor(uninitialized: tensor.shape)
    let (source, target) = unsafe (Shared(tensor.base), Shared(output.base))
    forEachPiece(tensor.count) { start, count in
      unsafe ck_clamp(source.pointer + start, limit, target.pointer + start, count)
    }
    return output
  }

  /// target ← target + share (source − target).
  static func move(_ target: Tensor, towards source: Tensor, share: Float) {
    let (from, to) = unsafe (Shared(source.base), Shared(target.base))
    forEachPiece(target.count) { start, count in
      unsafe ck_move_towards(to.pointer + start, from.pointer + start, share, count)
    }
  }

  /// target ← source.
  static func overwrite(_ target: Tensor, with source: Tensor) {
    require(target.count == source.count, "\(source.shape) over \(target.shape)")
    unsafe target.base.update(from: source.base, count: source.count)
  }

  /// One step of stochastic gradient descent; see `SGD`.
  static func sgd(
    _ parameter: Tensor, _ gradient: Tensor, velocity: Tensor?, scale: Float, rate: Float, momentum: Float,
    decay: Float, isNesterov: Bool
  ) {
    let (p, g) = unsafe (Shared(parameter.base), Shared(gradient.base))
    guard let velocity else {
      forEachPiece(parameter.count) { start, count in
        unsafe ck_sgd_plain(p.pointer + start, g.pointer + start, scale, rate, decay, count)
      }
      return
    }
    let v = unsafe Shared(velocity.base)
    let loop = unsafe isNesterov ? ck_sgd_nesterov : ck_sgd
    forEachPiece(parameter.count) { start, count in
      unsafe loop(
        p.pointer + start, g.pointer + start, v.pointer + start, scale, rate, momentum, decay, count)
    }
  }

  /// The numbers of one step of Adam; see `Adam`.
  struct AdamStep: Sendable {
    var scale: Float
    var beta1: Float
    var beta2: Float
    /// The learning rate over 1 − β₁ᵗ.
    var rate: Float
    /// 1 / √(1 − β₂ᵗ).
    var rootCorrection: Float
    var epsilon: Float
    /// Weight decay that is added to the gradient.
    var decay: Float
    /// What is left of the parameter after decoupled weight decay.
    var keep: Float
  }

  /// One step of Adam; see `Adam`.
  static func adam(
    _ parameter: Tensor, _ gradient: Tensor, mean: Tensor, square: Tensor, _ step: AdamStep
  ) {
    let (p, g) = unsafe (Shared(parameter.base), Shared(gradient.base))
    let (m, s) = unsafe (Shared(mean.base), Shared(square.base))
    forEachPiece(parameter.count) { start, count in
      unsafe ck_adam(
        p.pointer + start, g.pointer + start, m.pointer + start, s.pointer + start, step.scale, step.beta1,
        step.beta2, step.rate, step.rootCorrection, step.epsilon, step.decay, step.keep, count)
    }
  }
}
