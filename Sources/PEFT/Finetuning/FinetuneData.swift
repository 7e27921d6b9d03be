import Foundation
import RunKit
public import TokenModel

/// The records a model is fine-tuned on; each is read with its media when it is needed.
public struct FinetuneData: Sendable {
  /// What reading some or all records found.
  public struct Survey: Sendable, Equatable {
    /// Records that were read.
    public var count = 0
    /// What they make: one example each, or one for each answer.
    public var examples = 0
    /// Of these, records with media.
    public var withMedia = 0
    /// Positions of each role, over all records that were read.
    public var positions: [Role: Int] = [:]
    /// Positions that carry loss.
    public var labels = 0
    /// The longest record.
    public var longest = 0
    /// Media of each modality.
    public var media: [Modality: Int] = [:]
    /// How many records have just these roles.
    var roles: [Set<Role>: Int] = [:]

    /// Records with all of these modalities; text is one where the prompt has any.
    public func count(withAll modalities: [Modality]) -> Int {
      roles.filter { entry in
        modalities.allSatisfy { modality in
          modality.role.map(entry.key.contains)
            ?? (entry.key.contains(.question) || entry.key.contains(.instruction))
        }
      }.reduce(0) { $0 + $1.value }
    }
  }

  /// The file.
  public let data: DataSet
  /// How many of its records are used.
  public let count: Int
  private let checkpoint: Checkpoint
  private let splitsAnswers: Bool
  /// The most positions of a record; nil for no bound.
  private let lengthLimit: Int?

  /// - Parameters:
  ///   - count: The first so many records.
  ///   - lengthLimit: The most positions of a record.
  public init(
    _ data: DataSet, count: Int, for checkpoint: Checkpoint, options: FinetuneOptions, lengthLimit: Int?
  ) {
    (self.data, self.count, self.checkpoint, self.lengthLimit) = (data, count, checkpoint, lengthLimit)
    splitsAnswers = options.splitsAnswers
  }

  /// A record as the model sees it, and what its rows have to predict.
  struct Example: Sendable {
    let sample: Sample
    let prompt: Prompt
    /// For each row the id it predicts; −1 without loss.
    let labels: [Int]
  }

  /// Reads a record: as one example with loss on every answer, or as one for each answer.
  ///
  /// - Throws: `DataSetError`, `PromptError`, `TokenizerError`, `ChatTemplateError`, `FinetuneError`.
  func examples(at index: Int) throws -> [Example] {
    let sample = try data.sample(at: index, for: checkpoint)
    guard let answer = sample.answer else {
      throw FinetuneError.noAnswer(path: data.url.path, sample: sample.id)
    }
    guard !answer.isEmpty else { throw FinetuneError.nothingLearned(path: data.url.path, sample: sample.id) }
    guard splitsAnswers else { return [try example(sample, ofLastAnswer: false)] }
    return try (sample.earlierAnswers + [sample]).map { try example($0, ofLastAnswer: true) }
  }

  private func example(_ sample: Sample, ofLastAnswer: Bool) throws -> Example {
    let prompt = try checkpoint.prompt(for: sample, includesAnswer: true)
    if let lengthLimit, prompt.count > lengthLimit {
      throw FinetuneError.tooLong(
        path: data.url.path, sample: sample.id, found: prompt.count, limit: lengthLimit)
    }
    guard prompt.count > prompt.promptCount else {
      throw FinetuneError.nothingLearned(path: data.url.path, sample: sample.id)
    }
    let roles = prompt.spans.roles
    let labels = roles.indices.map { row -> Int in
      let next = row + 1
      guard next < roles.count, roles[next] == .response, !ofLastAnswer || next >= prompt.promptCount
      else { return -1 }
      return prompt.ids[prompt.spans.sources[next]]
    }
    return Example(sample: sample, prompt: prompt, labels: labels)
  }

  /// Reads records to see what they are, the first so many; stops at the first that cannot be used.
  ///
  /// - Throws: As a training would.
  public func survey(_ limit: Int, progress: (Int) -> Void = { _ in }) throws -> Survey {
    var survey = Survey()
    for index in 0..<min(limit, count) {
      let examples = try examples(at: index)
      survey.count += 1
      survey.examples += examples.count
      for example in examples {
        survey.longest = max(survey.longest, example.prompt.count)
        survey.labels += example.labels.count { $0 >= 0 }
        for role in example.prompt.spans.roles { survey.positions[role, default: 0] += 1 }
      }
      // The last one is the whole conversation.
      guard let whole = examples.last else { continue }
      survey.withMedia += whole.sample.media.isEmpty ? 0 : 1
      survey.roles[Set(whole.prompt.spans.roles), default: 0] += 1
      for medium in whole.sample.media { survey.media[medium.modality, default: 0] += 1 }
      progress(index + 1)
    }
    return survey
  }
}

extension Sample {
  /// The beginnings of the conversation that end with an earlier answer, as samples with that answer: with the turns
  /// before it, and the media that stand in those.
  var earlierAnswers: [Sample] {
    turns.indices.compactMap { place -> Sample? in
      guard turns[place].speaker == .assistant, !turns[place].text.isEmpty, place > 0,
        turns[place - 1].speaker == .user
      else { return nil }
      let before = Array(turns[..<place])
      var left: [Modality: Int] = [:]
      for modality in Set(media.map(\.modality)) {
        left[modality] = before.reduce(0) {
          $0 + $1.text.components(separatedBy: "<\(modality.rawValue)>").count - 1
        }
      }
      let seen = media.filter { medium in
        left[medium.modality, default: 0] -= 1
        return left[medium.modality, default: 0] >= 0
      }
      return Sample(
        index: index, id: id, turns: before, media: seen, answer: turns[place].text, tags: tags)
    }
  }
}
