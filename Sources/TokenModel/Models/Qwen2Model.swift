/// `qwen2`: Qwen2 and Qwen2.5, text only. A LLaMA-type decoder with biases on queries, keys and values.
///
/// The prompt is the text of the turns as it stands.
///
/// Source: Yang et al., "Qwen2 Technical Report", 2024, arXiv:2407.10671, section 2.2.1.
public struct Qwen2Model: LanguageModel {
  /// `model_type` of the configuration.
  public static let modelType = "qwen2"
  /// One line about the family.
  public static let summary =
    "Qwen2 and Qwen2.5 (text only): as llama, with biases on queries, keys and values"

  /// The decoder.
  public var decoder: LLaMADecoder
  /// The modalities of media the model takes.
  public let modalities: [Modality] = []

  /// - Throws: `ConfigurationError`, `StoredTensorError`.
  public init(_ reader: ConfigurationReader, weights: WeightSource) throws {
    decoder = try LLaMADecoder(try LLaMAConfiguration(reader, defaults: .qwen2), weights: weights)
  }

  /// The pieces of a prompt and their roles.
  public func format(_ sample: Sample) throws -> [FormattedPart] { LLaMAModel.plainFormat(sample) }
}
