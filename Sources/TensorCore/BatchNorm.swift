/// Batch norm over all axes but the innermost, (x − mean) / √(variance + ε) · weight + bias for each channel.
///
/// Source: Ioffe and Szegedy, "Batch Normalization", ICML 2015, arXiv:1502.03167, algorithms 1 and 2.
public struct BatchNorm: Sendable {
  /// What a batch norm remembers of the batches it was trained on: values, which every training step replaces.
  public struct Buffers: Sendable, Equatable {
    /// `[channels]`.
    public var mean: Tensor
    /// `[channels]`, of single numbers: the sums of squares are divided by their count less 1.
    public var variance: Tensor

    /// - Parameters:
    ///   - mean: `[channels]`.
    ///   - variance: `[channels]`.
    public init(mean: Tensor, variance: Tensor) { (self.mean, self.variance) = (mean, variance) }

    /// What a new layer starts with: mean 0 and variance 1.
    public init(channels: Int) {
      self.init(mean: Tensor(zeros: [channels]), variance: Tensor(repeating: 1, shape: [channels]))
    }
  }

  /// What is added to the variance.
  public let epsilon: Float
  /// The share of a new batch in the buffers, in 0...1.
  public let momentum: Float

  /// - Parameters:
  ///   - epsilon: Above 0.
  ///   - momentum: In 0...1.
  public init(epsilon: Float = 1e-5, momentum: Float = 0.1) {
    require(
      epsilon > 0 && 0...1 ~= momentum, "a batch norm with epsilon \(epsilon) and momentum \(momentum)")
    (self.epsilon, self.momentum) = (epsilon, momentum)
  }

  /// Normalises by the statistics of this batch.
  ///
  /// The variance that divides is that of the batch (sum of squares over the count); the buffers take the unbiased one.
  ///
  /// - Parameters:
  ///   - x: `[…, channels]`, at least two rows.
  ///   - weight: `[channels]`.
  ///   - bias: `[channels]`.
  ///   - buffers: Those before this step.
  ///   - added: Of the shape of x, added to the normalised numbers, such as what goes past a residual block.
  ///   - isRectified: Whether negative results become 0; quicker than `relu()` afterwards, with the same numbers.
  /// - Returns: The output, and the buffers after this step, (1 − momentum) · old + momentum · new.
  public func train(
    _ x: Tensor, weight: Tensor, bias: Tensor, buffers: Buffers, adding added: Tensor? = nil,
    isRectified: Bool = false
  ) -> (output: Tensor, buffers: Buffers) {
    check(x, weight, bias, buffers)
    require(x.rows > 1, "a batch norm of \(x.rows) rows has no variance")
    let statistics = Kernels.channelStatistics(x)
    let output = normalized(
      x, weight, bias, Buffers(mean: statistics.mean, variance: statistics.variance), added,
      isRectified: isRectified, isConstant: false)
    let unbiased = Float(Double(x.rows) / Double(x.rows - 1)) * statistics.variance
    let updated = Buffers(
      mean: (1 - momentum) * buffers.mean + momentum * statistics.mean,
      variance: (1 - momentum) * buffers.variance + momentum * unbiased)
    return (output, updated)
  }

  /// Normalises by the buffers.
  ///
  /// - Parameters:
  ///   - x: `[…, channels]`.
  ///   - weight: `[channels]`.
  ///   - bias: `[channels]`.
  ///   - added: Of the shape of x, added to the normalised numbers.
  ///   - isRectified: Whether negative results become 0.
  public func evaluate(
    _ x: Tensor, weight: Tensor, bias: Tensor, buffers: Buffers, adding added: Tensor? = nil,
    isRectified: Bool = false
  ) -> Tensor {
    check(x, weight, bias, buffers)
    return normalized(
      x, weight, bias, buffers, added, isRectified: isRectified, isConstant: true)
  }

  /// - Parameter isConstant: Whether the statistics do not depend on x.
  private func normalized(
    _ x: Tensor, _ weight: Tensor, _ bias: Tensor, _ statistics: Buffers, _ added: Tensor?,
    isRectified: Bool, isConstant: Bool
  ) -> Tensor {
    require(
      added.map { $0.shape == x.shape } ?? true, "\(added?.shape ?? []) added to a batch norm of \(x.shape)")
    let input = x.detached
    let pass = Kernels.BatchNormPass(
      mean: statistics.mean.detached,
      inverse: Kernels.inverseDeviation(statistics.variance.detached, epsilon: epsilon),
      weight: weight.detached, bias: bias.detached, isRectified: isRectified)
    let output = Kernels.batchNorm(input, pass, adding: added?.detached)
    guard let added else {
      return output.recorded(from: [x, weight, bias]) { gradient, needs in
        let gradients = Kernels.batchNormGradients(
          gradient, input: input, pass, isConstant: isConstant, wantsInput: needs[0])
        return [gradients.input, gradients.weight, gradients.bias]
      }
    }
    // What was added decides with x where the output is 0, and takes the gradient that gets through.
    let plain = Kernels.BatchNormPass(
      mean: pass.mean, inverse: pass.inverse, weight: pass.weight, bias: pass.bias, isRectified: false)
    return output.recorded(from: [x, weight, bias, added]) { gradient, needs in
      let passed = isRectified ? Kernels.reluGradient(output, gradient) : gradient
      let gradients = Kernels.batchNormGradients(
        passed, input: input, plain, isConstant: isConstant, wantsInput: needs[0])
      return [gradients.input, gradients.weight, gradients.bias, passed]
    }
  }

  private func check(_ x: Tensor, _ weight: Tensor, _ bias: Tensor, _ buffers: Buffers) {
    require(
      [weight, bias, buffers.mean, buffers.variance].allSatisfy { $0.shape == [x.columns] },
      "a batch norm of \(weight.shape), \(bias.shape) with buffers \(buffers.mean.shape) for \(x.shape)")
  }
}

extension Tensor {
  /// max(x, 0) of every element.
  ///
  /// Source: Nair and Hinton, "Rectified Linear Units Improve Restricted Boltzmann Machines", ICML 2010.
  public func relu() -> Tensor {
    let input = detached
    return Kernels.relu(input).recorded(from: [self]) { gradient, _ in
      [Kernels.reluGradient(input, gradient)]
    }
  }
}
