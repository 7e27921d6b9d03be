import RunKit
import TensorCore
public import TokenModel

/// What a run of `attention` will cost, from measuring a few of its samples.
public struct AttentionPlan: Sendable, Equatable {
  /// Samples of the run.
  public let sampleCount: Int
  /// Samples that were measured for the estimate.
  public let trialCount: Int
  /// Layers of the model that they went through.
  public let trialLayerCount: Int
  /// Positions of the longest prompt.
  public let longestPrompt: Int
  /// Positions of all prompts.
  public let positionCount: Int
  /// Samples whose prompt cannot be built.
  public let unreadableCount: Int
  /// The most memory of the process, in bytes.
  public let peakBytes: Int
  /// Seconds for all samples.
  public let seconds: Double

  /// The most samples measured besides the longest.
  private static let trialLimit = 8
  /// Seconds that whole samples may take; above, the first layers have to do.
  private static let calibrationSeconds = 5.0
  /// Layers that are measured then.
  private static let trialLayers = 3
  /// Bytes that results and report of a small run need above the measuring.
  private static let reportBytes = 1_500_000

  /// Bytes a sample needs when results are made: its record, and its part of intervals and tables.
  ///
  /// The constants are fitted to runs of 20 to 2,000 samples of a small model, where the peaks of equal runs differ by up
  /// to 12 MB: threads of the memory allocator keep more or less of what was freed.
  private static func bytes(_ definition: AttentionDefinition, queryTokens: Double) -> Double {
    let (shares, cells) = (
      Double(definition.shareCount), Double(definition.layers.count * definition.groups.count)
    )
    return 3500 + shares * (definition.sinks == .auto ? 8 : 4) + cells * 160 + queryTokens * (260 + 4 * cells)
  }

  /// Builds every prompt and measures the longest, which sets the peak of memory, and some others for the time. Where whole
  /// passes would take longer than some seconds, only the first layers of the longest are measured.
  ///
  /// - Parameters:
  ///   - indices: The samples of the run.
  ///   - sample: Gives the sample of an index.
  /// - Throws: Errors of the longest sample.
  public init(
    _ probe: AttentionProbe, _ checkpoint: Checkpoint, definition: AttentionDefinition, indices: [Int],
    sample: (Int) throws -> Sample
  ) throws {
    var lengths: [(index: Int, count: Int)] = []
    for index in indices {
      if let prompt = try? checkpoint.prompt(for: sample(index), includesAnswer: definition.queries != .last)
      {
        lengths.append((index, prompt.count))
      }
    }
    sampleCount = indices.count
    unreadableCount = indices.count - lengths.count
    longestPrompt = lengths.map(\.count).max() ?? 0
    positionCount = lengths.reduce(0) { $0 + $1.count }
    let layerCount = checkpoint.model.decoder.configuration.layerCount
    guard let longest = lengths.max(by: { $0.count < $1.count }) else {
      (trialCount, trialLayerCount, seconds) = (0, 0, 0)
      peakBytes = ProcessMemory.current.peakResident
      return
    }
    let first = try Self.firstLayers(probe, checkpoint, sample(longest.index), layerCount)
    let shortTrials = lengths.count / max(1, lengths.count / Self.trialLimit) + 1
    if first.seconds * Double(shortTrials) > Self.calibrationSeconds {
      // A large model: layers are alike, so a few of them tell what all cost.
      (trialCount, trialLayerCount) = (1, min(Self.trialLayers, layerCount))
      seconds = first.seconds / Double(longest.count) * Double(positionCount)
      let cached = definition.queries == .generated ? first.cacheBytes : 0
      peakBytes =
        ProcessMemory.current.peakResident + cached + Self.reportBytes
        + Int((Double(sampleCount) * Self.bytes(definition, queryTokens: first.queryTokens)).rounded())
      return
    }
    // The first whole pass warms up: it reads the weights and its time does not count.
    _ = try probe.record(of: sample(longest.index), keepsKeys: true)
    let step = max(1, lengths.count / Self.trialLimit)
    var (elapsed, positions, trials, queryTokens) = (0.0, 0, 0, 0)
    for place in stride(from: 0, to: lengths.count, by: step) {
      let start = ProcessFacts.monotonicSeconds
      let record = try? probe.record(of: sample(lengths[place].index), keepsKeys: false)
      queryTokens += record?.queryTokens.count ?? 0
      elapsed += ProcessFacts.monotonicSeconds - start
      positions += lengths[place].count
      trials += 1
    }
    (trialCount, trialLayerCount) = (trials + 1, layerCount)
    seconds = elapsed / Double(max(1, positions)) * Double(positionCount)
    let sampleBytes = Self.bytes(definition, queryTokens: Double(queryTokens) / Double(max(1, trials)))
    peakBytes =
      ProcessMemory.current.peakResident + Self.reportBytes
      + Int((Double(sampleCount) * sampleBytes).rounded())
  }

  /// What the longest sample costs, from its way through the first layers: the time outside of layers, and that of a layer
  /// as often as there are layers.
  private static func firstLayers(
    _ probe: AttentionProbe, _ checkpoint: Checkpoint, _ sample: Sample, _ layerCount: Int
  ) throws -> (seconds: Double, queryTokens: Double, cacheBytes: Int) {
    let clock = LayerClock()
    let count = min(trialLayers, layerCount)
    let start = ProcessFacts.monotonicSeconds
    let record = try probe.truncated(toLayers: count, clock: clock).record(of: sample, keepsKeys: true)
    let elapsed = ProcessFacts.monotonicSeconds - start
    let layers = clock.seconds
    // The first layer also pays for what is done once: its code and pages are touched for the first time.
    let warm = layers.filter { $0.key > 0 || count == 1 }.values
    let layer = warm.reduce(0, +) / Double(max(1, warm.count))
    let outside = max(0, elapsed - layers.values.reduce(0, +))
    let sizes = checkpoint.model.decoder.configuration
    let positions = record.tokens.reduce(0, +)
    return (
      outside + layer * Double(layerCount), Double(record.queryTokens.count),
      (layerCount - count) * 2 * positions * sizes.keyValueHeadCount * sizes.headSize * 4
    )
  }
}
