public import RunKit

/// Two runs of the same kind over the same samples: how the second differs from the first.
///
/// Samples are paired, so that what they have in common does not blur the difference. Every quantity has the mean of
/// after − before with an interval and a p value, corrected by Holm within its family.
///
/// A side may be several runs, such as trainings with other seeds. Then runs are paired as well, and intervals and tests
/// take both runs and samples as drawn at random (`CrossedSamples`).
public struct Comparison: Sendable {
  /// What makes two samples the same one.
  public enum Pairing: String, CaseIterable, Sendable {
    /// Name, text, media and expected answer.
    case content
    /// The name alone, for the same questions about changed media.
    case id
  }

  /// One of the two runs, or one of two sets of runs.
  public struct Side: Sendable, Equatable {
    /// The folder as it was named, or the pattern of several.
    public let path: String
    /// The model; of several runs that of the first.
    public let model: AttentionContext.Model
    /// The data; of several runs that of the first.
    public let data: AttentionContext.Data
    /// Samples with numbers; of several runs, of that with the fewest.
    public let count: Int
    /// Samples that belong to the run.
    public let expectedCount: Int
    /// The runs of a set by what the stars stand for; empty for a single run.
    public var members: [FolderPattern.Match] = []
    /// What the stars of runs without a partner stand for.
    public var unpairedMembers: [String] = []
  }

  /// A setting with other values in the two runs.
  public struct Setting: Sendable, Equatable {
    /// Its name, members with dots between.
    public let key: String
    /// In the first run; nil where it is not set.
    public let first: String?
    /// In the second run; nil where it is not set.
    public let second: String?
  }

  /// What numbers are.
  public enum Unit: String, Sendable {
    /// A fraction, shown in percent; differences in percentage points.
    case share
    /// Anything else.
    case number
  }

  /// One quantity.
  public struct Row: Sendable, Equatable {
    /// The parts of its name, such as `layers`, `3`, `image`, `share`.
    public let path: [String]
    /// The family within which its p value is corrected; also the table it stands in.
    public let family: String
    /// What numbers are.
    public let unit: Unit
    /// The group of keys, if it is about one.
    public let group: String?
    /// The layer, if it is about one.
    public let layer: Int?
    /// The difference.
    public let difference: PairedDifference

    /// The name as expressions have it, such as `layers.3.image.share`.
    public var name: String { ComparisonExpression.spelling(path) }
  }

  /// What the runs measure: attention, contribution or eval.
  public let kind: String
  /// The first and the second run.
  public let sides: [Side]
  /// How samples were paired.
  public let pairing: Pairing
  /// How many pairs of runs there are: 1, or more where a side is a set.
  public let runCount: Int
  /// Pairs of samples; of sets, samples that every run has.
  public let pairCount: Int
  /// Samples without a partner, in the first and in the second run.
  public let unpaired: [Int]
  /// Samples of the same name whose content differs: paired by `id`, unpaired by `content`.
  public let changedCount: Int
  /// What differs between the runs; of sets, what does not vary in the same way within both.
  public let settings: [Setting]
  /// How intervals are made.
  public let interval: AttentionDefinition.Interval
  /// How many clusters there are; nil for independent samples.
  public let clusterCount: Int?
  /// The quantities, families together.
  public let rows: [Row]

  /// Compares two runs, or two sets of runs.
  ///
  /// A path with stars that is no folder itself stands for all folders it matches. Two sets are paired by what the stars
  /// stand for; one run on a side is the partner of every run on the other.
  ///
  /// - Parameters:
  ///   - interval: How intervals are made; the medium of clusters is that of the first run unless `clusterKey` is given.
  ///   - clusterKey: nil to take the first run's, `.some(nil)` for independent samples.
  /// - Throws: `ComparisonError`; errors of files and records.
  public init(
    _ first: String, _ second: String, pairing: Pairing, interval: AttentionDefinition.Interval,
    clusterKey: String?? = nil
  ) throws {
    let sets = try ComparedRuns.paired(first, second)
    let (olds, news) = (sets[0].runs, sets[1].runs)
    let all = olds + news
    for run in all where run.kind != all[0].kind {
      throw ComparisonError.differentKinds(
        first: all[0].path, kind: all[0].kind, second: run.path, other: run.kind)
    }
    let aligned = AlignedSamples(all.map(\.keys), pairing: pairing)
    guard !aligned.places.isEmpty else {
      throw ComparisonError.noPairs(first: first, second: second, changedCount: aligned.changedCount)
    }
    var interval = interval
    interval.clusterKey = clusterKey ?? all[0].clusterKey
    let clusterKeys = interval.clusterKey.map { medium in
      aligned.places.map { all[0].cluster(of: $0[0], medium) }
    }
    kind = all[0].kind
    sides = sets.map(\.side)
    self.pairing = pairing
    runCount = olds.count
    pairCount = aligned.places.count
    unpaired = [olds, news].map { runs in
      (runs.map(\.keys.count).max() ?? 0) - aligned.places.count
    }
    changedCount = aligned.changedCount
    settings = SettingDifferences.list(olds.map(\.configuration), news.map(\.configuration))
    self.interval = interval
    clusterCount = clusterKeys.map { Set($0).count }
    let families = try olds.indices.map { place in
      try ComparedRun.families(
        olds[place], news[place], aligned.places.map { ($0[place], $0[olds.count + place]) })
    }
    guard !families[0].isEmpty else { throw ComparisonError.nothingInCommon(first: first, second: second) }
    let estimator = PairedEstimator(interval: interval, clusterKeys: clusterKeys)
    rows = families[0].flatMap { family in
      // What every pair of runs measured, as columns by pair.
      let columns = family.quantities.compactMap { quantity -> (ComparedFamily.Quantity, [PairedColumn])? in
        let found = families.compactMap { others in
          others.first { $0.name == family.name }?.quantities.first { $0.path == quantity.path }?.column
        }
        return found.count == families.count ? (quantity, found) : nil
      }
      return zip(columns, estimator.differences(ofPairs: columns.map(\.1))).map { column, difference in
        Row(
          path: column.0.path, family: family.name, unit: family.unit, group: column.0.group,
          layer: column.0.layer, difference: difference)
      }
    }
  }

  /// The families in order.
  public var families: [String] {
    rows.reduce(into: [String]()) { if !$0.contains($1.family) { $0.append($1.family) } }
  }

  /// Whether a corrected p value is below 1 − confidence.
  public func isSignificant(_ row: Row) -> Bool {
    row.difference.corrected.map { $0 < 1 - interval.level } ?? false
  }
}

/// Quantities that are tested together.
struct ComparedFamily {
  struct Quantity {
    let path: [String]
    var group: String?
    var layer: Int?
    let column: PairedColumn
  }

  let name: String
  let unit: Comparison.Unit
  let quantities: [Quantity]
}

/// The runs of one side.
struct ComparedRuns {
  /// Each in the place of its partner on the other side; one that is the partner of all, once for each.
  let runs: [ComparedRun]
  let side: Comparison.Side

  /// Reads the runs of two paths and pairs them.
  ///
  /// - Throws: `ComparisonError.noRuns`, `.noCommonRuns`; errors of files and records.
  static func paired(_ first: String, _ second: String) throws -> [ComparedRuns] {
    let patterns = [first, second].map { FolderPattern($0) }
    let matches = try patterns.map { pattern throws(ComparisonError) -> [FolderPattern.Match]? in
      guard let pattern else { return nil }
      let matches = pattern.matches
      if matches.isEmpty { throw .noRuns(pattern: pattern.path) }
      return matches
    }
    var keys = matches.map { $0?.map(\.stars) }
    if let left = keys[0], let right = keys[1] {
      let common = left.filter { right.contains($0) }
      if common.isEmpty { throw ComparisonError.noCommonRuns(first: first, second: second) }
      keys = [common, common]
    }
    let pairCount = keys.compactMap { $0?.count }.first ?? 1
    return try zip([first, second], matches.indices).map { path, place in
      guard let found = matches[place], let wanted = keys[place] else {
        let run = try ComparedRun(path: path)
        return ComparedRuns(runs: [ComparedRun](repeating: run, count: pairCount), side: run.side)
      }
      let members = found.filter { wanted.contains($0.stars) }
      let runs = try members.map { try ComparedRun(path: $0.path) }
      // Most is missing where the fewest of the samples have numbers.
      let least = runs.map(\.side).min { $0.count - $0.expectedCount < $1.count - $1.expectedCount }
      var side = Comparison.Side(
        path: path, model: runs[0].side.model, data: runs[0].side.data,
        count: least?.count ?? 0, expectedCount: least?.expectedCount ?? 0)
      side.members = members
      side.unpairedMembers = found.map(\.stars).filter { !wanted.contains($0) }
      return ComparedRuns(runs: runs, side: side)
    }
  }
}

/// Which sample of one run is which of the others.
struct AlignedSamples {
  /// What a sample is known by.
  struct Key {
    let id: String
    let hash: String
  }

  /// Samples that every run has: the place in each.
  let places: [[Int]]
  /// Samples of the same name in every run whose content differs.
  let changedCount: Int

  /// - Parameter runs: The samples of two or more runs.
  init(_ runs: [[Key]], pairing: Comparison.Pairing) {
    // Names by their bytes, and equal names in the order they stand.
    func numbered(_ keys: [Key]) -> [[UInt8]] {
      var seen: [[UInt8]: Int] = [:]
      return keys.map { key in
        let bytes = [UInt8](key.id.utf8)
        let number = seen[bytes, default: 0]
        seen[bytes] = number + 1
        return bytes + [0] + [UInt8]("\(number)".utf8)
      }
    }
    let others = runs.dropFirst().map { run in
      Dictionary(zip(numbered(run), run.indices), uniquingKeysWith: { first, _ in first })
    }
    var places: [[Int]] = []
    var changed = 0
    for (place, name) in numbered(runs[0]).enumerated() {
      let found = [place] + others.compactMap { $0[name] }
      guard found.count == runs.count else { continue }
      let isChanged = zip(runs, found).contains { $0[$1].hash != runs[0][place].hash }
      if isChanged { changed += 1 }
      if pairing == .id || !isChanged { places.append(found) }
    }
    self.places = places
    changedCount = changed
  }
}

/// What two descriptions of a run do not share.
enum SettingDifferences {
  /// The members that differ, in the order of the first, then of the second.
  ///
  /// Lists whose elements have names are compared name by name. Schema and kind are the same anyway, and the number of a
  /// shard is no setting. Of several runs on a side only their number is told where they differ among themselves.
  static func list(_ firsts: [JSONValue], _ seconds: [JSONValue]) -> [Comparison.Setting] {
    let (olds, news) = (firsts.map(flattened), seconds.map(flattened))
    var seen = Set<String>()
    let keys = (olds + news).flatMap(\.keys).filter { seen.insert($0).inserted }
    return keys.compactMap { key in
      let (old, new) = (olds.map { $0[key].map(text) }, news.map { $0[key].map(text) })
      if old == new { return nil }
      return Comparison.Setting(key: key, first: summary(old), second: summary(new))
    }
  }

  private static func summary(_ values: [String?]) -> String? {
    Set(values).count == 1 ? values[0] : "\(Set(values).count) values"
  }

  private static func text(_ value: JSONValue) -> String { value.stringValue ?? value.text() }

  private static func flattened(_ value: JSONValue) -> JSONObject {
    var flat = JSONObject()
    func visit(_ value: JSONValue, _ path: String) {
      func below(_ key: String) -> String { path.isEmpty ? key : path + "." + key }
      // An empty list says no more than one that is not there.
      if let members = value.objectValue?.members {
        for (key, value) in members where !(path.isEmpty && ["schema", "kind", "shard"].contains(key)) {
          visit(value, below(key))
        }
      } else if let elements = value.arrayValue, elements.allSatisfy({ $0["name"]?.stringValue != nil }) {
        for element in elements {
          for (key, value) in element.objectValue?.members ?? [] where key != "name" {
            visit(value, below((element["name"]?.stringValue ?? "") + "." + key))
          }
        }
      } else {
        flat[path] = value
      }
    }
    visit(value, "")
    return flat
  }
}
