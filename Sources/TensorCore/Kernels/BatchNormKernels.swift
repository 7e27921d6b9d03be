import CKernels
import Glibc

extension Kernels {
  /// Mean and variance (over the count) of each column of `[…, columns]`.
  ///
  /// A chunk of rows has its sums of x and then of x − mean and its square while it is in the cache; the second pass also
  /// corrects the mean, which a sum of numbers far from 0 rounds. Chunks are joined in Float64 in their order.
  ///
  /// Source: Chan, Golub and LeVeque, "Updating formulae and a pairwise algorithm for computing sample variances", 1979,
  /// equation 2.1.
  static func channelStatistics(_ input: Tensor) -> (mean: Tensor, variance: Tensor) {
    let (rows, columns) = (input.rows, input.columns)
    let size = rowsPerChunk(columns: columns)
    let chunks = (rows + size - 1) / size
    let partial = Tensor(uninitialized: [chunks, 3, columns])
    let (source, target) = unsafe (Shared(input.base), Shared(partial.base))
    Workers.forEachRange(rows: rows, rowsPerChunk: size) { range in
      let start = unsafe source.pointer + range.lowerBound * columns
      let mean = unsafe target.pointer + range.lowerBound / size * 3 * columns
      unsafe ck_column_sums(start, range.count, columns, mean)
      unsafe ck_multiply_scalar(mean, 1 / Float(range.count), mean, columns)
      unsafe ck_column_moments(start, range.count, columns, mean, mean + columns, mean + 2 * columns)
    }
    let values = partial.hostValues()
    var means = [Double](repeating: 0, count: columns)
    var squares = means
    var count = 0.0
    for chunk in 0..<chunks {
      let added = Double(min(size, rows - chunk * size))
      let total = count + added
      for column in 0..<columns {
        let place = chunk * 3 * columns + column
        let (sum, square) = (Double(values[place + columns]), Double(values[place + 2 * columns]))
        let difference = Double(values[place]) + sum / added - means[column]
        squares[column] += square - sum * sum / added + difference * difference * count * added / total
        means[column] += difference * added / total
      }
      count = total
    }
    return (
      Tensor(means.map { Float($0) }, shape: [columns]),
      Tensor(squares.map { Float($0 / Double(max(rows, 1))) }, shape: [columns])
    )
  }

  /// 1 / √(variance + ε).
  static func inverseDeviation(_ variance: Tensor, epsilon: Float) -> Tensor {
    Tensor(
      variance.hostValues().map { Float(1 / (Double($0) + Double(epsilon)).squareRoot()) },
      shape: variance.shape)
  }

  /// A batch norm with fixed statistics, and what is done to its output at once.
  struct BatchNormPass: Sendable {
    let mean: Tensor
    /// 1 / σ.
    let inverse: Tensor
    let weight: Tensor
    let bias: Tensor
    /// Whether negative outputs become 0.
    let isRectified: Bool

    /// weight / σ.
    fileprivate var factor: Tensor { inverse * weight }
    /// What outputs are raised to.
    fileprivate var floor: Float { isRectified ? 0 : -.infinity }
  }

  /// (x − mean) · inverse · weight + bias + added.
  static func batchNorm(_ input: Tensor, _ pass: BatchNormPass, adding added: Tensor?) -> Tensor {
    let columns = input.columns
    let output = Tensor(uninitialized: input.shape)
    let (factor, floor) = (pass.factor, pass.floor)
    let (source, target) = unsafe (Shared(input.base), Shared(output.base))
    let (shifts, factors, biases) = unsafe (
      Shared(pass.mean.base), Shared(factor.base), Shared(pass.bias.base)
    )
    let others = added.map { unsafe Shared($0.base) }
    Workers.forEachRange(rows: input.rows, rowsPerChunk: rowsPerChunk(columns: columns)) { range in
      let offset = range.lowerBound * columns
      if let others {
        unsafe ck_scale_columns_added(
          source.pointer + offset, others.pointer + offset, range.count, columns, shifts.pointer,
          factors.pointer, biases.pointer, floor, target.pointer + offset)
      } else {
        unsafe ck_scale_columns(
          source.pointer + offset, range.count, columns, shifts.pointer, factors.pointer, biases.pointer,
          floor, target.pointer + offset)
      }
    }
    withExtendedLifetime(factor) {}
    return output
  }

  /// The gradients of input, weight and bias of a batch norm to which nothing was added:
  ///
  ///     db = Σ dy,    dw = Σ dy · x̂,    dx = w / σ · (dy − db / n − x̂ · dw / n),    x̂ = (x − mean) / σ
  ///
  /// with dy = 0 where a rectified output was not above 0, which is computed again from x.
  ///
  /// - Parameter isConstant: Whether mean and σ are buffers rather than functions of x: dx is w / σ · dy then.
  static func batchNormGradients(
    _ gradient: Tensor, input: Tensor, _ pass: BatchNormPass, isConstant: Bool, wantsInput: Bool
  ) -> (input: Tensor?, weight: Tensor, bias: Tensor) {
    let (rows, columns) = (input.rows, input.columns)
    let size = rowsPerChunk(columns: columns)
    let partial = Tensor(uninitialized: [(rows + size - 1) / size, 2 * columns])
    let (factor, floor) = (pass.factor, pass.floor)
    let (source, gradients) = unsafe (Shared(input.base), Shared(gradient.base))
    let (sums, shifts) = unsafe (Shared(partial.base), Shared(pass.mean.base))
    let (factors, biases) = unsafe (Shared(factor.base), Shared(pass.bias.base))
    Workers.forEachRange(rows: rows, rowsPerChunk: size) { range in
      let (offset, place) = (range.lowerBound * columns, range.lowerBound / size * 2 * columns)
      unsafe ck_column_products(
        gradients.pointer + offset, source.pointer + offset, range.count, columns, shifts.pointer,
        factors.pointer, biases.pointer, floor, sums.pointer + place, sums.pointer + place + columns)
    }
    let values = partial.hostValues()
    var totals = [Double](repeating: 0, count: 2 * columns)
    for chunk in 0..<partial.shape[0] {
      for column in totals.indices { totals[column] += Double(values[chunk * 2 * columns + column]) }
    }
    let (inverses, weights) = (
      pass.inverse.hostValues().map { Double($0) }, pass.weight.hostValues().map { Double($0) }
    )
    let channels = 0..<columns
    let weightGradient = tensor(channels.map { totals[columns + $0] * inverses[$0] })
    let biasGradient = tensor(channels.map { totals[$0] })
    guard wantsInput else { return (nil, weightGradient, biasGradient) }
    let count = isConstant ? Double.infinity : Double(max(rows, 1))
    let slope = tensor(channels.map { -weights[$0] * pow(inverses[$0], 3) * totals[columns + $0] / count })
    let constant = tensor(channels.map { -weights[$0] * inverses[$0] * totals[$0] / count })
    let output = Tensor(uninitialized: input.shape)
    let (slopes, constants) = unsafe (Shared(slope.base), Shared(constant.base))
    let target = unsafe Shared(output.base)
    Workers.forEachRange(rows: rows, rowsPerChunk: size) { range in
      let offset = range.lowerBound * columns
      unsafe ck_combine_columns(
        gradients.pointer + offset, source.pointer + offset, range.count, columns, factors.pointer,
        shifts.pointer, slopes.pointer, constants.pointer, biases.pointer, floor, target.pointer + offset)
    }
    withExtendedLifetime((factor, slope, constant)) {}
    return (output, weightGradient, biasGradient)
  }

  private static func tensor(_ values: [Double]) -> Tensor {
    Tensor(values.map { Float($0) }, shape: [values.count])
  }

  /// max(x, 0).
  static func relu(_ input: Tensor) -> Tensor { unsafe map(input, ck_relu) }

  /// The gradient where x > 0.
  static func reluGradient(_ input: Tensor, _ gradient: Tensor) -> Tensor {
    unsafe zip(input, gradient, ck_relu_backward)
  }
}
