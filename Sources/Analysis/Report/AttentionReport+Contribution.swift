import TokenModel

extension AttentionReport {
  /// The most samples of the scatter; the file holds every dot.
  private static let dotLimit = 500

  /// Attention and contribution side by side, and one against the other.
  var contributionSection: Markup {
    guard let contribution = summary.contribution, let definition = definition.contribution else {
      return Markup()
    }
    let lead =
      "What the answer depends on, beside where the model looks. \(definition.method.explanation); "
      + "explained: \(definition.targetText)."
    return section(
      "Attention and contribution", lead,
      figure(
        scrolling(contributionTable(contribution), label: "Attention and contribution by group"),
        caption:
          "Attention: last prompt row, mean of layers and heads; among these: of the attention on these groups. "
          + "Contribution: part of the group in \(definition.method.magnitude). "
          + (definition.hasEffects ? "Effect: signed, in the unit of the target. " : "")
          + (contribution.residualMax.map { "Parts miss their whole by at most \(Text.short($0)). " } ?? "")
          + intervals)
        + figure(
          scatter(contribution),
          caption:
            "Each dot is one sample and group: its part of the attention on these groups (across) and of the "
            + "contributions (up). On the dashed line both agree. "
            + correlationText(contribution)
            + (records.count > Self.dotLimit
              ? " The first \(Self.dotLimit) of \(records.count) samples are drawn." : "")
        ) + contributionTags(contribution) + tokenCards)
  }

  private func contributionTable(_ contribution: ContributionSummary) -> Markup {
    let hasEffects = contribution.groups.contains { $0.effect != nil }
    func cell(_ estimate: Estimate, _ text: (Double?) -> String) -> Markup {
      "<td>\(text(estimate.mean)) <small>\(AttentionSummary.interval(estimate, text))</small></td>"
    }
    let rows = contribution.groups.map { group -> Markup in
      let effect: Markup = group.effect.map { cell($0) { Text.fixed($0, 3) } } ?? ""
      return """
        <tr><th><span class="ink \(groupClass(group.group))">\(name(group.group))</span></th>\
        \(cell(group.attention, Text.percent))\(cell(group.attentionAmong, Text.percent))\
        \(cell(group.share, Text.percent))\(effect)</tr>
        """
    }
    let effect: Markup = hasEffects ? "<th>effect</th>" : ""
    return """
      <table><thead><tr><th></th><th>attention</th><th>among these</th><th>contribution</th>\(effect)</tr></thead>\
      <tbody>\(rows)</tbody></table>
      """
  }

  private func correlationText(_ contribution: ContributionSummary) -> String {
    let known = contribution.correlations.filter { $0.value != nil }
    guard !known.isEmpty else { return "" }
    return "Rank correlations: "
      + known.map { correlation in
        let group = correlation.group.map { name($0) } ?? "all groups"
        return "\(group) over \(correlation.count) \(correlation.over) \(Text.fixed(correlation.value, 2))"
      }.joined(separator: "; ") + "."
  }

  /// Contribution share over attention share, a square from 0 to 1.
  private func scatter(_ contribution: ContributionSummary) -> Markup {
    let shown = contribution.groups.map(\.group)
    var dots = Markup()
    for record in records.prefix(Self.dotLimit) {
      guard let measured = record.contribution else { continue }
      let measures = ContributionMeasures(SampleMeasures(record, definition), measured, shown)
      for (place, group) in shown.enumerated() {
        guard let x = measures.attentionAmong[place], let y = measures.share[place] else { continue }
        dots += """
          <circle class="typedot \(groupClass(group))" cx="\(400 * x)" cy="\(400 * (1 - y))" r="3" fill-opacity="0.45"/>
          """
      }
    }
    let grid = [0.25, 0.5, 0.75].map { part -> Markup in
      """
      <path class="gridline" d="M0 \(400 * part)H400M\(400 * part) 0V400"/>
      """
    }
    let legend = shown.map { group -> Markup in
      """
      <span><svg class="\(groupClass(group))" width="12" height="12"><circle class="typedot" cx="6" cy="6" r="6"/></svg>\(name(group))</span>
      """
    }
    return """
      <div class="legend">\(legend)</div>\
      <svg viewBox="-44 -10 460 452" width="460" style="max-width:100%" role="img" aria-label="Contribution over attention, one dot a sample and group">\
      <path class="zero" fill="none" d="M0 0V400H400"/>\(grid)<path class="context" stroke-dasharray="5 4" d="M0 400L400 0"/>\(dots)\
      <g fill="currentColor" font-size="12"><text x="0" y="416">0</text><text x="400" y="416" text-anchor="end">100 %</text>\
      <text x="200" y="436" text-anchor="middle">attention, among these groups</text><text x="-6" y="10" text-anchor="end">100 %</text>\
      <text transform="translate(-24 200)rotate(-90)" text-anchor="middle">contribution</text></g></svg>
      """
  }

  private func contributionTags(_ contribution: ContributionSummary) -> Markup {
    guard !contribution.tags.isEmpty else { return Markup() }
    let shown = contribution.groups.map(\.group)
    let head = shown.map { "<th>\(name($0)): attention</th><th>contribution</th>" as Markup }
    let rows = contribution.tags.map { part -> Markup in
      let cells = part.groups.map { group -> Markup in
        """
        <td>\(Text.percent(group.attentionAmong.mean))</td><td>\(Text.percent(group.share.mean)) \
        <small>\(AttentionSummary.interval(group.share, Text.percent))</small></td>
        """
      }
      return "<tr><th>\(part.tag): \(part.value)</th><td>\(part.count)</td>\(cells)</tr>"
    }
    return figure(
      scrolling(
        "<table><thead><tr><th></th><th>samples</th>\(head)</tr></thead><tbody>\(rows)</tbody></table>",
        label: "Attention and contribution by kind of sample"),
      caption: "Attention among these groups and contribution, by kind of sample. \(intervals)")
  }

  /// The prompt rows of the samples kept, shaded by their effect.
  private var tokenCards: Markup {
    let kept = records.filter { $0.keys != nil && $0.contribution?.tokens != nil }.prefix(Self.highlightLimit)
    return kept.map { record in
      guard let keys = record.keys, let contribution = record.contribution, let tokens = contribution.tokens
      else { return Markup() }
      let most = tokens.map { abs(Double($0)) }.max() ?? 0
      let pieces = tokens.indices.map { row -> Markup in
        let value = Double(tokens[row])
        let strength = most > 0 ? 0.6 * abs(value) / most : 0
        let piece = keys.pieces[row].replacing("\u{2581}", with: " ")
        let sign = value < 0 ? "wrong" : "right"
        return """
          <span class="piece \(groupClass(keys.groups[row]))" style="--a:\(strength)" title="\(Text.fixed(value, 4))">\
          <span class="\(sign)">\(value < 0 ? "−" : "+")</span>\(piece)</span>
          """
      }
      return figure(
        "<header><h3>\(record.id)</h3></header><p class=\"pieces\">\(pieces)</p>",
        caption:
          "Effect of each prompt row on “\(contribution.target.piece)” (+ for, − against; the stronger the colour, the greater; "
          + "at most \(Text.short(most))).")
    }.joined()
  }
}
