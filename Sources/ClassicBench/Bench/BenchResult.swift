public import RunKit

/// What one run gave on the test split.
public struct BenchResult: Equatable, Sendable {
  static let fileName = "result.json"
  /// What the experiment calls the method.
  public let label: String
  /// The method.
  public let method: String
  /// The seed of the run.
  public let seed: Int
  /// Names of the modalities, in order.
  public let modalities: [String]
  /// Steps done, and the step whose weights were evaluated.
  public let steps: Int
  /// The step with the best validation accuracy.
  public let bestStep: Int
  /// The best accuracy on validation samples.
  public let validationAccuracy: Double
  /// Accuracy on test samples.
  public let accuracy: Double
  /// The mean F over classes on test samples.
  public let macroF1: Double
  /// Accuracy of each modality's own logits.
  public let unimodalAccuracies: [Double]
  /// φ of each modality, absent features set to 0.
  public let contributions: [Double]
  /// I.
  public let imbalance: Double
  /// v(S) for every set of modalities; bit m of the place says that modality m is in it.
  public let subsetAccuracies: [Double]
  /// `[true class][predicted class]`.
  public let confusion: [[Int]]
  /// Whether each test sample is right with a set of modalities, `[set][sample]`, in the order of `subsetAccuracies`.
  public let subsetCorrect: [[Bool]]
  /// Operations of the training; nil in results of versions that did not count them.
  public let operations: TrainingOperations?
  /// Accuracy while a modality is missing or corrupted; nil in results of versions that did not measure it.
  public let robustness: RobustnessScores?
  /// Whether each test sample is right with all modalities.
  public var correct: [Bool] { subsetCorrect.last ?? [] }

  init(
    label: String, method: String, seed: Int, modalities: [String], steps: Int, bestStep: Int,
    validationAccuracy: Double, operations: TrainingOperations,
    _ measured: (scores: Evaluation, robustness: RobustnessScores)
  ) {
    let evaluation = measured.scores
    (self.operations, robustness) = (operations, measured.robustness)
    (self.label, self.method, self.seed, self.modalities) = (label, method, seed, modalities)
    (self.steps, self.bestStep, self.validationAccuracy) = (steps, bestStep, validationAccuracy)
    accuracy = evaluation.scores.accuracy
    macroF1 = evaluation.scores.macroF1
    unimodalAccuracies = evaluation.unimodalAccuracies
    contributions = evaluation.contributions
    imbalance = evaluation.imbalance
    subsetAccuracies = evaluation.subsets.values
    confusion = evaluation.scores.confusion
    let bits = evaluation.subsets.correct
    subsetCorrect = evaluation.subsets.values.indices.map { set in bits.map { $0[set] } }
  }

  /// As it is written.
  var json: JSONValue {
    func numbers(_ values: [Double]) -> JSONValue { .array(values.map { JSONValue($0) }) }
    var all = JSONObject([
      ("label", .string(label)), ("method", .string(method)), ("seed", .integer(seed)),
      ("modalities", .array(modalities.map(JSONValue.string))), ("steps", .integer(steps)),
      ("best_step", .integer(bestStep)), ("validation_accuracy", JSONValue(validationAccuracy)),
      ("accuracy", JSONValue(accuracy)), ("macro_f1", JSONValue(macroF1)),
      ("unimodal_accuracy", numbers(unimodalAccuracies)), ("shapley", numbers(contributions)),
      ("imbalance", JSONValue(imbalance)), ("subset_accuracy", numbers(subsetAccuracies)),
      ("confusion", .array(confusion.map { .array($0.map(JSONValue.integer)) })),
      ("subset_correct", .array(subsetCorrect.map(Self.text))),
    ])
    if let operations { all["operations"] = operations.json }
    if let robustness { all["robustness"] = robustness.json }
    return .object(all)
  }

  /// A digit for each sample.
  private static func text(_ bits: [Bool]) -> JSONValue {
    let digits: [Character] = bits.map { $0 ? "1" : "0" }
    return .string(String(digits))
  }

  /// Reads what was written; nil for anything else.
  init?(_ value: JSONValue) {
    func numbers(_ key: String) -> [Double]? { value[key]?.arrayValue?.compactMap(\.doubleValue) }
    guard let label = value["label"]?.stringValue, let method = value["method"]?.stringValue,
      let seed = value["seed"]?.intValue, let steps = value["steps"]?.intValue,
      let bestStep = value["best_step"]?.intValue,
      let validation = value["validation_accuracy"]?.doubleValue,
      let accuracy = value["accuracy"]?.doubleValue, let macroF1 = value["macro_f1"]?.doubleValue,
      let unimodal = numbers("unimodal_accuracy"), let shapley = numbers("shapley"),
      let imbalance = value["imbalance"]?.doubleValue, let subsets = numbers("subset_accuracy"),
      let bits = value["subset_correct"]?.arrayValue?.compactMap(\.stringValue),
      let names = value["modalities"]?.arrayValue?.compactMap(\.stringValue),
      1...BenchExperiment.modalityLimit ~= names.count, unimodal.count == names.count,
      shapley.count == names.count, subsets.count == 1 << names.count, bits.count == subsets.count,
      Set(bits.map(\.utf8.count)).count == 1, !bits[0].isEmpty
    else { return nil }
    (self.label, self.method, self.seed, self.steps, self.bestStep) = (label, method, seed, steps, bestStep)
    modalities = names
    (validationAccuracy, self.accuracy, self.macroF1) = (validation, accuracy, macroF1)
    (unimodalAccuracies, contributions, self.imbalance) = (unimodal, shapley, imbalance)
    subsetAccuracies = subsets
    confusion = value["confusion"]?.arrayValue?.map { $0.arrayValue?.compactMap(\.intValue) ?? [] } ?? []
    operations = value["operations"].flatMap { TrainingOperations($0) }
    robustness = value["robustness"].flatMap { RobustnessScores($0) }
    subsetCorrect = bits.map { $0.utf8.map { $0 == UInt8(ascii: "1") } }
  }
}

/// Runs of several seeds of several methods side by side.
public struct BenchComparison {
  /// One method.
  public struct Row: Equatable, Sendable {
    /// What the experiment calls it.
    public let label: String
    /// How many seeds.
    public let seeds: Int
    /// Mean test accuracy and its standard deviation over seeds; nil for one seed.
    public let accuracy: Double
    /// The standard deviation over seeds, with n − 1; nil for one seed.
    public let deviation: Double?
    /// Mean of macro F over seeds.
    public let macroF1: Double
    /// Mean over seeds of each modality's own accuracy.
    public let unimodalAccuracies: [Double]
    /// Mean φ.
    public let contributions: [Double]
    /// Mean I.
    public let imbalance: Double
    /// Mean operations of a training; nil where they are not known.
    public let operations: Double?
    /// The difference of accuracy from the reference with its interval; nil for the reference itself.
    public let difference: ConfidenceInterval?
    /// For each seed the exact P of McNemar's test against the reference, adjusted over methods by Holm; nil for the
    /// reference. The largest over seeds.
    public let largestP: Double?
  }

  /// One for each method, in the order of the experiment.
  public let rows: [Row]
  /// Names of the modalities.
  public let modalities: [String]
  /// What rows are compared with.
  public let reference: String
  /// Work by row and by stage; nil where no run knows its operations.
  public let costs: OperationTable?
  /// Accuracy while a modality is missing or corrupted; nil where no run has it.
  public let robustness: PrintedTable?

  /// - Parameters:
  ///   - labels: In the order of rows.
  ///   - reference: One of them.
  public init(_ results: [BenchResult], labels: [String], reference: String) {
    self.reference = reference
    modalities = results.first?.modalities ?? []
    let base = results.filter { $0.label == reference }.sorted { $0.seed < $1.seed }
    let others = labels.filter { $0 != reference }
    let runs = labels.map { label in (label: label, results: results.filter { $0.label == label }) }
    costs = OperationTable(runs)
    robustness = RobustnessScores.table(runs)
    // One family of tests for each seed.
    var adjusted: [String: Double] = [:]
    for (index, run) in base.enumerated() {
      let found = others.map { label -> Double in
        let runs = results.filter { $0.label == label }.sorted { $0.seed < $1.seed }
        guard index < runs.count else { return 1 }
        let counts = SignificanceTests.disagreements(runs[index].correct, run.correct)
        return SignificanceTests.mcNemar(onlyFirst: counts.onlyFirst, onlySecond: counts.onlySecond)
      }
      for (label, p) in zip(others, SignificanceTests.holm(found)) {
        adjusted[label] = max(adjusted[label] ?? 0, p)
      }
    }
    rows = labels.map { label in
      let runs = results.filter { $0.label == label }.sorted { $0.seed < $1.seed }
      return Self.row(label, runs, base, isReference: label == reference, largestP: adjusted[label])
    }
  }

  private static func row(
    _ label: String, _ runs: [BenchResult], _ base: [BenchResult], isReference: Bool, largestP: Double?
  ) -> Row {
    func mean(_ values: [Double]) -> Double { values.reduce(0, +) / Double(max(1, values.count)) }
    func means(_ key: (BenchResult) -> [Double]) -> [Double] {
      let width = runs.first.map { key($0).count } ?? 0
      return (0..<width).map { place in mean(runs.map { key($0)[place] }) }
    }
    let accuracies = runs.map(\.accuracy)
    let center = mean(accuracies)
    let squares = accuracies.reduce(0.0) { $0 + ($1 - center) * ($1 - center) }
    let deviation = runs.count > 1 ? (squares / Double(runs.count - 1)).squareRoot() : nil
    let isComparable = !isReference && runs.count == base.count && !runs.isEmpty
    return Row(
      label: label, seeds: runs.count, accuracy: center, deviation: deviation,
      macroF1: mean(runs.map(\.macroF1)),
      unimodalAccuracies: means(\.unimodalAccuracies), contributions: means(\.contributions),
      imbalance: mean(runs.map(\.imbalance)), operations: OperationTable.mean(runs),
      difference: isComparable
        ? PairedBootstrap().interval(runs.map(\.correct), base.map(\.correct)) : nil,
      largestP: isReference ? nil : largestP)
  }

  /// All rows as a document.
  public var json: JSONValue {
    func numbers(_ values: [Double]) -> JSONValue { .array(values.map { JSONValue($0) }) }
    let members = rows.map { row -> JSONValue in
      [
        "label": .string(row.label), "seeds": .integer(row.seeds), "accuracy": JSONValue(row.accuracy),
        "accuracy_sd": JSONValue(row.deviation), "macro_f1": JSONValue(row.macroF1),
        "unimodal_accuracy": numbers(row.unimodalAccuracies), "shapley": numbers(row.contributions),
        "imbalance": JSONValue(row.imbalance), "operations": JSONValue(row.operations),
        "operations_ratio": JSONValue(costs?.ratio(row.label)),
        "difference": JSONValue(row.difference?.estimate),
        "difference_low": JSONValue(row.difference?.lower),
        "difference_high": JSONValue(row.difference?.upper),
        "largest_p": JSONValue(row.largestP),
      ]
    }
    return [
      "reference": .string(reference), "modalities": .array(modalities.map(JSONValue.string)),
      "methods": .array(members),
    ]
  }

  /// Titles and cells of a table; accuracies in percent.
  public var table: (titles: [String], rows: [[String]]) {
    func percent(_ value: Double?) -> String { value.map { Decimals.text(100 * $0, places: 1) } ?? "" }
    let titles =
      ["method", "seeds", "accuracy", "sd", "macro F1"] + modalities.map { "alone " + $0 }
      + modalities.map { "phi " + $0 } + ["I", "vs " + reference, "95 % low", "high", "p (max)"]
      + OperationTable.titles
    let cells = rows.map { row in
      [row.label, "\(row.seeds)", percent(row.accuracy), percent(row.deviation), percent(row.macroF1)]
        + row.unimodalAccuracies.map(percent) + row.contributions.map(percent)
        + [
          percent(row.imbalance), percent(row.difference?.estimate), percent(row.difference?.lower),
          percent(row.difference?.upper), row.largestP.map { Decimals.text($0, places: 3) } ?? "",
        ] + OperationTable.cells(row.operations, ratio: costs?.ratio(row.label), nothing: "")
    }
    return (titles, cells)
  }

  /// The table as comma-separated values.
  public var csv: String {
    let table = table
    var writer = CSVWriter(columns: table.titles)
    for row in table.rows { writer.append(row.map(CSVWriter.Field.text)) }
    return writer.text
  }
}
