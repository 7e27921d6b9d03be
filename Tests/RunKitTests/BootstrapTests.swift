import XCTest

@testable import RunKit

final class BootstrapTests: XCTestCase {
  private let values = [0.1, 0.4, 0.2, 0.9, 0.7, 0.3, 0.8, 0.55]
  private let pairs = Clusters(keys: ["a", "a", "b", "c", "c", "c", "d", "d"])

  /// The docstring's recipe run in Python. Tolerance: another order of summing eight numbers.
  func testIntervalsAreTheGoldenValues() throws {
    let bootstrap = Bootstrap(replicates: 200, seed: 3)
    let single = try XCTUnwrap(bootstrap.mean(of: values))
    XCTAssertEqual(single.estimate, 3.95 / 8, accuracy: 1e-14)
    XCTAssertEqual(single.lower, 0.31875, accuracy: 1e-14)
    XCTAssertEqual(single.upper, 0.6689062500000001, accuracy: 1e-14)
    let clustered = try XCTUnwrap(bootstrap.mean(of: values, clusters: pairs))
    XCTAssertEqual(clustered.estimate, 3.95 / 8, accuracy: 1e-14)
    XCTAssertEqual(clustered.lower, 0.24261904761904762, accuracy: 1e-14)
    XCTAssertEqual(clustered.upper, 0.6611111111111112, accuracy: 1e-14)
  }

  /// Numbers of columns and replicates that do not fill a panel, a quad or a block.
  func testManyColumnsGiveTheIntervalsOfEachAlone() {
    var stream = RandomStream(seed: 2, purpose: "columns")
    for (columns, replicates) in [(1, 1), (3, 9), (5, 4), (259, 6)] {
      let matrix = (0..<8 * columns).map { _ in stream.normal() }
      let bootstrap = Bootstrap(replicates: replicates, seed: 4)
      for clusters in [nil, pairs] {
        let together = bootstrap.columnMeans(of: matrix, columns: columns, clusters: clusters)
        XCTAssertEqual(together.count, columns)
        for column in 0..<columns {
          let own = (0..<8).map { matrix[$0 * columns + column] }
          XCTAssertEqual(together[column], bootstrap.mean(of: own, clusters: clusters))
        }
      }
    }
  }

  /// Tolerance: another order of summing.
  func testAnyStatisticOfWeightsGivesTheSameAsTheMean() throws {
    let bootstrap = Bootstrap(replicates: 100, seed: 5)
    for clusters in [nil, pairs] {
      let direct = try XCTUnwrap(bootstrap.mean(of: values, clusters: clusters))
      let general = try XCTUnwrap(
        bootstrap.interval(sampleCount: 8, clusters: clusters) { weights in
          zip(weights, values).reduce(0) { $0 + $1.0 * $1.1 } / weights.reduce(0, +)
        })
      XCTAssertEqual(general.estimate, direct.estimate, accuracy: 1e-14)
      XCTAssertEqual(general.lower, direct.lower, accuracy: 1e-14)
      XCTAssertEqual(general.upper, direct.upper, accuracy: 1e-14)
    }
  }

  func testMissingValuesLeaveTheColumnToTheOthers() throws {
    let weights: [Double] = [1, 1, 0, 1, 1, 1, 0, 1]
    let holed = zip(values, weights).map { $1 == 0 ? Double.nan : $0 }
    let bootstrap = Bootstrap(replicates: 100, seed: 6)
    let intervals = bootstrap.columnMeans(of: holed, columns: 1, valueWeights: weights)
    let interval = try XCTUnwrap(intervals[0])
    XCTAssertEqual(interval.estimate, (3.95 - 0.2 - 0.8) / 6, accuracy: 1e-14)
    let general = try XCTUnwrap(
      bootstrap.interval(sampleCount: 8) { drawn in
        var (sum, count) = (0.0, 0.0)
        for index in 0..<8 where weights[index] > 0 {
          sum += drawn[index] * values[index]
          count += drawn[index]
        }
        return sum / count
      })
    XCTAssertEqual(interval.lower, general.lower, accuracy: 1e-14)
    XCTAssertEqual(interval.upper, general.upper, accuracy: 1e-14)
  }

  func testUnknownIntervalsAreNil() {
    let bootstrap = Bootstrap(replicates: 50)
    XCTAssertNil(bootstrap.mean(of: []))
    XCTAssertNil(bootstrap.mean(of: [1]))
    XCTAssertNil(bootstrap.mean(of: [1, 2], clusters: Clusters(keys: ["a", "a"])))
    XCTAssertNil(bootstrap.mean(of: [1, .nan, 2]))
    XCTAssertNil(bootstrap.mean(of: [1, .infinity, 2]))
    XCTAssertNil(bootstrap.columnMeans(of: [1, 2], columns: 1, valueWeights: [0, 0])[0])
    XCTAssertEqual(bootstrap.mean(of: [2, 2, 2])?.lower, 2)
  }

  func testPairedDifferenceIsTheMeanOfTheDifferences() {
    let after = values.map { $0 * $0 }
    let bootstrap = Bootstrap(replicates: 50, seed: 1)
    XCTAssertEqual(
      bootstrap.pairedDifference(before: values, after: after),
      bootstrap.mean(of: zip(values, after).map { $1 - $0 }))
  }

  func testClustersGoByTheBytesOfTheirKeys() {
    let clusters = Clusters(keys: ["b", "a", "b", "\u{E9}", "e\u{301}"])
    XCTAssertEqual(clusters.indices, [0, 1, 0, 2, 3])
    XCTAssertEqual(clusters.count, 4)
  }

  /// Nominal 95 %, accepted 93 % to 97 %: 2,000 simulated samples have a standard error of 0.5 %.
  func testIntervalsCoverTheMean() {
    for bounds in Bootstrap.Bounds.allCases {
      let share = coverage(samplesPerCluster: 1, clusterCount: 60, usesClusters: false, bounds: bounds)
      XCTAssertTrue((0.93...0.97).contains(share), "\(bounds): \(share)")
    }
  }

  func testClusteredSamplesAreCoveredOnlyWithTheirClusters() {
    for bounds in Bootstrap.Bounds.allCases {
      let share = coverage(samplesPerCluster: 4, clusterCount: 60, usesClusters: true, bounds: bounds)
      XCTAssertTrue((0.93...0.97).contains(share), "\(bounds): \(share)")
    }
    let ignored = coverage(samplesPerCluster: 4, clusterCount: 60, usesClusters: false, bounds: .percentile)
    XCTAssertLessThan(ignored, 0.85)
  }

  /// With so few units only the expanded percentiles keep the promise.
  func testExpandedBoundsCoverWithFewClusters() {
    let share = coverage(
      samplesPerCluster: 3, clusterCount: 15, usesClusters: true, bounds: .expandedPercentile)
    XCTAssertTrue((0.93...0.97).contains(share), "\(share)")
  }

  /// How many of 2,000 intervals of simulated data hold the true mean 0. A sample is the normal effect of its
  /// cluster plus a normal deviation of its own.
  private func coverage(
    samplesPerCluster: Int, clusterCount: Int, usesClusters: Bool, bounds: Bootstrap.Bounds
  ) -> Double {
    let trials = 2000
    let keys = (0..<clusterCount * samplesPerCluster).map { String($0 / samplesPerCluster) }
    let clusters = usesClusters ? Clusters(keys: keys) : nil
    let covered = (0..<trials).count { trial in
      var stream = RandomStream(seed: 11, purpose: "coverage", id: trial)
      var values: [Double] = []
      for _ in 0..<clusterCount {
        let effect = stream.normal()
        for _ in 0..<samplesPerCluster { values.append(effect + stream.normal()) }
      }
      let bootstrap = Bootstrap(replicates: 500, seed: trial, bounds: bounds)
      return bootstrap.mean(of: values, clusters: clusters).map { $0.lower <= 0 && 0 <= $0.upper } ?? false
    }
    return Double(covered) / Double(trials)
  }
}
