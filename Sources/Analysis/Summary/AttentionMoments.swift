public import RunKit
public import TensorCore

/// Count, mean, M₂, minimum and maximum over samples of each share and entropy, for stats.npz.
public struct AttentionMoments: Equatable, Sendable {
  /// Of `share`, `[layers, heads, groups]`.
  public private(set) var share: StreamingMomentsArray
  /// Of `entropy`, `[layers, heads]`.
  public private(set) var entropy: StreamingMomentsArray

  /// The moments of no samples yet.
  public init(_ definition: AttentionDefinition) {
    let (layers, heads) = (definition.layers.count, definition.heads.count)
    share = StreamingMomentsArray(shape: [layers, heads, definition.groups.count])
    entropy = StreamingMomentsArray(shape: [layers, heads])
  }

  /// The moments of these samples, added in their order.
  public init(_ records: some Sequence<AttentionRecord>, _ definition: AttentionDefinition) {
    self.init(definition)
    for record in records { add(record) }
  }

  /// Adds one sample, whose arrays must have the shapes of the definition.
  public mutating func add(_ record: AttentionRecord) {
    share.add(record.share)
    entropy.add(record.entropy)
  }

  /// Adds the samples behind other moments of the same definition.
  public mutating func merge(_ other: AttentionMoments) {
    share.merge(other.share)
    entropy.merge(other.entropy)
  }

  /// The arrays of stats.npz: `count` (i64), then for `share` and `entropy` each `.mean`, `.m2`, `.min`, `.max`
  /// (f64). Without samples the minima and maxima are infinite.
  public func arrays() throws(StoredTensorError) -> [StoredTensor] {
    var arrays = [try StoredTensor(name: "count", shape: [], integers: [share.count])]
    for (name, moments) in [("share", share), ("entropy", entropy)] {
      for (part, values) in [
        ("mean", moments.mean), ("m2", moments.sumOfSquares), ("min", moments.minimum),
        ("max", moments.maximum),
      ] {
        arrays.append(try StoredTensor(name: "\(name).\(part)", shape: moments.shape, doubles: values))
      }
    }
    return arrays
  }
}
