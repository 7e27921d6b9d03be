import TokenModel

extension ContributionSummary {
  /// Summarises the contributions of a run; nil if it measured none.
  init?(_ samples: [SampleMeasures], _ definition: AttentionDefinition) {
    guard let contribution = definition.contribution else { return nil }
    let measured = samples.compactMap { sample in sample.record.contribution.map { (sample, $0) } }
    let shown = definition.contributingGroups(samples.map(\.record))
    let columns = Columns(measured, shown, definition, hasEffects: contribution.hasEffects)
    let names = definition.cellNames
    let estimates = SampleEstimator(definition.interval, measured.map { $0.0.record }).estimates(
      names.indices.map { cell in measured.map { $0.1.cells[cell] } }
        + [
          measured.map { $0.1.target.value }, measured.map { $0.1.target.probability },
          measured.map { $0.1.target.isPrediction ? 1 : 0 }, measured.map { $0.1.baselineValue },
        ])
    groups = columns.groups
    cells = zip(names, estimates).map { Cell(name: $0, estimate: $1) }
    (target, probability) = (estimates[names.count], estimates[names.count + 1])
    isPrediction = estimates[names.count + 2]
    baseline = estimates[names.count + 3].count > 0 ? estimates[names.count + 3] : nil
    residualMax = measured.compactMap { $0.1.residual.map(abs) }.max()
    correlations = Self.correlations(measured, shown, definition, columns.measures)
    tags = Self.tags(measured, shown, definition, hasEffects: contribution.hasEffects)
  }

  /// The groups of some samples, estimated from the same resamples.
  private struct Columns {
    let measures: [ContributionMeasures]
    let groups: [Group]

    init(
      _ measured: [(SampleMeasures, Contribution)], _ shown: [Int], _ definition: AttentionDefinition,
      hasEffects: Bool
    ) {
      let measures = measured.map { ContributionMeasures($0.0, $0.1, shown) }
      let estimates = SampleEstimator(definition.interval, measured.map { $0.0.record }).estimates(
        shown.indices.flatMap { place -> [[Double?]] in
          [
            measures.map { $0.attention[place] }, measures.map { $0.attentionAmong[place] },
            measures.map { $0.share[place] }, measures.map { $0.effect[place] },
          ]
        })
      self.measures = measures
      groups = shown.enumerated().map { place, group in
        Group(
          group: group, attention: estimates[4 * place], attentionAmong: estimates[4 * place + 1],
          share: estimates[4 * place + 2], effect: hasEffects ? estimates[4 * place + 3] : nil)
      }
    }
  }

  private static func tags(
    _ measured: [(SampleMeasures, Contribution)], _ shown: [Int], _ definition: AttentionDefinition,
    hasEffects: Bool
  ) -> [TagPart] {
    Set(measured.flatMap { $0.0.record.tags.keys }).sorted().flatMap { tag -> [TagPart] in
      let values = Set(measured.compactMap { $0.0.record.tags[tag] }).sorted()
      guard values.count <= AttentionSummary.tagValueLimit else { return [] }
      return values.map { value in
        let chosen = measured.filter { $0.0.record.tags[tag] == value }
        let estimator = SampleEstimator(definition.interval, chosen.map { $0.0.record })
        return TagPart(
          tag: tag, value: value, count: chosen.count,
          groups: Columns(chosen, shown, definition, hasEffects: hasEffects).groups,
          probability: estimator.estimates([chosen.map { $0.1.target.probability }])[0])
      }
    }
  }

  /// Attention against contribution over samples, and where the method resolves them over layers and heads, from the means
  /// over samples.
  private static func correlations(
    _ measured: [(SampleMeasures, Contribution)], _ shown: [Int], _ definition: AttentionDefinition,
    _ measures: [ContributionMeasures]
  ) -> [Correlation] {
    var list: [Correlation] = []
    func append(_ over: String, _ group: Int?, _ pairs: [(Double, Double)]) {
      list.append(
        Correlation(
          over: over, group: group, count: pairs.count,
          value: RankCorrelation.spearman(pairs.map(\.0), pairs.map(\.1))))
    }
    func append(_ over: String, _ pairs: (Int) -> [(Double, Double)]) {
      let byGroup = shown.indices.map(pairs)
      for (group, pairs) in zip(shown, byGroup) { append(over, group, pairs) }
      append(over, nil, byGroup.flatMap(\.self))
    }
    append("samples") { place in
      measures.compactMap { sample in
        guard let attention = sample.attentionAmong[place], let share = sample.share[place] else {
          return nil
        }
        return (attention, share)
      }
    }
    guard !measured.isEmpty, let contribution = definition.contribution else { return list }
    let (layers, heads, groups) = (definition.layers.count, definition.heads.count, definition.groups.count)
    func mean(_ value: (SampleMeasures, Contribution) -> Double) -> Double {
      measured.reduce(0) { $0 + value($1.0, $1.1) } / Double(measured.count)
    }
    switch contribution.method {
    case .valueNorm:
      append("layers") { place in
        (0..<layers).map { layer in
          let (group, cell) = (shown[place], 2 * (layer * groups + shown[place]))
          return (mean { sample, _ in sample.share[layer][group] }, mean { $1.cells[cell] })
        }
      }
      append("layers x heads") { place in
        (0..<layers * heads).map { head in
          let cell = head * groups + shown[place]
          return (
            mean { sample, _ in Double(sample.record.share[cell]) }, mean { Double($1.heads?[cell] ?? 0) }
          )
        }
      }
    case .knockout(let queries, let keys, let window, let byHead):
      let cuts = ContributionDefinition.cutPlaces(
        window, byHead: byHead, layerCount: layers, headCount: heads)
      /// Attention where it was cut, and the mean |change of the target|, for the first rows that were blinded.
      func pairs(_ place: Int, _ number: Int) -> (Double, Double) {
        let (group, cut) = (shown[place], cuts[number])
        let key = keys.firstIndex { definition.group(of: $0) == group } ?? 0
        let cell = 2 * (key * queries.count * cuts.count + number) + 1
        let attention = mean { sample, _ in
          guard let head = cut.head else { return sample.share(group, cut.layers) }
          return Double(sample.record.share[(cut.layers.lowerBound * heads + head) * groups + group])
        }
        return (attention, mean { abs($1.cells[cell]) })
      }
      let windows = cuts.indices.dropFirst().filter { cuts[$0].head == nil }
      if !windows.isEmpty { append("windows") { place in windows.map { pairs(place, $0) } } }
      if byHead {
        let single = cuts.indices.filter { cuts[$0].head != nil }
        append("layers x heads") { place in single.map { pairs(place, $0) } }
      }
    case .shapley, .gradientInput, .integratedGradients: break
    }
    return list
  }
}
