public import TensorCore

/// A multimodal language model of some family: how its prompts look, how media become rows, and its decoder.
///
/// A family is one file. It reads its configuration and weights, says which rows a medium becomes (`rowParts`), computes
/// them (`mediumEmbeddings`) and lays out conversations (`format`); everything else is common to all families.
public protocol LanguageModel: Sendable, MediaSource {
  /// `model_type` of the configuration.
  static var modelType: String { get }
  /// One line about the family, for `inspect --families`.
  static var summary: String { get }
  /// The decoder.
  var decoder: LLaMADecoder { get set }
  /// The modalities of media the model takes.
  var modalities: [Modality] { get }
  /// What the model takes, for messages.
  var inputNames: [String] { get }
  /// The towers and how many layers each has.
  var towers: [(tower: TensorName.Tower, layerCount: Int)] { get }
  /// The trace name of what transformers calls the last hidden state of a tower.
  func lastHiddenState(of tower: TensorName.Tower) -> String
  /// The placeholder id of a modality; nil if not taken.
  func placeholderID(of modality: Modality) -> Int?
  /// The role of an id that has the same one wherever it stands, such as a mark around media; nil for others.
  func fixedRole(of id: Int) -> Role?
  /// A medium of the size the family's preprocessing makes, all 0; nil if the modality is not taken.
  func exampleMedium(of modality: Modality) -> Medium?
  /// Checks that the model can take a medium; called before anything else is asked about it.
  ///
  /// - Throws: `PromptError.wrongMediumShape`, `.unusableMedium`.
  func validate(_ medium: Medium, sample: String) throws(PromptError)
  /// What a valid medium becomes, in the order of its rows.
  func rowParts(of medium: Medium) -> [MediumPart]
  /// The rows of text ids, `[ids, hidden]`: prompt text and generated pieces alike.
  func textEmbeddings(_ ids: [Int]) -> Tensor
  /// The rows of one valid medium, `[rows of its parts, hidden]`.
  ///
  /// - Parameter options: Observers of the towers.
  func mediumEmbeddings(_ medium: Medium, options: ForwardOptions) -> Tensor
  /// The rows of a medium of the same size that shows nothing: its normalised input is 0, the mean of the data, everywhere.
  func blankEmbeddings(_ medium: Medium) -> Tensor
  /// The rotary positions of expanded ids; 0, 1, … in most families.
  func positions(_ spans: SpanMap, media: [Medium]) -> RowPositions
  /// Whether conversations are laid out by the chat template of the folder, if it has one, instead of by `format`.
  var usesChatTemplate: Bool { get }
  /// Whether a conversation is laid out so, where `usesChatTemplate` says that conversations are.
  func usesChatTemplate(for sample: Sample) -> Bool
  /// What stands in a text for the next medium of a modality; nil if not taken.
  func placeholderText(of modality: Modality, _ tokenizer: any Tokenizer) -> String?
  /// Turns a conversation into pieces of text with roles; placeholders stand between them.
  func format(_ sample: Sample) throws -> [FormattedPart]
  /// What follows the formatted conversation when the answer is given.
  func answerParts(_ answer: String) -> [FormattedPart]
  /// Whether the text between two marks of `begin` and `end` is encoded as a whole, placeholders written out in it, as the
  /// processors of transformers do; otherwise each piece is encoded alone.
  var encodesPromptAsOneText: Bool { get }
  /// What a processor writes into a text in the place of a medium's one placeholder, if it writes more than placeholders
  /// for all rows.
  func writtenParts(of medium: Medium) -> [FormattedPart]?
  /// The tensors of media that `trace` takes, by the names of transformers.
  var mediaInputs: [String] { get }
  /// The media of raw inputs, those of one modality in the order of their placeholders.
  ///
  /// - Throws: `TraceError`, `StoredTensorError`.
  func media(from tensors: MediaTensors) throws -> [Medium]
}

/// A stretch of the rows that a medium becomes.
public enum MediumPart: Sendable, Equatable {
  /// Rows in a grid, row by row; each has a placeholder where placeholders are written out.
  case grid(SpanMap.Grid)
  /// Rows that separate, such as the end of a line of tiles; each has a placeholder like the others.
  case separators(Int)
  /// A place where a processor that writes placeholders out puts marks of its own between them.
  case marks

  /// How many rows it has.
  public var rowCount: Int {
    switch self {
    case .grid(let grid): grid.rows * grid.columns
    case .separators(let count): count
    case .marks: 0
    }
  }
}

extension LanguageModel {
  /// As transformers does it, unless a family says otherwise.
  public var usesChatTemplate: Bool { true }
  /// Every one.
  public func usesChatTemplate(for sample: Sample) -> Bool { true }
  /// The piece of the placeholder.
  public func placeholderText(of modality: Modality, _ tokenizer: any Tokenizer) -> String? {
    placeholderID(of: modality).flatMap { tokenizer.piece($0) }
  }
}

/// A stretch of a formatted conversation.
public enum FormattedPart: Sendable, Equatable {
  /// The id that begins a sequence.
  case begin
  /// The id that ends an answer.
  case end
  /// Text to encode.
  case text(String, role: Role)
  /// The place of the next medium of a modality.
  case placeholder(Modality)
}

/// What holds for most families.
extension LanguageModel {
  /// Whether no row of a prompt depends on later rows of it; a prefix of one must not be used again otherwise.
  public var promptIsCausal: Bool { decoder.promptIsCausal }
  /// The modalities.
  public var inputNames: [String] { modalities.map(\.rawValue) }
  /// No towers.
  public var towers: [(tower: TensorName.Tower, layerCount: Int)] { [] }
  /// What leaves the last layer.
  public func lastHiddenState(of tower: TensorName.Tower) -> String {
    "\(tower.rawValue).hidden.\(towers.first { $0.tower == tower }?.layerCount ?? 0)"
  }
  /// The answer and the id that ends it.
  public func answerParts(_ answer: String) -> [FormattedPart] { [.text(answer, role: .response), .end] }
  /// Each piece alone.
  public var encodesPromptAsOneText: Bool { false }
  /// Nothing but placeholders.
  public func writtenParts(of medium: Medium) -> [FormattedPart]? { nil }
  /// No media tensors.
  public var mediaInputs: [String] { [] }
  /// No modality has a placeholder.
  public func placeholderID(of modality: Modality) -> Int? { nil }
  /// No id has a role of its own.
  public func fixedRole(of id: Int) -> Role? { nil }
  /// No media are taken.
  public func exampleMedium(of modality: Modality) -> Medium? { nil }
  /// No media are taken.
  public func validate(_ medium: Medium, sample: String) throws(PromptError) {
    throw .unsupportedModality(
      sample: sample, modality: medium.modality.rawValue, supported: inputNames)
  }
  /// No rows.
  public func rowParts(of medium: Medium) -> [MediumPart] { [] }
  /// The embedding table.
  public func textEmbeddings(_ ids: [Int]) -> Tensor { decoder.embedding.rows(ids) }
  /// No media are taken.
  public func mediumEmbeddings(_ medium: Medium, options: ForwardOptions) -> Tensor {
    require(false, "a text model has no media")
    return Tensor(zeros: [0, decoder.configuration.hiddenSize])
  }
  /// The rows of the medium with all numbers 0.
  public func blankEmbeddings(_ medium: Medium) -> Tensor {
    mediumEmbeddings(medium.zeroed, options: ForwardOptions())
  }
  /// 0, 1, ….
  public func positions(_ spans: SpanMap, media: [Medium]) -> RowPositions { .counting(spans.count) }
  /// No media.
  public func media(from tensors: MediaTensors) throws -> [Medium] { [] }

  /// The rows of one valid medium, `[rows of its parts, hidden]`.
  public func mediumEmbeddings(_ medium: Medium) -> Tensor {
    mediumEmbeddings(medium, options: ForwardOptions())
  }

  /// How many rows a valid medium becomes.
  public func rowCount(of medium: Medium) -> Int { rowParts(of: medium).reduce(0) { $0 + $1.rowCount } }

  /// The rows of a prompt, `[positions, hidden]`, in order.
  ///
  /// - Parameter options: Observers of the towers.
  public func embeddings(_ prompt: Prompt, options: ForwardOptions = ForwardOptions()) -> Tensor {
    let media = prompt.media.map { mediumEmbeddings($0, options: options) }
    return Tensor.concatenated(
      prompt.spans.spans.map { span in
        if let medium = span.medium, let rows = span.rows { return media[medium].slice(rows) }
        return textEmbeddings(span.positions.map { prompt.ids[prompt.spans.sources[$0]] })
      })
  }
}

extension Modality {
  /// The modalities that come as media.
  public static let media: [Modality] = [.image, .audio, .video]
}
