import RunKit

/// A mean over samples with its interval.
public struct Estimate: Equatable, Sendable {
  /// The mean over the samples where the quantity is defined; nil if there are none.
  public var mean: Double?
  /// The lower bound of the interval; nil for fewer than two samples or clusters.
  public var low: Double?
  /// The upper bound of the interval; nil as `low`.
  public var high: Double?
  /// The standard deviation over samples (divisor n − 1); nil for fewer than two.
  public var standardDeviation: Double?
  /// The samples where the quantity is defined.
  public var count: Int
  /// The samples where it is not, such as a ratio to a share of 0.
  public var undefinedCount: Int

  /// No samples.
  public static let empty = Estimate(
    mean: nil, low: nil, high: nil, standardDeviation: nil, count: 0, undefinedCount: 0)
}

/// Makes estimates of many quantities over one set of samples, all from the same resamples.
struct SampleEstimator {
  let interval: AttentionDefinition.Interval
  /// One key a sample, or nil for independent samples.
  let clusterKeys: [String]?

  /// Estimates over samples of these clusters.
  init(_ interval: AttentionDefinition.Interval, clusterKeys: [String]?) {
    (self.interval, self.clusterKeys) = (interval, clusterKeys)
  }

  /// The clusters of these samples under the definition; a sample without a key is a cluster of its own.
  init(_ interval: AttentionDefinition.Interval, _ records: [AttentionRecord]) {
    self.interval = interval
    clusterKeys = interval.clusterKey.map { medium in
      records.map { record in
        record.clusters[medium].map { "item \($0)" } ?? "sample \(record.index)"
      }
    }
  }

  /// The estimates of columns of values, one value a sample, nil where undefined.
  func estimates(_ columns: [[Double?]]) -> [Estimate] {
    var estimates = columns.map { column in
      let defined = column.compactMap { $0 }
      let moments = StreamingMoments(defined)
      return Estimate(
        mean: defined.isEmpty ? nil : defined.reduce(0, +) / Double(defined.count), low: nil, high: nil,
        standardDeviation: moments.sampleStandardDeviation, count: defined.count,
        undefinedCount: column.count - defined.count)
    }
    switch interval.method {
    case .t:
      for index in columns.indices { tInterval(columns[index], &estimates[index]) }
    case .bootstrap:
      let complete = columns.indices.filter { estimates[$0].undefinedCount == 0 && estimates[$0].count > 1 }
      let partial = columns.indices.filter { estimates[$0].undefinedCount > 0 && estimates[$0].count > 1 }
      bootstrap(complete, columns, weighted: false, &estimates)
      bootstrap(partial, columns, weighted: true, &estimates)
    }
    return estimates
  }

  private func bootstrap(
    _ chosen: [Int], _ columns: [[Double?]], weighted: Bool, _ estimates: inout [Estimate]
  ) {
    guard let first = chosen.first else { return }
    var values: [Double] = []
    var weights: [Double] = []
    for sample in columns[first].indices {
      for column in chosen {
        values.append(columns[column][sample] ?? 0)
        if weighted { weights.append(columns[column][sample] == nil ? 0 : 1) }
      }
    }
    let bootstrap = Bootstrap(
      replicates: interval.replicates, confidence: interval.level, seed: interval.seed)
    let intervals = bootstrap.columnMeans(
      of: values, columns: chosen.count, valueWeights: weighted ? weights : nil,
      clusters: clusterKeys.map { Clusters(keys: $0) })
    for (column, found) in zip(chosen, intervals) {
      estimates[column].low = found?.lower
      estimates[column].high = found?.upper
    }
  }

  /// mean ± t · s / √n; clustered: the standard error of a ratio of sums over clusters.
  ///
  ///     se² = K / (K − 1) · Σ_k (Σ_{i in k} (x_i − mean))² / n²,   K − 1 degrees of freedom
  private func tInterval(_ column: [Double?], _ estimate: inout Estimate) {
    guard let mean = estimate.mean else { return }
    var residuals: [String: Double] = [:]
    for (sample, value) in column.enumerated() {
      if let value { residuals[clusterKeys?[sample] ?? "\(sample)", default: 0] += value - mean }
    }
    let count = Double(residuals.count)
    guard count > 1 else { return }
    // Summed in the order of the keys: a dictionary has none.
    let sum = residuals.sorted { $0.key < $1.key }.reduce(0) { $0 + $1.value * $1.value }
    let error = (count / (count - 1) * sum).squareRoot() / Double(estimate.count)
    let reach = StudentT.quantile((1 + interval.level) / 2, degreesOfFreedom: count - 1) * error
    estimate.low = mean - reach
    estimate.high = mean + reach
  }

  /// How many units are resampled.
  var unitCount: Int? { clusterKeys.map { Set($0).count } }
}
