import TokenModel

extension AttentionSummary {
  /// A tag with more values than this is not a kind of sample but a name, and is not broken down.
  static let tagValueLimit = 40

  /// The samples by each value of each tag, both sorted.
  static func tags(
    _ samples: [SampleMeasures], _ definition: AttentionDefinition, _ media: [Role]
  ) -> [TagPart] {
    var parts: [TagPart] = []
    for tag in Set(samples.flatMap { $0.record.tags.keys }).sorted() {
      let values = Set(samples.compactMap { $0.record.tags[tag] }).sorted()
      guard values.count <= tagValueLimit else { continue }
      for value in values {
        let chosen = samples.filter { $0.record.tags[tag] == value }
        parts.append(TagPart(tag: tag, value: value, part: Part(chosen, definition, media)))
      }
    }
    return parts
  }

  /// The samples by number of tokens, for each medium whose number differs: each number by itself if there are
  /// at most six, otherwise four ranges of about as many samples.
  static func strata(
    _ samples: [SampleMeasures], _ definition: AttentionDefinition, _ media: [Role]
  ) -> [Stratum] {
    media.flatMap { medium -> [Stratum] in
      let groups = definition.groups(of: medium)
      let counted = samples.map { sample in groups.reduce(0) { $0 + sample.record.tokens[$1] } }
      let present = counted.filter { $0 > 0 }.sorted()
      let distinct = Set(present).sorted()
      guard distinct.count > 1 else { return [] }
      return ranges(distinct, present).map { range in
        let chosen = zip(samples, counted).filter { range.contains($1) }.map(\.0)
        return Stratum(medium: medium, tokens: range, part: Part(chosen, definition, media))
      }
    }
  }

  /// Ranges that cover all counts, none empty and none overlapping.
  private static func ranges(_ distinct: [Int], _ sorted: [Int]) -> [ClosedRange<Int>] {
    if distinct.count <= 6 { return distinct.map { $0...$0 } }
    let lowest = Set([0, 1, 2, 3].map { sorted[sorted.count * $0 / 4] }).sorted()
    return lowest.indices.map { position in
      let next = position + 1 < lowest.count ? lowest[position + 1] : Int.max
      let highest = distinct.last { $0 < next } ?? lowest[position]
      return lowest[position]...max(lowest[position], highest)
    }
  }
}

extension AttentionSummary.Part {
  /// What these samples show; they are resampled among themselves.
  init(_ samples: [SampleMeasures], _ definition: AttentionDefinition, _ media: [Role]) {
    let estimates = Estimates(definition.partQuantities(media: media), samples, definition)
    self.init(
      count: samples.count, shares: definition.groups.indices.map { estimates[.share(group: $0)] },
      efficiencies: definition.groups.indices.map { estimates[.perToken(group: $0)] },
      mdi: media.map { estimates[.mdi($0, .all)] },
      content: media.map { estimates[.logContentRatio($0, .all)] })
  }
}
