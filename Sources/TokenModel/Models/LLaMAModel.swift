public import TensorCore

/// `LlamaForCausalLM`: text only.
///
/// The prompt is the text of the turns as it stands, after the id that begins a sequence.
public struct LLaMAModel: LanguageModel {
  public static let modelType = "llama"
  public static let summary =
    "LLaMA 1 to 3 and derivatives (text only): grouped-query attention, rotary positions, SwiGLU"

  public let decoder: LLaMADecoder
  public let modalities: [Modality] = []

  /// - Throws: `ConfigurationError`, `StoredTensorError`.
  public init(_ reader: ConfigurationReader, weights: WeightSource) throws {
    decoder = try LLaMADecoder(try LLaMAConfiguration(reader), weights: weights)
  }

  public func mediumShape(of modality: Modality) -> [Int]? { nil }
  public func placeholderID(of modality: Modality) -> Int? { nil }
  public func grid(of medium: Medium) -> SpanMap.Grid { SpanMap.Grid(rows: 0, columns: 0) }
  public func textEmbeddings(_ ids: [Int]) -> Tensor { decoder.embedding.rows(ids) }
  public func mediumEmbeddings(_ medium: Medium) -> Tensor {
    require(false, "a text model has no media")
    return Tensor(zeros: [0, decoder.configuration.hiddenSize])
  }

  public func format(_ sample: Sample) throws -> [FormattedPart] {
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
