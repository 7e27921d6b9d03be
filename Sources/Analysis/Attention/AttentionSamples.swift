public import RunKit

/// The samples of a run, each once, in the order of their index.
public struct AttentionSamples: Equatable, Sendable {
  /// Measured and skipped samples by ascending index.
  public private(set) var samples: [AttentionSample] = []
  private var places: [Int: RecordPlace] = [:]

  /// No samples.
  public init() {}

  /// Samples already in memory.
  ///
  /// - Throws: `AttentionRecordError.duplicateIndex`.
  public init(_ samples: some Sequence<AttentionSample>) throws(AttentionRecordError) {
    for sample in samples { try insert(sample, at: RecordPlace(file: "memory")) }
    sort()
  }

  /// The samples of one or more files of lines.
  ///
  /// - Parameters:
  ///   - lines: Each line with the place it stands at.
  ///   - context: What the run was asked to do.
  /// - Throws: `AttentionRecordError`, naming file, line and key.
  public init(
    lines: some Sequence<(place: RecordPlace, value: JSONValue)>, context: AttentionContext
  ) throws(AttentionRecordError) {
    for (place, value) in lines { try insert(value, at: place, context) }
    sort()
  }

  /// The samples of a file of lines that is read while they are taken, so that only samples stay in memory.
  ///
  /// - Parameters:
  ///   - file: What messages call the file.
  ///   - context: What the run was asked to do.
  /// - Throws: `AttentionRecordError`, naming file, line and key; `JSONLinesError`, `FileError`.
  public init(reading reader: JSONLinesReader, file: String, context: AttentionContext) throws {
    while let line = try reader.next() {
      try insert(line.value, at: RecordPlace(file: file, line: line.number), context)
    }
    sort()
  }

  private mutating func insert(
    _ value: JSONValue, at place: RecordPlace, _ context: AttentionContext
  ) throws(AttentionRecordError) {
    let sample = try AttentionSample(json: value, definition: context.definition, at: place)
    guard sample.index < context.data.sampleCount else {
      throw .indexOutOfRange(place: place, index: sample.index, count: context.data.sampleCount)
    }
    try insert(sample, at: place)
  }

  private mutating func insert(_ sample: AttentionSample, at place: RecordPlace) throws(AttentionRecordError)
  {
    if let first = places[sample.index] {
      throw .duplicateIndex(place: place, index: sample.index, first: first)
    }
    places[sample.index] = place
    samples.append(sample)
  }

  private mutating func sort() { samples.sort { $0.index < $1.index } }

  /// Whether both hold the same samples, wherever they were read.
  public static func == (left: AttentionSamples, right: AttentionSamples) -> Bool {
    left.samples == right.samples
  }

  /// Which samples are there.
  public var indices: [Int] { samples.map(\.index) }

  /// The measured samples whose numbers are all finite: those every mean is taken over.
  public var records: [AttentionRecord] {
    samples.compactMap(\.record).filter { $0.nonfiniteCount == 0 }
  }

  /// The first sample left out with its reason, for messages; nil if none was.
  public var firstSkipped: String? {
    skipped.first.map { sample in
      // Many reasons begin with the name of the sample.
      sample.reason.hasPrefix(sample.id + ":") ? sample.reason : "sample \(sample.id): \(sample.reason)"
    }
  }

  /// The samples left out of the means, with the reason.
  public var skipped: [(index: Int, id: String, reason: String)] {
    samples.compactMap { sample in
      switch sample {
      case .skipped(let index, let id, let reason): (index, id, reason)
      case .measured(let record) where record.nonfiniteCount > 0:
        (record.index, record.id, "\(record.nonfiniteCount) values are not finite")
      case .measured: nil
      }
    }
  }
}
