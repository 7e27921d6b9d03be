import Analysis
import Foundation
import RunKit

/// Where the results of a measuring command go: a run folder or standard output, whole or in parts.
struct RunOptions {
  /// How results are printed.
  enum Format: String, CaseIterable, Sendable {
    case table
    case json
    case jsonl
    case csv
  }

  static let output = Option<String?>.text("output", short: "o", "RUN", "run folder to make")
  static let resume = Option<Bool>.flag("resume", "go on with the run in the folder")
  static let overwrite = Option<Bool>.flag("overwrite", "replace the run in the folder")
  static let shard = Option<AttentionContext.Shard?>.custom(
    "shard", "I/N", default: nil, notes: "I from 1 to N", "measure one part of N; 'mmprobe merge' joins them",
    read: readShard)
  static let dryRun = Option<Bool>.flag(
    "dry-run", "print the plan with estimates of memory and time, measure a few samples")
  static let maxMemory = Option<Int?>.custom(
    "max-memory", "SIZE", default: nil, notes: "such as 6GB or 800MB",
    "refuse a run that needs more, mapped weights included, and stop one that takes more",
    read: readSize)
  static let format = Option<Format?>.choice("format", "FORM", absence: "table", "how results are printed")
  static let declarations = [
    output.declaration, resume.declaration, overwrite.declaration, shard.declaration, dryRun.declaration,
    maxMemory.declaration, format.declaration,
  ]

  /// The run folder.
  let output: String?
  /// What to do with a folder that is not empty.
  let mode: RunFolder.Mode
  /// The part to measure.
  let shard: AttentionContext.Shard?
  /// Whether only the plan is wanted.
  let isDryRun: Bool
  /// The most bytes of memory; nil for no limit.
  let maxMemory: Int?
  /// How results are printed; nil for what `--json` says.
  let format: Format?
  private let conflict: UsageError?

  init(_ arguments: Arguments) throws(UsageError) {
    output = try arguments[Self.output]
    let (resumes, overwrites) = (try arguments[Self.resume], try arguments[Self.overwrite])
    mode = resumes ? .resume : overwrites ? .overwrite : .fresh
    shard = try arguments[Self.shard]
    isDryRun = try arguments[Self.dryRun]
    maxMemory = try arguments[Self.maxMemory]
    format = try arguments[Self.format]
    conflict =
      resumes && overwrites
      ? .conflict(reason: "--resume and --overwrite exclude each other", remedy: "leave one of them out")
      : nil
  }

  /// Refuses options that exclude each other.
  func validate() throws(UsageError) {
    if let conflict { throw conflict }
    if output == nil && mode != .fresh {
      throw .conflict(reason: "--resume and --overwrite are for -o", remedy: "give -o RUN")
    }
    if shard != nil && output == nil {
      throw .conflict(reason: "--shard needs a folder to be merged from", remedy: "give -o RUN")
    }
  }

  private static func readShard(_ text: String) throws(ValueProblem) -> AttentionContext.Shard? {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false).map { Int($0) }
    guard parts.count == 2, let part = parts[0], let count = parts[1], 1...(1 << 20) ~= count,
      1...count ~= part
    else {
      throw ValueProblem(expected: "a part and a number of parts, as in 2/3")
    }
    return AttentionContext.Shard(index: part - 1, count: count)
  }

  /// Bytes with their unit.
  static func readSize(_ text: String) throws(ValueProblem) -> Int? {
    let units = [
      ("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3), ("TiB", 0x1p40), ("GiB", 0x1p30), ("MiB", 0x1p20),
    ]
    for (unit, factor) in units where text.lowercased().hasSuffix(unit.lowercased()) {
      let number = text.dropLast(unit.count).trimmingCharacters(in: .whitespaces)
      guard let value = Double(number), value.isFinite, value > 0, value * factor < 1e15 else { break }
      return Int(value * factor)
    }
    throw ValueProblem(expected: "a number with a unit, as in 6GB, 800MB or 4GiB")
  }
}
