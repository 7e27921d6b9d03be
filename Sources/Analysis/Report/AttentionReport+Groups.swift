extension AttentionReport {
  /// Share against uniform attention, group by group, and the table of it.
  var groupSection: Markup {
    section(
      "More or less than its tokens explain",
      "A group with many tokens gets much attention even from a model without preference. The dashed mark is what "
        + "uniform attention would give.",
      figure(
        groupBars,
        caption:
          "Bar: share of attention on the group, sums to 100 %; line at its end: interval of the mean; dashed: "
          + "uniform attention under the same mask. Mean over all layers. \(basis) \(intervals)")
        + figure(
          scrolling(groupTable, label: "Attention by group"),
          caption:
            "Token share: part of the whole sequence. Uniform: what equal attention to every visible key gives. "
            + "Share / uniform and per token (share / visible tokens) are means over samples of each sample's ratio. "
            + withoutText))
  }

  private var withoutText: String {
    "Without bos: share of what the bos key leaves."
      + (definition.sinks == .auto
        ? " Without sinks: share of what bos and the detected sinks leave, which are \(summary.sinkText)."
        : "")
  }

  private var groupBars: Markup {
    let most =
      groups.flatMap { group -> [Double] in
        let group = summary.groups[group]
        return [group.share.mean ?? 0, group.share.high ?? 0, group.baseline.mean ?? 0]
      }.max() ?? 1
    // A little room, so that the outermost mark is seen whole.
    let end = 1.02 * most
    let rows = groups.map { position -> Markup in
      let group = summary.groups[position]
      let (mean, uniform) = (group.share.mean ?? 0, group.baseline.mean ?? 0)
      let interval = AttentionSummary.interval(group.share, Text.percent)
      var marks: Markup = """
        <rect class="track" width="100%" y="4" height="18" rx="3"/>\
        <rect class="bar" width="\(percent: mean / end)" y="4" height="18" rx="3"/>
        """
      if let low = group.share.low, let high = group.share.high {
        marks += """
          <line class="halo" x1="\(percent: low / end)" x2="\(percent: high / end)" y1="13" y2="13"/>\
          <line class="whisker" x1="\(percent: low / end)" x2="\(percent: high / end)" y1="13" y2="13"/>
          """
      }
      marks += """
        <line class="uniform" x1="\(percent: uniform / end)" x2="\(percent: uniform / end)" y1="0" y2="26"/>
        """
      let title =
        "\(group.name): \(Text.percent(mean)), interval \(interval), uniform \(Text.percent(uniform))"
      return """
        <div class="row"><span class="ink \(groupClass(position))">\(group.name)</span>\
        <svg class="\(groupClass(position))" width="100%" height="26" role="img" aria-label="\(title)"><title>\(title)</title>\(marks)</svg>\
        <span class="value">\(Text.percent(mean)) <small class="wide">\(interval)</small></span></div>
        """
    }
    return "<div class=\"rows\">\(rows)</div>"
  }

  private var groupTable: Markup {
    let showsSinks = definition.sinks == .auto
    let showsBos = definition.bosGroup != nil
    func cell(_ estimate: Estimate, _ text: (Double?) -> String) -> Markup {
      let interval = AttentionSummary.interval(estimate, text)
      return estimate.low == nil
        ? "<td>\(text(estimate.mean))</td>" : "<td>\(text(estimate.mean)) <small>\(interval)</small></td>"
    }
    let rows = groups.map { position -> Markup in
      let group = summary.groups[position]
      var row: Markup = "<tr><td><span class=\"chip \(groupClass(position))\"></span>\(group.name)</td>"
      row += cell(group.share, Text.percent)
      row += "<td>\(Text.percent(group.tokenShare.mean))</td><td>\(Text.percent(group.baseline.mean))</td>"
      row += cell(group.uniformRatio, Text.times)
      row += cell(group.efficiency, Text.percent)
      if showsBos { row += cell(group.shareWithoutBos, Text.percent) }
      if showsSinks { row += cell(group.shareWithoutSinks, Text.percent) }
      return row + "</tr>"
    }
    let bos: Markup = showsBos ? "<th>without bos</th>" : ""
    let sinks: Markup = showsSinks ? "<th>without sinks</th>" : ""
    return """
      <table><thead><tr><th>group</th><th>share</th><th>token share</th><th>uniform</th><th>share / uniform</th>\
      <th>per token</th>\(bos)\(sinks)</tr></thead><tbody>\(rows)</tbody></table>
      """
  }
}
