public import TensorCore

/// The sizes and settings of a LLaMA-type decoder, from a Hugging Face `config.json` of transformers 4 or 5.
public struct LLaMAConfiguration: Sendable, Equatable {
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
  /// Whether q, k, v and o have biases.
  public let attentionHasBias: Bool
  /// Whether gate, up and down have biases.
  public let feedForwardHasBias: Bool
  /// Whether queries and keys pass an RMS norm of each head before rotation, as in Qwen3.
  public let normalisesQueryAndKey: Bool
  /// Whether norms stand at the output of attention and feed-forward instead of at their input, as in Chameleon.
  public let normalisesOutputs: Bool
  /// Whether the output layer is the embedding table.
  public let tiesEmbeddings: Bool
  /// Ids that end a sequence.
  public let endIDs: [Int]
  /// The id that begins a sequence, if there is one.
  public let beginID: Int?
  /// The id of padding, if there is one.
  public let paddingID: Int?

  private static let sizes = 1...(1 << 24)

  /// Reads and checks the settings.
  ///
  /// - Throws: `ConfigurationError`; settings that would change the numbers and are not supported are refused.
  public init(_ reader: ConfigurationReader) throws(ConfigurationError) {
    vocabularySize = try reader.integer("vocab_size", in: Self.sizes, default: 32000)
    hiddenSize = try reader.integer("hidden_size", in: Self.sizes, default: 4096)
    intermediateSize = try reader.integer("intermediate_size", in: Self.sizes, default: 11008)
    layerCount = try reader.integer("num_hidden_layers", in: 1...4096, default: 32)
    headCount = try reader.integer("num_attention_heads", in: 1...4096, default: 32)
    keyValueHeadCount = try reader.integer("num_key_value_heads", in: 1...4096, default: headCount)
    headSize = try reader.integer("head_dim", in: 2...4096, default: max(2, hiddenSize / headCount))
    guard headCount % keyValueHeadCount == 0 else {
      throw .outOfRange(
        path: reader.path, key: "num_key_value_heads", found: "\(keyValueHeadCount)",
        expected: "a divisor of num_attention_heads (\(headCount))")
    }
    guard headSize % 2 == 0 else {
      throw .outOfRange(path: reader.path, key: "head_dim", found: "\(headSize)", expected: "an even number")
    }
    normEpsilon = Float(try reader.number("rms_norm_eps", above: 0, default: 1e-6))
    contextLength = try reader.integer("max_position_embeddings", in: 1...(1 << 40), default: 2048)
    // transformers 5 writes rope_parameters, older versions rope_theta and rope_scaling.
    let parameters = try reader.section("rope_parameters")
    rotaryBase = try (parameters ?? reader).number("rope_theta", above: 0, default: 10000)
    let scaling = if let parameters { parameters } else { try reader.section("rope_scaling") }
    rotaryScaling = try Self.rotaryScaling(scaling)
    attentionHasBias = try reader.bool("attention_bias", default: false)
    feedForwardHasBias = try reader.bool("mlp_bias", default: false)
    normalisesQueryAndKey = try reader.bool("qk_norm", default: false)
    normalisesOutputs = try reader.bool("swin_norm", default: false)
    tiesEmbeddings = try reader.bool("tie_word_embeddings", default: false)
    endIDs = try reader.tokenIDs("eos_token_id", below: vocabularySize)
    beginID = try reader.tokenIDs("bos_token_id", below: vocabularySize).first
    paddingID = try reader.tokenIDs("pad_token_id", below: vocabularySize).first
    try reader.refuse("hidden_act", unless: ["silu", "swish"])
    try reader.refuse("pretraining_tp", unless: [1])
    try reader.refuse("partial_rotary_factor", unless: [1, 1.0])
    try reader.refuse("sliding_window", unless: [])
    try reader.refuse("quantization_config", unless: [])
  }

  private static func rotaryScaling(_ reader: ConfigurationReader?) throws(ConfigurationError)
    -> RotaryEmbedding.Scaling
  {
    guard let reader else { return .none }
    let kind = try reader.string("rope_type", default: try reader.string("type", default: "default"))
    switch kind {
    case "default": return .none
    case "linear": return .linear(factor: try reader.number("factor", above: 0))
    case "llama3":
      let low = try reader.number("low_freq_factor", above: 0)
      let high = try reader.number("high_freq_factor", above: low)
      return .llama3(
        factor: try reader.number("factor", above: 0), lowFrequencyFactor: low, highFrequencyFactor: high,
        originalContext: try reader.integer("original_max_position_embeddings", in: 1...(1 << 40)))
    default:
      throw .unsupportedValue(
        path: reader.path, key: "rope_type", found: "\"\(kind)\"", supported: "default, linear, llama3")
    }
  }
}
