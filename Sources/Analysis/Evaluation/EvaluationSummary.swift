public import RunKit

/// The accuracies of a whole run under all conditions, and how the later conditions differ from the first.
public struct EvaluationSummary: Sendable, Equatable {
  /// What was asked.
  public let context: EvaluationContext
  /// How many samples were answered.
  public let count: Int
  /// One for each condition.
  public let conditions: [Evaluation]
  /// For each condition its difference to the first one, over the same samples; the first is nil.
  public let differences: [PairedDifference?]

  /// Summarises answers.
  ///
  /// - Parameter records: In the order of their index.
  public init(_ context: EvaluationContext, _ records: [EvaluationRecord]) {
    self.context = context
    count = records.count
    let definition = context.definition
    conditions = definition.conditions.indices.map {
      Evaluation(records, condition: $0, definition)
    }
    let estimator = PairedEstimator(
      interval: definition.interval.ofDifferences,
      clusterKeys: EvaluationRecord.clusterKeys(records, definition.interval.clusterKey))
    let hits = definition.conditions.indices.map { place in
      records.map { Optional($0.isCorrect(place) ? 1.0 : 0) }
    }
    let found = estimator.differences(
      hits.dropFirst().map { .init(before: hits[0], after: $0, isBinary: true) })
    differences = [nil] + found.map(Optional.some)
  }

  /// The name and version of the form of `json`.
  public static let schema = "mmprobe.eval/v1"

  /// The first condition at the top level, all of them under `conditions`.
  public var json: JSONValue {
    var object = JSONObject([
      ("schema", .string(Self.schema)), ("kind", .string(EvaluationContext.kind)),
      ("tool", context.tool.json), ("model", context.model.json), ("data", context.data.json),
      ("definition", context.definition.json),
    ])
    for (key, value) in conditions[0].json.members { object[key] = value }
    object["confidence"] = .number(context.definition.interval.level)
    object["match"] = "exact"
    object["conditions"] = .array(
      zip(conditions, differences).map { condition, difference in
        var part = JSONObject([("name", .string(condition.condition.name))])
        for (key, value) in condition.json.members { part[key] = value }
        part["difference"] = difference.map { .object($0.json) } ?? .null
        return .object(part)
      })
    return .object(object)
  }
}

extension EvaluationDefinition.Interval {
  /// How intervals of differences are made: by resampling, since both answers to a sample go together.
  var ofDifferences: AttentionDefinition.Interval {
    AttentionDefinition.Interval(
      method: .bootstrap, level: level, replicates: replicates, clusterKey: clusterKey, seed: seed)
  }
}
