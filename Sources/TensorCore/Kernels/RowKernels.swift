import CKernels

extension Kernels {
  /// How many rows one chunk of a row kernel takes: enough work for a thread, independent of the thread count.
  static func rowsPerChunk(columns: Int) -> Int { max(1, elementsPerChunk / max(columns, 1)) }

  /// Maps each innermost row to a row of the same size.
  static func mapRows(
    _ input: Tensor, _ body: @Sendable (UnsafePointer<Float>, UnsafeMutablePointer<Float>, Int) -> Void
  ) -> Tensor {
    let output = Tensor(uninitialized: input.shape)
    let columns = input.columns
    let (source, target) = unsafe (Shared(input.base), Shared(output.base))
    Workers.forEachRange(rows: input.rows, rowsPerChunk: rowsPerChunk(columns: columns)) { range in
      for row in range {
        unsafe body(source.pointer + row * columns, target.pointer + row * columns, columns)
      }
    }
    return output
  }

  /// Reduces each innermost row to one number.
  static func reduceRows(
    _ input: Tensor, _ body: @Sendable (UnsafePointer<Float>, Int) -> Float
  ) -> Tensor {
    let output = Tensor(uninitialized: Array(input.shape.dropLast()))
    let columns = input.columns
    let (source, target) = unsafe (Shared(input.base), Shared(output.base))
    Workers.forEachRange(rows: input.rows, rowsPerChunk: rowsPerChunk(columns: columns)) { range in
      for row in range { unsafe target.pointer[row] = unsafe body(source.pointer + row * columns, columns) }
    }
    return output
  }
}

extension Tensor {
  /// exp(x − max) / Σ exp(x − max) along the innermost axis.
  public func softmax() -> Tensor {
    require(columns > 0, "softmax of rows without elements")
    let output = unsafe Kernels.mapRows(self) { source, target, count in
      unsafe ck_softmax(source, target, count)
    }
    return output.recorded(from: [self]) { gradient, _ in
      unsafe [Kernels.zipRows(output, gradient, ck_softmax_gradient)]
    }
  }

  /// log softmax along the innermost axis.
  public func logSoftmax() -> Tensor {
    require(columns > 0, "log softmax of rows without elements")
    let output = unsafe Kernels.mapRows(self) { source, target, count in
      unsafe ck_add_scalar(source, -ck_log_sum_exp(source, count), target, count)
    }
    return output.recorded(from: [self]) { gradient, _ in
      unsafe [Kernels.zipRows(output, gradient, ck_log_softmax_gradient)]
    }
  }

  /// log Σ exp(x) along the innermost axis; the axis is dropped.
  public func logSumExp() -> Tensor {
    require(columns > 0, "log-sum-exp of rows without elements")
    let input = detached
    let output = unsafe Kernels.reduceRows(self) { source, count in unsafe ck_log_sum_exp(source, count) }
    return output.recorded(from: [self]) { gradient, _ in
      [Kernels.scaledSoftmax(input, shifts: output, factors: gradient)]
    }
  }

  /// The cross-entropy −log softmax(self)[label] of each row.
  ///
  /// - Parameter labels: One class per row in `0..<columns`; a negative label marks a row without loss, which gives 0.
  /// - Returns: `[rows]`, in nats.
  public func crossEntropy(labels: [Int]) -> Tensor {
    let columns = columns
    require(labels.count == rows, "\(labels.count) labels for \(rows) rows")
    require(labels.allSatisfy { $0 < columns }, "a label is not below \(columns)")
    let input = detached
    let sums = Kernels.logSums(input)
    return Kernels.labelLosses(input, sums, labels).recorded(from: [self]) { gradient, _ in
      [Kernels.crossEntropyGradient(input, sums, labels, gradient)]
    }
  }

  /// The sum of each innermost row; the axis is dropped.
  public func rowSums() -> Tensor {
    let shape = shape
    return unsafe Kernels.reduceRows(self) { source, count in unsafe ck_sum(source, count) }
      .recorded(from: [self]) { gradient, _ in
        [Tensor(zeros: shape) + gradient.reshaped(to: gradient.shape + [1])]
      }
  }

  /// The largest element of each innermost row; the axis is dropped. Its gradient goes to the first of equal ones.
  public func rowMaxima() -> Tensor {
    require(columns > 0, "the largest of no elements")
    let input = detached
    let output = unsafe Kernels.reduceRows(self) { source, count in unsafe ck_max(source, count) }
    return output.recorded(from: [self]) { gradient, _ in
      [Kernels.maximumGradient(input, maxima: output, gradient)]
    }
  }

  /// The mean of each innermost row; the axis is dropped.
  public func rowMeans() -> Tensor {
    require(columns > 0, "the mean of no elements")
    let shape = shape
    return unsafe Kernels.reduceRows(self) { source, count in unsafe ck_sum(source, count) / Float(count) }
      .recorded(from: [self]) { gradient, _ in
        let share = gradient * Tensor(scalar: 1 / Float(shape.last ?? 1))
        return [Tensor(zeros: shape) + share.reshaped(to: gradient.shape + [1])]
      }
  }

  /// Root-mean-square norm of each innermost row, x / √(mean x² + ε) · weight.
  ///
  /// Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019, arXiv:1910.07467, equation 4.
  ///
  /// - Parameter weight: `[columns]`.
  public func rmsNorm(weight: Tensor, epsilon: Float) -> Tensor {
    require(weight.count == columns, "a norm weight of \(weight.count) for rows of \(columns)")
    let scale = unsafe Shared(weight.base)
    let output = unsafe Kernels.mapRows(self) { source, target, count in
      unsafe ck_rms_norm(source, scale.pointer, epsilon, target, count)
    }
    let (input, weights) = (detached, weight.detached)
    return output.recorded(from: [self, weight]) { gradient, needs in
      let gradients = Kernels.rmsNormGradients(
        input, weight: weights, epsilon: epsilon, gradient, needsWeight: needs[1])
      return [gradients.input, gradients.weight]
    }
  }

  /// Layer norm of each innermost row, (x − mean) / √(variance + ε) · weight + bias.
  ///
  /// Source: Ba et al., "Layer Normalization", 2016, arXiv:1607.06450, equation 4.
  ///
  /// - Parameters:
  ///   - weight: `[columns]`.
  ///   - bias: `[columns]`.
  public func layerNorm(weight: Tensor, bias: Tensor, epsilon: Float) -> Tensor {
    require(
      weight.count == columns && bias.count == columns, "a norm of \(weight.count) for rows of \(columns)")
    let (scale, shift) = unsafe (Shared(weight.base), Shared(bias.base))
    let output = unsafe Kernels.mapRows(self) { source, target, count in
      unsafe ck_layer_norm(source, scale.pointer, shift.pointer, epsilon, target, count)
    }
    let (input, weights, biasShape) = (detached, weight.detached, bias.shape)
    return output.recorded(from: [self, weight, bias]) { gradient, needs in
      let gradients = Kernels.layerNormGradients(
        input, weight: weights, epsilon: epsilon, gradient, needsParameters: needs[1] || needs[2])
      return [gradients.input, gradients.weight, gradients.bias?.reshaped(to: biasShape)]
    }
  }
}
