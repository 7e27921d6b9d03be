/// What a text configuration means where it says nothing: the defaults of a class of transformers.
///
/// Configurations on the Hub leave out every field that equals the default of its class; the `text_config` of
/// llava-1.5-7b names five of fourteen. The values are those of transformers 5.23; a test compares them with its classes.
public struct TextDefaults: Sendable, Equatable {
  /// `vocab_size`.
  public var vocabularySize = 32000
  /// `hidden_size`.
  public var hiddenSize = 4096
  /// `intermediate_size`.
  public var intermediateSize = 11008
  /// `num_hidden_layers`.
  public var layerCount = 32
  /// `num_attention_heads`.
  public var headCount = 32
  /// `num_key_value_heads`; nil where it is `num_attention_heads`.
  public var keyValueHeadCount: Int?
  /// `rms_norm_eps`.
  public var normEpsilon = 1e-6
  /// `max_position_embeddings`.
  public var contextLength = 2048
  /// `rope_theta`.
  public var rotaryBase = 10000.0
  /// `bos_token_id`.
  public var beginID: Int? = 1
  /// `eos_token_id`.
  public var endID: Int? = 2
  /// `sliding_window`.
  public var slidingWindow: Int?
  /// Whether `use_sliding_window` switches the window, and `max_window_layers` says which layers have it.
  public var windowHasSwitch = false
  /// `max_window_layers`.
  public var fullLayerCount = 28
  /// Biases where `attention_bias` says nothing.
  public var attentionBias = LLaMAConfiguration.AttentionBias.none
  /// The norm of queries and keys.
  public var headNorm = LLaMAConfiguration.HeadNorm.none

  /// `LlamaConfig`.
  public static let llama = TextDefaults()

  /// `MistralConfig`.
  public static let mistral: TextDefaults = {
    var defaults = TextDefaults()
    defaults.intermediateSize = 14336
    defaults.keyValueHeadCount = 8
    defaults.contextLength = 131_072
    defaults.slidingWindow = 4096
    return defaults
  }()

  /// `Qwen2Config`.
  public static let qwen2: TextDefaults = {
    var defaults = TextDefaults()
    defaults.vocabularySize = 151_936
    defaults.intermediateSize = 22016
    defaults.keyValueHeadCount = 32
    defaults.contextLength = 32768
    (defaults.beginID, defaults.endID) = (nil, nil)
    (defaults.slidingWindow, defaults.windowHasSwitch) = (4096, true)
    defaults.attentionBias = .queryKeyValue
    return defaults
  }()

  /// `Qwen2VLTextConfig`.
  public static let qwen2VL: TextDefaults = {
    var defaults = qwen2
    defaults.vocabularySize = 152_064
    defaults.hiddenSize = 8192
    defaults.intermediateSize = 29568
    defaults.layerCount = 80
    defaults.headCount = 64
    defaults.keyValueHeadCount = 8
    defaults.normEpsilon = 1e-5
    defaults.rotaryBase = 1e6
    defaults.fullLayerCount = 80
    (defaults.beginID, defaults.endID) = (151_643, 151_645)
    return defaults
  }()

  /// `ChameleonConfig`.
  public static let chameleon: TextDefaults = {
    var defaults = TextDefaults()
    defaults.vocabularySize = 65536
    defaults.keyValueHeadCount = 32
    defaults.normEpsilon = 1e-5
    defaults.contextLength = 4096
    defaults.headNorm = .layer
    return defaults
  }()

  /// The defaults of a `text_config`, by its `model_type`.
  ///
  /// - Parameter fallback: Of the family, where the section does not say what it is.
  /// - Throws: `ConfigurationError.unsupportedValue` for a decoder that is not known.
  public static func of(_ reader: ConfigurationReader, default fallback: TextDefaults = .llama)
    throws(ConfigurationError) -> TextDefaults
  {
    switch try reader.string("model_type", default: "") {
    case "": return fallback
    case "llama": return .llama
    case "mistral": return .mistral
    case "qwen2": return .qwen2
    case "qwen2_vl", "qwen2_vl_text": return .qwen2VL
    case let other:
      throw reader.unsupported(
        "model_type", found: "\"\(other)\"", supported: "llama, mistral, qwen2, qwen2_vl_text")
    }
  }
}
