import RunKit
import TokenModel

/// The report of a training run: curves of everything its log has.
public struct TrainingReport: Sendable {
  private let log: TrainingLog

  /// A report of a log.
  public init(_ log: TrainingLog) { self.log = log }

  /// What a curve may be of, each with a colour of its own.
  private static let names = ["image", "audio", "video", "text", "other", "training", "validation"]
  private static let groups: [AttentionDefinition.Group] = zip(
    names, [Role.image, .audio, .video, .question, .separator, .response, .instruction]
  ).map { .init(name: $0, roles: [$1]) }

  /// Points of a curve at most; longer ones are thinned evenly.
  private static let pointLimit = 400

  private static func group(_ name: String) -> String {
    let place = names.firstIndex(of: name) ?? names.firstIndex(of: "training") ?? 0
    return "g\(place)"
  }

  /// The file.
  public var html: String {
    ReportPage(
      title: "\(heading): training", colors: ReportColors(Self.groups),
      body: header + lossSection + familySections + rotationSection + footer
    ).html
  }

  private var command: String { log.configuration["command"]?.stringValue ?? "train" }

  private var heading: String {
    let method = log.configuration["method"]?.stringValue
    let model = log.configuration["model"]?.stringValue
    return ([command, method, model].compactMap { $0 }).joined(separator: " ")
  }

  // MARK: Header

  private var header: Markup {
    var facts: [Markup] = []
    for (key, name) in [("method", "Method"), ("model", "Model"), ("data", "Data")] {
      if let text = log.configuration[key]?.stringValue { facts.append(ReportPage.fact(name, "\(text)")) }
    }
    if let count = log.configuration["count"]?.intValue {
      facts.append(ReportPage.fact("Records", "\(count)"))
    }
    facts.append(ReportPage.fact("Steps logged", "\(log.lastStep)"))
    if let best = log.bestSteps.last { facts.append(ReportPage.fact("Best evaluation", "step \(best)")) }
    if let seed = log.configuration["seed"]?.intValue { facts.append(ReportPage.fact("Seed", "\(seed)")) }
    return """
      <p class="kicker">mmprobe \(command) report</p>
      <h1>How did the training go?</h1>
      \(lead)
      <dl class="facts">\(facts)</dl>
      """
  }

  private var lead: Markup {
    guard let loss = log.series("loss"), let first = loss.values.first, let last = loss.values.last else {
      return "<p class=\"lead\">Nothing has been logged yet.</p>"
    }
    var text: Markup = """
      <p class="lead">The training loss went from <b>\(Text.fixed(first, 4))</b> to <b>\(Text.fixed(last, 4))</b> in \
      \(Text.count(log.lastStep, "step")).
      """
    if let figure = log.validation.first, let best = log.bestSteps.last,
      let place = figure.steps.firstIndex(of: best)
    {
      text +=
        " The best evaluation, <b>\(figure.tag.replacing("_", with: " ")) \(Text.fixed(figure.values[place], 4))</b>, was at step \(best)."
    }
    return text + "</p>"
  }

  // MARK: Figures

  private var lossSection: Markup {
    guard let loss = log.series("loss") else { return Markup() }
    var curves = [Curve(name: "training", series: loss)]
    if let other = log.validation.first(where: { $0.tag == "loss" }) {
      curves.append(Curve(name: "validation", series: other))
    }
    var content = ReportPage.figure(
      plot(curves, label: "Loss", height: 320),
      caption:
        "Mean loss of an answer piece in nats: of the steps since the line before, and of the validation data."
    )
    for series in log.validation where series.tag != "loss" && !series.tag.contains("/") {
      content += ReportPage.figure(
        plot([Curve(name: "validation", series: series)], label: series.tag, height: 220),
        caption: "\(Self.words(series.tag)) on the validation data.")
    }
    let parts = log.validation.filter { $0.tag.contains("/") }
    if !parts.isEmpty {
      content += panels(parts, caption: "The same by type of question.") { series in
        String(series.tag.split(separator: "/").last ?? "")
      }
    }
    let single = log.training.filter { $0.tag != "loss" && !$0.tag.contains("/") }
    if !single.isEmpty {
      content += panels(
        single,
        caption:
          "The learning rate of the step, and the norm of the gradient before clipping (mean since the line before).",
        name: { Self.words($0.tag) })
    }
    return ReportPage.section(
      "Loss and steps", "Is it learning, and does what it learns carry over?", content)
  }

  /// Families of figures, what they are and what they mean.
  private static let families: [(prefix: String, title: String, caption: String)] = [
    (
      "share", "Where the answers look",
      "Mean attention of the rows that predict answers on the keys of each modality, over heads and layers. Other: the first id, system text and separators."
    ),
    (
      "air", "Directions of queries",
      "Mean of cos(q, mean key of the modality) − cos(q, mean key of the prompt's text) over the same rows. Above 0 the modality is favoured over text."
    ),
    (
      "gradient", "Gradient that reaches each modality",
      "‖∂L/∂X‖ / √rows for the rows X of each modality that enter the decoder."
    ),
    (
      "matrices/norm", "Gradient of each modality's A", "‖∂L/∂Aᵐ‖ over all layers, of MokA."
    ),
    (
      "split/share", "Whose gradient the shared A follows",
      "⟨gₘ, g⟩ / ‖g‖² with gₘ the part of ∂L/∂A that comes from the rows of modality m; the shares sum to 1."
    ),
    ("split/norm", "Parts of the gradient of the shared A", "‖gₘ‖ of each modality."),
    (
      "split/cosine", "Do the modalities pull the same way?",
      "cos(gₘ, g of text): below 0 a modality pulls A against text."
    ),
    ("logits", "Growth of the logits", "The mean log normaliser and the largest logit of a step."),
  ]

  private var familySections: Markup {
    var figures: [Markup] = []
    for (prefix, title, caption) in Self.families {
      let members = log.training.filter { $0.tag.hasPrefix(prefix + "/") }
      guard !members.isEmpty else { continue }
      let curves = members.map {
        Curve(name: String($0.tag.dropFirst(prefix.count + 1)), series: $0)
      }
      figures.append(
        ReportPage.figure("<h3>\(title)</h3>\(plot(curves, label: title, height: 240))", caption: caption))
    }
    if let norms { figures.append(norms) }
    guard !figures.isEmpty else { return Markup() }
    return ReportPage.section(
      "By modality", "What the training does to each modality, step by step.", figures.joined())
  }

  /// Lengths of rows that leave the last layer.
  private var norms: Markup? {
    let members = log.training.filter { $0.tag.hasPrefix("norm/layer.") }
    let layers = members.compactMap { Int($0.tag.dropFirst("norm/layer.".count).prefix { $0.isNumber }) }
    guard let last = layers.max() else { return nil }
    let prefix = "norm/layer.\(last)/"
    let curves = members.filter { $0.tag.hasPrefix(prefix) }.map {
      Curve(name: String($0.tag.dropFirst(prefix.count)), series: $0)
    }
    return ReportPage.figure(
      "<h3>Length of rows</h3>\(plot(curves, label: "Length of rows", height: 240))",
      caption:
        "Mean length of the rows of each modality that leave layer \(last), the last one. The other layers are in log.jsonl."
    )
  }

  private var rotationSection: Markup {
    guard !log.rotations.isEmpty else { return Markup() }
    func mean(_ values: [Double]) -> Double? {
      values.isEmpty ? nil : values.reduce(0, +) / Double(values.count)
    }
    let rows = log.rotations.map { rotation -> Markup in
      let outcomes = rotation.outcomes.sorted { $0.key < $1.key }.map { "\($0.value) \($0.key)" }
      return """
        <tr><td>\(rotation.step)</td><td>\(rotation.layer)</td><td>\(outcomes.joined(separator: ", "))</td>\
        <td>\(Text.fixed(mean(rotation.imbalances), 4))</td><td>\(Text.fixed(mean(rotation.angles), 4))</td></tr>
        """
    }
    let table: Markup = """
      <table><thead><tr><th>after step</th><th>layer</th><th>heads</th><th>mean imbalance</th><th>mean angle</th></tr></thead>\
      <tbody>\(rows)</tbody></table>
      """
    return ReportPage.section(
      "Rotated queries", "What RollingQ did at the end of each pass over the data.",
      ReportPage.figure(
        ReportPage.scrolling(table, label: "Rotations"),
        caption:
          "Heads by outcome; the imbalance is that of cosines between queries and mean keys, the angle that of the turn in radians."
      ))
  }

  private var footer: Markup {
    let hashes = (log.configuration["sha256"]?.objectValue?.members ?? []).compactMap { name, value in
      value.stringValue.map { "<li><code>\(name)</code> \($0)</li>" as Markup }
    }
    let options = log.configuration["options"].map { $0.text(.indented) } ?? ""
    return """
      <footer><details><summary>Settings</summary><pre class="mono">\(options)</pre></details>\
      <details><summary>Files (SHA-256)</summary><ul class="mono">\(hashes)</ul></details>
      <p>Every number of the curves: <code>log.jsonl</code> beside this file.</p></footer>
      """
  }

  // MARK: Curves

  private struct Curve {
    let name: String
    let series: TrainingLog.Series

    /// At most so many points, the last among them.
    func thinned(_ limit: Int) -> [(step: Int, value: Double)] {
      let every = max(1, (series.steps.count + limit - 1) / limit)
      return series.steps.indices.filter { $0 % every == 0 || $0 == series.steps.count - 1 }.map {
        (series.steps[$0], series.values[$0])
      }
    }
  }

  private func plot(_ curves: [Curve], label: String, height: Int) -> Markup {
    let values = curves.flatMap(\.series.values)
    let (low, high) = (values.min() ?? 0, values.max() ?? 1)
    // From 0 where that costs little.
    let bottom = low > 0 && low < 0.5 * high ? 0 : low
    let ticks = LinePlot.ticks(from: bottom, to: high, count: height > 200 ? 5 : 3)
    let end = max(1, log.lastStep)
    let parts = min(5, end)
    var plot = LinePlot(
      range: (ticks.first ?? 0)...(ticks.last ?? 1), height: height, count: parts + 1,
      yTicks: ticks.map { ($0, Text.short($0)) }, xLabels: (0...parts).map { String(end * $0 / parts) })
    plot.xTitle = "step"
    plot.tickWidth = "4.2em"
    plot.endWidth = "6.8em"
    for curve in curves {
      let group = Self.group(curve.name)
      let points = curve.thinned(Self.pointLimit)
      let placed = points.map { (place: Double($0.step) / Double(end), value: $0.value) }
      plot.addCurve(placed, class: "curve", group: group)
      plot.addMarks(placed, group: group) { place in
        "\(curve.name), step \(points[place].step): \(Text.short(points[place].value))"
      }
      if let last = points.last {
        plot.addEnd(
          last.value,
          "<span class=\"\(group)\" style=\"position:static;transform:none\">\(Self.words(curve.name))</span>"
        )
      }
    }
    let spoken = curves.map { curve -> String in
      let (first, last) = (Text.short(curve.series.values.first), Text.short(curve.series.values.last))
      return "\(curve.name) from \(first) to \(last)"
    }
    return plot.markup(label: "\(label) over \(end) steps: \(spoken.joined(separator: ", "))")
  }

  /// Small plots side by side.
  private func panels(
    _ series: [TrainingLog.Series], caption: String, name: (TrainingLog.Series) -> String
  ) -> Markup {
    let parts = series.map { series -> Markup in
      "<div><h3>\(name(series))</h3>\(plot([Curve(name: "", series: series)], label: name(series), height: 120))</div>"
    }
    return ReportPage.figure("<div class=\"panels\" style=\"--panel:300px\">\(parts)</div>", caption: caption)
  }

  private static func words(_ tag: String) -> String { tag.replacing("_", with: " ") }
}
