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
    return unsafe Kernels.mapRows(self) { source, target, count in unsafe ck_softmax(source, target, count) }
  }

  /// log softmax along the innermost axis.
  public func logSoftmax() -> Tensor {
    require(columns > 0, "log softmax of rows without elements")
    return unsafe Kernels.mapRows(self) { source, target, count in
      unsafe ck_add_scalar(source, -ck_log_sum_exp(source, count), target, count)
    }
  }

  /// log Σ exp(x) along the innermost axis; the axis is dropped.
  public func logSumExp() -> Tensor {
    require(columns > 0, "log-sum-exp of rows without elements")
    return unsafe Kernels.reduceRows(self) { source, count in unsafe ck_log_sum_exp(source, count) }
  }

  /// The cross-entropy −log softmax(self)[label] of each row.
  ///
  /// - Parameter labels: One class per row in `0..<columns`; a negative label marks a row without loss, which gives 0.
  /// - Returns: `[rows]`, in nats.
  public func crossEntropy(labels: [Int]) -> Tensor {
    let columns = columns
    require(labels.count == rows, "\(labels.count) labels for \(rows) rows")
    require(labels.allSatisfy { $0 < columns }, "a label is not below \(columns)")
    let output = Tensor(uninitialized: [rows])
    let (source, target) = unsafe (Shared(base), Shared(output.base))
    Workers.forEachRange(rows: rows, rowsPerChunk: Kernels.rowsPerChunk(columns: columns)) { range in
      for row in range {
        let logits = unsafe source.pointer + row * columns
        unsafe target.pointer[row] =
          labels[row] < 0 ? 0 : unsafe ck_log_sum_exp(logits, columns) - logits[labels[row]]
      }
    }
    return output
  }

  /// The sum of each innermost row; the axis is dropped.
  public func rowSums() -> Tensor {
    unsafe Kernels.reduceRows(self) { source, count in unsafe ck_sum(source, count) }
  }

  /// The largest element of each innermost row; the axis is dropped.
  public func rowMaxima() -> Tensor {
    require(columns > 0, "the largest of no elements")
    return unsafe Kernels.reduceRows(self) { source, count in unsafe ck_max(source, count) }
  }

  /// The mean of each innermost row; the axis is dropped.
  public func rowMeans() -> Tensor {
    require(columns > 0, "the mean of no elements")
    return unsafe Kernels.reduceRows(self) { source, count in unsafe ck_sum(source, count) / Float(count) }
  }

  /// Root-mean-square norm of each innermost row, x / √(mean x² + ε) · weight.
  ///
  /// Source: Zhang and Sennrich, "Root Mean Square Layer Normalization", 2019, arXiv:1910.07467, equation 4.
  ///
  /// - Parameter weight: `[columns]`.
  public func rmsNorm(weight: Tensor, epsilon: Float) -> Tensor {
    require(weight.count == columns, "a norm weight of \(weight.count) for rows of \(columns)")
    let scale = unsafe Shared(weight.base)
    return unsafe Kernels.mapRows(self) { source, target, count in
      unsafe ck_rms_norm(source, scale.pointer, epsilon, target, count)
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
    return unsafe Kernels.mapRows(self) { source, target, count in
      unsafe ck_layer_norm(source, scale.pointer, shift.pointer, epsilon, target, count)
    }
  }
}
