import CKernels

extension Tensor {
  /// Adds another tensor of the same shape, in place where nobody else holds the elements.
  mutating func accumulate(_ other: Tensor) {
    require(shape == other.shape, "a gradient of shape \(other.shape) added to one of \(shape)")
    guard isUniquelyHeld() else {
      self = detached + other.detached
      return
    }
    let (target, source) = unsafe (Shared(base), Shared(other.base))
    Workers.forEachRange(rows: count, rowsPerChunk: Kernels.elementsPerChunk) { range in
      let start = range.lowerBound
      unsafe ck_add(
        target.pointer + start, source.pointer + start, target.pointer + start, range.count)
    }
  }

  /// The sum over the axes along which a tensor of `target` was repeated to get this shape: what broadcasting does to a
  /// gradient.
  func summed(to target: [Int]) -> Tensor {
    if shape == target { return self }
    if target.reduce(1, *) == 1 { return total().reshaped(to: target) }
    let kept = Array(target.drop { $0 == 1 })
    if shape.suffix(kept.count) == kept[...] {
      let width = kept.reduce(1, *)
      return Kernels.columnSums(reshaped(to: [count / max(width, 1), width])).reshaped(to: target)
    }
    return Kernels.broadcastSum(self, to: target)
  }

  /// The sum of all elements, a scalar; added up in Float64 over fixed pieces.
  public func total() -> Tensor {
    let sum = Kernels.total(self)
    let shape = shape
    return Tensor(scalar: Float(sum)).recorded(from: [self]) { gradient, _ in
      [Tensor(zeros: shape) + gradient]
    }
  }

  /// The mean of all elements, a scalar.
  public func mean() -> Tensor {
    require(count > 0, "the mean of no elements")
    return (1 / Float(count)) * total()
  }
}

extension Kernels {
  /// Rows that one chunk of a column sum adds up.
  private static func rowsPerSum(columns: Int) -> Int { max(16, elementsPerChunk / max(columns, 1)) }

  /// Runs `body` over fixed pieces of rows, each with a row of zeros of its own to add to, and gives the sum of these
  /// rows: a sum over rows whose bits do not depend on the number of threads.
  static func sumOverRows(
    rows: Int, columns: Int, width: Int, _ body: @Sendable (Range<Int>, UnsafeMutablePointer<Float>) -> Void
  ) -> Tensor {
    let size = rowsPerSum(columns: columns)
    let pieces = max(1, (rows + size - 1) / size)
    let partial = Tensor(zeros: [pieces, width])
    let target = unsafe Shared(partial.base)
    Workers.forEachRange(rows: rows, rowsPerChunk: size) { range in
      unsafe body(range, target.pointer + range.lowerBound / size * width)
    }
    for piece in 1..<max(pieces, 1) {
      unsafe ck_add(partial.base, partial.base + piece * width, partial.base, width)
    }
    return partial.slice(0..<1).reshaped(to: [width])
  }

  /// The sum of all rows of a matrix, `[columns]`.
  static func columnSums(_ input: Tensor) -> Tensor {
    let columns = input.columns
    let source = unsafe Shared(input.base)
    return unsafe sumOverRows(rows: input.rows, columns: columns, width: columns) { range, target in
      for row in range { unsafe ck_add(target, source.pointer + row * columns, target, columns) }
    }
  }

  /// The sum of all elements.
  static func total(_ input: Tensor) -> Double {
    let size = elementsPerChunk
    return stride(from: 0, to: input.count, by: size).reduce(0) { sum, start in
      unsafe sum + Double(ck_sum(input.base + start, min(size, input.count - start)))
    }
  }

  /// The general case of `Tensor.summed`: axes of size 1 anywhere.
  static func broadcastSum(_ input: Tensor, to target: [Int]) -> Tensor {
    let output = Tensor(zeros: target)
    let strides = broadcastStrides(target, to: input.shape)
    let outer = Array(input.shape.dropLast())
    let columns = input.columns
    for row in 0..<input.rows {
      let (start, _) = offsets(of: row, outer, strides, strides)
      let line = unsafe input.base + row * columns
      if strides.last == 0 {
        unsafe output.base[start] += unsafe ck_sum(line, columns)
      } else {
        unsafe ck_add(output.base + start, line, output.base + start, columns)
      }
    }
    return output
  }

  /// The gradients of silu(gate) · up.
  static func siluMultiplyGradients(gate: Tensor, up: Tensor, _ gradient: Tensor) -> (Tensor, Tensor) {
    let (gateOutput, upOutput) = (Tensor(uninitialized: gate.shape), Tensor(uninitialized: up.shape))
    let (a, b, g) = unsafe (Shared(gate.base), Shared(up.base), Shared(gradient.base))
    let (first, second) = unsafe (Shared(gateOutput.base), Shared(upOutput.base))
    Workers.forEachRange(rows: gate.count, rowsPerChunk: elementsPerChunk) { range in
      let start = range.lowerBound
      unsafe ck_silu_multiply_gradient(
        a.pointer + start, b.pointer + start, g.pointer + start, first.pointer + start,
        second.pointer + start,
        range.count)
    }
    return (gateOutput, upOutput)
  }

  /// See `Tensor.dropout`.
  static func dropout(_ input: Tensor, rate: Float, key: UInt64) -> Tensor {
    let output = Tensor(uninitialized: input.shape)
    let (source, target) = unsafe (Shared(input.base), Shared(output.base))
    let threshold = UInt32(min(Double(rate) * 0x1p32, 0x1p32 - 1))
    Workers.forEachRange(rows: input.count, rowsPerChunk: elementsPerChunk) { range in
      let start = range.lowerBound
      unsafe ck_dropout(
        source.pointer + start, key, UInt64(start), threshold, 1 / (1 - rate), target.pointer + start,
        range.count)
    }
    return output
  }
}
