import CKernels
import Glibc

/// The running softmax of some query rows while they meet block after block of keys.
///
/// Queries and outputs of the head lie here without gaps: in the tensors their rows are often a multiple of 4 KiB apart,
/// of which caches hold only a few.
@safe private struct RunningRows {
  let count: Int
  let groups: Int
  let headSize: Int
  /// `[rows, headSize]` each.
  private let queries: TensorStorage
  private let outputs: TensorStorage
  /// Maximum, sum and Σ e · s of each row.
  private let running: TensorStorage
  /// `[rows, groups]`.
  private let masses: TensorStorage
  /// `[groups, rows, headSize]`.
  private let values: TensorStorage?
  /// The most attended keys of each row.
  var best: [LargestElements]

  init(_ job: AttentionJob, _ piece: AttentionJob.Block, reports: Bool) {
    let count = piece.rows.count
    (self.count, groups, headSize) = (count, job.request.groupCount, job.shape.headSize)
    queries = TensorStorage(uninitialized: count * headSize)
    outputs = TensorStorage(zeros: count * headSize)
    running = TensorStorage(uninitialized: count * 3)
    unsafe running.pointer.update(repeating: AttentionJob.masked, count: count)
    unsafe (running.pointer + count).update(repeating: 0, count: count * 2)
    masses = TensorStorage(zeros: reports ? count * groups : 0)
    values = reports && job.request.wantsValueSums ? TensorStorage(zeros: groups * count * headSize) : nil
    let limit = reports ? job.request.topKeyCount : 0
    best = limit > 0 ? [LargestElements](repeating: LargestElements(limit: limit), count: count) : []
    let source = unsafe job.start(piece, in: job.queries)
    for row in 0..<count {
      unsafe query(row).update(from: source + row * job.queries.columns, count: headSize)
    }
  }

  func query(_ row: Int) -> UnsafeMutablePointer<Float> { unsafe queries.pointer + row * headSize }
  func output(_ row: Int) -> UnsafeMutablePointer<Float> { unsafe outputs.pointer + row * headSize }
  var maximum: UnsafeMutablePointer<Float> { unsafe running.pointer }
  var sum: UnsafeMutablePointer<Float> { unsafe running.pointer + count }
  var entropy: UnsafeMutablePointer<Float> { unsafe running.pointer + 2 * count }
  var wantsValues: Bool { values != nil }

  func mass(row: Int) -> UnsafeMutablePointer<Float> { unsafe masses.pointer + row * groups }

  func values(group: Int, row: Int) -> UnsafeMutablePointer<Float>? {
    unsafe values.map { unsafe $0.pointer + (group * count + row) * headSize }
  }
}

extension AttentionJob {
  /// Attention of a piece of work with a running softmax: block after block of keys meets all query blocks that see it.
  func streaming(_ piece: Block, _ results: AttentionResults?) {
    let blocks = Self.cut(piece.rows, into: shape.queryBlock).map {
      Block(sequence: piece.sequence, head: piece.head, rows: $0)
    }
    let ends = blocks.map { visible($0).reduce(0) { max($0, $1.end) } }
    let lastKey = ends.max() ?? 0
    let results = piece.rows.contains { reportIndex[$0] >= 0 } ? results : nil
    var rows = RunningRows(self, piece, reports: results != nil)
    let capacity = min(shape.keyBlock, lastKey)
    let leading = KeyValueBlock.panels(capacity)
    let logits = TensorStorage(uninitialized: min(shape.queryBlock, piece.rows.count) * leading)
    let rawLogits = TensorStorage(uninitialized: leading)
    let needsLogits = request.wantsEntropy || request.topKeyCount > 0
    var keys = KeyValueBlock(self, sequence: piece.sequence, head: piece.head, capacity: capacity)
    for range in Self.cut(0..<lastKey, into: max(capacity, 1)) {
      keys.load(range)
      let runs = groupRuns.isEmpty ? [] : groupRuns[piece.sequence].compactMap { $0.within(range) }
      for (block, end) in zip(blocks, ends) where end > range.lowerBound {
        let count = min(end, range.upperBound) - range.lowerBound
        let first = block.rows.lowerBound - piece.rows.lowerBound
        unsafe self.logits(
          block, rows.query(first), stride: shape.headSize, keys, first: range.lowerBound, count: count,
          into: logits.pointer, leading: leading)
        for (position, visible) in visible(block).enumerated() {
          let reach = max(0, min(visible.end, range.upperBound) - range.lowerBound)
          let line = unsafe logits.pointer + position * leading
          let row = first + position
          let isReported = results != nil && reportIndex[piece.rows.lowerBound + row] >= 0
          if isReported && needsLogits { unsafe rawLogits.pointer.update(from: line, count: reach) }
          let correction = unsafe ck_softmax_update(
            line, reach, shape.scale, rows.maximum + row, rows.sum + row)
          unsafe (line + reach).update(repeating: 0, count: count - reach)
          if correction != 1 {
            unsafe ck_multiply_scalar(rows.output(row), correction, rows.output(row), shape.headSize)
          }
          if isReported {
            unsafe reduce(
              line, rawLogits.pointer, keys: range.lowerBound..<range.lowerBound + reach, runs, correction,
              row, &rows)
          }
        }
        unsafe keys.addValues(
          logits.pointer, leading: leading, rows: block.rows.count, keys: 0..<count,
          to: rows.output(first), stride: shape.headSize)
        for run in runs where rows.wantsValues {
          if let sums = unsafe rows.values(group: run.group, row: first) {
            unsafe keys.addValues(
              logits.pointer, leading: leading, rows: block.rows.count, keys: run.keys.clamped(to: 0..<count),
              to: sums, stride: shape.headSize)
          }
        }
      }
    }
    let result = unsafe start(piece, in: output)
    for row in 0..<piece.rows.count {
      // A row without keys gives zeros; a sum that is not a number stays one.
      let inverse = unsafe rows.sum[row] == 0 ? 0 : 1 / rows.sum[row]
      unsafe ck_multiply_scalar(rows.output(row), inverse, result + row * output.columns, shape.headSize)
      if let kept = unsafe normaliser(row: piece.rows.lowerBound + row, head: piece.head) {
        // Masked logits must stay far below the maximum of a row without keys too.
        unsafe kept[0] = unsafe rows.sum[row] == 0 ? 0 : rows.maximum[row]
        unsafe kept[1] = inverse
      }
      if let results, reportIndex[piece.rows.lowerBound + row] >= 0 {
        finish(piece, row, inverse, rows, results)
      }
    }
  }

  /// Adds one row's exponentials for some keys to its running masses, entropy and best keys.
  private func reduce(
    _ line: UnsafePointer<Float>, _ rawLogits: UnsafePointer<Float>, keys: Range<Int>, _ runs: [GroupRun],
    _ correction: Float, _ row: Int, _ rows: inout RunningRows
  ) {
    if request.wantsGroupMass {
      let mass = unsafe rows.mass(row: row)
      for group in 0..<rows.groups { unsafe mass[group] *= correction }
      for run in runs where run.keys.lowerBound < keys.count {
        let end = min(run.keys.upperBound, keys.count)
        unsafe mass[run.group] += unsafe ck_sum(line + run.keys.lowerBound, end - run.keys.lowerBound)
      }
    }
    if rows.wantsValues && correction != 1 {
      for group in 0..<rows.groups {
        guard let sums = unsafe rows.values(group: group, row: row) else { continue }
        unsafe ck_multiply_scalar(sums, correction, sums, shape.headSize)
      }
    }
    if request.wantsEntropy {
      let added = unsafe ck_weighted_logit_sum(line, rawLogits, shape.scale, keys.count)
      unsafe rows.entropy[row] = unsafe rows.entropy[row] * correction + added
    }
    if request.topKeyCount > 0 {
      for position in 0..<keys.count where unsafe !(rawLogits[position] < Self.masked / 2) {
        unsafe rows.best[row].insert(rawLogits[position], at: keys.lowerBound + position)
      }
    }
  }

  /// Divides by the softmax's denominator and stores the statistics of one row.
  private func finish(
    _ piece: Block, _ row: Int, _ inverse: Float, _ rows: RunningRows, _ results: AttentionResults
  ) {
    let place = reportIndex[piece.rows.lowerBound + row] * shape.heads + piece.head
    if let mass = results.groupMass {
      unsafe ck_multiply_scalar(rows.mass(row: row), inverse, mass.base + place * rows.groups, rows.groups)
    }
    if let target = results.valueSums {
      for group in 0..<rows.groups {
        guard let sums = unsafe rows.values(group: group, row: row) else { continue }
        unsafe ck_multiply_scalar(
          sums, inverse, target.base + (place * rows.groups + group) * shape.headSize, shape.headSize)
      }
    }
    let (maximum, sum) = unsafe (rows.maximum[row], rows.sum[row])
    if let entropy = results.entropy {
      // H = log Z + m − Σ e s / Z with e = exp(s − m), Z = Σ e.
      let value = unsafe sum == 0 ? 0 : logf(sum) + maximum - rows.entropy[row] * inverse
      unsafe entropy.base[place] = value < 0 ? 0 : value
    }
    if request.topKeyCount > 0 {
      results.setTopKeys(
        place, rows.best[row].elements.map { ($0.index, expf($0.value * shape.scale - maximum) * inverse) })
    }
  }
}
