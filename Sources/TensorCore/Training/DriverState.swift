/// What the step driver remembers from step to step beside tensors.
struct DriverState {
  /// Steps done.
  private(set) var step = 0
  /// Bytes of the log when the state was saved.
  var logSize = 0
  /// Bytes of the event file when the state was saved.
  var eventsSize = 0
  /// Evaluations since the best one.
  private(set) var evaluationsSinceBest = 0
  /// The step with the best evaluation and its figure.
  private(set) var best: (step: Int, value: Double)?
  // Since the last line of the log.
  private var lossSum = 0.0
  private var lossWeight = 0.0
  private var gradientNormSum = 0.0
  private var stepsSinceLog = 0

  init() {}

  mutating func didStep(lossSum sum: Double, lossWeight weight: Double, gradientNorm: Double) {
    step += 1
    stepsSinceLog += 1
    lossSum += sum
    lossWeight += weight
    gradientNormSum += gradientNorm
  }

  /// The mean loss and gradient norm since the last line, which is forgotten.
  mutating func takeMeans() -> [(tag: String, value: Double)] {
    defer { (lossSum, lossWeight, gradientNormSum, stepsSinceLog) = (0, 0, 0, 0) }
    return [
      ("loss", lossSum / max(lossWeight, .leastNormalMagnitude)),
      ("gradient_norm", gradientNormSum / Double(max(1, stepsSinceLog))),
    ]
  }

  /// Notes an evaluation after the latest step; whether it is better than all before.
  mutating func didEvaluate(_ metric: TrainingMetric) -> Bool {
    let isBetter =
      best.map { metric.isBetterWhenLarger ? metric.value > $0.value : metric.value < $0.value } ?? true
    if isBetter { best = (step, metric.value) }
    evaluationsSinceBest = isBetter ? 0 : evaluationsSinceBest + 1
    return isBetter
  }

  private static let countsName = "driver.counts"
  private static let numbersName = "driver.numbers"

  /// The state for a file.
  func stored() throws -> [StoredTensor] {
    let counts = [
      step, logSize, eventsSize, evaluationsSinceBest, best?.step ?? 0, stepsSinceLog,
    ]
    let numbers = [best?.value ?? 0, lossSum, lossWeight, gradientNormSum]
    return [
      try StoredTensor(name: Self.countsName, shape: [counts.count], integers: counts),
      try StoredTensor(name: Self.numbersName, shape: [numbers.count], doubles: numbers),
    ]
  }

  /// Reads a state back.
  ///
  /// - Throws: `SafetensorsError.missingTensor`, `TrainingStateError`.
  init(_ file: SafetensorsFile, stepLimit: Int) throws {
    let counts = try file.integers(Self.countsName, count: 6)
    let numbers = try file.doubles(Self.numbersName, count: 4)
    guard counts.allSatisfy({ $0 >= 0 }), counts[0] <= stepLimit, counts[4] <= counts[0] else {
      throw TrainingStateError.impossibleValue(
        path: file.path, tensor: Self.countsName, reason: "found \(counts), with \(stepLimit) steps in all")
    }
    (step, logSize, eventsSize, evaluationsSinceBest) = (counts[0], counts[1], counts[2], counts[3])
    best = counts[4] > 0 ? (counts[4], numbers[0]) : nil
    (lossSum, lossWeight, gradientNormSum) = (numbers[1], numbers[2], numbers[3])
    stepsSinceLog = counts[5]
  }
}
