import Foundation
import RunKit
import TestSupport
import TokenModel
import XCTest

@testable import Analysis

final class ContributionSummaryTests: XCTestCase {
  private static let methods: [ContributionDefinition.Method] = [
    .shapley(players: [.image, .audio, .question], removal: .blank),
    .knockout(
      queries: [.others, .last, .role(.question)], keys: [.image, .question], window: 3, byHead: true),
    .valueNorm,
    .gradientInput, .integratedGradients(steps: 32, baseline: .mean),
  ]

  private func run(_ method: ContributionDefinition.Method, count: Int = 12) -> (
    AttentionContext, [AttentionRecord]
  ) {
    let synthetic = SyntheticAttention(sampleCount: count, sinks: .bos)
    var context = synthetic.context
    context.definition.queries = .last
    context.definition.contribution = ContributionDefinition(method: method, target: .margin)
    let definition = context.definition
    let records = (0..<count).map { index -> AttentionRecord in
      var record = synthetic.record(index)
      var stream = RandomStream(seed: 3, purpose: "synthetic contribution", id: index)
      func numbers(_ count: Int) -> [Double] { (0..<count).map { _ in stream.uniform() - 0.5 } }
      let effect = numbers(definition.groups.count)
      let hasTokens: Bool
      switch method {
      case .gradientInput, .integratedGradients: hasTokens = true
      default: hasTokens = false
      }
      record.contribution = Contribution(
        target: .init(id: 7, piece: "<5>", value: 1.5, probability: 0.25, isPrediction: index % 2 == 0),
        effect: method == .valueNorm ? nil : effect, magnitude: effect.map(abs),
        cells: numbers(definition.cellNames.count),
        heads: method == .valueNorm ? (0..<definition.shareCount).map { _ in stream.uniformFloat() } : nil,
        tokens: hasTokens ? (0..<record.tokens.reduce(0, +)).map { _ in stream.uniformFloat() - 0.5 } : nil,
        baselineValue: hasTokens ? 0.5 : nil, residual: hasTokens ? -0.01 : nil)
      return record
    }
    return (context, records)
  }

  func testRecordsAndContextsReadBackTheSame() throws {
    let place = RecordPlace(file: "samples.jsonl", line: 1)
    for method in Self.methods {
      let (context, records) = run(method)
      XCTAssertEqual(
        try AttentionContext(json: JSONValue(parsing: context.json.text(.indented)), at: place), context)
      let sample = AttentionSample.measured(records[0])
      let text = sample.json(context.definition).text()
      XCTAssertEqual(
        try AttentionSample(json: JSONValue(parsing: text), definition: context.definition, at: place), sample
      )
    }
  }

  func testWrongContributionsAreRefusedByKey() throws {
    let place = RecordPlace(file: "samples.jsonl", line: 1)
    let (context, records) = run(Self.methods[0])
    let line = try XCTUnwrap(records[0].json(context.definition).objectValue)
    let contribution = try XCTUnwrap(line["contribution"]?.objectValue)
    for (key, value) in [
      ("cells", [1, 2]), ("effect", .null), ("effect", ["image": 1]), ("magnitude", ["image": -1]),
      ("other", 1),
      ("target", 3), ("residual", "x"), ("cells", nil),
    ] as [(String, JSONValue?)] {
      var changed = contribution
      changed[key] = value
      var object = line
      object["contribution"] = .object(changed)
      XCTAssertThrowsError(
        try AttentionSample(json: .object(object), definition: context.definition, at: place), key
      ) { error in
        XCTAssertTrue(
          ((error as? AttentionRecordError)?.errorDescription ?? "").contains("contribution"),
          "\(key): \(error)")
      }
    }
    var without = line
    without["contribution"] = nil
    XCTAssertThrowsError(
      try AttentionSample(json: .object(without), definition: context.definition, at: place))
  }

  func testResultsFollowTheSchemaAndEveryFormShowsThem() throws {
    let schema = try AttentionResultTests.schema()
    for method in Self.methods {
      for count in [0, 1, 12] {
        let (context, records) = run(method, count: count)
        let samples = try AttentionSamples(records.map { .measured($0) })
        let summary = AttentionSummary(context, samples)
        let label = "\(method.name), \(count) samples"
        XCTAssertEqual(try schema.violations(in: summary.json), [], label)
        XCTAssertEqual(summary.json["kind"], "contribution")
        let text = summary.terminalText
        XCTAssertTrue(text.contains("contribution: \(method.explanation)"), label)
        XCTAssertFalse(text.contains("nan"), label)
        let tables = AttentionTables(summary, samples).files
        XCTAssertTrue(tables.contains { $0.name == "contribution_samples.csv" }, label)
        let html = AttentionReport(summary, samples).html
        XCTAssertEqual(html.contains("Attention and contribution"), count > 0, label)
        // One dot a sample and group; those of the legend are larger.
        XCTAssertEqual(
          html.components(separatedBy: "r=\"3\" fill-opacity").count - 1,
          count * (summary.contribution?.groups.count ?? 0), label)
      }
    }
  }

  /// Means, shares and correlations of a summary, computed again from the records.
  func testNumbersOfASummary() throws {
    let (context, records) = run(Self.methods[0])
    let contribution = try XCTUnwrap(
      AttentionSummary(context, try AttentionSamples(records.map { .measured($0) })).contribution)
    let definition = context.definition
    XCTAssertEqual(
      contribution.groups.map { definition.groups[$0.group].name }, ["image", "audio", "question"])
    for group in contribution.groups {
      let effects = records.map { $0.contribution!.effect![group.group] }
      XCTAssertEqual(try XCTUnwrap(group.effect?.mean), effects.reduce(0, +) / 12, accuracy: 1e-12)
      let shares = records.map { record -> Double in
        let magnitude = record.contribution!.magnitude
        return magnitude[group.group] / magnitude.reduce(0, +)
      }
      XCTAssertEqual(try XCTUnwrap(group.share.mean), shares.reduce(0, +) / 12, accuracy: 1e-12)
    }
    XCTAssertEqual(contribution.isPrediction.mean, 0.5)
    XCTAssertEqual(contribution.correlations.map(\.count), [12, 12, 12, 36])
    let among = contribution.groups.reduce(0) { $0 + ($1.attentionAmong.mean ?? .nan) }
    XCTAssertEqual(among, 1, accuracy: 1e-12)
  }

  func testRankCorrelation() {
    XCTAssertEqual(RankCorrelation.ranks([3, 1, 3, 2]), [3.5, 1, 3.5, 2])
    XCTAssertEqual(RankCorrelation.spearman([1, 2, 3, 4], [10, 20, 25, 1e9]), 1)
    XCTAssertEqual(RankCorrelation.spearman([1, 2, 3, 4], [4, 3, 2, 1]), -1)
    // The correlation of the ranks 1, 2.5, 2.5, 4, 5 and 2, 1, 4, 3, 5.
    XCTAssertEqual(
      RankCorrelation.spearman([1, 2, 2, 4, 5], [2, 1, 4, 3, 5]) ?? .nan, 0.6668859, accuracy: 1e-6)
    XCTAssertNil(RankCorrelation.spearman([1, 1, 1], [1, 2, 3]))
    XCTAssertNil(RankCorrelation.spearman([1, 2], [1, 2]))
  }
}
