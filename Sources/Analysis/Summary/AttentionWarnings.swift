import TokenModel

/// What a reader must know beside the numbers of a run.
struct AttentionWarnings {
  private(set) var list: [AttentionSummary.Warning] = []

  init(_ summary: AttentionSummary, _ samples: AttentionSamples) {
    let records = samples.records
    addCompleteness(summary, firstSkipped: samples.firstSkipped)
    addSinks(summary)
    addCounts(summary)
    addSampling(summary, records)
    addMeaning(summary)
  }

  private mutating func warn(_ code: String, _ message: String) {
    list.append(.init(code: code, level: .warning, message: message))
  }

  private mutating func note(_ code: String, _ message: String) {
    list.append(.init(code: code, level: .note, message: message))
  }

  private mutating func addCompleteness(_ summary: AttentionSummary, firstSkipped: String?) {
    if !summary.isComplete {
      warn(
        "partial",
        "\(summary.measuredCount + summary.skipped.count) of \(summary.context.expectedCount) samples are here; "
          + "finish the run with --resume")
    }
    if let firstSkipped {
      warn(
        "skipped_samples",
        "\(Text.count(summary.skipped.count, "sample")) could not be measured, so no mean includes "
          + "\(summary.skipped.count == 1 ? "it" : "them"); the first: \(firstSkipped)")
    }
    if summary.nonfiniteCount > 0 {
      warn(
        "nonfinite_values", "\(summary.nonfiniteCount) values are not finite; their samples are in no mean")
    }
    if let error = summary.rowSumMaxError, !(error <= 1e-4) {
      warn("row_sums", "the shares of a query row miss a sum of 1 by up to \(Text.short(error))")
    }
  }

  private mutating func addSinks(_ summary: AttentionSummary) {
    let definition = summary.context.definition
    if let bos = definition.bosGroup, let share = summary.groups[bos].share.mean, share > 0.3 {
      warn(
        "bos_dominated",
        "bos alone takes \(Text.percent(share)) of the attention; read the shares without bos beside")
    }
    for index in summary.indices {
      if let fraction = index.sinkFraction.mean, fraction > 0.25 {
        warn(
          "sink_dominated",
          "\(Text.percent(fraction)) of the attention on \(index.medium.rawValue) falls on sink keys; "
            + "read the shares without sinks beside")
      }
    }
  }

  private mutating func addCounts(_ summary: AttentionSummary) {
    for medium in Set(summary.strata.map(\.medium.rawValue)).sorted() {
      let ranges = summary.strata.filter { $0.medium.rawValue == medium }.map(\.part.count)
      warn(
        "token_counts_differ",
        "samples have different numbers of \(medium) tokens; MDI is confounded with that number: "
          + "read the \(ranges.count) strata")
    }
    for index in summary.indices where index.split.all.shares.undefinedCount > 0 {
      let total = index.split.all.shares.count + index.split.all.shares.undefinedCount
      warn(
        "undefined_ratios",
        "the ratio of text to \(index.medium.rawValue) is undefined in \(index.split.all.shares.undefinedCount) of "
          + "\(total) samples (no such tokens, or a share of 0); they are left out of it")
    }
    let definition = summary.context.definition
    if definition.textGroups.isEmpty || Role.media.allSatisfy({ definition.groups(of: $0).isEmpty }) {
      warn("no_index", "no index can be formed: it needs groups that hold only text and only one medium")
    }
    for medium in Role.media {
      // What the caller left out is in the group other, and knows no index on purpose.
      guard let group = definition.groups.first(where: { $0.roles.contains(medium) }), group.name != "other",
        group.roles != [medium]
      else { continue }
      let others = group.roles.filter { $0 != medium }.map(\.rawValue)
      warn(
        "no_medium_index",
        "no index for \(medium.rawValue): the group \(group.name.inQuotes) also holds \(others.joined(separator: ", ")); "
          + "give \(medium.rawValue) a group of its own")
    }
  }

  private mutating func addSampling(_ summary: AttentionSummary, _ records: [AttentionRecord]) {
    let interval = summary.context.definition.interval
    switch summary.measuredCount {
    case ...0: warn("no_samples", "no sample was measured")
    case 1: warn("few_samples", "1 sample: there are no intervals, and nothing can be said of other samples")
    case ..<30: warn("few_samples", "\(summary.measuredCount) samples: the intervals are rough")
    default: break
    }
    if let medium = interval.clusterKey, let count = summary.clusterCount {
      if !records.isEmpty, records.allSatisfy({ $0.clusters[medium] == nil }) {
        warn("no_cluster", "no sample has a \(medium) item: single samples were resampled")
      } else {
        if count < 20 {
          warn(
            "few_clusters",
            "\(count) different \(medium) items: clustered intervals are too narrow below about 20")
        }
        if records.contains(where: { $0.clusters[medium] == nil }) {
          warn("no_cluster", "some samples have no \(medium) item and count as a cluster of their own")
        }
      }
    } else {
      for medium in Set(records.flatMap { $0.clusters.keys }).sorted() {
        let items = Set(records.compactMap { $0.clusters[medium] }).count
        if items > 0, items < records.filter({ $0.clusters[medium] != nil }).count {
          warn(
            "shared_items",
            "samples share \(medium) items (\(items) different ones) and are not independent, so intervals may be too "
              + "narrow; --cluster-key \(medium) resamples items instead")
        }
      }
    }
    let values = Dictionary(grouping: records.flatMap { $0.tags.map { $0 } }, by: \.key)
    for tag in values.keys.sorted()
    where Set((values[tag] ?? []).map(\.value)).count > AttentionSummary.tagValueLimit {
      note("tag_left_out", "the tag \"\(tag)\" has too many values to break the numbers down by")
    }
  }

  private mutating func addMeaning(_ summary: AttentionSummary) {
    let queries = summary.context.definition.queries
    if queries == .text || queries == .all {
      warn(
        "causal_mask",
        "with queries \"\(queries.rawValue)\" early rows cannot see later media, so shares mix position with "
          + "preference; compare with the baseline")
    }
    note(
      "attention_is_not_importance",
      "attention says where a row reads, not what decides the answer; confirm with an intervention")
    note(
      "shares_scale_with_counts",
      "a group with more tokens gets more attention even without any preference; read share beside token share"
    )
    note(
      "order_of_media",
      "rotary positions and the causal mask favour some places in the prompt; the order of media is not balanced here"
    )
    if summary.context.definition.heads.count > 1 {
      note(
        "head_mean",
        "means over heads can hide a few heads that read a medium; see the grid of layers and heads")
    }
  }
}
