import RunKit

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
