public import TensorCore

/// The sizes and settings of a LLaMA-type decoder, from a Hugging Face `config.json` of transformers 4 or 5.
public struct LLaMAConfiguration: Sendable, Equatable {
  /// Which attention layers have biases.
  public enum AttentionBias: Sendable {
    /// None.
    case none
    /// q, k and v, as in Qwen2.
    case queryKeyValue
    /// q, k, v and o.
    case all
  }

  /// A norm of each head.
  public enum HeadNorm: Sendable {
    /// None.
    case none
    /// RMS norm with one weight for all heads (`qk_norm`).
    case rms
    /// Layer norm with a weight and a bias for each head, as in Chameleon.
    case layer
  }

  /// How many ids there are.
  public let vocabularySize: Int
  /// The width of a hidden state.
  public let hiddenSize: Int
  /// The inner width of the feed-forward layer.
  public let intermediateSize: Int
  /// The number of decoder layers.
  public let layerCount: Int
  /// Query heads.
  public let headCount: Int
  /// Key-value heads.
  public let keyValueHeadCount: Int
  /// The size of a head.
  public let headSize: Int
  /// ε of the RMS norms.
  public let normEpsilon: Float
  /// The longest sequence the model was made for; longer ones run, with a warning.
  public let contextLength: Int
  /// θ of the rotary embedding.
  public let rotaryBase: Double
  /// How rotary frequencies are scaled.
  public let rotaryScaling: RotaryEmbedding.Scaling
  /// How many pairs of a head turn by each axis of positions; empty where rows have one position.
  public let rotarySections: [Int]
  /// Which of q, k, v and o have biases.
  public let attentionBias: AttentionBias
  /// Whether gate, up and down have biases.
  public let feedForwardHasBias: Bool
  /// The norm of each head of queries and keys before rotation.
  public let headNorm: HeadNorm
  /// Whether norms stand at the output of attention and feed-forward instead of at their input, as in Chameleon.
  public let normalisesOutputs: Bool
  /// Whether the output layer is the embedding table.
  public internal(set) var tiesEmbeddings: Bool
  /// Ids that are never predicted: their logits are the least float32 number.
  public internal(set) var suppressedIDs: [Int] = []
  /// Ids that end a sequence.
  public let endIDs: [Int]
  /// The id that begins a sequence, if there is one.
  public let beginID: Int?
  /// The id of padding, if there is one.
  public let paddingID: Int?

  private static let sizes = 1...(1 << 24)

  /// Whether queries and keys pass a norm.
  public var normalisesQueryAndKey: Bool { headNorm != .none }

  /// Reads and checks the settings.
  ///
  /// - Parameters:
  ///   - defaults: What holds where the configuration says nothing.
  ///   - outer: The configuration around a `text_config`, whose begin, end and padding ids and tied embeddings hold where
  ///     the section has none.
  /// - Throws: `ConfigurationError`; settings that would change the numbers and are not supported are refused.
  public init(
    _ reader: ConfigurationReader, defaults: TextDefaults = .llama, outer: ConfigurationReader? = nil
  ) throws(ConfigurationError) {
    vocabularySize = try reader.integer("vocab_size", in: Self.sizes, default: defaults.vocabularySize)
    hiddenSize = try reader.integer("hidden_size", in: Self.sizes, default: defaults.hiddenSize)
    intermediateSize = try reader.integer(
      "intermediate_size", in: Self.sizes, default: defaults.intermediateSize)
    layerCount = try reader.integer("num_hidden_layers", in: 1...4096, default: defaults.layerCount)
    headCount = try reader.integer("num_attention_heads", in: 1...4096, default: defaults.headCount)
    keyValueHeadCount = try reader.integer(
      "num_key_value_heads", in: 1...4096, default: defaults.keyValueHeadCount ?? headCount)
    headSize = try reader.integer("head_dim", in: 2...4096, default: max(2, hiddenSize / headCount))
    guard headCount % keyValueHeadCount == 0 else {
      throw .outOfRange(
        path: reader.path, key: "num_key_value_heads", found: "\(keyValueHeadCount)",
        expected: "a divisor of num_attention_heads (\(headCount))")
    }
    guard headSize % 2 == 0 else {
      throw .outOfRange(path: reader.path, key: "head_dim", found: "\(headSize)", expected: "an even number")
    }
    normEpsilon = Float(try reader.number("rms_norm_eps", above: 0, default: defaults.normEpsilon))
    contextLength = try reader.integer(
      "max_position_embeddings", in: 1...(1 << 40), default: defaults.contextLength)
    // transformers 5 writes rope_parameters, older versions rope_theta and rope_scaling. It reads them all: the scaling
    // first if it says anything, and the base beside them where they have none.
    let rotary = try [reader.section("rope_scaling"), reader.section("rope_parameters")].lazy.compactMap {
      $0
    }
    .first { !$0.object.keys.isEmpty }
    let base = try reader.number("rope_theta", above: 0, default: defaults.rotaryBase)
    rotaryBase = try rotary?.number("rope_theta", above: 0, default: base) ?? base
    (rotaryScaling, rotarySections) = try Self.rotary(
      rotary, pairs: headSize / 2, contextLength: contextLength)
    try rotary?.refuse("partial_rotary_factor", unless: [1, 1.0])
    attentionBias =
      try reader.bool("attention_bias", default: false) ? .all : defaults.attentionBias
    feedForwardHasBias = try reader.bool("mlp_bias", default: false)
    headNorm = try reader.bool("qk_norm", default: false) ? .rms : defaults.headNorm
    normalisesOutputs = try reader.bool("swin_norm", default: false)
    // Either says so: Idefics3 only the outer one, files of transformers 4 often only the inner one.
    let ownTie = try reader.bool("tie_word_embeddings", default: false)
    tiesEmbeddings = try outer?.bool("tie_word_embeddings", default: ownTie) ?? false || ownTie
    let vocabulary = vocabularySize
    func ids(_ key: String, default fallback: Int?) throws(ConfigurationError) -> [Int] {
      let own = fallback.map { [$0] } ?? []
      guard let outer, !reader.has(key), outer.has(key) else {
        return try reader.tokenIDs(key, below: vocabulary, default: own)
      }
      return try outer.tokenIDs(key, below: vocabulary)
    }
    endIDs = try ids("eos_token_id", default: defaults.endID)
    beginID = try ids("bos_token_id", default: defaults.beginID).first
    paddingID = try ids("pad_token_id", default: nil).first
    try reader.refuse("hidden_act", unless: ["silu", "swish"])
    try reader.refuse("pretraining_tp", unless: [1])
    try reader.refuse("partial_rotary_factor", unless: [1, 1.0])
    // A copy made by `CheckpointConversion` says what its weight files hold.
    for reader in [reader, outer].compactMap({ $0 }) where !CheckpointConversion.made(reader) {
      try reader.refuse("quantization_config", unless: [])
    }
    try Self.refuseWindow(reader, defaults, layerCount: layerCount, contextLength: contextLength)
  }

  /// Refuses a window of attention that is shorter than the sequences the model was made for.
  private static func refuseWindow(
    _ reader: ConfigurationReader, _ defaults: TextDefaults, layerCount: Int, contextLength: Int
  ) throws(ConfigurationError) {
    if defaults.windowHasSwitch {
      guard try reader.bool("use_sliding_window", default: false) else { return }
      let full = try reader.integer("max_window_layers", in: 0...(1 << 20), default: defaults.fullLayerCount)
      // A list of the layers' kinds replaces the number.
      let kinds = reader.has("layer_types") ? reader.object["layer_types"]?.arrayValue : nil
      if kinds?.allSatisfy({ $0 == "full_attention" }) ?? (full >= layerCount) { return }
    }
    // A window that is null in the file is none; a missing one is the default of the class.
    let isNull = reader.object["sliding_window"]?.isNull ?? false
    guard reader.has("sliding_window") || (defaults.slidingWindow != nil && !isNull) else { return }
    let window = try reader.integer("sliding_window", in: 1...(1 << 40), default: defaults.slidingWindow)
    guard window < contextLength else { return }
    throw reader.unsupported(
      "sliding_window", found: "\(window)",
      supported: "null, or at least max_position_embeddings, which is \(contextLength)")
  }

  private static func rotary(
    _ reader: ConfigurationReader?, pairs: Int, contextLength: Int
  ) throws(ConfigurationError) -> (RotaryEmbedding.Scaling, [Int]) {
    guard let reader else { return (.none, []) }
    // Settings of their own for each kind of layer.
    for kind in ["full_attention", "sliding_attention"] { try reader.refuse(kind, unless: []) }
    let sections = try reader.integers("mrope_section", in: 0...pairs, limit: 8) ?? []
    guard sections.isEmpty || sections.reduce(0, +) == pairs else {
      throw .outOfRange(
        path: reader.path, key: "mrope_section", found: "\(sections)",
        expected: "numbers that sum to \(pairs), half of a head")
    }
    try reader.refuse("mrope_interleaved", unless: [false])
    let kind = try reader.string("rope_type", default: try reader.string("type", default: "default"))
    switch kind {
    case "default": return (.none, sections)
    case "mrope" where !sections.isEmpty: return (.none, sections)
    case "linear": return (.linear(factor: try reader.number("factor", above: 0)), sections)
    case "llama3":
      let low = try reader.number("low_freq_factor", above: 0)
      let high = try reader.number("high_freq_factor", above: low)
      let scaling = RotaryEmbedding.Scaling.llama3(
        factor: try reader.number("factor", above: 0), lowFrequencyFactor: low, highFrequencyFactor: high,
        originalContext: try reader.integer(
          "original_max_position_embeddings", in: 1...(1 << 40), default: contextLength))
      return (scaling, sections)
    default:
      throw .unsupportedValue(
        path: reader.path, key: "rope_type", found: "\"\(kind)\"",
        supported: "default, linear, llama3, mrope with mrope_section")
    }
  }
}
