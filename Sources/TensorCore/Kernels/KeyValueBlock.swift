import CKernels

/// Some keys and values of one head, packed so that many query rows can be multiplied with them.
///
/// Every product is one sum in the order of its inner index, so a query row has the same bits whatever rows are beside
/// it. For a few rows packing would cost more than the products: they read keys and values where they lie.
@safe struct KeyValueBlock {
  /// Query rows of a sequence from which on packing pays.
  private static let packsFromRows = 4

  private let headSize: Int
  private let stride: Int
  private let firstKey: UnsafePointer<Float>
  private let firstValue: UnsafePointer<Float>
  private let packed: (keys: TensorStorage, values: TensorStorage)?
  private var loaded = 0..<0

  /// Room for `capacity` keys of a sequence, of the key-value head that a query head uses.
  init(_ job: AttentionJob, sequence: Int, head: Int, capacity: Int) {
    let (shape, rows) = (job.shape, job.sequences[sequence])
    headSize = shape.headSize
    stride = job.keys.columns
    let start = rows.keys.lowerBound * stride + head * shape.keyValueHeads / shape.heads * headSize
    unsafe firstKey = unsafe UnsafePointer(job.keys.base + start)
    unsafe firstValue = unsafe UnsafePointer(job.values.base + start)
    packed =
      rows.queries.count < Self.packsFromRows
      ? nil
      : (
        TensorStorage(uninitialized: Self.panels(capacity) * headSize),
        TensorStorage(uninitialized: Self.panels(headSize) * capacity)
      )
  }

  /// The next multiple of the width of a panel: the room a row of logits needs.
  static func panels(_ count: Int) -> Int { (count + 15) / 16 * 16 }

  /// Takes keys `range` of the sequence, at most as many as there is room for.
  mutating func load(_ range: Range<Int>) {
    loaded = range
    guard let packed else { return }
    let offset = range.lowerBound * stride
    unsafe ck_pack_transposed(firstKey + offset, stride, range.count, headSize, packed.keys.pointer)
    unsafe ck_pack(firstValue + offset, stride, range.count, headSize, packed.values.pointer)
  }

  /// q kᵀ of some query rows for the first `count` loaded keys.
  ///
  /// - Parameter leading: At least `panels(count)`: rows are written up to the end of a panel.
  func logits(
    _ queries: UnsafePointer<Float>, stride queryStride: Int, rows: Int, keys count: Int,
    into logits: UnsafeMutablePointer<Float>, leading: Int
  ) {
    if let packed {
      unsafe ck_product(
        queries, queryStride, rows, packed.keys.pointer, 16 * headSize, headSize, Self.panels(count), logits,
        leading, 0)
      return
    }
    for row in 0..<rows {
      for key in 0..<count {
        unsafe logits[row * leading + key] = unsafe ck_dot_f32(
          firstKey + (loaded.lowerBound + key) * stride, queries + row * queryStride, headSize)
      }
    }
  }

  /// Adds Σ weight · value over the loaded keys `keys`, counted from the first loaded one, to rows of `target`.
  ///
  /// - Parameter weights: One row for each row of the target, the weight of the first loaded key first.
  func addValues(
    _ weights: UnsafePointer<Float>, leading: Int, rows: Int, keys: Range<Int>,
    to target: UnsafeMutablePointer<Float>, stride targetStride: Int
  ) {
    if let packed {
      unsafe ck_product(
        weights + keys.lowerBound, leading, rows, packed.values.pointer + 16 * keys.lowerBound,
        16 * loaded.count,
        keys.count, headSize, target, targetStride, 1)
      return
    }
    for row in 0..<rows {
      for key in keys {
        unsafe ck_add_scaled(
          target + row * targetStride, firstValue + (loaded.lowerBound + key) * stride,
          weights[row * leading + key], headSize)
      }
    }
  }
}
