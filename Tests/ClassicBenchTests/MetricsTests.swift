@testable import RunKit
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
      PairedTests.mcNemar(onlyBefore: counts[$0], onlyAfter: counts[$0 + 1])
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
    let corrected = PairedTests.holm(try oracle.values("holm.p").map(Optional.some))
    try oracle.compare(corrected.compactMap(\.self), "holm.adjusted")
    oracle.finish()
  }

  private func compareBootstrap(_ oracle: ClassicOracle, _ a: [Bool], _ b: [Bool]) throws {
    let indices = try oracle.integers("bootstrap.indices")
    let scores = [a, b].map { RunScores(bits: [$0], modalities: nil, value: 0) }
    func difference(_ weights: [Double]) -> Double {
      scores[0].value(weighting: weights) - scores[1].value(weighting: weights)
    }
    let replicates = stride(from: 0, to: indices.count, by: a.count).map { start in
      var weights = [Double](repeating: 0, count: a.count)
      for index in indices[start..<start + a.count] { weights[index] += 1 }
      return difference(weights)
    }
    try oracle.compare(replicates, "bootstrap.replicates")
    let estimate = difference([Double](repeating: 1, count: a.count))
    try oracle.compare([estimate], "bootstrap.difference")
    try oracle.compare(
      [XCTUnwrap(StreamingMoments(replicates).sampleStandardDeviation)], "bootstrap.se")
    for (name, confidence) in [("ci95", 0.95), ("ci90", 0.9)] {
      let bootstrap = Bootstrap(replicates: replicates.count, confidence: confidence, bounds: .percentile)
      let interval = try XCTUnwrap(bootstrap.interval(estimate, replicates, unitCount: a.count))
      try oracle.compare([interval.lower, interval.upper], "bootstrap.\(name)")
    }
  }
}
