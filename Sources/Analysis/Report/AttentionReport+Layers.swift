extension AttentionReport {
  /// Shares layer by layer: all groups together, each against its baseline, and as a table of colours.
  var layerSection: Markup {
    section(
      "Layer by layer",
      "A mean over layers mixes regimes. Here is each layer by itself.",
      figure(
        allCurves,
        caption:
          "Share of attention on each group in each layer (layers count from 0); bands are intervals of the mean. "
          + "\(basis) \(intervals)")
        + figure(
          panels,
          caption:
            "Each group by itself: line and band as above, dashed the share uniform attention would give, grey "
            + "the other groups. All panels have one scale.")
        + figure(
          scrolling(heatTable, label: "Share by layer and group") + scale(most: cellMost, text: Text.percent),
          caption:
            "Share in percent by layer (rows) and group (columns); one scale for all cells. Entropy of a query "
            + "row's attention in nats, with the number of keys that uniform attention of that entropy would cover. \(basis)"
        ))
  }

  private var layerLabels: [String] { LinePlot.thinned(definition.layers, most: 16) }

  private var curveMost: Double {
    groups.flatMap { group in summary.groups[group].byLayer.flatMap { [$0.mean ?? 0, $0.high ?? 0] } }.max()
      ?? 1
  }

  private var cellMost: Double {
    groups.flatMap { group in summary.groups[group].byLayer.map { $0.mean ?? 0 } }.max() ?? 1
  }

  private func percentTicks(_ most: Double, _ count: Int) -> [(value: Double, label: String)] {
    let ticks = LinePlot.ticks(to: most, count: count)
    let digits = (ticks.dropFirst().first ?? 1) < 0.0099 ? 1 : 0
    return ticks.map { ($0, Text.fixed(100 * $0, digits) + " %") }
  }

  private var allCurves: Markup {
    let ticks = percentTicks(curveMost, 5)
    var plot = LinePlot(
      range: 0...(ticks.last?.value ?? 1), height: 320, count: definition.layers.count, yTicks: ticks,
      xLabels: layerLabels)
    plot.xTitle = "layer"
    for group in groups {
      let layers = summary.groups[group].byLayer
      plot.addBand(layers.map(\.low), layers.map(\.high), class: "band", group: groupClass(group))
    }
    for group in groups {
      let layers = summary.groups[group].byLayer
      plot.addLine(layers.map(\.mean), class: "curve", group: groupClass(group))
    }
    for group in groups {
      let layers = summary.groups[group].byLayer
      plot.addDots(layers.map(\.mean), group: groupClass(group)) {
        dotTitle(group, $0) + " \(Text.percent($1))"
      }
      plot.addEnd(
        layers.last?.mean ?? 0,
        "<span class=\"\(groupClass(group))\" style=\"position:static\">\(name(group))</span>")
    }
    return plot.markup(label: "Share of attention by layer, one line a group")
  }

  private func dotTitle(_ group: Int, _ layer: Int) -> String {
    let interval = AttentionSummary.interval(summary.groups[group].byLayer[layer], Text.percent)
    return "\(name(group)), layer \(definition.layers[layer]) (interval \(interval)):"
  }

  private var panels: Markup {
    let ticks = percentTicks(curveMost, 3)
    let parts = groups.map { group -> Markup in
      var plot = LinePlot(
        range: 0...(ticks.last?.value ?? 1), height: 110, count: definition.layers.count, yTicks: ticks,
        xLabels: LinePlot.thinned(definition.layers, most: 6))
      plot.endWidth = "4px"
      let layers = summary.groups[group].byLayer
      for other in groups where other != group {
        plot.addLine(summary.groups[other].byLayer.map(\.mean), class: "context")
      }
      let uniform = summary.groups[group].baseline.mean ?? 0
      plot.addBand(layers.map(\.low), layers.map(\.high), class: "band", group: groupClass(group))
      plot.addLevel(uniform, class: "dashed", group: groupClass(group))
      plot.addLine(layers.map(\.mean), class: "curve", group: groupClass(group))
      plot.addDots(layers.map(\.mean), group: groupClass(group)) {
        dotTitle(group, $0) + " \(Text.percent($1))"
      }
      let mean = Text.percent(summary.groups[group].share.mean)
      return """
        <div><h3><b class="ink \(groupClass(group))">\(name(group))</b> \(mean)<span>uniform \(Text.percent(uniform))</span></h3>\
        \(plot.markup(label: "Share of attention on \(name(group)) by layer"))</div>
        """
    }
    return "<div class=\"panels small\">\(parts)</div>"
  }

  private var heatTable: Markup {
    let most = cellMost
    let head = groups.map {
      "<th class=\"name\"><span class=\"ink \(groupClass($0))\">\(name($0))</span></th>" as Markup
    }
    let rows = definition.layers.indices.map { layer -> Markup in
      let cells = groups.map { group -> Markup in
        let estimate = summary.groups[group].byLayer[layer]
        let title =
          "layer \(definition.layers[layer]), \(name(group)): \(AttentionSummary.interval(estimate, Text.percent))"
        return """
          <td class="\(ReportColors.step(estimate.mean, of: most))" title="\(title)">\
          \(Text.fixed(estimate.mean.map { 100 * $0 }, 1))</td>
          """
      }
      let entropy = summary.entropy[layer].mean
      return """
        <tr><th scope="row">\(definition.layers[layer])</th>\(cells)<td class="plain">\(Text.fixed(entropy, 2))\
        <small> ≈ \(Text.short(entropy.map(Self.keyCount)))</small></td></tr>
        """
    }
    return """
      <table class="heat\(definition.layers.count > 12 ? " dense" : "")"><thead><tr><th>layer</th>\(head)<th class="name">entropy<small> ≈ keys</small></th></tr></thead>\
      <tbody>\(rows)</tbody></table>
      """
  }
}
