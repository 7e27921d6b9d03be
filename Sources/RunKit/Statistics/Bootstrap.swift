/// Confidence intervals from resampling the data with replacement.
///
/// A replicate draws as many units as there are, each equally likely, so that unit k is drawn wₖ times, and
/// computes the statistic again. The bounds are quantiles of the replicates:
///
///     α/2 and 1 − α/2,   α = 1 − confidence
///
/// taken between the two nearest replicates in proportion (position (R − 1) p of the sorted replicates, from 0).
/// The units are the samples or, if samples share an image or a speaker, the clusters: then whole clusters are
/// drawn, and a mean is over the samples of the drawn clusters, Σ wₖ Sₖ / Σ wₖ nₖ with the sums Sₖ and counts nₖ
/// of the clusters. Intervals of dependent samples that ignore the clusters are too narrow.
///
/// Replicate r draws from the stream (seed, "bootstrap", id r): it does not depend on how many there are.
///
/// Source: Efron, "Bootstrap Methods: Another Look at the Jackknife", Annals of Statistics 7(1), 1979; clusters:
/// Davison and Hinkley, "Bootstrap Methods and their Application", 1997, section 3.8.
public struct Bootstrap: Equatable, Sendable {
  /// Which quantiles of the replicates are the bounds.
  public enum Bounds: String, Sendable, CaseIterable {
    /// α/2 and 1 − α/2. Somewhat too narrow for few units: by the factor √((n − 1) / n) and for want of the t
    /// distribution, 93 % in place of 95 % for 25 units.
    case percentile
    /// Moved outward by these two effects: α/2 becomes Φ(−√(n / (n − 1)) · t(1 − α/2, n − 1)).
    ///
    /// Source: Hesterberg, "What Teachers Should Know About the Bootstrap", The American Statistician 69(4), 2015,
    /// arXiv:1411.5279, section 5.2.
    case expandedPercentile
  }

  /// How many times the data is resampled, R; at least 1.
  public var replicates: Int
  /// The share of samples whose interval is to hold the true value; above 0, below 1.
  public var confidence: Double
  /// The seed of the run.
  public var seed: Int
  /// Which quantiles are the bounds.
  public var bounds: Bounds

  /// A bootstrap with these settings; one outside its range is a defect of the caller and traps.
  public init(
    replicates: Int = 2000, confidence: Double = 0.95, seed: Int = 0, bounds: Bounds = .percentile
  ) {
    precondition(replicates >= 1, "\(replicates) replicates")
    precondition(confidence > 0 && confidence < 1, "the confidence \(confidence) is not between 0 and 1")
    self.replicates = replicates
    self.confidence = confidence
    self.seed = seed
    self.bounds = bounds
  }

  /// The interval of the mean.
  ///
  /// - Parameters:
  ///   - values: One for each sample.
  ///   - clusters: The cluster of each sample, or nil if the samples are independent.
  /// - Returns: nil for fewer than two units or values that are not finite.
  public func mean(of values: [Double], clusters: Clusters? = nil) -> ConfidenceInterval? {
    columnMeans(of: values, columns: 1, clusters: clusters)[0]
  }

  /// The interval of the mean of `after − before`, for the same samples measured twice.
  ///
  /// - Returns: nil for fewer than two units or values that are not finite.
  public func pairedDifference(
    before: [Double], after: [Double], clusters: Clusters? = nil
  ) -> ConfidenceInterval? {
    precondition(before.count == after.count, "\(before.count) values before, \(after.count) after")
    return mean(of: zip(before, after).map { $1 - $0 }, clusters: clusters)
  }

  /// The intervals of any statistics of weighted samples, such as ratios of means.
  ///
  /// - Parameters:
  ///   - sampleCount: How many samples there are.
  ///   - clusters: The cluster of each sample, or nil if the samples are independent.
  ///   - statistics: Computes the statistics, always as many, from how often each sample counts (`[samples]`;
  ///     all ones for the estimate).
  /// - Returns: One interval for each statistic; nil for fewer than two units, or if the statistic is not finite
  ///   in some replicate.
  public func intervals(
    sampleCount: Int, clusters: Clusters? = nil, statistics: (_ weights: [Double]) -> [Double]
  ) -> [ConfidenceInterval?] {
    let unitCount = checkedUnitCount(sampleCount, clusters)
    let estimates = statistics([Double](repeating: 1, count: sampleCount))
    guard unitCount >= 2 else { return estimates.map { _ in nil } }
    var drawn = [[Double]](repeating: [], count: estimates.count)
    var unitWeights = [Double](repeating: 0, count: unitCount)
    for replicate in 0..<replicates {
      draw(replicate: replicate, into: &unitWeights)
      let weights = clusters.map { $0.indices.map { unitWeights[$0] } } ?? unitWeights
      let values = statistics(weights)
      precondition(values.count == estimates.count, "\(values.count) statistics, before \(estimates.count)")
      for index in values.indices { drawn[index].append(values[index]) }
    }
    return estimates.indices.map { interval(estimates[$0], drawn[$0], unitCount: unitCount) }
  }

  /// The interval of any statistic of weighted samples; see `intervals(sampleCount:clusters:statistics:)`.
  public func interval(
    sampleCount: Int, clusters: Clusters? = nil, statistic: (_ weights: [Double]) -> Double
  ) -> ConfidenceInterval? {
    intervals(sampleCount: sampleCount, clusters: clusters) { [statistic($0)] }[0]
  }

  /// How often each unit is drawn in a replicate.
  func draw(replicate: Int, purpose: String = "bootstrap", into weights: inout [Double]) {
    for index in weights.indices { weights[index] = 0 }
    var stream = RandomStream(seed: seed, purpose: purpose, id: replicate)
    let count = weights.count
    for _ in 0..<count { weights[stream.integer(below: count)] += 1 }
  }

  func checkedUnitCount(_ sampleCount: Int, _ clusters: Clusters?) -> Int {
    guard let clusters else { return sampleCount }
    precondition(
      clusters.indices.count == sampleCount,
      "\(clusters.indices.count) cluster indices, \(sampleCount) samples")
    return clusters.count
  }

  /// The interval whose bounds are quantiles of `replicates`.
  func interval(_ estimate: Double, _ replicates: [Double], unitCount: Int) -> ConfidenceInterval? {
    guard estimate.isFinite, replicates.allSatisfy(\.isFinite) else { return nil }
    let sorted = replicates.sorted()
    let tail = tailShare(unitCount: unitCount)
    return ConfidenceInterval(
      estimate: estimate, lower: Self.quantile(tail, of: sorted), upper: Self.quantile(1 - tail, of: sorted),
      confidence: confidence)
  }

  private func tailShare(unitCount: Int) -> Double {
    switch bounds {
    case .percentile: return (1 - confidence) / 2
    case .expandedPercentile:
      let units = Double(unitCount)
      let t = StudentT.quantile((1 + confidence) / 2, degreesOfFreedom: units - 1)
      return Normal.probability(below: -(units / (units - 1)).squareRoot() * t)
    }
  }

  /// The value at position (count − 1) · share of sorted values, between neighbours in proportion.
  static func quantile(_ share: Double, of sorted: [Double]) -> Double {
    let position = Double(sorted.count - 1) * share
    let below = min(Int(position), sorted.count - 1)
    let above = min(below + 1, sorted.count - 1)
    return sorted[below] + (position - Double(below)) * (sorted[above] - sorted[below])
  }
}

/// Which samples belong together.
public struct Clusters: Equatable, Sendable {
  /// The cluster of each sample, in `0..<count`.
  public let indices: [Int]
  /// How many clusters there are.
  public let count: Int

  /// Samples with the same key, byte for byte, form a cluster; clusters are numbered as they first appear.
  public init(keys: some Sequence<String>) {
    // Keys by their bytes: `String` takes different spellings of one character for equal.
    var numbers: [[UInt8]: Int] = [:]
    var indices: [Int] = []
    for key in keys {
      let bytes = [UInt8](key.utf8)
      let number = numbers[bytes] ?? numbers.count
      numbers[bytes] = number
      indices.append(number)
    }
    self.indices = indices
    count = numbers.count
  }
}
