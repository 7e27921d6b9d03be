public import Foundation
public import RunKit
import TensorCore

/// A run of `attention` as it lies in its folder.
public struct StoredAttentionRun: Sendable {
  /// The folder, as the user named it.
  public let path: String
  /// What was asked.
  public let context: AttentionContext
  /// The lines of samples.jsonl.
  public let lines: [(place: RecordPlace, value: JSONValue)]

  // Far above any real config.json.
  private static let configurationLimit = 1 << 26

  /// Reads `config.json` and `samples.jsonl`.
  ///
  /// - Throws: `FileError`, `JSONLinesError`, `AttentionRecordError`.
  public init(folder: URL) throws {
    path = folder.path
    let url = folder.appendingPathComponent("config.json")
    let place = RecordPlace(file: url.path)
    let bytes = try FileReader.bytes(of: url, limit: Self.configurationLimit)
    let value: JSONValue
    do {
      value = try JSONValue(parsing: bytes)
    } catch {
      throw AttentionRecordError.notJSON(place: place, reason: error.errorDescription ?? "")
    }
    context = try AttentionContext(json: value, at: place)
    let samples = folder.appendingPathComponent(AttentionRun.samplesName)
    lines = try JSONLinesReader(samples).remainingLines().map {
      (RecordPlace(file: samples.path, line: $0.number), $0.value)
    }
  }

  /// The samples measured so far.
  ///
  /// - Throws: `AttentionRecordError`.
  public func samples() throws -> AttentionSamples { try AttentionSamples(lines: lines, context: context) }

  /// One shard of a run that is to be joined.
  public var part: AttentionMerge.Part { AttentionMerge.Part(path: path, context: context, lines: lines) }
}

/// The files that are made from the samples of a run: the same samples give the same bytes.
public struct AttentionFiles {
  /// The numbers.
  public let summary: AttentionSummary
  private let samples: AttentionSamples

  /// - Parameter samples: Of the run that `context` describes.
  public init(_ context: AttentionContext, _ samples: AttentionSamples) {
    self.samples = samples
    summary = AttentionSummary(context, samples)
  }

  /// The report.
  public var html: String { AttentionReport(summary, samples).html }

  /// Writes result.json, stats.npz, the tables and the report.
  ///
  /// - Throws: `FileError`, `TensorWriteError`.
  public func write(to folder: RunFolder) throws {
    try folder.write(summary.json, to: "result.json")
    let moments = AttentionMoments(samples.records, summary.context.definition)
    try NPZArchive.write(moments.arrays(), to: folder.prepare("stats.npz").path)
    for table in AttentionTables(summary, samples).files { try folder.write(table.text, to: "tables/\(table.name)") }
    try folder.write(html, to: "report.html")
  }

  /// The groups as a table of comma-separated values.
  public var groupTable: String { AttentionTables(summary, samples).files.first { $0.name == "groups.csv" }?.text ?? "" }
}
