public import TokenModel

/// The numbers of a whole run: what result.json, the tables and the report show.
///
/// It is a function of the context and the records in the order of their index.
public struct AttentionSummary: Equatable, Sendable {
  /// The least, mean and greatest number of tokens of a group in a sample.
  public struct TokenCounts: Equatable, Sendable {
    /// Mean over samples.
    public var mean: Double?
    /// The least.
    public var minimum: Int?
    /// The greatest.
    public var maximum: Int?
  }

  /// The attention on one group.
  public struct Group: Equatable, Sendable {
    /// Its name.
    public var name: String
    /// Its part of the whole sequence.
    public var tokenShare: Estimate
    /// The share uniform attention under the same mask would give it.
    public var baseline: Estimate
    /// The attention on it; sums to 1 over groups.
    public var share: Estimate
    /// The share of one of its keys: share / visible tokens.
    public var efficiency: Estimate
    /// share / baseline: 1 where it gets what uniform attention would give.
    public var uniformRatio: Estimate
    /// The share of what bos leaves.
    public var shareWithoutBos: Estimate
    /// The share of what bos and the detected sinks leave.
    public var shareWithoutSinks: Estimate
    /// The share in each layer.
    public var byLayer: [Estimate]
    /// The mean share in each layer and head, `[layers][heads]`; nil without samples.
    public var byLayerHead: [[Double?]]
  }

  /// The exact split of a log ratio of shares, text over medium, in nats.
  ///
  ///     log(S_T / S_m) = log(n_T / n_m) + content
  public struct Split: Equatable, Sendable {
    /// log(S_T / S_m).
    public var shares: Estimate
    /// log(n_T / n_m), over the same samples.
    public var counts: Estimate
    /// The difference: what the numbers of tokens do not explain.
    public var content: Estimate
  }

  /// An index over all layers and over the early, middle and late ones.
  public struct Layered<Value: Equatable & Sendable>: Equatable, Sendable {
    /// Over all layers.
    public var all: Value
    /// Over the first two.
    public var early: Value
    /// Over the middle two.
    public var middle: Value
    /// Over the last two.
    public var late: Value
    /// In each layer.
    public var byLayer: [Value]
  }

  /// How attention is divided between text and one medium.
  public struct Index: Equatable, Sendable {
    /// The medium.
    public var medium: Role
    /// Modality dominance index: (S_T / n_T) / (S_m / n_m); above 1 one text token gets more than one of the medium.
    ///
    /// Source: "When Language Overrules", arXiv:2508.10552.
    public var mdi: Layered<Estimate>
    /// The same ratio of data-set means, which a few samples with a share near 0 cannot decide.
    public var mdiOfMeans: Double?
    /// Attention efficiency index of the text: its part of the attention of both over its part of their tokens.
    public var textAEI: Estimate
    /// Attention efficiency index of the medium; textAEI / mediumAEI is the MDI of each sample.
    public var mediumAEI: Estimate
    /// The split of the log ratio into count and content.
    public var split: Layered<Split>
    /// The part of the medium's share that falls on detected sinks.
    public var sinkFraction: Estimate
  }

  /// The samples that share a value of a tag, or a range of token counts.
  public struct Part: Equatable, Sendable {
    /// How many samples.
    public var count: Int
    /// The share of each group.
    public var shares: [Estimate]
    /// The share of one key of each group.
    public var efficiencies: [Estimate]
    /// MDI of each medium, in the order of `media`.
    public var mdi: [Estimate]
    /// The content part of the log ratio of each medium, in the order of `media`.
    public var content: [Estimate]
  }

  /// The samples that share a value of a tag.
  public struct TagPart: Equatable, Sendable {
    /// The tag, such as "type".
    public var tag: String
    /// Its value, such as "sum".
    public var value: String
    /// What they show.
    public var part: Part
  }

  /// The samples whose number of tokens of a medium lies in a range.
  public struct Stratum: Equatable, Sendable {
    /// The medium counted.
    public var medium: Role
    /// The numbers of tokens.
    public var tokens: ClosedRange<Int>
    /// What they show.
    public var part: Part
  }

  /// A position that was a sink in some samples.
  public struct Sink: Equatable, Sendable {
    /// The position of its group in the definition.
    public var group: Int
    /// Its position in the sequence.
    public var row: Int
    /// The piece, of the first sample that has it there.
    public var piece: String
    /// In how many samples it was a sink.
    public var sampleCount: Int
    /// The mean over those samples of the fraction of heads drawn to it.
    public var rate: Double
  }

  /// The mean over samples of the n-th query row kept.
  public struct QueryPosition: Equatable, Sendable {
    /// How many samples have such a row.
    public var count: Int
    /// The share of each group, mean over layers and samples.
    public var shares: [Double]
  }

  /// What a reader must know beside the numbers.
  public struct Warning: Equatable, Sendable {
    /// How much it matters.
    public enum Level: String, CaseIterable, Sendable {
      /// The numbers may mislead as they are.
      case warning
      /// True of every run of this kind.
      case note
    }

    /// A word for programs.
    public var code: String
    /// How much it matters.
    public var level: Level
    /// A sentence for people.
    public var message: String
  }

  /// What was asked.
  public var context: AttentionContext
  /// Whether every sample of the run, or of its shard, is there (measured or skipped).
  public var isComplete: Bool
  /// Samples in the means.
  public var measuredCount: Int
  /// Samples left out, with the reason.
  public var skipped: [AttentionSample]
  /// Resampled units when intervals are clustered.
  public var clusterCount: Int?
  /// The media that occur, in the order of `Role.media`.
  public var media: [Role]
  /// Tokens of each group in a sample.
  public var tokens: [TokenCounts]
  /// Attention by group.
  public var groups: [Group]
  /// Text against each medium.
  public var indices: [Index]
  /// Entropy of a query row's attention in each layer, in nats, mean over heads.
  public var entropy: [Estimate]
  /// By tag and value, both sorted.
  public var tags: [TagPart]
  /// By number of tokens, for each medium whose number differs between samples.
  public var strata: [Stratum]
  /// The positions that were sinks in most samples, at most 20.
  public var sinks: [Sink]
  /// Shares by place among the query rows.
  public var queryPositions: [QueryPosition]
  /// The largest |Σ shares − 1| of any sample; nil without samples.
  public var rowSumMaxError: Double?
  /// Values that are not finite, over all samples.
  public var nonfiniteCount: Int
  /// What the groups are worth; nil if the run measured attention alone.
  public var contribution: ContributionSummary?
  /// What a reader must know.
  public var warnings: [Warning]
}
