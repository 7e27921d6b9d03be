import CKernels

extension Kernels {
  typealias Unary = @convention(c) (UnsafePointer<Float>?, UnsafeMutablePointer<Float>?, Int) -> Void
  typealias Binary =
    @convention(c) (
      UnsafePointer<Float>?, UnsafePointer<Float>?, UnsafeMutablePointer<Float>?, Int
    ) -> Void

  /// Applies a C loop to every element.
  static func map(_ input: Tensor, _ loop: Unary) -> Tensor {
    let output = Tensor(uninitialized: input.shape)
    let (source, target) = unsafe (Shared(input.base), Shared(output.base))
    Workers.forEachRange(rows: input.count, rowsPerChunk: elementsPerChunk) { range in
      unsafe loop(source.pointer + range.lowerBound, target.pointer + range.lowerBound, range.count)
    }
    return output
  }

  /// Applies a C loop to the elements of two tensors, with NumPy's broadcasting.
  static func zip(_ left: Tensor, _ right: Tensor, _ loop: Binary) -> Tensor {
    if left.shape == right.shape {
      let output = Tensor(uninitialized: left.shape)
      let (a, b, target) = unsafe (Shared(left.base), Shared(right.base), Shared(output.base))
      Workers.forEachRange(rows: left.count, rowsPerChunk: elementsPerChunk) { range in
        let start = range.lowerBound
        unsafe loop(a.pointer + start, b.pointer + start, target.pointer + start, range.count)
      }
      return output
    }
    return unsafe zipBroadcasting(left, right, loop)
  }

  /// The general case: one call of the loop for each innermost row.
  private static func zipBroadcasting(_ left: Tensor, _ right: Tensor, _ loop: Binary) -> Tensor {
    let shape = broadcastShape(left.shape, right.shape)
    let output = Tensor(uninitialized: shape)
    guard output.count > 0 else { return output }
    let columns = output.columns
    let leftStrides = broadcastStrides(left.shape, to: shape)
    let rightStrides = broadcastStrides(right.shape, to: shape)
    let outer = Array(shape.dropLast())
    let (leftRepeats, rightRepeats) = (leftStrides.last == 0, rightStrides.last == 0)
    let (a, b, target) = unsafe (Shared(left.base), Shared(right.base), Shared(output.base))
    Workers.forEachRange(rows: output.rows, rowsPerChunk: max(1, elementsPerChunk / columns)) { range in
      // A value repeated along the innermost axis is spread once, so that the loops need no strides.
      var spread = leftRepeats || rightRepeats ? [Float](repeating: 0, count: columns) : []
      for row in range {
        let (leftStart, rightStart) = offsets(of: row, outer, leftStrides, rightStrides)
        let out = unsafe target.pointer + row * columns
        if leftRepeats && rightRepeats || columns == 1 {
          unsafe loop(a.pointer + leftStart, b.pointer + rightStart, out, 1)
          unsafe (out + 1).update(repeating: out[0], count: columns - 1)
        } else if leftRepeats {
          let value = unsafe a.pointer[leftStart]
          for index in 0..<columns { spread[index] = value }
          unsafe loop(spread, b.pointer + rightStart, out, columns)
        } else if rightRepeats {
          let value = unsafe b.pointer[rightStart]
          for index in 0..<columns { spread[index] = value }
          unsafe loop(a.pointer + leftStart, spread, out, columns)
        } else {
          unsafe loop(a.pointer + leftStart, b.pointer + rightStart, out, columns)
        }
      }
    }
    return output
  }

  /// The shape two shapes broadcast to: aligned at the innermost axis, a 1 stretches.
  static func broadcastShape(_ left: [Int], _ right: [Int]) -> [Int] {
    let rank = max(left.count, right.count)
    return (0..<rank).map { axis in
      let a = axis - (rank - left.count) < 0 ? 1 : left[axis - (rank - left.count)]
      let b = axis - (rank - right.count) < 0 ? 1 : right[axis - (rank - right.count)]
      require(a == b || a == 1 || b == 1, "shapes \(left) and \(right) do not broadcast")
      return a == 1 ? b : a
    }
  }

  /// Element strides of a tensor of `shape` seen as `target`; 0 where it repeats.
  static func broadcastStrides(_ shape: [Int], to target: [Int]) -> [Int] {
    var strides = [Int](repeating: 0, count: target.count)
    var stride = 1
    for axis in shape.indices.reversed() {
      let position = axis + target.count - shape.count
      strides[position] = shape[axis] == 1 && target[position] != 1 ? 0 : stride
      stride *= shape[axis]
    }
    return strides
  }

  /// Where row `row` of the outer axes lies in two tensors of these strides.
  static func offsets(
    of row: Int, _ outer: [Int], _ leftStrides: [Int], _ rightStrides: [Int]
  ) -> (Int, Int) {
    var (rest, left, right) = (row, 0, 0)
    for axis in outer.indices.reversed() {
      let index = rest % outer[axis]
      rest /= outer[axis]
      left += index * leftStrides[axis]
      right += index * rightStrides[axis]
    }
    return (left, right)
  }
}
