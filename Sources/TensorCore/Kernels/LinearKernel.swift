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

  /// x Wᵀ (+ bias) as one product of all rows, in place where the weight is float32.
  static func joinedLinear(_ x: Tensor, _ weight: LinearWeight, bias: Tensor?) -> Tensor {
    let output = Tensor(uninitialized: [x.rows, weight.outputSize])
    let isDone = unsafe withFloats(weight) { matrix in
      unsafe multiply(
        x.base, transposed: false, leading: x.columns, matrix, transposed: true, leading: weight.inputSize,
        inner: weight.inputSize, into: output, bias: bias)
    }
    return isDone ? output : linear(x, weight, .single(x.rows), bias: bias)
  }

  /// y W: in place where the weight is float32, else panel by panel of its rows.
  static func linearInputGradient(_ gradient: Tensor, _ weight: LinearWeight) -> Tensor {
    let output = Tensor(uninitialized: [gradient.rows, weight.inputSize])
    let isDone = unsafe withFloats(weight) { matrix in
      unsafe multiply(
        gradient.base, transposed: false, leading: gradient.columns, matrix, transposed: false,
        leading: weight.inputSize, inner: weight.outputSize, into: output)
    }
    return isDone ? output : convertedInputGradient(gradient, weight)
  }

  /// Calls `body` with a weight that lies in memory or in its file as float32; false if it does not.
  private static func withFloats(_ weight: LinearWeight, _ body: (UnsafePointer<Float>) -> Void) -> Bool {
    switch weight.storage {
    case .dense(let tensor):
      unsafe body(tensor.base)
      return true
    case .stored(let stored) where stored.elementType == .f32:
      return unsafe stored.storage.withUnsafeBytes { bytes in
        guard let base = bytes.baseAddress,
          UInt(bitPattern: base) % UInt(MemoryLayout<Float>.alignment) == 0
        else { return false }
        unsafe body(base.assumingMemoryBound(to: Float.self))
        return true
      }
    default: return false
    }
  }

  /// Elements of a weight that are converted at a time.
  private static let convertedElements = 1 << 23

  /// y W for a weight of another type, panel by panel of its rows.
  private static func convertedInputGradient(_ gradient: Tensor, _ weight: LinearWeight) -> Tensor {
    let (inner, columns) = (weight.inputSize, weight.outputSize)
    let output = Tensor(uninitialized: [gradient.rows, inner])
    let limit = max(tileColumns, convertedElements / max(inner, 1))
    let panel = TensorStorage(uninitialized: min(limit, columns) * inner)
    // Panels come one after another, so that each element is one sum in their order; each is converted once.
    for range in evenRanges(columns, limit: limit) {
      let target = unsafe Shared(panel.pointer)
      Workers.forEachRange(rows: range.count, rowsPerChunk: 64) { part in
        let rows = range.lowerBound + part.lowerBound..<range.lowerBound + part.upperBound
        unsafe convertRows(rows, of: weight, to: target.pointer + part.lowerBound * inner)
      }
      unsafe multiply(
        gradient.base + range.lowerBound, transposed: false, leading: columns, panel.pointer,
        transposed: false, leading: inner, inner: range.count, into: output,
        isAdding: range.lowerBound > 0)
    }
    return output
  }

  /// Calls `body` with rows `range` of a weight as float32: in place where they are stored so, else converted.
  private static func withPanel(
    _ weight: LinearWeight, _ range: Range<Int>, _ body: (UnsafePointer<Float>) -> Void
  ) {
    let first = range.lowerBound * weight.inputSize
    let isDone = unsafe withFloats(weight) { unsafe body($0 + first) }
    if isDone || range.isEmpty { return }
    let panel = TensorStorage(uninitialized: range.count * weight.inputSize)
    unsafe convertRows(range, of: weight, to: panel.pointer)
    unsafe body(panel.pointer)
    // The panel must outlive the product.
    withExtendedLifetime(panel) {}
  }

  /// Rows of a weight as float32.
  private static func convertRows(
    _ range: Range<Int>, of weight: LinearWeight, to target: UnsafeMutablePointer<Float>
  ) {
    let columns = weight.inputSize
    switch weight.storage {
    case .dense(let tensor):
      unsafe target.update(from: tensor.base + range.lowerBound * columns, count: range.count * columns)
    case .stored(let stored):
      unsafe stored.storage.withUnsafeBytes { bytes in
        guard let base = bytes.baseAddress else { return }
        let source = unsafe base + range.lowerBound * columns * stored.elementType.byteCount
        unsafe convert(source, stored.elementType, to: target, count: range.count * columns)
      }
    case .quantised(let matrix):
      let convert = unsafe matrix.bits == .eight ? ck_convert_q8 : ck_convert_q4
      unsafe withRows(of: matrix) { codes, scales in
        for (line, row) in range.enumerated() {
          unsafe convert(codes(row), scales(row), matrix.groupSize, target + line * columns, columns)
        }
      }
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
