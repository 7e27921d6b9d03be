import Foundation
import RunKit

/// Tests of whether two methods differ.
enum SignificanceTests {
  /// Counts of samples that only one of two methods has right.
  static func disagreements(_ first: [Bool], _ second: [Bool]) -> (onlyFirst: Int, onlySecond: Int) {
    (zip(first, second).count { $0 && !$1 }, zip(first, second).count { !$0 && $1 })
  }

  /// What the signed-rank test computes.
  struct SignedRank: Equatable {
    /// Ranks of the differences that are not 0, in their order; ties share the mean rank.
    var ranks: [Double]
    /// W₊ and W₋, sums of ranks of positive and of negative differences.
    var positive: Double
    var negative: Double
    /// P over all signs of these ranks.
    var exact: Double
    /// From the normal distribution with the variance corrected for ties, without and with a continuity correction.
    var normal: Double
    var normalCorrected: Double
  }

  /// The signed-rank test of Wilcoxon, two-sided; differences of 0 are left out.
  ///
  /// Source: Wilcoxon, Biometrics Bulletin 1(6), 1945.
  static func signedRank(_ differences: [Double]) -> SignedRank {
    let kept = differences.filter { $0 != 0 }
    let order = kept.indices.sorted { abs(kept[$0]) < abs(kept[$1]) }
    var ranks = [Double](repeating: 0, count: kept.count)
    var (start, tieSum) = (0, 0.0)
    while start < order.count {
      var end = start
      while end < order.count && abs(kept[order[end]]) == abs(kept[order[start]]) { end += 1 }
      for place in start..<end { ranks[order[place]] = Double(start + 1 + end) / 2 }
      let size = Double(end - start)
      tieSum += size * size * size - size
      start = end
    }
    let positive = zip(ranks, kept).reduce(0.0) { $0 + ($1.1 > 0 ? $1.0 : 0) }
    let negative = zip(ranks, kept).reduce(0.0) { $0 + ($1.1 < 0 ? $1.0 : 0) }
    let n = Double(kept.count)
    let variance = n * (n + 1) * (2 * n + 1) / 24 - tieSum / 48
    func normal(_ correction: Double) -> Double {
      guard variance > 0 else { return 1 }
      let distance = max(0, abs(min(positive, negative) - n * (n + 1) / 4) - correction)
      return min(1, 2 * Normal.probability(below: -distance / variance.squareRoot()))
    }
    return SignedRank(
      ranks: ranks, positive: positive, negative: negative,
      exact: exactSignedRank(ranks, statistic: min(positive, negative)), normal: normal(0),
      normalCorrected: normal(0.5))
  }

  /// min(1, 2 P(W ≤ w)), each rank positive or negative with probability ½: by counting sums of doubled ranks.
  private static func exactSignedRank(_ ranks: [Double], statistic: Double) -> Double {
    let doubled = ranks.map { Int((2 * $0).rounded()) }
    var probabilities = [1.0]
    for rank in doubled {
      var next = [Double](repeating: 0, count: probabilities.count + rank)
      for (sum, probability) in probabilities.enumerated() {
        next[sum] += probability / 2
        next[sum + rank] += probability / 2
      }
      probabilities = next
    }
    let limit = Int((2 * statistic).rounded())
    return min(1, 2 * probabilities.prefix(limit + 1).reduce(0, +))
  }

}
