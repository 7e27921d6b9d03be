import CKernels

extension Kernels {
  /// A rotated copy; see `Tensor.rotated`.
  static func rotate(_ input: Tensor, cosine: Tensor, sine: Tensor) -> Tensor {
    let output = Tensor(uninitialized: input.shape)
    let (columns, half) = (input.columns, cosine.columns)
    let (source, target) = unsafe (Shared(input.base), Shared(output.base))
    let (cosines, sines) = unsafe (Shared(cosine.base), Shared(sine.base))
    Workers.forEachRange(rows: input.rows, rowsPerChunk: rowsPerChunk(columns: columns)) { range in
      for row in range {
        let result = unsafe target.pointer + row * columns
        unsafe result.update(from: source.pointer + row * columns, count: columns)
        for start in stride(from: 0, to: columns, by: 2 * half) {
          unsafe ck_rotate_half(
            result + start, cosines.pointer + row * half, sines.pointer + row * half, half)
        }
      }
    }
    return output
  }
}
