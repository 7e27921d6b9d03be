import CKernels
import COpenBLAS

extension Kernels {
  /// Output tile of a matrix product: one single-threaded OpenBLAS call, never split along the inner size. Rows are cut
  /// at multiples of `tileRows`, columns into even parts of at most `tileColumns`.
  static let (tileRows, tileColumns) = (512, 512)

  /// `0..<count` in as few parts of at most `limit` as possible, of nearly the same size, so that threads end together.
  static func evenRanges(_ count: Int, limit: Int) -> [Range<Int>] {
    let parts = (count + limit - 1) / limit
    // A multiple of 16 keeps every part but the last free of the slower loops for a rest.
    let size = parts == 0 ? limit : ((count + parts - 1) / parts + 15) / 16 * 16
    return stride(from: 0, to: count, by: size).map { $0..<min($0 + size, count) }
  }

  /// One OpenBLAS call: C = op(A) op(B), row-major.
  static func gemm(
    _ a: UnsafePointer<Float>, transposed transA: Bool, leading lda: Int,
    _ b: UnsafePointer<Float>, transposed transB: Bool, leading ldb: Int,
    _ c: UnsafeMutablePointer<Float>, leading ldc: Int,
    rows: Int, columns: Int, inner: Int, beta: Float = 0
  ) {
    guard rows > 0, columns > 0 else { return }
    if inner == 0 {
      if beta == 0 { for row in 0..<rows { unsafe (c + row * ldc).update(repeating: 0, count: columns) } }
      return
    }
    unsafe cblas_sgemm(
      CblasRowMajor, transA ? CblasTrans : CblasNoTrans, transB ? CblasTrans : CblasNoTrans,
      blasint(rows), blasint(columns), blasint(inner), 1, a, blasint(lda), b, blasint(ldb), beta, c,
      blasint(ldc))
  }
}

extension Tensor {
  /// The matrix product op(self) · op(other).
  ///
  /// - Parameters:
  ///   - other: `[inner, columns]`, or `[columns, inner]` when `transposingOther`.
  ///   - transposingSelf: self is `[inner, rows]` instead of `[rows, inner]`.
  /// - Returns: `[rows, columns]`.
  public func matmul(
    _ other: Tensor, transposingSelf: Bool = false, transposingOther: Bool = false
  ) -> Tensor {
    require(rank == 2 && other.rank == 2, "matrix product of shapes \(shape) and \(other.shape)")
    let rows = shape[transposingSelf ? 1 : 0]
    let inner = shape[transposingSelf ? 0 : 1]
    let columns = other.shape[transposingOther ? 0 : 1]
    require(
      other.shape[transposingOther ? 1 : 0] == inner, "inner sizes differ: \(shape) and \(other.shape)")
    let output = Tensor(uninitialized: [rows, columns])
    let (lda, ldb) = (max(shape[1], 1), max(other.shape[1], 1))
    let rowTiles = stride(from: 0, to: rows, by: Kernels.tileRows).map {
      $0..<min($0 + Kernels.tileRows, rows)
    }
    let columnTiles = Kernels.evenRanges(columns, limit: Kernels.tileColumns)
    let (a, b, c) = unsafe (Shared(base), Shared(other.base), Shared(output.base))
    Workers.forEachChunk(rowTiles.count * columnTiles.count, operations: rows * columns * inner) { tile in
      let (rowTile, columnTile) = (rowTiles[tile / columnTiles.count], columnTiles[tile % columnTiles.count])
      let (row, column) = (rowTile.lowerBound, columnTile.lowerBound)
      unsafe Kernels.gemm(
        a.pointer + (transposingSelf ? row : row * lda), transposed: transposingSelf, leading: lda,
        b.pointer + (transposingOther ? column * ldb : column), transposed: transposingOther, leading: ldb,
        c.pointer + row * columns + column, leading: max(columns, 1),
        rows: rowTile.count, columns: columnTile.count, inner: inner)
    }
    return output
  }
}
