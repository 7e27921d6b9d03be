import RunKit
import XCTest

@testable import ClassicBench

/// Accuracy against imbalance over a strength, on results that were thought up.
final class BalanceTraceTests: XCTestCase {
  /// Four strengths: accuracy 0.4, 0.6, 0.8, 0.5; I 0.6, 0.4, 0.2, 0 in both seeds.
  private func made(extra: Bool = false) throws -> HandMadeRuns {
    let made = try HandMadeRuns()
    let rows: [(alpha: Double, right: String, image: String, validation: Double)] = [
      (1, "1111111100", "1110000000", 0.3), (0.1, "1111000000", "1111111000", 0.5),
      (3, "1111100000", "1000000000", 0.4), (0.3, "1111110000", "1111100000", 0.6),
    ]
    for seed in 0..<2 {
      try made.add("joint", seed: seed, "1110000000", image: "1111111100", audio: "1000000000")
      for row in rows {
        try made.add(
          "ogm", seed: seed, row.right, image: row.image, audio: "1000000000",
          settings: [SweepSetting(key: "alpha", value: .number(row.alpha))]
            + (extra ? [SweepSetting(key: "coefficient", value: "tanh")] : []), validation: row.validation)
      }
    }
    return made
  }

  func testTheStrengthsAreInOrderAndBothPlacesFound() throws {
    let trace = try BalanceTrace(made().runs(), label: "ogm", key: nil, bootstrap: Bootstrap(replicates: 200))
    XCTAssertEqual(trace.key, "alpha")
    XCTAssertEqual(trace.steps.map(\.strength), [0.1, 0.3, 1, 3])
    for (found, expected) in zip(trace.steps.map(\.accuracy), [0.4, 0.6, 0.8, 0.5]) {
      XCTAssertEqual(found, expected, accuracy: 1e-12)
    }
    for (found, expected) in zip(trace.steps.map(\.imbalance), [0.6, 0.4, 0.2, 0]) {
      XCTAssertEqual(found, expected, accuracy: 1e-12)
    }
    XCTAssertEqual(trace.relative.index, 2)
    XCTAssertEqual(trace.absolute.index, 3)
    XCTAssertEqual(trace.chosen, 1)
    XCTAssertEqual(try XCTUnwrap(trace.difference), 0.3, accuracy: 1e-12)
    // I is 0 at the last strength whatever samples are drawn.
    XCTAssertGreaterThan(trace.steps[3].absoluteShare, 0.9)
    XCTAssertEqual(trace.steps.reduce(0) { $0 + $1.relativeShare }, 1, accuracy: 1e-9)
    XCTAssertEqual(trace.reference?.label, "joint")
    XCTAssertEqual(try XCTUnwrap(trace.reference?.imbalance), 0.7, accuracy: 1e-12)
    XCTAssertEqual(trace.printed.rows.map(\.last), ["", "validation", "relative", "absolute"])
    XCTAssertEqual(trace.json["relative"]?["strength"], .number(1))
    XCTAssertTrue(trace.svg.contains("alpha 1, relative balance"))
  }

  /// Intervals are the quantiles of the draws, the same for a step as for a table of its runs.
  func testIntervalsAreThoseOfTheTable() throws {
    let runs = try made().runs()
    var options = BenchTable.Options()
    (options.showsAll, options.bootstrap) = (true, Bootstrap(replicates: 300, seed: 2))
    let trace = try BalanceTrace(runs, label: "ogm", key: "alpha", bootstrap: options.bootstrap)
    let accuracies = try BenchTable(runs, options)
    options.metric = .imbalance
    let imbalances = try BenchTable(runs, options)
    for step in trace.steps {
      let row = try XCTUnwrap(accuracies.rows.first { $0.point.title == step.point.title })
      XCTAssertEqual(step.accuracyInterval, row.interval)
      let other = try XCTUnwrap(imbalances.rows.first { $0.point.title == step.point.title })
      XCTAssertEqual(step.imbalanceInterval, other.interval)
    }
  }

  func testWinnersAndPlaces() {
    let draws = [[1.0, 2, 0], [3, 2, 1], [2, 2, 0], [0, 5, 1]]
    XCTAssertEqual(BalanceTrace.winners(draws, greatest: true), [0.375, 0.625, 0])
    XCTAssertEqual(BalanceTrace.winners(draws, greatest: false), [0.25, 0, 0.75])
    let place = BalanceTrace.place([0.5, 0.7, 0.6, 0.1], [0.04, 0.5, 0.45, 0.01], [1, 2, 4, 8], 0.95)
    XCTAssertEqual(place, .init(index: 1, strengths: 2...4))
    let sure = BalanceTrace.place([0.5, 0.7], [0.04, 0.96], [1, 2], 0.95)
    XCTAssertEqual(sure.strengths, 2...2)
  }

  func testWhatCannotBeTracedIsRefused() throws {
    func code(_ runs: BenchRuns, _ label: String, _ key: String?) -> SweepError.Code? {
      do {
        _ = try BalanceTrace(runs, label: label, key: key, bootstrap: Bootstrap(replicates: 10))
        return nil
      } catch { return (error as? SweepError)?.code }
    }
    let runs = try made().runs()
    XCTAssertEqual(code(runs, "joint", nil), .cannotTrace)
    XCTAssertEqual(code(runs, "ogm", "beta"), .cannotTrace)
    XCTAssertEqual(code(runs, "agm", nil), .unknownLabel)
    // A setting that is the same everywhere is no strength, and no hindrance.
    XCTAssertNil(code(try made(extra: true).runs(), "ogm", nil))
    let words = try HandMadeRuns()
    for (place, word) in ["a", "b"].enumerated() {
      try words.add("joint", seed: 0, "10")
      try words.add(
        "ogm", seed: 0, place == 0 ? "10" : "11", settings: [SweepSetting(key: "kind", value: .string(word))])
    }
    XCTAssertEqual(code(try words.runs(), "ogm", "kind"), .cannotTrace)
    // No seed with every strength.
    let gaps = try HandMadeRuns()
    try gaps.add("ogm", seed: 0, "10", settings: [SweepSetting(key: "alpha", value: 1)])
    try gaps.add("ogm", seed: 1, "10", settings: [SweepSetting(key: "alpha", value: 2)])
    XCTAssertEqual(code(try gaps.runs(reference: "ogm"), "ogm", nil), .cannotTrace)
  }
}
