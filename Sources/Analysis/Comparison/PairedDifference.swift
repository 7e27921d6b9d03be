public import RunKit

/// The mean of after − before over samples that were measured twice.
public struct PairedDifference: Sendable, Equatable {
  /// The mean before, over the pairs.
  public let before: Double?
  /// The mean after, over the pairs.
  public let after: Double?
  /// The mean difference with its interval; counts pairs in which either is undefined as undefined.
  public let estimate: Estimate
  /// The two-sided p value of no difference; nil for fewer than two pairs or clusters.
  public let p: Double?
  /// The p value corrected for all tests of its family; the same as `p` where it is alone.
  public internal(set) var corrected: Double?
  /// Pairs that are right only before and only after; nil unless the quantity is right or wrong.
  public let discordant: (before: Int, after: Int)?
  /// What several runs on a side add; nil for one pair of runs.
  public let crossed: Crossed?

  /// What is known where a quantity was measured in several runs.
  public struct Crossed: Sendable, Equatable {
    /// The interval of the mean before.
    public let before: ConfidenceInterval?
    /// The interval of the mean after.
    public let after: ConfidenceInterval?
    /// The standard error of the difference.
    public let standardError: Double?
    /// The smallest true difference that the test finds with a chance of 80 %, alone and not corrected.
    public let detectable: Double?
  }

  /// Whether everything agrees.
  public static func == (left: PairedDifference, right: PairedDifference) -> Bool {
    left.before == right.before && left.after == right.after && left.estimate == right.estimate
      && left.p == right.p && left.corrected == right.corrected
      && left.discordant?.before == right.discordant?.before
      && left.discordant?.after == right.discordant?.after && left.crossed == right.crossed
  }

  /// `before`, `after`, `diff`, `ci`, `n`, `p`, `p_holm`, for right or wrong also `only_before` and `only_after`, for
  /// several runs `before_ci`, `after_ci`, `se` and `detectable`.
  var json: JSONObject {
    var object = JSONObject([
      ("before", JSONValue(before)), ("after", JSONValue(after)), ("diff", JSONValue(estimate.mean)),
      (
        "ci",
        estimate.low.flatMap { low in estimate.high.map { [JSONValue(low), JSONValue($0)] } } ?? .null
      ), ("n", .integer(estimate.count)), ("n_undefined", .integer(estimate.undefinedCount)),
      ("p", JSONValue(p)), ("p_holm", JSONValue(corrected)),
    ])
    if let discordant {
      object["only_before"] = .integer(discordant.before)
      object["only_after"] = .integer(discordant.after)
    }
    if let crossed {
      func bounds(_ interval: ConfidenceInterval?) -> JSONValue {
        interval.map { [.number($0.lower), .number($0.upper)] } ?? .null
      }
      object["before_ci"] = bounds(crossed.before)
      object["after_ci"] = bounds(crossed.after)
      object["se"] = JSONValue(crossed.standardError)
      object["detectable"] = JSONValue(crossed.detectable)
    }
    return object
  }
}

/// One quantity of the same samples, measured twice.
struct PairedColumn {
  /// One value a sample; nil where it is undefined.
  let before: [Double?]
  /// One value a sample; nil where it is undefined.
  let after: [Double?]
  /// Whether values are 0 or 1: wrong or right.
  var isBinary = false
}

/// Makes differences with intervals and tests, all from the same resamples.
struct PairedEstimator {
  let interval: AttentionDefinition.Interval
  /// One key a sample, or nil for independent samples.
  let clusterKeys: [String]?

  /// The differences of some quantities in one pair of runs or in several, as one family of tests.
  ///
  /// - Parameter columns: For each quantity that of every pair of runs.
  func differences(ofPairs columns: [[PairedColumn]]) -> [PairedDifference] {
    (columns.first?.count ?? 1) == 1 ? differences(columns.map { $0[0] }) : crossedDifferences(columns)
  }

  /// Differences over pairs of runs and of samples; both are taken as drawn at random.
  private func crossedDifferences(_ columns: [[PairedColumn]]) -> [PairedDifference] {
    let clusters = clusterKeys.map { Clusters(keys: $0) }
    // Pairs in which either is undefined count nowhere.
    func samples(_ value: (Double, Double) -> Double) -> [CrossedSamples] {
      columns.map { runs in
        CrossedSamples(
          runs.map { run in
            zip(run.before, run.after).map { before, after in
              before.flatMap { before in after.map { value(before, $0) } }
            }
          }, clusters: clusters)
      }
    }
    let (befores, afters) = (samples { before, _ in before }, samples { _, after in after })
    let changes = samples { $1 - $0 }
    let bootstrap = Bootstrap(
      replicates: interval.replicates, confidence: interval.level, seed: interval.seed)
    func intervals(_ samples: [CrossedSamples]) -> [ConfidenceInterval?] {
      switch interval.method {
      case .bootstrap: bootstrap.means(of: samples)
      case .t: samples.map { $0.interval(confidence: interval.level) }
      }
    }
    let (before, after, change) = (intervals(befores), intervals(afters), intervals(changes))
    let tests = changes.map(\.p)
    let corrected = PairedTests.holm(tests)
    return columns.indices.map { index in
      let itemCount = columns[index][0].before.count
      let defined = (0..<itemCount).count { item in
        columns[index].contains { $0.before[item] != nil && $0.after[item] != nil }
      }
      return PairedDifference(
        before: befores[index].mean, after: afters[index].mean,
        estimate: Estimate(
          mean: changes[index].mean, low: change[index]?.lower, high: change[index]?.upper,
          standardDeviation: nil, count: defined, undefinedCount: itemCount - defined),
        p: tests[index], corrected: corrected[index], discordant: nil,
        crossed: .init(
          before: before[index], after: after[index], standardError: changes[index].standardError,
          detectable: changes[index].detectableMean(confidence: interval.level)))
    }
  }

  /// The differences of some quantities in one pair of runs, as one family of tests.
  ///
  /// Intervals are those of the definition (bootstrap or t). p values are those of McNemar's exact test for independent
  /// right-or-wrong values, of the t test otherwise, over clusters if there are any.
  func differences(_ columns: [PairedColumn]) -> [PairedDifference] {
    let values = columns.map { column in
      zip(column.before, column.after).map { before, after in
        before.flatMap { before in after.map { $0 - before } }
      }
    }
    let estimates = SampleEstimator(interval, clusterKeys: clusterKeys).estimates(values)
    let tests = zip(columns, values).map { test($0, $1) }
    let corrected = PairedTests.holm(tests)
    return columns.indices.map { index in
      let column = columns[index]
      let pairs = values[index].indices.filter { values[index][$0] != nil }
      func mean(_ values: [Double?]) -> Double? {
        pairs.isEmpty ? nil : pairs.reduce(0) { $0 + (values[$1] ?? 0) } / Double(pairs.count)
      }
      return PairedDifference(
        before: mean(column.before), after: mean(column.after), estimate: estimates[index],
        p: tests[index], corrected: corrected[index],
        discordant: column.isBinary ? discordant(values[index]) : nil, crossed: nil)
    }
  }

  private func discordant(_ differences: [Double?]) -> (before: Int, after: Int) {
    (differences.count { ($0 ?? 0) < 0 }, differences.count { ($0 ?? 0) > 0 })
  }

  private func test(_ column: PairedColumn, _ differences: [Double?]) -> Double? {
    let defined = differences.indices.filter { differences[$0] != nil }
    if column.isBinary && clusterKeys == nil {
      guard !defined.isEmpty else { return nil }
      let (before, after) = discordant(differences)
      return PairedTests.mcNemar(onlyBefore: before, onlyAfter: after)
    }
    return PairedTests.tTest(
      defined.map { differences[$0] ?? 0 },
      clusters: clusterKeys.map { keys in Clusters(keys: defined.map { keys[$0] }) })
  }
}
