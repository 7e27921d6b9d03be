/// The largest of the numbers seen so far, in descending order; of equal ones the first seen stays before.
///
/// NaN counts as larger than every number, so that it is noticed.
struct LargestElements {
  /// How many are kept.
  let limit: Int
  private(set) var elements: [(value: Float, index: Int)] = []

  init(limit: Int) { self.limit = limit }

  /// Takes a number with the index it stands at.
  mutating func insert(_ value: Float, at index: Int) {
    if elements.count == limit {
      guard let last = elements.last, Self.isLarger(value, than: last.value) else { return }
      elements.removeLast()
    }
    var (low, high) = (0, elements.count)
    while low < high {
      let middle = (low + high) / 2
      if Self.isLarger(value, than: elements[middle].value) { high = middle } else { low = middle + 1 }
    }
    elements.insert((value, index), at: low)
  }

  private static func isLarger(_ value: Float, than other: Float) -> Bool {
    value > other || value.isNaN && !other.isNaN
  }
}

extension Tensor {
  /// The k largest elements of each innermost row, largest first; ties go to the lower index, NaN comes first.
  ///
  /// - Returns: Values and indices, `rows` lists of `min(k, columns)` each.
  public func topK(_ k: Int) -> (values: [[Float]], indices: [[Int]]) {
    let (values, columns) = (hostValues(), columns)
    let best = (0..<rows).map { row in
      var best = LargestElements(limit: max(k, 0))
      for column in 0..<columns { best.insert(values[row * columns + column], at: column) }
      return best.elements
    }
    return (best.map { $0.map(\.value) }, best.map { $0.map(\.index) })
  }
}
