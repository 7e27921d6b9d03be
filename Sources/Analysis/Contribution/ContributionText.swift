import TokenModel

extension AttentionSummary {
  /// What the contributions mean, in two lines.
  func contributionDefinition(_ definition: ContributionDefinition) -> String {
    "contribution: \(definition.method.explanation)\ntarget: \(definition.targetText)   attention: last prompt row, mean of "
      + "\(context.definition.layers.count) layers and \(context.definition.heads.count) heads\nintervals: \(intervalText)"
  }

  /// Attention and contribution side by side, for a terminal.
  func contributionTable(_ contribution: ContributionSummary, _ definition: ContributionDefinition) -> String
  {
    var header = ["", "attention", "among these", "contribution", "interval"]
    if definition.hasEffects { header += ["effect", "interval"] }
    var table = TerminalTable(header: header)
    for group in contribution.groups {
      var cells = [
        groups[group.group].name.printable, Text.percent(group.attention.mean),
        Text.percent(group.attentionAmong.mean), Text.percent(group.share.mean),
        Self.interval(group.share, Text.percent),
      ]
      if let effect = group.effect {
        cells += [Text.fixed(effect.mean, 3), Self.interval(effect) { Text.fixed($0, 3) }]
      }
      table.append(cells)
    }
    var text = table.text
    text += "contribution: part of the group in \(definition.method.magnitude);\nmean over samples"
    if definition.hasEffects { text += "; effect: signed, in the unit of the target" }
    text += "; among these: attention on these groups only\n\n"
    text += "target \(Text.fixed(contribution.target.mean, 3))"
    if let baseline = contribution.baseline {
      text += ", with nothing present \(Text.fixed(baseline.mean, 3))"
    }
    text += "; probability of the piece \(Text.percent(contribution.probability.mean))"
    text += "; it is the most likely piece in \(Text.percent(contribution.isPrediction.mean)) of samples\n"
    if let residual = contribution.residualMax {
      text += "parts miss their whole by at most \(Text.short(residual))\n"
    }
    let known = contribution.correlations.filter { $0.value != nil }
    if !known.isEmpty {
      var table = TerminalTable(header: ["rank correlation over", "group", "n", "ρ"], leftColumns: [0, 1])
      for correlation in known {
        table.append([
          correlation.over, correlation.group.map { groups[$0].name.printable } ?? "all",
          "\(correlation.count)",
          Text.fixed(correlation.value, 2),
        ])
      }
      text += "\n" + table.text + "of attention with contribution; −1 to 1, 0 for none\n"
    }
    return text + detailTable(contribution, definition)
  }

  /// The numbers behind, where they say more than the table above.
  private func detailTable(_ contribution: ContributionSummary, _ definition: ContributionDefinition)
    -> String
  {
    var table: TerminalTable
    switch definition.method {
    case .shapley:
      table = TerminalTable(header: ["present", "target", "interval"])
      for cell in contribution.cells {
        table.append([
          cell.name, Text.fixed(cell.estimate.mean, 3), Self.interval(cell.estimate) { Text.fixed($0, 3) },
        ])
      }
    case .knockout:
      table = TerminalTable(
        header: ["hidden keys", "from", "", "(p' − p) / p", "interval", "target", "interval"],
        leftColumns: [0, 1, 2])
      for pair in stride(from: 0, to: contribution.cells.count, by: 2) {
        let (probability, target) = (contribution.cells[pair], contribution.cells[pair + 1])
        let words = probability.name.split(separator: ".").map(String.init)
        table.append([
          words[0], words[1], words[2], Text.percent(probability.estimate.mean),
          Self.interval(probability.estimate, Text.percent), Text.fixed(target.estimate.mean, 3),
          Self.interval(target.estimate) { Text.fixed($0, 3) },
        ])
      }
    case .valueNorm:
      let shown = contribution.groups.map { groups[$0.group].name }
      table = TerminalTable(header: ["layer", "form"] + shown, leftColumns: [0, 1])
      let means = Dictionary(
        contribution.cells.map { ($0.name, $0.estimate.mean) }, uniquingKeysWith: { first, _ in first })
      for layer in context.definition.layers {
        for form in ["tokens", "vector"] {
          table.append(
            ["\(layer)", form] + shown.map { Text.percent(means["layer \(layer).\($0).\(form)"] ?? nil) })
        }
      }
    case .gradientInput, .integratedGradients: return ""
    }
    return "\n" + table.text
  }
}

extension AttentionSummary {
  /// The effect of each prompt row, for a run of one sample by a method that gives them.
  public func tokenText(_ samples: AttentionSamples) -> String? {
    guard samples.samples.count == 1, let record = samples.records.first, let keys = record.keys,
      let contribution = record.contribution, let tokens = contribution.tokens
    else { return nil }
    var table = TerminalTable(header: ["row", "piece", "group", "effect"], leftColumns: [1, 2])
    for (row, effect) in tokens.enumerated() {
      table.append([
        "\(row)", keys.pieces[row].printable, groups[keys.groups[row]].name.printable,
        Text.fixed(Double(effect), 4),
      ])
    }
    return "\n" + table.text
  }
}
