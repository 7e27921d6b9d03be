import RunKit

/// Means over seeds with intervals, and paired differences, of runs that share test samples.
///
/// Intervals of what is told by test samples draw seeds and, apart from them, samples (`Bootstrap.crossedReplicates`): a
/// sample that is hard is hard for every seed, so that more seeds do not make it go away. Both sides of a difference get the
/// same draws. Of one seed the interval is over samples alone. What is not told by samples has Student's t over seeds.
struct BenchEstimates {
  /// Replicates, confidence and seed.
  var bootstrap = Bootstrap()

  /// A mean with its interval.
  struct Mean: Equatable, Sendable {
    let value: Double
    /// nil where it cannot be told: one seed of what is told by seeds alone.
    let interval: ConfidenceInterval?
  }

  /// The mean over seeds.
  func mean(_ runs: [RunScores], _ metric: BenchMetric, itemCount: Int) -> Mean? {
    guard !runs.isEmpty else { return nil }
    let values = runs.map(\.value)
    let mean = values.reduce(0, +) / Double(values.count)
    guard metric.isOfSamples else {
      return Mean(
        value: mean,
        interval: StudentT.interval(of: StreamingMoments(values), confidence: bootstrap.confidence))
    }
    return Mean(
      value: mean, interval: interval(mean, runs.count, itemCount) { runs[$0].value(weighting: $1) })
  }

  /// The mean over seeds of the difference of two runs of the same seed.
  func difference(
    _ runs: [RunScores], from others: [RunScores], _ metric: BenchMetric, itemCount: Int
  ) -> Mean? {
    precondition(runs.count == others.count, "\(runs.count) and \(others.count) runs are no pairs")
    guard !runs.isEmpty else { return nil }
    let values = zip(runs, others).map { $0.value - $1.value }
    let mean = values.reduce(0, +) / Double(values.count)
    guard metric.isOfSamples else {
      return Mean(
        value: mean,
        interval: StudentT.interval(of: StreamingMoments(values), confidence: bootstrap.confidence))
    }
    return Mean(
      value: mean,
      interval: interval(mean, runs.count, itemCount) {
        runs[$0].value(weighting: $1) - others[$0].value(weighting: $1)
      }
    )
  }

  /// The interval of the mean over runs of what one run gives for weighted samples.
  private func interval(
    _ estimate: Double, _ runCount: Int, _ itemCount: Int, _ value: (Int, [Double]) -> Double
  ) -> ConfidenceInterval? {
    let replicates = bootstrap.crossedReplicates(runCount: runCount, itemCount: itemCount) { runs, items in
      [Self.weighted(runs) { value($0, items) }]
    }
    return bootstrap.crossedInterval(
      estimate: estimate, replicates: replicates.map { $0[0] }, runCount: runCount, itemCount: itemCount)
  }

  /// The mean of values of runs that count differently often; those that count nothing are not computed.
  static func weighted(_ weights: [Double], _ value: (Int) -> Double) -> Double {
    var (sum, total) = (0.0, 0.0)
    for run in weights.indices where weights[run] > 0 {
      sum += weights[run] * value(run)
      total += weights[run]
    }
    return sum / total
  }

  /// The test of a difference, and the smallest true one that it finds with a chance of 80 %.
  struct Test: Equatable, Sendable {
    let p: Double?
    let detectable: Double?
  }

  /// Accuracy: Student's t with the standard error over seeds and samples (`CrossedSamples`); of one seed McNemar's exact
  /// test. Anything else: the paired t test over seeds.
  func test(_ runs: [RunScores], against others: [RunScores]) -> Test {
    let tables = zip(runs, others).compactMap { run, other -> [Double?]? in
      guard let right = run.correct, let reference = other.correct else { return nil }
      return zip(right, reference).map { Optional($0 - $1) }
    }
    if tables.count == runs.count, let first = tables.first {
      if tables.count > 1 {
        let samples = CrossedSamples(tables)
        return Test(
          p: samples.p, detectable: samples.detectableMean(confidence: bootstrap.confidence))
      }
      let better = first.count { ($0 ?? 0) > 0 }
      let worse = first.count { ($0 ?? 0) < 0 }
      return Test(
        p: PairedTests.mcNemar(onlyBefore: worse, onlyAfter: better),
        detectable: detectable(first.map { $0 ?? 0 }))
    }
    let values = zip(runs, others).map { $0.value - $1.value }
    return Test(p: PairedTests.tTest(values), detectable: detectable(values))
  }

  /// (t(1 − α/2) + t(0.8)) · s / √n of independent differences.
  private func detectable(_ values: [Double]) -> Double? {
    guard let error = StreamingMoments(values).standardError else { return nil }
    let freedom = Double(values.count - 1)
    let reach = StudentT.quantile((1 + bootstrap.confidence) / 2, degreesOfFreedom: freedom)
    return (reach + StudentT.quantile(0.8, degreesOfFreedom: freedom)) * error
  }

  /// Ranks from 1 for the best; equal values share the mean rank.
  static func ranks(_ values: [Double], greaterIsBetter: Bool) -> [Double] {
    values.map { value in
      let better = values.count { greaterIsBetter ? $0 > value : $0 < value }
      let equal = values.count { $0 == value }
      return Double(better) + Double(equal + 1) / 2
    }
  }
}
