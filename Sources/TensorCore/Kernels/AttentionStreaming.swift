import CKernels
import Glibc

/// Memory of one block of queries while it runs over the keys.
@safe private final class BlockState {
  let rows: Int
  let keyBlock: Int
  let logits: TensorStorage
  let running: TensorStorage  // maximum, sum, entropy sum of each row
  let mass: TensorStorage  // [rows, groups]
  let valueSums: TensorStorage?  // [groups, rows, headSize]
  var rawLogits: [Float]
  var top: [LargestElements]

  init(_ job: AttentionJob, rows: Int, keyBlock: Int, reports: Bool) {
    self.rows = rows
    self.keyBlock = keyBlock
    logits = TensorStorage(uninitialized: rows * keyBlock)
    running = TensorStorage(uninitialized: rows * 3)
    unsafe running.pointer.update(repeating: AttentionJob.masked, count: rows)
    unsafe (running.pointer + rows).update(repeating: 0, count: rows * 2)
    let groups = job.request.groupCount
    mass = TensorStorage(uninitialized: rows * groups)
    unsafe mass.pointer.update(repeating: 0, count: rows * groups)
    valueSums =
      reports && job.request.wantsValueSums
      ? TensorStorage(uninitialized: groups * rows * job.shape.headSize) : nil
    if let valueSums { unsafe valueSums.pointer.update(repeating: 0, count: valueSums.count) }
    let keepsLogits = reports && (job.request.wantsEntropy || job.request.topKeyCount > 0)
    rawLogits = keepsLogits ? [Float](repeating: 0, count: keyBlock) : []
    let best = LargestElements(limit: job.request.topKeyCount)
    top = reports && best.limit > 0 ? [LargestElements](repeating: best, count: rows) : []
  }

  var maximum: UnsafeMutablePointer<Float> { unsafe running.pointer }
  var sum: UnsafeMutablePointer<Float> { unsafe running.pointer + rows }
  var entropy: UnsafeMutablePointer<Float> { unsafe running.pointer + 2 * rows }
}

extension AttentionJob {
  /// Attention of one block of queries over all its keys with a running softmax.
  func streaming(_ block: Block, _ results: AttentionResults?) {
    unsafe withOutput(block) { result, width in unsafe streaming(block, results, into: result, width) }
  }

  private func streaming(
    _ block: Block, _ results: AttentionResults?, into result: UnsafeMutablePointer<Float>, _ width: Int
  ) {
    let headSize = shape.headSize
    let lastKey = lastKey(block)
    let keyBlock = min(shape.keyBlock, max(lastKey, 1))
    let reports = results != nil && block.kept.contains { reportIndex[$0] >= 0 }
    let state = BlockState(self, rows: block.rows.count, keyBlock: keyBlock, reports: reports)
    for row in 0..<block.rows.count { unsafe (result + row * width).update(repeating: 0, count: headSize) }

    for start in stride(from: 0, to: lastKey, by: keyBlock) {
      let range = start..<min(start + keyBlock, lastKey)
      unsafe logits(block, keys: range, into: state.logits.pointer, leading: keyBlock)
      for (position, row) in block.rows.enumerated() {
        let line = unsafe state.logits.pointer + position * keyBlock
        let reach = reach(block, row: row, keys: range)
        let isReported = reports && block.kept.contains(row) && reportIndex[row] >= 0
        if isReported && !state.rawLogits.isEmpty {
          for key in 0..<reach { state.rawLogits[key] = unsafe line[key] }
        }
        let correction = unsafe ck_softmax_update(
          line, reach, shape.scale, state.maximum + position, state.sum + position)
        unsafe (line + reach).update(repeating: 0, count: range.count - reach)
        if start > 0 && correction != 1 {
          unsafe ck_multiply_scalar(
            result + position * width, correction, result + position * width, headSize)
        }
        if isReported {
          unsafe reduce(block, position: position, line: line, keys: range, reach: reach, correction, state)
        }
      }
      unsafe Kernels.gemm(
        state.logits.pointer, transposed: false, leading: keyBlock,
        keyStart(block, of: values) + range.lowerBound * values.columns, transposed: false,
        leading: values.columns,
        result, leading: width, rows: block.rows.count, columns: headSize, inner: range.count, beta: 1)
      if reports, let sums = state.valueSums {
        unsafe addValues(block, keys: range, state, to: sums.pointer)
      }
    }
    for (position, row) in block.rows.enumerated() {
      // A row without keys gives zeros; a sum that is not a number stays one.
      let inverse = unsafe state.sum[position] == 0 ? 0 : 1 / state.sum[position]
      let line = unsafe result + position * width
      unsafe ck_multiply_scalar(line, inverse, line, headSize)
      if let results, reports, block.kept.contains(row), reportIndex[row] >= 0 {
        finish(block, row: row, position: position, inverse, state, results)
      }
    }
  }

  /// Adds one row's block of exponentials to its running group masses, entropy and best keys.
  private func reduce(
    _ block: Block, position: Int, line: UnsafePointer<Float>, keys range: Range<Int>, reach: Int,
    _ correction: Float, _ state: BlockState
  ) {
    let groups = request.groupCount
    if request.wantsGroupMass {
      let mass = unsafe state.mass.pointer + position * groups
      for group in 0..<groups { unsafe mass[group] *= correction }
      for run in groupRuns[block.sequence] {
        let part = run.keys.clamped(to: range.lowerBound..<range.lowerBound + reach)
        guard !part.isEmpty else { continue }
        unsafe mass[run.group] += unsafe ck_sum(line + (part.lowerBound - range.lowerBound), part.count)
      }
    }
    if request.wantsEntropy {
      let added = unsafe ck_weighted_logit_sum(line, state.rawLogits, shape.scale, reach)
      unsafe state.entropy[position] = unsafe state.entropy[position] * correction + added
    }
    if request.topKeyCount > 0 {
      for key in 0..<reach where !(state.rawLogits[key] < Self.masked / 2) {
        state.top[position].insert(state.rawLogits[key], at: range.lowerBound + key)
      }
    }
    if let sums = state.valueSums, correction != 1 {
      for group in 0..<groups {
        let part = unsafe sums.pointer + (group * state.rows + position) * shape.headSize
        unsafe ck_multiply_scalar(part, correction, part, shape.headSize)
      }
    }
  }

  /// Adds exponentials times values of each group's keys.
  private func addValues(
    _ block: Block, keys range: Range<Int>, _ state: BlockState, to sums: UnsafeMutablePointer<Float>
  ) {
    for run in groupRuns[block.sequence] {
      let part = run.keys.clamped(to: range)
      guard !part.isEmpty else { continue }
      unsafe Kernels.gemm(
        state.logits.pointer + (part.lowerBound - range.lowerBound), transposed: false,
        leading: state.keyBlock,
        keyStart(block, of: values) + part.lowerBound * values.columns, transposed: false,
        leading: values.columns,
        sums + run.group * state.rows * shape.headSize, leading: shape.headSize,
        rows: state.rows, columns: shape.headSize, inner: part.count, beta: 1)
    }
  }

  /// Divides by the softmax's denominator and stores the statistics of one row.
  private func finish(
    _ block: Block, row: Int, position: Int, _ inverse: Float, _ state: BlockState,
    _ results: AttentionResults
  ) {
    let groups = request.groupCount
    let place = reportIndex[row] * shape.heads + block.head
    if let mass = results.groupMass {
      for group in 0..<groups {
        unsafe mass.base[place * groups + group] =
          unsafe state.mass.pointer[position * groups + group] * inverse
      }
    }
    if let sums = results.valueSums, let state = state.valueSums {
      for group in 0..<groups {
        unsafe ck_multiply_scalar(
          state.pointer + (group * block.rows.count + position) * shape.headSize, inverse,
          sums.base + (place * groups + group) * shape.headSize, shape.headSize)
      }
    }
    let (maximum, sum) = unsafe (state.maximum[position], state.sum[position])
    if let entropy = results.entropy {
      // H = log Z + m − Σ e s / Z with e = exp(s − m), Z = Σ e.
      let value = unsafe sum == 0 ? 0 : logf(sum) + maximum - state.entropy[position] * inverse
      unsafe entropy.base[place] = value < 0 ? 0 : value
    }
    if request.topKeyCount > 0 {
      results.setTopKeys(
        place,
        state.top[position].elements.map { ($0.index, expf($0.value * shape.scale - maximum) * inverse) })
    }
    // Masked logits must stay far below the maximum of a row without keys too.
    results.keepNormaliser(place, maximum: sum == 0 ? 0 : maximum, inverse: inverse)
  }
}
