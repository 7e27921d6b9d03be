import CKernels
import Synchronization

/// Where the statistics of a call are written: each reported row and head has its own place.
///
/// `@unchecked Sendable`: pieces of work write disjoint places and the call reads them when all are done.
@safe final class AttentionResults: @unchecked Sendable {
  let groupMass: Tensor?
  let valueSums: Tensor?
  let entropy: Tensor?
  private let topKeys: Mutex<[[(key: Int, probability: Float)]]>

  init(_ job: AttentionJob) {
    let (rows, heads, request) = (job.reportedRows.count, job.shape.heads, job.request)
    groupMass = request.wantsGroupMass ? Tensor(uninitialized: [rows, heads, request.groupCount]) : nil
    valueSums =
      request.wantsValueSums
      ? Tensor(uninitialized: [rows, heads, request.groupCount, job.shape.headSize]) : nil
    entropy = request.wantsEntropy ? Tensor(uninitialized: [rows, heads]) : nil
    topKeys = Mutex(Array(repeating: [], count: request.topKeyCount > 0 ? rows * heads : 0))
    secondPass = request.wantsColumnSums || request.wantsProbabilities ? SecondPass(job) : nil
  }

  /// The accumulators of what needs whole rows of probabilities.
  let secondPass: SecondPass?

  /// Stores the best keys of a place.
  func setTopKeys(_ place: Int, _ keys: [(key: Int, probability: Float)]) {
    topKeys.withLock { $0[place] = keys }
  }

  /// Everything as the caller gets it.
  func statistics(of job: AttentionJob) -> AttentionStatistics {
    if job.edit == nil { secondPass?.recompute(job) }
    let heads = job.shape.heads
    return AttentionStatistics(
      queryRows: job.reportedRows, groupMass: groupMass, valueSums: valueSums, entropy: entropy,
      topKeys: job.request.topKeyCount > 0
        ? topKeys.withLock { keys in
          (0..<job.reportedRows.count).map { row in Array(keys[row * heads..<(row + 1) * heads]) }
        } : nil,
      columnSums: job.request.wantsColumnSums ? secondPass?.columnSums : nil,
      probabilities: job.request.wantsProbabilities ? secondPass?.probabilities : nil)
  }
}

/// Column sums and full probabilities: they need each row's final normaliser, so logits are computed once more.
@safe final class SecondPass: @unchecked Sendable {
  /// For each sequence `[heads, keys]`.
  let columnSums: [Tensor]
  /// For each sequence `[heads, reported queries, keys]`.
  let probabilities: [Tensor]
  /// For each query row, its place among the reported rows of its sequence.
  private let placeInSequence: [Int]

  init(_ job: AttentionJob) {
    let heads = job.shape.heads
    var places = [Int](repeating: -1, count: job.queries.rows)
    var (sums, full): ([Tensor], [Tensor]) = ([], [])
    for sequence in job.sequences {
      var count = 0
      for row in sequence.queries where job.reportIndex[row] >= 0 {
        places[row] = count
        count += 1
      }
      if job.request.wantsColumnSums { sums.append(Tensor(zeros: [heads, sequence.keys.count])) }
      if job.request.wantsProbabilities { full.append(Tensor(zeros: [heads, count, sequence.keys.count])) }
    }
    columnSums = sums
    probabilities = full
    placeInSequence = places
  }

  /// One piece of work is a head of a sequence, its query blocks in order: column sums add up in a fixed order.
  func recompute(_ job: AttentionJob) {
    let heads = job.shape.heads
    Workers.forEachChunk(job.sequences.count * heads) { index in
      let (sequence, head) = (index / heads, index % heads)
      let rows = job.sequences[sequence]
      let blocks = AttentionJob.cut(rows.queries, into: job.shape.queryBlock).filter { rows in
        rows.contains { job.reportIndex[$0] >= 0 }
      }
      let capacity = min(job.shape.keyBlock, rows.keys.count)
      var keys = KeyValueBlock(job, sequence: sequence, head: head, capacity: capacity)
      for range in AttentionJob.cut(0..<rows.keys.count, into: max(capacity, 1)) {
        keys.load(range)
        for rows in blocks {
          recompute(job, .init(sequence: sequence, head: head, rows: rows), keys, range)
        }
      }
    }
  }

  private func recompute(
    _ job: AttentionJob, _ block: AttentionJob.Block, _ keys: KeyValueBlock, _ range: Range<Int>
  ) {
    let leading = KeyValueBlock.panels(range.count)
    let logits = TensorStorage(uninitialized: block.rows.count * leading)
    unsafe job.logits(
      block, job.start(block, in: job.queries), stride: job.queries.columns, keys, first: range.lowerBound,
      count: range.count, into: logits.pointer, leading: leading)
    for (row, visible) in zip(block.rows, job.visible(block)) where job.reportIndex[row] >= 0 {
      guard let normaliser = unsafe job.normaliser(row: row, head: block.head) else { continue }
      let line = unsafe logits.pointer + (row - block.rows.lowerBound) * leading
      let reach = max(0, min(visible.end, range.upperBound) - range.lowerBound)
      unsafe ck_attention_probabilities(line, reach, job.shape.scale, normaliser[0], normaliser[1])
      unsafe add(line, count: reach, block, row: row, from: range.lowerBound)
    }
  }

  /// Adds one row's probabilities for keys from `start`.
  func add(
    _ line: UnsafePointer<Float>, count: Int, _ block: AttentionJob.Block, row: Int, from start: Int
  ) {
    if !columnSums.isEmpty {
      let sums = columnSums[block.sequence]
      let target = unsafe sums.base + block.head * sums.columns + start
      unsafe ck_add(target, line, target, count)
    }
    if !probabilities.isEmpty {
      let full = probabilities[block.sequence]
      let place = (block.head * full.shape[1] + placeInSequence[row]) * full.columns + start
      unsafe (full.base + place).update(from: line, count: count)
    }
  }
}
