import Foundation
public import RunKit
import TensorCore
public import TokenModel

/// How far a changed copy of a model, such as one of few bits a number, is from the model it was made of: the same rows go
/// through both.
///
/// - Divergence: KL(p ‖ q) = Σ p log(p / q) in nats, p of the original, for the next token after each row.
/// - Share drift: of the attention mass of a layer on the keys of a role, mean over heads and rows, the difference.
///
/// Embeddings, towers and prompts are each model's own.
public struct CheckpointDrift: Sendable {
  /// The attention share of a role in a layer, mean over samples.
  public struct Share: Sendable, Equatable {
    /// The layer, from 0.
    public let layer: Int
    /// The role of the keys.
    public let role: Role
    /// In the original.
    public let original: Double
    /// In the copy.
    public let copy: Double
  }

  /// Sequences compared.
  public private(set) var sampleCount = 0
  /// Rows compared.
  public private(set) var rowCount = 0
  /// The mean divergence over rows, in nats.
  public private(set) var meanDivergence = 0.0
  /// The largest divergence of a row.
  public private(set) var largestDivergence = 0.0
  /// The share of rows for which both models find the same token most likely.
  public private(set) var agreement = 0.0
  /// Every layer and role.
  public private(set) var shares: [Share] = []
  /// The layer and role whose share differs most.
  public var largestDrift: Share? { shares.max { abs($0.original - $0.copy) < abs($1.original - $1.copy) } }

  /// - Parameters:
  ///   - original: The model to compare with.
  ///   - copy: A model of the same family, sizes and vocabulary.
  ///   - samples: What goes through both; none for one drawn sequence.
  ///   - tokenCount: Text ids of the drawn sequence.
  ///   - seed: Draws the sequence.
  /// - Throws: `DriftError.otherModel`, `PromptError`, `TokenizerError`, `ModelError.notFinite`.
  public init(
    from original: Checkpoint, to copy: Checkpoint, samples: [Sample], tokenCount: Int = 40, seed: Int = 0
  ) throws {
    let (first, second) = (original.model.decoder.configuration, copy.model.decoder.configuration)
    guard original.family.modelType == copy.family.modelType, first.layerCount == second.layerCount,
      first.headCount == second.headCount, first.vocabularySize == second.vocabularySize
    else { throw DriftError.otherModel(path: copy.folder.path, original: original.folder.path) }
    var sums: [[(original: Double, copy: Double)]] = []
    func compare(_ prompt: Prompt, _ other: Prompt) throws {
      let (p, q) = (try Pass(original, prompt), try Pass(copy, other))
      for (row, logProbabilities) in p.logProbabilities.enumerated() {
        let others = q.logProbabilities[row]
        var divergence = 0.0
        for (a, b) in zip(logProbabilities, others) { divergence += exp(Double(a)) * (Double(a) - Double(b)) }
        meanDivergence += divergence
        largestDivergence = max(largestDivergence, divergence)
        if Self.mostLikely(logProbabilities) == Self.mostLikely(others) { agreement += 1 }
      }
      rowCount += p.logProbabilities.count
      sampleCount += 1
      if sums.isEmpty { sums = p.observer.shares.map { $0.map { _ in (0, 0) } } }
      for (layer, shares) in p.observer.shares.enumerated() {
        for (role, share) in shares.enumerated() {
          sums[layer][role].original += share
          sums[layer][role].copy += q.observer.shares[layer][role]
        }
      }
    }
    if samples.isEmpty {
      try compare(
        InvariantChecks.prompt(original.model, tokenCount: tokenCount, seed: seed),
        InvariantChecks.prompt(copy.model, tokenCount: tokenCount, seed: seed))
    }
    for sample in samples {
      try compare(
        original.prompt(for: sample, includesAnswer: true), copy.prompt(for: sample, includesAnswer: true))
    }
    meanDivergence /= Double(max(rowCount, 1))
    agreement /= Double(max(rowCount, 1))
    let count = Double(sampleCount)
    shares = sums.enumerated().flatMap { layer, sums in
      zip(Role.allCases, sums).compactMap { role, sum in
        sum.original == 0 && sum.copy == 0
          ? nil : Share(layer: layer, role: role, original: sum.original / count, copy: sum.copy / count)
      }
    }
  }

  private static func mostLikely(_ values: [Float]) -> Int {
    values.indices.max { values[$0] < values[$1] } ?? 0
  }

  /// One model over one sequence.
  private struct Pass {
    let logProbabilities: [[Float]]
    let observer = RoleShares()

    init(_ checkpoint: Checkpoint, _ prompt: Prompt) throws {
      var options = ForwardOptions()
      options.logits = .all
      options.observers = [observer]
      let result = checkpoint.model.decoder.forward(
        checkpoint.model.embeddings(prompt), context: TokenContext([prompt]), options: options)
      logProbabilities = result.logits?.logSoftmax().hostRows() ?? []
      guard logProbabilities.allSatisfy({ $0.allSatisfy { !$0.isNaN } }) else {
        throw ModelError.notFinite(what: "logits", step: 0)
      }
    }
  }

  /// Attention shares of roles by layer, mean over heads and rows.
  private final class RoleShares: ForwardObserver {
    private(set) var shares: [[Double]] = []

    func attentionRequest(layer: Int, context: TokenContext, keyRows: KeyRows) -> AttentionRequest? {
      var request = AttentionRequest()
      request.groups = keyRows.groups(of: context) { Role.allCases.firstIndex(of: $0) ?? 0 }
      request.groupCount = Role.allCases.count
      request.wantsGroupMass = true
      return request
    }

    func observe(_ statistics: AttentionStatistics, layer: Int, context: TokenContext) {
      guard let mass = statistics.groupMass else { return }
      let (rows, heads, width) = (mass.shape[0], mass.shape[1], mass.shape[2])
      var totals = [Double](repeating: 0, count: width)
      for (index, value) in mass.hostValues().enumerated() { totals[index % width] += Double(value) }
      shares.append(totals.map { $0 / Double(max(rows * heads, 1)) })
    }
  }
}

/// Why two models could not be compared.
public enum DriftError: DescribedError {
  case otherModel(path: String, original: String)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case otherModel = "drift_other_model"
  }

  /// Which case this is.
  public var code: Code { .otherModel }

  /// The file concerned, if there is one.
  public var path: String? {
    switch self {
    case .otherModel(let path, _): path
    }
  }

  /// What was wrong, where, and what was expected.
  public var errorDescription: String? {
    switch self {
    case .otherModel(let path, let original):
      "\(path): another family, other sizes or another vocabulary than \(original)"
    }
  }

  /// What to do about it.
  public var recoverySuggestion: String? {
    "compare a model with a copy of itself, such as 'mmprobe convert' makes"
  }
}
