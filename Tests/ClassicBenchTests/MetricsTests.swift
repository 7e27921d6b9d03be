import TensorCore
import TestSupport
import XCTest

@testable import ClassicBench

final class MetricsTests: XCTestCase {
  func testClassification() throws {
    let oracle = try ClassicOracle("metrics_classification")
    let logits = try oracle.tensor("logits")
    let predictions = Classification.predictions(logits)
    try oracle.compare(predictions.map(Double.init), "prediction")
    let labels = try oracle.integers("y")
    let scores = Classification(predictions: predictions, labels: labels, classes: logits.columns)
    try oracle.compare(scores.confusion.flatMap { $0.map(Double.init) }, "confusion")
    try oracle.compare([scores.accuracy], "accuracy")
    try oracle.compare(scores.precision, "precision")
    try oracle.compare(scores.recall, "recall")
    try oracle.compare(scores.f1, "f1")
    try oracle.compare([scores.macroF1], "macro_f1")
    XCTAssertEqual(Classification.accuracy(predictions, labels), scores.accuracy)
    oracle.finish()
  }

  func testShapley() throws {
    for count in 2...3 {
      let run = try GoldenRun("shapley_m\(count)", Joint(), prefix: "param.")
      let oracle = run.oracle
      let parameters = Parameters(run.parameters.named)
      let features = try oracle.modalities.enumerated().map { index, name in
        run.model.features(index, of: try oracle.tensor("x.\(name)"), parameters)
      }
      for (name, mask) in [("zero_input", SubsetScores.Mask.zeroInput), ("zero_feature", .zeroFeature)] {
        let scores = SubsetScores(
          run.model, features, try oracle.integers("y"), parameters, mask: mask
        ) { m, f, _, p in m.head.fused(f, m.names, p) }
        try oracle.compare(Tensor.concatenated(scores.logits), "\(name).logits")
        try oracle.compare(scores.correct.flatMap { $0.map { $0 ? 1 : 0 } }, "\(name).correct")
        try oracle.compare(scores.values, "\(name).value")
        let contributions = ShapleyContribution.values(scores.values, count: count)
        try oracle.compare(contributions, "\(name).phi")
        try oracle.compare([ShapleyContribution.imbalance(contributions)], "\(name).imbalance")
        try oracle.compare(scores.sampleContributions.flatMap { $0 }, "\(name).per_sample_phi")
      }
      oracle.finish()
    }
  }

  func testSignificance() throws {
    let oracle = try ClassicOracle("stats_tests")
    func bits(_ name: String) throws -> [Bool] { try oracle.integers(name).map { $0 == 1 } }
    let (a, b) = (try bits("mcnemar.a"), try bits("mcnemar.b"))
    let counts = try oracle.integers("mcnemar.counts")
    let found = SignificanceTests.disagreements(a, b)
    XCTAssertEqual([found.onlyFirst, found.onlySecond], Array(counts.prefix(2)))
    let p = stride(from: 0, to: counts.count, by: 2).map {
      SignificanceTests.mcNemar(onlyFirst: counts[$0], onlySecond: counts[$0 + 1])
    }
    try oracle.compare(p, "mcnemar.p")
    try compareBootstrap(oracle, a, b)
    for index in 1...2 {
      let test = SignificanceTests.signedRank(try oracle.values("wilcoxon\(index).difference"))
      try oracle.compare(test.ranks, "wilcoxon\(index).ranks")
      try oracle.compare(
        [Double(test.ranks.count), test.positive, test.negative], "wilcoxon\(index).statistics")
      try oracle.compare([test.exact, test.normal, test.normalCorrected], "wilcoxon\(index).p")
    }
    try oracle.compare(SignificanceTests.holm(oracle.values("holm.p")), "holm.adjusted")
    oracle.finish()
  }

  private func compareBootstrap(_ oracle: ClassicOracle, _ a: [Bool], _ b: [Bool]) throws {
    let indices = try oracle.integers("bootstrap.indices")
    let table = [zip(a, b).map { ($0 ? 1.0 : 0) - ($1 ? 1.0 : 0) }]
    let replicates = stride(from: 0, to: indices.count, by: a.count).map {
      PairedBootstrap.mean(table, Array(indices[$0..<$0 + a.count]))
    }
    try oracle.compare(replicates, "bootstrap.replicates")
    try oracle.compare([PairedBootstrap.mean(table, Array(a.indices))], "bootstrap.difference")
    let mean = replicates.reduce(0, +) / Double(replicates.count)
    let squares = replicates.reduce(0.0) { $0 + ($1 - mean) * ($1 - mean) }
    try oracle.compare([(squares / Double(replicates.count - 1)).squareRoot()], "bootstrap.se")
    for (name, confidence) in [("ci95", 0.95), ("ci90", 0.9)] {
      let bounds = PairedBootstrap.bounds(replicates, confidence: confidence)
      try oracle.compare([bounds.lower, bounds.upper], "bootstrap.\(name)")
    }
  }

  /// Replicates over seeds and samples spread as the formula for two random factors says.
  func testTheBootstrapDrawsSeedsAndSamples() {
    // Seeds differ and samples do not: all spread comes from the seeds.
    let first = (0..<6).map { seed in (0..<40).map { _ in seed % 2 == 0 } }
    let second = first.map { $0.map { _ in false } }
    let bootstrap = PairedBootstrap(replicates: 4000, seed: 3)
    let differences = bootstrap.differences(first, second)
    let mean = differences.reduce(0, +) / Double(differences.count)
    let variance = differences.reduce(0.0) { $0 + ($1 - mean) * ($1 - mean) } / Double(differences.count)
    XCTAssertEqual(mean, 0.5, accuracy: 0.02)
    // A mean of 6 draws of 0 and 1 has the variance 1/24.
    XCTAssertEqual(variance, 1.0 / 24, accuracy: 0.004)
    let interval = bootstrap.interval(first, second)
    XCTAssertEqual(interval.estimate, 0.5)
    XCTAssertLessThan(interval.lower, 0.2)
    XCTAssertEqual(bootstrap.interval(first, first).lower, 0)
  }
}
