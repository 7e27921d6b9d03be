public import RunKit
import TensorCore
import TokenModel

/// The questions of a training set, encoded once, in groups that share their media.
struct TrainingQuestions {
  /// One question with its answer.
  struct Question: Sendable {
    /// What it asks for, such as `sum`; empty if the data do not say.
    let type: String
    /// Ids after the media: question, mark of the answer, answer, end.
    let ids: [Int]
    /// The roles of the ids.
    let roles: [Role]
    /// How many of the ids are the answer with its end.
    let answerCount: Int
  }

  /// Neighbouring questions about the same media.
  struct Group: Sendable {
    /// For each modality the row of its medium.
    let rows: [Modality: Int]
    var questions: [Question]
  }

  /// The groups in the order of the data.
  let groups: [Group]
  /// Ids before the media.
  let opening: [Int]
  /// The roles of these ids.
  let openingRoles: [Role]

  /// Encodes all questions.
  ///
  /// - Parameter model: Says how prompts look; its weights do not matter.
  /// - Throws: `TrainingDataError`, `DataSetError`, `PromptError`, `TokenizerError`.
  init(_ data: DataSet, model: AVTLlamaModel, tokenizer: any Tokenizer) throws {
    guard data.format == .questions else {
      throw TrainingDataError.wrongFormat(path: data.url.path, found: data.format.rawValue)
    }
    var groups: [Group] = []
    var identities: [String] = []
    var opening: (ids: [Int], roles: [Role]) = ([], [])
    for index in 0..<data.count {
      let sample = try data.sample(at: index, for: model)
      guard sample.answer != nil else {
        throw TrainingDataError.noAnswer(path: data.url.path, sample: sample.id)
      }
      let prompt = try model.prompt(for: sample, tokenizer: tokenizer, includesAnswer: true)
      let (start, question) = Self.split(prompt, type: sample.tags["type"] ?? "", model)
      opening = start
      if sample.media.map(\.identity) == identities, !groups.isEmpty {
        groups[groups.count - 1].questions.append(question)
      } else {
        identities = sample.media.map(\.identity)
        let rows = sample.media.compactMap { medium in
          medium.identity.split(separator: "/").last.flatMap { Int($0) }.map { (medium.modality, $0) }
        }
        groups.append(Group(rows: Dictionary(rows) { first, _ in first }, questions: [question]))
      }
    }
    self.groups = groups
    (self.opening, openingRoles) = opening
  }

  /// What stands before the media, and what after them.
  private static func split(
    _ prompt: Prompt, type: String, _ model: AVTLlamaModel
  ) -> (opening: (ids: [Int], roles: [Role]), question: Question) {
    let placeholders = Set(model.modalities.compactMap { model.placeholderID(of: $0) })
    var roles = [Role](repeating: .question, count: prompt.ids.count)
    for (position, source) in prompt.spans.sources.enumerated() {
      roles[source] = prompt.spans.roles[position]
    }
    // Without media the opening ends where the first piece of the question stands.
    let first =
      prompt.ids.firstIndex { placeholders.contains($0) } ?? roles.firstIndex(of: .question) ?? 0
    let start = prompt.ids.lastIndex { placeholders.contains($0) }.map { $0 + 1 } ?? first
    return (
      (Array(prompt.ids[..<first]), Array(roles[..<first])),
      Question(
        type: type, ids: Array(prompt.ids[start...]), roles: Array(roles[start...]),
        answerCount: prompt.answerPositions.count)
    )
  }
}

/// The media of a training set in memory, normalised.
struct TrainingMedia {
  /// For each modality the elements of every row.
  let elements: [Modality: [[Float]]]
  /// For each modality the order in which elements enter the model, as `AVTLlamaModel.inputOrder`.
  let order: [Modality: [Int]]
  /// For each modality the shape of a medium.
  let shapes: [Modality: [Int]]
  /// For each row the rows of the same label; nil where labels do not matter.
  let sameLabel: [[Int]]?

  /// - Parameter usesLabels: Whether labels are needed.
  /// - Throws: `DataSetError`, `StoredTensorError`, `PromptError.wrongMediumShape`.
  init(_ table: MediaTable?, model: AVTLlamaModel, usesLabels: Bool) throws {
    var (elements, order, shapes) = ([Modality: [[Float]]](), [Modality: [Int]](), [Modality: [Int]]())
    for modality in model.modalities {
      order[modality] = model.inputOrder(of: modality)
      shapes[modality] = model.mediumShape(of: modality)
      guard let table, let count = try? table.count(of: modality) else {
        elements[modality] = []
        continue
      }
      elements[modality] = try (0..<count).map { row in
        let medium = try table.medium(modality, row: row, record: "row \(row)", key: modality.rawValue)
        guard medium.shape == shapes[modality] else {
          throw PromptError.wrongMediumShape(
            sample: medium.identity, modality: modality.rawValue, found: medium.shape,
            expected: shapes[modality] ?? [])
        }
        return model.normalised(medium)
      }
    }
    (self.elements, self.order, self.shapes) = (elements, order, shapes)
    guard usesLabels, let table else {
      sameLabel = nil
      return
    }
    let labels = try table.labels()
    let byLabel = Dictionary(grouping: labels.indices) { labels[$0] }
    sameLabel = labels.map { byLabel[$0] ?? [] }
  }
}

/// Why questions cannot be trained on.
public enum TrainingDataError: DescribedError {
  case wrongFormat(path: String, found: String)
  case noAnswer(path: String, sample: String)
  case unsupportedModel(path: String, found: String)
  case tooFewGroups(path: String, found: Int, expected: Int)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case wrongFormat = "training_data_wrong_format"
    case noAnswer = "training_data_no_answer"
    case unsupportedModel = "training_unsupported_model"
    case tooFewGroups = "training_data_too_few_groups"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .wrongFormat: .wrongFormat
    case .noAnswer: .noAnswer
    case .unsupportedModel: .unsupportedModel
    case .tooFewGroups: .tooFewGroups
    }
  }

  /// The exit status a command ends with.
  public var exitStatus: ExitStatus { code == .unsupportedModel ? .unsupported : .data }

  /// The file concerned.
  public var path: String? {
    switch self {
    case .wrongFormat(let path, _), .noAnswer(let path, _), .unsupportedModel(let path, _),
      .tooFewGroups(let path, _, _):
      path
    }
  }

  /// What, where, found and expected.
  public var errorDescription: String? {
    switch self {
    case .wrongFormat(let path, let found):
      "\(path): found data of the form \(found.inQuotes), expected AVDigits-QA lines"
    case .noAnswer(let path, let sample): "\(path): \(sample.shown(limit: 1_000)) has no answer to learn"
    case .unsupportedModel(let path, let found):
      "\(path): models of type \(found.inQuotes) cannot be trained from scratch, only avt_llama"
    case .tooFewGroups(let path, let found, let expected):
      "\(path): found \(found) groups of questions, expected at least the \(expected) of one step"
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    switch self {
    case .wrongFormat: "write lines {\"t\", \"q\", \"y\", \"i\", \"u\"} with the media beside them"
    case .noAnswer: "give every question its answer \"y\""
    case .unsupportedModel: "set model_type in config.json to avt_llama"
    case .tooFewGroups: "lower 'groups' or 'accumulation', or add questions"
    }
  }
}
