/// What a table or a plot is about.
public enum BenchMetric: String, CaseIterable, Sendable {
  /// The share of test samples that are right.
  case accuracy
  /// The mean F over classes on test samples.
  case macroF1 = "macro_f1"
  /// I, the mean over pairs of modalities of the difference of their Shapley values of accuracy.
  case imbalance
  /// The best accuracy on validation samples.
  case validationAccuracy = "validation_accuracy"

  /// In print.
  public var title: String {
    switch self {
    case .accuracy: "accuracy"
    case .macroF1: "macro F1"
    case .imbalance: "I"
    case .validationAccuracy: "validation accuracy"
    }
  }

  /// Whether a run's value can be told for other draws of test samples; else intervals are over seeds alone.
  var isOfSamples: Bool { self == .accuracy || self == .imbalance }

  /// Whether more is better.
  var isGreaterBetter: Bool { self != .imbalance }

  /// The value of a run as it is.
  func value(_ result: BenchResult) -> Double {
    switch self {
    case .accuracy: result.accuracy
    case .macroF1: result.macroF1
    case .imbalance: result.imbalance
    case .validationAccuracy: result.validationAccuracy
    }
  }

  /// What is needed of a run to tell its value for any draw of test samples.
  func scores(_ result: BenchResult) -> RunScores {
    switch self {
    case .accuracy: RunScores(bits: [result.correct], modalities: nil, value: value(result))
    case .imbalance:
      RunScores(bits: result.subsetCorrect, modalities: result.modalities.count, value: value(result))
    case .macroF1, .validationAccuracy: RunScores(bits: [], modalities: nil, value: value(result))
    }
  }
}

/// The value of a metric in one run, as a function of how often each test sample counts.
struct RunScores: Sendable {
  /// 1 where a sample is right, `[set][sample]`; none where samples are not told apart.
  private let bits: [[Double]]
  /// M, where the value is I.
  private let modalities: Int?
  /// With every sample counted once.
  let value: Double

  init(bits: [[Bool]], modalities: Int?, value: Double) {
    self.bits = bits.map { $0.map { $0 ? 1 : 0 } }
    (self.modalities, self.value) = (modalities, value)
  }

  /// 1 for every sample that is right, where the value is their share.
  var correct: [Double]? { modalities == nil ? bits.first : nil }

  func value(weighting weights: [Double]) -> Double {
    if bits.isEmpty { return value }
    let total = weights.reduce(0, +)
    let shares = bits.map { set -> Double in
      var sum = 0.0
      for index in set.indices { sum += weights[index] * set[index] }
      return sum / total
    }
    guard let modalities else { return shares[0] }
    return ShapleyContribution.imbalance(ShapleyContribution.values(shares, count: modalities))
  }
}
