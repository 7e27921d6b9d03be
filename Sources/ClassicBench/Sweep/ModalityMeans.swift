/// What each modality is worth to a method, means over seeds.
public struct ModalityMeans: Equatable, Sendable {
  /// The mean F over classes with all modalities.
  public let macroF1: Double
  /// The accuracy of each modality's own logits.
  public let alone: [Double]
  /// φ, the Shapley value of each modality; the feature of an absent one is 0.
  public let contributions: [Double]

  /// - Parameter results: One for each seed, of the same modalities; nil for none.
  init?(_ results: [BenchResult]) {
    guard let first = results.first else { return nil }
    func mean(_ value: (BenchResult) -> Double) -> Double {
      results.reduce(0) { $0 + value($1) } / Double(results.count)
    }
    macroF1 = mean(\.macroF1)
    alone = first.modalities.indices.map { place in mean { $0.unimodalAccuracies[place] } }
    contributions = first.modalities.indices.map { place in mean { $0.contributions[place] } }
  }
}

extension BenchTable {
  /// A row for each method: each modality alone and its contribution.
  public var printedModalities: PrintedTable {
    let names = runs.modalities
    let cells = rows.map { row -> [String] in
      let alone = names.indices.map { PrintedTable.percent(row.modalities?.alone[$0]) }
      let contributions = names.indices.map { PrintedTable.percent(row.modalities?.contributions[$0]) }
      return [row.point.title, PrintedTable.percent(row.modalities?.macroF1)] + alone + contributions
        + [PrintedTable.percent(row.imbalance)]
    }
    return PrintedTable(
      titles: ["method", "macro F1"] + names.map { "alone " + $0 } + names.map { "φ " + $0 } + ["I"],
      rows: cells,
      notes: [
        "mean over seeds in percent; alone: accuracy of a modality's own logits; φ: Shapley value of the accuracy, absent "
          + "features set to 0; I: mean difference of φ over pairs of modalities"
      ])
  }
}
