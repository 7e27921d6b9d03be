/// Spearman's rank correlation: the correlation of ranks, equal values sharing the mean of theirs.
///
/// Source: Spearman, "The Proof and Measurement of Association between Two Things", American Journal of Psychology 15,
/// 1904.
enum RankCorrelation {
  /// From −1 to 1; nil for fewer than three pairs, or where one side does not vary.
  static func spearman(_ left: [Double], _ right: [Double]) -> Double? {
    guard left.count == right.count, left.count > 2 else { return nil }
    let (x, y) = (ranks(left), ranks(right))
    let mean = Double(left.count + 1) / 2
    var (product, squareX, squareY) = (0.0, 0.0, 0.0)
    for index in x.indices {
      let (a, b) = (x[index] - mean, y[index] - mean)
      product += a * b
      squareX += a * a
      squareY += b * b
    }
    guard squareX > 0, squareY > 0 else { return nil }
    return product / (squareX * squareY).squareRoot()
  }

  /// Ranks from 1.
  static func ranks(_ values: [Double]) -> [Double] {
    let order = values.indices.sorted { (values[$0], $0) < (values[$1], $1) }
    var ranks = [Double](repeating: 0, count: values.count)
    var start = 0
    while start < order.count {
      var end = start + 1
      while end < order.count, values[order[end]] == values[order[start]] { end += 1 }
      // Places start + 1 ... end share their mean.
      for place in start..<end { ranks[order[place]] = Double(start + 1 + end) / 2 }
      start = end
    }
    return ranks
  }
}
