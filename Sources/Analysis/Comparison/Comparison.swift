import RunKit

/// Two runs of the same kind over the same samples: how the second differs from the first.
///
/// Samples are paired, so that what they have in common does not blur the difference. Every quantity has the mean of
/// after − before with an interval and a p value, corrected by Holm within its family.
public struct Comparison: Sendable {
  /// What makes two samples the same one.
  public enum Pairing: String, CaseIterable, Sendable {
    /// Name, text, media and expected answer.
    case content
    /// The name alone, for the same questions about changed media.
    case id
  }

  /// One of the two runs.
  public struct Side: Sendable, Equatable {
    /// The folder as it was named.
    public let path: String
    /// The model.
    public let model: AttentionContext.Model
    /// The data.
    public let data: AttentionContext.Data
    /// Samples with numbers.
    public let count: Int
    /// Samples that belong to the run.
    public let expectedCount: Int
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
  /// Pairs.
  public let pairCount: Int
  /// Samples without a partner, in the first and in the second run.
  public let unpaired: [Int]
  /// Samples of the same name whose content differs: paired by `id`, unpaired by `content`.
  public let changedCount: Int
  /// What differs between the runs.
  public let settings: [Setting]
  /// How intervals are made.
  public let interval: AttentionDefinition.Interval
  /// How many clusters there are; nil for independent samples.
  public let clusterCount: Int?
  /// The quantities, families together.
  public let rows: [Row]

  /// Compares two runs.
  ///
  /// - Parameters:
  ///   - interval: How intervals are made; the medium of clusters is that of the first run unless `clusterKey` is given.
  ///   - clusterKey: nil to take the first run's, `.some(nil)` for independent samples.
  /// - Throws: `ComparisonError`; errors of files and records.
  public init(
    _ first: String, _ second: String, pairing: Pairing, interval: AttentionDefinition.Interval,
    clusterKey: String?? = nil
  ) throws {
    let runs = try [first, second].map { try ComparedRun(path: $0) }
    guard runs[0].kind == runs[1].kind else {
      throw ComparisonError.differentKinds(
        first: first, kind: runs[0].kind, second: second, other: runs[1].kind)
    }
    let pairs = SamplePairs(runs[0].keys, runs[1].keys, pairing: pairing)
    guard !pairs.places.isEmpty else {
      throw ComparisonError.noPairs(first: first, second: second, changedCount: pairs.changedCount)
    }
    var interval = interval
    interval.clusterKey = clusterKey ?? runs[0].clusterKey
    let clusterKeys = interval.clusterKey.map { medium in
      pairs.places.map { runs[0].cluster(of: $0.first, medium) }
    }
    kind = runs[0].kind
    sides = runs.map(\.side)
    self.pairing = pairing
    pairCount = pairs.places.count
    unpaired = [pairs.onlyFirst, pairs.onlySecond]
    changedCount = pairs.changedCount
    settings = SettingDifferences.list(runs[0].configuration, runs[1].configuration)
    self.interval = interval
    clusterCount = clusterKeys.map { Set($0).count }
    let families = try ComparedRun.families(runs[0], runs[1], pairs)
    guard !families.isEmpty else { throw ComparisonError.nothingInCommon(first: first, second: second) }
    let estimator = PairedEstimator(interval: interval, clusterKeys: clusterKeys)
    rows = families.flatMap { family in
      zip(family.quantities, estimator.differences(family.quantities.map(\.column))).map {
        quantity, difference in
        Row(
          path: quantity.path, family: family.name, unit: family.unit, group: quantity.group,
          layer: quantity.layer, difference: difference)
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

/// Which sample of the first run is which of the second.
struct SamplePairs {
  /// What a sample is known by.
  struct Key {
    let id: String
    let hash: String
  }

  /// Places in the two lists.
  let places: [(first: Int, second: Int)]
  let onlyFirst: Int
  let onlySecond: Int
  let changedCount: Int

  init(_ first: [Key], _ second: [Key], pairing: Comparison.Pairing) {
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
    let others = Dictionary(
      zip(numbered(second), second.indices), uniquingKeysWith: { first, _ in first })
    var places: [(first: Int, second: Int)] = []
    var changed = 0
    for (place, name) in numbered(first).enumerated() {
      guard let other = others[name] else { continue }
      let isChanged = first[place].hash != second[other].hash
      if isChanged { changed += 1 }
      if pairing == .id || !isChanged { places.append((place, other)) }
    }
    self.places = places
    changedCount = changed
    (onlyFirst, onlySecond) = (first.count - places.count, second.count - places.count)
  }
}

/// What two descriptions of a run do not share.
enum SettingDifferences {
  /// The members that differ, in the order of the first, then of the second.
  ///
  /// Lists whose elements have names are compared name by name. Schema and kind are the same anyway, and the number of a
  /// shard is no setting.
  static func list(_ first: JSONValue, _ second: JSONValue) -> [Comparison.Setting] {
    let (old, new) = (flattened(first), flattened(second))
    let keys = old.keys + new.keys.filter { old[$0] == nil }
    return keys.filter { old[$0] != new[$0] }.map { key in
      Comparison.Setting(key: key, first: old[key].map(text), second: new[key].map(text))
    }
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
