import RunKit
import TensorCore
public import TokenModel

/// What a run of `attention` will cost, from measuring a few of its samples.
public struct AttentionPlan: Sendable, Equatable {
  /// Samples of the run.
  public let sampleCount: Int
  /// Samples that were measured for the estimate.
  public let trialCount: Int
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
  /// Bytes a finished sample takes until the end, besides its numbers: names, texts, tags, and its JSON while it is read.
  private static let overheadBytes = 6_000
  /// Copies of the numbers of a sample at the end: as parsed JSON, as a record, and in the tables of the summary.
  private static let copyCount = 26

  /// Builds every prompt and measures the longest, which sets the peak of memory, and some others for the time.
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
      if let prompt = try? checkpoint.prompt(for: sample(index), includesAnswer: definition.queries != .last) {
        lengths.append((index, prompt.count))
      }
    }
    sampleCount = indices.count
    unreadableCount = indices.count - lengths.count
    longestPrompt = lengths.map(\.count).max() ?? 0
    positionCount = lengths.reduce(0) { $0 + $1.count }
    guard let longest = lengths.max(by: { $0.count < $1.count }) else {
      (trialCount, seconds, peakBytes) = (0, 0, ProcessMemory.current.peakResident)
      return
    }
    // The first pass warms up: it reads the weights and its time does not count.
    _ = try probe.record(of: sample(longest.index), keepsKeys: true)
    let step = max(1, lengths.count / Self.trialLimit)
    var (elapsed, positions, trials) = (0.0, 0, 0)
    for place in stride(from: 0, to: lengths.count, by: step) {
      let start = ProcessFacts.monotonicSeconds
      _ = try? probe.record(of: sample(lengths[place].index), keepsKeys: false)
      elapsed += ProcessFacts.monotonicSeconds - start
      positions += lengths[place].count
      trials += 1
    }
    trialCount = trials + 1
    seconds = elapsed / Double(max(1, positions)) * Double(positionCount)
    let numbers = definition.shareCount + definition.layers.count * (definition.heads.count + definition.groups.count * 8)
    peakBytes =
      ProcessMemory.current.peakResident + sampleCount * (Self.overheadBytes + numbers * Self.copyCount)
  }
}
