public import RunKit

/// Methods over several data sets: the mean of each, mean ranks, and whether a method differs from the reference in the
/// same direction on all of them.
///
/// Source: Demšar, "Statistical Comparisons of Classifiers over Multiple Data Sets", JMLR 7, 2006.
public struct DataSetTable: Sendable {
  /// One method.
  public struct Row: Equatable, Sendable {
    /// What the experiments call it.
    public let label: String
    /// The mean over seeds of each data set; nil where there is no run.
    public let means: [Double?]
    /// The mean rank over data sets that have every method; nil if there are none.
    public let rank: Double?
    /// The mean difference from the reference over data sets that have both; nil for the reference.
    public let difference: Double?
    /// The exact P of the signed-rank test over data sets.
    public let p: Double?
    /// The same corrected by Holm over methods.
    public let corrected: Double?
  }

  /// The table of each data set.
  public let tables: [BenchTable]
  /// Every method of any data set, in the order of their first.
  public let rows: [Row]

  /// - Parameter tables: At least one, of the same metric and reference, with one row for each label.
  /// - Throws: `SweepError.sameData`.
  public init(_ tables: [BenchTable]) throws {
    for (place, table) in tables.enumerated() {
      if let other = tables[..<place].first(where: { $0.runs.identity == table.runs.identity }) {
        throw SweepError.sameData(path: table.runs.path, other: other.runs.path)
      }
    }
    self.tables = tables
    var labels: [String] = []
    for table in tables {
      for row in table.rows where !labels.contains(row.point.label) { labels.append(row.point.label) }
    }
    let means = labels.map { label in
      tables.map { table in table.rows.first { $0.point.label == label }?.mean }
    }
    let differences = labels.map { label in
      tables.map { table in table.rows.first { $0.point.label == label }?.difference }
    }
    let ranks = Self.ranks(means, greaterIsBetter: tables.first?.metric.isGreaterBetter ?? true)
    let tests = differences.map { Self.test($0.compactMap(\.self)) }
    let corrected = PairedTests.holm(tests)
    rows = labels.indices.map { place in
      let known = differences[place].compactMap(\.self)
      return Row(
        label: labels[place], means: means[place], rank: ranks[place],
        difference: known.isEmpty ? nil : known.reduce(0, +) / Double(known.count), p: tests[place],
        corrected: corrected[place])
    }
  }

  /// The exact signed-rank test; nil for fewer than two data sets.
  static func test(_ differences: [Double]) -> Double? {
    differences.count > 1 ? SignificanceTests.signedRank(differences).exact : nil
  }

  /// Mean ranks of `[method][data set]` over data sets that every method has.
  static func ranks(_ means: [[Double?]], greaterIsBetter: Bool) -> [Double?] {
    let count = means.first?.count ?? 0
    let complete = (0..<count).filter { data in means.allSatisfy { $0[data] != nil } }
    guard !complete.isEmpty else { return means.map { _ in nil } }
    var sums = [Double](repeating: 0, count: means.count)
    for data in complete {
      let ranks = BenchEstimates.ranks(means.compactMap { $0[data] }, greaterIsBetter: greaterIsBetter)
      for place in ranks.indices { sums[place] += ranks[place] }
    }
    return sums.map { $0 / Double(complete.count) }
  }

  /// Names of the data, or of the folders where two data sets have the same name.
  private var names: [String] {
    let titles = tables.map(\.runs.title)
    return Set(titles).count == titles.count ? titles : tables.map(\.runs.folderName)
  }

  private var reference: String { tables.first?.reference ?? "" }

  /// For people.
  public var printed: PrintedTable {
    let cells = rows.map { row -> [String] in
      let values: [String] = [row.label] + row.means.map(PrintedTable.percent)
      return values + [
        row.rank.map { Decimals.text($0, places: 1) } ?? PrintedTable.nothing,
        PrintedTable.percent(row.difference),
        PrintedTable.probability(row.p), PrintedTable.probability(row.corrected),
      ]
    }
    return PrintedTable(
      titles: ["method"] + names + ["rank", "vs \(reference)", "p", "p Holm"], rows: cells, notes: notes)
  }

  private var notes: [String] {
    // With n differences of one sign the exact P is 2 / 2ⁿ.
    let least = 2 / Double(1 << min(60, tables.count))
    return [
      "mean \(tables.first?.metric.title ?? "") over seeds in percent; rank: mean over data sets that have every method",
      "p: exact signed-rank test of Wilcoxon over \(tables.count) data sets, at least "
        + Decimals.text(least, places: 4) + " with so many; p Holm: corrected over methods",
    ]
  }

  /// Everything, the table of each data set included.
  public var json: JSONValue {
    [
      "metric": .string(tables.first?.metric.rawValue ?? ""), "reference": .string(reference),
      "data": .array(names.map(JSONValue.string)),
      "rows": .array(
        rows.map { row in
          [
            "label": .string(row.label), "means": .array(row.means.map { JSONValue($0) }),
            "rank": JSONValue(row.rank), "difference": JSONValue(row.difference), "p": JSONValue(row.p),
            "p_holm": JSONValue(row.corrected),
          ]
        }), "tables": .array(tables.map(\.json)),
    ]
  }

  /// A line for each method and data set under one header.
  public var csv: String {
    tables.enumerated().map { place, table in place > 0 ? Self.withoutHeader(table.csv) : table.csv }.joined()
  }

  /// A table of comma-separated values without its first line, whose names hold no line end.
  private static func withoutHeader(_ csv: String) -> String {
    guard let end = csv.utf8.firstIndex(of: 0x0A) else { return csv }
    return String(decoding: csv.utf8[csv.utf8.index(after: end)...], as: UTF8.self)
  }
}
