import CKernels

extension Kernels {
  /// One tile of a linear map: rows of the input times a panel of rows of the weight.
  private struct Tile {
    let rows: Range<Int>
    let panel: Range<Int>
  }

  /// x Wᵀ in tiles that depend on the segment and the weight alone.
  static func linear(_ x: Tensor, _ weight: LinearWeight, _ segments: RowSegments) -> Tensor {
    let (inner, columns) = (weight.inputSize, weight.outputSize)
    let output = Tensor(uninitialized: [x.rows, columns])
    let tiles = tiles(of: segments, columns: columns)
    let (source, target) = unsafe (Shared(x.base), Shared(output.base))
    Workers.forEachChunk(tiles.count) { index in
      let tile = tiles[index]
      let input = unsafe source.pointer + tile.rows.lowerBound * inner
      let result = unsafe target.pointer + tile.rows.lowerBound * columns + tile.panel.lowerBound
      if tile.rows.count == 1 {
        unsafe multiply(input, by: weight, panel: tile.panel, into: result)
      } else {
        unsafe withPanel(weight, tile.panel) { panel in
          unsafe gemm(
            input, transposed: false, leading: max(inner, 1), panel, transposed: true, leading: max(inner, 1),
            result, leading: columns, rows: tile.rows.count, columns: tile.panel.count, inner: inner)
        }
      }
    }
    return output
  }

  /// Long segments take panels of 512 weight rows, short ones 128, a single row 64 (spike.md, decision 6).
  private static func tiles(of segments: RowSegments, columns: Int) -> [Tile] {
    var tiles: [Tile] = []
    for segment in 0..<segments.count {
      let rows = segments[segment]
      let panelSize = rows.count == 1 ? 64 : rows.count <= 64 ? 128 : tileColumns
      for rowStart in stride(from: rows.lowerBound, to: rows.upperBound, by: tileRows) {
        for column in stride(from: 0, to: columns, by: panelSize) {
          tiles.append(
            Tile(
              rows: rowStart..<min(rowStart + tileRows, rows.upperBound),
              panel: column..<min(column + panelSize, columns)))
        }
      }
    }
    return tiles
  }

  /// Calls `body` with rows `range` of a weight as float32: in place where they are stored so, else converted.
  private static func withPanel(
    _ weight: LinearWeight, _ range: Range<Int>, _ body: (UnsafePointer<Float>) -> Void
  ) {
    switch weight.storage {
    case .dense(let tensor): unsafe body(tensor.base + range.lowerBound * weight.inputSize)
    case .stored(let stored):
      let count = range.count * weight.inputSize
      let panel = TensorStorage(uninitialized: count)
      unsafe stored.storage.withUnsafeBytes { bytes in
        guard let start = bytes.baseAddress, count > 0 else { return }
        let first = range.lowerBound * weight.inputSize * stored.elementType.byteCount
        unsafe convert(start + first, stored.elementType, to: panel.pointer, count: count)
      }
      unsafe body(panel.pointer)
      // The panel must outlive the product.
      withExtendedLifetime(panel) {}
    }
  }

  /// One row times a panel: a dot product for each weight row, read once in its stored type.
  private static func multiply(
    _ input: UnsafePointer<Float>, by weight: LinearWeight, panel: Range<Int>,
    into result: UnsafeMutablePointer<Float>
  ) {
    let inner = weight.inputSize
    switch weight.storage {
    case .dense(let tensor):
      for (position, row) in panel.enumerated() {
        unsafe result[position] = unsafe ck_dot_f32(tensor.base + row * inner, input, inner)
      }
    case .stored(let stored):
      unsafe stored.storage.withUnsafeBytes { bytes in
        guard let start = bytes.baseAddress else { return }
        let size = stored.elementType.byteCount
        for (position, row) in panel.enumerated() {
          let weights = unsafe start + row * inner * size
          switch stored.elementType {
          case .bf16: unsafe result[position] = unsafe ck_dot_bf16(weights, input, inner)
          case .f16: unsafe result[position] = unsafe ck_dot_f16(weights, input, inner)
          default: unsafe result[position] = unsafe ck_dot_f32(weights, input, inner)
          }
        }
      }
    }
  }

  /// Stored f32, f16 or bf16 elements to float32, from any address.
  static func convert(
    _ source: UnsafeRawPointer, _ type: ElementType, to target: UnsafeMutablePointer<Float>, count: Int
  ) {
    switch type {
    case .bf16: unsafe ck_convert_bf16(source, target, count)
    case .f16: unsafe ck_convert_f16(source, target, count)
    default: unsafe UnsafeMutableRawPointer(target).copyMemory(from: source, byteCount: count * 4)
    }
  }

  /// Rows of a weight, converted.
  static func rows(_ ids: [Int], of weight: LinearWeight) -> Tensor {
    let columns = weight.inputSize
    let output = Tensor(uninitialized: [ids.count, columns])
    for (row, id) in ids.enumerated() {
      unsafe withPanel(weight, id..<id + 1) { source in
        unsafe (output.base + row * columns).update(from: source, count: columns)
      }
    }
    return output
  }
}
