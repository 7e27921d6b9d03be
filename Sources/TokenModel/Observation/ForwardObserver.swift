public import TensorCore

/// Reads a forward pass: says beforehand what it wants, gets it layer by layer, and can change nothing.
public protocol ForwardObserver: AnyObject {
  /// What to reduce from the attention probabilities of a layer; nil for nothing.
  ///
  /// - Parameter keyRows: For each sequence, where its keys start among the key rows of the call, and how many key rows
  ///   the call has: groups are given for key rows.
  func attentionRequest(layer: Int, context: TokenContext, keyRows: KeyRows) -> AttentionRequest?
  /// Gets what was requested.
  func observe(_ statistics: AttentionStatistics, layer: Int, context: TokenContext)
  /// What to reduce from the attention probabilities of a layer of a tower; nil for nothing.
  func attentionRequest(tower: TensorName.Tower, layer: Int, context: TokenContext, keyRows: KeyRows)
    -> AttentionRequest?
  /// Gets what was requested of a tower.
  func observe(
    _ statistics: AttentionStatistics, tower: TensorName.Tower, layer: Int, context: TokenContext)
  /// Whether the tensor of this name is wanted.
  func wants(_ name: TensorName) -> Bool
  /// Gets a wanted tensor.
  func observe(_ tensor: Tensor, _ name: TensorName, context: TokenContext)
}

extension ForwardObserver {
  /// What is wanted of the attention of a layer; nothing unless given.
  public func attentionRequest(layer: Int, context: TokenContext, keyRows: KeyRows) -> AttentionRequest? {
    nil
  }
  /// Gets what was asked for; ignores it unless given.
  public func observe(_ statistics: AttentionStatistics, layer: Int, context: TokenContext) {}
  /// What is wanted of the attention of a tower; nothing unless given.
  public func attentionRequest(
    tower: TensorName.Tower, layer: Int, context: TokenContext, keyRows: KeyRows
  ) -> AttentionRequest? { nil }
  /// Gets what was asked for; ignores it unless given.
  public func observe(
    _ statistics: AttentionStatistics, tower: TensorName.Tower, layer: Int, context: TokenContext
  ) {}
  /// Whether a tensor is wanted; none unless given.
  public func wants(_ name: TensorName) -> Bool { false }
  /// Gets what was asked for; ignores it unless given.
  public func observe(_ tensor: Tensor, _ name: TensorName, context: TokenContext) {}
}

/// Where the keys of each sequence lie among the key rows of an attention call.
public struct KeyRows: Sendable {
  /// The first key row of each sequence.
  public let starts: [Int]
  /// The number of key rows of the call; some belong to no sequence when a cache has room to grow.
  public let count: Int

  /// Key rows that are the rows of the context themselves, without a cache.
  public init(_ context: TokenContext) {
    self.init(
      starts: (0..<context.segments.count).map { context.segments[$0].lowerBound },
      count: context.segments.rowCount)
  }

  /// Key rows of a call.
  public init(starts: [Int], count: Int) { (self.starts, self.count) = (starts, count) }

  /// A group for each key row, from the role of each key; rows of no sequence get −1.
  public func groups(of context: TokenContext, _ group: (Role) -> Int) -> [Int] {
    var groups = [Int](repeating: -1, count: count)
    for (sequence, roles) in context.keyRoles.enumerated() {
      for (key, role) in roles.enumerated() { groups[starts[sequence] + key] = group(role) }
    }
    return groups
  }
}
