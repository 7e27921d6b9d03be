public import Foundation
public import RunKit
import TensorCore

/// The files of an attention run: what is made of the samples, and how a finished run is read again.
public enum AttentionRunFiles {
  /// The name of the report in a run folder.
  public static let reportName = "report.html"
  private static let configurationLimit = 1 << 24

  /// Writes result.json, stats.npz, the tables and the report.
  ///
  /// - Throws: `FileError`.
  public static func write(_ summary: AttentionSummary, _ samples: AttentionSamples, to folder: RunFolder)
    throws
  {
    try folder.write(summary.json, to: "result.json")
    let moments = AttentionMoments(samples.records, summary.context.definition)
    try folder.write(to: "stats.npz", by: { try NPZArchive.write(moments.arrays(), to: $0.path) })
    for table in AttentionTables(summary, samples).files {
      try folder.write(table.text, to: "tables/\(table.name)")
    }
    try folder.write(AttentionReport(summary, samples).html, to: reportName)
  }

  /// The lines of samples.jsonl of a run, with their places.
  ///
  /// - Throws: `JSONLinesError`, `FileError`.
  public static func lines(of run: URL) throws -> [(place: RecordPlace, value: JSONValue)] {
    let file = run.appendingPathComponent(AttentionRun.samplesName)
    return try JSONLinesReader(file, ending: .asWritten).remainingLines().map {
      (RecordPlace(file: file.path, line: $0.number), $0.value)
    }
  }

  /// What a run was asked to do.
  ///
  /// - Throws: `FileError`, `AttentionRecordError`.
  public static func context(of run: URL) throws -> AttentionContext {
    let (place, json) = try configuration(of: run)
    // Other commands make run folders too.
    for key in ["command", "kind"] {
      guard let found = json[key]?.stringValue, !["attention", "contribution"].contains(found) else {
        continue
      }
      throw AttentionRecordError.wrongValue(
        place: place, key: key, found: found,
        expected: "a run of 'mmprobe attention', 'contribution' or 'eval'")
    }
    return try AttentionContext(json: json, at: place)
  }

  /// The config.json of a run of any command, with its place.
  ///
  /// - Throws: `FileError`, `AttentionRecordError.notJSON`.
  static func configuration(of run: URL) throws -> (place: RecordPlace, json: JSONValue) {
    let file = run.appendingPathComponent("config.json")
    let place = RecordPlace(file: file.path)
    let bytes = try FileReader.bytes(of: file, limit: configurationLimit)
    do {
      return (place, try JSONValue(parsing: bytes))
    } catch {
      throw AttentionRecordError.notJSON(place: place, reason: error.errorDescription ?? "not JSON")
    }
  }

  /// A run as it was measured.
  ///
  /// - Throws: Whatever reading its files throws.
  public static func read(_ run: URL) throws -> (context: AttentionContext, samples: AttentionSamples) {
    let context = try context(of: run)
    let file = run.appendingPathComponent(AttentionRun.samplesName)
    return (context, try AttentionSamples(reading: JSONLinesReader(file), file: file.path, context: context))
  }

  /// Joins the shards of a run; see `AttentionMerge`.
  ///
  /// - Throws: Whatever reading their files throws, `AttentionMergeError`.
  public static func merge(_ runs: [URL]) throws -> AttentionMerge {
    try AttentionMerge(
      runs.map { run in
        AttentionMerge.Part(path: run.path, context: try context(of: run), lines: try lines(of: run))
      })
  }
}
