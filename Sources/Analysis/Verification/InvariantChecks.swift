import RunKit
import TensorCore
public import TokenModel

/// What must hold for any checkpoint, checked without a reference.
public struct InvariantChecks: Sendable {
  /// One check.
  public struct Check: Sendable, Equatable {
    /// What must hold.
    public let name: String
    /// How far it is from holding; NaN where a number is missing.
    public let deviation: Double
    /// The largest deviation that passes.
    public let tolerance: Double
    /// More about a failure or about what was checked.
    public let detail: String

    /// Whether it holds; NaN does not pass.
    public var passed: Bool { deviation <= tolerance }
  }

  /// The checks in the order they ran.
  public private(set) var checks: [Check] = []

  /// Whether everything holds.
  public var passed: Bool { checks.allSatisfy(\.passed) }

  private let model: any LanguageModel

  /// Runs every check; the forward checks are left out when weights are not finite.
  ///
  /// - Parameters:
  ///   - tokenCount: Text ids of the drawn sequence, at least 8.
  ///   - seed: Draws the sequence.
  /// - Throws: `PromptError`, `StoredTensorError`.
  public init(_ checkpoint: Checkpoint, tokenCount: Int = 40, seed: Int = 0) throws {
    model = checkpoint.model
    checks.append(try Self.finiteWeights(checkpoint))
    guard passed else { return }
    let prompt = try Self.prompt(model, tokenCount: tokenCount, seed: seed)
    let embeddings = model.embeddings(prompt)
    let context = TokenContext([prompt])
    let whole = forward(embeddings, context: context, observer: ProbabilityObserver())
    checks += whole.observer.checks
    checks.append(cached(embeddings, context, whole.logits))
    checks.append(blocks(embeddings, context))
    checks.append(batch(embeddings, context, whole.logits))
  }

  private static func finiteWeights(_ checkpoint: Checkpoint) throws -> Check {
    let name = "weights are finite"
    if let tensor = try checkpoint.weights.firstNotFinite() {
      return Check(
        name: name, deviation: .nan, tolerance: 0, detail: "tensor \"\(tensor.name)\" holds NaN or infinity")
    }
    let count = checkpoint.weights.tensors.count { $0.elementType.isFloatingPoint }
    return Check(name: name, deviation: 0, tolerance: 0, detail: "\(count) tensors")
  }

  /// One medium of each kind with drawn bytes, then drawn ids that stand for no medium.
  static func prompt(_ model: any LanguageModel, tokenCount: Int, seed: Int) throws -> Prompt {
    var stream = RandomStream(seed: seed, purpose: "verify")
    var ids: [Int] = []
    var media: [Medium] = []
    for modality in model.modalities {
      guard let id = model.placeholderID(of: modality), let example = model.exampleMedium(of: modality) else {
        continue
      }
      media.append(drawn(example, &stream))
      ids.append(id)
    }
    let placeholders = Set(ids)
    let vocabulary = model.decoder.configuration.vocabularySize
    while ids.count < tokenCount + placeholders.count {
      let id = stream.integer(below: vocabulary)
      if !placeholders.contains(id) { ids.append(id) }
    }
    return try model.expand(
      ids: ids, pieces: ids.map(String.init), roles: ids.map { _ in .question }, media: media,
      promptCount: ids.count,
      sample: "drawn sequence")
  }

  /// The same medium with drawn values: bytes, or numbers from -2 to 2.
  private static func drawn(_ medium: Medium, _ stream: inout RandomStream) -> Medium {
    let values: Medium.Values =
      switch medium.values {
      case .bytes(let bytes): .bytes(bytes.map { _ in UInt8(stream.integer(below: 256)) })
      case .numbers(let numbers): .numbers(numbers.map { _ in Float(4 * stream.uniform() - 2) })
      }
    return Medium(
      modality: medium.modality, shape: medium.shape, values: values, layout: medium.layout,
      identity: "drawn")
  }

  private func forward<Observer: ForwardObserver>(
    _ embeddings: Tensor, context: TokenContext, observer: Observer, queryBlock: Int? = nil
  ) -> (logits: [[Float]], observer: Observer) {
    var options = ForwardOptions()
    options.logits = .all
    options.observers = [observer]
    if let queryBlock { options.queryBlock = queryBlock }
    let result = model.decoder.forward(embeddings, context: context, options: options)
    return (result.logits?.hostRows() ?? [], observer)
  }

  /// Half of the rows as a prompt, the others one by one over the cache.
  private func cached(_ embeddings: Tensor, _ context: TokenContext, _ whole: [[Float]]) -> Check {
    let count = context.roles.count
    let first = count / 2
    var options = ForwardOptions()
    options.logits = .all
    let cache = KeyValueCache(sequences: 1, capacity: count)
    options.cache = cache
    let prompt = TokenContext(
      segments: .single(first), positions: context.positions.selecting(0..<first),
      roles: Array(context.roles[..<first]))
    var rows =
      model.decoder.forward(embeddings.slice(0..<first), context: prompt, options: options).logits?.hostRows()
      ?? []
    for row in first..<count {
      let step = TokenContext(
        segments: .single(1), positions: context.positions.selecting([row]), roles: [context.roles[row]],
        cachedRoles: cache.roles,
        phase: .decode)
      let result = model.decoder.forward(embeddings.slice(row..<row + 1), context: step, options: options)
      rows += result.logits?.hostRows() ?? []
    }
    return Check(
      name: "logits with a cache equal those without", deviation: Self.difference(rows, whole),
      tolerance: 1e-4,
      detail: "\(first) rows at once, \(count - first) one by one")
  }

  private func blocks(_ embeddings: Tensor, _ context: TokenContext) -> Check {
    let count = context.roles.count
    let whole = forward(embeddings, context: context, observer: QuarterShareObserver(), queryBlock: count)
      .observer.shares
    let deviations = [1, 7, 64].map { block in
      Self.difference(
        forward(embeddings, context: context, observer: QuarterShareObserver(), queryBlock: block).observer
          .shares, whole)
    }
    return Check(
      // Sums in another order differ in the last bits, which grow through the layers of drawn, extreme inputs.
      name: "shares do not depend on the block size", deviation: deviations.reduce(0, Self.worse),
      tolerance: 1e-5,
      detail: "blocks of 1, 7, 64 and all \(count) rows")
  }

  private func batch(_ embeddings: Tensor, _ context: TokenContext, _ whole: [[Float]]) -> Check {
    let count = context.roles.count
    let short = count / 3
    let together = TokenContext(
      segments: RowSegments(lengths: [short, count]),
      positions: context.positions.selecting(0..<short).appending(context.positions),
      roles: context.roles[..<short] + context.roles)
    let rows = forward(
      Tensor.concatenated([embeddings.slice(0..<short), embeddings]), context: together,
      observer: NoObserver())
    return Check(
      name: "a sequence gives the same bits in a batch",
      deviation: Self.difference(Array(rows.logits[short...]), whole),
      tolerance: 0, detail: "beside a sequence of \(short) rows")
  }

  /// The larger of two deviations; NaN is larger than anything.
  static func worse(_ left: Double, _ right: Double) -> Double {
    left.isNaN || right.isNaN ? .nan : max(left, right)
  }

  private static func difference(_ left: [[Float]], _ right: [[Float]]) -> Double {
    guard left.count == right.count, !left.isEmpty else { return .nan }
    var largest = 0.0
    for (a, b) in zip(left, right) {
      for (x, y) in zip(a, b) { largest = worse(largest, abs(Double(x) - Double(y))) }
    }
    return largest
  }
}

private final class NoObserver: ForwardObserver {}

/// Checks full probabilities: rows sum to 1, and nothing falls on later keys.
private final class ProbabilityObserver: ForwardObserver {
  private var sumDeviation = 0.0
  private var future = 0.0
  private var layerCount = 0

  func attentionRequest(layer: Int, context: TokenContext, keyRows: KeyRows) -> AttentionRequest? {
    var request = AttentionRequest()
    request.wantsProbabilities = true
    return request
  }

  func observe(_ statistics: AttentionStatistics, layer: Int, context: TokenContext) {
    layerCount += 1
    for tensor in statistics.probabilities ?? [] {
      for (index, row) in tensor.hostRows().enumerated() {
        let query = index % tensor.shape[1]
        let sum = row.reduce(0.0) { $0 + Double($1) }
        sumDeviation = InvariantChecks.worse(sumDeviation, abs(sum - 1))
        future = row[(query + 1)...].reduce(future) { InvariantChecks.worse($0, Double($1)) }
      }
    }
  }

  var checks: [InvariantChecks.Check] {
    [
      .init(
        name: "attention rows sum to 1", deviation: sumDeviation, tolerance: 1e-5,
        detail: "\(layerCount) layers"),
      .init(
        name: "no attention to later rows", deviation: future, tolerance: 0, detail: "\(layerCount) layers"),
    ]
  }
}

/// Shares of each quarter of the keys, for every layer, row and head.
private final class QuarterShareObserver: ForwardObserver {
  private(set) var shares: [[Float]] = []

  func attentionRequest(layer: Int, context: TokenContext, keyRows: KeyRows) -> AttentionRequest? {
    .quarters(of: keyRows)
  }

  func observe(_ statistics: AttentionStatistics, layer: Int, context: TokenContext) {
    shares += statistics.groupMass?.hostRows() ?? []
  }
}
