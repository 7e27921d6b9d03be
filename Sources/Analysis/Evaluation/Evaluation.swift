public import RunKit

/// Exact match of answers with the expected ones under one condition.
public struct Evaluation: Sendable, Equatable {
  /// The fraction that is right, with an interval.
  public struct Accuracy: Sendable, Equatable {
    /// Right answers.
    public let correctCount: Int
    /// All answers.
    public let count: Int
    /// The fraction and its interval, from 0 to 1; nil without answers, or where the interval cannot be made.
    public let interval: ConfidenceInterval?

    /// The fraction that is right; nil without answers.
    public var fraction: Double? { count > 0 ? Double(correctCount) / Double(count) : nil }

    /// `accuracy`, `n`, `correct`, `ci`.
    public var json: JSONObject {
      JSONObject([
        ("accuracy", JSONValue(fraction)), ("n", .integer(count)), ("correct", .integer(correctCount)),
        ("ci", interval.map { [.number($0.lower), .number($0.upper)] } ?? .null),
      ])
    }
  }

  /// Accuracies by the values of one tag, or of several that are crossed.
  public struct Breakdown: Sendable, Equatable {
    /// The tag; crossed tags have a plus sign between.
    public let key: String
    /// Values in their order with their accuracy.
    public let parts: [(value: String, accuracy: Accuracy)]

    /// Whether key, values and accuracies agree.
    public static func == (left: Breakdown, right: Breakdown) -> Bool {
      left.key == right.key && left.parts.elementsEqual(right.parts) { $0 == $1 }
    }
  }

  /// The condition.
  public let condition: EvaluationCondition
  /// Over all samples.
  public let overall: Accuracy
  /// By tag.
  public let breakdowns: [Breakdown]

  /// Counts the answers under one condition.
  ///
  /// - Parameter place: Which of the definition's conditions.
  init(_ records: [EvaluationRecord], condition place: Int, _ definition: EvaluationDefinition) {
    condition = definition.conditions[place]
    let estimator = AccuracyEstimator(definition.interval, condition: place)
    overall = estimator.accuracy(records)
    breakdowns = Self.keys(records, definition).map { key in
      Breakdown(
        key: key,
        parts: EvaluationRecord.groups(records, by: key).map { ($0.value, estimator.accuracy($0.records)) })
    }
  }

  /// The tags to group by: those asked for, or every one that occurs.
  static func keys(_ records: [EvaluationRecord], _ definition: EvaluationDefinition) -> [String] {
    definition.keys.isEmpty ? Set(records.flatMap(\.tags.keys)).sorted() : definition.keys
  }

  /// `accuracy`, `n`, `correct`, `ci`, and `by`.
  var json: JSONObject {
    var object = overall.json
    object["by"] = .object(
      JSONObject(
        breakdowns.map { breakdown in
          (breakdown.key, .object(JSONObject(breakdown.parts.map { ($0.value, .object($0.accuracy.json)) })))
        }))
    return object
  }

  /// The score interval of a binomial proportion, which stays within 0 and 1 and has width also at its ends.
  ///
  ///     (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)
  ///
  /// Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22, 1927.
  static func wilson(_ correct: Int, of count: Int, confidence: Double) -> ConfidenceInterval? {
    guard count > 0 else { return nil }
    let (n, p) = (Double(count), Double(correct) / Double(count))
    // Student's t with so many degrees of freedom is the normal distribution to more digits than matter.
    let z = StudentT.quantile((1 + confidence) / 2, degreesOfFreedom: 1e9)
    let center = p + z * z / (2 * n)
    let spread = z * (p * (1 - p) / n + z * z / (4 * n * n)).squareRoot()
    let scale = 1 + z * z / n
    return ConfidenceInterval(
      estimate: p, lower: max(0, (center - spread) / scale), upper: min(1, (center + spread) / scale),
      confidence: confidence)
  }
}

/// Makes intervals of accuracies as the definition says.
struct AccuracyEstimator {
  private let interval: EvaluationDefinition.Interval
  private let condition: Int

  init(_ interval: EvaluationDefinition.Interval, condition: Int) {
    (self.interval, self.condition) = (interval, condition)
  }

  func accuracy(_ records: [EvaluationRecord]) -> Evaluation.Accuracy {
    let hits = records.map { $0.isCorrect(condition) ? 1.0 : 0 }
    let correct = hits.count { $0 == 1 }
    let found: ConfidenceInterval?
    switch interval.method {
    case .wilson: found = Evaluation.wilson(correct, of: hits.count, confidence: interval.level)
    case .bootstrap:
      found = Bootstrap(
        replicates: interval.replicates, confidence: interval.level, seed: interval.seed
      ).mean(
        of: hits, clusters: EvaluationRecord.clusterKeys(records, interval.clusterKey).map(Clusters.init))
    }
    return Evaluation.Accuracy(correctCount: correct, count: hits.count, interval: found)
  }
}
