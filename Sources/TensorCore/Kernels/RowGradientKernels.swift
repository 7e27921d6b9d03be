import CKernels

extension Kernels {
  /// Applies a C loop to each pair of innermost rows.
  static func zipRows(_ left: Tensor, _ right: Tensor, _ loop: Binary) -> Tensor {
    let output = Tensor(uninitialized: left.shape)
    let columns = left.columns
    let (a, b, target) = unsafe (Shared(left.base), Shared(right.base), Shared(output.base))
    Workers.forEachRange(rows: left.rows, rowsPerChunk: rowsPerChunk(columns: columns)) { range in
      for row in range {
        let start = row * columns
        unsafe loop(a.pointer + start, b.pointer + start, target.pointer + start, columns)
      }
    }
    return output
  }

  /// factor · exp(row − shift) for each row: softmax times a number where the shift is the row's log-sum-exp.
  static func scaledSoftmax(_ input: Tensor, shifts: Tensor, factors: Tensor) -> Tensor {
    let output = Tensor(uninitialized: input.shape)
    let columns = input.columns
    let (source, target) = unsafe (Shared(input.base), Shared(output.base))
    let (shift, factor) = unsafe (Shared(shifts.base), Shared(factors.base))
    Workers.forEachRange(rows: input.rows, rowsPerChunk: rowsPerChunk(columns: columns)) { range in
      for row in range {
        unsafe ck_scaled_softmax(
          source.pointer + row * columns, shift.pointer[row], factor.pointer[row],
          target.pointer + row * columns, columns)
      }
    }
    return output
  }

  /// The largest logit of each row, and log Σ exp(logit − largest).
  static func logSums(_ logits: Tensor) -> (largest: Tensor, above: Tensor) {
    let largest = unsafe reduceRows(logits) { source, count in unsafe ck_max(source, count) }
    let above = Tensor(uninitialized: largest.shape)
    let columns = logits.columns
    let (source, shift, target) = unsafe (Shared(logits.base), Shared(largest.base), Shared(above.base))
    Workers.forEachRange(rows: logits.rows, rowsPerChunk: rowsPerChunk(columns: columns)) { range in
      for row in range {
        unsafe target.pointer[row] = unsafe ck_log_sum_exp_above(
          source.pointer + row * columns, shift.pointer[row], columns)
      }
    }
    return (largest, above)
  }

  /// log Σ exp − logit of the label, 0 where the label is negative.
  ///
  /// The largest logit is taken off before the logarithm is added: their sum would round a small loss away.
  static func labelLosses(_ logits: Tensor, _ sums: (largest: Tensor, above: Tensor), _ labels: [Int])
    -> Tensor
  {
    let losses = Tensor(uninitialized: [labels.count])
    for (row, label) in labels.enumerated() {
      unsafe losses.base[row] =
        label < 0
        ? 0 : sums.largest.base[row] - logits.base[row * logits.columns + label] + sums.above.base[row]
    }
    return losses
  }

  /// gradient · (softmax − one-hot label) for each row, 0 where the label is negative.
  static func crossEntropyGradient(
    _ logits: Tensor, _ sums: (largest: Tensor, above: Tensor), _ labels: [Int], _ gradient: Tensor
  ) -> Tensor {
    let output = Tensor(uninitialized: logits.shape)
    let columns = logits.columns
    let (source, target, factors) = unsafe (Shared(logits.base), Shared(output.base), Shared(gradient.base))
    let (largest, above) = unsafe (Shared(sums.largest.base), Shared(sums.above.base))
    Workers.forEachRange(rows: logits.rows, rowsPerChunk: rowsPerChunk(columns: columns)) { range in
      for row in range {
        let line = unsafe target.pointer + row * columns
        if labels[row] < 0 {
          unsafe line.update(repeating: 0, count: columns)
        } else {
          unsafe ck_cross_entropy_gradient(
            source.pointer + row * columns, largest.pointer[row], above.pointer[row], factors.pointer[row],
            labels[row], line, columns)
        }
      }
    }
    return output
  }

  /// The gradient of each row at its largest element, 0 elsewhere.
  static func maximumGradient(_ input: Tensor, maxima: Tensor, _ gradient: Tensor) -> Tensor {
    let output = Tensor(zeros: input.shape)
    let columns = input.columns
    for row in 0..<input.rows {
      let line = unsafe input.base + row * columns
      if let place = (0..<columns).first(where: { unsafe line[$0] == maxima.base[row] }) {
        unsafe output.base[row * columns + place] = unsafe gradient.base[row]
      }
    }
    return output
  }

  static func rmsNormGradients(
    _ input: Tensor, weight: Tensor, epsilon: Float, _ gradient: Tensor, needsWeight: Bool
  ) -> (input: Tensor, weight: Tensor?) {
    let output = Tensor(uninitialized: input.shape)
    let columns = input.columns
    let (source, scale) = unsafe (Shared(input.base), Shared(weight.base))
    let (given, target) = unsafe (Shared(gradient.base), Shared(output.base))
    let sums = unsafe sumOverRows(rows: input.rows, columns: columns, width: columns) { range, weightSum in
      for row in range {
        let start = row * columns
        unsafe ck_rms_norm_gradient(
          source.pointer + start, scale.pointer, epsilon, given.pointer + start, target.pointer + start,
          needsWeight ? weightSum : nil, columns)
      }
    }
    return (output, needsWeight ? sums.reshaped(to: weight.shape) : nil)
  }

  static func layerNormGradients(
    _ input: Tensor, weight: Tensor, epsilon: Float, _ gradient: Tensor, needsParameters: Bool
  ) -> (input: Tensor, weight: Tensor?, bias: Tensor?) {
    let output = Tensor(uninitialized: input.shape)
    let columns = input.columns
    let (source, scale) = unsafe (Shared(input.base), Shared(weight.base))
    let (given, target) = unsafe (Shared(gradient.base), Shared(output.base))
    let sums = unsafe sumOverRows(rows: input.rows, columns: columns, width: 2 * columns) { range, sums in
      for row in range {
        let start = row * columns
        unsafe ck_layer_norm_gradient(
          source.pointer + start, scale.pointer, epsilon, given.pointer + start, target.pointer + start,
          needsParameters ? sums : nil, needsParameters ? sums + columns : nil, columns)
      }
    }
    guard needsParameters else { return (output, nil, nil) }
    return (
      output, sums.slice(0..<columns).reshaped(to: weight.shape), sums.slice(columns..<2 * columns)
    )
  }
}
