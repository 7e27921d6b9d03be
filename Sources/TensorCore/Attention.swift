/// One sequence of a ragged attention call: which rows of the queries and of the keys and values belong to it.
///
/// With a key-value cache there are more keys than queries; the last query is aligned with the last key.
public struct AttentionSequence: Sendable, Equatable {
  /// Rows of the query tensor.
  public let queries: Range<Int>
  /// Rows of the key and value tensors.
  public let keys: Range<Int>

  /// - Parameter keys: At least as many as queries.
  public init(queries: Range<Int>, keys: Range<Int>) {
    require(keys.count >= queries.count, "\(queries.count) queries over \(keys.count) keys")
    self.queries = queries
    self.keys = keys
  }

  /// The place of a query among the keys of its sequence.
  func position(ofQuery row: Int) -> Int { keys.count - queries.count + (row - queries.lowerBound) }
}

/// Which keys a query may see. Keys are counted within their sequence; p is the place of the query among them.
public enum AttentionMask: Sendable, Equatable {
  /// Keys 0...p.
  case causal
  /// Every key of the sequence.
  case full
  /// The first `lengths[sequence]` keys for everyone, and keys 0...p.
  case prefix(lengths: [Int])
  /// Keys 0...p, and every key of the own block: `ids[sequence][key]`, equal ids in one run, negative for none.
  case blocks(ids: [[Int]])
  /// A shared prefix of `lengths[sequence]` keys seen causally by itself and fully by all branches; a branch sees the
  /// prefix and the keys of its own run up to p: `ids[sequence][key]`, equal ids in one run, ignored in the prefix.
  case branches(prefix: [Int], ids: [[Int]])
}

/// What a query row may see: two runs of keys of its sequence, `first` before `second`.
struct VisibleKeys {
  var first: Range<Int>
  var second: Range<Int>

  /// The last visible key, plus 1.
  var end: Int { second.upperBound }
  /// The keys before it that cannot be seen.
  var gap: Range<Int> { first.upperBound..<second.lowerBound }
}

extension AttentionMask {
  /// The visible keys of every query of a sequence.
  func visibleKeys(_ sequence: AttentionSequence, index: Int) -> [VisibleKeys] {
    let keyCount = sequence.keys.count
    switch self {
    case .causal: return sequence.queries.map { simple(sequence.position(ofQuery: $0) + 1) }
    case .full: return sequence.queries.map { _ in simple(keyCount) }
    case .prefix(let lengths):
      require(index < lengths.count && 0...keyCount ~= lengths[index], "prefix lengths \(lengths)")
      return sequence.queries.map { simple(max(lengths[index], sequence.position(ofQuery: $0) + 1)) }
    case .blocks(let ids):
      require(index < ids.count && ids[index].count == keyCount, "one block id for each key")
      let (_, ends) = Self.runs(ids[index])
      return sequence.queries.map { row in
        let position = sequence.position(ofQuery: row)
        return simple(ids[index][position] < 0 ? position + 1 : ends[position])
      }
    case .branches(let prefix, let ids):
      require(
        index < prefix.count && index < ids.count && ids[index].count == keyCount
          && 0...keyCount ~= prefix[index],
        "one branch id for each key and a prefix within them")
      let (starts, _) = Self.runs(ids[index])
      return sequence.queries.map { row in
        let position = sequence.position(ofQuery: row)
        if position < prefix[index] { return simple(position + 1) }
        return VisibleKeys(
          first: 0..<prefix[index], second: max(prefix[index], starts[position])..<position + 1)
      }
    }
  }

  private func simple(_ end: Int) -> VisibleKeys { VisibleKeys(first: 0..<end, second: end..<end) }

  /// For each place, where its run of equal ids starts and ends.
  private static func runs(_ ids: [Int]) -> (starts: [Int], ends: [Int]) {
    var starts = [Int](repeating: 0, count: ids.count)
    var ends = starts
    var start = 0
    for place in ids.indices where place + 1 == ids.count || ids[place + 1] != ids[place] {
      for member in start...place { (starts[member], ends[member]) = (start, place + 1) }
      start = place + 1
    }
    return (starts, ends)
  }
}

/// Attention logits set to −∞ for chosen pairs: chosen query rows no longer see chosen keys.
///
/// Source: Geva et al., "Dissecting Recall of Factual Associations", EMNLP 2023, arXiv:2304.14767, section 5.
public struct AttentionKnockout: Sendable {
  /// For each query row of the call, whether it is blinded.
  public let queries: [Bool]
  /// For each key row of the call, whether it is hidden from blinded queries.
  public let keys: [Bool]

  /// - Parameters:
  ///   - queries: One entry for each query row.
  ///   - keys: One entry for each key row.
  public init(queries: [Bool], keys: [Bool]) {
    self.queries = queries
    self.keys = keys
  }
}

/// Rewrites the attention probabilities of one query row and head: `(head, query row, probabilities of the keys of its
/// sequence)`. It must be a pure function; rows come in any order.
public typealias AttentionEdit = @Sendable (Int, Int, inout [Float]) -> Void

/// What is wanted of the attention probabilities besides the output: everything is reduced block by block, so nothing
/// of size queries x keys is kept, except `probabilities`.
public struct AttentionRequest: Sendable {
  /// For each query row of the call, whether it is reported; nil for all.
  public var queryRows: [Bool]?
  /// For each key row of the call, its group in `0..<groupCount`, or a negative number for none.
  public var groups: [Int] = []
  /// The number of groups.
  public var groupCount = 0
  /// Σ of the probabilities over each group: `groupMass`.
  public var wantsGroupMass = false
  /// Σ of probability times value over each group: `valueSums`.
  public var wantsValueSums = false
  /// −Σ p ln p, in nats.
  public var wantsEntropy = false
  /// How many of the most attended keys to name.
  public var topKeyCount = 0
  /// Σ of the probabilities over the reported queries, for each key.
  public var wantsColumnSums = false
  /// The probabilities themselves; memory grows with queries x keys.
  public var wantsProbabilities = false

  /// A request for nothing.
  public init() {}

  var isEmpty: Bool {
    !wantsGroupMass && !wantsValueSums && !wantsEntropy && topKeyCount == 0 && !wantsColumnSums
      && !wantsProbabilities
  }
}

/// The reductions of one attention call; what was not asked for is nil.
public struct AttentionStatistics: Sendable {
  /// The reported query rows of the call, ascending.
  public var queryRows: [Int]
  /// `[reported, heads, groups]`: shares of each row's attention, which sum to 1 where every key has a group.
  public var groupMass: Tensor?
  /// `[reported, heads, groups, headSize]`: the parts of the attention output that each group contributes.
  public var valueSums: Tensor?
  /// `[reported, heads]`, in nats.
  public var entropy: Tensor?
  /// `[reported][head]`: keys of the sequence and their probabilities, most attended first.
  public var topKeys: [[[(key: Int, probability: Float)]]]?
  /// For each sequence `[heads, keys]`.
  public var columnSums: [Tensor]?
  /// For each sequence `[heads, reported queries, keys]`.
  public var probabilities: [Tensor]?
}

/// Scaled dot-product attention over ragged sequences, softmax(q kᵀ · scale) v, with grouped key-value heads.
///
/// Works on blocks of queries and keys with a running softmax; memory beyond inputs and output grows with the block, not
/// with queries x keys. Query head h uses key-value head h · keyValueHeads / heads. A query that sees no key gives zeros.
///
/// Source: Vaswani et al., 2017, arXiv:1706.03762, equation 1; Milakov and Gimelshein, "Online normalizer calculation
/// for softmax", 2018, arXiv:1805.02867, algorithm 3.
public struct Attention: Sendable {
  /// Query heads.
  public let heads: Int
  /// Key-value heads; divides `heads`.
  public let keyValueHeads: Int
  /// The size of a head.
  public let headSize: Int
  /// The factor on q kᵀ, above 0; 1 / √headSize unless given.
  public let scale: Float
  /// Queries in a piece of work; results have the same bits for any number, small ones cost time.
  public let queryBlock: Int
  /// Keys in a block.
  public let keyBlock: Int

  /// - Parameters:
  ///   - queryBlock: At least 1.
  ///   - keyBlock: At least 1.
  public init(
    heads: Int, keyValueHeads: Int, headSize: Int, scale: Float? = nil, queryBlock: Int = 128,
    keyBlock: Int = 256
  ) {
    require(
      heads > 0 && keyValueHeads > 0 && heads % keyValueHeads == 0 && headSize > 0 && queryBlock > 0
        && keyBlock > 0,
      "attention of \(heads) heads over \(keyValueHeads) of size \(headSize), blocks \(queryBlock) x \(keyBlock)"
    )
    self.heads = heads
    self.keyValueHeads = keyValueHeads
    self.headSize = headSize
    self.scale = scale ?? 1 / Float(headSize).squareRoot()
    require(self.scale > 0 && self.scale.isFinite, "an attention scale of \(self.scale)")
    self.queryBlock = queryBlock
    self.keyBlock = keyBlock
  }

  /// Attends.
  ///
  /// - Parameters:
  ///   - queries: `[query rows, heads * headSize]`.
  ///   - keys: `[key rows, keyValueHeads * headSize]`.
  ///   - values: `[key rows, keyValueHeads * headSize]`.
  ///   - sequences: Disjoint rows; query rows of no sequence stay undefined, so there must be none.
  ///   - edit: Not with tracked inputs.
  /// - Returns: `[query rows, heads * headSize]` and, if something was requested, the statistics. Only the output has a
  ///   gradient, which computes the probabilities anew block by block.
  public func callAsFunction(
    queries: Tensor, keys: Tensor, values: Tensor, sequences: [AttentionSequence], mask: AttentionMask,
    request: AttentionRequest = AttentionRequest(), knockouts: [AttentionKnockout] = [],
    edit: AttentionEdit? = nil
  ) -> (output: Tensor, statistics: AttentionStatistics?) {
    let isTracked = queries.isTracked || keys.isTracked || values.isTracked
    require(!isTracked || edit == nil, "edited attention has no gradient: the edit is any function")
    let job = AttentionJob(
      self, queries: queries.detached, keys: keys.detached, values: values.detached, sequences: sequences,
      mask: mask, request: request, knockouts: knockouts, edit: edit, keepsNormalisers: isTracked)
    let (output, statistics) = job.run()
    let recorded = output.recorded(from: [queries, keys, values]) { gradient, needs in
      let gradients = job.gradients(
        outputGradient: gradient, wantsQueries: needs[0], wantsKeys: needs[1], wantsValues: needs[2])
      return [gradients.queries, gradients.keys, gradients.values]
    }
    return (recorded, statistics)
  }
}
