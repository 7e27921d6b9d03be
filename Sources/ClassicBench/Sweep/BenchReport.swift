import Analysis
import Foundation
import RunKit

/// Figures of a folder of runs, and the page that holds them with the table.
///
/// | file | contents |
/// | --- | --- |
/// | `curves.svg` | accuracy on validation samples by epoch, a panel for each method, mean and band over seeds |
/// | `seeds.svg` | the metric of each seed, mean and interval |
/// | `balance.svg` | accuracy against I, with intervals |
/// | `report.html` | all of them with the table and its notes |
public struct BenchReport {
  private let table: BenchTable
  private let balance: BenchTable
  private let curves: [(point: BenchRuns.Point, curve: LearningCurve)]
  /// The name of the page.
  public static let pageName = "report.html"

  /// Reads what the figures need beside a table.
  ///
  /// - Parameter table: Of accuracy.
  /// - Throws: `SweepError`, errors of files and lines.
  public init(_ table: BenchTable) throws {
    self.table = table
    var options = BenchTable.Options()
    (options.metric, options.reference) = (.imbalance, table.reference)
    (options.showsAll, options.bootstrap) = (table.showsAll, table.bootstrap)
    balance = try BenchTable(table.runs, options)
    curves = try table.rows.compactMap { row in
      let curve = try LearningCurve(row.point)
      return curve.means.isEmpty ? nil : (row.point, curve)
    }
  }

  /// Names and contents of all files.
  public var files: [(name: String, text: String)] {
    figures.map { ($0.name + ".svg", $0.file) } + [(Self.pageName, html)]
  }

  private var figures: [SVGFigure] { [seedFigure, curveFigure, balanceFigure].compactMap(\.self) }

  private func color(_ label: String) -> String {
    if label == table.reference { return SVGPanel.gray }
    let place = table.runs.labels.filter { $0 != table.reference }.firstIndex(of: label) ?? 0
    return SVGPanel.colors[place % SVGPanel.colors.count]
  }

  // MARK: Figures

  /// A panel for each method; the reference is drawn in every one of them.
  private var curveFigure: SVGFigure? {
    guard !curves.isEmpty else { return nil }
    let all = curves.flatMap { item in
      zip(item.curve.means, item.curve.deviations).flatMap { [$0 - $1, $0 + $1] }
    }
    let (low, high) = (max(0, all.min() ?? 0), min(1, all.max() ?? 1))
    let epochs = Double(curves.map(\.curve.means.count).max() ?? 1)
    let reference = curves.first { $0.point.label == table.reference }?.curve
    let (columns, cellWidth, cellHeight) = (3, 300.0, 210.0)
    var body = Markup()
    for (place, item) in curves.enumerated() {
      let (row, column) = (Double(place / columns), Double(place % columns))
      var panel = SVGPanel(
        frame: (46 + cellWidth * column, 30 + cellHeight * row, cellWidth - 66, cellHeight - 74),
        x: 0...max(1, epochs), y: low...max(high, low + 1e-6), ticks: (4, 3))
      if let reference, item.point.label != table.reference {
        panel.addLine(reference.points, color: SVGPanel.gray, width: 1.2)
      }
      let color = color(item.point.label)
      panel.addBand(
        item.curve.points.enumerated().map { index, point in
          let spread = item.curve.deviations[index]
          return (x: point.x, low: max(low, point.y - spread), high: min(high, point.y + spread))
        }, color: color)
      panel.addLine(item.curve.points, color: color)
      body += panel.markup(title: item.point.title, xTitle: "epoch", percent: true)
    }
    let rows = (curves.count + columns - 1) / columns
    return SVGFigure(
      name: "curves", label: "Accuracy on validation samples by epoch, a panel for each method",
      caption:
        "Accuracy on validation samples in percent after each epoch: mean over seeds and a band of one standard deviation "
        + "over seeds on either side; the gray line is \(table.reference). Epochs that every seed reached.",
      width: cellWidth * Double(columns), height: cellHeight * Double(rows), body: body)
  }

  /// A row for each method: a hollow circle for each seed, the mean and its interval.
  private var seedFigure: SVGFigure? {
    let rows = table.rows.filter { $0.mean != nil }
    let values = rows.flatMap { row in
      row.point.seeds.compactMap { row.point.results[$0].map(table.metric.value) }
        + [row.interval?.lower, row.interval?.upper].compactMap(\.self)
    }
    guard let low = values.min(), let high = values.max() else { return nil }
    let height = 26 * Double(rows.count)
    // Shares in percent along the axis; rows from the top.
    var panel = SVGPanel(
      frame: (190, 34, 660, height), x: 100 * low...100 * max(high, low + 1e-6),
      y: 0...Double(max(1, rows.count)), ticks: (6, max(1, rows.count)))
    var names = Markup()
    for (place, row) in rows.enumerated() {
      let level = Double(rows.count - place) - 0.5
      let color = color(row.point.label)
      for seed in row.point.seeds {
        guard let value = row.point.results[seed].map(table.metric.value) else { continue }
        panel.addMark(
          x: 100 * value, y: level, radius: 3, color: color,
          title: "\(row.point.title), seed \(seed): \(Self.percent(value))", isHollow: true)
      }
      let mean = row.mean ?? 0
      panel.addMark(
        x: 100 * mean, y: level, xRange: row.interval.map { (100 * $0.lower, 100 * $0.upper) }, color: color,
        title: "\(row.point.title): \(Self.percent(mean))")
      names += """
        <text x="180" y="\(34 + 26 * (Double(place) + 0.5) + 4)" font-size="12" text-anchor="end" fill="\(color)">\
        \(row.point.title)</text>
        """
    }
    let axes = panel.markup(title: "\(table.metric.title) by seed, percent", hidesYLabels: true)
    return SVGFigure(
      name: "seeds", label: "\(table.metric.title) of every method and seed",
      caption:
        "\(table.metric.title) on test samples in percent: a hollow circle for each seed, the mean, and its interval.",
      width: 880, height: height + 70, body: axes + names)
  }

  /// Accuracy against I.
  private var balanceFigure: SVGFigure? {
    let pairs = zip(table.rows, balance.rows).filter { $0.0.mean != nil && $0.1.mean != nil }
    guard table.metric == .accuracy, table.runs.modalities.count > 1, !pairs.isEmpty else { return nil }
    func range(_ row: BenchTable.Row) -> [Double] {
      [row.mean, row.interval?.lower, row.interval?.upper].compactMap(\.self)
    }
    let (x, y) = (pairs.flatMap { range($0.1) }, pairs.flatMap { range($0.0) })
    let (left, right, low, high) = (x.min() ?? 0, x.max() ?? 1, y.min() ?? 0, y.max() ?? 1)
    var panel = SVGPanel(
      frame: (70, 34, 780, 440), x: left...max(right, left + 1e-6), y: low...max(high, low + 1e-6),
      ticks: (6, 6))
    for (accuracy, imbalance) in pairs {
      let (place, value) = (imbalance.mean ?? 0, accuracy.mean ?? 0)
      panel.addMark(
        x: place, y: value, xRange: imbalance.interval.map { ($0.lower, $0.upper) },
        yRange: accuracy.interval.map { ($0.lower, $0.upper) }, color: color(accuracy.point.label),
        label: accuracy.point.title,
        title: "\(accuracy.point.title): accuracy \(Self.percent(value)), I \(Self.percent(place))")
    }
    return SVGFigure(
      name: "balance", label: "Accuracy of every method against its imbalance",
      caption:
        "Accuracy on test samples in percent against I, the mean over pairs of modalities of the difference of their "
        + "Shapley values of accuracy with absent features set to 0. Means over seeds with intervals.",
      width: 880, height: 530,
      body: panel.markup(
        title: "Accuracy against imbalance", xTitle: "I", yTitle: "accuracy, percent", percent: true))
  }

  static func percent(_ value: Double) -> String { Decimals.text(100 * value, places: 1) + " %" }

  // MARK: The page

  private var html: String {
    let runs = table.runs
    let facts = [
      ReportPage.fact("Methods", "\(runs.labels.count)"), ReportPage.fact("Seeds", "\(runs.seeds.count)"),
      ReportPage.fact("Modalities", "\(runs.modalities.joined(separator: ", "))"),
      ReportPage.fact("Test samples", "\(runs.itemCount)"),
      ReportPage.fact("Compared with", "\(table.reference)"),
    ]
    let drawn = figures.map { ReportPage.figure($0.inline, caption: $0.caption) }
    let body: Markup = """
      <p class="kicker">mmprobe bench report</p>
      <h1>Which method helps, and is it real?</h1>
      \(lead)
      <dl class="facts">\(facts)</dl>
      \(ReportPage.section("Methods", "Means over seeds with intervals, and tests against \(table.reference).", figure(of: table.printed, label: "Methods")))
      \(ReportPage.section("Figures", "Every number of them is in the files of the runs.", drawn.joined()))
      \(costSection)
      \(furtherSections)
      """
    return ReportPage(title: "\(runs.title): methods", colors: ReportColors([]), body: body).html
  }

  private var lead: Markup {
    let level = 1 - table.bootstrap.confidence
    let better = table.rows.filter { ($0.corrected ?? 1) < level && ($0.difference ?? 0) > 0 }
    let worse = table.rows.filter { ($0.corrected ?? 1) < level && ($0.difference ?? 0) < 0 }
    let tested = table.rows.count { $0.p != nil }
    guard tested > 0 else {
      return "<p class=\"lead\">Nothing can be compared with \(table.reference) yet.</p>"
    }
    func names(_ rows: [BenchTable.Row]) -> String {
      rows.isEmpty ? "none" : rows.map(\.point.title).joined(separator: ", ")
    }
    return """
      <p class="lead">Of \(tested) methods, \(better.count) are better than \(table.reference) in \(table.metric.title) by \
      more than chance, corrected for all tests (\(names(better))), and \(worse.count) worse (\(names(worse))).</p>
      """
  }

  /// Seconds of steps as the runs noted them.
  private var costSection: Markup {
    let costs = table.rows.compactMap { row -> (title: String, milliseconds: Double)? in
      let found = row.point.seeds.compactMap { seed -> Double? in
        row.point.places[seed].flatMap(Self.millisecondsPerStep)
      }
      return found.isEmpty ? nil : (row.point.title, found.reduce(0, +) / Double(found.count))
    }
    guard !costs.isEmpty else { return Markup() }
    let base = costs.first { $0.title == table.reference }?.milliseconds
    let rows = costs.map { cost -> Markup in
      let relative = base.map { Decimals.text(cost.milliseconds / $0, places: 2) } ?? PrintedTable.nothing
      return """
        <tr><td>\(cost.title)</td><td>\(Decimals.text(cost.milliseconds, places: 2))</td><td>\(relative)</td></tr>
        """
    }
    let content: Markup = """
      <table><thead><tr><th></th><th>ms a step</th><th>times \(table.reference)</th></tr></thead><tbody>\(rows)</tbody></table>
      """
    return ReportPage.section(
      "Cost", "What a training step took, the mean over seeds.",
      ReportPage.figure(
        ReportPage.scrolling(content, label: "Cost"),
        caption: "Wall time as each run noted it; runs side by side take time from each other."))
  }

  /// Of the process that ended a run; nil where it noted none.
  private static func millisecondsPerStep(_ run: URL) -> Double? {
    let bytes = try? FileReader.bytes(of: run.appendingPathComponent("run.json"), limit: 1 << 24)
    guard let cost = bytes.flatMap({ try? JSONValue(parsing: $0) })?["cost"],
      let seconds = cost["step_s"]?.doubleValue, let steps = cost["steps"]?.intValue, steps > 0
    else { return nil }
    return 1000 * seconds / Double(steps)
  }

  /// Operations by stage, and what is left with corrupted modalities, where the runs have them.
  private var furtherSections: [Markup] {
    [
      table.costs.map {
        ReportPage.section(
          "Operations", "What kinds of methods cost.", figure(of: $0.printed, label: "Operations"))
      },
      table.robustness.map {
        ReportPage.section(
          "Corrupted modalities", "One at a time, the others as they are.",
          figure(of: $0, label: "Corrupted modalities"))
      },
    ].compactMap(\.self)
  }

  private func figure(of printed: PrintedTable, label: String) -> Markup {
    let head = printed.titles.map { "<th>\($0)</th>" as Markup }
    let rows = printed.rows.map { row -> Markup in
      let cells = row.map { "<td>\($0)</td>" as Markup }
      return "<tr>\(cells)</tr>"
    }
    let content: Markup = "<table><thead><tr>\(head)</tr></thead><tbody>\(rows)</tbody></table>"
    let notes = printed.notes.map { "<li>\($0)</li>" as Markup }
    return """
      <figure>\(ReportPage.scrolling(content, label: label))<figcaption><ul>\(notes)</ul></figcaption></figure>
      """
  }
}

/// The accuracy on validation samples after each epoch, over the seeds of a point.
struct LearningCurve: Equatable {
  /// Means over seeds, of epochs that every seed reached.
  let means: [Double]
  /// Standard deviations over seeds; 0 for one seed.
  let deviations: [Double]

  /// - Throws: Errors of files and lines.
  init(_ point: BenchRuns.Point) throws {
    let series = try point.seeds.compactMap { point.places[$0] }.map(Self.read)
    self.init(series)
  }

  init(_ series: [[Double]]) {
    let length = series.map(\.count).min() ?? 0
    let moments = (0..<length).map { epoch in StreamingMoments(series.map { $0[epoch] }) }
    means = moments.map(\.mean)
    deviations = moments.map { $0.sampleStandardDeviation ?? 0 }
  }

  /// Epochs counted from 1.
  var points: [(x: Double, y: Double)] { means.enumerated().map { (Double($0.offset + 1), $0.element) } }

  /// What the log of a run says, one value for each evaluation; none without a log.
  static func read(_ run: URL) throws -> [Double] {
    let log = run.appendingPathComponent("log.jsonl")
    guard FileManager.default.fileExists(atPath: log.path) else { return [] }
    return try JSONLinesReader(log).remainingLines().compactMap {
      $0.value["validation"]?["accuracy"]?.doubleValue
    }
  }
}
