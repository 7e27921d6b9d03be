import TensorCore

/// The inputs of a modality of any number of vectors: the first steps of each sample, then zeros.
struct SequenceRows: SampleRows {
  /// What a shard holds.
  private struct Shard {
    /// `[steps of all samples, size]`.
    let values: StoredTensor
    /// Where the steps of each sample begin, and the end.
    let offsets: [Int]
  }

  private let shards: [Shard]
  private let starts: [Int]
  /// `[steps, size]`.
  let shape: [Int]
  let count: Int

  /// - Parameters:
  ///   - shards: Tensors and their offsets, checked against the manifest.
  ///   - shape: `[steps, size]`; longer samples are cut.
  init(_ shards: [(values: StoredTensor, offsets: [Int])], shape: [Int]) {
    self.shards = shards.map { Shard(values: $0.values, offsets: $0.offsets) }
    self.shape = shape
    var (starts, count) = ([Int](), 0)
    for shard in self.shards {
      starts.append(count)
      count += shard.offsets.count - 1
    }
    (self.starts, self.count) = (starts, count)
  }

  func tensor(_ indices: [Int], _ draw: AugmentationDraw?) -> Tensor {
    let (steps, size) = (shape[0], shape[1])
    var values: [Float] = []
    values.reserveCapacity(indices.count * steps * size)
    for index in indices {
      require(0..<count ~= index, "sample \(index) of \(count)")
      // A shard without samples starts where the next one does.
      let place = starts.lastIndex { $0 <= index } ?? 0
      let (shard, row) = (shards[place], index - starts[place])
      let kept = min(steps, shard.offsets[row + 1] - shard.offsets[row])
      let start = shard.offsets[row] * size
      // Opening has found the type to be F32.
      values += (try? shard.values.slice(start..<start + kept * size).floats()) ?? []
      values += Array(repeating: 0, count: (steps - kept) * size)
    }
    return Tensor(values, shape: [indices.count] + shape)
  }
}
