import CKernels

extension Kernels {
  /// The most rows of the batch that share a panel of the weight, which is converted once for them: as many as leave
  /// enough panels for several threads.
  private static func rowsPerPanel(columns: Int) -> Int { columns >= 8 * tileColumns ? 1024 : tileRows }

  /// One piece of work: some rows of the input times a panel of rows of the weight.
  private struct Tile {
    /// Products of their own, so that no row depends on its neighbours in the batch.
    let parts: [Range<Int>]
    let panel: Range<Int>
  }

  /// x Wᵀ (+ bias) in tiles that depend on the segments and the weight alone.
  static func linear(
    _ x: Tensor, _ weight: LinearWeight, _ segments: RowSegments, bias: Tensor?
  ) -> Tensor {
    let (inner, columns) = (weight.inputSize, weight.outputSize)
    let output = Tensor(uninitialized: [x.rows, columns])
    let tiles = tiles(of: segments, columns: columns)
    let (source, target) = unsafe (Shared(x.base), Shared(output.base))
    Workers.forEachChunk(tiles.count, operations: x.rows * columns * inner) { index in
      let tile = tiles[index]
      if tile.parts.allSatisfy({ $0.count == 1 }) {
        unsafe multiplySingleRows(tile, source.pointer, weight, bias, into: target.pointer)
        return
      }
      unsafe withPanel(weight, tile.panel) { panel in
        for rows in tile.parts {
          let corner = unsafe target.pointer + rows.lowerBound * columns + tile.panel.lowerBound
          if let bias {
            unsafe repeatRow(
              bias.base + tile.panel.lowerBound, columns: tile.panel.count, rows: rows.count, to: corner,
              leading: columns)
          }
          unsafe gemm(
            source.pointer + rows.lowerBound * inner, transposed: false, leading: max(inner, 1),
            panel, transposed: true, leading: max(inner, 1), corner, leading: columns,
            rows: rows.count, columns: tile.panel.count, inner: inner, beta: bias == nil ? 0 : 1)
        }
      }
    }
    return output
  }

  /// Weight rows in a panel for a product of so many rows (spike.md, decision 6).
  private static func panelSize(rows: Int) -> Int { rows == 1 ? 64 : rows <= 64 ? 128 : tileColumns }

  private static func tiles(of segments: RowSegments, columns: Int) -> [Tile] {
    let limit = rowsPerPanel(columns: columns)
    var tiles: [Tile] = []
    var parts: [Range<Int>] = []
    func close() {
      guard let first = parts.first else { return }
      for panel in evenRanges(columns, limit: panelSize(rows: first.count)) {
        tiles.append(Tile(parts: parts, panel: panel))
      }
      parts = []
    }
    for segment in 0..<segments.count {
      let rows = segments[segment]
      for range in evenRanges(rows.count, limit: limit) {
        let part = rows.lowerBound + range.lowerBound..<rows.lowerBound + range.upperBound
        if let first = parts.first,
          panelSize(rows: first.count) != panelSize(rows: part.count)
            || part.upperBound - first.lowerBound > limit
        {
          close()
        }
        parts.append(part)
      }
    }
    close()
    return tiles
  }

  /// y W for a weight in a file, panel by panel of its rows.
  static func linearInputGradient(_ gradient: Tensor, _ weight: LinearWeight) -> Tensor {
    let (inner, columns) = (weight.inputSize, weight.outputSize)
    let output = Tensor(zeros: [gradient.rows, inner])
    let rowTiles = stride(from: 0, to: gradient.rows, by: tileRows).map {
      $0..<min($0 + tileRows, gradient.rows)
    }
    let columnTiles = evenRanges(inner, limit: tileColumns)
    let panels = evenRanges(columns, limit: tileColumns)
    let (source, target) = unsafe (Shared(gradient.base), Shared(output.base))
    // Panels come one after another, so that each element is one sum in their order; each is converted once.
    for panel in panels {
      unsafe withPanel(weight, panel) { rows in
        let rows = unsafe SharedConstant(rows)
        Workers.forEachChunk(
          rowTiles.count * columnTiles.count, operations: gradient.rows * panel.count * inner
        ) { index in
          let (rowTile, columnTile) = (
            rowTiles[index / columnTiles.count], columnTiles[index % columnTiles.count]
          )
          unsafe gemm(
            source.pointer + rowTile.lowerBound * columns + panel.lowerBound, transposed: false,
            leading: columns,
            rows.pointer + columnTile.lowerBound, transposed: false, leading: max(inner, 1),
            target.pointer + rowTile.lowerBound * inner + columnTile.lowerBound, leading: max(inner, 1),
            rows: rowTile.count, columns: columnTile.count, inner: panel.count, beta: 1)
        }
      }
    }
    return output
  }

  /// Calls `body` with rows `range` of a weight as float32: in place where they are stored so, else converted.
  private static func withPanel(
    _ weight: LinearWeight, _ range: Range<Int>, _ body: (UnsafePointer<Float>) -> Void
  ) {
    let (first, count) = (range.lowerBound * weight.inputSize, range.count * weight.inputSize)
    switch weight.storage {
    case .dense(let tensor): unsafe body(tensor.base + first)
    case .stored(let stored):
      unsafe stored.storage.withUnsafeBytes { bytes in
        guard let base = bytes.baseAddress, count > 0 else { return }
        let source = unsafe base + first * stored.elementType.byteCount
        if stored.elementType == .f32, UInt(bitPattern: source) % UInt(MemoryLayout<Float>.alignment) == 0 {
          unsafe body(source.assumingMemoryBound(to: Float.self))
        } else {
          let panel = TensorStorage(uninitialized: count)
          unsafe convert(source, stored.elementType, to: panel.pointer, count: count)
          unsafe body(panel.pointer)
          // The panel must outlive the product.
          withExtendedLifetime(panel) {}
        }
      }
    case .quantised(let matrix):
      let panel = TensorStorage(uninitialized: count)
      let (columns, group) = (matrix.columns, matrix.groupSize)
      let convert = unsafe matrix.bits == .eight ? ck_convert_q8 : ck_convert_q4
      unsafe withRows(of: matrix) { codes, scales in
        for (line, row) in range.enumerated() {
          unsafe convert(codes(row), scales(row), group, panel.pointer + line * columns, columns)
        }
      }
      unsafe body(panel.pointer)
      withExtendedLifetime(panel) {}
    }
  }

  /// Single rows times a panel: a dot product for each row and weight row, which is read once in its stored type.
  private static func multiplySingleRows(
    _ tile: Tile, _ source: UnsafePointer<Float>, _ weight: LinearWeight, _ bias: Tensor?,
    into target: UnsafeMutablePointer<Float>
  ) {
    let (inner, columns) = (weight.inputSize, weight.outputSize)
    OperationCount.add(2 * tile.parts.count * tile.panel.count * inner)
    func multiply(_ weights: UnsafeRawPointer, _ type: ElementType) {
      let dot = unsafe type == .bf16 ? ck_dot_bf16 : type == .f16 ? ck_dot_f16 : ck_dot_f32
      for column in tile.panel {
        let line = unsafe weights + column * inner * type.byteCount
        for rows in tile.parts {
          let sum = unsafe dot(line, source + rows.lowerBound * inner, inner)
          unsafe target[rows.lowerBound * columns + column] = sum + (bias.map { unsafe $0.base[column] } ?? 0)
        }
      }
    }
    switch weight.storage {
    case .dense(let tensor): unsafe multiply(tensor.base, .f32)
    case .stored(let stored):
      unsafe stored.storage.withUnsafeBytes { bytes in
        if let base = bytes.baseAddress { unsafe multiply(base, stored.elementType) }
      }
    case .quantised(let matrix):
      let dot = unsafe matrix.bits == .eight ? ck_dot_q8 : ck_dot_q4
      unsafe withRows(of: matrix) { codes, scales in
        for column in tile.panel {
          for rows in tile.parts {
            let sum = unsafe dot(
              codes(column), scales(column), matrix.groupSize, source + rows.lowerBound * inner, inner)
            unsafe target[rows.lowerBound * columns + column] =
              sum + (bias.map { unsafe $0.base[column] } ?? 0)
          }
        }
      }
    }
  }

  /// Calls `body` with the places of the codes and of the scales of a row.
  private static func withRows(
    of matrix: QuantisedMatrix,
    _ body: (_ codes: (Int) -> UnsafeRawPointer, _ scales: (Int) -> UnsafeRawPointer) -> Void
  ) {
    guard matrix.rows > 0 else { return }
    let codeBytes = matrix.columns * matrix.bits.rawValue / 8
    let scaleBytes = matrix.columns / matrix.groupSize * ElementType.f16.byteCount
    unsafe matrix.codes.storage.withUnsafeBytes { codes in
      unsafe matrix.scales.storage.withUnsafeBytes { scales in
        guard let codeBase = codes.baseAddress, let scaleBase = scales.baseAddress else { return }
        unsafe body({ unsafe codeBase + $0 * codeBytes }, { unsafe scaleBase + $0 * scaleBytes })
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
