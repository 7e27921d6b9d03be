import TokenModel

extension AttentionSummary {
  /// Summarises a run.
  ///
  /// - Parameters:
  ///   - context: What was asked.
  ///   - samples: The samples; the result depends on nothing else.
  public init(_ context: AttentionContext, _ samples: AttentionSamples) {
    let definition = context.definition
    let records = samples.records
    let measures = records.map { SampleMeasures($0, definition) }
    let media = Self.media(records, definition)
    let moments = AttentionMoments(records, definition)
    let estimates = Estimates(definition.quantities(media: media), measures, definition)

    self.init(
      context: context, isComplete: samples.samples.count == context.expectedCount,
      measuredCount: records.count,
      skipped: samples.skipped.map { .skipped(index: $0.index, id: $0.id, reason: $0.reason) },
      clusterCount: SampleEstimator(definition.interval, records).unitCount, media: media,
      tokens: Self.tokenCounts(records, definition),
      groups: Self.groups(definition, estimates, moments),
      indices: media.map { Self.index($0, definition, estimates, measures) },
      entropy: definition.layers.indices.map { estimates[.entropy(layer: $0)] },
      tags: Self.tags(measures, definition, media), strata: Self.strata(measures, definition, media),
      sinks: Self.sinks(records), queryPositions: Self.queryPositions(records, definition),
      rowSumMaxError: records.map(\.rowSumError).max(),
      nonfiniteCount: samples.samples.compactMap(\.record).reduce(0) { $0 + $1.nonfiniteCount },
      contribution: ContributionSummary(measures, definition), warnings: [])
    warnings = AttentionWarnings(self, samples).list
  }

  /// The media an index can be made for: a group of their own with tokens in some sample, beside a text group.
  private static func media(_ records: [AttentionRecord], _ definition: AttentionDefinition) -> [Role] {
    guard !definition.textGroups.isEmpty else { return [] }
    return Role.media.filter { medium in
      let groups = definition.groups(of: medium)
      return records.contains { record in groups.contains { record.tokens[$0] > 0 } }
    }
  }

  private static func tokenCounts(
    _ records: [AttentionRecord], _ definition: AttentionDefinition
  ) -> [TokenCounts] {
    definition.groups.indices.map { group in
      let counts = records.map { $0.tokens[group] }
      let mean = counts.isEmpty ? nil : Double(counts.reduce(0, +)) / Double(counts.count)
      return TokenCounts(mean: mean, minimum: counts.min(), maximum: counts.max())
    }
  }

  private static func groups(
    _ definition: AttentionDefinition, _ estimates: Estimates, _ moments: AttentionMoments
  ) -> [Group] {
    definition.groups.indices.map { group in
      let heads = definition.layers.indices.map { layer in
        definition.heads.indices.map { head -> Double? in
          guard moments.share.count > 0 else { return nil }
          let row = layer * definition.heads.count + head
          return moments.share.mean[row * definition.groups.count + group]
        }
      }
      return Group(
        name: definition.groups[group].name, tokenShare: estimates[.tokenShare(group: group)],
        baseline: estimates[.baseline(group: group)], share: estimates[.share(group: group)],
        efficiency: estimates[.perToken(group: group)], uniformRatio: estimates[.uniformRatio(group: group)],
        shareWithoutBos: estimates[.shareWithoutBos(group: group)],
        shareWithoutSinks: estimates[.shareWithoutSinks(group: group)],
        byLayer: definition.layers.indices.map { estimates[.layerShare(group: group, layer: $0)] },
        byLayerHead: heads)
    }
  }

  private static func index(
    _ medium: Role, _ definition: AttentionDefinition, _ estimates: Estimates, _ samples: [SampleMeasures]
  ) -> Index {
    func layered<Value>(_ value: (Quantity.Layers) -> Value) -> Layered<Value> {
      Layered(
        all: value(.all), early: value(.early), middle: value(.middle), late: value(.late),
        byLayer: definition.layers.indices.map { value(.one($0)) })
    }
    let all = definition.range(.all)
    let (textGroups, mediumGroups) = (definition.textGroups, definition.groups(of: medium))
    // A sample without one side would add to the other side alone.
    let both = samples.filter { $0.visible(textGroups) > 0 && $0.visible(mediumGroups) > 0 }
    func total(_ groups: [Int]) -> (share: Double, visible: Double) {
      both.reduce((0, 0)) { ($0.0 + $1.share(groups, all), $0.1 + $1.visible(groups)) }
    }
    let (text, other) = (total(textGroups), total(mediumGroups))
    let ofMeans = text.share * other.visible / (text.visible * other.share)
    return Index(
      medium: medium, mdi: layered { estimates[.mdi(medium, $0)] },
      mdiOfMeans: ofMeans.isFinite ? ofMeans : nil, textAEI: estimates[.textAEI(medium)],
      mediumAEI: estimates[.mediumAEI(medium)],
      split: layered {
        Split(
          shares: estimates[.logShareRatio(medium, $0)], counts: estimates[.logCountRatio(medium, $0)],
          content: estimates[.logContentRatio(medium, $0)])
      }, sinkFraction: estimates[.sinkFraction(medium)])
  }

  private static func sinks(_ records: [AttentionRecord]) -> [Sink] {
    struct Place: Hashable {
      let group: Int
      let row: Int
    }
    var found: [Place: (piece: String, count: Int, rate: Double)] = [:]
    for record in records {
      for sink in record.sinks {
        let place = Place(group: sink.group, row: sink.row)
        let old = found[place] ?? (sink.piece, 0, 0)
        found[place] = (old.piece, old.count + 1, old.rate + sink.rate)
      }
    }
    let list = found.map { place, sum in
      Sink(
        group: place.group, row: place.row, piece: sum.piece, sampleCount: sum.count,
        rate: sum.rate / Double(sum.count))
    }
    // Most frequent first; the place makes the order complete, since a dictionary has none.
    return Array(
      list.sorted { ($1.sampleCount, $0.row, $0.group) < ($0.sampleCount, $1.row, $1.group) }.prefix(20))
  }

  private static func queryPositions(
    _ records: [AttentionRecord], _ definition: AttentionDefinition
  ) -> [QueryPosition] {
    let (layers, groups) = (definition.layers.count, definition.groups.count)
    var positions: [QueryPosition] = []
    for record in records {
      for (place, token) in record.queryTokens.enumerated() {
        if place == positions.count {
          positions.append(QueryPosition(count: 0, shares: [Double](repeating: 0, count: groups)))
        }
        positions[place].count += 1
        for group in 0..<groups {
          positions[place].shares[group] += token.meanShare(group, layers: layers, groups: groups)
        }
      }
    }
    for place in positions.indices {
      for group in 0..<groups { positions[place].shares[group] /= Double(positions[place].count) }
    }
    return positions
  }
}

extension AttentionRecord.QueryToken {
  /// The mean over layers of the share of a group.
  func meanShare(_ group: Int, layers: Int, groups: Int) -> Double {
    var sum = 0.0
    for layer in 0..<layers { sum += Double(share[layer * groups + group]) }
    return sum / Double(layers)
  }
}
