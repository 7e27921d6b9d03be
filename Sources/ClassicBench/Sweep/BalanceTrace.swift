import Analysis
public import RunKit

/// Accuracy against imbalance while one method is made stronger: at what strength it is most accurate (relative balance),
/// and at what strength its modalities contribute most equally (absolute balance).
///
/// Both places are found on test samples, which describes the curve; a strength for use is the one that validation samples
/// choose, which is marked too. How sure the places are is told by draws of seeds and samples: the share of draws in which
/// each strength comes first, and the strengths that come first in all but a share of 1 − confidence of the draws.
///
/// Source: relative and absolute balance are those of Xu et al., BalanceBenchmark, 2025, arXiv:2502.10816, section 5.
public struct BalanceTrace: Sendable {
  /// One strength.
  public struct Step: Sendable {
    /// The method with its settings.
    public let point: BenchRuns.Point
    /// The strength.
    public let strength: Double
    /// Mean accuracy over seeds and its interval.
    public let accuracy: Double
    /// See `accuracy`.
    public let accuracyInterval: ConfidenceInterval?
    /// Mean I over seeds and its interval.
    public let imbalance: Double
    /// See `imbalance`.
    public let imbalanceInterval: ConfidenceInterval?
    /// The share of draws in which it is the most accurate.
    public let relativeShare: Double
    /// The share of draws in which its I is the smallest.
    public let absoluteShare: Double
    /// The mean accuracy on validation samples.
    public let validationAccuracy: Double
  }

  /// Which of the steps is best in a sense.
  public struct Place: Equatable, Sendable {
    /// Of the step.
    public let index: Int
    /// The least and the greatest strength among those that come first in all but a few draws.
    public let strengths: ClosedRange<Double>
  }

  /// What was read.
  public let runs: BenchRuns
  /// The label of the method.
  public let label: String
  /// The key of the strength.
  public let key: String
  /// Seeds that every strength has.
  public let seeds: [Int]
  /// By strength.
  public let steps: [Step]
  /// The most accurate strength.
  public let relative: Place
  /// The strength of the smallest I.
  public let absolute: Place
  /// The step that validation samples choose.
  public let chosen: Int
  /// Accuracy at relative minus at absolute balance, over seeds and samples; nil where both are one step.
  public let difference: Double?
  /// Its interval.
  public let differenceInterval: ConfidenceInterval?
  /// Accuracy and I of the reference over the same seeds, if it has them.
  public let reference: (label: String, accuracy: Double, imbalance: Double)?
  private let bootstrap: Bootstrap

  /// - Parameters:
  ///   - key: The setting that is the strength; nil for the only one that has several values.
  /// - Throws: `SweepError`.
  public init(_ runs: BenchRuns, label: String, key asked: String?, bootstrap: Bootstrap) throws {
    try runs.requireLabel(label)
    (self.runs, self.label, self.bootstrap) = (runs, label, bootstrap)
    let (key, points) = try Self.points(runs, label, asked)
    self.key = key
    let seeds = runs.seeds.filter { seed in points.allSatisfy { $0.point.results[seed] != nil } }
    guard !seeds.isEmpty else {
      throw SweepError.cannotTrace(
        path: runs.path, reason: "no seed has a complete run at every strength of \(label)",
        remedy: "go on with the sweep: the same command line with --resume")
    }
    self.seeds = seeds
    let estimates = BenchEstimates(bootstrap: bootstrap)
    func scores(_ point: BenchRuns.Point, _ metric: BenchMetric) -> [RunScores] {
      seeds.compactMap { point.results[$0].map(metric.scores) }
    }
    let accuracies = points.map { scores($0.point, .accuracy) }
    let imbalances = points.map { scores($0.point, .imbalance) }
    // Every draw of seeds and samples gives all accuracies, then all I.
    let draws = bootstrap.crossedReplicates(runCount: seeds.count, itemCount: runs.itemCount) {
      weights, items in
      (accuracies + imbalances).map { series in
        BenchEstimates.weighted(weights) { series[$0].value(weighting: items) }
      }
    }
    let count = points.count
    let most = Self.winners(draws.map { Array($0[..<count]) }, greatest: true)
    let least = Self.winners(draws.map { Array($0[count...]) }, greatest: false)
    func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(values.count) }
    let steps = points.indices.map { place -> Step in
      func interval(_ column: Int, _ estimate: Double) -> ConfidenceInterval? {
        bootstrap.crossedInterval(
          estimate: estimate, replicates: draws.map { $0[column] }, runCount: seeds.count,
          itemCount: runs.itemCount)
      }
      let accuracy = mean(accuracies[place].map(\.value))
      let imbalance = mean(imbalances[place].map(\.value))
      return Step(
        point: points[place].point, strength: points[place].strength, accuracy: accuracy,
        accuracyInterval: interval(place, accuracy), imbalance: imbalance,
        imbalanceInterval: interval(count + place, imbalance), relativeShare: most[place],
        absoluteShare: least[place],
        validationAccuracy: mean(seeds.compactMap { points[place].point.results[$0]?.validationAccuracy }))
    }
    self.steps = steps
    relative = Self.place(steps.map(\.accuracy), most, steps.map(\.strength), bootstrap.confidence)
    absolute = Self.place(steps.map { -$0.imbalance }, least, steps.map(\.strength), bootstrap.confidence)
    chosen = Self.first(steps.map(\.validationAccuracy))
    let change =
      relative.index == absolute.index
      ? nil
      : estimates.difference(
        accuracies[relative.index], from: accuracies[absolute.index], .accuracy, itemCount: runs.itemCount)
    (difference, differenceInterval) = (change?.value, change?.interval)
    let base = label == runs.reference ? nil : runs.chosen(runs.reference)
    let results = base.map { base in seeds.compactMap { base.results[$0] } } ?? []
    reference =
      results.count == seeds.count
      ? (runs.reference, mean(results.map(\.accuracy)), mean(results.map(\.imbalance))) : nil
  }

  /// The points of a method along one setting, by its value.
  private static func points(
    _ runs: BenchRuns, _ label: String, _ asked: String?
  ) throws -> (key: String, points: [(strength: Double, point: BenchRuns.Point)]) {
    func refuse(_ reason: String) -> SweepError {
      .cannotTrace(
        path: runs.path, reason: reason,
        remedy: "sweep one numeric option of the method, such as --set \(label).alpha=0.1,0.3,1")
    }
    let all = runs.points.filter { $0.label == label }
    var values: [(key: String, values: [JSONValue])] = []
    for setting in all.flatMap(\.settings) {
      if let place = values.firstIndex(where: { $0.key == setting.key }) {
        if !values[place].values.contains(setting.value) { values[place].values.append(setting.value) }
      } else {
        values.append((setting.key, [setting.value]))
      }
    }
    let varying = values.filter { $0.values.count > 1 }.map(\.key)
    guard let key = asked ?? (varying.count == 1 ? varying[0] : nil) else {
      throw refuse(
        varying.isEmpty
          ? "the runs of \(label) have one strength" : "\(label) varies in \(varying.joined(separator: ", "))"
      )
    }
    guard varying.contains(key) else { throw refuse("the runs of \(label) do not vary in \(key)") }
    // Other settings are those of the point that validation samples choose.
    let others = runs.chosen(label)?.settings.filter { $0.key != key } ?? []
    let kept = all.filter { point in point.settings.filter { $0.key != key } == others }
    let pairs = try kept.map { point -> (strength: Double, point: BenchRuns.Point) in
      let value = point.settings.first { $0.key == key }?.value
      guard let strength = value?.doubleValue else { throw refuse("\(key) is not a number in every run") }
      return (strength, point)
    }
    guard pairs.count > 1 else { throw refuse("the runs of \(label) have one strength") }
    return (key, pairs.sorted { $0.strength < $1.strength })
  }

  /// The share of draws in which each column comes first; equal ones share a draw.
  static func winners(_ draws: [[Double]], greatest: Bool) -> [Double] {
    var shares = [Double](repeating: 0, count: draws.first?.count ?? 0)
    for draw in draws {
      let best = greatest ? draw.max() : draw.min()
      let first = draw.indices.filter { draw[$0] == best }
      for place in first { shares[place] += 1 / Double(first.count * draws.count) }
    }
    return shares
  }

  /// The greatest value, the first of equal ones.
  static func first(_ values: [Double]) -> Int {
    values.indices.dropFirst().reduce(0) { values[$1] > values[$0] ? $1 : $0 }
  }

  /// The best place, and the range of the most frequent winners that together win in a share `confidence` of the draws.
  static func place(
    _ values: [Double], _ shares: [Double], _ strengths: [Double], _ confidence: Double
  ) -> Place {
    let best = first(values)
    var (members, sum) = ([best], shares[best])
    for place in shares.indices.sorted(by: { (shares[$1], $0) < (shares[$0], $1) })
    where sum < confidence && place != best {
      members.append(place)
      sum += shares[place]
    }
    let found = members.map { strengths[$0] }
    return Place(index: best, strengths: (found.min() ?? 0)...(found.max() ?? 0))
  }
}

extension BalanceTrace {
  /// For people.
  public var printed: PrintedTable {
    let level = PrintedTable.level(bootstrap.confidence)
    let rows = steps.enumerated().map { place, step -> [String] in
      var marks: [String] = []
      if place == relative.index { marks.append("relative") }
      if place == absolute.index { marks.append("absolute") }
      if place == chosen { marks.append("validation") }
      return [
        Self.number(step.strength), PrintedTable.percent(step.accuracy),
        PrintedTable.bounds(step.accuracyInterval), PrintedTable.percent(step.imbalance),
        PrintedTable.bounds(step.imbalanceInterval), PrintedTable.percent(step.relativeShare),
        PrintedTable.percent(step.absoluteShare), marks.joined(separator: ", "),
      ]
    }
    return PrintedTable(
      titles: [key, "accuracy", level, "I", level, "most accurate in", "least I in", ""], rows: rows,
      notes: notes)
  }

  private static func number(_ value: Double) -> String {
    value == value.rounded() && abs(value) < 1e15 ? "\(Int(value))" : "\(value)"
  }

  private static func range(_ place: Place) -> String {
    let (low, high) = (place.strengths.lowerBound, place.strengths.upperBound)
    return low == high ? number(low) : "\(number(low)) to \(number(high))"
  }

  private var notes: [String] {
    let level = PrintedTable.level(bootstrap.confidence)
    var notes = [
      "\(label) on \(runs.itemCount) test samples of \(runs.title), means over \(PrintedTable.seeds(seeds.count)), in percent; draws of "
        + "seeds and samples: \(bootstrap.replicates), seed \(bootstrap.seed)",
      "relative balance: \(key) \(Self.number(steps[relative.index].strength)), the most accurate; \(level) of the draws: "
        + Self.range(relative),
      "absolute balance: \(key) \(Self.number(steps[absolute.index].strength)), the smallest I; \(level) of the draws: "
        + Self.range(absolute),
    ]
    if let difference {
      let interval = differenceInterval.map { " (\(PrintedTable.bounds($0)))" } ?? ""
      notes.append(
        "accuracy at relative minus at absolute balance: \(PrintedTable.percent(difference))\(interval)")
    } else {
      notes.append("relative and absolute balance are at the same strength")
    }
    notes.append(
      "both are found on test samples and describe the curve; validation: the strength that validation samples choose"
    )
    if let reference {
      notes.append(
        "\(reference.label): accuracy \(PrintedTable.percent(reference.accuracy)), I "
          + PrintedTable.percent(reference.imbalance))
    }
    return notes
  }

  /// Everything.
  public var json: JSONValue {
    func place(_ place: Place) -> JSONValue {
      [
        "strength": .number(steps[place.index].strength),
        "strengths": [.number(place.strengths.lowerBound), .number(place.strengths.upperBound)],
      ]
    }
    let rows = steps.map { step -> JSONValue in
      [
        "strength": .number(step.strength), "accuracy": .number(step.accuracy),
        "accuracy_interval": BenchTable.bounds(step.accuracyInterval), "imbalance": .number(step.imbalance),
        "imbalance_interval": BenchTable.bounds(step.imbalanceInterval),
        "relative_share": .number(step.relativeShare), "absolute_share": .number(step.absoluteShare),
        "validation_accuracy": .number(step.validationAccuracy),
      ]
    }
    var stated = JSONValue.null
    if let reference {
      stated = [
        "label": .string(reference.label), "accuracy": .number(reference.accuracy),
        "imbalance": .number(reference.imbalance),
      ]
    }
    return [
      "data": .string(runs.title), "label": .string(label), "key": .string(key),
      "seeds": .array(seeds.map(JSONValue.integer)), "test_samples": .integer(runs.itemCount),
      "confidence": .number(bootstrap.confidence), "steps": .array(rows), "relative": place(relative),
      "absolute": place(absolute), "validation": .number(steps[chosen].strength),
      "difference": JSONValue(difference), "difference_interval": BenchTable.bounds(differenceInterval),
      "reference": stated, "notes": .array(notes.map(JSONValue.string)),
    ]
  }

  /// Accuracy against I along the strength, as an SVG file.
  public var svg: String { figure.file }

  private var figure: SVGFigure {
    func ends(_ interval: ConfidenceInterval?) -> [Double] {
      interval.map { [$0.lower, $0.upper] } ?? []
    }
    let x =
      steps.flatMap { [$0.imbalance] + ends($0.imbalanceInterval) } + (reference.map { [$0.imbalance] } ?? [])
    let y =
      steps.flatMap { [$0.accuracy] + ends($0.accuracyInterval) } + (reference.map { [$0.accuracy] } ?? [])
    let (left, right, low, high) = (x.min() ?? 0, x.max() ?? 1, y.min() ?? 0, y.max() ?? 1)
    var panel = SVGPanel(
      frame: (70, 34, 640, 400), x: left...max(right, left + 1e-6), y: low...max(high, low + 1e-6),
      ticks: (6, 6))
    let color = SVGPanel.colors[0]
    panel.addLine(steps.map { ($0.imbalance, $0.accuracy) }, color: color)
    for (place, step) in steps.enumerated() {
      var label = "\(key) \(Self.number(step.strength))"
      if place == relative.index { label += ", relative balance" }
      if place == absolute.index { label += ", absolute balance" }
      let isMarked = place == relative.index || place == absolute.index
      panel.addMark(
        x: step.imbalance, y: step.accuracy,
        xRange: step.imbalanceInterval.map { ($0.lower, $0.upper) },
        yRange: step.accuracyInterval.map { ($0.lower, $0.upper) }, radius: isMarked ? 6 : 4, color: color,
        label: label,
        title:
          "\(label): accuracy \(BenchReport.percent(step.accuracy)), I \(BenchReport.percent(step.imbalance))",
        isHollow: !isMarked)
    }
    if let reference {
      panel.addMark(
        x: reference.imbalance, y: reference.accuracy, color: SVGPanel.gray, label: reference.label,
        title: "\(reference.label): accuracy \(BenchReport.percent(reference.accuracy))")
    }
    let title = "\(label): accuracy against imbalance by \(key)"
    return SVGFigure(
      name: "balance-\(label)", label: title, caption: title, width: 740, height: 490,
      body: panel.markup(title: title, xTitle: "I", yTitle: "accuracy, percent", percent: true))
  }
}
