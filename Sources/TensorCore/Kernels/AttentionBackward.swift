import CKernels

/// The gradients of attention, with the probabilities computed anew block by block:
///
///     pᵢⱼ = exp(s · qᵢ·kⱼ − mᵢ) / zᵢ,    gᵢⱼ = doᵢ·vⱼ,    tᵢⱼ = s · pᵢⱼ (gᵢⱼ − doᵢ·oᵢ)
///     dqᵢ = Σⱼ tᵢⱼ kⱼ,    dkⱼ = Σᵢ tᵢⱼ qᵢ,    dvⱼ = Σᵢ pᵢⱼ doᵢ
///
/// mᵢ and zᵢ were kept by the forward pass, so memory is inputs, gradients and a block.
///
/// Source: Dao et al., "FlashAttention", 2022, arXiv:2205.14135, algorithm 4.
extension AttentionJob {
  /// The gradients of queries, keys and values, nil where not wanted.
  ///
  /// One piece of work is a key-value head of a sequence: its query heads and blocks add to keys and values in their
  /// order, so the bits do not depend on threads or on the other sequences.
  func gradients(
    outputGradient: Tensor, wantsQueries: Bool, wantsKeys: Bool, wantsValues: Bool
  ) -> (queries: Tensor?, keys: Tensor?, values: Tensor?) {
    requireDisjointKeys()
    OperationCount.add((2 + [wantsQueries, wantsKeys, wantsValues].count { $0 }) * pairOperations)
    func empty(_ wanted: Bool, like tensor: Tensor, covered: Int) -> Tensor? {
      guard wanted else { return nil }
      // Rows of no sequence have no influence on the output.
      return covered == tensor.rows ? Tensor(uninitialized: tensor.shape) : Tensor(zeros: tensor.shape)
    }
    let keyRows = sequences.reduce(0) { $0 + $1.keys.count }
    let gradients = (
      queries: empty(wantsQueries, like: queries, covered: sequences.reduce(0) { $0 + $1.queries.count }),
      keys: empty(wantsKeys, like: keys, covered: keyRows),
      values: empty(wantsValues, like: values, covered: keyRows)
    )
    let heads = shape.keyValueHeads
    Workers.forEachChunk(sequences.count * heads, operations: operations) { index in
      let piece = BackwardPiece(
        self, sequence: index / heads, keyHead: index % heads, outputGradient: outputGradient)
      piece.run(into: gradients.queries, gradients.keys, gradients.values)
    }
    return gradients
  }

  /// Calls `visit` with the probabilities and their gradients, block by block.
  func visitProbabilityGradients(
    outputGradient: Tensor, _ visit: @Sendable (AttentionProbabilityBlock) -> Void
  ) {
    let heads = shape.keyValueHeads
    Workers.forEachChunk(sequences.count * heads, operations: operations) { index in
      let piece = BackwardPiece(
        self, sequence: index / heads, keyHead: index % heads, outputGradient: outputGradient)
      piece.visit(visit)
    }
  }

  private func requireDisjointKeys() {
    var end = 0
    for keys in sequences.map(\.keys).sorted(by: { $0.lowerBound < $1.lowerBound }) where !keys.isEmpty {
      require(keys.lowerBound >= end, "two sequences share key rows up to \(end): no gradient of theirs")
      end = keys.upperBound
    }
  }
}

/// The backward pass of one key-value head of one sequence.
@safe private struct BackwardPiece {
  /// Query rows and keys that meet at a time: both packed halves and both squares stay in the cache.
  private static let (largestQueryBlock, largestKeyBlock) = (64, 256)

  private let job: AttentionJob
  private let sequence: Int
  private let keyHead: Int
  private let outputGradient: Tensor
  private let queryBlock: Int
  private let keyBlock: Int
  private let headSize: Int
  /// Panels of sixteen keys of k and v, `[keys / 16][headSize][16]`.
  private let packedKeys: TensorStorage
  private let packedValues: TensorStorage
  /// Panels of sixteen columns, `[headSize / 16][keys][16]` and twice `[headSize / 16][rows][16]`.
  private let keyPanels: TensorStorage
  private let queryPanels: TensorStorage
  private let gradientPanels: TensorStorage
  /// `[rows, headSize]` without gaps: in the tensors rows often lie a multiple of 1 KiB apart, of which caches hold few.
  private let queries: TensorStorage
  private let outputGradients: TensorStorage
  /// `[keys, headSize]`, what the queries so far add to the gradients of keys and values.
  private let keySums: TensorStorage
  private let valueSums: TensorStorage
  /// `[rows, keys]`, keys filled up to whole panels.
  private let probabilities: TensorStorage
  private let gradients: TensorStorage
  private let leading: Int

  init(_ job: AttentionJob, sequence: Int, keyHead: Int, outputGradient: Tensor) {
    (self.job, self.sequence, self.keyHead) = (job, sequence, keyHead)
    self.outputGradient = outputGradient
    let rows = job.sequences[sequence]
    headSize = job.shape.headSize
    queryBlock = min(job.shape.queryBlock, Self.largestQueryBlock, max(rows.queries.count, 1))
    keyBlock = min(job.shape.keyBlock, Self.largestKeyBlock, max(rows.keys.count, 1))
    leading = KeyValueBlock.panels(keyBlock)
    let wide = KeyValueBlock.panels(headSize)
    packedKeys = TensorStorage(uninitialized: leading * headSize)
    packedValues = TensorStorage(uninitialized: leading * headSize)
    keyPanels = TensorStorage(uninitialized: keyBlock * wide)
    queryPanels = TensorStorage(uninitialized: queryBlock * wide)
    gradientPanels = TensorStorage(uninitialized: queryBlock * wide)
    queries = TensorStorage(uninitialized: queryBlock * headSize)
    outputGradients = TensorStorage(uninitialized: queryBlock * headSize)
    keySums = TensorStorage(uninitialized: keyBlock * headSize)
    valueSums = TensorStorage(uninitialized: keyBlock * headSize)
    probabilities = TensorStorage(uninitialized: queryBlock * leading)
    gradients = TensorStorage(uninitialized: queryBlock * leading)
  }

  /// Query heads that share the key-value head.
  private var heads: Range<Int> {
    let group = job.shape.heads / job.shape.keyValueHeads
    return keyHead * group..<(keyHead + 1) * group
  }

  /// The first number of the key-value head in row `key` of the sequence.
  private func keyOffset(_ key: Int) -> Int {
    (job.sequences[sequence].keys.lowerBound + key) * job.keys.columns + keyHead * headSize
  }

  /// Calls `body` with every block of keys and every block of queries that sees one of the first `count` of them.
  private func forEachBlock(
    ofKeys keys: Range<Int>, _ body: (_ queries: AttentionJob.Block, _ count: Int) -> Void
  ) {
    for head in heads {
      for rows in AttentionJob.cut(job.sequences[sequence].queries, into: queryBlock) {
        let block = AttentionJob.Block(sequence: sequence, head: head, rows: rows)
        let end = min(job.visible(block).reduce(0) { max($0, $1.end) }, keys.upperBound)
        if end > keys.lowerBound { body(block, end - keys.lowerBound) }
      }
    }
  }

  /// Writes the piece's rows and columns of the wanted gradients.
  func run(into queryGradient: Tensor?, _ keyGradient: Tensor?, _ valueGradient: Tensor?) {
    let (keyStride, queryStride) = (job.keys.columns, job.queries.columns)
    for keys in AttentionJob.cut(0..<job.sequences[sequence].keys.count, into: keyBlock) {
      let (first, total) = (keyOffset(keys.lowerBound), keys.count)
      pack(keys)
      if queryGradient != nil {
        unsafe ck_pack(job.keys.base + first, keyStride, total, headSize, keyPanels.pointer)
      }
      unsafe keySums.pointer.update(repeating: 0, count: total * headSize)
      unsafe valueSums.pointer.update(repeating: 0, count: total * headSize)
      forEachBlock(ofKeys: keys) { block, count in
        let rows = block.rows.count
        squares(block, keys.lowerBound, count)
        for (row, reach) in reaches(block, keys.lowerBound, count) {
          let (line, slopes) = unsafe (
            probabilities.pointer + row * leading, gradients.pointer + row * leading
          )
          let mean = unsafe ck_dot_f32(
            job.start(block, in: job.output) + row * queryStride, outputGradients.pointer + row * headSize,
            headSize)
          if let normaliser = unsafe job.normaliser(row: block.rows.lowerBound + row, head: block.head) {
            unsafe ck_attention_gradients(
              line, slopes, reach, job.shape.scale, normaliser[0], normaliser[1], mean)
          }
          unsafe (line + reach).update(repeating: 0, count: count - reach)
          unsafe (slopes + reach).update(repeating: 0, count: count - reach)
        }
        if let queryGradient {
          // Every query sees a key of the first block, which therefore sets what the others add to.
          unsafe ck_product(
            gradients.pointer, leading, rows, keyPanels.pointer, 16 * total, count, headSize,
            job.start(block, in: queryGradient), queryStride, keys.lowerBound == 0 ? 0 : 1)
        }
        if keyGradient != nil {
          unsafe ck_pack(queries.pointer, headSize, rows, headSize, queryPanels.pointer)
          unsafe ck_product_transposed(
            gradients.pointer, leading, count, queryPanels.pointer, 16 * rows, rows, headSize,
            keySums.pointer, headSize, 1)
        }
        if valueGradient != nil {
          unsafe ck_pack(outputGradients.pointer, headSize, rows, headSize, gradientPanels.pointer)
          unsafe ck_product_transposed(
            probabilities.pointer, leading, count, gradientPanels.pointer, 16 * rows, rows, headSize,
            valueSums.pointer, headSize, 1)
        }
      }
      for key in 0..<total {
        let target = first + key * keyStride
        if let keyGradient {
          unsafe (keyGradient.base + target).update(from: keySums.pointer + key * headSize, count: headSize)
        }
        if let valueGradient {
          unsafe (valueGradient.base + target).update(
            from: valueSums.pointer + key * headSize, count: headSize)
        }
      }
    }
  }

  /// Calls `visit` with every block of probabilities and gradients.
  func visit(_ visit: (AttentionProbabilityBlock) -> Void) {
    for keys in AttentionJob.cut(0..<job.sequences[sequence].keys.count, into: keyBlock) {
      pack(keys)
      forEachBlock(ofKeys: keys) { block, count in
        squares(block, keys.lowerBound, count)
        let (probability, gradient) = (
          Tensor(zeros: [block.rows.count, count]), Tensor(zeros: [block.rows.count, count])
        )
        for (row, reach) in reaches(block, keys.lowerBound, count) {
          let line = unsafe probabilities.pointer + row * leading
          guard let normaliser = unsafe job.normaliser(row: block.rows.lowerBound + row, head: block.head)
          else { continue }
          unsafe ck_attention_probabilities(line, reach, job.shape.scale, normaliser[0], normaliser[1])
          unsafe (probability.base + row * count).update(from: line, count: reach)
          unsafe (gradient.base + row * count).update(from: gradients.pointer + row * leading, count: reach)
        }
        visit(
          AttentionProbabilityBlock(
            sequence: sequence, head: block.head, queryRows: block.rows,
            keys: keys.lowerBound..<keys.lowerBound + count, probabilities: probability,
            gradients: gradient))
      }
    }
  }

  /// Packs keys and values for the products with queries and output gradients.
  private func pack(_ keys: Range<Int>) {
    let (first, stride) = (keyOffset(keys.lowerBound), job.keys.columns)
    unsafe ck_pack_transposed(job.keys.base + first, stride, keys.count, headSize, packedKeys.pointer)
    unsafe ck_pack_transposed(job.values.base + first, stride, keys.count, headSize, packedValues.pointer)
  }

  /// Takes the block's queries and output gradients; q kᵀ, masked, into `probabilities` and do vᵀ into `gradients`, for the first `count` packed keys.
  private func squares(_ block: AttentionJob.Block, _ firstKey: Int, _ count: Int) {
    let (rows, stride, wide) = (block.rows.count, job.queries.columns, KeyValueBlock.panels(count))
    let (source, gradient) = unsafe (
      job.start(block, in: job.queries), job.start(block, in: outputGradient)
    )
    for row in 0..<rows {
      unsafe (queries.pointer + row * headSize).update(from: source + row * stride, count: headSize)
      unsafe (outputGradients.pointer + row * headSize).update(from: gradient + row * stride, count: headSize)
    }
    unsafe ck_product(
      queries.pointer, headSize, rows, packedKeys.pointer, 16 * headSize, headSize, wide,
      probabilities.pointer, leading, 0)
    unsafe ck_product(
      outputGradients.pointer, headSize, rows, packedValues.pointer, 16 * headSize, headSize, wide,
      gradients.pointer, leading, 0)
    unsafe job.mask(block, first: firstKey, count: count, probabilities.pointer, leading: leading)
  }

  /// For each row of a block, counted from its first, how many of `count` keys from `firstKey` lie before its last one.
  private func reaches(_ block: AttentionJob.Block, _ firstKey: Int, _ count: Int) -> [(row: Int, reach: Int)]
  {
    job.visible(block).enumerated().map { row, visible in
      (row, min(max(visible.end - firstKey, 0), count))
    }
  }
}
