extension EvaluationSummary {
  /// The numbers for a terminal: what `eval` prints when it is done.
  public var terminalText: String {
    conditions.count == 1 ? singleText : conditionsText + "\n" + breakdownText
  }

  private var levelText: String { Text.percent(context.definition.interval.level, places: 0) }

  /// Overall and by tag, under the only condition.
  private var singleText: String {
    var table = TerminalTable(header: ["group", "n", "accuracy", "\(levelText) interval"])
    func append(_ name: String, _ accuracy: Evaluation.Accuracy) {
      table.append([
        name.printable, "\(accuracy.count)", Text.percent(accuracy.fraction), Self.interval(accuracy),
      ])
    }
    append("all", conditions[0].overall)
    for breakdown in conditions[0].breakdowns {
      for part in breakdown.parts { append("\(breakdown.key) \(part.value)", part.accuracy) }
    }
    return table.text
  }

  /// Each condition beside the first.
  private var conditionsText: String {
    let first = conditions[0].condition.name
    var table = TerminalTable(
      header: [
        "condition", "accuracy", "\(levelText) interval", "difference", "interval", "p (McNemar)", "Holm",
      ])
    if context.definition.interval.clusterKey != nil {
      table = TerminalTable(
        header: ["condition", "accuracy", "\(levelText) interval", "difference", "interval", "p (t)", "Holm"])
    }
    for (evaluation, difference) in zip(conditions, differences) {
      let cells = difference.map { difference in
        [
          Text.points(difference.estimate.mean),
          AttentionSummary.interval(difference.estimate, Text.points), Text.probability(difference.p),
          Text.probability(difference.corrected),
        ]
      }
      table.append(
        [
          evaluation.condition.name, Text.percent(evaluation.overall.fraction),
          Self.interval(evaluation.overall),
        ]
          + (cells ?? ["", "", "", ""]))
    }
    let count = Text.count(count, "question")
    return table.text
      + "\(count); difference: to \(first), the same questions, in percentage points\n"
  }

  /// Each tag under each condition.
  private var breakdownText: String {
    var table = TerminalTable(header: ["group", "n"] + conditions.map(\.condition.name))
    for (place, breakdown) in conditions[0].breakdowns.enumerated() {
      for (number, part) in breakdown.parts.enumerated() {
        table.append(
          ["\(breakdown.key) \(part.value)".printable, "\(part.accuracy.count)"]
            + conditions.map { Text.percent($0.breakdowns[place].parts[number].accuracy.fraction) })
      }
    }
    return table.text
  }

  private static func interval(_ accuracy: Evaluation.Accuracy) -> String {
    accuracy.interval.map { "\(Text.percent($0.lower)) to \(Text.percent($0.upper))" } ?? "–"
  }
}
