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
  let hidden: [Hidden]
  let edit: AttentionEdit?
  let output: Tensor
  /// `[query rows, heads, 2]`: maximum and 1 / sum of every row's softmax, where a later pass computes probabilities anew.
  let normalisers: Tensor?
  /// Places of reported query rows in the statistics, −1 for rows that are not reported.
  let reportIndex: [Int]
  let reportedRows: [Int]
  /// Runs of keys of one group, for each sequence.
  let groupRuns: [[GroupRun]]

  /// Keys `keys` of a sequence all belong to `group`.
  struct GroupRun {
    let keys: Range<Int>
    let group: Int

    /// The part among keys `range`, counted from its first; nil if there is none.
    func within(_ range: Range<Int>) -> GroupRun? {
      let part = keys.clamped(to: range)
      guard !part.isEmpty else { return nil }
      return GroupRun(
        keys: part.lowerBound - range.lowerBound..<part.upperBound - range.lowerBound, group: group)
    }
  }

  /// Some query rows of one head of one sequence.
  struct Block {
    let sequence: Int
    let head: Int
    let rows: Range<Int>
  }

  /// Keys that a knockout hides from its queries.
  struct Hidden {
    let queries: [Bool]
    /// For each sequence.
    let runs: [[Range<Int>]]
  }

  /// What stands for −∞: finite, so that no kernel meets an infinity. CKernels takes anything below −1e30 as masked.
  static let masked: Float = -1e36

  init(
    _ shape: Attention, queries: Tensor, keys: Tensor, values: Tensor, sequences: [AttentionSequence],
    mask: AttentionMask, request: AttentionRequest, knockouts: [AttentionKnockout], edit: AttentionEdit?,
    keepsNormalisers: Bool = false
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
    self.hidden = knockouts.map { knockout in
      Hidden(
        queries: knockout.queries,
        runs: sequences.map { Self.runs(knockout.keys.map { $0 ? 0 : -1 }, keys: $0.keys).map(\.keys) })
    }
    self.edit = edit
    self.output = Tensor(uninitialized: queries.shape)
    let needsSecondPass = edit == nil && (request.wantsColumnSums || request.wantsProbabilities)
    self.normalisers =
      keepsNormalisers || needsSecondPass ? Tensor(uninitialized: [queries.rows, shape.heads, 2]) : nil
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

  /// About how many multiplications there are, for the choice between one thread and several.
  var operations: Int { queries.count * (sequences.map(\.keys.count).max() ?? 0) }

  /// Floating-point operations of one product over all pairs of a query and a key it sees, such as q kᵀ.
  var pairOperations: Int {
    let pairs = visible.reduce(0) { $0 + $1.reduce(0) { $0 + $1.end - $1.gap.count } }
    return 2 * pairs * shape.heads * shape.headSize
  }

  /// Does everything.
  func run() -> (output: Tensor, statistics: AttentionStatistics?) {
    OperationCount.add(2 * pairOperations)
    let results = request.isEmpty ? nil : AttentionResults(self)
    if let edit {
      // One piece of work is a whole head of a sequence: column sums add up its blocks in their order.
      Workers.forEachChunk(sequences.count * shape.heads, operations: operations) { index in
        let (sequence, head) = (index / shape.heads, index % shape.heads)
        for rows in Self.cut(sequences[sequence].queries, into: shape.queryBlock) {
          edited(Block(sequence: sequence, head: head, rows: rows), edit, results)
        }
      }
    } else {
      let blocks = streamingBlocks()
      Workers.forEachChunk(blocks.count, operations: operations) { streaming(blocks[$0], results) }
    }
    return (output, results?.statistics(of: self))
  }

  /// The pieces of work of the streaming kernel: several query blocks each, which share packed keys. Each piece writes
  /// its own rows, so any order gives the same bits.
  private func streamingBlocks() -> [Block] {
    var blocks: [Block] = []
    for (index, sequence) in sequences.enumerated() {
      for head in 0..<shape.heads {
        for rows in Self.cut(sequence.queries, into: 8 * shape.queryBlock) {
          blocks.append(Block(sequence: index, head: head, rows: rows))
        }
      }
    }
    return blocks
  }

  /// A range in parts of `size`, from its start.
  static func cut(_ range: Range<Int>, into size: Int) -> [Range<Int>] {
    stride(from: range.lowerBound, to: range.upperBound, by: size).map {
      $0..<min($0 + size, range.upperBound)
    }
  }

  /// What the query rows of a block see.
  func visible(_ block: Block) -> ArraySlice<VisibleKeys> {
    let first = sequences[block.sequence].queries.lowerBound
    return visible[block.sequence][block.rows.lowerBound - first..<block.rows.upperBound - first]
  }

  /// The first number of a block's rows in the queries or the output, whose rows are `queries.columns` long.
  func start(_ block: Block, in tensor: Tensor) -> UnsafeMutablePointer<Float> {
    unsafe tensor.base + block.rows.lowerBound * tensor.columns + block.head * shape.headSize
  }

  /// Logits (without scale) of a block's rows, which `queries` holds `stride` apart, for the first `count` keys of
  /// `keys`, which starts at key `first` of the sequence; hidden ones are masked. What lies behind the last key that a
  /// row sees is of no meaning.
  func logits(
    _ block: Block, _ queries: UnsafePointer<Float>, stride: Int, _ keys: KeyValueBlock, first: Int,
    count: Int,
    into logits: UnsafeMutablePointer<Float>, leading: Int
  ) {
    unsafe keys.logits(
      queries, stride: stride, rows: block.rows.count, keys: count, into: logits, leading: leading)
    unsafe mask(block, first: first, count: count, logits, leading: leading)
  }

  /// Masks the logits of what a block's rows do not see among `count` keys from `first`, up to the last key they see.
  func mask(_ block: Block, first: Int, count: Int, _ logits: UnsafeMutablePointer<Float>, leading: Int) {
    let range = first..<first + count
    func hide(_ run: Range<Int>, from row: Int) {
      let run = run.clamped(to: range)
      unsafe (logits + row * leading + run.lowerBound - first).update(
        repeating: Self.masked, count: run.count)
    }
    for (position, visible) in visible(block).enumerated() {
      if !visible.gap.isEmpty { hide(visible.gap, from: position) }
      for hidden in hidden where hidden.queries[block.rows.lowerBound + position] {
        for run in hidden.runs[block.sequence] { hide(run, from: position) }
      }
    }
  }

  /// Where the normaliser of a query row and head lies: maximum and 1 / sum.
  func normaliser(row: Int, head: Int) -> UnsafeMutablePointer<Float>? {
    unsafe normalisers.map { unsafe $0.base + 2 * (row * shape.heads + head) }
  }
}
