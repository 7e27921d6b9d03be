import CKernels

extension Tensor {
  /// Tensors one after another along the outermost axis.
  ///
  /// - Parameter parts: At least one; all axes but the outermost must agree.
  public static func concatenated(_ parts: [Tensor]) -> Tensor {
    require(!parts.isEmpty, "nothing to concatenate")
    let inner = Array(parts[0].shape.dropFirst())
    require(
      parts.allSatisfy { $0.rank > 0 && Array($0.shape.dropFirst()) == inner },
      "shapes \(parts.map(\.shape)) do not concatenate")
    let output = Tensor(uninitialized: [parts.reduce(0) { $0 + $1.shape[0] }] + inner)
    var position = 0
    for part in parts {
      unsafe (output.base + position).update(from: part.base, count: part.count)
      position += part.count
    }
    let sizes = parts.map { $0.shape[0] }
    return output.recorded(from: parts) { gradient, _ in gradient.split(sizes: sizes) }
  }

  /// Tensors side by side along the innermost axis.
  public static func concatenatedColumns(_ parts: [Tensor]) -> Tensor {
    require(!parts.isEmpty, "nothing to concatenate")
    let outer = Array(parts[0].shape.dropLast())
    require(
      parts.allSatisfy { $0.rank > 0 && Array($0.shape.dropLast()) == outer },
      "shapes \(parts.map(\.shape)) do not stand side by side")
    let columns = parts.reduce(0) { $0 + $1.columns }
    let output = Tensor(uninitialized: outer + [columns])
    var start = 0
    for part in parts {
      let width = part.columns
      for row in 0..<part.rows {
        unsafe (output.base + row * columns + start).update(from: part.base + row * width, count: width)
      }
      start += width
    }
    let widths = parts.map(\.columns)
    return output.recorded(from: parts) { gradient, needs in
      var start = 0
      return zip(widths, needs).map { width, isNeeded in
        defer { start += width }
        return isNeeded ? gradient.columns(start..<start + width) : nil
      }
    }
  }

  /// Pieces of the given sizes along the outermost axis, without a copy.
  public func split(sizes: [Int]) -> [Tensor] {
    require(rank > 0 && sizes.reduce(0, +) == shape[0], "sizes \(sizes) do not add up to \(shape)")
    var start = 0
    return sizes.map { size in
      defer { start += size }
      return slice(start..<start + size)
    }
  }

  /// Columns `range` of the innermost axis, copied.
  public func columns(_ range: Range<Int>) -> Tensor {
    require(range.lowerBound >= 0 && range.upperBound <= columns, "columns \(range) of shape \(shape)")
    let (width, rows) = (columns, rows)
    let output = Tensor(uninitialized: shape.dropLast() + [range.count])
    for row in 0..<rows {
      unsafe (output.base + row * range.count).update(
        from: base + row * width + range.lowerBound, count: range.count)
    }
    let outer = Array(shape.dropLast())
    return output.recorded(from: [self]) { gradient, _ in
      [
        .concatenatedColumns([
          Tensor(zeros: outer + [range.lowerBound]), gradient,
          Tensor(zeros: outer + [width - range.upperBound]),
        ])
      ]
    }
  }

  /// The rows of the outermost axis at `indices`, in that order; repeats are allowed.
  public func gatherRows(_ indices: [Int]) -> Tensor {
    require(rank > 0, "a scalar has no rows")
    let stride = shape.dropFirst().reduce(1, *)
    let output = Tensor(uninitialized: [indices.count] + shape.dropFirst())
    for (row, index) in indices.enumerated() {
      require(index >= 0 && index < shape[0], "row \(index) of shape \(shape)")
      unsafe (output.base + row * stride).update(from: base + index * stride, count: stride)
    }
    let shape = shape
    return output.recorded(from: [self]) { gradient, _ in
      [Tensor(zeros: shape).addingRows(gradient, at: indices)]
    }
  }

  /// A copy to whose rows `indices` of the outermost axis the rows of `rows` are added, in that order; repeats add up.
  public func addingRows(_ rows: Tensor, at indices: [Int]) -> Tensor {
    let stride = shape.dropFirst().reduce(1, *)
    require(rows.count == indices.count * stride, "\(rows.shape) for \(indices.count) rows of \(shape)")
    let output = Tensor(uninitialized: shape)
    unsafe output.base.update(from: base, count: count)
    for (row, index) in indices.enumerated() {
      require(index >= 0 && index < shape[0], "row \(index) of shape \(shape)")
      let target = unsafe output.base + index * stride
      unsafe ck_add(target, rows.base + row * stride, target, stride)
    }
    let rowsShape = rows.shape
    return output.recorded(from: [self, rows]) { gradient, needs in
      [gradient, needs[1] ? gradient.gatherRows(indices).reshaped(to: rowsShape) : nil]
    }
  }

  /// A copy in which rows `indices` of the outermost axis are replaced by the rows of `rows`.
  public func replacingRows(_ indices: [Int], with rows: Tensor) -> Tensor {
    let stride = shape.dropFirst().reduce(1, *)
    require(rows.count == indices.count * stride, "\(rows.shape) for \(indices.count) rows of \(shape)")
    let output = Tensor(uninitialized: shape)
    unsafe output.base.update(from: base, count: count)
    for (row, index) in indices.enumerated() {
      require(index >= 0 && index < shape[0], "row \(index) of shape \(shape)")
      unsafe (output.base + index * stride).update(from: rows.base + row * stride, count: stride)
    }
    let rowsShape = rows.shape
    return output.recorded(from: [self, rows]) { gradient, needs in
      [
        needs[0]
          ? gradient.replacingRows(indices, with: Tensor(zeros: [indices.count] + gradient.shape.dropFirst()))
          : nil,
        // Of rows that were replaced twice the last one stands.
        needs[1] ? gradient.gatherRows(indices).keepingLast(of: indices).reshaped(to: rowsShape) : nil,
      ]
    }
  }

  /// Rows with 0 where the same index comes again later.
  private func keepingLast(of indices: [Int]) -> Tensor {
    var seen: Set<Int> = []
    let repeated = indices.indices.reversed().filter { !seen.insert(indices[$0]).inserted }
    if repeated.isEmpty { return self }
    return replacingRows(Array(repeated), with: Tensor(zeros: [repeated.count] + shape.dropFirst()))
  }

  /// The transpose of a matrix, copied.
  public func transposed() -> Tensor {
    require(rank == 2, "the transpose of shape \(shape)")
    let (rows, columns) = (shape[0], shape[1])
    let output = Tensor(uninitialized: [columns, rows])
    let (source, target) = unsafe (Shared(base), Shared(output.base))
    Workers.forEachRange(rows: columns, rowsPerChunk: Kernels.rowsPerChunk(columns: rows)) { range in
      for column in range {
        for row in 0..<rows {
          unsafe target.pointer[column * rows + row] = unsafe source.pointer[row * columns + column]
        }
      }
    }
    return output.recorded(from: [self]) { gradient, _ in [gradient.transposed()] }
  }
}
