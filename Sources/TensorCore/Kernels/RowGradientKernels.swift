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

  /// log Σ exp − logit of the label, 0 where the label is negative.
  static func labelLosses(_ logits: Tensor, _ logSums: Tensor, _ labels: [Int]) -> Tensor {
    let losses = Tensor(uninitialized: [labels.count])
    for (row, label) in labels.enumerated() {
      unsafe losses.base[row] =
        label < 0 ? 0 : logSums.base[row] - logits.base[row * logits.columns + label]
    }
    return losses
  }

  /// gradient · (softmax − one-hot label) for each row, 0 where the label is negative.
  static func crossEntropyGradient(
    _ logits: Tensor, _ logSums: Tensor, _ labels: [Int], _ gradient: Tensor
  ) -> Tensor {
    let factors = Tensor(uninitialized: [labels.count])
    for (row, label) in labels.enumerated() {
      unsafe factors.base[row] = label < 0 ? 0 : gradient.base[row]
    }
    let output = scaledSoftmax(logits, shifts: logSums, factors: factors)
    for (row, label) in labels.enumerated() {
      let line = unsafe output.base + row * logits.columns
      if label < 0 {
        // 0 times an infinite exponential is not a number.
        unsafe line.update(repeating: 0, count: logits.columns)
      } else {
        unsafe line[label] -= unsafe factors.base[row]
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
