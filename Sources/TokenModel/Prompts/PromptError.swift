public import RunKit

/// Why a sample cannot become a prompt of a model.
public enum PromptError: DescribedError {
  case placeholderMismatch(sample: String, modality: String, placeholders: Int, media: Int)
  case wrongPlaceholderCount(sample: String, modality: String, found: Int, media: Int, rows: Int)
  case brokenPlaceholders(sample: String, modality: String, found: Int, rows: Int)
  case unsupportedModality(sample: String, modality: String, supported: [String])
  case unusableMedium(sample: String, modality: String, found: String, expected: String)
  case wrongMediumShape(sample: String, modality: String, found: [Int], expected: [Int])
  case noUserTurn(sample: String)
  case unsupportedSpeaker(sample: String, speaker: String)
  case idOutOfRange(sample: String, id: Int, vocabulary: Int)
  case noTokenizer(path: String)
  case tooLong(sample: String, count: Int, limit: Int)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case placeholderMismatch = "prompt_placeholder_mismatch"
    case wrongPlaceholderCount = "prompt_wrong_placeholder_count"
    case brokenPlaceholders = "prompt_broken_placeholders"
    case unusableMedium = "prompt_unusable_medium"
    case unsupportedModality = "prompt_unsupported_modality"
    case wrongMediumShape = "prompt_wrong_medium_shape"
    case noUserTurn = "prompt_no_user_turn"
    case unsupportedSpeaker = "prompt_unsupported_speaker"
    case idOutOfRange = "prompt_id_out_of_range"
    case noTokenizer = "prompt_no_tokenizer"
    case tooLong = "prompt_too_long"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .placeholderMismatch: .placeholderMismatch
    case .wrongPlaceholderCount: .wrongPlaceholderCount
    case .brokenPlaceholders: .brokenPlaceholders
    case .unusableMedium: .unusableMedium
    case .unsupportedModality: .unsupportedModality
    case .wrongMediumShape: .wrongMediumShape
    case .noUserTurn: .noUserTurn
    case .unsupportedSpeaker: .unsupportedSpeaker
    case .idOutOfRange: .idOutOfRange
    case .noTokenizer: .noTokenizer
    case .tooLong: .tooLong
    }
  }

  /// The exit status a command ends with.
  public var exitStatus: ExitStatus {
    switch self {
    case .unsupportedModality, .unsupportedSpeaker: .unsupported
    case .noTokenizer: .missingInput
    default: .data
    }
  }

  /// What was wrong, where, and what was expected.
  public var errorDescription: String? {
    switch self {
    case .placeholderMismatch(let sample, let modality, let placeholders, let media):
      "\(sample.shown()): the text has \(placeholders) <\(modality)> placeholders, the record has \(media) \(modality) media"
    case .wrongPlaceholderCount(let sample, let modality, let found, let media, let rows):
      "\(sample.shown()): found \(found) \(modality) placeholders for \(media) \(modality) media, expected \(media), or \(rows) with one for each row"
    case .brokenPlaceholders(let sample, let modality, let found, let rows):
      "\(sample.shown()): found \(found) \(modality) placeholders in a run, expected \(rows) for the next medium"
    case .unusableMedium(let sample, let modality, let found, let expected):
      "\(sample.shown()): the \(modality) has \(found), the model takes \(expected)"
    case .unsupportedModality(let sample, let modality, let supported):
      "\(sample.shown()): this model takes no \(modality) (it takes \(supported.isEmpty ? "text only" : supported.joined(separator: ", ")))"
    case .wrongMediumShape(let sample, let modality, let found, let expected):
      "\(sample.shown()): the \(modality) has shape \(found.prefix(16)), the model takes \(expected)"
    case .noUserTurn(let sample): "\(sample.shown()): the conversation does not end with a turn of the user"
    case .unsupportedSpeaker(let sample, let speaker):
      "\(sample.shown()): this model has no format for a \(speaker) turn"
    case .idOutOfRange(let sample, let id, let vocabulary):
      "\(sample.shown()): token id \(id) is outside the vocabulary of \(vocabulary)"
    case .noTokenizer(let path): "\(path): no tokenizer.model in the folder"
    case .tooLong(let sample, let count, let limit):
      "\(sample.shown()): the prompt has \(count) positions, more than the limit of \(limit)"
    }
  }

  /// What to do about it.
  public var recoverySuggestion: String? {
    switch self {
    case .placeholderMismatch: "remove or add placeholders, or name the missing media in the record"
    case .wrongPlaceholderCount, .brokenPlaceholders:
      "write one placeholder for each medium, or prepare ids and media with one processor and its settings"
    case .unusableMedium: "prepare the medium with the settings of the model's preprocessor_config.json"
    case .unsupportedModality: "leave the medium out, or choose a model that takes it"
    case .wrongMediumShape:
      "convert the medium to the size the model was made for; 'mmprobe inspect' prints it"
    case .noUserTurn: "end the conversation with a question; the answer after it is optional"
    case .unsupportedSpeaker: "put the text into a turn of the user"
    case .idOutOfRange: "check that the tokenizer belongs to the model"
    case .noTokenizer:
      "copy the tokenizer files next to config.json, or give ids with 'mmprobe trace --inputs'"
    case .tooLong: "shorten the text, or use fewer media"
    }
  }
}
