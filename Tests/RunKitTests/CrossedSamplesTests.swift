import XCTest

@testable import RunKit

final class CrossedSamplesTests: XCTestCase {
  private let items = [0.3, -0.1, 0.7, 0.2, 0.9, -0.4]

  /// Where runs agree, only items vary: the error of a mean of six numbers, not of eighteen.
  func testRunsThatAgreeAddNothing() throws {
    let samples = CrossedSamples([items, items, items])
    let mean = items.reduce(0, +) / 6
    let variance = items.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 5
    XCTAssertEqual(try XCTUnwrap(samples.mean), mean, accuracy: 1e-14)
    XCTAssertEqual(try XCTUnwrap(samples.standardError), (variance / 6).squareRoot(), accuracy: 1e-14)
    // Six items, but three runs.
    XCTAssertEqual(samples.degreesOfFreedom, 2)
    let t = mean / (variance / 6).squareRoot()
    XCTAssertEqual(
      try XCTUnwrap(samples.p), 2 * StudentT.probability(below: -t, degreesOfFreedom: 2), accuracy: 1e-12)
  }

  /// Where items agree, only runs vary.
  func testItemsThatAgreeAddNothing() throws {
    let samples = CrossedSamples(items.map { [Double?](repeating: $0, count: 50) })
    let mean = items.reduce(0, +) / 6
    let variance = items.reduce(0) { $0 + ($1 - mean) * ($1 - mean) } / 5
    XCTAssertEqual(try XCTUnwrap(samples.standardError), (variance / 6).squareRoot(), accuracy: 1e-14)
    XCTAssertEqual(samples.degreesOfFreedom, 5)
    // t quantiles of 5 degrees of freedom from tables: 2.5706 at 97.5 %, 0.9195 at 80 %.
    XCTAssertEqual(
      try XCTUnwrap(samples.detectableMean(confidence: 0.95)),
      (2.5706 + 0.9195) * (variance / 6).squareRoot(), accuracy: 1e-4)
    let interval = try XCTUnwrap(samples.interval(confidence: 0.95))
    XCTAssertEqual(interval.upper - interval.lower, 2 * 2.5706 * (variance / 6).squareRoot(), accuracy: 1e-4)
  }

  /// The formula of the docstring written out. Tolerance: another order of summing.
  func testTheErrorIsThatOfTheFormula() throws {
    var stream = RandomStream(seed: 4, purpose: "crossed")
    let values = (0..<4).map { _ in
      (0..<9).map { item -> Double? in item == 5 ? nil : stream.normal() }
    }
    let clusters = Clusters(keys: ["a", "b", "b", "c", "d", "e", "d", "f", "a"])
    let samples = CrossedSamples(values, clusters: clusters)
    // Item 5 has no value, and with it the cluster e.
    XCTAssertEqual(samples.unitCount, 5)
    let defined = values.flatMap { $0.compactMap { $0 } }
    let mean = defined.reduce(0, +) / 32
    var (runs, units, both) = ([Int: Double](), [Int: Double](), [[Int]: Double]())
    for run in 0..<4 {
      for item in 0..<9 {
        guard let value = values[run][item] else { continue }
        runs[run, default: 0] += value - mean
        units[clusters.indices[item], default: 0] += value - mean
        both[[run, clusters.indices[item]], default: 0] += value - mean
      }
    }
    func variance(_ sums: some Collection<Double>) -> Double {
      Double(sums.count) / Double(sums.count - 1) * sums.reduce(0) { $0 + $1 * $1 } / (32 * 32)
    }
    let (ofRuns, ofUnits) = (variance(runs.values), variance(units.values))
    let expected = max(ofRuns + ofUnits - variance(both.values), ofRuns, ofUnits).squareRoot()
    XCTAssertEqual(try XCTUnwrap(samples.standardError), expected, accuracy: 1e-12)
  }

  /// Replicate by replicate, with weights of runs times weights of clusters. Tolerance: another order of summing.
  func testTheBootstrapDrawsRunsAndItems() throws {
    var stream = RandomStream(seed: 5, purpose: "crossed")
    let values = (0..<3).map { _ in (0..<7).map { _ -> Double? in stream.normal() } }
    let clusters = Clusters(keys: ["a", "b", "b", "c", "d", "d", "e"])
    let bootstrap = Bootstrap(replicates: 200, seed: 9)
    let doubled = values.map { $0.map { $0.map { 2 * $0 } } }
    let intervals = bootstrap.means(of: [values, doubled].map { CrossedSamples($0, clusters: clusters) })
    var means: [Double] = []
    for replicate in 0..<200 {
      var (runs, units) = ([Double](repeating: 0, count: 3), [Double](repeating: 0, count: 5))
      bootstrap.draw(replicate: replicate, purpose: "bootstrap.runs", into: &runs)
      bootstrap.draw(replicate: replicate, into: &units)
      XCTAssertEqual(runs.reduce(0, +), 3)
      var (sum, count) = (0.0, 0.0)
      for run in 0..<3 {
        for item in 0..<7 {
          let weight = runs[run] * units[clusters.indices[item]]
          sum += weight * (values[run][item] ?? 0)
          count += weight
        }
      }
      means.append(sum / count)
    }
    means.sort()
    // Three runs: Φ(−√(3 / 2) · t(0.975, 2)), t = 4.3027, is 7e-8, so the ends of all replicates.
    let interval = try XCTUnwrap(intervals[0])
    XCTAssertEqual(interval.lower, means[0], accuracy: 1e-4)
    XCTAssertEqual(interval.upper, means[199], accuracy: 1e-4)
    let twice = try XCTUnwrap(intervals[1])
    XCTAssertEqual(twice.lower, 2 * interval.lower, accuracy: 1e-12)
    XCTAssertEqual(twice.estimate, 2 * interval.estimate, accuracy: 1e-12)
  }

  func testWithoutASpreadThereIsNoTest() {
    XCTAssertNil(CrossedSamples([items]).standardError)
    XCTAssertNil(CrossedSamples([[1], [2]]).p)
    XCTAssertNil(CrossedSamples([[nil, nil], [nil, nil]]).mean)
    XCTAssertEqual(CrossedSamples([[0, 0], [0, 0]]).p, 1)
    XCTAssertEqual(CrossedSamples([[0.1, 0.1], [0.1, 0.1]]).p, 0)
    XCTAssertEqual(Bootstrap(replicates: 5).means(of: [CrossedSamples([items])]), [nil])
    XCTAssertEqual(Bootstrap(replicates: 5).means(of: []), [])
  }

  /// Where both runs and items vary, a true mean of 0 is called different in about one test in twenty, and the interval
  /// holds it about as often as it says; single items of single runs as independent would be wrong in half of the tests.
  /// Tolerance: the test and the bootstrap are known to be conservative, and 600 trials have an error of 0.9 %.
  func testTheErrorOfTheFirstKindIsTheLevel() throws {
    var stream = RandomStream(seed: 6, purpose: "crossed")
    var (rejected, missed, naive) = (0, 0, 0)
    let bootstrap = Bootstrap(replicates: 200, seed: 1)
    for _ in 0..<600 {
      let ofItems = (0..<40).map { _ in stream.normal() }
      let values = (0..<8).map { _ -> [Double?] in
        let ofRun = 0.3 * stream.normal()
        return ofItems.map { ofRun + $0 + stream.normal() }
      }
      let samples = CrossedSamples(values)
      if try XCTUnwrap(samples.p) < 0.05 { rejected += 1 }
      let interval = try XCTUnwrap(bootstrap.means(of: [samples])[0])
      if interval.lower > 0 || interval.upper < 0 { missed += 1 }
      if try XCTUnwrap(PairedTests.tTest(values.flatMap { $0.compactMap { $0 } })) < 0.05 { naive += 1 }
    }
    XCTAssertTrue((6...48).contains(rejected), "\(rejected) of 600")
    XCTAssertTrue((6...48).contains(missed), "\(missed) of 600")
    XCTAssertGreaterThan(naive, 180, "\(naive) of 600")
  }

  /// The general statistic is the special one where it is a mean; of one run the interval is that of its items.
  func testAMeanAsAnyStatisticHasTheSameInterval() throws {
    var stream = RandomStream(seed: 6, purpose: "crossed statistic")
    let values = (0..<5).map { _ in (0..<30).map { _ in stream.normal() } }
    let bootstrap = Bootstrap(replicates: 500, seed: 3)
    func mean(_ runs: [Double], _ items: [Double]) -> [Double] {
      var sum = 0.0
      for (run, row) in values.enumerated() {
        for (item, value) in row.enumerated() { sum += runs[run] * items[item] * value }
      }
      return [sum / (runs.reduce(0, +) * items.reduce(0, +))]
    }
    let replicates = bootstrap.crossedReplicates(runCount: 5, itemCount: 30, statistics: mean).map { $0[0] }
    let samples = CrossedSamples(values.map { $0.map(Optional.some) })
    let expected = try XCTUnwrap(bootstrap.means(of: [samples])[0])
    let found = try XCTUnwrap(
      bootstrap.crossedInterval(
        estimate: expected.estimate, replicates: replicates, runCount: 5, itemCount: 30))
    // Another order of summing.
    XCTAssertEqual(found.lower, expected.lower, accuracy: 1e-12)
    XCTAssertEqual(found.upper, expected.upper, accuracy: 1e-12)
    var single = bootstrap
    single.bounds = .expandedPercentile
    let items = try XCTUnwrap(single.mean(of: values[0]))
    let draws = bootstrap.crossedReplicates(runCount: 1, itemCount: 30) { _, weights in
      [zip(weights, values[0]).reduce(0) { $0 + $1.0 * $1.1 } / 30]
    }
    let alone = try XCTUnwrap(
      bootstrap.crossedInterval(
        estimate: items.estimate, replicates: draws.map { $0[0] }, runCount: 1, itemCount: 30))
    XCTAssertEqual(alone.lower, items.lower, accuracy: 1e-12)
    XCTAssertEqual(alone.upper, items.upper, accuracy: 1e-12)
    XCTAssertNil(bootstrap.crossedInterval(estimate: 1, replicates: [1], runCount: 1, itemCount: 1))
  }
}
