public import RunKit

/// Methods side by side over the seeds of one data set.
///
/// Every method has one row: of several settings the one with the best mean accuracy on validation samples, unless all are
/// wanted. What is missing stays missing, and is said.
public struct BenchTable: Sendable {
  /// What is wanted.
  public struct Options: Sendable {
    /// What rows are about.
    public var metric = BenchMetric.accuracy
    /// The label of what others are compared with; nil for that of the runs.
    public var reference: String?
    /// Whether every setting has a row of its own.
    public var showsAll = false
    /// Replicates, confidence and seed of intervals.
    public var bootstrap = Bootstrap()

    /// Accuracy of the settings that validation samples choose.
    public init() {}
  }

  /// McNemar's exact test within each seed, corrected by Holm over the methods of the seed.
  public struct WithinSeeds: Equatable, Sendable {
    /// Corrected P by seed, in order.
    public let corrected: [Double]
    /// Seeds in which the method is better, and worse, at the level of the intervals.
    public let better: Int
    /// See `better`.
    public let worse: Int
  }

  /// One method.
  public struct Row: Sendable {
    /// Which, and with what settings.
    public let point: BenchRuns.Point
    /// How many settings it was chosen from.
    public let candidates: Int
    /// The mean over seeds, and its interval; nil without any run.
    public let mean: Double?
    /// See `mean`.
    public let interval: ConfidenceInterval?
    /// The standard deviation over seeds; nil for one.
    public let deviation: Double?
    /// The mean I over seeds.
    public let imbalance: Double?
    /// What each modality is worth; nil without any run.
    public let modalities: ModalityMeans?
    /// The mean over seeds of the rank among all rows, from 1; nil if no seed has all of them.
    public let rank: Double?
    /// The mean difference from the reference over seeds that both have; nil for the reference.
    public let difference: Double?
    /// Its interval.
    public let differenceInterval: ConfidenceInterval?
    /// The P of no difference over seeds and samples.
    public let p: Double?
    /// The same corrected by Holm over methods.
    public internal(set) var corrected: Double?
    /// The smallest true difference that a test alone would find with a chance of 80 %.
    public let detectable: Double?
    /// Tests within seeds; nil for the reference, and of anything but accuracy.
    public let withinSeeds: WithinSeeds?
    /// The mean over seeds of the operations of a training; nil where no run knows them.
    public let operations: Double?
  }

  /// What was read.
  public let runs: BenchRuns
  /// What rows are about.
  public let metric: BenchMetric
  /// The label of what others are compared with.
  public let reference: String
  /// In the order of the experiment.
  public let rows: [Row]
  /// Work by row and by stage; nil where no run knows its operations.
  public let costs: OperationTable?
  /// Accuracy while a modality is missing or corrupted; nil where no run has it.
  public let robustness: PrintedTable?
  let bootstrap: Bootstrap
  let showsAll: Bool

  /// - Throws: `SweepError.unknownLabel` for a reference that no run has.
  public init(_ runs: BenchRuns, _ options: Options = Options()) throws {
    let reference = options.reference ?? runs.reference
    try runs.requireLabel(reference)
    (self.runs, self.reference, metric, bootstrap) = (runs, reference, options.metric, options.bootstrap)
    showsAll = options.showsAll
    let shown = runs.labels.flatMap { label -> [BenchRuns.Point] in
      let all = runs.points.filter { $0.label == label }
      return options.showsAll ? all : [runs.chosen(label) ?? all[0]]
    }
    let base = runs.chosen(reference)
    let within =
      options.metric == .accuracy
      ? Self.withinSeeds(shown, base, level: 1 - options.bootstrap.confidence) : [:]
    let ranks = Self.ranks(shown, runs.seeds, options.metric)
    var rows = shown.map { point in
      Self.row(
        point, base, options, itemCount: runs.itemCount,
        candidates: runs.points.count { $0.label == point.label }, rank: ranks[point.title],
        within: within[point.title])
    }
    let corrected = PairedTests.holm(rows.map(\.p))
    for (place, value) in corrected.enumerated() { rows[place].corrected = value }
    self.rows = rows
    let results = shown.map { point in
      (label: point.title, results: point.seeds.compactMap { point.results[$0] })
    }
    costs = OperationTable(results)
    robustness = RobustnessScores.table(results)
  }

  private static func row(
    _ point: BenchRuns.Point, _ base: BenchRuns.Point?, _ options: Options, itemCount: Int, candidates: Int,
    rank: Double?, within: WithinSeeds?
  ) -> Row {
    let (metric, estimates) = (options.metric, BenchEstimates(bootstrap: options.bootstrap))
    let results = point.seeds.compactMap { point.results[$0] }
    let scores = results.map(metric.scores)
    let mean = estimates.mean(scores, metric, itemCount: itemCount)
    let imbalances = results.map(\.imbalance)
    var (difference, test): (BenchEstimates.Mean?, BenchEstimates.Test?)
    if let base, base.title != point.title {
      let common = point.seeds.filter { base.results[$0] != nil }
      let own = common.compactMap { point.results[$0].map(metric.scores) }
      let others = common.compactMap { base.results[$0].map(metric.scores) }
      if !common.isEmpty {
        difference = estimates.difference(own, from: others, metric, itemCount: itemCount)
        test = estimates.test(own, against: others)
      }
    }
    return Row(
      point: point, candidates: candidates, mean: mean?.value, interval: mean?.interval,
      deviation: StreamingMoments(scores.map(\.value)).sampleStandardDeviation,
      imbalance: imbalances.isEmpty ? nil : imbalances.reduce(0, +) / Double(imbalances.count),
      modalities: ModalityMeans(results), rank: rank,
      difference: difference?.value, differenceInterval: difference?.interval, p: test?.p, corrected: nil,
      detectable: test?.detectable, withinSeeds: within, operations: OperationTable.mean(results))
  }

  /// Mean ranks by title, over seeds that every point has.
  private static func ranks(
    _ points: [BenchRuns.Point], _ seeds: [Int], _ metric: BenchMetric
  ) -> [String: Double] {
    let complete = seeds.filter { seed in points.allSatisfy { $0.results[seed] != nil } }
    guard !complete.isEmpty else { return [:] }
    var sums = [Double](repeating: 0, count: points.count)
    for seed in complete {
      let values = points.compactMap { $0.results[seed].map(metric.value) }
      let ranks = BenchEstimates.ranks(values, greaterIsBetter: metric.isGreaterBetter)
      for place in ranks.indices { sums[place] += ranks[place] }
    }
    let means = sums.map { $0 / Double(complete.count) }
    return Dictionary(zip(points.map(\.title), means), uniquingKeysWith: { first, _ in first })
  }

  /// McNemar within every seed that the reference has; the methods of a seed are a family of tests.
  private static func withinSeeds(
    _ points: [BenchRuns.Point], _ base: BenchRuns.Point?, level: Double
  ) -> [String: WithinSeeds] {
    guard let base else { return [:] }
    var found: [String: (corrected: [Double], better: Int, worse: Int)] = [:]
    for seed in base.seeds {
      guard let reference = base.results[seed] else { continue }
      let others = points.filter { $0.title != base.title && $0.results[seed] != nil }
      let counts = others.map { point in
        SignificanceTests.disagreements(point.results[seed]?.correct ?? [], reference.correct)
      }
      let tests = counts.map {
        Optional(PairedTests.mcNemar(onlyBefore: $0.onlySecond, onlyAfter: $0.onlyFirst))
      }
      let corrected = PairedTests.holm(tests)
      for (place, point) in others.enumerated() {
        let p = corrected[place] ?? 1
        var entry = found[point.title] ?? ([], 0, 0)
        entry.corrected.append(p)
        if p < level && counts[place].onlyFirst > counts[place].onlySecond { entry.better += 1 }
        if p < level && counts[place].onlyFirst < counts[place].onlySecond { entry.worse += 1 }
        found[point.title] = entry
      }
    }
    return found.mapValues { WithinSeeds(corrected: $0.corrected, better: $0.better, worse: $0.worse) }
  }
}
