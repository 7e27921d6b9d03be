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
    return output
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
    return output
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
    return output
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
    return output
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
    return output
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
    return output
  }
}
