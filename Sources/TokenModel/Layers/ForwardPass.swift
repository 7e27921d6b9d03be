import RunKit
public import TensorCore

/// Elements of the outputs of attention and feed-forward set to 0 at random while a model is trained.
///
/// Source: Srivastava et al., "Dropout", JMLR 15, 2014.
public struct ForwardDropout: Sendable {
  /// Where in a layer elements are dropped.
  enum Place: Int { case attention, feedForward }
  /// The probability of an element to be dropped, in 0..<1.
  public let rate: Float
  private let seed: Int
  private let step: Int

  /// - Parameters:
  ///   - rate: In 0..<1.
  ///   - seed: The seed of the run.
  ///   - step: What distinguishes this pass from others of the run; the same step drops the same elements.
  public init(rate: Float, seed: Int, step: Int) {
    require(rate >= 0 && rate < 1, "a dropout rate of \(rate)")
    (self.rate, self.seed, self.step) = (rate, seed, step)
  }

  /// The key of the elements dropped in a place of a layer.
  func key(layer: Int, place: Place) -> UInt64 {
    var stream = RandomStream(seed: seed, purpose: "dropout", step: step, id: 2 * layer + place.rawValue)
    return stream.next()
  }
}

/// What accompanies one forward pass: a cache, who reads, who writes, how attention is cut into blocks.
public struct ForwardOptions {
  /// Which rows get logits.
  public enum LogitRows: Sendable {
    /// None: the output layer does not run.
    case none
    /// Every row.
    case all
    /// The last row of each sequence.
    case last
    /// These rows of the batch.
    case rows([Int])
  }

  /// Rows with logits.
  public var logits: LogitRows = .last
  /// For each row with logits the id it has to predict, negative for none: the result has losses, and logits only where
  /// somebody looks at them.
  public var labels: [Int]?
  /// The cache to read and extend; nil for none.
  public var cache: KeyValueCache?
  /// Readers, in order.
  public var observers: [any ForwardObserver] = []
  /// Writers, in order.
  public var interventions: [any Intervention] = []
  /// Queries in a block of attention.
  public var queryBlock = 128
  /// Whether the pages of mapped weights stay in memory after their layer, for a next pass that comes at once. Otherwise
  /// they are given back, so that a model larger than memory can run.
  public var keepsPages = false
  /// Dropout, in training only.
  public var dropout: ForwardDropout?
  /// The tape that keeps only the input of every layer and runs the layer again when gradients are asked for; nil keeps
  /// all inner states. Observers see the first run, and what they see inside a layer has no gradient.
  public var checkpointing: Tape?

  /// The defaults.
  public init() {}
}

/// The outcome of a forward pass.
public struct ForwardResult: Sendable {
  /// The rows of the batch that have logits.
  public let logitRows: [Int]
  /// `[logitRows, vocabulary]`; nil when none were asked for.
  public let logits: Tensor?
  /// log Σ exp z − z[label] of every row with logits, `[logitRows]`; nil without labels.
  public var losses: Tensor?
}

/// Carries the options through the layers: asks interventions and tells observers at every named site.
struct ForwardPass {
  let context: TokenContext
  let options: ForwardOptions
  /// The tower the layers belong to; nil in the decoder.
  var tower: TensorName.Tower?
  /// For each row whether no query sees it, such as padding of a tower; nil for none. Its own query is an ordinary one.
  var hiddenRows: [Bool]?

  /// Passes a tensor through the interventions of a site and shows the result to the observers that want it.
  func site(_ site: TensorName.Site, layer: Int? = nil, _ tensor: Tensor) -> Tensor {
    if options.observers.isEmpty && options.interventions.isEmpty { return tensor }
    let name = TensorName(site, layer: layer, tower: tower)
    var tensor = tensor
    for intervention in options.interventions where intervention.edits(name) {
      let shape = tensor.shape
      tensor = intervention.edit(tensor, name, context: context)
      require(
        tensor.shape == shape, "an intervention changed the shape of \(name) from \(shape) to \(tensor.shape)"
      )
    }
    for observer in options.observers where observer.wants(name) {
      observer.observe(tensor, name, context: context)
    }
    return tensor
  }

  /// The output of a block with some elements dropped, if a training asks for it.
  func dropped(_ tensor: Tensor, layer: Int, place: ForwardDropout.Place) -> Tensor {
    guard let dropout = options.dropout, dropout.rate > 0 else { return tensor }
    return tensor.dropout(rate: dropout.rate, key: dropout.key(layer: layer, place: place))
  }

  /// Whether anybody reads or writes this site.
  func isWatched(_ site: TensorName.Site, layer: Int) -> Bool {
    let name = TensorName(site, layer: layer, tower: tower)
    return options.observers.contains { $0.wants(name) } || options.interventions.contains { $0.edits(name) }
  }

  /// Attention with the requests of all observers. Each request is a call of its own beyond the first, since the
  /// groups differ; one observer is the rule. Interventions change the attention of the decoder only.
  func attention(
    _ attention: Attention, queries: Tensor, keys: Tensor, values: Tensor, keyRows: KeyRows, layer: Int
  ) -> Tensor {
    let interventions = tower == nil ? options.interventions : []
    var knockouts = interventions.compactMap { $0.knockout(layer: layer, context: context, keyRows: keyRows) }
    if let hiddenRows {
      let everyRow = [Bool](repeating: true, count: queries.rows)
      knockouts.append(AttentionKnockout(queries: everyRow, keys: hiddenRows))
    }
    let edits = interventions.compactMap { $0.attentionEdit(layer: layer, context: context) }
    let edit: AttentionEdit? = edits.isEmpty ? nil : Self.chained(edits)
    func attend(_ request: AttentionRequest) -> (output: Tensor, statistics: AttentionStatistics?) {
      attention(
        queries: queries, keys: keys, values: values,
        sequences: context.sequences(keyStarts: keyRows.starts), mask: context.mask, request: request,
        knockouts: knockouts, edit: edit)
    }
    var output: Tensor?
    for observer in options.observers {
      guard let request = request(of: observer, layer, keyRows) else { continue }
      let result = attend(request)
      output = output ?? result.output
      guard let statistics = result.statistics else { continue }
      if let tower {
        observer.observe(statistics, tower: tower, layer: layer, context: context)
      } else {
        observer.observe(statistics, layer: layer, context: context)
      }
    }
    return output ?? attend(AttentionRequest()).output
  }

  private func request(of observer: any ForwardObserver, _ layer: Int, _ keyRows: KeyRows)
    -> AttentionRequest?
  {
    if let tower {
      return observer.attentionRequest(tower: tower, layer: layer, context: context, keyRows: keyRows)
    }
    return observer.attentionRequest(layer: layer, context: context, keyRows: keyRows)
  }

  private static func chained(_ edits: [AttentionEdit]) -> AttentionEdit {
    { head, row, probabilities in
      for edit in edits { edit(head, row, &probabilities) }
    }
  }
}
