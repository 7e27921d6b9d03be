import RunKit

extension Contribution {
  /// The contributions as they stand in a line of samples.jsonl.
  func json(_ definition: AttentionDefinition) -> JSONValue {
    let names = definition.groups.map(\.name)
    func byGroup(_ values: [Double]) -> JSONValue {
      .object(JSONObject(Array(zip(names, values.map { JSONValue($0) }))))
    }
    return .object(
      JSONObject([
        (
          "target",
          [
            "id": .integer(target.id), "piece": .string(target.piece), "value": JSONValue(target.value),
            "probability": JSONValue(target.probability), "is_prediction": .bool(target.isPrediction),
          ]
        ),
        ("effect", effect.map(byGroup) ?? .null), ("magnitude", byGroup(magnitude)),
        ("cells", .array(cells.map { JSONValue($0) })),
        ("heads", heads.map { JSONValue(floats: $0) } ?? .null),
        ("tokens", tokens.map { JSONValue(floats: $0) } ?? .null),
        ("baseline_value", JSONValue(baselineValue)), ("residual", JSONValue(residual)),
      ]))
  }

  /// Reads what `json` writes.
  ///
  /// - Throws: `AttentionRecordError`, naming the file, the line and the key.
  init(
    _ object: StrictObject, _ contribution: ContributionDefinition, _ definition: AttentionDefinition
  ) throws(AttentionRecordError) {
    var reader = object
    let names = definition.groups.map(\.name)
    func byGroup(_ key: String) throws(AttentionRecordError) -> [Double] {
      var groups = try reader.object(key)
      var values: [Double] = []
      for name in names { values.append(try groups.double(name)) }
      try groups.finish()
      return values
    }
    func doubleOrNull(_ key: String) throws(AttentionRecordError) -> Double? {
      try reader.valueOrNull(key) == nil ? nil : try reader.double(key)
    }
    var target = try reader.object("target")
    let flag = try target.value("is_prediction")
    guard let isPrediction = flag.boolValue else {
      throw target.wrongType("is_prediction", flag, "true or false")
    }
    var cells: [Double] = []
    let list = try reader.array("cells")
    for (number, value) in list.enumerated() {
      guard let cell = value.doubleValue, cell.isFinite else {
        throw reader.wrongType("cells[\(number)]", value, "a number")
      }
      cells.append(cell)
    }
    guard list.count == definition.cellNames.count else {
      throw .wrongCount(
        place: reader.place, key: reader.name("cells"), found: list.count,
        expected: definition.cellNames.count)
    }
    self.init(
      target: Target(
        id: try target.int("id"), piece: try target.string("piece"), value: try target.double("value"),
        probability: try target.double("probability"), isPrediction: isPrediction),
      effect: try reader.valueOrNull("effect") == nil ? nil : try byGroup("effect"),
      magnitude: try byGroup("magnitude"), cells: cells,
      heads: try reader.valueOrNull("heads") == nil
        ? nil : try reader.floats("heads", count: definition.shareCount),
      tokens: try reader.valueOrNull("tokens") == nil ? nil : try reader.floats("tokens"),
      baselineValue: try doubleOrNull("baseline_value"), residual: try doubleOrNull("residual"))
    try target.finish()
    try reader.finish()
    guard isFinite else {
      throw .wrongValue(
        place: reader.place, key: reader.name("cells"), found: "a number beyond \(Self.limit)",
        expected: "numbers from -\(Self.limit) to \(Self.limit) in all of its parts")
    }
    guard magnitude.allSatisfy({ $0 >= 0 }) else {
      throw .wrongValue(
        place: reader.place, key: reader.name("magnitude"), found: "\(magnitude)", expected: "at least 0")
    }
    guard (effect != nil) == contribution.hasEffects else {
      throw .wrongValue(
        place: reader.place, key: reader.name("effect"), found: effect == nil ? "null" : "an object",
        expected: contribution.hasEffects ? "an object" : "null")
    }
  }
}
