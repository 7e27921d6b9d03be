public import RunKit

extension Comparison {
  /// The name and version of the form of `json`.
  public static let schema = "mmprobe.compare/v1"

  /// Everything as one document.
  ///
  /// - Parameters:
  ///   - tool: The program that compared.
  ///   - checks: Expressions and what became of them.
  public func json(
    tool: AttentionContext.Tool,
    checks: [(expression: ComparisonExpression, outcome: ComparisonExpression.Outcome)]
  ) -> JSONValue {
    [
      "schema": .string(Self.schema), "kind": .string(kind), "tool": tool.json,
      "runs": .array(sides.map(\.json)),
      "pairs": [
        "runs": .integer(runCount), "n": .integer(pairCount), "pairing": .string(pairing.rawValue),
        "only_first": .integer(unpaired[0]),
        "only_second": .integer(unpaired[1]), "changed": .integer(changedCount),
      ],
      "settings": .array(
        settings.map { setting in
          [
            "key": .string(setting.key), "first": setting.first.map { .string($0) } ?? .null,
            "second": setting.second.map { .string($0) } ?? .null,
          ]
        }),
      "ci": [
        "method": .string(interval.method.rawValue), "level": .number(interval.level),
        "replicates": .integer(interval.replicates),
        "cluster_key": interval.clusterKey.map { .string($0) } ?? .null, "seed": .integer(interval.seed),
      ], "comparisons": .array(rows.map(json)),
      "checks": .array(
        checks.map { check in
          [
            "expression": .string(check.expression.text), "holds": .bool(check.outcome.holds),
            "values": .object(
              JSONObject(check.outcome.values.map { ($0.name, JSONValue($0.value)) })),
          ]
        }),
    ]
  }

  private func json(_ row: Row) -> JSONValue {
    var object = JSONObject([
      ("name", .string(row.name)), ("family", .string(row.family)), ("unit", .string(row.unit.rawValue)),
      ("group", row.group.map { .string($0) } ?? .null), ("layer", row.layer.map { .integer($0) } ?? .null),
    ])
    for (key, value) in row.difference.json.members { object[key] = value }
    object["significant"] = .bool(isSignificant(row))
    return .object(object)
  }
}

extension Comparison.Side {
  var json: JSONValue {
    var object = JSONObject([
      ("path", .string(path)), ("model", model.json), ("data", data.json), ("n", .integer(count)),
      ("complete", .bool(isComplete)),
    ])
    if !members.isEmpty {
      object["members"] = .array(
        members.map { ["key": .string($0.stars), "path": .string($0.path)] })
      object["unpaired_members"] = .array(unpairedMembers.map { .string($0) })
    }
    return .object(object)
  }

  /// Whether every sample of the run has numbers.
  public var isComplete: Bool { count == expectedCount }
}

// For people.
extension Comparison {
  /// What `compare` prints: the runs, what differs between them, and a table for each family.
  public var terminalText: String {
    var text = headingText + "\n" + basisText + "\n"
    for family in families {
      let members = rows.filter { $0.family == family }
      switch family {
      case "share by layer": text += "\n" + matrixText(members)
      case "entropy by layer": break
      case "cell":
        text += "\n\(Text.count(members.count, "number")) behind the contributions: --json lists them\n"
      default: text += "\n" + tableText(family, members)
      }
    }
    return text
  }

  /// The runs and the settings that differ.
  private var headingText: String {
    var text = ""
    for (letter, side) in zip(["A", "B"], sides) {
      let adapters = side.model.adapters.map { "\($0.name) (\($0.type))" }.joined(separator: ", ")
      text += "\(letter)  \(side.path.printable)  \(side.model.name.printable)"
      if !adapters.isEmpty { text += "  adapter \(adapters.printable)" }
      text += "  \(side.data.name.printable), \(Text.count(side.count, "sample"))"
      if !side.isComplete { text += " of \(side.expectedCount)" }
      text += "\n"
      if !side.members.isEmpty {
        text += "   \(Text.count(side.members.count, "run")): "
        text += side.members.map(\.stars).joined(separator: ", ").printable
        if !side.unpairedMembers.isEmpty {
          text += "; without a partner: " + side.unpairedMembers.joined(separator: ", ").printable
        }
        text += "\n"
      }
    }
    text += "\(pairsText)\n"
    if settings.isEmpty { return text + "settings: identical\n" }
    text += "settings that differ:\n"
    let shownCount = 12
    for setting in settings.prefix(shownCount) {
      text +=
        "  \(setting.key.printable)  \(Self.shortened(setting.first))  \(Self.shortened(setting.second))\n"
    }
    if settings.count > shownCount {
      text += "  and \(settings.count - shownCount) more: --json lists them\n"
    }
    return text
  }

  /// How many samples were paired, and which were not.
  var pairsText: String {
    let changed =
      pairing == .id
      ? "with other text, media or answer" : "of the same name, but with other text, media or answer"
    let place = runCount == 1 ? "in both" : "in all runs"
    return Text.count(pairCount, "sample") + " \(place), \(unpaired[0]) only in A, \(unpaired[1]) only in B"
      + (changedCount > 0 ? " (\(changedCount) \(changed))" : "")
  }

  /// The level of a test, such as 0.05.
  var alphaText: String { "\(((1 - interval.level) * 1e6).rounded() / 1e6)" }

  /// A value of a setting, hashes cut to what tells them apart.
  static func shortened(_ value: String?) -> String {
    guard let value else { return "–" }
    if value.count == 64, value.allSatisfy(\.isHexDigit) { return value.prefix(12) + "…" }
    return (value.count > 60 ? value.prefix(59) + "…" : value).printable
  }

  /// How intervals and p values were made.
  var basisText: String {
    let level = Text.percent(
      interval.level, places: interval.level * 100 == (interval.level * 100).rounded() ? 0 : 1)
    let items = interval.clusterKey.map { " in \(Text.count(clusterCount ?? 0, "\($0) item"))" } ?? ""
    if runCount > 1 {
      let fewer = min(runCount, clusterCount ?? pairCount) - 1
      let method =
        interval.method == .t
        ? "Student's t"
        : "bootstrap of pairs of runs and of samples, \(interval.replicates) resamples, seed \(interval.seed), expanded percentiles"
      return
        "intervals: \(level), \(method), over \(runCount) pairs of runs and \(Text.count(pairCount, "sample"))\(items)\n"
        + "p: t test over runs and samples with \(fewer) degrees of freedom; Holm: corrected for all tests of the table; "
        + "* where that is below \(alphaText)\n"
        + "detectable: the smallest true difference that a single test finds with a chance of 80 %"
    }
    let method =
      interval.method == .t
      ? "Student's t" : "percentile bootstrap, \(interval.replicates) resamples, seed \(interval.seed)"
    let exact = kind == EvaluationContext.kind && interval.clusterKey == nil
    let test = exact ? "McNemar's exact test" : "paired t test" + (items.isEmpty ? "" : " over clusters")
    return "intervals: \(level), \(method), over \(Text.count(pairCount, "pair"))\(items)\n"
      + "p: \(test); Holm: corrected for all tests of the table; * where that is below \(alphaText)"
  }

  private func tableText(_ family: String, _ members: [Row]) -> String {
    let counts = members.contains { $0.difference.discordant != nil }
    let isCrossed = members.contains { $0.difference.crossed != nil }
    var table = TerminalTable(
      header: [family, "n", "A", "B", "difference", "interval"] + (counts ? ["only A", "only B"] : [])
        + (isCrossed ? ["detectable"] : []) + ["p", "Holm", ""])
    for row in members {
      let (difference, isShare) = (row.difference, row.unit == .share)
      let level: (Double?) -> String = { isShare ? Text.percent($0) : Text.short($0) }
      let change: (Double?) -> String = { isShare ? Text.points($0) : Text.signed($0) { Text.short($0) } }
      let discordant = difference.discordant.map { ["\($0.before)", "\($0.after)"] } ?? ["", ""]
      table.append(
        [
          Self.label(row).printable, "\(difference.estimate.count)", level(difference.before),
          level(difference.after), change(difference.estimate.mean),
          AttentionSummary.interval(difference.estimate, change),
        ] + (counts ? discordant : [])
          + (isCrossed ? [change(difference.crossed?.detectable).replacing("+", with: "")] : [])
          + [
            Text.probability(difference.p), Text.probability(difference.corrected),
            isSignificant(row) ? "*" : "",
          ])
    }
    return table.text
  }

  /// What a row is called in the table of its family.
  static func label(_ row: Row) -> String {
    switch row.family {
    case "share", "contribution", "effect": row.group ?? row.name
    case "accuracy": row.path[0]
    case "accuracy by tag": "\(row.path[0]): \(row.group ?? row.name)"
    default: row.path.joined(separator: " ")
    }
  }

  /// Differences of shares by layer and group in percentage points, with those of the entropy.
  private func matrixText(_ members: [Row]) -> String {
    let groups = members.reduce(into: [String]()) { list, row in
      if let group = row.group, !list.contains(group) { list.append(group) }
    }
    let layers = Set(members.compactMap(\.layer)).sorted()
    let entropies = rows.filter { $0.family == "entropy by layer" }
    var table = TerminalTable(header: ["layer"] + groups + (entropies.isEmpty ? [] : ["entropy"]))
    for layer in layers {
      let cells = groups.map { group -> String in
        guard let row = members.first(where: { $0.layer == layer && $0.group == group }) else { return "–" }
        return Text.points(row.difference.estimate.mean) + (isSignificant(row) ? "*" : " ")
      }
      let entropy = entropies.first { $0.layer == layer }.map { row in
        Text.signed(row.difference.estimate.mean) { Text.fixed($0, 2) } + (isSignificant(row) ? "*" : " ")
      }
      table.append(["\(layer)"] + cells + (entropy.map { [$0] } ?? []))
    }
    return "difference of shares by layer, percentage points; of the entropy, nats\n" + table.text
      + "\(Text.count(members.count, "share")) and \(Text.count(entropies.count, "entropy number")) are corrected apart\n"
  }
}

// For other programs.
extension Comparison {
  /// Every quantity as a line of CSV (RFC 4180): shares are fractions, an unknown number is an empty field.
  public var csv: String {
    var table = CSVWriter(columns: [
      "name", "family", "group", "layer", "n", "before", "before_low", "before_high", "after", "after_low",
      "after_high", "diff", "low", "high", "p", "p_holm", "se", "detectable",
    ])
    for row in rows {
      let difference = row.difference
      let (estimate, crossed) = (difference.estimate, difference.crossed)
      table.append([
        .text(row.name), .text(row.family), row.group.map { .text($0) } ?? .empty,
        row.layer.map { .integer($0) } ?? .empty, .integer(estimate.count), .number(difference.before),
        .number(crossed?.before?.lower), .number(crossed?.before?.upper), .number(difference.after),
        .number(crossed?.after?.lower), .number(crossed?.after?.upper), .number(estimate.mean),
        .number(estimate.low), .number(estimate.high), .number(difference.p), .number(difference.corrected),
        .number(crossed?.standardError), .number(crossed?.detectable),
      ])
    }
    return table.text
  }
}
