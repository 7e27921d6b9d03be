import Analysis

/// How intervals are made: options that every command with intervals over samples takes.
struct IntervalOptions {
  /// Whose items are resampled as a whole.
  enum ClusterKey: String, CaseIterable, Sendable {
    case image
    case audio
    case video
  }

  static let interval = Option<AttentionDefinition.Interval.Method>.choice(
    "ci", "METHOD", default: .bootstrap, "how intervals are made")
  static let clusterKey = Option<ClusterKey?>.choice(
    "cluster-key", "MEDIUM", absence: "single samples", "resample all samples of one medium together")
  static let confidence = Option<Double>.number(
    "confidence", in: .between(0, 1), default: 0.95, "nominal coverage of intervals")
  static let replicates = Option<Int>.integer(
    "replicates", in: 1...AttentionDefinition.replicateLimit, default: 2000, unit: "data sets",
    "resampled data sets")
  static let declarations = [
    interval.declaration, clusterKey.declaration, confidence.declaration, replicates.declaration,
  ]

  private let chosen: AttentionDefinition.Interval

  init(_ arguments: Arguments) throws(UsageError) {
    chosen = AttentionDefinition.Interval(
      method: try arguments[Self.interval], level: try arguments[Self.confidence],
      replicates: try arguments[Self.replicates], clusterKey: try arguments[Self.clusterKey]?.rawValue)
    if chosen.method == .t && arguments.isGiven(Self.replicates) {
      throw .conflict(reason: "--replicates is for --ci bootstrap", remedy: "leave one of them out")
    }
  }

  /// The choices with the seed of the run.
  func interval(seed: Int) -> AttentionDefinition.Interval {
    var interval = chosen
    interval.seed = seed
    return interval
  }
}
