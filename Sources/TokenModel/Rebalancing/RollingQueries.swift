public import TensorCore

/// The rolling queries of several layers, rotated from the bottom up.
///
/// A rotation changes what all layers above see, so at the end of an epoch only the lowest layer with a head to rotate is
/// rotated; the layers above wait for the next epoch. A layer that is balanced or at its limit lets the next one go.
///
/// Source: Ni et al., arXiv:2506.11465, "one layer at a time"; the rule by which a layer lets the next one go is this
/// project's reading.
public struct RollingQueries: Sendable {
  /// The layers, ascending.
  public let layers: [Int]
  private var queries: [RollingQuery]

  /// One rolling query for each layer, all alike.
  ///
  /// - Parameter layers: Each once.
  public init(layers: [Int], _ query: RollingQuery) {
    self.layers = Set(layers).sorted()
    queries = self.layers.map { _ in query }
  }

  /// The rolling query of a layer; nil where there is none.
  public subscript(layer: Int) -> RollingQuery? {
    layers.firstIndex(of: layer).map { queries[$0] }
  }

  /// The modalities, in the order of every list.
  public var modalities: [Modality] { queries.first?.modalities ?? [] }

  /// How queries are rebalanced; nil without layers.
  public var options: RollingQueryOptions? { queries.first?.options }

  /// Notes a batch of a layer; see `RollingQuery.observe`.
  public mutating func observe(
    layer: Int, queries rows: Tensor, keys: Tensor, _ observations: [AttentionBalance.Observation]
  ) {
    guard let place = layers.firstIndex(of: layer) else { return }
    queries[place].observe(queries: rows, keys: keys, observations)
  }

  /// Ends an epoch in all layers.
  ///
  /// - Returns: One event for each layer and head, from the lowest layer on.
  public mutating func endEpoch(_ epoch: Int) -> [RollingQueryEvent] {
    var events: [RollingQueryEvent] = []
    for place in queries.indices {
      let isHeld = events.contains { $0.outcome == .rotated }
      events += queries[place].endEpoch(epoch, layer: layers[place], isHeld: isHeld)
    }
    return events
  }
}

extension RollingQueries: BufferedModule {
  /// The buffers of each layer behind `layers.N.`.
  public func visitBuffers(_ visit: (StoredTensor) throws -> Void) throws {
    for (layer, query) in zip(layers, queries) {
      try query.visitBuffers { try visit($0.named("layers.\(layer).\($0.name)")) }
    }
  }

  /// Takes the buffers of every layer back.
  public mutating func restoreBuffers(from source: BufferSource) throws {
    var restored = queries
    for place in restored.indices {
      try restored[place].restoreBuffers(from: source.under("layers.\(layers[place])"))
    }
    queries = restored
  }
}
