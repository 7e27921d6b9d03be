public import RunKit
import TokenModel

extension AttentionDefinition {
  /// The definition as it stands in config.json and result.json.
  public var json: JSONValue {
    var ci = JSONObject()
    ci["method"] = .string(interval.method.rawValue)
    ci["level"] = .number(interval.level)
    ci["replicates"] = .integer(interval.replicates)
    ci["cluster_key"] = interval.clusterKey.map { .string($0) } ?? .null
    ci["seed"] = .integer(interval.seed)
    let (early, middle, late) = layerGroups
    func numbers(_ range: Range<Int>) -> JSONValue { .array(range.map { .integer(layers[$0]) }) }
    var object = JSONObject([
      ("queries", .string(queries.rawValue)),
      ("groups", .array(groups.map { .string($0.name) })),
      (
        "roles",
        .object(JSONObject(groups.map { ($0.name, .array($0.roles.map { .string($0.rawValue) })) }))
      ),
      ("layers", .array(layers.map { .integer($0) })),
      ("heads", .array(heads.map { .integer($0) })),
      ("layer_groups", ["early": numbers(early), "middle": numbers(middle), "late": numbers(late)]),
      ("query_reduction", "mean"),
      ("head_reduction", "mean"),
      ("layer_reduction", "mean"),
      ("sample_reduction", "mean"),
      (
        "ratios", "of shares already averaged over query rows, heads and layers; then averaged over samples"
      ),
      ("sinks", .string(sinks.rawValue)),
      ("sink_threshold", .number(sinkThreshold)),
      ("sink_rate", .number(Self.sinkRate)),
      ("ci", .object(ci)),
    ])
    if let contribution { object["contribution"] = contribution.json }
    return .object(object)
  }

  /// Reads what `json` writes; keys that follow from others must agree with them.
  ///
  /// - Throws: `AttentionRecordError`, naming the file and the key.
  public init(json: JSONValue, at place: RecordPlace) throws(AttentionRecordError) {
    var reader = try StrictObject(json, at: place, path: "definition")
    let queries = try reader.choice("queries", of: Queries.self)
    let names = try reader.strings("groups")
    var rolesReader = try reader.object("roles")
    var groups: [Group] = []
    for name in names {
      var roles: [Role] = []
      for word in try rolesReader.strings(name) {
        guard let role = Role(rawValue: word) else {
          throw .wrongValue(
            place: place, key: rolesReader.name(name), found: "\"\(word)\"",
            expected: "roles: " + Role.allCases.map(\.rawValue).joined(separator: ", "))
        }
        roles.append(role)
      }
      groups.append(Group(name: name, roles: roles))
    }
    try rolesReader.finish()
    let layers = try reader.ints("layers")
    let heads = try reader.ints("heads")
    let sinks = try reader.choice("sinks", of: Sinks.self)
    let sinkThreshold = try reader.double("sink_threshold")
    var ci = try reader.object("ci")
    let interval = Interval(
      method: try ci.choice("method", of: Interval.Method.self), level: try ci.double("level"),
      replicates: try ci.int("replicates", in: 1...Self.replicateLimit),
      clusterKey: try ci.stringOrNull("cluster_key"), seed: try ci.int("seed", in: Int.min...Int.max))
    try ci.finish()
    self.init(
      queries: queries, groups: groups, layers: layers, heads: heads, sinks: sinks,
      sinkThreshold: sinkThreshold, interval: interval,
      contribution: try reader.objectIfPresent("contribution").map {
        object throws(AttentionRecordError) in try ContributionDefinition(object)
      })

    for key in [
      "query_reduction", "head_reduction", "layer_reduction", "sample_reduction", "ratios", "layer_groups",
      "sink_rate",
    ] {
      let found = try reader.value(key)
      guard found == self.json[key] else {
        throw .wrongValue(
          place: place, key: reader.name(key), found: found.text(), expected: self.json[key]?.text() ?? "")
      }
    }
    try reader.finish()
    try check(at: place)
  }

  /// The most resampled data sets a run may ask for.
  public static let replicateLimit = 1_000_000

  /// Refuses a definition no table can be made of.
  ///
  /// - Throws: `AttentionRecordError.wrongValue`, naming the key.
  public func check(at place: RecordPlace) throws(AttentionRecordError) {
    func require(_ holds: Bool, _ key: String, _ found: String, _ expected: String)
      throws(AttentionRecordError)
    {
      guard holds else {
        throw .wrongValue(place: place, key: "definition.\(key)", found: found, expected: expected)
      }
    }
    let names = groups.map(\.name)
    try require(!names.isEmpty, "groups", "empty", "at least one group")
    try require(Set(names).count == names.count, "groups", "\(names)", "each group once")
    try require(!names.contains(""), "groups", "\(names)", "no empty name")
    let roles = groups.flatMap(\.roles)
    try require(Set(roles).count == roles.count, "roles", "\(roles)", "each role in one group")
    for (key, values) in [("layers", layers), ("heads", heads)] {
      let ascends = zip(values, values.dropFirst()).allSatisfy { $0 < $1 }
      try require(!values.isEmpty && ascends && values[0] >= 0, key, "\(values)", "numbers from 0, ascending")
    }
    try require(
      interval.level > 0 && interval.level < 1, "ci.level", "\(interval.level)", "a number between 0 and 1")
    try require(
      1...Self.replicateLimit ~= interval.replicates, "ci.replicates", "\(interval.replicates)",
      "1 to \(Self.replicateLimit)")
    try require(
      sinkThreshold > 0 && sinkThreshold < 1, "sink_threshold", "\(sinkThreshold)", "a number between 0 and 1"
    )
    if let contribution {
      let cells = contribution.cellCount(
        layerCount: layers.count, headCount: heads.count, groupCount: groups.count)
      try require(
        cells.map { $0 <= 1 << 16 } ?? false, "contribution",
        cells.map { "\($0) numbers" } ?? "too many numbers",
        "at most 2^16 numbers a sample")
      try require(
        layers == Array(layers.indices) && heads == Array(heads.indices), "layers", "\(layers)",
        "all layers and heads from 0, as contributions need")
      try require(
        groups.allSatisfy { $0.roles.count == 1 }, "groups", "\(names)",
        "one role a group, as contributions need")
      try require(
        queries == .last, "queries", queries.rawValue, "last, as contributions need")
    }
    let (product, overflow) = layers.count.multipliedReportingOverflow(by: heads.count)
    try require(
      !overflow && product <= 1 << 20 && groups.count <= 1 << 10 && shareCount <= 1 << 20, "layers",
      "\(layers.count) layers, \(heads.count) heads, \(groups.count) groups",
      "at most 1024 groups and 2^20 shares in all")
  }
}
