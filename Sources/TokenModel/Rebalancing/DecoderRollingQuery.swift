public import TensorCore

/// RollingQ on chosen layers of a decoder: experimental, since a decoder has no class token.
///
/// What stands for the class token are text rows that can see every modality: rows of `queryRoles` with a row of each
/// modality before them. Their queries are rotated behind the QK norm and before positions are rotated in, one rotation a
/// head; keys are taken at the same place, averaged over all prompt rows of a modality in the sequence, and query head h is
/// measured against the key head that it reads.
///
/// While an epoch is trained it is among the observers and its `intervention` among the interventions of every pass;
/// `endEpoch` rotates. An intervention is a copy of the state: take it anew after each epoch. With activation
/// checkpointing the rotation runs again in the backward pass, and observing happens once.
public final class DecoderRollingQuery: ForwardObserver {
  /// The state: rotations by layer.
  public private(set) var rolling: RollingQueries
  /// Roles of the rows whose queries are rotated.
  public let queryRoles: Set<Role>
  /// The queries of a layer until its keys come.
  private var waiting: [Int: Tensor] = [:]

  /// Text of the prompt and of the answer.
  public static let defaultQueryRoles: Set<Role> = [.instruction, .question, .response]

  /// Rotations that change nothing yet.
  ///
  /// - Parameters:
  ///   - layers: From 0.
  ///   - modalities: Two or more of image, audio, video and text.
  /// - Throws: `RollingQueryError`.
  public init(
    _ configuration: LLaMAConfiguration, layers: [Int], modalities: [Modality],
    queryRoles: Set<Role> = defaultQueryRoles, options: RollingQueryOptions = RollingQueryOptions()
  ) throws(RollingQueryError) {
    if let bad = layers.first(where: { !(0..<configuration.layerCount).contains($0) }) {
      throw .unknownLayer(layer: bad, count: configuration.layerCount)
    }
    if let bad = modalities.first(where: { $0 != .text && $0.role == nil }) {
      throw .unknownModality(
        modality: bad.rawValue, known: (Modality.media + [.text]).map(\.rawValue))
    }
    self.queryRoles = queryRoles
    rolling = RollingQueries(
      layers: layers,
      try RollingQuery(
        headCount: configuration.headCount, headSize: configuration.headSize,
        keyHeadCount: configuration.keyValueHeadCount, modalities: modalities, options: options))
  }

  /// The rotations as they are now, for the passes to come.
  public var intervention: any Intervention {
    RotateQueries(rolling: rolling, queryRoles: queryRoles)
  }

  /// Ends an epoch; see `RollingQueries.endEpoch`.
  public func endEpoch(_ epoch: Int) -> [RollingQueryEvent] {
    waiting = [:]
    return rolling.endEpoch(epoch)
  }

  /// Whether this tensor is measured.
  public func wants(_ name: TensorName) -> Bool {
    guard name.tower == nil, let layer = name.layer, rolling.layers.contains(layer) else { return false }
    return name.site == .unplacedQuery || name.site == .unplacedKey
  }

  /// Notes queries and keys of a layer. Rows over a cache are passed over: the keys of their prompt are not at hand.
  public func observe(_ tensor: Tensor, _ name: TensorName, context: TokenContext) {
    guard let layer = name.layer, context.cachedCounts.allSatisfy({ $0 == 0 }) else { return }
    if name.site == .unplacedQuery {
      waiting[layer] = tensor.detached
    } else if let queries = waiting.removeValue(forKey: layer) {
      let places = RotatedRows(context, queryRoles: queryRoles, modalities: rolling.modalities)
      rolling.observe(layer: layer, queries: queries, keys: tensor, places.observations(context))
    }
  }
}

extension DecoderRollingQuery: BufferedModule {
  /// The buffers of each layer behind `layers.N.`.
  public func visitBuffers(_ visit: (StoredTensor) throws -> Void) throws { try rolling.visitBuffers(visit) }

  /// Takes the buffers of every layer back.
  public func restoreBuffers(from source: BufferSource) throws {
    try rolling.restoreBuffers(from: source)
  }
}

/// Turns the queries of text rows that see every modality.
struct RotateQueries: Intervention {
  let rolling: RollingQueries
  let queryRoles: Set<Role>

  func edits(_ name: TensorName) -> Bool {
    guard name.site == .unplacedQuery, name.tower == nil, let layer = name.layer else { return false }
    return rolling[layer].map { !$0.isIdentity } ?? false
  }

  func edit(_ tensor: Tensor, _ name: TensorName, context: TokenContext) -> Tensor {
    guard let layer = name.layer, let query = rolling[layer] else { return tensor }
    let rows = RotatedRows(context, queryRoles: queryRoles, modalities: rolling.modalities).rows
    let all = rows.flatMap { $0 }
    if all.isEmpty { return tensor }
    if all.count == tensor.rows { return query.rotate(tensor) }
    return tensor.replacingRows(all, with: query.rotate(tensor.gatherRows(all)))
  }
}

/// Which rows of a batch have their queries rotated.
struct RotatedRows {
  /// For each sequence its rows, as rows of the batch.
  let rows: [[Int]]
  private let modalities: [Modality]

  init(_ context: TokenContext, queryRoles: Set<Role>, modalities: [Modality]) {
    self.modalities = modalities
    rows = (0..<context.segments.count).map { sequence in
      let keys = context.keyRoles[sequence]
      let firsts = modalities.map { modality in keys.firstIndex { Self.belongs($0, to: modality) } }
      let known = firsts.compactMap { $0 }
      guard known.count == firsts.count, let visible = known.max() else { return [] }
      let (segment, cached) = (context.segments[sequence], context.cachedCounts[sequence])
      return segment.filter { row in
        cached + row - segment.lowerBound >= visible && queryRoles.contains(context.roles[row])
      }
    }
  }

  /// For each sequence the rotated rows and the prompt rows of each modality.
  func observations(_ context: TokenContext) -> [AttentionBalance.Observation] {
    rows.enumerated().map { sequence, queries in
      let segment = context.segments[sequence]
      return .init(
        queries: queries,
        keys: modalities.map { modality in
          segment.filter { Self.belongs(context.roles[$0], to: modality) }
        })
    }
  }

  /// Whether a row counts as one of the modality: text is what stands in the prompt, not the answer.
  private static func belongs(_ role: Role, to modality: Modality) -> Bool {
    modality == .text ? role == .instruction || role == .question : role == modality.role
  }
}
