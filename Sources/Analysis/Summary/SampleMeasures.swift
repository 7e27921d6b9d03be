import Foundation
import TokenModel

/// The numbers of one sample that data-set means are taken of.
///
/// Shares are averaged over query rows (by the record), then heads, then layers, in Float64 and in a fixed
/// order. Ratios are formed from shares averaged this way over the layers they name, so that a layer in which
/// a share is nearly 0 cannot decide them. A ratio whose denominator is 0 is nil: undefined, never NaN.
struct SampleMeasures {
  let record: AttentionRecord
  /// Head means, `[layers, groups]`.
  let share: [[Double]]
  /// The part of `share` on sink keys, same shape, or nil.
  let sinkShare: [[Double]]?
  /// Head means in nats, `[layers]`.
  let entropy: [Double]
  private let definition: AttentionDefinition

  init(_ record: AttentionRecord, _ definition: AttentionDefinition) {
    let (layers, heads, groups) = (definition.layers.count, definition.heads.count, definition.groups.count)
    func headMeans(_ values: [Float], width: Int) -> [[Double]] {
      (0..<layers).map { layer in
        (0..<width).map { column in
          var sum = 0.0
          for head in 0..<heads { sum += Double(values[(layer * heads + head) * width + column]) }
          return sum / Double(heads)
        }
      }
    }
    self.record = record
    self.definition = definition
    share = headMeans(record.share, width: groups)
    sinkShare = record.sinkShare.map { headMeans($0, width: groups) }
    entropy = headMeans(record.entropy, width: 1).map { $0[0] }
  }

  /// Mean over these layers of the share of one group.
  func share(_ group: Int, _ layers: Range<Int>) -> Double {
    var sum = 0.0
    for layer in layers { sum += share[layer][group] }
    return sum / Double(layers.count)
  }

  /// Mean over these layers of the share of several groups together.
  func share(_ groups: [Int], _ layers: Range<Int>) -> Double {
    groups.reduce(0) { $0 + share($1, layers) }
  }

  private var allLayers: Range<Int> { 0..<definition.layers.count }

  /// Sₘ / (1 − S_bos), or nil for the bos group and where bos takes everything.
  func shareWithoutBos(_ group: Int) -> Double? {
    guard let bos = definition.bosGroup, group != bos else { return nil }
    return quotient(share(group, allLayers), 1 - share(bos, allLayers))
  }

  /// (Sₘ − sinksₘ) / (1 − S_bos − Σ sinks), the sinks of the bos group counted once.
  func shareWithoutSinks(_ group: Int) -> Double? {
    guard let sinkShare else { return nil }
    var kept = 0.0
    var mine = 0.0
    for other in definition.groups.indices where other != definition.bosGroup {
      var sum = 0.0
      for layer in allLayers { sum += share[layer][other] - sinkShare[layer][other] }
      let value = max(0, sum / Double(allLayers.count))
      kept += value
      if other == group { mine = value }
    }
    return group == definition.bosGroup ? nil : quotient(mine, kept)
  }

  /// The fraction of a group's share that falls on sink keys.
  func sinkFraction(_ groups: [Int]) -> Double? {
    guard let sinkShare else { return nil }
    var sum = 0.0
    for layer in allLayers { for group in groups { sum += sinkShare[layer][group] } }
    return quotient(sum / Double(allLayers.count), share(groups, allLayers))
  }

  /// Keys of these groups a query row can see, mean over query rows.
  func visible(_ groups: [Int]) -> Double { groups.reduce(0) { $0 + record.visible[$1] } }

  /// S / n, the share of one key of the groups.
  func perToken(_ groups: [Int], _ layers: Range<Int>) -> Double? {
    quotient(share(groups, layers), visible(groups))
  }

  /// S / baseline: 1 where the group gets what uniform attention would give it.
  func uniformRatio(_ group: Int) -> Double? {
    quotient(share(group, allLayers), Double(record.baseline[group]))
  }

  /// The group's part of the whole sequence.
  func tokenShare(_ group: Int) -> Double? {
    quotient(Double(record.tokens[group]), Double(record.tokens.reduce(0, +)))
  }

  /// (S_T / n_T) / (S_m / n_m).
  func mdi(text: [Int], medium: [Int], _ layers: Range<Int>) -> Double? {
    guard let ofText = perToken(text, layers), let ofMedium = perToken(medium, layers) else { return nil }
    return quotient(ofText, ofMedium)
  }

  /// (S_x / (S_T + S_m)) / (n_x / (n_T + n_m)) for x = `side`.
  func aei(side: [Int], text: [Int], medium: [Int], _ layers: Range<Int>) -> Double? {
    guard
      let attention = quotient(share(side, layers), share(text, layers) + share(medium, layers)),
      let count = quotient(visible(side), visible(text) + visible(medium))
    else { return nil }
    return quotient(attention, count)
  }

  /// log(S_T / S_m), nil when either is 0.
  func logShareRatio(text: [Int], medium: [Int], _ layers: Range<Int>) -> Double? {
    logarithm(share(text, layers), share(medium, layers))
  }

  /// log(n_T / n_m), nil when either is 0 or the ratio of shares is undefined (so that means add up).
  func logCountRatio(text: [Int], medium: [Int], _ layers: Range<Int>) -> Double? {
    guard logShareRatio(text: text, medium: medium, layers) != nil else { return nil }
    return logarithm(visible(text), visible(medium))
  }

  /// log(S_T / S_m) − log(n_T / n_m): what the counts do not explain.
  func logContentRatio(text: [Int], medium: [Int], _ layers: Range<Int>) -> Double? {
    guard
      let ofShares = logShareRatio(text: text, medium: medium, layers),
      let ofCounts = logCountRatio(text: text, medium: medium, layers)
    else { return nil }
    return ofShares - ofCounts
  }

  private func quotient(_ numerator: Double, _ denominator: Double) -> Double? {
    guard denominator > 0 else { return nil }
    let quotient = numerator / denominator
    return quotient.isFinite ? quotient : nil
  }

  private func logarithm(_ numerator: Double, _ denominator: Double) -> Double? {
    guard numerator > 0, let ratio = quotient(numerator, denominator), ratio > 0 else { return nil }
    return log(ratio)
  }
}
