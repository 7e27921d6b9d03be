/// `LlamaForCausalLM`: text only.
///
/// The prompt is what the chat template of the folder makes of the conversation; without one the text of the turns as it
/// stands, after the id that begins a sequence.
public struct LLaMAModel: LanguageModel {
  /// `model_type` of the configuration.
  public static let modelType = "llama"
  /// One line about the family.
  public static let summary =
    "LLaMA 1 to 3 and derivatives (text only): grouped-query attention, rotary positions, SwiGLU"

  /// The decoder.
  public var decoder: LLaMADecoder
  /// The modalities of media the model takes.
  public let modalities: [Modality] = []

  /// - Throws: `ConfigurationError`, `StoredTensorError`.
  public init(_ reader: ConfigurationReader, weights: WeightSource) throws {
    decoder = try LLaMADecoder(try LLaMAConfiguration(reader), weights: weights)
  }

  /// The pieces of a prompt and their roles.
  public func format(_ sample: Sample) throws -> [FormattedPart] { Self.plainFormat(sample) }

  /// The turns as they stand, after the id that begins a sequence.
  static func plainFormat(_ sample: Sample) -> [FormattedPart] {
    var parts: [FormattedPart] = [.begin]
    for turn in sample.turns {
      switch turn.speaker {
      case .system: parts.append(.text(turn.text, role: .system))
      case .user: parts.append(.text(turn.text, role: .question))
      case .assistant: parts.append(.text(turn.text, role: .response))
      }
    }
    return parts
  }
}
