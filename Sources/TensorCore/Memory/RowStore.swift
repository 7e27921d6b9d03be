/// Rows of a fixed width that several sequences append to: the store of a key-value cache.
///
/// Each sequence owns a run of rows with room to grow; when one run is full all runs are doubled. Not for use from
/// several threads at once.
public final class RowStore {
  private let width: Int
  private var counts: [Int]
  private var capacity: Int
  private var rows: Tensor

  /// - Parameters:
  ///   - sequences: How many sequences append.
  ///   - width: Elements of a row.
  ///   - capacity: Room for rows of each sequence at first.
  public init(sequences: Int, width: Int, capacity: Int) {
    self.width = width
    self.capacity = max(1, capacity)
    counts = [Int](repeating: 0, count: sequences)
    rows = Tensor(uninitialized: [sequences * self.capacity, width])
  }

  /// The first row of each sequence.
  public var starts: [Int] { counts.indices.map { $0 * capacity } }
  /// The number of rows of each sequence.
  public var rowCounts: [Int] { counts }
  /// All rows, also those with undefined contents after the end of a sequence; changes with the next append.
  public var tensor: Tensor { rows }

  /// Appends the rows of each segment to its sequence.
  public func append(_ new: Tensor, segments: RowSegments) {
    require(
      segments.count == counts.count && new.columns == width && new.rows == segments.rowCount,
      "\(new.shape) does not append to \(counts.count) sequences of width \(width)")
    let needed = counts.indices.map { counts[$0] + segments[$0].count }.max() ?? 0
    if needed > capacity { grow(to: max(needed, 2 * capacity)) }
    for sequence in counts.indices {
      let source = segments[sequence]
      unsafe (rows.base + (sequence * capacity + counts[sequence]) * width).update(
        from: new.base + source.lowerBound * width, count: source.count * width)
      counts[sequence] += source.count
    }
  }

  private func grow(to newCapacity: Int) {
    let larger = Tensor(uninitialized: [counts.count * newCapacity, width])
    for sequence in counts.indices {
      unsafe (larger.base + sequence * newCapacity * width).update(
        from: rows.base + sequence * capacity * width, count: counts[sequence] * width)
    }
    rows = larger
    capacity = newCapacity
  }
}
