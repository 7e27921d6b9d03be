public import RunKit

/// How queries are rebalanced; see `RollingQuery`.
public struct RollingQueryOptions: Sendable, Equatable {
  /// How the mean query is brought to the anchor.
  public enum Rotation: String, CaseIterable, Sendable {
    /// In the plane of both: unique, and nothing across the plane moves.
    case minimal
    /// As the released code, whose rotation across the plane is arbitrary; here a stream of the seed draws it.
    case svd
    /// Without a rotation: every query is shifted by anchor − mean query. An ablation: for a query that is the same for
    /// every sample this does what a rotation does.
    case reset
  }

  /// Over which samples the imbalance is measured.
  public enum Balance: String, CaseIterable, Sendable {
    /// All of the epoch.
    case epoch
    /// Those of the last batch, as the released code does.
    case lastBatch = "last-batch"
  }

  /// How long the anchor is; matters for `reset` only, since a rotation keeps lengths.
  public enum Anchor: String, CaseIterable, Sendable {
    /// As long as the mean query, as in the released code.
    case unit
    /// The mean query's length times that of the mixed unit keys, which is below 1, as in the paper.
    case raw
  }

  /// ρ, at least 0: how strongly the favoured modality is weighted down. 0 weighs all modalities the same.
  public var sharpness = 1.0
  /// β, at least 0: the imbalance from which queries are rotated.
  public var threshold = 0.0
  /// How often a head is rotated at most (the paper's T_max).
  public var limit = 1
  /// How the mean query is brought to the anchor.
  public var rotation = Rotation.minimal
  /// Over which samples the imbalance is measured.
  public var balance = Balance.epoch
  /// How long the anchor is.
  public var anchor = Anchor.unit
  /// The seed of `svd`.
  public var seed = 0

  /// The defaults.
  public init() {}

  /// The options by their names in files.
  public var json: JSONValue {
    [
      "sharpness": .number(sharpness), "threshold": .number(threshold), "limit": .integer(limit),
      "rotation": .string(rotation.rawValue), "balance": .string(balance.rawValue),
      "anchor": .string(anchor.rawValue), "seed": .integer(seed),
    ]
  }
}

/// What happened to a head at the end of an epoch.
public struct RollingQueryEvent: Sendable, Equatable {
  /// What was decided.
  public enum Outcome: String, CaseIterable, Sendable {
    /// Queries were brought to the anchor.
    case rotated
    /// The imbalance is below the threshold.
    case balanced
    /// The head was rotated as often as allowed.
    case limit
    /// A lower layer was rotated in this epoch, so what was measured here no longer holds.
    case waiting
    /// No sample with all modalities was seen.
    case unseen
    /// Mean query, mean keys or anchor have no direction.
    case undefined
  }

  /// The epoch that ended, from 0.
  public let epoch: Int
  /// The layer, from 0.
  public let layer: Int
  /// The head, from 0.
  public let head: Int
  /// What was decided.
  public let outcome: Outcome
  /// Query rows that the imbalance is a mean over.
  public let sampleCount: Int
  /// E cos(q, mean key) of each modality.
  public let cosines: [Double]
  /// The imbalance, see `RollingQuery`; 0 where nothing was seen.
  public let imbalance: Double
  /// The weight of each modality in the anchor; empty unless rotated.
  public let weights: [Double]
  /// The angle between mean query and anchor, in radians; 0 unless rotated.
  public let angle: Double
  /// Rotations of the head so far.
  public let count: Int

  /// A line of a log.
  ///
  /// - Parameter modalities: Those of the rolling query.
  public func json(_ modalities: [Modality]) -> JSONValue {
    func named(_ values: [Double]) -> JSONValue {
      .object(JSONObject(zip(modalities, values).map { ($0.rawValue, JSONValue($1)) }))
    }
    return [
      "event": "rollingq", "epoch": .integer(epoch), "layer": .integer(layer), "head": .integer(head),
      "outcome": .string(outcome.rawValue), "samples": .integer(sampleCount), "cosines": named(cosines),
      "imbalance": JSONValue(imbalance), "weights": named(weights), "angle": JSONValue(angle),
      "rotations": .integer(count),
    ]
  }
}
