import Foundation
import RunKit
import TestSupport
import XCTest

@testable import ClassicBench

/// Tables of results that were thought up, against numbers worked out by hand or by plain loops.
final class BenchTableTests: XCTestCase {
  private let right = [
    "joint": ["1110000000", "1111000000", "1110100000"],
    "better": ["1111111100", "1111111110", "1110111100"],
    "worse": ["1000000000", "1100000000", "0000000000"],
  ]

  private func three(_ labels: [String] = ["joint", "better", "worse"]) throws -> HandMadeRuns {
    let made = try HandMadeRuns()
    for label in labels {
      for (seed, bits) in (right[label] ?? []).enumerated() { try made.add(label, seed: seed, bits) }
    }
    return made
  }

  func testMeansRanksAndDifferencesAreThoseOfTheSeeds() throws {
    let table = try BenchTable(three().runs())
    XCTAssertEqual(table.rows.map(\.point.label), ["joint", "better", "worse"])
    let means = table.rows.map { $0.mean ?? -1 }
    for (found, expected) in zip(means, [11.0 / 30, 24.0 / 30, 3.0 / 30]) {
      XCTAssertEqual(found, expected, accuracy: 1e-12)
    }
    XCTAssertEqual(table.rows.map(\.rank), [2, 1, 3])
    XCTAssertNil(table.rows[0].difference)
    XCTAssertNil(table.rows[0].p)
    XCTAssertEqual(try XCTUnwrap(table.rows[1].difference), 13.0 / 30, accuracy: 1e-12)
    // Accuracies 0.3, 0.4, 0.4.
    XCTAssertEqual(try XCTUnwrap(table.rows[0].deviation), (0.01 / 3).squareRoot(), accuracy: 1e-12)
  }

  /// Means over two seeds of each modality alone and of its Shapley value, worked out by hand.
  func testModalitiesAreThoseOfTheSeeds() throws {
    let made = try HandMadeRuns()
    try made.add("joint", seed: 0, "1111100000", image: "1111000000", audio: "1100000000")
    try made.add("joint", seed: 1, "1111111000", image: "1111110000", audio: "0000000000")
    made.addMissing("better", seed: 0, exitCode: 1, message: "no")
    let table = try BenchTable(made.runs())
    // φ of the image: (0.4 + 0.5 - 0.2) / 2 and (0.6 + 0.7) / 2; of the sound (0.2 + 0.5 - 0.4) / 2 and (0.7 - 0.6) / 2.
    XCTAssertEqual(
      table.printedModalities.rows,
      [
        ["joint", "30.0", "50.0", "10.0", "50.0", "10.0", "40.0"],
        ["better"] + Array(repeating: "–", count: 6),
      ])
    let rows = try XCTUnwrap(table.json["rows"]?.arrayValue)
    func numbers(_ key: String) -> [Double]? { rows[0][key]?.arrayValue?.compactMap(\.doubleValue) }
    for (key, expected) in [("unimodal_accuracy", [0.5, 0.1]), ("shapley", [0.5, 0.1])] {
      for (found, value) in zip(try XCTUnwrap(numbers(key)), expected) {
        XCTAssertEqual(found, value, accuracy: 1e-12, key)
      }
    }
    XCTAssertEqual(try XCTUnwrap(rows[0]["macro_f1"]?.doubleValue), 0.3, accuracy: 1e-12)
    XCTAssertTrue(rows[1]["shapley"]?.isNull ?? false)
    XCTAssertTrue(table.csv.contains(",image;audio,0.5;0.1,"), table.csv)
  }

  /// The draws of seeds and samples written out.
  func testIntervalsDrawSeedsAndSamplesApart() throws {
    var options = BenchTable.Options()
    options.bootstrap = Bootstrap(replicates: 300, seed: 5)
    let table = try BenchTable(three().runs(), options)
    let pairs = zip(right["better"] ?? [], right["joint"] ?? []).map { better, joint in
      zip(HandMadeRuns.bits(better), HandMadeRuns.bits(joint)).map { ($0 ? 1.0 : 0) - ($1 ? 1.0 : 0) }
    }
    var replicates: [Double] = []
    for replicate in 0..<300 {
      var runs = RandomStream(seed: 5, purpose: "bootstrap.runs", id: replicate)
      let chosen = (0..<3).map { _ in runs.integer(below: 3) }
      var items = RandomStream(seed: 5, purpose: "bootstrap", id: replicate)
      let drawn = (0..<10).map { _ in items.integer(below: 10) }
      let sum = chosen.reduce(0.0) { sum, run in drawn.reduce(sum) { $0 + pairs[run][$1] } }
      replicates.append(sum / 30)
    }
    let sorted = replicates.sorted()
    let t = StudentT.quantile(0.975, degreesOfFreedom: 2)
    let tail = Normal.probability(below: -(3.0 / 2).squareRoot() * t)
    func quantile(_ share: Double) -> Double {
      let position = share * 299
      let below = Int(position)
      return sorted[below] + (position - Double(below)) * (sorted[min(299, below + 1)] - sorted[below])
    }
    let interval = try XCTUnwrap(table.rows[1].differenceInterval)
    XCTAssertEqual(interval.estimate, 13.0 / 30, accuracy: 1e-12)
    XCTAssertEqual(interval.lower, quantile(tail), accuracy: 1e-12)
    XCTAssertEqual(interval.upper, quantile(1 - tail), accuracy: 1e-12)
  }

  func testTestsAreThoseOverSeedsAndSamplesWithHolm() throws {
    let table = try BenchTable(three().runs())
    var tests: [Double?] = []
    for (place, label) in [(1, "better"), (2, "worse")] {
      let pairs = zip(right[label] ?? [], right["joint"] ?? []).map { own, joint in
        zip(HandMadeRuns.bits(own), HandMadeRuns.bits(joint)).map {
          Optional(($0 ? 1.0 : 0) - ($1 ? 1.0 : 0))
        }
      }
      let samples = CrossedSamples(pairs)
      XCTAssertEqual(table.rows[place].p, samples.p)
      XCTAssertEqual(table.rows[place].detectable, samples.detectableMean(confidence: 0.95))
      tests.append(samples.p)
    }
    XCTAssertEqual([table.rows[1].corrected, table.rows[2].corrected], PairedTests.holm(tests))
  }

  /// better against joint: 5, 5 and 4 samples for it and none against; 2 · 2⁻⁵ = 0.0625, 2 · 2⁻⁴ = 0.125.
  /// worse: 2, 2 and 4 samples against it: 0.5, 0.5, 0.125.
  func testMcNemarWithinSeeds() throws {
    let within = try BenchTable(three().runs()).rows.map(\.withinSeeds)
    XCTAssertNil(within[0])
    for (found, expected) in [
      (within[1]?.corrected ?? [], [0.125, 0.125, 0.25]), (within[2]?.corrected ?? [], [0.5, 0.5, 0.25]),
    ] {
      XCTAssertEqual(found.count, 3)
      for (value, number) in zip(found, expected) { XCTAssertEqual(value, number, accuracy: 1e-12) }
    }
    XCTAssertEqual(within[1]?.better, 0)
    // Nine of ten samples for it: 2 · 2⁻⁹ is below 0.05.
    let made = try HandMadeRuns()
    try made.add("joint", seed: 0, "1000000000")
    try made.add("ogm", seed: 0, "1111111111")
    let single = try BenchTable(made.runs())
    XCTAssertEqual(single.rows[1].withinSeeds, .init(corrected: [single.rows[1].p ?? 0], better: 1, worse: 0))
    XCTAssertEqual(try XCTUnwrap(single.rows[1].p), 2 / 512, accuracy: 1e-12)
    XCTAssertTrue(single.notes.contains { $0.hasPrefix("one seed:") })
    XCTAssertNotNil(single.rows[1].differenceInterval)
  }

  func testSettingsAreChosenByValidationAccuracyAlone() throws {
    let made = try HandMadeRuns()
    for seed in 0..<2 {
      try made.add("joint", seed: seed, "1100")
      for (alpha, validation, bits) in [(0.1, 0.5, "1111"), (0.5, 0.7, "1000"), (1.0, 0.6, "1110")] {
        try made.add(
          "ogm", seed: seed, bits, settings: [.init(key: "alpha", value: .number(alpha))],
          validation: validation)
      }
    }
    let runs = try made.runs()
    let table = try BenchTable(runs)
    XCTAssertEqual(table.rows.map(\.point.title), ["joint", "ogm alpha=0.5"])
    XCTAssertEqual(table.rows[1].candidates, 3)
    XCTAssertEqual(try XCTUnwrap(table.rows[1].mean), 0.25)
    XCTAssertTrue(table.notes.contains("settings chosen by mean accuracy on validation samples: ogm of 3"))
    var options = BenchTable.Options()
    options.showsAll = true
    XCTAssertEqual(
      try BenchTable(runs, options).rows.map(\.point.title),
      ["joint", "ogm alpha=0.1", "ogm alpha=0.5", "ogm alpha=1.0"])
  }

  func testWhatIsMissingIsNullAndSaid() throws {
    let made = try three(["joint", "better"])
    try made.add("late", seed: 1, "1111100000")
    made.addMissing("late", seed: 0, exitCode: 65, message: "the loss is not a number")
    made.addMissing("late", seed: 2, exitCode: nil, message: nil)
    made.addMissing("none", seed: 0, exitCode: nil, message: nil)
    let table = try BenchTable(made.runs())
    XCTAssertEqual(table.rows.map(\.point.label), ["joint", "better", "late", "none"])
    // No seed has all of them.
    XCTAssertEqual(table.rows.map(\.rank), [nil, nil, nil, nil])
    let late = table.rows[2]
    XCTAssertEqual(late.mean, 0.5)
    XCTAssertEqual(try XCTUnwrap(late.difference), 0.1, accuracy: 1e-12)
    XCTAssertNil(late.deviation)
    XCTAssertNil(table.rows[3].mean)
    XCTAssertNil(table.rows[3].p)
    let json = table.json
    XCTAssertEqual(json["rows"]?.arrayValue?[3]["mean"], .null)
    XCTAssertEqual(json["rows"]?.arrayValue?[2]["values"]?.arrayValue, [.null, .number(0.5), .null])
    XCTAssertTrue(
      table.notes.contains("missing: late, seed 0: failed with status 65: the loss is not a number"))
    XCTAssertTrue(table.notes.contains("missing: none, seed 0: not finished"))
    XCTAssertEqual(Array(table.printed.rows[3].dropFirst(2)), [String](repeating: "–", count: 10))
  }

  func testOtherMetrics() throws {
    let made = try HandMadeRuns()
    // I = |v(image) − v(audio)|.
    for (seed, image) in ["1111000000", "1110000000", "1111100000"].enumerated() {
      try made.add("joint", seed: seed, "1111111111", image: image, audio: "1000000000")
      try made.add("ogm", seed: seed, "1111111111", image: "1100000000", audio: "1000000000")
    }
    let runs = try made.runs()
    var options = BenchTable.Options()
    options.metric = .imbalance
    let table = try BenchTable(runs, options)
    XCTAssertEqual(try XCTUnwrap(table.rows[0].mean), 0.3, accuracy: 1e-12)
    XCTAssertEqual(try XCTUnwrap(table.rows[1].mean), 0.1, accuracy: 1e-12)
    // Less is better.
    XCTAssertEqual(table.rows.map(\.rank), [2, 1])
    XCTAssertNotNil(table.rows[1].differenceInterval)
    XCTAssertEqual(table.rows[1].p, PairedTests.tTest([-0.2, -0.1, -0.3]))
    XCTAssertNil(table.rows[1].withinSeeds)
    options.metric = .macroF1
    let scores = try BenchTable(runs, options)
    XCTAssertEqual(scores.rows[1].mean, 0.5)
    XCTAssertTrue(scores.notes.contains { $0.hasPrefix("intervals: Student's t over 3 seeds") })
  }

  func testReconstructionsAreMarked() throws {
    let made = try HandMadeRuns()
    let id = try XCTUnwrap(MethodCatalog.entries.first { $0.isReconstruction }?.id)
    try made.add("joint", seed: 0, "1010")
    try made.add("mine", seed: 0, "1011", method: id)
    let table = try BenchTable(made.runs())
    XCTAssertEqual(table.printed.rows[1][0], "mine *")
    XCTAssertTrue(table.notes.contains { $0.hasPrefix("*: a reconstruction") })
  }

  func testFoldersThatAreNoRunsAreRefused() throws {
    let directory = try TemporaryDirectory()
    func code(_ body: () throws -> Void) -> SweepError.Code? {
      do {
        try body()
        return nil
      } catch { return (error as? SweepError)?.code }
    }
    let url = URL(fileURLWithPath: directory.path)
    XCTAssertEqual(code { _ = try BenchRuns(url) }, .notRuns)
    XCTAssertThrowsError(try BenchRuns(url.appendingPathComponent("none"))) {
      XCTAssertEqual(($0 as? FileError)?.code, .missing)
    }
    let unfinished = try HandMadeRuns("unfinished")
    unfinished.addMissing("joint", seed: 0, exitCode: nil, message: nil)
    XCTAssertEqual(code { _ = try unfinished.runs() }, .noRuns)
    let mixed = try HandMadeRuns("mixed")
    try mixed.add("joint", seed: 0, "1100")
    try mixed.add("ogm", seed: 0, "1100", hash: "b")
    XCTAssertEqual(code { _ = try mixed.runs() }, .mixed)
    let longer = try HandMadeRuns("longer")
    try longer.add("joint", seed: 0, "1100")
    try longer.add("ogm", seed: 0, "11001")
    XCTAssertEqual(code { _ = try longer.runs() }, .mixed)
    let fine = try HandMadeRuns("fine")
    try fine.add("joint", seed: 0, "1100")
    let runs = try fine.runs()
    var options = BenchTable.Options()
    options.reference = "jiont"
    XCTAssertThrowsError(try BenchTable(runs, options)) { error in
      guard case SweepError.unknownLabel(_, _, let nearest, _)? = error as? SweepError else {
        return XCTFail("\(error)")
      }
      XCTAssertEqual(nearest, "joint")
    }
    try Data("{}".utf8).write(to: fine.url.appendingPathComponent("index.json"))
    XCTAssertEqual(code { _ = try BenchRuns(fine.url) }, .malformed)
  }

  // MARK: Several data sets

  /// Six data sets that agree: 2 / 2⁶. Two methods, one of which is worse on one of them by least: ranks 1 against 2 … 6.
  func testTheSignedRankTestOverDataSets() throws {
    let directory = try TemporaryDirectory()
    var tables: [BenchTable] = []
    for data in 0..<6 {
      let made = try HandMadeRuns("set\(data)", in: directory)
      let count = 20
      func text(_ ones: Int) -> String {
        String(repeating: "1", count: ones) + String(repeating: "0", count: count - ones)
      }
      try made.add("joint", seed: 0, text(8), hash: "\(data)")
      try made.add("ogm", seed: 0, text(9 + data), hash: "\(data)")
      try made.add("agm", seed: 0, text(data == 0 ? 7 : 9 + data), hash: "\(data)")
      tables.append(try BenchTable(made.runs()))
    }
    let table = try DataSetTable(tables)
    XCTAssertEqual(table.rows.map(\.label), ["joint", "ogm", "agm"])
    XCTAssertEqual(try XCTUnwrap(table.rows[1].p), 2.0 / 64, accuracy: 1e-12)
    // W = 1: of 64 signs those with a sum of at most 1 are 2, doubled.
    XCTAssertEqual(try XCTUnwrap(table.rows[2].p), 4.0 / 64, accuracy: 1e-12)
    XCTAssertEqual(try XCTUnwrap(table.rows[1].corrected), 4.0 / 64, accuracy: 1e-12)
    // joint is second once, and third five times; the others share 1 and 2.
    XCTAssertEqual(try XCTUnwrap(table.rows[0].rank), 17.0 / 6, accuracy: 1e-12)
    XCTAssertEqual(try XCTUnwrap(table.rows[1].rank), (1 + 5 * 1.5) / 6, accuracy: 1e-12)
    XCTAssertEqual(table.csv.split(separator: "\r\n").count, 1 + 18)
    XCTAssertThrowsError(try DataSetTable([tables[0], tables[1], tables[0]])) {
      XCTAssertEqual(($0 as? SweepError)?.code, .sameData)
    }
  }

  func testAMethodThatADataSetLacksHasNoRank() {
    let ranks = DataSetTable.ranks([[0.5, 0.6], [0.4, nil], [0.7, 0.8]], greaterIsBetter: true)
    XCTAssertEqual(ranks, [2, 3, 1])
    XCTAssertEqual(DataSetTable.ranks([[0.5], [nil]], greaterIsBetter: true), [nil, nil])
    XCTAssertNil(DataSetTable.test([0.1]))
  }

  func testEqualValuesShareTheirRank() {
    XCTAssertEqual(BenchEstimates.ranks([0.5, 0.7, 0.5, 0.2], greaterIsBetter: true), [2.5, 1, 2.5, 4])
    XCTAssertEqual(BenchEstimates.ranks([0.5, 0.7, 0.5], greaterIsBetter: false), [1.5, 3, 1.5])
  }
}
