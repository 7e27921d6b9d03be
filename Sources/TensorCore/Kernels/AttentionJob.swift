import CKernels

/// One attention call: its inputs, the plan of blocks, and where results go.
///
/// A block of queries of one head of one sequence is one piece of work; pieces write disjoint rows.
struct AttentionJob: @unchecked Sendable {
  let shape: Attention
  let queries: Tensor
  let keys: Tensor
  let values: Tensor
  let sequences: [AttentionSequence]
  let visible: [[VisibleKeys]]
  let request: AttentionRequest
  let knockouts: [AttentionKnockout]
  let edit: AttentionEdit?
  let output: Tensor
  /// Places of reported query rows in the statistics, −1 for rows that are not reported.
  let reportIndex: [Int]
  let reportedRows: [Int]
  /// Runs of keys of one group, for each sequence.
  let groupRuns: [[GroupRun]]

  /// Keys `keys` of a sequence all belong to `group`.
  struct GroupRun {
    let keys: Range<Int>
    let group: Int
  }

  /// One piece of work: the queries `kept` of one head. Products run over the whole tile `rows` around them, whose
  /// borders depend on the sequence alone, so that a row has the same bits whatever the block size.
  struct Block {
    let sequence: Int
    let head: Int
    let rows: Range<Int>
    let kept: Range<Int>
  }

  /// Queries of a tile: enough for a product to run at full speed.
  static let tileRows = 128

  /// What stands for −∞: finite, so that no kernel meets an infinity. CKernels takes anything below −1e30 as masked.
  static let masked: Float = -1e36

  init(
    _ shape: Attention, queries: Tensor, keys: Tensor, values: Tensor, sequences: [AttentionSequence],
    mask: AttentionMask, request: AttentionRequest, knockouts: [AttentionKnockout], edit: AttentionEdit?
  ) {
    let width = shape.keyValueHeads * shape.headSize
    require(
      queries.rank == 2 && queries.columns == shape.heads * shape.headSize,
      "queries of shape \(queries.shape)")
    require(
      keys.rank == 2 && keys.columns == width && keys.shape == values.shape,
      "keys \(keys.shape), values \(values.shape)")
    require(
      sequences.allSatisfy { $0.queries.upperBound <= queries.rows && $0.keys.upperBound <= keys.rows },
      "a sequence outside \(queries.rows) queries and \(keys.rows) keys")
    require(request.queryRows.map { $0.count == queries.rows } ?? true, "one report flag for each query row")
    require(
      !(request.wantsGroupMass || request.wantsValueSums) || request.groups.count == keys.rows,
      "\(request.groups.count) groups for \(keys.rows) key rows")
    require(
      request.groups.allSatisfy { $0 < request.groupCount }, "a group outside 0..<\(request.groupCount)")
    require(
      knockouts.allSatisfy { $0.queries.count == queries.rows && $0.keys.count == keys.rows },
      "a knockout of other sizes than the call")
    self.shape = shape
    self.queries = queries
    self.keys = keys
    self.values = values
    self.sequences = sequences
    self.visible = sequences.enumerated().map { mask.visibleKeys($1, index: $0) }
    self.request = request
    self.knockouts = knockouts
    self.edit = edit
    self.output = Tensor(uninitialized: queries.shape)
    var reportIndex = [Int](repeating: -1, count: queries.rows)
    var reportedRows: [Int] = []
    if !request.isEmpty {
      for row in 0..<queries.rows where request.queryRows?[row] ?? true {
        reportIndex[row] = reportedRows.count
        reportedRows.append(row)
      }
    }
    self.reportIndex = reportIndex
    self.reportedRows = reportedRows
    self.groupRuns = request.groups.isEmpty ? [] : sequences.map { Self.runs(request.groups, keys: $0.keys) }
  }

  private static func runs(_ groups: [Int], keys: Range<Int>) -> [GroupRun] {
    var runs: [GroupRun] = []
    var start = keys.lowerBound
    for key in keys where key + 1 == keys.upperBound || groups[key + 1] != groups[key] {
      if groups[key] >= 0 {
        runs.append(GroupRun(keys: start - keys.lowerBound..<key + 1 - keys.lowerBound, group: groups[key]))
      }
      start = key + 1
    }
    return runs
  }

  /// Does everything.
  func run() -> (output: Tensor, statistics: AttentionStatistics?) {
    let blocks = blocks()
    let results = request.isEmpty ? nil : AttentionResults(self)
    if let edit {
      // One piece of work is a whole head of a sequence: column sums add up its blocks in their order.
      let heads = Dictionary(grouping: blocks) { $0.sequence * shape.heads + $0.head }
      Workers.forEachChunk(sequences.count * shape.heads) { index in
        for block in heads[index, default: []] { edited(block, edit, results) }
      }
    } else {
      Workers.forEachChunk(blocks.count) { streaming(blocks[$0], results) }
    }
    return (output, results?.statistics(of: self))
  }

  /// The blocks of the call; each writes its own rows, so any order gives the same bits.
  private func blocks() -> [Block] {
    var blocks: [Block] = []
    for (index, sequence) in sequences.enumerated() {
      for head in 0..<shape.heads {
        for tile in Self.tiles(of: sequence) {
          for start in stride(
            from: tile.lowerBound, to: tile.upperBound, by: min(shape.queryBlock, tile.count))
          {
            let kept = start..<min(start + shape.queryBlock, tile.upperBound)
            blocks.append(Block(sequence: index, head: head, rows: tile, kept: kept))
          }
        }
      }
    }
    return blocks
  }

  /// The query rows of a sequence in tiles from its start.
  static func tiles(of sequence: AttentionSequence) -> [Range<Int>] {
    stride(from: sequence.queries.lowerBound, to: sequence.queries.upperBound, by: tileRows).map {
      $0..<min($0 + tileRows, sequence.queries.upperBound)
    }
  }

  /// Gives `body` a place for the output of a block's tile and its row stride, then keeps the rows of the block.
  func withOutput(_ block: Block, _ body: (UnsafeMutablePointer<Float>, Int) -> Void) {
    let (headSize, width) = (shape.headSize, output.columns)
    let column = block.head * headSize
    if block.kept == block.rows {
      unsafe body(output.base + block.rows.lowerBound * width + column, width)
      return
    }
    let tile = TensorStorage(uninitialized: block.rows.count * headSize)
    unsafe body(tile.pointer, headSize)
    for row in block.kept {
      unsafe (output.base + row * width + column).update(
        from: tile.pointer + (row - block.rows.lowerBound) * headSize, count: headSize)
    }
  }

  /// The first key of a sequence for the key-value head of `head`.
  func keyStart(_ block: Block, of tensor: Tensor) -> UnsafePointer<Float> {
    let keyHead = block.head * shape.keyValueHeads / shape.heads
    return unsafe UnsafePointer(
      tensor.base + sequences[block.sequence].keys.lowerBound * tensor.columns + keyHead * shape.headSize)
  }

  /// Logits (without scale) of a block's rows for keys `range` of its sequence, into rows of `leading` elements; hidden
  /// keys are masked.
  func logits(
    _ block: Block, keys range: Range<Int>, into logits: UnsafeMutablePointer<Float>, leading: Int
  ) {
    let queryStart =
      unsafe queries.base + block.rows.lowerBound * queries.columns + block.head * shape.headSize
    unsafe Kernels.gemm(
      queryStart, transposed: false, leading: queries.columns,
      keyStart(block, of: keys) + range.lowerBound * keys.columns, transposed: true, leading: keys.columns,
      logits, leading: leading, rows: block.rows.count, columns: range.count, inner: shape.headSize)
    for (position, row) in block.rows.enumerated() {
      let visible = visible[block.sequence][row - sequences[block.sequence].queries.lowerBound]
      let line = unsafe logits + position * leading
      let gap = visible.first.upperBound..<visible.second.lowerBound
      for key in gap.clamped(to: range) { unsafe line[key - range.lowerBound] = Self.masked }
      for key in max(
        visible.second.upperBound, range.lowerBound)..<max(visible.second.upperBound, range.upperBound)
      {
        unsafe line[key - range.lowerBound] = Self.masked
      }
      for knockout in knockouts where knockout.queries[row] {
        let first = sequences[block.sequence].keys.lowerBound
        for key in range where knockout.keys[first + key] {
          unsafe line[key - range.lowerBound] = Self.masked
        }
      }
    }
  }

  /// How many of the keys `range` a row must look at: up to its last visible key.
  func reach(_ block: Block, row: Int, keys range: Range<Int>) -> Int {
    let visible = visible[block.sequence][row - sequences[block.sequence].queries.lowerBound]
    let end = visible.second.isEmpty ? visible.first.upperBound : visible.second.upperBound
    return max(0, min(end, range.upperBound) - range.lowerBound)
  }

  /// The last key any row of the block sees, plus 1.
  func lastKey(_ block: Block) -> Int {
    block.rows.reduce(0) {
      max($0, reach(block, row: $1, keys: 0..<sequences[block.sequence].keys.count))
    }
  }
}
