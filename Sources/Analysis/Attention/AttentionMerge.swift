public import RunKit

/// Why runs cannot be merged.
public enum AttentionMergeError: DescribedError {
  /// Nothing was named.
  case nothingToMerge
  /// Two runs were made with different settings; `key` is the first that differs.
  case settingsDiffer(path: String, key: String, found: String, first: String, expected: String)
  /// A run is not the part it says it is.
  case foreignSample(path: String, index: Int, shard: String)
  /// Samples that no run holds.
  case missingSamples(count: Int, first: [Int], total: Int)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case nothingToMerge = "merge_nothing"
    case settingsDiffer = "merge_settings_differ"
    case foreignSample = "merge_foreign_sample"
    case missingSamples = "merge_missing_samples"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .nothingToMerge: .nothingToMerge
    case .settingsDiffer: .settingsDiffer
    case .foreignSample: .foreignSample
    case .missingSamples: .missingSamples
    }
  }

  /// The status a command ends with.
  public var exitStatus: ExitStatus {
    switch self {
    case .nothingToMerge: .usage
    default: .data
    }
  }

  /// The file concerned.
  public var path: String? {
    switch self {
    case .settingsDiffer(let path, _, _, _, _), .foreignSample(let path, _, _): path
    case .nothingToMerge, .missingSamples: nil
    }
  }

  /// What, where, found and expected.
  public var errorDescription: String? {
    switch self {
    case .nothingToMerge: "no runs to merge"
    case .settingsDiffer(let path, let key, let found, let first, let expected):
      "\(path): \(key.inQuotes) is \(found.shown()), but \(expected.shown()) in \(first); a run cannot mix"
    case .foreignSample(let path, let index, let shard):
      "\(path): sample \(index) does not belong to shard \(shard)"
    case .missingSamples(let count, let first, let total):
      "\(count) of \(total) samples are in none of the runs: "
        + first.map(String.init).joined(separator: ", ")
        + (count > first.count ? ", …" : "")
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    switch self {
    case .nothingToMerge: "name the run folders of all shards"
    case .settingsDiffer: "measure the differing shard again with the settings of the others"
    case .foreignSample: "check that its samples file belongs to this run folder"
    case .missingSamples: "finish each shard with --resume, and name all of them"
    }
  }
}

/// Joins the shards of a run into the run they are parts of.
///
/// Everything but the shard number must agree: program version, model and data hashes, definition, options.
/// Samples must be disjoint and complete. The result is that of the undivided run, to the byte, since both are
/// functions of the same context and samples.
public struct AttentionMerge: Sendable {
  /// One shard.
  public struct Part: Sendable {
    /// Where it lies, for messages.
    public var path: String
    /// Its config.json.
    public var context: AttentionContext
    /// The lines of its samples.jsonl.
    public var lines: [(place: RecordPlace, value: JSONValue)]

    /// One shard.
    public init(path: String, context: AttentionContext, lines: [(place: RecordPlace, value: JSONValue)]) {
      self.path = path
      self.context = context
      self.lines = lines
    }
  }

  /// The context of the whole run: that of the parts without a shard.
  public let context: AttentionContext
  /// Its samples.
  public let samples: AttentionSamples

  /// Joins all parts of one run.
  ///
  /// - Throws: `AttentionMergeError` or, for a faulty or repeated line, `AttentionRecordError`.
  public init(_ parts: [Part]) throws {
    guard let first = parts.first else { throw AttentionMergeError.nothingToMerge }
    var whole = first.context
    whole.shard = nil
    let settings = whole.json
    for part in parts.dropFirst() {
      var context = part.context
      context.shard = nil
      if let (key, expected, found) = Self.difference(settings, context.json, "") {
        throw AttentionMergeError.settingsDiffer(
          path: part.path, key: key, found: found, first: first.path, expected: expected)
      }
    }
    let samples = try AttentionSamples(lines: parts.flatMap(\.lines), context: whole)
    for part in parts {
      guard let shard = part.context.shard else { continue }
      for line in part.lines {
        guard let index = line.value["index"]?.intValue, !shard.contains(index) else { continue }
        throw AttentionMergeError.foreignSample(
          path: part.path, index: index, shard: "\(shard.index + 1)/\(shard.count)")
      }
    }
    let present = Set(samples.indices)
    if present.count < whole.data.sampleCount {
      var missing: [Int] = []
      for index in 0..<whole.data.sampleCount where !present.contains(index) {
        missing.append(index)
        if missing.count == 10 { break }
      }
      throw AttentionMergeError.missingSamples(
        count: whole.data.sampleCount - present.count, first: missing, total: whole.data.sampleCount)
    }
    self.context = whole
    self.samples = samples
  }

  /// The lines of the samples.jsonl of the whole run, in order.
  public var lines: [JSONValue] { samples.samples.map { $0.json(context.definition) } }

  /// The first place where two documents differ: the key, and both values as text.
  private static func difference(
    _ left: JSONValue, _ right: JSONValue, _ path: String
  ) -> (key: String, left: String, right: String)? {
    if left == right { return nil }
    if let old = left.objectValue, let new = right.objectValue {
      for key in old.keys + new.keys where old[key] != new[key] {
        let name = path.isEmpty ? key : "\(path).\(key)"
        return difference(old[key] ?? .null, new[key] ?? .null, name)
      }
    }
    if let old = left.arrayValue, let new = right.arrayValue, old.count == new.count,
      let index = old.indices.first(where: { old[$0] != new[$0] })
    {
      return difference(old[index], new[index], "\(path)[\(index)]")
    }
    return (path, left.text(), right.text())
  }
}
