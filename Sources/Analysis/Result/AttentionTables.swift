import RunKit

/// The tables of a run as CSV (RFC 4180): shares are fractions, layers and heads counted from 0, an unknown
/// number is an empty field.
public struct AttentionTables: Sendable {
  /// A file below `tables/`.
  public struct File: Equatable, Sendable {
    /// Its name.
    public var name: String
    /// Its contents.
    public var text: String
  }

  private let summary: AttentionSummary
  private let records: [AttentionRecord]
  private var definition: AttentionDefinition { summary.context.definition }

  /// The tables of a summary and of the samples it was made of.
  public init(_ summary: AttentionSummary, _ samples: AttentionSamples) {
    self.summary = summary
    records = samples.records
  }

  /// Every table.
  public var files: [File] {
    [
      File(name: "groups.csv", text: groups), File(name: "layers.csv", text: layers),
      File(name: "heads.csv", text: heads), File(name: "indices.csv", text: indices),
      File(name: "tags.csv", text: tags), File(name: "query_tokens.csv", text: queryTokens),
      File(name: "samples.csv", text: samples),
    ] + (summary.contribution?.tables(records, definition) ?? [])
  }

  private static let estimateColumns = ["mean", "low", "high", "sd", "n"]

  private func cells(_ estimate: Estimate) -> [CSVWriter.Field] {
    [
      .number(estimate.mean), .number(estimate.low), .number(estimate.high),
      .number(estimate.standardDeviation),
      .integer(estimate.count),
    ]
  }

  /// Shares by group over all layers.
  private var groups: String {
    let quantities: [(String, KeyPath<AttentionSummary.Group, Estimate>)] = [
      ("share", \.share), ("token_share", \.tokenShare), ("baseline", \.baseline),
      ("efficiency", \.efficiency),
      ("uniform_ratio", \.uniformRatio), ("share_no_bos", \.shareWithoutBos),
      ("share_no_sinks", \.shareWithoutSinks),
    ]
    var table = CSVWriter(columns: ["group", "quantity"] + Self.estimateColumns)
    for group in summary.groups {
      for (name, path) in quantities {
        table.append([.text(group.name), .text(name)] + cells(group[keyPath: path]))
      }
    }
    return table.text
  }

  /// Shares and entropy by layer.
  private var layers: String {
    var table = CSVWriter(columns: ["layer", "quantity", "group"] + Self.estimateColumns)
    for (position, layer) in definition.layers.enumerated() {
      for group in summary.groups {
        table.append([.integer(layer), "share", .text(group.name)] + cells(group.byLayer[position]))
      }
      table.append([.integer(layer), "entropy", .empty] + cells(summary.entropy[position]))
    }
    return table.text
  }

  /// Mean share by layer and head.
  private var heads: String {
    var table = CSVWriter(columns: ["layer", "head"] + summary.groups.map(\.name))
    for (row, layer) in definition.layers.enumerated() {
      for (column, head) in definition.heads.enumerated() {
        table.append(
          [.integer(layer), .integer(head)] + summary.groups.map { .number($0.byLayerHead[row][column]) })
      }
    }
    return table.text
  }

  /// MDI, AEI and the split of the log ratio, over all layers, layer groups and each layer.
  private var indices: String {
    var table = CSVWriter(columns: ["modality", "index", "layers"] + Self.estimateColumns)
    for index in summary.indices {
      let medium = index.medium.rawValue
      func append(_ name: String, _ layers: String, _ estimate: Estimate) {
        table.append([.text(medium), .text(name), .text(layers)] + cells(estimate))
      }
      func append(_ name: String, _ layered: AttentionSummary.Layered<Estimate>) {
        for (layers, estimate) in [
          ("all", layered.all), ("early", layered.early), ("middle", layered.middle), ("late", layered.late),
        ] {
          append(name, layers, estimate)
        }
        for (layer, estimate) in zip(definition.layers, layered.byLayer) {
          append(name, String(layer), estimate)
        }
      }
      append("mdi", index.mdi)
      append("aei_text", "all", index.textAEI)
      append("aei_\(medium)", "all", index.mediumAEI)
      append("log_share_ratio", index.split.map(\.shares))
      append("log_count_ratio", index.split.map(\.counts))
      append("log_content_ratio", index.split.map(\.content))
      append("sink_fraction", "all", index.sinkFraction)
    }
    return table.text
  }

  /// Shares by tag.
  private var tags: String {
    var table = CSVWriter(columns: ["tag", "value", "group"] + Self.estimateColumns)
    for tag in summary.tags {
      for (group, estimate) in zip(summary.groups, tag.part.shares) {
        table.append([.text(tag.tag), .text(tag.value), .text(group.name)] + cells(estimate))
      }
    }
    return table.text
  }

  /// Shares of each query row kept, mean over heads and layers.
  private var queryTokens: String {
    var table = CSVWriter(
      columns: ["index", "id", "place", "row", "piece", "predicts"] + summary.groups.map(\.name))
    for record in records {
      for (place, token) in record.queryTokens.enumerated() {
        let shares = summary.groups.indices.map { group -> CSVWriter.Field in
          .number(token.meanShare(group, layers: definition.layers.count, groups: definition.groups.count))
        }
        table.append(
          [
            .integer(record.index), .text(record.id), .integer(place), .integer(token.row),
            .text(token.piece),
            token.predicts.map { .text($0) } ?? .empty,
          ] + shares)
      }
    }
    return table.text
  }

  /// One line a sample: tokens and shares.
  private var samples: String {
    let names = summary.groups.map(\.name)
    var table = CSVWriter(
      columns: ["index", "id", "hash", "queries", "answer", "generated"] + names.map { "tokens_\($0)" }
        + names.map { "share_\($0)" })
    for record in records {
      let measures = SampleMeasures(record, definition)
      table.append(
        [
          .integer(record.index), .text(record.id), .text(record.hash), .integer(record.queryCount),
          record.answer.map { .text($0) } ?? .empty, record.generated.map { .text($0) } ?? .empty,
        ] + record.tokens.map { .integer($0) }
          + names.indices.map { .number(measures.share($0, 0..<definition.layers.count)) })
    }
    return table.text
  }
}

extension AttentionSummary.Layered {
  /// The same layers with each value replaced.
  func map<Other>(_ transform: (Value) -> Other) -> AttentionSummary.Layered<Other> {
    .init(
      all: transform(all), early: transform(early), middle: transform(middle), late: transform(late),
      byLayer: byLayer.map(transform))
  }
}
