public import Foundation
import Glibc
public import TensorCore

/// BERT: an encoder of text whose positions all see each other.
///
///     x = LayerNorm(word + position + type)
///     x = LayerNorm(x + dense(attention(x))),   x = LayerNorm(x + dense(gelu(dense x)))      for each layer
///     pooled = tanh(dense x[first])
///
/// Sequences have their own lengths, so there is no padding and no mask. In training the embeddings and the outputs of
/// both parts of a layer can be dropped out; attention probabilities cannot.
///
/// Source: Devlin et al., "BERT: Pre-training of Deep Bidirectional Transformers for Language Understanding", NAACL 2019,
/// arXiv:1810.04805; layers as Vaswani et al., 2017, arXiv:1706.03762, section 3.1.
public struct BertEncoder: Sendable {
  /// What is dropped out in training: gives a tensor back with some elements as 0.
  ///
  /// The place is `embeddings`, or `layer.i.attention` or `layer.i.output`.
  public typealias Dropping = (_ tensor: Tensor, _ place: String) -> Tensor

  /// Sizes and settings of a `bert`, with the defaults of its class: those of BERT-base.
  public struct Configuration: Sendable, Equatable {
    /// Word pieces.
    public let vocabularySize: Int
    /// The width of a hidden state.
    public let hiddenSize: Int
    /// The inner width of the feed-forward layer.
    public let intermediateSize: Int
    /// The number of layers.
    public let layerCount: Int
    /// The number of heads.
    public let headCount: Int
    /// The most positions of a sequence.
    public let positionCount: Int
    /// Kinds of segments.
    public let typeCount: Int
    /// ε of the norms.
    public let normEpsilon: Double
    /// The activation between the two matrices of a feed-forward layer.
    public let activation: Activation

    /// - Throws: `ConfigurationError`.
    public init(_ reader: ConfigurationReader) throws(ConfigurationError) {
      try reader.refuse("model_type", unless: ["bert"])
      try reader.refuse("is_decoder", unless: [false])
      try reader.refuse("position_embedding_type", unless: ["absolute"])
      let sizes = 1...(1 << 20)
      vocabularySize = try reader.integer("vocab_size", in: 1...(1 << 24), default: 30522)
      hiddenSize = try reader.integer("hidden_size", in: sizes, default: 768)
      intermediateSize = try reader.integer("intermediate_size", in: sizes, default: 3072)
      layerCount = try reader.integer("num_hidden_layers", in: 1...4096, default: 12)
      headCount = try reader.integer("num_attention_heads", in: 1...4096, default: 12)
      positionCount = try reader.integer("max_position_embeddings", in: 1...(1 << 20), default: 512)
      typeCount = try reader.integer("type_vocab_size", in: 1...4096, default: 2)
      normEpsilon = try reader.number("layer_norm_eps", above: 0, default: 1e-12)
      activation = try Activation(reader, key: "hidden_act", default: .gelu)
      guard hiddenSize % headCount == 0 else {
        throw .outOfRange(
          path: reader.path, key: "num_attention_heads", found: "\(headCount)",
          expected: "a divisor of hidden_size \(hiddenSize)")
      }
    }
  }

  /// Names in files, whether the encoder stands alone or beside a head.
  public static let layout = KeyLayout([
    "embeddings": ["bert.embeddings", "embeddings"], "encoder": ["bert.encoder", "encoder"],
    "pooler": ["bert.pooler", "pooler"],
  ])

  /// One layer: norms after attention and after feed-forward.
  private struct Layer {
    let query: any LinearLayer  // attention.self.query
    let key: any LinearLayer  // attention.self.key
    let value: any LinearLayer  // attention.self.value
    let output: any LinearLayer  // attention.output.dense
    let firstNorm: LayerNorm  // attention.output.LayerNorm
    let inner: any LinearLayer  // intermediate.dense
    let outer: any LinearLayer  // output.dense
    let secondNorm: LayerNorm  // output.LayerNorm

    init(_ weights: WeightSource, _ settings: Configuration) throws {
      let (hidden, width) = (settings.hiddenSize, settings.intermediateSize)
      let own = weights.under("attention.self")
      query = try own.linear("query", from: hidden, to: hidden, hasBias: true)
      key = try own.linear("key", from: hidden, to: hidden, hasBias: true)
      value = try own.linear("value", from: hidden, to: hidden, hasBias: true)
      output = try weights.linear("attention.output.dense", from: hidden, to: hidden, hasBias: true)
      firstNorm = try BertEncoder.norm(weights.under("attention.output"), settings)
      inner = try weights.linear("intermediate.dense", from: hidden, to: width, hasBias: true)
      outer = try weights.linear("output.dense", from: width, to: hidden, hasBias: true)
      secondNorm = try BertEncoder.norm(weights.under("output"), settings)
    }

    func callAsFunction(
      _ x: Tensor, _ context: TokenContext, _ settings: Configuration, _ place: String, _ dropping: Dropping
    ) -> Tensor {
      let attention = Attention(
        heads: settings.headCount, keyValueHeads: settings.headCount,
        headSize: settings.hiddenSize / settings.headCount)
      let sequences = (0..<context.segments.count).map {
        AttentionSequence(queries: context.segments[$0], keys: context.segments[$0])
      }
      let attended = attention(
        queries: query(x, context), keys: key(x, context), values: value(x, context), sequences: sequences,
        mask: .full
      ).output
      let between = firstNorm(x + dropping(output(attended, context), place + ".attention"))
      let fed = outer(settings.activation(inner(between, context)), context)
      return secondNorm(between + dropping(fed, place + ".output"))
    }
  }

  /// Sizes and settings.
  public let configuration: Configuration
  private let words: LinearWeight  // embeddings.word_embeddings
  private let positions: LinearWeight  // embeddings.position_embeddings
  private let types: LinearWeight  // embeddings.token_type_embeddings
  private let firstNorm: LayerNorm  // embeddings.LayerNorm
  private let layers: [Layer]  // encoder.layer.i
  private let pooler: (any LinearLayer)?  // pooler.dense

  /// - Parameters:
  ///   - weights: All tensors of the file, by the names of `layout`.
  ///   - hasPooler: Whether there is a pooler.
  /// - Throws: `ConfigurationError`, `StoredTensorError`.
  public init(_ configuration: Configuration, weights: WeightSource, hasPooler: Bool = true) throws {
    self.configuration = configuration
    let (weights, hidden) = (weights.with(Self.layout), configuration.hiddenSize)
    let embeddings = weights.under("embeddings")
    words = try embeddings.matrix(
      "word_embeddings.weight", rows: configuration.vocabularySize, columns: hidden)
    positions = try embeddings.matrix(
      "position_embeddings.weight", rows: configuration.positionCount, columns: hidden)
    types = try embeddings.matrix(
      "token_type_embeddings.weight", rows: configuration.typeCount, columns: hidden)
    firstNorm = try Self.norm(embeddings, configuration)
    layers = try (0..<configuration.layerCount).map { index in
      try Layer(weights.under("encoder.layer.\(index)"), configuration)
    }
    pooler =
      hasPooler ? try weights.linear("pooler.dense", from: hidden, to: hidden, hasBias: true) : nil
    try weights.checkLayerCount(
      configuration.layerCount, of: "encoder.layer", ending: "intermediate.dense.weight")
  }

  /// Reads a folder of Hugging Face with `config.json` and safetensors files; a pooler is read if there is one.
  ///
  /// - Throws: `ConfigurationError`, `FileError`, `SafetensorsError`, `ShardedTensorsError`, `StoredTensorError`.
  public init(folder: URL) throws {
    let reader = try ConfigurationReader(folder: folder)
    let tensors = try ShardedTensors(folder: folder.path)
    try self.init(
      Configuration(reader), weights: WeightSource(tensors),
      hasPooler: tensors["bert.pooler.dense.weight"] != nil || tensors["pooler.dense.weight"] != nil)
  }

  /// A norm; files from before 2019 call weight and bias gamma and beta.
  private static func norm(_ weights: WeightSource, _ settings: Configuration) throws -> LayerNorm {
    guard weights.has("LayerNorm.gamma") else {
      return try LayerNorm(weights, "LayerNorm", size: settings.hiddenSize, epsilon: settings.normEpsilon)
    }
    return LayerNorm(
      weight: try weights.tensor("LayerNorm.gamma", shape: [settings.hiddenSize]),
      bias: try weights.tensor("LayerNorm.beta", shape: [settings.hiddenSize]),
      epsilon: Float(settings.normEpsilon))
  }

  /// The output of the last layer.
  ///
  /// - Parameters:
  ///   - sequences: Ids of word pieces, `[CLS]` and `[SEP]` included; each at least one and at most `positionCount`.
  ///   - types: For every id the kind of its segment; 0 for all unless given.
  ///   - dropping: What is dropped out; nothing unless given.
  /// - Returns: `[rows, hidden]`, the sequences one after another.
  public func hidden(
    _ sequences: [[Int]], types kinds: [[Int]]? = nil, dropping: Dropping = { tensor, _ in tensor }
  ) -> Tensor {
    let settings = configuration
    let kinds = kinds ?? sequences.map { $0.map { _ in 0 } }
    require(
      sequences.allSatisfy { 1...settings.positionCount ~= $0.count }
        && sequences.allSatisfy { $0.allSatisfy { 0..<settings.vocabularySize ~= $0 } },
      "sequences of \(sequences.map(\.count)) ids below \(settings.vocabularySize) for BERT")
    require(
      kinds.map(\.count) == sequences.map(\.count)
        && kinds.allSatisfy { $0.allSatisfy { 0..<settings.typeCount ~= $0 } },
      "segments of \(kinds.map(\.count)) ids for sequences of \(sequences.map(\.count))")
    let context = TokenContext.rows(lengths: sequences.map(\.count), role: .question)
    let places = sequences.flatMap { Array($0.indices) }
    var x =
      words.rows(sequences.flatMap { $0 }) + types.rows(kinds.flatMap { $0 }) + positions.rows(places)
    x = dropping(firstNorm(x), "embeddings")
    for (index, layer) in layers.enumerated() {
      x = layer(x, context, settings, "layer.\(index)", dropping)
    }
    return x
  }

  /// The first row of every sequence, `[sequences, hidden]`.
  ///
  /// - Parameters:
  ///   - sequences: As for `hidden`.
  ///   - types: As for `hidden`.
  ///   - dropping: As for `hidden`.
  public func firstRows(
    _ sequences: [[Int]], types kinds: [[Int]]? = nil, dropping: Dropping = { tensor, _ in tensor }
  ) -> Tensor {
    var (starts, start) = ([Int](), 0)
    for sequence in sequences {
      starts.append(start)
      start += sequence.count
    }
    return hidden(sequences, types: kinds, dropping: dropping).gatherRows(starts)
  }

  /// The first row of every sequence through the pooler, `[sequences, hidden]`, for an encoder that has one.
  ///
  /// - Parameters:
  ///   - sequences: As for `hidden`.
  ///   - types: As for `hidden`.
  ///   - dropping: As for `hidden`.
  public func pooled(
    _ sequences: [[Int]], types kinds: [[Int]]? = nil, dropping: Dropping = { tensor, _ in tensor }
  ) -> Tensor {
    guard let pooler else { preconditionFailure("pooled rows of a BERT without a pooler") }
    let first = firstRows(sequences, types: kinds, dropping: dropping)
    let context = TokenContext.rows(lengths: [Int](repeating: 1, count: sequences.count), role: .question)
    return Self.hyperbolicTangent(pooler(first, context))
  }

  /// tanh of a few rows.
  private static func hyperbolicTangent(_ x: Tensor) -> Tensor {
    Tensor.operation(on: [x]) { inputs in
      let output = Tensor(inputs[0].hostValues().map { tanh($0) }, shape: inputs[0].shape)
      return (output, { gradient, _ in [gradient * (-1 * (output * output) + 1)] })
    }
  }
}
