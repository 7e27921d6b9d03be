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
    OperationCount.add(2 * rows * columns * inner)
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
    let (a, b) = (detached, other.detached)
    return Kernels.product(
      a, b, rows: rows, inner: inner, columns: columns, transposingSelf: transposingSelf,
      transposingOther: transposingOther
    ).recorded(from: [self, other]) { gradient, needs in
      // For C = A B the gradients are dA = dC Bᵀ and dB = Aᵀ dC; a transposed factor gets the transpose of its own.
      let first = { () -> Tensor in
        transposingSelf
          ? b.matmul(gradient, transposingSelf: transposingOther, transposingOther: true)
          : gradient.matmul(b, transposingOther: !transposingOther)
      }
      let second = { () -> Tensor in
        transposingOther
          ? gradient.matmul(a, transposingSelf: true, transposingOther: transposingSelf)
          : a.matmul(gradient, transposingSelf: !transposingSelf)
      }
      return [needs[0] ? first() : nil, needs[1] ? second() : nil]
    }
  }
}

extension Kernels {
  /// Sizes of the tiles of a product, from its shape alone. Every tile has its rows and columns copied into the order of
  /// OpenBLAS's loops, so that many tiles cost time: large outputs are cut in at least eight for many threads, small ones
  /// in four.
  private static func tileSizes(rows: Int, columns: Int) -> (rows: Int, columns: Int) {
    var (tileRows, tileColumns) = (1024, 1024)
    let enough = rows * columns >= 1 << 20 ? 8 : 4
    func count() -> Int {
      ((rows + tileRows - 1) / tileRows) * ((columns + tileColumns - 1) / tileColumns)
    }
    while count() < enough && max(tileRows, tileColumns) > 64 {
      if tileRows >= tileColumns { tileRows /= 2 } else { tileColumns /= 2 }
    }
    return (tileRows, tileColumns)
  }

  /// Writes a row into every row of a tile; a product with `beta` 1 then adds to it.
  static func repeatRow(
    _ row: UnsafePointer<Float>, columns: Int, rows: Int, to tile: UnsafeMutablePointer<Float>, leading: Int
  ) {
    for line in 0..<rows { unsafe (tile + line * leading).update(from: row, count: columns) }
  }

  /// See `Tensor.matmul`.
  ///
  /// - Parameter bias: `[columns]`, added to every row.
  static func product(
    _ left: Tensor, _ right: Tensor, bias: Tensor? = nil, rows: Int, inner: Int, columns: Int,
    transposingSelf: Bool = false, transposingOther: Bool = false
  ) -> Tensor {
    let output = Tensor(uninitialized: [rows, columns])
    unsafe multiply(
      left.base, transposed: transposingSelf, leading: left.shape[1],
      right.base, transposed: transposingOther, leading: right.shape[1], inner: inner, into: output,
      bias: bias)
    return output
  }

  /// Adds op(left) · op(right) to a tensor that nobody else holds.
  static func addProduct(
    _ left: Tensor, _ right: Tensor, transposingOther: Bool = false, to output: inout Tensor
  ) {
    require(output.isUniquelyHeld(), "a product added to a tensor that others hold")
    unsafe multiply(
      left.base, transposed: false, leading: left.shape[1], right.base, transposed: transposingOther,
      leading: right.shape[1], inner: left.shape[1], into: output, isAdding: true)
  }

  /// C = op(A) op(B) (+ bias), or C += op(A) op(B), in tiles that depend on the shape of C alone.
  static func multiply(
    _ left: UnsafePointer<Float>, transposed transA: Bool, leading lda: Int,
    _ right: UnsafePointer<Float>, transposed transB: Bool, leading ldb: Int, inner: Int,
    into output: Tensor, bias: Tensor? = nil, isAdding: Bool = false
  ) {
    let (rows, columns) = (output.shape[0], output.shape[1])
    let tile = tileSizes(rows: rows, columns: columns)
    let (lda, ldb) = (max(lda, 1), max(ldb, 1))
    let rowTiles = stride(from: 0, to: rows, by: tile.rows).map { $0..<min($0 + tile.rows, rows) }
    let columnTiles = evenRanges(columns, limit: tile.columns)
    let (a, b, c) = unsafe (SharedConstant(left), SharedConstant(right), Shared(output.base))
    Workers.forEachChunk(rowTiles.count * columnTiles.count, operations: rows * columns * inner) { tile in
      let (rowTile, columnTile) = (rowTiles[tile / columnTiles.count], columnTiles[tile % columnTiles.count])
      let (row, column) = (rowTile.lowerBound, columnTile.lowerBound)
      let corner = unsafe c.pointer + row * columns + column
      if let bias {
        unsafe repeatRow(
          bias.base + column, columns: columnTile.count, rows: rowTile.count, to: corner, leading: columns)
      }
      unsafe gemm(
        a.pointer + (transA ? row : row * lda), transposed: transA, leading: lda,
        b.pointer + (transB ? column * ldb : column), transposed: transB, leading: ldb,
        corner, leading: max(columns, 1), rows: rowTile.count, columns: columnTile.count, inner: inner,
        beta: bias == nil && !isAdding ? 0 : 1)
    }
  }
}
