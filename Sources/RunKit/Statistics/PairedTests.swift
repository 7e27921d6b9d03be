import Foundation

/// Tests of whether the same samples measured twice differ.
public enum PairedTests {
  /// Student's t test of a mean of 0, for differences that are independent or come in clusters.
  ///
  ///     t = mean / se,   se² = K / (K − 1) · Σ_k (Σ_{i in k} (dᵢ − mean))² / n²,   K − 1 degrees of freedom
  ///
  /// With a cluster for each sample this is the ordinary paired t test.
  ///
  /// Source: Student, "The Probable Error of a Mean", Biometrika 6(1), 1908; clusters: Liang and Zeger, "Longitudinal Data
  /// Analysis Using Generalized Linear Models", Biometrika 73(1), 1986.
  ///
  /// - Parameters:
  ///   - differences: After − before of each sample.
  ///   - clusters: The cluster of each sample, or nil if the samples are independent.
  /// - Returns: The two-sided p value; 1 where every difference is 0, 0 where all are the same other number; nil for fewer
  ///   than two clusters or differences that are not finite.
  public static func tTest(_ differences: [Double], clusters: Clusters? = nil) -> Double? {
    precondition(clusters.map { $0.indices.count == differences.count } ?? true, "a cluster for each sample")
    let unitCount = clusters?.count ?? differences.count
    guard unitCount > 1, differences.allSatisfy(\.isFinite) else { return nil }
    let count = Double(differences.count)
    let mean = differences.reduce(0, +) / count
    var sums = [Double](repeating: 0, count: unitCount)
    for (sample, difference) in differences.enumerated() {
      sums[clusters?.indices[sample] ?? sample] += difference - mean
    }
    let units = Double(unitCount)
    let squares = sums.reduce(0) { $0 + $1 * $1 }
    let error = (units / (units - 1) * squares).squareRoot() / count
    // Rounding leaves a spread where there is none.
    let least = 1e-14 * differences.reduce(0) { max($0, abs($1)) }
    if error <= least { return abs(mean) <= least ? 1 : 0 }
    return min(1, 2 * StudentT.probability(below: -abs(mean) / error, degreesOfFreedom: units - 1))
  }

  /// McNemar's exact test for two answers that are each right or wrong: of the samples on which they differ, each side is
  /// equally likely.
  ///
  ///     p = min(1, 2 Σ_{k ≤ min(b, c)} C(b + c, k) / 2^(b + c))
  ///
  /// Source: McNemar, "Note on the Sampling Error of the Difference Between Correlated Proportions or Percentages",
  /// Psychometrika 12(2), 1947; exact: Mosteller, "Some Statistical Problems in Measuring the Subjective Response to
  /// Drugs", Biometrics 8(3), 1952.
  ///
  /// - Parameters:
  ///   - onlyBefore: b, samples right before and wrong after.
  ///   - onlyAfter: c, samples wrong before and right after.
  /// - Returns: The two-sided p value; 1 where they never differ.
  public static func mcNemar(onlyBefore: Int, onlyAfter: Int) -> Double {
    let (fewer, all) = (min(onlyBefore, onlyAfter), onlyBefore + onlyAfter)
    if all == 0 { return 1 }
    let n = Double(all)
    var sum = 0.0
    for k in 0...fewer {
      let chosen = Double(k)
      let ways: Double = lgamma(n + 1) - lgamma(chosen + 1) - lgamma(n - chosen + 1)
      sum += exp(ways - n * log(2.0))
    }
    return min(1, 2 * sum)
  }

  /// Holm's correction for a family of tests: the p values that may be compared with a level at once, so that the chance
  /// of any false finding in the family stays at most the level, whatever their dependence.
  ///
  ///     p̃₍ᵢ₎ = max_{j ≤ i} min(1, (m − j + 1) p₍ⱼ₎)   in ascending order, j from 1
  ///
  /// Source: Holm, "A Simple Sequentially Rejective Multiple Test Procedure", Scandinavian Journal of Statistics 6(2), 1979.
  ///
  /// - Parameter values: p values; nil for tests that could not be made, which do not count.
  public static func holm(_ values: [Double?]) -> [Double?] {
    let made = values.indices.filter { values[$0] != nil }
    // The index makes the order complete where two are equal.
    let ordered = made.sorted { (values[$0] ?? 1, $0) < (values[$1] ?? 1, $1) }
    var corrected = [Double?](repeating: nil, count: values.count)
    var largest = 0.0
    for (rank, index) in ordered.enumerated() {
      largest = max(largest, min(1, Double(ordered.count - rank) * (values[index] ?? 1)))
      corrected[index] = largest
    }
    return corrected
  }
}
