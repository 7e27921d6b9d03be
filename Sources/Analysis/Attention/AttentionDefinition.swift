public import TokenModel

/// What the numbers of an attention run mean: which query rows, which groups, averaged how.
///
/// It is printed with every table and stands in every result, since published attention shares differ by
/// exactly these choices.
public struct AttentionDefinition: Equatable, Sendable {
  /// The rows of the attention matrix that are averaged.
  public enum Queries: String, CaseIterable, Sendable {
    /// The last prompt row, which decides the first generated piece.
    case last
    /// The rows whose logits predict the reference answer (teacher forced).
    case answer
    /// The rows whose logits predict the greedily generated pieces.
    case generated
    /// Every row of the roles instruction, question and response.
    case text
    /// Every row.
    case all
    /// The rows that a file of imported attention marks.
    case given

    /// What can be asked for; `given` comes with a file.
    public static let allCases: [Queries] = [.last, .answer, .generated, .text, .all]

    /// The choice in words.
    public var explanation: String {
      switch self {
      case .last: "the last prompt row"
      case .answer: "the rows that predict the reference answer"
      case .generated: "the rows that predict the generated answer"
      case .text: "every instruction, question and response row"
      case .all: "every row"
      case .given: "the rows that the file marks as queries"
      }
    }
  }

  /// What happens to keys that draw attention whatever they contain.
  public enum Sinks: String, CaseIterable, Sendable {
    /// Nothing is removed.
    case included
    /// Shares without the bos group are given beside the plain ones.
    case bos
    /// Shares without the bos group and without detected sink keys are given beside the plain ones.
    case auto

    /// The choice in words.
    public var explanation: String {
      switch self {
      case .included: "sinks included"
      case .bos: "sinks included; shares without bos beside"
      case .auto: "sinks included; shares without bos and detected sinks beside"
      }
    }
  }

  /// A named set of roles of the span map.
  public struct Group: Hashable, Sendable {
    /// The name in tables and files.
    public var name: String
    /// The roles whose keys belong to it.
    public var roles: [Role]

    /// A group of roles.
    public init(name: String, roles: [Role]) {
      self.name = name
      self.roles = roles
    }
  }

  /// How intervals are made.
  public struct Interval: Equatable, Sendable {
    /// The way from samples to an interval.
    public enum Method: String, CaseIterable, Sendable {
      /// Percentiles of the means of resampled data sets.
      case bootstrap
      /// Mean ± Student's t times the standard error.
      case t
    }

    /// The way from samples to an interval.
    public var method: Method
    /// The nominal coverage, inside 0...1 without its ends.
    public var level: Double
    /// Resampled data sets (bootstrap only), at least 1.
    public var replicates: Int
    /// The medium whose items are resampled as a whole ("image", "audio"), or nil for single samples.
    public var clusterKey: String?
    /// Seed of the resampling.
    public var seed: Int

    /// Intervals by these choices.
    public init(
      method: Method = .bootstrap, level: Double = 0.95, replicates: Int = 2000, clusterKey: String? = nil,
      seed: Int = 0
    ) {
      self.method = method
      self.level = level
      self.replicates = replicates
      self.clusterKey = clusterKey
      self.seed = seed
    }
  }

  /// The query rows.
  public var queries: Queries
  /// The groups, in the order of every table; together they hold every role.
  public var groups: [Group]
  /// The layers measured, from 0, ascending.
  public var layers: [Int]
  /// The heads measured, from 0, ascending.
  public var heads: [Int]
  /// What happens to sinks.
  public var sinks: Sinks
  /// ε of the sink rate, inside 0...1: a head is drawn to a key that receives more than this of its attention,
  /// averaged over the rows that see the key; the rate of a key is the fraction of heads drawn to it.
  ///
  /// Source: Gu et al., "When Attention Sink Emerges in Language Models", ICLR 2025, arXiv:2410.10781.
  public var sinkThreshold: Double
  /// The least rate of a sink key: a fifth of all heads.
  public static let sinkRate = 0.2
  /// How intervals are made.
  public var interval: Interval
  /// What is measured besides attention, if contributions are; then all layers and heads are measured.
  public var contribution: ContributionDefinition?

  /// A definition; `groups` defaults to one group a role.
  public init(
    queries: Queries, groups: [Group] = AttentionDefinition.defaultGroups, layers: [Int], heads: [Int],
    sinks: Sinks = .included, sinkThreshold: Double = 0.3, interval: Interval = Interval(),
    contribution: ContributionDefinition? = nil
  ) {
    self.queries = queries
    self.groups = groups
    self.layers = layers
    self.heads = heads
    self.sinks = sinks
    self.sinkThreshold = sinkThreshold
    self.interval = interval
    self.contribution = contribution
  }

  /// The names of the numbers in `Contribution.cells`; none without contributions.
  public var cellNames: [String] {
    contribution?.cellNames(
      layerCount: layers.count, headCount: heads.count, groups: groups.map(\.name)) ?? []
  }

  /// The one group of exactly this role, if there is one.
  func group(of role: Role) -> Int? { groups.firstIndex { $0.roles == [role] } }

  /// One group for each role, in reading order.
  public static let defaultGroups = Role.allCases.map { Group(name: $0.rawValue, roles: [$0]) }

  /// The positions of the groups that hold nothing but text, if any.
  public var textGroups: [Int] {
    groups.indices.filter { !groups[$0].roles.isEmpty && groups[$0].roles.allSatisfy(\.isText) }
  }

  /// The positions of the groups that hold nothing but this medium.
  public func groups(of medium: Role) -> [Int] {
    groups.indices.filter { groups[$0].roles == [medium] }
  }

  /// The position of the group that holds nothing but bos, if there is one.
  public var bosGroup: Int? { groups.firstIndex { $0.roles == [.bos] } }

  /// The length of a record's `share`: layers x heads x groups.
  public var shareCount: Int { layers.count * heads.count * groups.count }

  /// The first two, middle two and last two layers, as positions in `layers` (fewer in a shallow model).
  ///
  /// Source: the early, middle and late groups of "When Language Overrules", arXiv:2508.10552.
  public var layerGroups: (early: Range<Int>, middle: Range<Int>, late: Range<Int>) {
    let count = layers.count
    let width = min(2, count)
    let start = (count - width) / 2
    return (0..<width, start..<start + width, count - width..<count)
  }
}
