public import RunKit
public import TensorCore
public import TokenModel

extension AttentionRequest {
  /// The shares of four groups, the quarters of the key rows in order.
  static func quarters(of keyRows: KeyRows) -> AttentionRequest {
    var request = AttentionRequest()
    request.groups = (0..<keyRows.count).map { $0 * 4 / max(1, keyRows.count) }
    request.groupCount = 4
    request.wantsGroupMass = true
    return request
  }
}

/// Times forward passes and watches their memory.
public struct ForwardBenchmark: Sendable {
  /// Rows that are reported by statistics, and rows with logits.
  public enum Rows: String, CaseIterable, Sendable {
    case last
    case all
  }

  /// The outcome.
  public struct Measurement: Sendable, Equatable {
    /// Seconds of each timed pass.
    public let seconds: [Double]
    /// The most memory that belongs to no file, above that before the first pass, in bytes.
    public let peakBytes: Int
    /// The most memory of the process, in bytes.
    public let peaks: MemorySampler.Peaks
    /// Floating-point operations of products and attention in a pass.
    public let operations: Int
    /// Billions of floating-point operations a second of plain products in float32, measured around every timed pass.
    public let productRates: [Double]
    /// Rows of a pass.
    public let rowCount: Int
    /// The sum of all shares of the last pass: the number of layers, heads and reported rows, if each sums to 1.
    public let shareSum: Double?
    /// The logits of the last pass, `[rows with logits, vocabulary]`.
    public let logits: Tensor
    /// The shares of the last pass, for each layer `[reported rows, heads, 4]`; empty without statistics.
    public let shares: [Tensor]

    /// What the last pass computed, to compare it with another program: `logits`, and `shares.0` … for each layer.
    public func tensors() throws -> [StoredTensor] {
      let named = [("logits", logits)] + shares.enumerated().map { ("shares.\($0)", $1) }
      return try named.map { try StoredTensor(name: $0, shape: $1.shape, floats: $1.hostValues()) }
    }
  }

  /// Whether the share of four groups is taken for every layer, head and reported row.
  public var takesStatistics = false
  /// The rows that statistics report.
  public var queries = Rows.all
  /// The rows with logits.
  public var logits = Rows.last
  /// Queries in a block of attention; nil for the default.
  public var queryBlock: Int?
  /// Seconds for each look at the rate of plain products, one before every timed pass and one at the end; 0 for none.
  public var rateSeconds = 0.0
  /// Timed passes.
  public var repeatCount = 10
  /// Passes before them.
  public var warmUpCount = 2

  /// A benchmark with ten timed passes after two others.
  public init() {}

  /// Times the steps of greedy decoding after a prompt.
  ///
  /// - Parameters:
  ///   - steps: Tokens to generate; nothing ends them earlier.
  /// - Returns: Seconds of the prompt with the first token, those of every further token, and the ids.
  /// - Throws: `PromptError`, `TraceError`, `ModelError`.
  public func decode(
    _ model: any LanguageModel, _ inputs: TraceInputs, steps: Int
  ) throws -> (prompt: Double, tokens: [Double], ids: [Int]) {
    var generator = Generator(model)
    (generator.limit, generator.endIDs) = (steps, [])
    var times = [ProcessFacts.monotonicSeconds]
    generator.onLogits = { _, _ in times.append(ProcessFacts.monotonicSeconds) }
    let (embeddings, context) = try inputs.batch(for: model)
    let answers = try generator.answers(to: Generator.Start(embeddings: embeddings, context: context))
    let seconds = zip(times.dropFirst(), times).map { $0 - $1 }
    return (seconds[0], Array(seconds.dropFirst()), answers[0].ids)
  }

  /// Measures.
  ///
  /// A pass begins with ids and media and ends with logits.
  ///
  /// - Parameters:
  ///   - isWanted: Asked before every timed pass; measuring ends with the first one that is not wanted.
  ///   - report: Told the seconds of every timed pass.
  /// - Throws: `PromptError`, `TraceError` where the inputs do not fit the model.
  public func run(
    _ model: any LanguageModel, _ inputs: TraceInputs, isWanted: () -> Bool = { true },
    report: (Double) throws -> Void = { _ in }
  ) throws -> Measurement {
    let sampler = MemorySampler()
    var seconds: [Double] = []
    var last: (logits: Tensor, observer: QuarterObserver)?
    var rowCount = 0
    var operations = 0
    var productRates: [Double] = []
    for pass in 0..<warmUpCount + repeatCount {
      let observer = QuarterObserver(onlyLast: queries == .last)
      var options = ForwardOptions()
      options.logits = logits == .all ? .all : .last
      options.observers = takesStatistics ? [observer] : []
      if let queryBlock { options.queryBlock = queryBlock }
      if pass >= max(1, warmUpCount) && !isWanted() { break }
      if pass >= warmUpCount && rateSeconds > 0 {
        productRates.append(SpeedTest.measure(seconds: rateSeconds))
      }
      let operationsBefore = OperationCount.total
      let start = ProcessFacts.monotonicSeconds
      let (embeddings, context) = try inputs.batch(for: model)
      let result = model.decoder.forward(embeddings, context: context, options: options)
      let end = ProcessFacts.monotonicSeconds
      guard let logits = result.logits else { preconditionFailure("logits were asked for") }
      last = (logits, observer)
      rowCount = context.segments.rowCount
      operations = OperationCount.total - operationsBefore
      if pass >= warmUpCount {
        seconds.append(end - start)
        try report(end - start)
      }
    }
    if rateSeconds > 0 { productRates.append(SpeedTest.measure(seconds: rateSeconds)) }
    let peaks = sampler.stop()
    guard let last else { preconditionFailure("there is at least one pass") }
    return Measurement(
      seconds: seconds, peakBytes: peaks.growth, peaks: peaks, operations: operations,
      productRates: productRates, rowCount: rowCount,
      shareSum: takesStatistics ? last.observer.shareSum : nil, logits: last.logits,
      shares: last.observer.shares)
  }
}

/// Takes group shares and keeps them, as a probe would.
private final class QuarterObserver: ForwardObserver {
  private let onlyLast: Bool
  private(set) var shares: [Tensor] = []

  init(onlyLast: Bool) { self.onlyLast = onlyLast }

  func attentionRequest(layer: Int, context: TokenContext, keyRows: KeyRows) -> AttentionRequest? {
    var request = AttentionRequest.quarters(of: keyRows)
    if onlyLast {
      var rows = [Bool](repeating: false, count: context.segments.rowCount)
      for sequence in 0..<context.segments.count where !context.segments[sequence].isEmpty {
        rows[context.segments[sequence].upperBound - 1] = true
      }
      request.queryRows = rows
    }
    return request
  }

  func observe(_ statistics: AttentionStatistics, layer: Int, context: TokenContext) {
    if let mass = statistics.groupMass { shares.append(mass) }
  }

  var shareSum: Double { shares.reduce(0) { $0 + $1.hostValues().reduce(0) { $0 + Double($1) } } }
}
