import TokenModel

/// The report of a run: one HTML file that needs no network and no script.
///
/// Every figure says under it what it shows and how its numbers were made. Text of the data set is escaped.
public struct AttentionReport: Sendable {
  let summary: AttentionSummary
  let records: [AttentionRecord]
  let colors: ReportColors
  /// The groups that occur, as positions in the definition.
  let groups: [Int]

  /// A report of a summary and of the samples it was made of.
  public init(_ summary: AttentionSummary, _ samples: AttentionSamples) {
    self.summary = summary
    records = samples.records
    colors = ReportColors(summary.context.definition.groups)
    groups = summary.groups.indices.filter { summary.occurs($0) }
  }

  var definition: AttentionDefinition { summary.context.definition }

  /// The most samples drawn with their media; the file holds them, so it must stay small.
  static let highlightLimit = 12

  /// The file.
  public var html: String {
    let name = summary.context.model.name
    var body = header
    if summary.measuredCount == 0 {
      body += "<section><p>No sample was measured, so there is nothing to draw.</p></section>"
    } else {
      body +=
        contributionSection + groupSection + layerSection + headSection + indexSection + tagSection
        + positionSection
      body += highlightSection
    }
    body += footer
    return ReportPage(
      title: "\(name): \(summary.context.kind) by modality", colors: colors, body: body
    ).html
  }

  /// How the numbers of a figure were made, for its caption.
  var basis: String {
    let definition = definition
    let heads =
      definition.heads.count == 1 ? "head \(definition.heads[0])" : "mean of \(definition.heads.count) heads"
    return "Queries: \(definition.queries.explanation); \(heads); \(definition.sinks.explanation)."
  }

  /// How intervals were made, for captions.
  var intervals: String { "Intervals: \(summary.intervalText)." }

  func groupClass(_ group: Int) -> String { "g\(group)" }
  func name(_ group: Int) -> String { summary.groups[group].name }

  /// A section with a heading, a sentence and figures.
  func section(_ title: String, _ lead: String, _ content: Markup) -> Markup {
    ReportPage.section(title, lead, content)
  }

  /// A figure with its caption.
  func figure(_ content: Markup, caption: String) -> Markup { ReportPage.figure(content, caption: caption) }

  /// A table that scrolls by itself where it is wider than the page.
  func scrolling(_ table: Markup, label: String) -> Markup { ReportPage.scrolling(table, label: label) }

  /// Parts of a whole as one bar; parts too narrow for their label carry it as a tooltip only.
  func stack(_ parts: [(group: Int, share: Double)]) -> Markup {
    let total = parts.reduce(0) { $0 + max(0, $1.share) }
    let pieces = parts.filter { $0.share > 0 && total > 0 }.map { part -> Markup in
      let share = part.share / total
      let title = "\(name(part.group)) \(Text.percent(part.share))"
      // A label that does not fit wraps out of sight, see the style sheet.
      return """
        <i class="\(groupClass(part.group))" style="width:\(percent: share)" title="\(title)"><span>\(name(part.group))</span></i>
        """
    }
    return "<div class=\"stack\">\(pieces)</div>"
  }

  /// A strip that explains the scale of magnitudes.
  func scale(most: Double, text: (Double?) -> String) -> Markup {
    let steps = (0..<ReportColors.stepCount).map { "<i class=\"q\($0)\"></i>" as Markup }
    return "<div class=\"scale\"><span>0</span><div>\(steps)</div><span>\(text(most))</span></div>"
  }

  // MARK: Header and footer

  private var header: Markup {
    let model = summary.context.model
    let warnings = summary.warnings.filter { $0.level == .warning }
      .map { "<li><b>\($0.code.replacing("_", with: " "))</b>\($0.message)</li>" as Markup }
    let list: Markup = warnings.isEmpty ? "" : "<ul class=\"warnings\">\(warnings)</ul>"
    let composition: Markup =
      summary.measuredCount == 0
      ? ""
      : figure(
        """
        <div class="stacks"><span>attention</span>\(stack(groups.map { ($0, summary.groups[$0].share.mean ?? 0) }))\
        <span class="soft">if uniform</span>\(stack(groups.map { ($0, summary.groups[$0].baseline.mean ?? 0) }))</div>
        """,
        caption: "Where attention goes, and where it would go if every key a query can see got the same "
          + "(the structural baseline). Mean over \(Text.count(summary.measuredCount, "sample")) and all layers. \(basis)"
      )
    return """
      <p class="kicker">mmprobe \(summary.context.kind) report</p>
      <h1>Which modality does \(model.name) \(definition.contribution == nil ? "look at" : "use")?</h1>
      \(lead)
      \(list)
      \(composition)
      <dl class="facts">\(facts)</dl>
      """
  }

  /// The finding in one sentence.
  private var lead: Markup {
    guard summary.measuredCount > 0 else { return "" }
    let text = definition.textGroups.filter { groups.contains($0) }
    func sum(_ groups: [Int], _ path: KeyPath<AttentionSummary.Group, Estimate>) -> Double {
      groups.reduce(0) { $0 + (summary.groups[$1][keyPath: path].mean ?? 0) }
    }
    var parts = summary.media.map { medium -> Markup in
      let members = definition.groups(of: medium)
      return """
        <b><span class="ink \(groupClass(members.first ?? 0))">\(Text.percent(sum(members, \.share)))</span> on \
        \(medium.rawValue)</b> (uniform: \(Text.percent(sum(members, \.baseline))))
        """
    }
    if !text.isEmpty {
      parts.append(
        "<b>\(Text.percent(sum(text, \.share))) on text</b> (uniform: \(Text.percent(sum(text, \.baseline))))"
      )
    }
    guard !parts.isEmpty else { return "" }
    let listed =
      parts.dropLast().map { $0 + ", " }.joined() + (parts.count > 1 ? "and " : "") + (parts.last ?? "")
    return """
      <p class="lead">Over \(Text.count(summary.measuredCount, "sample")), \(definition.queries.explanation) put \
      \(listed) of their attention. Attention says where the model reads, not what decides its answer.</p>
      """
  }

  private var facts: Markup {
    let (context, definition) = (summary.context, definition)
    let model = context.model
    let fact = ReportPage.fact
    let adapters = model.adapters.map { "\($0.name) (\($0.type))" }.joined(separator: ", ")
    let skipped = summary.skipped.isEmpty ? "" : ", \(summary.skipped.count) skipped"
    let status = summary.isComplete ? "" : ", run not complete"
    let part = context.shard.map { ", shard \($0.index + 1) of \($0.count)" } ?? ""
    return [
      fact(
        "Model",
        "\(model.name) <span class=\"soft\">\(model.architecture), \(model.layerCount) layers × \(model.headCount) heads, \(model.dtype)</span>"
      ),
      fact("Adapter", "\(adapters.isEmpty ? "none" : adapters)"),
      fact(
        "Data",
        "\(context.data.name), \(Text.count(summary.measuredCount, "sample"))\(skipped)\(status)\(part)"),
      fact("Tokens in a sample", "\(summary.tokensText.isEmpty ? "–" : summary.tokensText)"),
      fact(
        "Queries",
        "\(definition.queries.rawValue) <span class=\"soft\">\(definition.queries.explanation)</span>"),
      fact("Averaging", "query rows, then heads, then layers, then samples; every sample weighs the same"),
      fact("Sinks", "\(definition.sinks.explanation)"),
      fact("Intervals", "\(summary.intervalText)"),
      fact("Seed", "\(context.seed)"),
      fact(
        "Row sums", "off 1 by at most <span class=\"nowrap\">\(Text.short(summary.rowSumMaxError))</span>"),
      fact("Parity", "not checked in this run; see <code>mmprobe verify</code>"),
    ].joined()
  }

  private var footer: Markup {
    let notes = summary.warnings.filter { $0.level == .note }.map { "<li>\($0.message)</li>" as Markup }
    let list: Markup = notes.isEmpty ? "" : "<h3>How to read this</h3><ul>\(notes)</ul>"
    let context = summary.context
    return ReportPage.footer(
      tool: context.tool, files: context.model.files, data: (context.data.name, context.data.sha256),
      notes: list,
      numbers:
        "Numbers behind every figure: <code>result.json</code> and <code>tables/</code> beside this file; layers and heads count from 0."
    )
  }
}
