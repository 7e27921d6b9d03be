import CKernels
import Glibc

extension AttentionJob {
  /// Attention of one block of queries with whole rows of probabilities, so that an intervention can rewrite them.
  ///
  /// Memory is one block of queries times all keys.
  func edited(_ block: Block, _ edit: AttentionEdit, _ results: AttentionResults?) {
    let keyCount = sequences[block.sequence].keys.count
    let leading = KeyValueBlock.panels(keyCount)
    var keys = KeyValueBlock(self, sequence: block.sequence, head: block.head, capacity: keyCount)
    keys.load(0..<keyCount)
    let logits = TensorStorage(uninitialized: block.rows.count * leading)
    unsafe self.logits(
      block, start(block, in: queries), stride: queries.columns, keys, first: 0, count: keyCount,
      into: logits.pointer, leading: leading)
    for (position, visible) in visible(block).enumerated() {
      let row = block.rows.lowerBound + position
      let line = unsafe logits.pointer + position * leading
      var (maximum, sum) = (Self.masked, Float(0))
      _ = unsafe ck_softmax_update(line, visible.end, shape.scale, &maximum, &sum)
      unsafe ck_multiply_scalar(line, sum == 0 ? 0 : 1 / sum, line, visible.end)
      unsafe (line + visible.end).update(repeating: 0, count: keyCount - visible.end)
      var probabilities = unsafe Array(UnsafeBufferPointer(start: line, count: keyCount))
      edit(block.head, row, &probabilities)
      require(probabilities.count == keyCount, "an attention edit changed the number of keys")
      for key in 0..<keyCount { unsafe line[key] = probabilities[key] }
      if let results, reportIndex[row] >= 0 { report(probabilities, keys, block, row: row, results) }
    }
    let result = unsafe start(block, in: output)
    for row in 0..<block.rows.count {
      unsafe (result + row * output.columns).update(repeating: 0, count: shape.headSize)
    }
    unsafe keys.addValues(
      logits.pointer, leading: leading, rows: block.rows.count, keys: 0..<keyCount, to: result,
      stride: output.columns)
  }

  /// The statistics of one row of probabilities, by their definitions.
  private func report(
    _ probabilities: [Float], _ keys: KeyValueBlock, _ block: Block, row: Int, _ results: AttentionResults
  ) {
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
      for run in groupRuns[block.sequence] {
        unsafe keys.addValues(
          probabilities, leading: probabilities.count, rows: 1, keys: run.keys,
          to: target + run.group * shape.headSize, stride: shape.headSize)
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
      unsafe results.secondPass?.add(start, count: line.count, block, row: row, from: 0)
    }
  }
}
