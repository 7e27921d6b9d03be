import TokenModel

/// What the groups are worth over a whole run, beside the attention on them.
public struct ContributionSummary: Equatable, Sendable {
  /// One group.
  public struct Group: Equatable, Sendable {
    /// Its position in the definition.
    public var group: Int
    /// The attention of the last prompt row on it, mean over layers and heads.
    public var attention: Estimate
    /// Its part of the attention on the groups compared.
    public var attentionAmong: Estimate
    /// Its part of all contributions, unsigned.
    public var share: Estimate
    /// What it adds to the target, signed; nil for a method without signs.
    public var effect: Estimate?
  }

  /// A named number behind the contributions.
  public struct Cell: Equatable, Sendable {
    /// See `ContributionDefinition.cellNames`.
    public var name: String
    /// Its mean.
    public var estimate: Estimate
  }

  /// Spearman's rank correlation of attention with contribution.
  public struct Correlation: Equatable, Sendable {
    /// What the pairs are: "samples", "layers", "layers x heads" or "windows".
    public var over: String
    /// The group, or nil for all together.
    public var group: Int?
    /// How many pairs.
    public var count: Int
    /// From −1 to 1; nil for fewer than three pairs, or where one side does not vary.
    public var value: Double?
  }

  /// The samples that share a value of a tag.
  public struct TagPart: Equatable, Sendable {
    /// The tag, such as "type".
    public var tag: String
    /// Its value, such as "sum".
    public var value: String
    /// How many samples.
    public var count: Int
    /// The groups of these samples.
    public var groups: [Group]
    /// The probability of the piece.
    public var probability: Estimate
  }

  /// The groups compared.
  public var groups: [Group]
  /// The numbers behind.
  public var cells: [Cell]
  /// The target on the full prompt.
  public var target: Estimate
  /// The probability of the piece.
  public var probability: Estimate
  /// 1 where the piece is the most likely one.
  public var isPrediction: Estimate
  /// The target where nothing is present; nil for methods without.
  public var baseline: Estimate?
  /// The greatest amount by which parts miss their whole; nil for methods without such a sum.
  public var residualMax: Double?
  /// Attention against contribution.
  public var correlations: [Correlation]
  /// By tag and value, both sorted.
  public var tags: [TagPart]
}

/// One sample's attention and contribution of the groups compared.
struct ContributionMeasures {
  let attention: [Double]
  let attentionAmong: [Double?]
  let share: [Double?]
  let effect: [Double?]

  init(_ sample: SampleMeasures, _ contribution: Contribution, _ groups: [Int]) {
    let layers = 0..<sample.share.count
    let attention = groups.map { sample.share($0, layers) }
    let total = attention.reduce(0, +)
    self.attention = attention
    attentionAmong = attention.map { total > 0 ? $0 / total : nil }
    share = groups.map { contribution.share($0) }
    effect = groups.map { group in contribution.effect.map { $0[group] } }
  }
}

extension AttentionDefinition {
  /// The groups that are compared: those the method explains, or all that occur.
  func contributingGroups(_ records: [AttentionRecord]) -> [Int] {
    func occurs(_ group: Int) -> Bool { records.contains { $0.tokens[group] > 0 } }
    switch contribution?.method {
    case .shapley(let players, _): return players.compactMap(group).filter(occurs)
    case .knockout(_, let keys, _, _): return keys.compactMap(group).filter(occurs)
    case nil: return []
    default: return groups.indices.filter(occurs)
    }
  }
}
