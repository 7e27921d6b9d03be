import RunKit

extension ContributionSummary {
  /// The tables below `tables/`: groups with attention beside, the numbers behind, rank correlations, and one line a sample
  /// and group.
  func tables(_ records: [AttentionRecord], _ definition: AttentionDefinition) -> [AttentionTables.File] {
    [
      .init(name: "contribution.csv", text: groupTable(definition)),
      .init(name: "contribution_cells.csv", text: cellTable),
      .init(name: "contribution_correlations.csv", text: correlationTable(definition)),
      .init(name: "contribution_samples.csv", text: sampleTable(records, definition)),
    ]
  }

  private static let estimateColumns = ["mean", "low", "high", "sd", "n"]

  private func fields(_ estimate: Estimate) -> [CSVWriter.Field] {
    [
      .number(estimate.mean), .number(estimate.low), .number(estimate.high),
      .number(estimate.standardDeviation),
      .integer(estimate.count),
    ]
  }

  private func groupTable(_ definition: AttentionDefinition) -> String {
    var table = CSVWriter(columns: ["tag", "value", "group", "quantity"] + Self.estimateColumns)
    func append(_ tag: String, _ value: String, _ groups: [Group]) {
      for group in groups {
        let quantities: [(String, Estimate?)] = [
          ("attention", group.attention), ("attention_among", group.attentionAmong), ("share", group.share),
          ("effect", group.effect),
        ]
        for (name, estimate) in quantities {
          guard let estimate else { continue }
          table.append(
            [.text(tag), .text(value), .text(definition.groups[group.group].name), .text(name)]
              + fields(estimate))
        }
      }
    }
    append("", "", groups)
    let wholes: [(String, Estimate?)] = [
      ("target", target), ("baseline", baseline), ("probability", probability),
      ("is_prediction", isPrediction),
    ]
    for (name, estimate) in wholes {
      guard let estimate else { continue }
      table.append([.empty, .empty, .empty, .text(name)] + fields(estimate))
    }
    for part in tags { append(part.tag, part.value, part.groups) }
    return table.text
  }

  private func correlationTable(_ definition: AttentionDefinition) -> String {
    var table = CSVWriter(columns: ["over", "group", "n", "rho"])
    for correlation in correlations {
      table.append([
        .text(correlation.over), correlation.group.map { .text(definition.groups[$0].name) } ?? .empty,
        .integer(correlation.count), .number(correlation.value),
      ])
    }
    return table.text
  }

  private var cellTable: String {
    var table = CSVWriter(columns: ["cell"] + Self.estimateColumns)
    for cell in cells { table.append([.text(cell.name)] + fields(cell.estimate)) }
    return table.text
  }

  private func sampleTable(_ records: [AttentionRecord], _ definition: AttentionDefinition) -> String {
    var table = CSVWriter(
      columns: [
        "index", "id", "piece", "target", "probability", "group", "attention", "attention_among", "share",
        "effect",
      ])
    for record in records {
      guard let contribution = record.contribution else { continue }
      let shown = groups.map(\.group)
      let measures = ContributionMeasures(SampleMeasures(record, definition), contribution, shown)
      for (place, group) in shown.enumerated() {
        table.append([
          .integer(record.index), .text(record.id), .text(contribution.target.piece),
          .number(contribution.target.value), .number(contribution.target.probability),
          .text(definition.groups[group].name), .number(measures.attention[place]),
          .number(measures.attentionAmong[place]), .number(measures.share[place]),
          .number(measures.effect[place]),
        ])
      }
    }
    return table.text
  }
}
