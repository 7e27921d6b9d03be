import TokenModel

extension AttentionReport {
  /// Shares by what the data set says of a sample, such as the type of question.
  var tagSection: Markup {
    let names = Set(summary.tags.map(\.tag)).sorted()
    let figures = names.compactMap { tag -> Markup? in
      let parts = summary.tags.filter { $0.tag == tag }
      return parts.count > 1 ? tagFigure(tag, parts) : nil
    }
    guard !figures.isEmpty else { return Markup() }
    return section(
      "By kind of sample", "Does the model look where the question points?", figures.joined())
  }

  /// The groups worth comparing: media and text.
  private var tagGroups: [Int] {
    let media = summary.media.flatMap { definition.groups(of: $0) }
    return (media + definition.textGroups).filter { groups.contains($0) }
  }

  private func tagFigure(_ tag: String, _ parts: [AttentionSummary.TagPart]) -> Markup {
    let shown = tagGroups.isEmpty ? groups : tagGroups
    // Highest share of the first medium on top, so that the order itself shows something.
    let key = shown.first ?? 0
    let ordered = parts.sorted {
      ($1.part.shares[key].mean ?? -1, $0.value) < ($0.part.shares[key].mean ?? -1, $1.value)
    }
    let most =
      ordered.flatMap { part in
        shown.flatMap { [part.part.shares[$0].mean ?? 0, part.part.shares[$0].high ?? 0] }
      }.max() ?? 1
    let ticks = LinePlot.ticks(to: most, count: 4)
    let end = ticks.last ?? 1
    let rows = ordered.map { part -> Markup in
      let lines = ticks.map {
        "<line class=\"gridline\" x1=\"\(percent: $0 / end)\" x2=\"\(percent: $0 / end)\" y1=\"0\" y2=\"26\"/>"
          as Markup
      }
      // The first group is drawn last, over the others.
      let dots = shown.reversed().map { dot(part, $0, end: end) }
      return """
        <div class="row"><span>\(part.value)</span><svg width="100%" height="26" role="img" aria-label="\(part.value)">\(lines)\(dots)</svg>\
        <span class="value">\(Text.count(part.part.count, "sample"))</span></div>
        """
    }
    let legend = shown.map { group -> Markup in
      """
      <span><svg class="\(groupClass(group))" width="12" height="12"><circle class="typedot" cx="6" cy="6" r="6"/></svg>\(name(group))</span>
      """
    }
    let digits = (ticks.dropFirst().first ?? 1) < 0.0099 ? 1 : 0
    let labels = ticks.map {
      "<span style=\"left:\(percent: $0 / end)\">\(Text.fixed(100 * $0, digits)) %</span>" as Markup
    }
    let content: Markup = """
      <h3>\(tag)</h3><div class="legend">\(legend)</div>\
      <div class="rows types">\(rows)<div class="row"><span></span><div class="ticks">\(labels)</div><span></span></div></div>\
      <details><summary>Numbers</summary>\(scrolling(tagTable(ordered), label: "Share by \(tag)"))</details>
      """
    return figure(
      content,
      caption:
        "Share of attention by the tag “\(tag)”, sorted by the share on \(name(key)). Lines: intervals of the mean "
        + "(\(summary.intervalMethod)), each kind of sample by itself. Mean over all layers. \(basis)")
  }

  private func dot(_ part: AttentionSummary.TagPart, _ group: Int, end: Double) -> Markup {
    let estimate = part.part.shares[group]
    guard let mean = estimate.mean else { return Markup() }
    let title =
      "\(part.value), \(name(group)): \(Text.percent(mean)), interval \(AttentionSummary.interval(estimate, Text.percent))"
    var marks: Markup = "<g class=\"\(groupClass(group))\"><title>\(title)</title>"
    if let low = estimate.low, let high = estimate.high {
      marks += """
        <line class="typebar" x1="\(percent: low / end)" x2="\(percent: high / end)" y1="13" y2="13"/>
        """
    }
    return marks + "<circle class=\"typedot\" cx=\"\(percent: mean / end)\" cy=\"13\" r=\"6\"/></g>"
  }

  private func tagTable(_ parts: [AttentionSummary.TagPart]) -> Markup {
    let head = groups.map { "<th>\(name($0))</th>" as Markup }
    let rows = parts.map { part -> Markup in
      let cells = groups.map { group -> Markup in
        let estimate = part.part.shares[group]
        return """
          <td>\(Text.percent(estimate.mean)) <small>\(AttentionSummary.interval(estimate, Text.percent))</small></td>
          """
      }
      return "<tr><td>\(part.value)</td>\(cells)<td>\(part.part.count)</td></tr>"
    }
    return "<table><thead><tr><th></th>\(head)<th>samples</th></tr></thead><tbody>\(rows)</tbody></table>"
  }

  /// Shares by place among the query rows, where there is more than one.
  var positionSection: Markup {
    let positions = summary.queryPositions
    guard positions.count > 1 else { return Markup() }
    let shown = positions.prefix(16)
    let rows = shown.enumerated().map { place, position -> Markup in
      """
      <div class="row"><span>row \(place + 1)</span>\(stack(groups.map { ($0, position.shares[$0]) }))\
      <span class="value"><small>\(Text.count(position.count, "sample"))</small></span></div>
      """
    }
    let more =
      positions.count > shown.count
      ? " The first \(shown.count) of \(positions.count) rows kept are drawn." : ""
    return section(
      "Row by row", "Attention while the answer goes on: the first query row, the second, and so on.",
      figure(
        "<div class=\"rows\">\(rows)</div>",
        caption:
          "Share of attention of the n-th query row, mean over heads, layers and the samples that have such a row."
          + more + " Queries: \(definition.queries.explanation)."))
  }
}
