import CKernels
import Glibc

extension AttentionJob {
  /// Attention of one block of queries with whole rows of probabilities, so that an intervention can rewrite them.
  ///
  /// Memory is one block of queries times all keys.
  func edited(_ block: Block, _ edit: AttentionEdit, _ results: AttentionResults?) {
    let keyCount = sequences[block.sequence].keys.count
    let logits = TensorStorage(uninitialized: block.rows.count * max(keyCount, 1))
    unsafe self.logits(block, keys: 0..<keyCount, into: logits.pointer, leading: keyCount)
    for (position, row) in block.rows.enumerated() {
      let line = unsafe logits.pointer + position * keyCount
      var (maximum, sum) = (Self.masked, Float(0))
      let reach = reach(block, row: row, keys: 0..<keyCount)
      _ = unsafe ck_softmax_update(line, reach, shape.scale, &maximum, &sum)
      unsafe ck_multiply_scalar(line, sum == 0 ? 0 : 1 / sum, line, reach)
      unsafe (line + reach).update(repeating: 0, count: keyCount - reach)
      guard block.kept.contains(row) else { continue }
      var probabilities = unsafe Array(UnsafeBufferPointer(start: line, count: keyCount))
      edit(block.head, row, &probabilities)
      require(probabilities.count == keyCount, "an attention edit changed the number of keys")
      for key in 0..<keyCount { unsafe line[key] = probabilities[key] }
      if let results, reportIndex[row] >= 0 { report(probabilities, block, row: row, results) }
    }
    unsafe withOutput(block) { result, width in
      unsafe Kernels.gemm(
        logits.pointer, transposed: false, leading: max(keyCount, 1),
        keyStart(block, of: values), transposed: false, leading: values.columns,
        result, leading: width, rows: block.rows.count, columns: shape.headSize, inner: keyCount)
    }
  }

  /// The statistics of one row of probabilities, by their definitions.
  private func report(_ probabilities: [Float], _ block: Block, row: Int, _ results: AttentionResults) {
    let place = reportIndex[row] * shape.heads + block.head
    let groups = request.groupCount
    if let mass = results.groupMass {
      var sums = [Float](repeating: 0, count: groups)
      for run in groupRuns[block.sequence] {
        for key in run.keys { sums[run.group] += probabilities[key] }
      }
      for group in 0..<groups { unsafe mass.base[place * groups + group] = sums[group] }
    }
    if let sums = results.valueSums {
      let target = unsafe sums.base + place * groups * shape.headSize
      unsafe target.update(repeating: 0, count: groups * shape.headSize)
      let first = unsafe keyStart(block, of: values)
      for run in groupRuns[block.sequence] {
        for key in run.keys {
          unsafe ck_add_scaled(
            target + run.group * shape.headSize, first + key * values.columns, probabilities[key],
            shape.headSize)
        }
      }
    }
    if let entropy = results.entropy {
      unsafe entropy.base[place] = probabilities.reduce(0) { $1 <= 0 ? $0 : $0 - $1 * logf($1) }
    }
    if request.topKeyCount > 0 {
      var best = LargestElements(limit: request.topKeyCount)
      for (key, probability) in probabilities.enumerated() where !(probability <= 0) {
        best.insert(probability, at: key)
      }
      results.setTopKeys(place, best.elements.map { ($0.index, $0.value) })
    }
    unsafe probabilities.withUnsafeBufferPointer { line in
      guard let start = line.baseAddress else { return }
      unsafe results.secondPass?.add(start, count: line.count, factor: 1, block, row: row, from: 0)
    }
  }
}
