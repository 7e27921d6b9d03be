/// One quantity of the same items in several runs, such as trainings with other seeds: every run has every item.
///
/// Both were drawn from more that there could be. What chance did to an item is the same in all runs and does not average
/// out over them; what it did to a run is the same in all its items. So runs and items vary in two directions.
public struct CrossedSamples: Equatable, Sendable {
  /// How many runs there are.
  public let runCount: Int
  /// How many units of items have a value in some run.
  public var unitCount: Int { units.count }
  /// The mean over all values; nil if there are none.
  public let mean: Double?

  /// Units with a value: clusters of items, or items.
  private let units: [Int]
  /// How many units there are, with and without values.
  fileprivate let allUnitCount: Int
  /// Σ of the values of a unit in a run, `[units, runs]`.
  private let sums: [Double]
  /// How many values these are, `[units, runs]`.
  private let counts: [Double]
  /// Σ of the values minus the mean of all, `[units, runs]`.
  private let residuals: [Double]

  /// - Parameters:
  ///   - values: `[runs][items]`, nil where the quantity is undefined; at least one run, all of the same items.
  ///   - clusters: The cluster of each item, or nil if items are independent.
  public init(_ values: [[Double?]], clusters: Clusters? = nil) {
    precondition(
      !values.isEmpty && values.allSatisfy { $0.count == values[0].count }, "the same items in each run")
    precondition(clusters.map { $0.indices.count == values[0].count } ?? true, "a cluster for each item")
    let runCount = values.count
    let unitCount = clusters?.count ?? values[0].count
    var sums = [Double](repeating: 0, count: unitCount * runCount)
    var counts = sums
    for (run, items) in values.enumerated() {
      for (item, value) in items.enumerated() {
        guard let value else { continue }
        let place = (clusters?.indices[item] ?? item) * runCount + run
        sums[place] += value
        counts[place] += 1
      }
    }
    let units = (0..<unitCount).filter { unit in
      (0..<runCount).contains { counts[unit * runCount + $0] > 0 }
    }
    self.runCount = runCount
    self.units = units
    allUnitCount = unitCount
    self.sums = units.flatMap { sums[$0 * runCount..<($0 + 1) * runCount] }
    self.counts = units.flatMap { counts[$0 * runCount..<($0 + 1) * runCount] }
    let count = self.counts.reduce(0, +)
    let mean = count > 0 ? self.sums.reduce(0, +) / count : nil
    self.mean = mean
    residuals = zip(self.sums, self.counts).map { $0 - $1 * (mean ?? 0) }
  }

  /// How far the mean may be off, with runs and units both taken as drawn at random.
  ///
  ///     se² = V_runs + V_units − V_both, at least the larger of the first two
  ///     V_g = G / (G − 1) · Σ_g (Σ of the residuals in g)² / n²     over the G runs, units, or units within runs
  ///
  /// Source: Cameron, Gelbach and Miller, "Robust Inference With Multiway Clustering", Journal of Business and Economic
  /// Statistics 29(2), 2011, equation 2.8. The bound is for few runs, where the difference may be negative.
  ///
  /// - Returns: The standard error; nil for fewer than two runs or units.
  public var standardError: Double? {
    guard runCount > 1, unitCount > 1 else { return nil }
    func variance(_ sums: [Double]) -> Double {
      let groups = Double(sums.count)
      return groups / (groups - 1) * sums.reduce(0) { $0 + $1 * $1 }
    }
    var byRun = [Double](repeating: 0, count: runCount)
    var byUnit = [Double](repeating: 0, count: unitCount)
    for unit in 0..<unitCount {
      for run in 0..<runCount {
        byRun[run] += residuals[unit * runCount + run]
        byUnit[unit] += residuals[unit * runCount + run]
      }
    }
    let (runs, units, both) = (variance(byRun), variance(byUnit), variance(residuals))
    return max(runs + units - both, runs, units).squareRoot() / counts.reduce(0, +)
  }

  /// Those of the t distribution that goes with the standard error: one less than the runs or the units, whichever are
  /// fewer.
  public var degreesOfFreedom: Double { Double(min(runCount, unitCount) - 1) }

  /// The p value of a mean of 0, two-sided, by Student's t distribution; 1 where every value is 0.
  public var p: Double? {
    guard let mean, let error = standardError else { return nil }
    // Rounding leaves a spread where there is none.
    let least = 1e-14 * sums.reduce(0) { max($0, abs($1)) }
    if error <= least { return abs(mean) <= least ? 1 : 0 }
    return min(1, 2 * StudentT.probability(below: -abs(mean) / error, degreesOfFreedom: degreesOfFreedom))
  }

  /// mean ± t · se.
  public func interval(confidence: Double) -> ConfidenceInterval? {
    guard let mean, let error = standardError else { return nil }
    let reach = StudentT.quantile((1 + confidence) / 2, degreesOfFreedom: degreesOfFreedom) * error
    return ConfidenceInterval(
      estimate: mean, lower: mean - reach, upper: mean + reach, confidence: confidence)
  }

  /// The smallest true mean that a test at the level 1 − confidence finds with this power:
  ///
  ///     (t(1 − α/2) + t(power)) · se
  ///
  /// Source: Bloom, "Minimum Detectable Effects", Evaluation Review 19(5), 1995.
  public func detectableMean(confidence: Double, power: Double = 0.8) -> Double? {
    standardError.map { error in
      let reach = StudentT.quantile((1 + confidence) / 2, degreesOfFreedom: degreesOfFreedom)
      return (reach + StudentT.quantile(power, degreesOfFreedom: degreesOfFreedom)) * error
    }
  }

  /// The mean where each run and each unit counts as often as it was drawn; NaN if no value was.
  fileprivate func mean(runWeights: [Double], unitWeights: [Double]) -> Double {
    var (sum, count) = (0.0, 0.0)
    for (place, unit) in units.enumerated() {
      let weight = unitWeights[unit]
      if weight == 0 { continue }
      let start = place * runCount
      var (ofUnit, inUnit) = (0.0, 0.0)
      for run in 0..<runCount {
        ofUnit += runWeights[run] * sums[start + run]
        inUnit += runWeights[run] * counts[start + run]
      }
      sum += weight * ofUnit
      count += weight * inUnit
    }
    return sum / count
  }
}

extension Bootstrap {
  /// The intervals of the means of some quantities of the same items in the same runs.
  ///
  /// A replicate draws runs and, apart from them, units of items, and counts a value as often as its run times as often
  /// as its unit. Drawing items anew in each run would take those that all runs share for as many others.
  ///
  /// Few runs make percentiles too narrow, whatever the number of items; so the bounds are those of
  /// `expandedPercentile` for the fewer of the two, whatever `bounds` says.
  ///
  /// Source: Owen, "The Pigeonhole Bootstrap", Annals of Applied Statistics 1(2), 2007, arXiv:0712.1111.
  ///
  /// - Returns: One interval for each quantity; nil for fewer than two runs or units, or a replicate without values.
  public func means(of quantities: [CrossedSamples]) -> [ConfidenceInterval?] {
    guard let first = quantities.first else { return [] }
    precondition(
      quantities.allSatisfy { $0.runCount == first.runCount && $0.allUnitCount == first.allUnitCount },
      "quantities of the same items in the same runs")
    var means = [[Double]](repeating: [], count: quantities.count)
    var runWeights = [Double](repeating: 0, count: first.runCount)
    var unitWeights = [Double](repeating: 0, count: first.allUnitCount)
    for replicate in 0..<replicates {
      draw(replicate: replicate, purpose: "bootstrap.runs", into: &runWeights)
      draw(replicate: replicate, into: &unitWeights)
      for (place, quantity) in quantities.enumerated() {
        means[place].append(quantity.mean(runWeights: runWeights, unitWeights: unitWeights))
      }
    }
    var expanded = self
    expanded.bounds = .expandedPercentile
    return quantities.indices.map { place in
      let quantity = quantities[place]
      guard quantity.runCount > 1, quantity.unitCount > 1, let mean = quantity.mean else { return nil }
      return expanded.interval(
        mean, means[place], unitCount: min(quantity.runCount, quantity.unitCount))
    }
  }

  /// Any statistics of the same items in the same runs, for each replicate of `means(of:)`: runs and, apart from them,
  /// items are drawn.
  ///
  /// - Parameter statistics: Computes the statistics, always as many, from how often each run and each item counts.
  /// - Returns: `[replicate][statistic]`.
  public func crossedReplicates(
    runCount: Int, itemCount: Int, statistics: (_ runWeights: [Double], _ itemWeights: [Double]) -> [Double]
  ) -> [[Double]] {
    precondition(runCount > 0 && itemCount > 0, "\(runCount) runs of \(itemCount) items")
    var runWeights = [Double](repeating: 0, count: runCount)
    var itemWeights = [Double](repeating: 0, count: itemCount)
    return (0..<replicates).map { replicate in
      draw(replicate: replicate, purpose: "bootstrap.runs", into: &runWeights)
      draw(replicate: replicate, into: &itemWeights)
      return statistics(runWeights, itemWeights)
    }
  }

  /// The interval of one statistic whose replicates are at hand, with the bounds of `means(of:)`: for the fewer of runs and
  /// items. Of a single run it is that of its items alone, and says nothing of other runs.
  ///
  /// - Returns: nil for a single item, or values that are not finite.
  public func crossedInterval(
    estimate: Double, replicates: [Double], runCount: Int, itemCount: Int
  ) -> ConfidenceInterval? {
    let units = runCount > 1 ? min(runCount, itemCount) : itemCount
    guard units > 1 else { return nil }
    var expanded = self
    expanded.bounds = .expandedPercentile
    return expanded.interval(estimate, replicates, unitCount: units)
  }
}
