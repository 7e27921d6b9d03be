public import TensorCore

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
  public let decoder: LLaMADecoder
  /// The modalities of media the model takes.
  public let modalities: [Modality] = []
  /// Whether a chat template lays out conversations.
  public var usesChatTemplate: Bool { true }

  /// - Throws: `ConfigurationError`, `StoredTensorError`.
  public init(_ reader: ConfigurationReader, weights: WeightSource) throws {
    decoder = try LLaMADecoder(try LLaMAConfiguration(reader), weights: weights)
  }

  /// What one medium must look like; nil if the modality is not taken.
  public func mediumShape(of modality: Modality) -> [Int]? { nil }
  /// The placeholder id of a modality; nil if it is not taken.
  public func placeholderID(of modality: Modality) -> Int? { nil }
  /// The grid of rows a medium becomes.
  public func grid(of medium: Medium) -> SpanMap.Grid { SpanMap.Grid(rows: 0, columns: 0) }
  /// The rows of text ids, `[ids, hidden]`.
  public func textEmbeddings(_ ids: [Int]) -> Tensor { decoder.embedding.rows(ids) }
  /// The rows of one medium, `[rows, hidden]`.
  public func mediumEmbeddings(_ medium: Medium) -> Tensor {
    require(false, "a text model has no media")
    return Tensor(zeros: [0, decoder.configuration.hiddenSize])
  }
  /// The rows of a medium that shows nothing.
  public func blankEmbeddings(_ medium: Medium) -> Tensor { mediumEmbeddings(medium) }

  /// The pieces of a prompt and their roles.
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
