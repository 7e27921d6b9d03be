import RunKit
import TokenModel

/// The report of an `eval` run: accuracy under every condition and by tag.
public struct EvaluationReport: Sendable {
  private let summary: EvaluationSummary

  /// The name of the report in the run folder.
  public static let name = "report.html"

  /// A report of a summary.
  public init(_ summary: EvaluationSummary) { self.summary = summary }

  /// A colour for each condition, in the order of the roles that stand out most.
  private static let roles: [Role] = [
    .image, .audio, .video, .question, .instruction, .response, .system, .bos, .separator,
  ]

  private func group(_ condition: Int) -> String { "g\(condition % Self.roles.count)" }

  /// The file.
  public var html: String {
    let colors = ReportColors(Self.roles.map { .init(name: $0.rawValue, roles: [$0]) })
    return ReportPage(
      title: "\(summary.context.model.name): accuracy", colors: colors,
      body: header + conditionSection + tagSections + footer
    ).html
  }

  private var level: String { Text.percent(summary.context.definition.interval.level, places: 0) }

  private var intervalText: String {
    let definition = summary.context.definition.interval
    let clusters = definition.clusterKey.map { ", samples of one \($0) together" } ?? ""
    switch definition.method {
    case .wilson: return "\(level), Wilson"
    case .bootstrap: return "\(level), bootstrap of \(definition.replicates) replicates\(clusters)"
    }
  }

  // MARK: Header

  private var header: Markup {
    let (context, first) = (summary.context, summary.conditions[0])
    let adapters = context.model.adapters.map { "\($0.name) (\($0.type))" }.joined(separator: ", ")
    let model = context.model
    let facts = [
      ReportPage.fact(
        "Model",
        "\(model.name) <span class=\"soft\">\(model.architecture), \(model.layerCount) layers × \(model.headCount) heads, \(model.dtype)</span>"
      ),
      ReportPage.fact("Adapter", "\(adapters.isEmpty ? "none" : adapters)"),
      ReportPage.fact("Data", "\(context.data.name), \(Text.count(summary.count, "question"))"),
      ReportPage.fact("Answers", "greedy, at most \(Text.count(context.definition.answerLimit, "token"))"),
      ReportPage.fact("Right", "equal to the expected answer, spaces around it aside"),
      ReportPage.fact("Intervals", "\(intervalText)"),
      ReportPage.fact("Seed", "\(context.definition.seed)"),
    ]
    let missing =
      summary.count < context.data.sampleCount
      ? "<ul class=\"warnings\"><li><b>not complete</b>\(summary.count) of \(context.data.sampleCount) questions were answered</li></ul>"
        as Markup : ""
    return """
      <p class="kicker">mmprobe eval report</p>
      <h1>How often is \(model.name) right?</h1>
      <p class="lead">Over \(Text.count(summary.count, "question")), <b>\(Text.percent(first.overall.fraction))</b> of the answers \
      are right (interval \(Self.interval(first.overall)))\(worst).</p>
      \(missing)
      <dl class="facts">\(facts)</dl>
      """
  }

  /// The condition that costs most, for the lead.
  private var worst: Markup {
    let found = zip(summary.conditions, summary.differences).compactMap { condition, difference in
      difference?.estimate.mean.map { (condition.condition.name, $0) }
    }.min { $0.1 < $1.1 }
    guard let (name, change) = found, change < 0 else { return "" }
    return "; <b>\(name)</b> changes that most, by \(Text.points(change)) points"
  }

  private static func interval(_ accuracy: Evaluation.Accuracy) -> String {
    accuracy.interval.map { "\(Text.percent($0.lower)) to \(Text.percent($0.upper))" } ?? "–"
  }

  // MARK: Figures

  private var conditionSection: Markup {
    let bars = summary.conditions.enumerated().map { place, evaluation -> Markup in
      """
      <div class="row"><span>\(evaluation.condition.name)</span>\(bar(evaluation.overall, group(place), label: evaluation.condition.name))\
      <span class="value">\(Text.percent(evaluation.overall.fraction)) <small class="wide">\(Self.interval(evaluation.overall))</small></span></div>
      """
    }
    var content = ReportPage.figure(
      "<div class=\"rows\">\(bars)</div>",
      caption: "Share of right answers under each condition, with its interval (\(intervalText)).")
    if summary.conditions.count > 1 {
      let test = summary.context.definition.interval.clusterKey == nil ? "McNemar" : "t"
      let rows = zip(summary.conditions, summary.differences).compactMap {
        evaluation, difference -> Markup? in
        guard let difference else { return nil }
        return """
          <tr><td>\(evaluation.condition.name)</td><td>\(Text.points(difference.estimate.mean))</td>\
          <td>\(AttentionSummary.interval(difference.estimate, Text.points))</td><td>\(Text.probability(difference.p))</td>\
          <td>\(Text.probability(difference.corrected))</td></tr>
          """
      }
      let table: Markup = """
        <table><thead><tr><th>condition</th><th>difference</th><th>interval</th><th>p (\(test))</th><th>Holm</th></tr></thead>\
        <tbody>\(rows)</tbody></table>
        """
      content += ReportPage.figure(
        ReportPage.scrolling(table, label: "Differences"),
        caption:
          "Difference to \(summary.conditions[0].condition.name), the same questions, in percentage points. Intervals by resampling pairs."
      )
    }
    return ReportPage.section("By condition", "What happens when something is taken away?", content)
  }

  private func bar(_ accuracy: Evaluation.Accuracy, _ group: String, label: String) -> Markup {
    let fraction = accuracy.fraction ?? 0
    var marks: Markup = """
      <svg width="100%" height="22" class="\(group)" role="img" aria-label="\(label): \(Text.percent(accuracy.fraction))">\
      <rect class="track" x="0" y="3" width="100%" height="16" rx="2"/>\
      <rect class="bar" x="0" y="3" width="\(percent: fraction)" height="16" rx="2"/>
      """
    if let interval = accuracy.interval {
      marks += """
        <line class="whisker" x1="\(percent: interval.lower)" x2="\(percent: interval.upper)" y1="11" y2="11"/>
        """
    }
    return marks + "</svg>"
  }

  private var tagSections: Markup {
    let figures = summary.conditions[0].breakdowns.indices.map(tagFigure)
    guard !figures.isEmpty else { return Markup() }
    return ReportPage.section(
      "By kind of question", "Where is it right, and where does a condition matter?", figures.joined())
  }

  private func tagFigure(_ place: Int) -> Markup {
    let first = summary.conditions[0].breakdowns[place]
    let rows = first.parts.indices.map { number -> Markup in
      let part = first.parts[number]
      // The first condition is drawn last, over the others.
      let dots = summary.conditions.indices.reversed().map { condition -> Markup in
        dot(summary.conditions[condition].breakdowns[place].parts[number].accuracy, condition, part.value)
      }
      return """
        <div class="row"><span>\(part.value)</span><svg width="100%" height="26" role="img" aria-label="\(part.value)">\
        <line class="gridline" x1="0" x2="0" y1="0" y2="26"/><line class="gridline" x1="50%" x2="50%" y1="0" y2="26"/>\
        <line class="gridline" x1="100%" x2="100%" y1="0" y2="26"/>\(dots)</svg>\
        <span class="value">\(Text.percent(part.accuracy.fraction)) <small>of \(part.accuracy.count)</small></span></div>
        """
    }
    let legend = summary.conditions.enumerated().map { condition, evaluation -> Markup in
      """
      <span><svg class="\(group(condition))" width="12" height="12"><circle class="typedot" cx="6" cy="6" r="6"/></svg>\(evaluation.condition.name)</span>
      """
    }
    let ticks: Markup =
      "<span style=\"left:0%\">0 %</span><span style=\"left:50%\">50 %</span><span style=\"left:100%\">100 %</span>"
    return ReportPage.figure(
      """
      <h3>\(first.key)</h3><div class="legend">\(legend)</div>\
      <div class="rows types">\(rows)<div class="row"><span></span><div class="ticks">\(ticks)</div><span></span></div></div>\
      <details><summary>Numbers</summary>\(ReportPage.scrolling(tagTable(place), label: "Accuracy by \(first.key)"))</details>
      """,
      caption:
        "Share of right answers by “\(first.key)”; lines are intervals (\(intervalText)), each kind of question by itself. "
        + "The number at the right is that of \(summary.conditions[0].condition.name).")
  }

  private func dot(_ accuracy: Evaluation.Accuracy, _ condition: Int, _ value: String) -> Markup {
    guard let fraction = accuracy.fraction else { return Markup() }
    let name = summary.conditions[condition].condition.name
    var marks: Markup = """
      <g class="\(group(condition))"><title>\(value), \(name): \(Text.percent(fraction)), interval \(Self.interval(accuracy))</title>
      """
    if let interval = accuracy.interval {
      marks += """
        <line class="typebar" x1="\(percent: interval.lower)" x2="\(percent: interval.upper)" y1="13" y2="13"/>
        """
    }
    return marks + "<circle class=\"typedot\" cx=\"\(percent: fraction)\" cy=\"13\" r=\"6\"/></g>"
  }

  private func tagTable(_ place: Int) -> Markup {
    let head = summary.conditions.map { "<th>\($0.condition.name)</th>" as Markup }
    let first = summary.conditions[0].breakdowns[place]
    let rows = first.parts.indices.map { number -> Markup in
      let cells = summary.conditions.map { evaluation -> Markup in
        let accuracy = evaluation.breakdowns[place].parts[number].accuracy
        return "<td>\(Text.percent(accuracy.fraction)) <small>\(Self.interval(accuracy))</small></td>"
      }
      return
        "<tr><td>\(first.parts[number].value)</td>\(cells)<td>\(first.parts[number].accuracy.count)</td></tr>"
    }
    return "<table><thead><tr><th></th>\(head)<th>n</th></tr></thead><tbody>\(rows)</tbody></table>"
  }

  private var footer: Markup {
    let context = summary.context
    return ReportPage.footer(
      tool: context.tool, files: context.model.files, data: (context.data.name, context.data.sha256),
      numbers:
        "Every answer: <code>samples.jsonl</code>; every number: <code>result.json</code> beside this file.")
  }
}
