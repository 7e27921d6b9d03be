public import RunKit
import TensorCore
public import TokenModel

/// Answers questions greedily, several at a time, under every condition of a definition.
public struct Evaluator {
  private let checkpoint: Checkpoint
  private let definition: EvaluationDefinition

  /// An evaluator of a checkpoint.
  public init(_ checkpoint: Checkpoint, _ definition: EvaluationDefinition) {
    (self.checkpoint, self.definition) = (checkpoint, definition)
  }

  /// Answers samples together; each gets the answers it would get alone.
  ///
  /// - Throws: `EvaluationError.noAnswer`, `PromptError`, `TokenizerError`, `ModelError`.
  public func records(for samples: [Sample]) throws -> [EvaluationRecord] {
    let expected = try samples.map { sample -> String in
      guard let answer = sample.answer else { throw EvaluationError.noAnswer(sample: sample.id) }
      return answer
    }
    var answers = [[EvaluationRecord.Answer]](repeating: [], count: samples.count)
    for condition in definition.conditions {
      for (index, answer) in try self.answers(to: samples, condition).enumerated() {
        answers[index].append(answer)
      }
    }
    return samples.indices.map { index in
      let sample = samples[index]
      var tags = sample.tags
      if let needed = definition.neededModalities(ofType: tags["type"]) {
        tags[EvaluationDefinition.needsTag] = needed
      }
      return EvaluationRecord(
        index: sample.index, id: sample.id, hash: AttentionProbe.hash(of: sample),
        clusters: Dictionary(grouping: sample.media) { $0.modality.rawValue }.mapValues {
          $0.map(\.identity).joined(separator: "+")
        },
        tags: tags, expected: expected[index], answers: answers[index])
    }
  }

  private func answers(to samples: [Sample], _ condition: EvaluationCondition) throws
    -> [EvaluationRecord.Answer]
  {
    let tokenizer = try checkpoint.requiredTokenizer()
    let prompts = try samples.map {
      try checkpoint.prompt(for: condition.changed($0, seed: definition.seed))
    }
    var context = TokenContext(prompts)
    context.adaptedModalities = condition.adaptedModalities
    let embeddings = Tensor.concatenated(prompts.map { condition.embeddings($0, checkpoint.model) })
    var generator = Generator(checkpoint)
    generator.limit = definition.answerLimit
    return try generator.answers(to: Generator.Start(embeddings: embeddings, context: context)).map {
      answer in
      let text = try tokenizer.decode(answer.ids)
      return .init(EvaluationRecord.trimmed(text), isComplete: answer.isComplete)
    }
  }
}

/// Why samples cannot be evaluated.
public enum EvaluationError: DescribedError {
  case noAnswer(sample: String)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case noAnswer = "eval_no_answer"
  }

  /// Which case this is.
  public var code: Code { .noAnswer }

  /// What, where, found and expected.
  public var errorDescription: String? {
    switch self {
    case .noAnswer(let sample): "\(sample.shown(limit: 1_000)): the record has no answer to compare with"
    }
  }

  /// What to do.
  public var recoverySuggestion: String? { "add answers to the data, or use 'mmprobe generate'" }
}
