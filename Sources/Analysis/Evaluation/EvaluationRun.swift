public import Foundation
public import RunKit
public import TokenModel

/// Answers a data set batch by batch into a run folder, and goes on where an earlier try stopped.
///
/// | file | contents |
/// | --- | --- |
/// | `config.json` | the `EvaluationContext` |
/// | `samples.jsonl` | an `EvaluationRecord` for each sample |
/// | `result.json` | the `EvaluationSummary`, once all are answered |
public struct EvaluationRun {
  /// How a run ended.
  public enum Outcome: Sendable, Equatable {
    /// Every sample was answered.
    case complete
    /// An interrupt stopped it after the current batch.
    case stopped(done: Int, of: Int)
  }

  /// The name of the record file in the folder.
  public static let samplesName = "samples.jsonl"
  /// The name of the result in the folder.
  public static let resultName = "result.json"

  private let evaluator: Evaluator
  private let context: EvaluationContext
  private let batchSize: Int
  private let sample: (Int) throws -> Sample

  /// - Parameters:
  ///   - batchSize: Samples that are answered together, at least 1; changes no answer.
  ///   - sample: Gives the sample of an index.
  public init(
    _ evaluator: Evaluator, context: EvaluationContext, batchSize: Int,
    sample: @escaping (Int) throws -> Sample
  ) {
    (self.evaluator, self.context) = (evaluator, context)
    (self.batchSize, self.sample) = (batchSize, sample)
  }

  /// Answers what is missing.
  ///
  /// - Parameters:
  ///   - folder: Open and locked.
  ///   - progress: Told after every batch how many samples are answered.
  /// - Throws: Errors of files, data and the model.
  public func measure(into folder: RunFolder, progress: (Int) -> Void = { _ in }) throws -> Outcome {
    var done: Set<Int> = []
    try folder.forEachRecord(of: Self.samplesName) { line in
      let place = RecordPlace(file: Self.samplesName, line: line.number)
      done.insert(try EvaluationRecord(json: line.value, context.definition, at: place).index)
    }
    let total = context.data.sampleCount
    let missing = (0..<total).filter { !done.contains($0) }
    let writer = try folder.appendingRecords(to: Self.samplesName)
    progress(done.count)
    for start in stride(from: 0, to: missing.count, by: batchSize) {
      if Interrupts.isRequested {
        try writer.sync()
        return .stopped(done: done.count + start, of: total)
      }
      let batch = missing[start..<min(start + batchSize, missing.count)]
      for record in try evaluator.records(for: batch.map(sample)) {
        try writer.append(record.json(context.definition))
      }
      progress(done.count + start + batch.count)
      do { try MemoryLimit.check() } catch {
        try writer.sync()
        throw error
      }
    }
    try writer.sync()
    return .complete
  }

  /// Answers without a folder; an interrupt ends it early.
  public func measure(progress: (Int) -> Void = { _ in }) throws -> [EvaluationRecord] {
    var records: [EvaluationRecord] = []
    let total = context.data.sampleCount
    for start in stride(from: 0, to: total, by: batchSize) where !Interrupts.isRequested {
      records += try evaluator.records(for: (start..<min(start + batchSize, total)).map(sample))
      try MemoryLimit.check()
      progress(records.count)
    }
    return records
  }

  /// Whether a run folder is of `eval`.
  public static func isOne(_ run: URL) throws -> Bool {
    try AttentionRunFiles.configuration(of: run).json["kind"]?.stringValue == EvaluationContext.kind
  }

  /// What the batch with the longest prompts takes; nil without samples.
  ///
  /// - Throws: Errors of data and the model.
  public func plan(_ checkpoint: Checkpoint) throws -> AnswerPlan? {
    var largest: (count: Int, batch: Range<Int>)?
    for start in stride(from: 0, to: context.data.sampleCount, by: batchSize) {
      let batch = start..<min(start + batchSize, context.data.sampleCount)
      let count = try batch.map { try checkpoint.prompt(for: sample($0)).count }.reduce(0, +)
      if count > largest?.count ?? -1 { largest = (count, batch) }
    }
    guard let batch = largest?.batch else { return nil }
    return try AnswerPlan(
      checkpoint, batch.map { try checkpoint.prompt(for: sample($0)) },
      answerLimit: context.definition.answerLimit)
  }

  /// A run as it was answered, records in the order of their index.
  ///
  /// - Throws: Errors of files, `AttentionRecordError`.
  public static func read(_ run: URL) throws -> (context: EvaluationContext, records: [EvaluationRecord]) {
    let (place, json) = try AttentionRunFiles.configuration(of: run)
    let context = try EvaluationContext(json: json, at: place)
    let file = run.appendingPathComponent(samplesName)
    let reader = try JSONLinesReader(file)
    var places: [Int: RecordPlace] = [:]
    var records: [EvaluationRecord] = []
    while let line = try reader.next() {
      let place = RecordPlace(file: file.path, line: line.number)
      let record = try EvaluationRecord(json: line.value, context.definition, at: place)
      guard record.index < context.data.sampleCount else {
        throw AttentionRecordError.indexOutOfRange(
          place: place, index: record.index, count: context.data.sampleCount)
      }
      if let first = places.updateValue(place, forKey: record.index) {
        throw AttentionRecordError.duplicateIndex(place: place, index: record.index, first: first)
      }
      records.append(record)
    }
    return (context, records.sorted { $0.index < $1.index })
  }
}
