import Foundation
import RunKit
import TokenModel
import XCTest

@testable import Analysis

final class AttentionSummaryTests: XCTestCase {
  private static let roles: [Role] = [.bos, .image, .question]

  /// Two layers, two heads, groups bos, image, question; shares made of halves and quarters, exact in Float32.
  private func context(_ interval: AttentionDefinition.Interval = .init(replicates: 100)) -> AttentionContext
  {
    var context = SyntheticAttention().context
    context.definition = AttentionDefinition(
      queries: .last, groups: Self.roles.map { .init(name: $0.rawValue, roles: [$0]) }, layers: [0, 1],
      heads: [0, 1],
      sinks: .auto, interval: interval)
    return context
  }

  /// A record whose heads differ but average to bos, image and question in both layers.
  private func record(
    _ index: Int, _ mean: [Float], sinkShare: [Float] = [0, 0, 0], visible: [Double] = [1, 4, 3],
    cluster: String? = nil
  ) -> AttentionRecord {
    let tilt: [Float] = [0, 0.0625, -0.0625]
    let rows = [zip(mean, tilt).map { $0 + $1 }, zip(mean, tilt).map { $0 - $1 }]
    let even = mean[1] == 0 || mean[2] == 0 ? [mean, mean] : rows
    let total = visible.reduce(0, +)
    return AttentionRecord(
      index: index, id: "\(index)", hash: "", clusters: cluster.map { ["image": $0] } ?? [:],
      tokens: visible.map { Int($0) }, visible: visible, queryCount: 1, text: "",
      share: (even + even).flatMap { $0 },
      sinkShare: [sinkShare, sinkShare, sinkShare, sinkShare].flatMap { $0 },
      entropy: [1, 2, 1, 2], baseline: visible.map { Float($0 / total) }, rowSumError: 0)
  }

  private func summary(
    _ records: [AttentionRecord], _ interval: AttentionDefinition.Interval = .init(replicates: 100)
  ) throws -> AttentionSummary {
    AttentionSummary(context(interval), try AttentionSamples(records.map { .measured($0) }))
  }

  /// One sample worked out by hand: S = (1/4, 1/4, 1/2), n = (1, 4, 3).
  ///
  /// Tolerance: a few roundings of Float64.
  func testIndicesOfOneSampleMatchTheirFormulas() throws {
    let found = try summary([record(0, [0.25, 0.25, 0.5], sinkShare: [0.25, 0.125, 0])])
    let image = found.groups[1]
    let index = try XCTUnwrap(found.indices.first)
    let close = 1e-12
    XCTAssertEqual(try XCTUnwrap(image.share.mean), 0.25, accuracy: close)
    XCTAssertEqual(try XCTUnwrap(image.efficiency.mean), 0.0625, accuracy: close)
    XCTAssertEqual(try XCTUnwrap(image.uniformRatio.mean), 0.5, accuracy: close)
    XCTAssertEqual(try XCTUnwrap(image.shareWithoutBos.mean), 1.0 / 3, accuracy: close)
    // (1/4 − 1/8) / (1 − 1/4 − 1/8)
    XCTAssertEqual(try XCTUnwrap(image.shareWithoutSinks.mean), 0.2, accuracy: close)
    XCTAssertEqual(try XCTUnwrap(index.mdi.all.mean), (0.5 / 3) / (0.25 / 4), accuracy: close)
    XCTAssertEqual(try XCTUnwrap(index.textAEI.mean), (0.5 / 0.75) / (3.0 / 7), accuracy: close)
    XCTAssertEqual(try XCTUnwrap(index.mediumAEI.mean), (0.25 / 0.75) / (4.0 / 7), accuracy: close)
    XCTAssertEqual(try XCTUnwrap(index.split.all.shares.mean), log(2), accuracy: close)
    XCTAssertEqual(try XCTUnwrap(index.split.all.counts.mean), log(0.75), accuracy: close)
    XCTAssertEqual(try XCTUnwrap(index.split.all.content.mean), log(2) - log(0.75), accuracy: close)
    XCTAssertEqual(try XCTUnwrap(index.sinkFraction.mean), 0.5, accuracy: close)
    XCTAssertEqual(found.entropy.map(\.mean), [1.5, 1.5])
    XCTAssertNil(image.share.low, "one sample has no interval")
    XCTAssertNil(found.groups[0].shareWithoutBos.mean, "bos has no share of what bos leaves")
  }

  /// For every sample and every layer: MDI = AEI of text / AEI of the medium, and the split adds up.
  ///
  /// Tolerance: relative, a few roundings of Float64 in either form.
  func testIdentitiesHoldInEverySample() throws {
    let run = SyntheticAttention(sampleCount: 30)
    let definition = run.definition
    for sample in run.samples.compactMap(\.record) {
      let measures = SampleMeasures(sample, definition)
      for medium in [Role.image, .audio] {
        func value(_ quantity: Quantity) throws -> Double {
          try XCTUnwrap(quantity.value(measures, definition))
        }
        let mdi = try value(.mdi(medium, .all))
        XCTAssertEqual(try value(.textAEI(medium)) / value(.mediumAEI(medium)), mdi, accuracy: 1e-12 * mdi)
        for layer in definition.layers.indices {
          let split =
            try value(.logCountRatio(medium, .one(layer))) + value(.logContentRatio(medium, .one(layer)))
          XCTAssertEqual(split, try value(.logShareRatio(medium, .one(layer))), accuracy: 1e-12)
          XCTAssertEqual(
            exp(try value(.logContentRatio(medium, .one(layer)))) / (try value(.mdi(medium, .one(layer)))), 1,
            accuracy: 1e-12)
        }
      }
    }
  }

  /// Tolerance: shares are Float32 and six of them are added.
  func testSharesOfAllGroupsSumToOne() throws {
    let run = SyntheticAttention()
    let found = AttentionSummary(run.context, try AttentionSamples(run.samples))
    for path in [
      \AttentionSummary.Group.share, \.baseline, \.tokenShare, \.shareWithoutBos, \.shareWithoutSinks,
    ] {
      let sum = found.groups.compactMap { $0[keyPath: path].mean }.reduce(0, +)
      XCTAssertEqual(sum, 1, accuracy: 1e-6)
    }
    for layer in 0..<4 {
      XCTAssertEqual(found.groups.compactMap { $0.byLayer[layer].mean }.reduce(0, +), 1, accuracy: 1e-6)
      for head in 0..<4 {
        XCTAssertEqual(
          found.groups.compactMap { $0.byLayerHead[layer][head] }.reduce(0, +), 1, accuracy: 1e-6)
      }
    }
    // The mean over heads and layers of the heads' means is the group's mean.
    for group in found.groups {
      let heads = group.byLayerHead.flatMap { $0.compactMap { $0 } }
      XCTAssertEqual(heads.reduce(0, +) / 16, try XCTUnwrap(group.share.mean), accuracy: 1e-12)
    }
  }

  func testRatiosToAShareOfZeroAreLeftOutAndCounted() throws {
    let found = try summary([
      record(0, [0.25, 0.25, 0.5]), record(1, [0.5, 0, 0.5]), record(2, [0.5, 0, 0.5], visible: [1, 0, 3]),
      record(3, [0.25, 0.25, 0.5]),
    ])
    let index = try XCTUnwrap(found.indices.first)
    XCTAssertEqual(index.split.all.shares.count, 2)
    XCTAssertEqual(index.split.all.shares.undefinedCount, 2)
    XCTAssertEqual(index.split.all.counts.count, 2, "count and content are over the same samples")
    XCTAssertEqual(index.mdi.all.undefinedCount, 2)
    XCTAssertEqual(try XCTUnwrap(index.split.all.shares.mean), log(2), accuracy: 1e-12)
    XCTAssertTrue(found.warnings.contains { $0.code == "undefined_ratios" })
    XCTAssertEqual(found.groups[1].efficiency.undefinedCount, 1)
  }

  /// Tolerance: two ways to add the same numbers.
  func testTIntervalsMatchTheFormula() throws {
    let shares: [Float] = [0.125, 0.25, 0.25, 0.5, 0.375]
    let records = shares.enumerated().map { record($0.offset, [0.125, $0.element, 0.875 - $0.element]) }
    let found = try summary(records, .init(method: .t)).groups[1].share
    let mean = 0.3
    let deviation = (shares.reduce(0.0) { $0 + (Double($1) - mean) * (Double($1) - mean) } / 4).squareRoot()
    // 2.776445105 is Student's t at 0.975 with 4 degrees of freedom.
    let reach = 2.7764451051977987 * deviation / 5.0.squareRoot()
    XCTAssertEqual(try XCTUnwrap(found.low), mean - reach, accuracy: 1e-9)
    XCTAssertEqual(try XCTUnwrap(found.high), mean + reach, accuracy: 1e-9)
    XCTAssertEqual(try XCTUnwrap(found.standardDeviation), deviation, accuracy: 1e-12)
  }

  /// Copies of a sample add no knowledge: clustered, eight copies of each of five samples have about the interval
  /// of the five; taken as independent, a much narrower one.
  func testClustersKeepCopiesFromNarrowingIntervals() throws {
    let shares: [Float] = [0.125, 0.25, 0.25, 0.5, 0.375]
    func records(copies: Int) -> [AttentionRecord] {
      (0..<5 * copies).map { index in
        record(index, [0.125, shares[index % 5], 0.875 - shares[index % 5]], cluster: "item \(index % 5)")
      }
    }
    for method in AttentionDefinition.Interval.Method.allCases {
      func width(_ copies: Int, _ key: String?) throws -> Double {
        let estimate = try summary(records(copies: copies), .init(method: method, clusterKey: key)).groups[1]
          .share
        return try XCTUnwrap(estimate.high) - XCTUnwrap(estimate.low)
      }
      let once = try width(1, nil)
      let clustered = try width(8, "image")
      XCTAssertEqual(
        clustered, once, accuracy: 1e-9 * once, "\(method): the same resamples of the same five units")
      XCTAssertLessThan(try width(8, nil), 0.6 * once, "\(method)")
    }
  }

  func testPermutingGroupsPermutesResults() throws {
    let run = SyntheticAttention(sampleCount: 12)
    let order = [4, 2, 0, 5, 1, 3]
    var context = run.context
    context.definition.groups = order.map { run.definition.groups[$0] }
    let permuted = run.samples.compactMap(\.record).map { record -> AttentionRecord in
      var record = record
      func rows<Value>(_ values: [Value]) -> [Value] {
        stride(from: 0, to: values.count, by: 6).flatMap { start in order.map { values[start + $0] } }
      }
      record.share = rows(record.share)
      record.sinkShare = record.sinkShare.map(rows)
      record.tokens = rows(record.tokens)
      record.visible = rows(record.visible)
      record.baseline = rows(record.baseline)
      record.queryTokens = []
      record.sinks = []
      record.keys = nil
      record.media = []
      return record
    }
    let plain = AttentionSummary(run.context, try AttentionSamples(run.samples))
    let found = AttentionSummary(context, try AttentionSamples(permuted.map { .measured($0) }))
    for (position, group) in order.enumerated() {
      XCTAssertEqual(found.groups[position].share, plain.groups[group].share)
      XCTAssertEqual(found.groups[position].byLayer, plain.groups[group].byLayer)
    }
    for (left, right) in zip(found.indices, plain.indices) {
      // Text groups are added in another order.
      XCTAssertEqual(try XCTUnwrap(left.mdi.all.mean), try XCTUnwrap(right.mdi.all.mean), accuracy: 1e-12)
    }
  }

  func testPartsCoverEverySampleOnce() throws {
    let run = SyntheticAttention(variesAudioTokens: true)
    let found = AttentionSummary(run.context, try AttentionSamples(run.samples))
    for tag in ["type", "hint"] {
      XCTAssertEqual(found.tags.filter { $0.tag == tag }.reduce(0) { $0 + $1.part.count }, run.sampleCount)
    }
    XCTAssertEqual(found.strata.map(\.tokens), [24...24, 48...48])
    XCTAssertEqual(found.strata.reduce(0) { $0 + $1.part.count }, run.sampleCount)
    XCTAssertTrue(found.warnings.contains { $0.code == "token_counts_differ" })
    // The weighted mean of the parts is the mean of the whole.
    let parts = found.tags.filter { $0.tag == "type" }
    let mean =
      parts.reduce(0) { $0 + Double($1.part.count) * ($1.part.shares[1].mean ?? .nan) }
      / Double(run.sampleCount)
    XCTAssertEqual(mean, try XCTUnwrap(found.groups[1].share.mean), accuracy: 1e-12)
  }

  func testLayerGroupsAreTheFirstMiddleAndLastTwo() {
    func groups(_ count: Int) -> [Range<Int>] {
      var definition = SyntheticAttention().definition
      definition.layers = Array(0..<count)
      let (early, middle, late) = definition.layerGroups
      return [early, middle, late]
    }
    XCTAssertEqual(groups(32), [0..<2, 15..<17, 30..<32])
    XCTAssertEqual(groups(4), [0..<2, 1..<3, 2..<4])
    XCTAssertEqual(groups(3), [0..<2, 0..<2, 1..<3])
    XCTAssertEqual(groups(1), [0..<1, 0..<1, 0..<1])
  }

  func testGroupsThatMixTextAndMediaGiveNoIndex() throws {
    var context = context()
    context.definition.groups = [
      .init(name: "a", roles: [.bos]), .init(name: "b", roles: [.image, .question]),
      .init(name: "c", roles: []),
    ]
    let found = AttentionSummary(context, try AttentionSamples([.measured(record(0, [0.25, 0.25, 0.5]))]))
    XCTAssertTrue(found.indices.isEmpty)
    XCTAssertTrue(found.warnings.contains { $0.code == "no_index" })
  }
}
