public import RunKit
import TensorCore
public import TokenModel

/// What the numbers of an evaluation mean.
public struct EvaluationDefinition: Sendable, Equatable {
  /// How intervals of an accuracy are made.
  public struct Interval: Sendable, Equatable {
    /// The way from answers to an interval.
    public enum Method: String, CaseIterable, Sendable {
      /// The score interval of a proportion, for independent samples.
      case wilson
      /// Percentiles of resampled data sets, whole clusters at a time if there are any.
      case bootstrap
    }

    /// The way from answers to an interval.
    public var method = Method.wilson
    /// The nominal coverage, inside 0...1 without its ends.
    public var level = 0.95
    /// Resampled data sets, at least 1; for differences also with `wilson`.
    public var replicates = 2000
    /// The medium whose items are resampled as a whole, or nil for single samples.
    public var clusterKey: String?
    /// Seed of the resampling.
    public var seed = 0

    /// The defaults.
    public init() {}
  }

  /// The most ids of an answer.
  public var answerLimit: Int
  /// The conditions, each once; the first is what the others are compared with.
  public var conditions: [EvaluationCondition]
  /// For a type of question (the tag `type`) the modalities without which it cannot be answered; becomes the tag `needs`.
  public var needs: [String: [Modality]]
  /// Tags to group by, crossed ones with a plus sign between; empty for every tag that occurs.
  public var keys: [String]
  /// How intervals are made.
  public var interval: Interval
  /// Seed of the noise.
  public var seed: Int

  /// A definition; one condition in which nothing is changed unless given.
  public init(
    answerLimit: Int, conditions: [EvaluationCondition] = [.full], needs: [String: [Modality]] = [:],
    keys: [String] = [], interval: Interval = Interval(), seed: Int = 0
  ) {
    require(!conditions.isEmpty && Set(conditions).count == conditions.count, "conditions \(conditions)")
    (self.answerLimit, self.conditions, self.needs) = (answerLimit, conditions, needs)
    (self.keys, self.interval, self.seed) = (keys, interval, seed)
  }

  /// The name of the tag that says what a question needs.
  public static let needsTag = "needs"

  /// What the ten types of question of AVDigits-QA need, as its description says.
  public static let avdigitsNeeds: [String: [Modality]] = [
    "written": [.image], "written_even": [.image], "spoken": [.audio], "spoken_even": [.audio],
    "sum": [.image, .audio], "difference": [.image, .audio], "larger": [.image, .audio],
    "same": [.image, .audio], "text_sum": [], "text_larger": [],
  ]

  /// The value of the tag `needs`: modalities with a plus sign between, `text` where the question is enough; nil for a type
  /// nothing is known of.
  func neededModalities(ofType type: String?) -> String? {
    guard let type, let modalities = needs[type] else { return nil }
    let media = modalities.filter { $0 != .text }
    return media.isEmpty ? Modality.text.rawValue : media.map(\.rawValue).joined(separator: "+")
  }

  /// Reads the modalities that types of questions need: an object from types to lists of modalities, by itself or as the
  /// member `needs` of another, such as a training configuration.
  ///
  /// - Parameter file: For messages.
  /// - Throws: `AttentionRecordError`, naming the file and the key.
  public static func readNeeds(_ json: JSONValue, file: String) throws(AttentionRecordError)
    -> [String: [Modality]]
  {
    let place = RecordPlace(file: file)
    let isMember = json["needs"]?.objectValue != nil
    guard let object = (isMember ? json["needs"] : json)?.objectValue else {
      throw .wrongType(place: place, key: "needs", found: json.kind, expected: "an object of types")
    }
    var needs: [String: [Modality]] = [:]
    for (type, value) in object.members {
      let key = isMember ? "needs.\(type)" : type
      guard let list = value.arrayValue else {
        throw .wrongType(place: place, key: key, found: value.kind, expected: "an array of modalities")
      }
      needs[type] = []
      for element in list {
        let known = Modality.media + [.text]
        guard let word = element.stringValue, let modality = known.first(where: { $0.rawValue == word })
        else {
          throw .wrongValue(
            place: place, key: key, found: element.text(),
            expected: "one of \(known.map(\.rawValue).joined(separator: ", "))")
        }
        needs[type]?.append(modality)
      }
    }
    return needs
  }
}

extension EvaluationDefinition {
  /// The definition as it stands in config.json and result.json.
  public var json: JSONValue {
    [
      "match": "exact", "max_new_tokens": .integer(answerLimit),
      "conditions": .array(conditions.map { .string($0.name) }),
      "needs": .object(
        JSONObject(
          needs.sorted { $0.key < $1.key }.map { type, modalities in
            (type, .array(modalities.map { .string($0.rawValue) }))
          })),
      "by": .array(keys.map(JSONValue.string)),
      "ci": [
        "method": .string(interval.method.rawValue), "level": .number(interval.level),
        "replicates": .integer(interval.replicates),
        "cluster_key": interval.clusterKey.map { .string($0) } ?? .null, "seed": .integer(interval.seed),
      ], "seed": .integer(seed),
    ]
  }

  /// Reads what `json` writes.
  ///
  /// - Throws: `AttentionRecordError`, naming the file and the key.
  init(json: JSONValue, at place: RecordPlace) throws(AttentionRecordError) {
    var reader = try StrictObject(json, at: place, path: "definition")
    func wrong(_ key: String, _ found: String, _ expected: String) -> AttentionRecordError {
      .wrongValue(place: place, key: "definition.\(key)", found: found, expected: expected)
    }
    let match = try reader.string("match")
    guard match == "exact" else { throw wrong("match", match, "exact") }
    let limit = try reader.int("max_new_tokens", in: 1...1 << 30)
    var conditions: [EvaluationCondition] = []
    for name in try reader.strings("conditions") {
      guard let condition = EvaluationCondition(name), !conditions.contains(condition) else {
        throw wrong("conditions", name, "each of \(EvaluationCondition.grammar) once")
      }
      conditions.append(condition)
    }
    guard !conditions.isEmpty else { throw wrong("conditions", "none", "at least one") }
    let needs = try Self.readNeeds(["needs": reader.value("needs")], file: place.file)
    let keys = try reader.strings("by")
    var ci = try reader.object("ci")
    var interval = Interval()
    interval.method = try ci.choice("method", of: Interval.Method.self)
    interval.level = try ci.double("level")
    interval.replicates = try ci.int("replicates", in: 1...AttentionDefinition.replicateLimit)
    interval.clusterKey = try ci.stringOrNull("cluster_key")
    interval.seed = try ci.int("seed", in: Int.min...Int.max)
    try ci.finish()
    guard interval.level > 0 && interval.level < 1 else {
      throw wrong("ci.level", "\(interval.level)", "a number between 0 and 1")
    }
    self.init(
      answerLimit: limit, conditions: conditions, needs: needs, keys: keys, interval: interval,
      seed: try reader.int("seed", in: Int.min...Int.max))
    try reader.finish()
  }
}
