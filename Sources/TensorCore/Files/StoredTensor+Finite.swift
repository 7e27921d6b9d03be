extension StoredTensor {
  /// Whether every element is a finite number; integers are.
  ///
  /// Matrices are read in panels, so that a large one needs no copy of its own.
  ///
  /// - Throws: `StoredTensorError` for a type without floats.
  public func isFinite() throws -> Bool {
    guard elementType.isFloatingPoint else { return true }
    guard shape.count == 2, elementType != .f64, let columns = shape.last, columns > 0 else {
      return try doubles().allSatisfy(\.isFinite)
    }
    let matrix = try LinearWeight(self)
    defer { matrix.releasePages() }
    let rows = max(1, (1 << 20) / columns)
    for start in stride(from: 0, to: matrix.outputSize, by: rows) {
      let panel = matrix.panel(start..<min(matrix.outputSize, start + rows))
      if !panel.hostValues().allSatisfy(\.isFinite) { return false }
    }
    return true
  }
}

extension ShardedTensors {
  /// The first tensor that holds NaN or infinity, in the order of names; nil if none does.
  ///
  /// - Throws: `StoredTensorError`.
  public func firstNotFinite() throws -> StoredTensor? { try tensors.first { try !$0.isFinite() } }
}
