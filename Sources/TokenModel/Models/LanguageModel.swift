public import TensorCore

/// A multimodal language model of some family: how its prompts look, how media become rows, and its decoder.
public protocol LanguageModel: Sendable {
  /// `model_type` of the configuration.
  static var modelType: String { get }
  /// One line about the family, for `inspect --families`.
  static var summary: String { get }
  /// The decoder.
  var decoder: LLaMADecoder { get }
  /// The modalities of media the model takes.
  var modalities: [Modality] { get }
  /// What one medium must look like, `[channels, height, width]` or `[mel bins, frames]`; nil if not taken.
  func mediumShape(of modality: Modality) -> [Int]?
  /// The placeholder id of a modality; nil if not taken.
  func placeholderID(of modality: Modality) -> Int?
  /// The grid of rows a medium of this modality becomes.
  func grid(of medium: Medium) -> SpanMap.Grid
  /// The rows of text ids, `[ids, hidden]`: prompt text and generated pieces alike.
  func textEmbeddings(_ ids: [Int]) -> Tensor
  /// The rows of one medium, `[grid rows * columns, hidden]`.
  func mediumEmbeddings(_ medium: Medium) -> Tensor
  /// The rows of a medium of the same size that shows nothing, `[grid rows * columns, hidden]`: its normalised input is 0,
  /// the mean of the data, everywhere.
  func blankEmbeddings(_ medium: Medium) -> Tensor
  /// Whether conversations are laid out by the chat template of the folder, if it has one, instead of by `format`.
  var usesChatTemplate: Bool { get }
  /// Turns a conversation into pieces of text with roles; placeholders stand between them.
  func format(_ sample: Sample) throws -> [FormattedPart]
}

extension LanguageModel {
  /// By `format`, unless a family says otherwise.
  public var usesChatTemplate: Bool { false }
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

extension LanguageModel {
  /// Replaces each placeholder id by its medium and says what every position is.
  ///
  /// - Parameters:
  ///   - ids: One placeholder id for each medium.
  ///   - pieces: The text of each id, for people.
  ///   - roles: The role of each text id; entries at placeholders are ignored.
  ///   - promptCount: How many of `ids` are the prompt; the rest is a given answer.
  /// - Throws: `PromptError`.
  public func expand(
    ids: [Int], pieces: [String], roles: [Role], media: [Medium], promptCount: Int, sample: String
  ) throws(PromptError) -> Prompt {
    require(pieces.count == ids.count && roles.count == ids.count, "one piece and one role for each id")
    let vocabulary = decoder.configuration.vocabularySize
    for modality in Modality.media {
      let given = media.count { $0.modality == modality }
      let expected = placeholderID(of: modality).map { id in ids.count { $0 == id } } ?? 0
      if placeholderID(of: modality) == nil && given > 0 {
        throw .unsupportedModality(
          sample: sample, modality: modality.rawValue, supported: modalities.map(\.rawValue))
      }
      guard given == expected else {
        throw .placeholderMismatch(
          sample: sample, modality: modality.rawValue, placeholders: expected, media: given)
      }
    }
    for medium in media {
      guard let shape = mediumShape(of: medium.modality), shape == medium.shape,
        medium.values.count == shape.reduce(1, *)
      else {
        throw .wrongMediumShape(
          sample: sample, modality: medium.modality.rawValue, found: medium.shape,
          expected: mediumShape(of: medium.modality) ?? [])
      }
    }
    // Counted before anything of that size is made: one placeholder may stand for many rows.
    let mediaCount = media.reduce(0) { $0 + grid(of: $1).rows * grid(of: $1).columns - 1 }
    guard ids.count + mediaCount <= Prompt.positionLimit else {
      throw .tooLong(sample: sample, count: ids.count + mediaCount, limit: Prompt.positionLimit)
    }
    var spans = SpanMap()
    var ordered: [Medium] = []
    var queues = Dictionary(grouping: media.indices, by: { media[$0].modality })
    var expandedPrompt = 0
    for (source, id) in ids.enumerated() {
      if source == promptCount { expandedPrompt = spans.count }
      guard 0..<vocabulary ~= id else { throw .idOutOfRange(sample: sample, id: id, vocabulary: vocabulary) }
      let modality = modalities.first { placeholderID(of: $0) == id }
      if let modality, let role = modality.role, let next = queues[modality]?.first {
        queues[modality]?.removeFirst()
        spans.appendMedium(role: role, grid: grid(of: media[next]), medium: ordered.count, source: source)
        ordered.append(media[next])
      } else {
        spans.appendText(role: roles[source], source: source)
      }
    }
    return Prompt(
      ids: ids, pieces: pieces, media: ordered, spans: spans,
      promptCount: promptCount >= ids.count ? spans.count : expandedPrompt)
  }

  /// The rows of a prompt, `[positions, hidden]`, in order.
  public func embeddings(_ prompt: Prompt) -> Tensor {
    var parts: [Tensor] = []
    for span in prompt.spans.spans {
      if let medium = span.medium {
        parts.append(mediumEmbeddings(prompt.media[medium]))
      } else {
        parts.append(textEmbeddings(span.positions.map { prompt.ids[prompt.spans.sources[$0]] }))
      }
    }
    return Tensor.concatenated(parts)
  }
}

extension Modality {
  /// The modalities that come as media.
  public static let media: [Modality] = [.image, .audio, .video]
}
