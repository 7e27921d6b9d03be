import RunKit
import TokenModel

/// A comparison as one HTML file that needs no network and no script.
public struct ComparisonReport: Sendable {
  private let comparison: Comparison
  private let checks: [(expression: ComparisonExpression, outcome: ComparisonExpression.Outcome)]

  /// The report of a comparison and of the expressions it was asked about.
  public init(
    _ comparison: Comparison,
    checks: [(expression: ComparisonExpression, outcome: ComparisonExpression.Outcome)] = []
  ) {
    (self.comparison, self.checks) = (comparison, checks)
  }

  /// The file.
  public var html: String {
    ReportPage(
      title: "\(comparison.sides[0].path) and \(comparison.sides[1].path): comparison",
      colors: ReportColors(AttentionDefinition.defaultGroups), style: Self.style,
      body: "\(header)\n\(checkSection)\n\(settingsSection)\n\(familySections)"
    ).html
  }

  /// Differences: blue where B has less, orange where it has more; hatched where it could be chance.
  private static let style = """

    table.diff td{text-align:right;padding:.2rem .5rem;font-variant-numeric:tabular-nums}
    table.diff td.name{text-align:left}
    td.cell{position:relative;min-width:3.2rem}
    td.cell>span{position:relative}
    td.less{background:rgb(11 109 176/var(--w))}
    td.more{background:rgb(207 90 14/var(--w))}
    td.chance{background-image:repeating-linear-gradient(45deg,transparent 0 4px,rgb(128 128 128/.35) 4px 5px)}
    .failed{color:#b3261e;font-weight:600}
    svg.range{width:100%;height:26px;display:block}
    svg.range line.zero{stroke:currentColor;stroke-opacity:.35}
    svg.range line.bar{stroke:currentColor;stroke-width:2}
    svg.range circle{fill:currentColor}

    """

  private var header: Markup {
    let sides = zip(["A", "B"], comparison.sides).map { letter, side -> Markup in
      let adapters = side.model.adapters.map { "\($0.name) (\($0.type))" }.joined(separator: ", ")
      let part = side.isComplete ? "" : " of \(side.expectedCount)"
      return """
        <div><dt>\(letter)</dt><dd>\(side.path)<br><span class="soft">\(side.model.name)\(adapters.isEmpty ? "" : ", adapter " + adapters); \
        \(side.data.name), \(Text.count(side.count, "sample"))\(part)</span></dd></div>
        """
    }
    return """
      <p class="kicker">mmprobe comparison of \(comparison.kind) runs</p>
      <h1>What changed from A to B?</h1>
      \(lead)
      <dl class="facts">\(sides)<div><dt>Pairs</dt><dd>\(comparison.pairsText)</dd></div>\
      <div><dt>Intervals and tests</dt><dd>\(comparison.basisText)</dd></div></dl>
      """
  }

  /// The largest significant difference of the first table, in a sentence.
  private var lead: Markup {
    guard let family = comparison.families.first else { return "" }
    let members = comparison.rows.filter { $0.family == family }
    let found = members.filter { comparison.isSignificant($0) }
    let greatest = found.max {
      abs($0.difference.estimate.mean ?? 0) < abs($1.difference.estimate.mean ?? 0)
    }
    guard let greatest else {
      return """
        <p class="lead">No \(family) differs by more than chance over \(Text.count(comparison.pairCount, "pair")).</p>
        """
    }
    return """
      <p class="lead">Over \(Text.count(comparison.pairCount, "pair")), <b>\(Comparison.label(greatest))</b> changed most: \
      \(family) from \(level(greatest, greatest.difference.before)) to \(level(greatest, greatest.difference.after)), \
      by \(change(greatest, greatest.difference.estimate.mean)) (interval \(interval(greatest))). \
      \(found.count) of \(members.count) in this table differ by more than chance.</p>
      """
  }

  private var checkSection: Markup {
    if checks.isEmpty { return "" }
    let items = checks.map { check -> Markup in
      let values = check.outcome.values.prefix(20).map { "\($0.name) = \(Text.short($0.value))" }
      return """
        <li><code>\(check.expression.text)</code> <span class="\(check.outcome.holds ? "failed" : "soft")">\
        \(check.outcome.holds ? "holds: the check failed" : "does not hold")</span> <small>\(values.joined(separator: ", "))</small></li>
        """
    }
    return "<section><h2>Checks</h2><ul>\(items)</ul></section>"
  }

  private var settingsSection: Markup {
    let rows = comparison.settings.map { setting -> Markup in
      """
      <tr><td class="name">\(setting.key)</td><td class="name">\(Comparison.shortened(setting.first))</td>\
      <td class="name">\(Comparison.shortened(setting.second))</td></tr>
      """
    }
    let content: Markup =
      rows.isEmpty
      ? "<p>Both runs were asked the same of the same model and data.</p>"
      : "<div class=\"scroll\" tabindex=\"0\" role=\"region\" aria-label=\"Settings\"><table class=\"diff\"><thead><tr><th>setting</th><th>A</th><th>B</th></tr></thead><tbody>\(rows)</tbody></table></div>"
    return "<section><h2>Settings that differ</h2>\(content)</section>"
  }

  private var familySections: [Markup] {
    comparison.families.map { family in
      let members = comparison.rows.filter { $0.family == family }
      let content = members.contains { $0.layer != nil } ? matrix(members) : table(family, members)
      return """
        <section><h2>\(family.prefix(1).uppercased() + family.dropFirst())</h2><figure>\(content)\
        <figcaption>\(caption(members))</figcaption></figure></section>
        """
    }
  }

  private func caption(_ members: [Comparison.Row]) -> String {
    let unit = members.first?.unit == .share ? "percentage points" : "the unit of the number"
    return
      "Mean of B − A over the pairs, in \(unit). Hatched or without a star: the corrected p value is not below "
      + "\(comparison.alphaText), for \(Text.count(members.count, "test")). \(comparison.basisText)."
  }

  // MARK: Tables

  private func table(_ family: String, _ members: [Comparison.Row]) -> Markup {
    let ends = members.flatMap { row in
      [row.difference.estimate.low, row.difference.estimate.high, row.difference.estimate.mean].compactMap {
        $0.map(abs)
      }
    }
    let end = max(ends.max() ?? 0, 1e-12)
    let rows = members.map { row -> Markup in
      let difference = row.difference
      return """
        <tr><td class="name">\(Comparison.label(row))</td><td>\(difference.estimate.count)</td><td>\(level(row, difference.before))</td>\
        <td>\(level(row, difference.after))</td><td>\(change(row, difference.estimate.mean))</td><td>\(interval(row))</td>\
        <td style="min-width:9rem">\(range(row, end: end))</td><td>\(Text.probability(difference.p))</td>\
        <td>\(Text.probability(difference.corrected))\(comparison.isSignificant(row) ? " *" : "")</td></tr>
        """
    }
    return """
      <div class="scroll" tabindex="0" role="region" aria-label="\(family)"><table class="diff"><thead><tr><th></th><th>n</th><th>A</th><th>B</th>\
      <th>B − A</th><th>interval</th><th></th><th>p</th><th>Holm</th></tr></thead><tbody>\(rows)</tbody></table></div>
      """
  }

  /// The interval as a line about zero, all rows of a table to one scale.
  private func range(_ row: Comparison.Row, end: Double) -> Markup {
    func place(_ value: Double) -> Double { 0.5 + 0.48 * max(-1, min(1, value / end)) }
    let estimate = row.difference.estimate
    guard let mean = estimate.mean else { return "" }
    var marks: Markup =
      "<svg class=\"range\" aria-hidden=\"true\"><line class=\"zero\" x1=\"50%\" x2=\"50%\" y1=\"0\" y2=\"26\"/>"
    if let low = estimate.low, let high = estimate.high {
      marks += """
        <line class="bar" x1="\(percent: place(low))" x2="\(percent: place(high))" y1="13" y2="13"/>
        """
    }
    return marks + "<circle cx=\"\(percent: place(mean))\" cy=\"13\" r=\"4\"/></svg>"
  }

  /// Layers by groups, coloured by the difference.
  private func matrix(_ members: [Comparison.Row]) -> Markup {
    let layers = Set(members.compactMap(\.layer)).sorted()
    let groups = members.reduce(into: [String?]()) { if !$0.contains($1.group) { $0.append($1.group) } }
    let most = max(members.compactMap { $0.difference.estimate.mean.map(abs) }.max() ?? 0, 1e-12)
    let head = groups.map { "<th>\($0 ?? "difference")</th>" as Markup }
    let rows = layers.map { layer -> Markup in
      let cells = groups.map { group -> Markup in
        guard let row = members.first(where: { $0.layer == layer && $0.group == group }),
          let mean = row.difference.estimate.mean
        else { return "<td>–</td>" }
        let weight = 0.85 * abs(mean) / most
        let title =
          "\(row.name): \(level(row, row.difference.before)) to \(level(row, row.difference.after)), interval \(interval(row)), Holm \(Text.probability(row.difference.corrected))"
        return """
          <td class="cell \(mean < 0 ? "less" : "more")\(comparison.isSignificant(row) ? "" : " chance")" \
          style="--w:\(weight)" title="\(title)"><span>\(change(row, mean))</span></td>
          """
      }
      return "<tr><th scope=\"row\">\(layer)</th>\(cells)</tr>"
    }
    return """
      <div class="scroll" tabindex="0" role="region" aria-label="Differences by layer"><table class="diff"><thead><tr><th>layer</th>\(head)</tr></thead>\
      <tbody>\(rows)</tbody></table></div>
      """
  }

  private func level(_ row: Comparison.Row, _ value: Double?) -> String {
    row.unit == .share ? Text.percent(value) : Text.short(value)
  }

  private func change(_ row: Comparison.Row, _ value: Double?) -> String {
    row.unit == .share ? Text.points(value) : Text.signed(value) { Text.short($0) }
  }

  private func interval(_ row: Comparison.Row) -> String {
    AttentionSummary.interval(row.difference.estimate) { change(row, $0) }
  }
}
