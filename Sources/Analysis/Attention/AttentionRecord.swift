/// What was measured on one sample: one line of samples.jsonl.
///
/// Every table, figure and interval is a function of the run's context and the list of these records in the
/// order of `index`, and of nothing else. So resuming, sharding and threads cannot change a byte of a result.
///
/// Arrays are flat and row-major; layers, heads and groups are those of the `AttentionDefinition`.
public struct AttentionRecord: Equatable, Sendable {
  /// A key that draws attention whatever it contains.
  public struct Sink: Equatable, Sendable {
    /// Its position in the sequence, from 0.
    public var row: Int
    /// The position of its group in the definition.
    public var group: Int
    /// The piece at that position, or a name for a row of a medium.
    public var piece: String
    /// The fraction of (layer, head) pairs drawn to it, 0...1.
    public var rate: Double

    /// A sink key.
    public init(row: Int, group: Int, piece: String, rate: Double) {
      self.row = row
      self.group = group
      self.piece = piece
      self.rate = rate
    }
  }

  /// The shares of one query row.
  public struct QueryToken: Equatable, Sendable {
    /// Its position in the sequence, from 0.
    public var row: Int
    /// The piece at that position.
    public var piece: String
    /// The piece its logits predict (the reference or the generated one), or nil where that is not asked.
    public var predicts: String?
    /// Head means, `[layers, groups]`.
    public var share: [Float]

    /// The shares of one query row.
    public init(row: Int, piece: String, predicts: String?, share: [Float]) {
      self.row = row
      self.piece = piece
      self.predicts = predicts
      self.share = share
    }
  }

  /// Attention by key, kept for the few samples a report draws.
  public struct Keys: Equatable, Sendable {
    /// The share of each key, mean over layers, heads and query rows, `[keys]`.
    public var share: [Float]
    /// The piece at each key, `[keys]`.
    public var pieces: [String]
    /// The position of each key's group in the definition, `[keys]`.
    public var groups: [Int]

    /// Attention by key.
    public init(share: [Float], pieces: [String], groups: [Int]) {
      self.share = share
      self.pieces = pieces
      self.groups = groups
    }
  }

  /// A medium as the model saw it, kept for the few samples a report draws.
  public struct Medium: Equatable, Sendable {
    /// "image", "audio" or "video".
    public var kind: String
    /// The position of its first key in the sequence.
    public var firstKey: Int
    /// How many keys it has: `gridWidth * gridHeight`, row by row.
    public var keys: Int
    /// Columns of pixels (image) or frames (audio).
    public var width: Int
    /// Rows of pixels (image), or mel bands with the lowest first (audio).
    public var height: Int
    /// Keys in a row.
    public var gridWidth: Int
    /// Rows of keys.
    public var gridHeight: Int
    /// Brightness, row by row: one byte a pixel, or three (red, green, blue).
    public var pixels: [UInt8]

    /// A medium as the model saw it.
    public init(
      kind: String, firstKey: Int, keys: Int, width: Int, height: Int, gridWidth: Int, gridHeight: Int,
      pixels: [UInt8]
    ) {
      self.kind = kind
      self.firstKey = firstKey
      self.keys = keys
      self.width = width
      self.height = height
      self.gridWidth = gridWidth
      self.gridHeight = gridHeight
      self.pixels = pixels
    }
  }

  /// The place of the sample in the data set, from 0.
  public var index: Int
  /// The name of the sample.
  public var id: String
  /// SHA-256 of its content, hexadecimal.
  public var hash: String
  /// By medium, the identity of the item the sample uses; samples of one item are not independent.
  public var clusters: [String: String]
  /// What the data set says of the sample, such as the type of the question.
  public var tags: [String: String]
  /// Positions of the whole sequence by group, `[groups]`.
  public var tokens: [Int]
  /// Keys a query row can see by group, mean over query rows, `[groups]`.
  public var visible: [Double]
  /// How many query rows were averaged.
  public var queryCount: Int
  /// The prompt text.
  public var text: String
  /// The reference answer, if the data set has one.
  public var answer: String?
  /// The generated answer, if one was generated.
  public var generated: String?
  /// Mean over query rows of the attention on a group, `[layers, heads, groups]`; sums to 1 over groups.
  public var share: [Float]
  /// The part of `share` that falls on sink keys, same shape; nil where sinks were not looked for.
  public var sinkShare: [Float]?
  /// The sink keys found.
  public var sinks: [Sink]
  /// Mean over query rows of −Σ p log p, in nats, `[layers, heads]`.
  public var entropy: [Float]
  /// The share uniform attention would give under the same mask, `[groups]`.
  public var baseline: [Float]
  /// The first query rows, at most `queryTokenLimit`.
  public var queryTokens: [QueryToken]
  /// Attention by key, for a sample the report draws.
  public var keys: Keys?
  /// Its media, for a sample the report draws.
  public var media: [Medium]
  /// The largest |Σ shares − 1| over layers, heads and query rows.
  public var rowSumError: Double
  /// How many measured values are not finite; such a sample is left out of every mean.
  public var nonfiniteCount: Int
  /// What the groups are worth, if the run measures it.
  public var contribution: Contribution?

  /// The most query rows a record keeps one by one.
  public static let queryTokenLimit = 64

  /// A record; the optional parts are empty unless given.
  public init(
    index: Int, id: String, hash: String, clusters: [String: String] = [:], tags: [String: String] = [:],
    tokens: [Int], visible: [Double], queryCount: Int, text: String, answer: String? = nil,
    generated: String? = nil, share: [Float], sinkShare: [Float]? = nil, sinks: [Sink] = [],
    entropy: [Float], baseline: [Float], queryTokens: [QueryToken] = [], keys: Keys? = nil,
    media: [Medium] = [], rowSumError: Double, nonfiniteCount: Int = 0
  ) {
    self.index = index
    self.id = id
    self.hash = hash
    self.clusters = clusters
    self.tags = tags
    self.tokens = tokens
    self.visible = visible
    self.queryCount = queryCount
    self.text = text
    self.answer = answer
    self.generated = generated
    self.share = share
    self.sinkShare = sinkShare
    self.sinks = sinks
    self.entropy = entropy
    self.baseline = baseline
    self.queryTokens = queryTokens
    self.keys = keys
    self.media = media
    self.rowSumError = rowSumError
    self.nonfiniteCount = nonfiniteCount
  }
}

/// One line of samples.jsonl: a measured sample, or one that was left out and why.
public enum AttentionSample: Equatable, Sendable {
  /// A measured sample.
  case measured(AttentionRecord)
  /// A sample that could not be measured.
  case skipped(index: Int, id: String, reason: String)

  /// The place of the sample in the data set, from 0.
  public var index: Int {
    switch self {
    case .measured(let record): record.index
    case .skipped(let index, _, _): index
    }
  }

  /// The measured sample, or nil.
  public var record: AttentionRecord? {
    if case .measured(let record) = self { record } else { nil }
  }
}
