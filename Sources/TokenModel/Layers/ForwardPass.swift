public import TensorCore

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
  /// The cache to read and extend; nil for none.
  public var cache: KeyValueCache?
  /// Readers, in order.
  public var observers: [any ForwardObserver] = []
  /// Writers, in order.
  public var interventions: [any Intervention] = []
  /// Queries in a block of attention.
  public var queryBlock = 128

  /// The defaults.
  public init() {}
}

/// The outcome of a forward pass.
public struct ForwardResult: Sendable {
  /// The rows of the batch that have logits.
  public let logitRows: [Int]
  /// `[logitRows, vocabulary]`; nil when none were asked for.
  public let logits: Tensor?
}

/// Carries the options through the layers: asks interventions and tells observers at every named site.
struct ForwardPass {
  let context: TokenContext
  let options: ForwardOptions

  /// Passes a tensor through the interventions of a site and shows the result to the observers that want it.
  func site(_ site: TensorName.Site, layer: Int? = nil, _ tensor: Tensor) -> Tensor {
    if options.observers.isEmpty && options.interventions.isEmpty { return tensor }
    let name = TensorName(site, layer: layer)
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

  /// Whether anybody reads or writes this site.
  func isWatched(_ site: TensorName.Site, layer: Int) -> Bool {
    let name = TensorName(site, layer: layer)
    return options.observers.contains { $0.wants(name) } || options.interventions.contains { $0.edits(name) }
  }
}
