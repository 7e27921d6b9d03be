import Foundation
import TokenModel

extension AttentionReport {
  /// Text against each medium: the split of the log ratio, MDI and AEI.
  var indexSection: Markup {
    guard !summary.indices.isEmpty else { return Markup() }
    let most = splitMost
    let panels = summary.indices.map { splitPanel($0, most: most) }
    let (early, middle, late) = definition.layerGroups
    func numbers(_ range: Range<Int>) -> String {
      range.map { String(definition.layers[$0]) }.joined(separator: ", ")
    }
    return section(
      "Text against media: count and content",
      "How much of the gap is there because one side has more tokens, and how much because its tokens are read more?",
      figure(
        "<div class=\"panels\" style=\"--panel:330px\">\(panels)</div>",
        caption:
          "Solid: log of (share of text / share of the medium) in each layer, mean over samples. Dashed: the part "
          + "that the numbers of visible tokens explain. The coloured gap is content: log ratio = log count ratio + "
          + "content, exactly, in every sample. Text: \(summary.textNames). \(basis)")
        + figure(
          scrolling(indexTable, label: "Indices"),
          caption:
            "MDI: (share of text / text tokens) / (share of medium / its tokens), above 1 one text token gets more; "
            + "mean over samples of each sample's ratio, shares averaged over the layers named: early \(numbers(early)), "
            + "middle \(numbers(middle)), late \(numbers(late)). Of means: the same ratio of the means over samples. "
            + "AEI: part of the attention on both over part of the tokens of both. Content in nats: 0.69 is a factor of 2. "
            + "MDI moves with the number of tokens even if behaviour does not; content is its logarithm, averaged where "
            + "ratios are easily swayed."
            + undefinedText + " \(intervals)")
        + stratumTable)
  }

  /// Which samples are in no ratio, if any.
  private var undefinedText: String {
    summary.indices.filter { $0.split.all.shares.undefinedCount > 0 }.map { index in
      " \(Text.count(index.split.all.shares.undefinedCount, "sample")) without \(index.medium.rawValue) tokens, or with a "
        + "share of 0, are in no ratio to \(index.medium.rawValue)."
    }.joined()
  }

  private var splitMost: Double {
    let values = summary.indices.flatMap { index in
      index.split.byLayer.flatMap {
        [$0.shares.mean, $0.counts.mean, $0.shares.low, $0.shares.high].map { abs($0 ?? 0) }
      }
    }
    return max(values.max() ?? 1, log(2))
  }

  private func splitPanel(_ index: AttentionSummary.Index, most: Double) -> Markup {
    let group = definition.groups(of: index.medium).first ?? 0
    // Ticks at factors 2, 4, 16 …, whichever leaves at most three on each side.
    let factor = [2.0, 4, 16, 256, 65_536].first { log($0) * 3.4 >= most } ?? exp(most / 3)
    let reach = max(most * 1.05, log(factor))
    let steps = [-3.0, -2, -1, 0, 1, 2, 3].filter { abs($0) * log(factor) <= reach }
    let ticks = steps.map { step -> (value: Double, label: String) in
      let times = Text.fixed(pow(factor, abs(step)), 0)
      return (
        step * log(factor),
        step == 0 ? "equal" : step > 0 ? "text ×\(times)" : "\(index.medium.rawValue) ×\(times)"
      )
    }
    var plot = LinePlot(
      range: -reach...reach, height: 200, count: definition.layers.count, yTicks: ticks,
      xLabels: LinePlot.thinned(definition.layers, most: 12))
    plot.tickWidth = "5.6em"
    plot.endWidth = "4.2em"
    plot.xTitle = "layer"
    let splits = index.split.byLayer
    let ratios = splits.map(\.shares.mean)
    let counts = splits.map(\.counts.mean)
    plot.addBand(counts, ratios, class: "band", group: groupClass(group))
    plot.addLevel(0, class: "zero")
    plot.addLine(counts, class: "dashed", group: groupClass(group))
    plot.addLine(ratios, class: "curve", group: groupClass(group))
    plot.addDots(ratios, group: groupClass(group)) { layer, _ in
      let split = splits[layer]
      return "layer \(definition.layers[layer]): ratio \(Text.fixed(split.shares.mean, 2)) = count "
        + "\(Text.fixed(split.counts.mean, 2)) + content \(Text.fixed(split.content.mean, 2)) nats"
    }
    let style: Markup = "class=\"\(groupClass(group))\" style=\"position:static\""
    if let last = ratios.last ?? nil { plot.addEnd(last, "<span \(style)>shares</span>") }
    if let last = counts.last ?? nil { plot.addEnd(last, "<span \(style)>tokens</span>") }
    return """
      <div><h3><b>text against <b class="ink \(groupClass(group))">\(index.medium.rawValue)</b></b></h3>\
      \(plot.markup(label: "Log ratio of text to \(index.medium.rawValue) by layer"))</div>
      """
  }

  private var indexTable: Markup {
    func cell(_ estimate: Estimate, _ text: (Double?) -> String) -> Markup {
      "<td>\(text(estimate.mean)) <small>\(AttentionSummary.interval(estimate, text))</small></td>"
    }
    let nats: (Double?) -> String = { Text.fixed($0, 2) }
    let rows = summary.indices.map { index -> Markup in
      let group = definition.groups(of: index.medium).first ?? 0
      return """
        <tr><td><span class="chip \(groupClass(group))"></span>\(index.medium.rawValue)</td>\
        \(cell(index.mdi.all, Text.short))<td>\(Text.short(index.mdiOfMeans))</td><td>\(Text.short(index.mdi.early.mean))</td>\
        <td>\(Text.short(index.mdi.middle.mean))</td><td>\(Text.short(index.mdi.late.mean))</td>\
        \(cell(index.textAEI, Text.short))\(cell(index.mediumAEI, Text.short))\
        \(cell(index.split.all.shares, nats))<td>\(nats(index.split.all.counts.mean))</td>\
        \(cell(index.split.all.content, nats))</tr>
        """
    }
    return """
      <table><thead><tr><th>text against</th><th>MDI</th><th>of means</th><th>early</th><th>middle</th><th>late</th>\
      <th>AEI text</th><th>AEI medium</th><th>log ratio</th><th>= count</th><th>+ content</th></tr></thead>\
      <tbody>\(rows)</tbody></table>
      """
  }

  private var stratumTable: Markup {
    guard !summary.strata.isEmpty else { return Markup() }
    let rows = summary.strata.map { stratum -> Markup in
      let position = summary.media.firstIndex(of: stratum.medium) ?? 0
      let shares = definition.groups(of: stratum.medium).reduce(0) {
        $0 + (stratum.part.shares[$1].mean ?? 0)
      }
      let bounds = stratum.tokens
      let range =
        bounds.lowerBound == bounds.upperBound
        ? "\(bounds.lowerBound)" : "\(bounds.lowerBound) – \(bounds.upperBound)"
      let (mdi, content) = (stratum.part.mdi[position], stratum.part.content[position])
      return """
        <tr><td>\(stratum.medium.rawValue)</td><td>\(range)</td><td>\(stratum.part.count)</td><td>\(Text.percent(shares))</td>\
        <td>\(Text.short(mdi.mean)) <small>\(AttentionSummary.interval(mdi, Text.short))</small></td>\
        <td>\(Text.fixed(content.mean, 2))</td></tr>
        """
    }
    return figure(
      scrolling(
        """
        <table><thead><tr><th>medium</th><th>its tokens</th><th>samples</th><th>share</th><th>MDI</th><th>content</th></tr></thead>\
        <tbody>\(rows)</tbody></table>
        """, label: "Indices by number of tokens"),
      caption:
        "The same indices among samples with about as many tokens of the medium, since MDI is confounded with "
        + "that number. \(intervals)")
  }
}
