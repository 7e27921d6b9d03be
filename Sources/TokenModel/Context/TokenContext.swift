public import TensorCore

/// What travels beside the hidden states of a ragged batch: which rows are which.
///
/// A batch is `[rows, hidden]` with the rows of one sequence after another; there is no padding inside a model.
public struct TokenContext: Sendable {
  /// Whether rows are a prompt or single new tokens over a cache.
  public enum Phase: Sendable { case prefill, decode }

  /// The new rows of each sequence.
  public let segments: RowSegments
  /// The rotary position of every row, on one axis or several.
  public let positions: RowPositions
  /// The role of every row.
  public let roles: [Role]
  /// How many keys each sequence has in the cache before these rows.
  public let cachedCounts: [Int]
  /// For each sequence the roles of all its keys, cached ones first.
  public let keyRoles: [[Role]]
  /// Which keys a row may see.
  public let mask: AttentionMask
  /// Prompt or single tokens.
  public let phase: Phase
  /// Whether linear layers may multiply the rows of all sequences in one product: quicker, but the last bits of a
  /// sequence then depend on what else is in the batch. For training only.
  public var joinsSequences = false
  /// Partial-modality inference: the modalities on whose prompt rows adapters act; nil for every row.
  ///
  /// The base layers see all rows either way. Rows of a decode step are adapted whatever this says: the intervention is on
  /// the prompt alone.
  ///
  /// Source: Wei et al., "MokA", NeurIPS 2025, section 3.
  public var adaptedModalities: Set<Modality>?
  /// Whether no row depends on later prompt rows, so that a cached prefix may be used again.
  public var promptIsCausal: Bool { mask == .causal }

  /// - Parameters:
  ///   - positions: One for each row.
  ///   - roles: One for each row.
  ///   - cachedRoles: For each sequence the roles of its cached keys; nil without a cache.
  public init(
    segments: RowSegments, positions: RowPositions, roles: [Role], cachedRoles: [[Role]]? = nil,
    mask: AttentionMask = .causal, phase: Phase = .prefill
  ) {
    require(
      positions.count == segments.rowCount && roles.count == segments.rowCount,
      "\(positions.count) positions and \(roles.count) roles for \(segments.rowCount) rows")
    let cached = cachedRoles ?? Array(repeating: [], count: segments.count)
    require(cached.count == segments.count, "cached roles of \(cached.count) of \(segments.count) sequences")
    self.segments = segments
    self.positions = positions
    self.roles = roles
    self.mask = mask
    self.phase = phase
    cachedCounts = cached.map(\.count)
    keyRoles = cached.enumerated().map { $1 + roles[segments[$0]] }
  }

  /// Rows with one position each.
  public init(
    segments: RowSegments, positions: [Int], roles: [Role], cachedRoles: [[Role]]? = nil,
    mask: AttentionMask = .causal, phase: Phase = .prefill
  ) {
    self.init(
      segments: segments, positions: RowPositions(positions), roles: roles, cachedRoles: cachedRoles,
      mask: mask, phase: phase)
  }

  /// Prompts, one sequence each, at their own positions.
  public init(_ prompts: [Prompt]) {
    self.init(
      segments: RowSegments(lengths: prompts.map(\.count)),
      positions: .concatenated(prompts.map(\.positions)), roles: prompts.flatMap(\.spans.roles))
  }

  /// A prompt of one sequence at positions 0, 1, ….
  public init(roles: [Role], mask: AttentionMask = .causal) {
    self.init(
      segments: .single(roles.count), positions: Array(0..<roles.count), roles: roles, mask: mask)
  }

  /// Rows of one role outside any conversation, such as those of a tower: no positions, and all of a segment see each other.
  static func rows(lengths: [Int], role: Role) -> TokenContext {
    let segments = RowSegments(lengths: lengths)
    return TokenContext(
      segments: segments, positions: [Int](repeating: 0, count: segments.rowCount),
      roles: [Role](repeating: role, count: segments.rowCount), mask: .full)
  }

  /// For every row whether adapters act on it; nil if they act on all.
  ///
  /// Text is every role that counts as text, and what surrounds it: bos and system. Separators of media belong to no
  /// modality, so adapters act on them only where nothing is left out.
  public var adaptedRows: [Bool]? {
    guard let adaptedModalities, phase == .prefill else { return nil }
    return roles.map { role in
      role.modality.map(adaptedModalities.contains) ?? false
    }
  }

  /// The rows of queries and keys of each sequence when keys of sequence s start at row `keyStarts[s]`.
  func sequences(keyStarts: [Int]) -> [AttentionSequence] {
    (0..<segments.count).map { index in
      let keyCount = cachedCounts[index] + segments[index].count
      return AttentionSequence(
        queries: segments[index], keys: keyStarts[index]..<keyStarts[index] + keyCount)
    }
  }
}
