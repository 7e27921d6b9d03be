public import RunKit
public import TensorCore

/// Writes answers token by token with a key-value cache.
///
/// The sequences of a batch run together and do not influence each other: each gets the ids it would get alone.
public struct Generator {
  /// One finished answer.
  public struct Answer: Sendable, Equatable {
    /// The generated ids, with the id that ended it if one did.
    public let ids: [Int]
    /// The log-probability of each id under the model, in nats.
    public let logProbabilities: [Float]
    /// Whether an end id was reached.
    public let isComplete: Bool
  }

  /// The rows to start from: embeddings and what they are.
  public struct Start: Sendable {
    /// `[rows, hidden]`.
    public let embeddings: Tensor
    /// The sequences of the batch.
    public let context: TokenContext

    /// Rows to start from.
    public init(embeddings: Tensor, context: TokenContext) {
      (self.embeddings, self.context) = (embeddings, context)
    }

    /// The prompts of a batch, one sequence each.
    public init(_ prompts: [Prompt], model: any LanguageModel) {
      self.init(
        embeddings: Tensor.concatenated(prompts.map { model.embeddings($0) }),
        context: TokenContext(prompts))
    }
  }

  private let model: any LanguageModel
  /// How ids are chosen.
  public var sampler = Sampler.greedy
  /// The most ids of an answer.
  public var limit = 64
  /// Ids that end an answer; they belong to it.
  public var endIDs: Set<Int>
  /// The seed of sampling; answer i of a batch draws from a stream of its own, keyed by `streamIDs[i]`.
  public var seed = 0
  /// Readers of the prompt and of every step.
  public var observers: [any ForwardObserver] = []
  /// Writers of the prompt and of every step.
  public var interventions: [any Intervention] = []
  /// Called with the logits of each step: the sequences still running and `[running, vocabulary]`.
  public var onLogits: (([Int], Tensor) -> Void)?

  /// - Parameter model: Its end ids end an answer unless `endIDs` is changed.
  public init(_ model: any LanguageModel) {
    self.model = model
    endIDs = Set(model.decoder.configuration.endIDs)
  }

  /// - Parameter checkpoint: Its end ids end an answer unless `endIDs` is changed.
  public init(_ checkpoint: Checkpoint) {
    self.init(checkpoint.model)
    endIDs = Set(checkpoint.endIDs)
  }

  /// Answers a batch.
  ///
  /// - Parameters:
  ///   - start: The prompts.
  ///   - streamIDs: The random stream of each sequence; its number in the batch unless given.
  /// - Throws: `ModelError.notFinite` when logits are not numbers.
  public func answers(to start: Start, streamIDs: [Int]? = nil) throws(ModelError) -> [Answer] {
    let count = start.context.segments.count
    let longest = (0..<count).map { start.context.segments[$0].count }.max() ?? 0
    var options = ForwardOptions()
    options.cache = KeyValueCache(sequences: count, capacity: longest + limit)
    options.observers = observers
    options.interventions = interventions
    // Where positions have several axes, text goes on after the largest of all.
    var positions = (0..<count).map { index in
      start.context.positions.selecting(start.context.segments[index]).next
    }
    var ids = [[Int]](repeating: [], count: count)
    var logProbabilities = [[Float]](repeating: [], count: count)
    var running = Array(0..<count)
    var streams = (0..<count).map { index in
      RandomStream(seed: seed, purpose: "generate", id: streamIDs?[index] ?? index)
    }
    var (embeddings, context) = (start.embeddings, start.context)
    let fitsMemory = model.decoder.storedByteCount < MemoryLimit.available / 2
    for _ in 0..<limit {
      // A step reads every weight once: mapping the pages anew each time would cost as much as the products.
      options.keepsPages = fitsMemory && context.phase == .decode
      let result = model.decoder.forward(embeddings, context: context, options: options)
      guard let logits = result.logits else { break }
      onLogits?(running, logits)
      let (rows, log) = (logits.hostRows(), logits.logSoftmax().hostRows())
      var still: [Int] = []
      var newIDs: [Int] = []
      for (row, sequence) in running.enumerated() {
        guard rows[row].allSatisfy(\.isFinite) else {
          throw .notFinite(what: "logits", step: ids[sequence].count)
        }
        let id = sampler.choose(from: rows[row], using: &streams[sequence])
        ids[sequence].append(id)
        logProbabilities[sequence].append(log[row][id])
        if !endIDs.contains(id) && ids[sequence].count < limit {
          still.append(sequence)
          newIDs.append(id)
        }
      }
      running = still
      if running.isEmpty { break }
      embeddings = model.textEmbeddings(newIDs)
      context = TokenContext(
        segments: RowSegments(lengths: (0..<count).map { running.contains($0) ? 1 : 0 }),
        positions: running.map { positions[$0] }, roles: running.map { _ in .response },
        cachedRoles: options.cache?.roles, mask: .causal, phase: .decode)
      for sequence in running { positions[sequence] += 1 }
    }
    return (0..<count).map { index in
      Answer(
        ids: ids[index], logProbabilities: logProbabilities[index],
        isComplete: ids[index].last.map(endIDs.contains) ?? false)
    }
  }
}

/// Why a model could not compute.
public enum ModelError: DescribedError {
  case notFinite(what: String, step: Int)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case notFinite = "model_not_finite"
  }

  /// Which case this is.
  public var code: Code { .notFinite }

  /// What was wrong, where, and what was expected.
  public var errorDescription: String? {
    switch self {
    case .notFinite(let what, let step):
      "the \(what) at step \(step) are not finite numbers: the weights or an input contain NaN or infinity"
    }
  }

  /// What to do about it.
  public var recoverySuggestion: String? {
    "'mmprobe verify MODEL' names the first tensor with such values; get the weight files again"
  }
}
