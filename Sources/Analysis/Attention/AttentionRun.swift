import Foundation
public import RunKit
public import TokenModel

/// Measures a data set sample by sample into a run folder, and goes on where an earlier try stopped.
///
/// Samples are measured in the order of their index and appended to samples.jsonl; results are made from the finished
/// file, so they do not depend on how often the run was stopped.
public struct AttentionRun {
  /// How a run ended.
  public enum Outcome: Sendable, Equatable {
    /// Every sample was measured or skipped.
    case complete
    /// An interrupt stopped it after the current sample.
    case stopped(done: Int, of: Int)
  }

  /// The name of the record file in the folder.
  public static let samplesName = "samples.jsonl"

  private let probe: AttentionProbe
  private let context: AttentionContext
  private let sample: (Int) throws -> Sample
  /// How many samples from the first keep attention by key.
  public var highlightCount = 6
  /// Whether a sample that cannot be read or measured ends the run instead of being counted as skipped.
  public var failsOnBadSample = false

  /// - Parameters:
  ///   - context: What was asked; says how many samples there are and which part is this run's.
  ///   - sample: Gives the sample of an index.
  public init(
    _ probe: AttentionProbe, context: AttentionContext, sample: @escaping (Int) throws -> Sample
  ) {
    (self.probe, self.context, self.sample) = (probe, context, sample)
  }

  /// The indices this run measures.
  public var indices: [Int] {
    (0..<context.data.sampleCount).filter { context.shard?.contains($0) ?? true }
  }

  /// Measures what is missing.
  ///
  /// - Parameters:
  ///   - folder: Open and locked.
  ///   - progress: Told after every sample: done, skipped.
  /// - Throws: Errors of files; errors of samples only with `failsOnBadSample`.
  public func measure(into folder: RunFolder, progress: (Int, Int) -> Void = { _, _ in }) throws -> Outcome {
    var done: Set<Int> = []
    var skipped = 0
    try folder.forEachRecord(of: Self.samplesName) { line in
      let place = RecordPlace(file: Self.samplesName, line: line.number)
      let sample = try AttentionSample(json: line.value, definition: context.definition, at: place)
      done.insert(sample.index)
      if sample.record == nil { skipped += 1 }
    }
    let all = indices
    let writer = try folder.appendingRecords(to: Self.samplesName)
    progress(done.count, skipped)
    for index in all where !done.contains(index) {
      if Interrupts.isRequested {
        try writer.sync()
        return .stopped(done: done.count, of: all.count)
      }
      let measured = try measure(index)
      if measured.record == nil { skipped += 1 }
      try writer.append(measured.json(context.definition))
      done.insert(index)
      progress(done.count, skipped)
      do { try MemoryLimit.check() } catch {
        try writer.sync()
        throw error
      }
    }
    try writer.sync()
    return .complete
  }

  /// Measures without a folder.
  public func measure(progress: (Int, Int) -> Void = { _, _ in }) throws -> AttentionSamples {
    var samples: [AttentionSample] = []
    for index in indices where !Interrupts.isRequested {
      samples.append(try measure(index))
      try MemoryLimit.check()
      progress(samples.count, samples.count { $0.record == nil })
    }
    return try AttentionSamples(samples)
  }

  private func measure(_ index: Int) throws -> AttentionSample {
    var id = "\(index)"
    do {
      let sample = try sample(index)
      id = sample.id
      return .measured(try probe.record(of: sample, keepsKeys: index < highlightCount))
    } catch {
      if failsOnBadSample { throw error }
      return .skipped(index: index, id: id, reason: error.localizedDescription)
    }
  }
}
