public import RunKit

/// What a run of `eval` was asked to do: its config.json, and everything in its result that is not measured.
public struct EvaluationContext: Sendable, Equatable {
  /// What distinguishes it from the runs of other commands.
  public static let kind = "eval"

  /// The program that measured.
  public var tool: AttentionContext.Tool
  /// The model.
  public var model: AttentionContext.Model
  /// The data.
  public var data: AttentionContext.Data
  /// What the numbers mean.
  public var definition: EvaluationDefinition

  /// What a run was asked to do.
  public init(
    tool: AttentionContext.Tool, model: AttentionContext.Model, data: AttentionContext.Data,
    definition: EvaluationDefinition
  ) {
    (self.tool, self.model, self.data, self.definition) = (tool, model, data, definition)
  }

  /// The context as it stands in config.json.
  public var json: JSONValue {
    [
      "schema": .string(AttentionContext.schema), "kind": .string(Self.kind), "tool": tool.json,
      "model": model.json, "data": data.json, "definition": definition.json,
    ]
  }

  /// Reads config.json.
  ///
  /// - Throws: `AttentionRecordError`, naming the file and the key.
  public init(json: JSONValue, at place: RecordPlace) throws(AttentionRecordError) {
    var reader = try StrictObject(json, at: place)
    for (key, word) in [("schema", AttentionContext.schema), ("kind", Self.kind)] {
      let found = try reader.string(key)
      guard found == word else {
        throw .wrongValue(place: place, key: key, found: "\"\(found)\"", expected: "\"\(word)\"")
      }
    }
    self.init(
      tool: try AttentionContext.Tool(reader.object("tool")),
      model: try AttentionContext.Model(reader.object("model")),
      data: try AttentionContext.Data(reader.object("data")),
      definition: try EvaluationDefinition(json: reader.value("definition"), at: place))
    try reader.finish()
  }
}
