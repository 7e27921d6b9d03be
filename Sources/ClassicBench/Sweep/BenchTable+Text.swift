public import RunKit

extension BenchTable {
  /// For people: shares in percent, differences in percentage points.
  public var printed: PrintedTable {
    let level = PrintedTable.level(bootstrap.confidence)
    let showsImbalance = metric != .imbalance
    let showsWithin = rows.contains { $0.withinSeeds != nil }
    var titles = ["method", "seeds", metric.title, level]
    if showsImbalance { titles.append("I") }
    titles += ["rank", "vs \(reference)", level, "p", "p Holm"]
    if showsWithin { titles.append("better/worse") }
    titles.append("detectable")
    if costs != nil { titles += OperationTable.titles }
    let cells = rows.map { row -> [String] in
      var cells = [
        row.point.title + (row.point.isReconstruction ? " *" : ""), "\(row.point.results.count)",
        PrintedTable.percent(row.mean), PrintedTable.bounds(row.interval),
      ]
      if showsImbalance { cells.append(PrintedTable.percent(row.imbalance)) }
      cells += [
        row.rank.map { Decimals.text($0, places: 1) } ?? PrintedTable.nothing, Self.signed(row.difference),
        PrintedTable.bounds(row.differenceInterval), PrintedTable.probability(row.p),
        PrintedTable.probability(row.corrected),
      ]
      if showsWithin {
        cells.append(row.withinSeeds.map { "\($0.better)/\($0.worse)" } ?? PrintedTable.nothing)
      }
      cells.append(PrintedTable.percent(row.detectable))
      guard let costs else { return cells }
      return cells
        + OperationTable.cells(row.operations, ratio: costs.ratio(row.point.title))
    }
    return PrintedTable(titles: titles, rows: cells, notes: notes)
  }

  /// All tables: methods, modalities, and work by stage where it is known.
  public var allPrinted: [PrintedTable] {
    [printed, printedModalities] + [costs?.printed].compactMap(\.self)
  }

  private static func signed(_ value: Double?) -> String {
    guard let value else { return PrintedTable.nothing }
    let text = Decimals.text(100 * value, places: 1)
    return value > 0 && text.contains { ("1"..."9").contains($0) } ? "+" + text : text
  }

  /// What has to be said of the numbers.
  public var notes: [String] {
    let seeds = Set(rows.flatMap { $0.point.seeds }).count
    var notes = [
      "\(metric.title) on \(runs.itemCount) test samples of \(runs.title), mean over seeds, in percent; rank 1 is the best of a seed"
    ]
    if metric == .validationAccuracy {
      notes[0] =
        "best accuracy on validation samples, mean over seeds, in percent; rank 1 is the best of a seed"
    }
    let draws = "\(bootstrap.replicates) draws, seed \(bootstrap.seed)"
    if !metric.isOfSamples {
      notes.append("intervals: Student's t over \(PrintedTable.seeds(seeds)); p: paired t test over seeds")
    } else if seeds > 1 {
      notes.append(
        "intervals: paired bootstrap over \(seeds) seeds and \(runs.itemCount) samples (\(draws)); p: "
          + (metric == .accuracy
            ? "t with the standard error over seeds and samples" : "paired t test over seeds"))
    } else {
      notes.append(
        "one seed: intervals are over samples alone (\(draws)) and say nothing of other seeds; p: "
          + (metric == .accuracy ? "McNemar's exact test" : "none"))
    }
    let count = rows.count { $0.p != nil }
    notes.append(
      "p Holm: corrected for \(count) \(count == 1 ? "method" : "methods") against \(reference); detectable: the smallest true "
        + "difference that one test would find with a chance of 80 %")
    if rows.contains(where: { $0.withinSeeds != nil }) {
      notes.append(
        "better/worse: seeds in which McNemar's exact test finds the method better or worse than \(reference) at "
          + Decimals.text(1 - bootstrap.confidence, places: 2) + ", corrected by Holm over methods")
    }
    if costs != nil { notes.append(OperationTable.note) }
    return notes + choiceNotes + missingNotes
  }

  private var choiceNotes: [String] {
    var notes: [String] = []
    let chosen = rows.filter { $0.candidates > 1 && !$0.point.settings.isEmpty }
    if !showsAll && !chosen.isEmpty {
      let counts = chosen.map { "\($0.point.label) of \($0.candidates)" }
      notes.append(
        "settings chosen by mean accuracy on validation samples: " + counts.joined(separator: ", "))
    }
    if rows.contains(where: \.point.isReconstruction) {
      notes.append("*: a reconstruction, the paper's own formula was not recovered")
    }
    return notes
  }

  private var missingNotes: [String] {
    rows.flatMap { row in
      row.point.absent.map { "missing: \(row.point.title), seed \($0.seed): \($0.reason)" }
    }
  }

  // MARK: For programs

  /// A line for each row: shares as fractions, an unknown number is an empty field.
  public var csv: String {
    var writer = CSVWriter(columns: [
      "data", "method", "label", "settings", "reconstruction", "seeds", "missing", "metric", "mean", "low",
      "high",
      "sd", "imbalance", "rank", "reference", "difference", "difference_low", "difference_high", "p",
      "p_holm",
      "seeds_better", "seeds_worse", "detectable", "operations", "operations_ratio", "macro_f1",
      "modalities", "unimodal_accuracy", "shapley",
    ])
    for row in rows {
      let settings = row.point.settings.map(\.text).joined(separator: " ")
      writer.append([
        .text(runs.title), .text(row.point.method), .text(row.point.label), .text(settings),
        .text(row.point.isReconstruction ? "true" : "false"), .integer(row.point.results.count),
        .integer(row.point.absent.count), .text(metric.rawValue), .number(row.mean),
        .number(row.interval?.lower), .number(row.interval?.upper), .number(row.deviation),
        .number(row.imbalance), .number(row.rank), .text(reference), .number(row.difference),
        .number(row.differenceInterval?.lower), .number(row.differenceInterval?.upper), .number(row.p),
        .number(row.corrected), row.withinSeeds.map { .integer($0.better) } ?? .empty,
        row.withinSeeds.map { .integer($0.worse) } ?? .empty, .number(row.detectable),
        .number(row.operations), .number(costs?.ratio(row.point.title)), .number(row.modalities?.macroF1),
        .text(runs.modalities.joined(separator: ";")), Self.list(row.modalities?.alone),
        Self.list(row.modalities?.contributions),
      ])
    }
    return writer.text
  }

  /// A number for each modality, with semicolons between.
  private static func list(_ values: [Double]?) -> CSVWriter.Field {
    values.map { .text($0.map { JSONValue($0).text() }.joined(separator: ";")) } ?? .empty
  }

  /// Everything and where it was read, with `null` for what is missing.
  public var json: JSONValue {
    var all = JSONObject([("folder", .string(runs.path))])
    for member in contents.members { all[member.key] = member.value }
    return .object(all)
  }

  /// Everything but the folder: the same bytes wherever it is.
  public var contents: JSONObject {
    JSONObject([
      ("data", .string(runs.title)), ("metric", .string(metric.rawValue)),
      ("reference", .string(reference)), ("modalities", .array(runs.modalities.map(JSONValue.string))),
      ("seeds", .array(runs.seeds.map(JSONValue.integer))), ("test_samples", .integer(runs.itemCount)),
      ("confidence", .number(bootstrap.confidence)), ("replicates", .integer(bootstrap.replicates)),
      ("rows", .array(rows.map(json))), ("operations_by_stage", costs?.json ?? .null),
      ("notes", .array(notes.map(JSONValue.string))),
    ])
  }

  private func json(_ row: Row) -> JSONValue {
    let point = row.point
    let values = runs.seeds.map { seed -> JSONValue in JSONValue(point.results[seed].map(metric.value)) }
    let absent = point.absent.map { item -> JSONValue in
      ["seed": .integer(item.seed), "reason": .string(item.reason)]
    }
    return [
      "label": .string(point.label), "method": .string(point.method),
      "settings": .object(JSONObject(point.settings.map { ($0.key, $0.value) })),
      "candidates": .integer(row.candidates), "reconstruction": .bool(point.isReconstruction),
      "values": .array(values), "mean": JSONValue(row.mean), "interval": Self.bounds(row.interval),
      "sd": JSONValue(row.deviation), "rank": JSONValue(row.rank),
      "macro_f1": JSONValue(row.modalities?.macroF1), "imbalance": JSONValue(row.imbalance),
      "unimodal_accuracy": Self.numbers(row.modalities?.alone),
      "shapley": Self.numbers(row.modalities?.contributions),
      "validation_accuracy": JSONValue(point.validationAccuracy),
      "difference": JSONValue(row.difference), "difference_interval": Self.bounds(row.differenceInterval),
      "p": JSONValue(row.p), "p_holm": JSONValue(row.corrected),
      "mcnemar_p_holm": row.withinSeeds.map { .array($0.corrected.map { JSONValue($0) }) } ?? .null,
      "seeds_better": row.withinSeeds.map { .integer($0.better) } ?? .null,
      "seeds_worse": row.withinSeeds.map { .integer($0.worse) } ?? .null,
      "detectable": JSONValue(row.detectable), "operations": JSONValue(row.operations),
      "operations_ratio": JSONValue(costs?.ratio(point.title)), "missing": .array(absent),
    ]
  }

  private static func numbers(_ values: [Double]?) -> JSONValue {
    values.map { .array($0.map { JSONValue($0) }) } ?? .null
  }

  /// `[low, high]`, or null.
  static func bounds(_ interval: ConfidenceInterval?) -> JSONValue {
    interval.map { [.number($0.lower), .number($0.upper)] } ?? .null
  }
}
