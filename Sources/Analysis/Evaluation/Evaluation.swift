import Foundation
public import RunKit
public import TokenModel

/// Exact match of greedy answers with the expected ones.
public struct Evaluation: Sendable {
  /// One answered question.
  public struct Item: Sendable, Equatable {
    /// The place in the data set, from 0.
    public let index: Int
    /// The name of the sample.
    public let id: String
    /// Properties to group by.
    public let tags: [String: String]
    /// The expected answer.
    public let answer: String
    /// The answer of the model, without spaces around it.
    public let generated: String
    /// Whether the model ended its answer itself.
    public let isComplete: Bool

    /// Whether both answers are the same, spaces around them aside.
    public var isCorrect: Bool { generated.utf8.elementsEqual(Evaluation.trimmed(answer).utf8) }

    /// One line of a record file.
    public var json: JSONValue {
      [
        "index": .integer(index), "id": .string(id),
        "tags": .object(JSONObject(tags.sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) })),
        "answer": .string(answer), "generated": .string(generated), "complete": .bool(isComplete),
        "correct": .bool(isCorrect),
      ]
    }
  }

  /// The fraction that is right, with an interval.
  public struct Accuracy: Sendable, Equatable {
    /// Right answers.
    public let correctCount: Int
    /// All answers.
    public let count: Int
    /// The fraction and its interval, from 0 to 1; nil without answers.
    public let interval: ConfidenceInterval?

    /// Counts the items that are right.
    init(_ items: [Item], confidence: Double) {
      correctCount = items.count { $0.isCorrect }
      count = items.count
      interval = Evaluation.wilson(correctCount, of: items.count, confidence: confidence)
    }

    /// `accuracy`, `n`, `correct`, `ci`.
    public var json: JSONObject {
      JSONObject([
        ("accuracy", JSONValue(interval?.estimate)), ("n", .integer(count)),
        ("correct", .integer(correctCount)),
        ("ci", interval.map { [.number($0.lower), .number($0.upper)] } ?? .null),
      ])
    }
  }

  /// Accuracies by the values of one tag, or of several that are crossed.
  public struct Breakdown: Sendable, Equatable {
    /// The tag; crossed tags have a plus sign between.
    public let key: String
    /// Values in their order with their accuracy.
    public let parts: [(value: String, accuracy: Accuracy)]

    /// Whether key, values and accuracies agree.
    public static func == (left: Breakdown, right: Breakdown) -> Bool {
      left.key == right.key && left.parts.elementsEqual(right.parts) { $0 == $1 }
    }
  }

  /// The answers in the order of the data.
  public let items: [Item]
  /// Over all items.
  public let overall: Accuracy
  /// By tag.
  public let breakdowns: [Breakdown]
  /// The nominal coverage of intervals.
  public let confidence: Double

  /// Counts.
  ///
  /// - Parameters:
  ///   - keys: Tags to group by, crossed ones with a plus sign between; nil for every tag that occurs.
  ///   - confidence: Between 0 and 1.
  public init(_ items: [Item], by keys: [String]? = nil, confidence: Double = 0.95) {
    self.items = items
    self.confidence = confidence
    overall = Accuracy(items, confidence: confidence)
    let keys = keys ?? Set(items.flatMap(\.tags.keys)).sorted()
    breakdowns = keys.map { key in
      let tags = key.split(separator: "+").map(String.init)
      let groups = Dictionary(grouping: items) { item in
        tags.map { item.tags[$0] ?? "none" }.joined(separator: "+")
      }
      return Breakdown(
        key: key,
        parts: groups.sorted { $0.key < $1.key }.map { ($0.key, Accuracy($0.value, confidence: confidence)) })
    }
  }

  /// Top-level `accuracy`, `n`, `correct`, `ci`, and `by`.
  public var json: JSONValue {
    var object = overall.json
    object["confidence"] = .number(confidence)
    object["match"] = "exact"
    object["by"] = .object(
      JSONObject(
        breakdowns.map { breakdown in
          (breakdown.key, .object(JSONObject(breakdown.parts.map { ($0.value, .object($0.accuracy.json)) })))
        }))
    return .object(object)
  }

  /// A text without white space around it.
  static func trimmed(_ text: String) -> String { text.trimmingCharacters(in: .whitespacesAndNewlines) }

  /// The score interval of a binomial proportion, which stays within 0 and 1 and has width also at its ends.
  ///
  ///     (p + z²/2n ± z √(p(1 − p)/n + z²/4n²)) / (1 + z²/n)
  ///
  /// Source: Wilson, "Probable Inference, the Law of Succession, and Statistical Inference", JASA 22, 1927.
  static func wilson(_ correct: Int, of count: Int, confidence: Double) -> ConfidenceInterval? {
    guard count > 0 else { return nil }
    let (n, p) = (Double(count), Double(correct) / Double(count))
    // Student's t with so many degrees of freedom is the normal distribution to more digits than matter.
    let z = StudentT.quantile((1 + confidence) / 2, degreesOfFreedom: 1e9)
    let center = p + z * z / (2 * n)
    let spread = z * (p * (1 - p) / n + z * z / (4 * n * n)).squareRoot()
    let scale = 1 + z * z / n
    return ConfidenceInterval(
      estimate: p, lower: max(0, (center - spread) / scale), upper: min(1, (center + spread) / scale),
      confidence: confidence)
  }
}

/// Answers questions greedily, several at a time.
public struct Evaluator {
  private let checkpoint: Checkpoint
  private let limit: Int

  /// - Parameter limit: The most ids of an answer.
  public init(_ checkpoint: Checkpoint, limit: Int) {
    self.checkpoint = checkpoint
    self.limit = limit
  }

  /// Answers samples together; each gets the answer it would get alone.
  ///
  /// - Throws: `EvaluationError.noAnswer`, `PromptError`, `TokenizerError`, `ModelError`.
  public func items(for samples: [Sample]) throws -> [Evaluation.Item] {
    let tokenizer = try checkpoint.requiredTokenizer()
    let answers = try samples.map { sample -> String in
      guard let answer = sample.answer else { throw EvaluationError.noAnswer(sample: sample.id) }
      return answer
    }
    let prompts = try samples.map { try checkpoint.prompt(for: $0) }
    var generator = Generator(checkpoint.model)
    generator.limit = limit
    let generated = try generator.answers(to: Generator.Start(prompts, model: checkpoint.model))
    return try samples.indices.map { index in
      let text = try tokenizer.decode(generated[index].ids)
      return Evaluation.Item(
        index: samples[index].index, id: samples[index].id, tags: samples[index].tags, answer: answers[index],
        generated: Evaluation.trimmed(text), isComplete: generated[index].isComplete)
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
