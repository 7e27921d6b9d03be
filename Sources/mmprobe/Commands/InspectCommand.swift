import Analysis
import RunKit
import TokenModel

/// `mmprobe inspect`: what is this checkpoint?
struct InspectCommand: Command {
  static let name = "inspect"
  static let summary = "what a checkpoint is: architecture, shapes, memory, media"
  static let discussion = """
    Reads configuration and headers only: nothing is computed, and weights stay on
    disk. With --families it lists the model families that can be opened.
    """
  static let families = Option<Bool>.flag("families", "list the model families and take no MODEL")
  // Optional here, since --families goes without it.
  static let model = Positional(name: "MODEL", count: .optional, help: Positional.model.help)
  static let positionals = [model]
  static let options = [families.declaration]
  static let examples = [
    Example(purpose: "The model that comes with mmprobe", line: "inspect checkpoints/avdigits"),
    Example(purpose: "Which families are supported?", line: "inspect --families"),
  ]

  private let path: String?

  init(_ arguments: Arguments) throws(UsageError) {
    let listsFamilies = try arguments[Self.families]
    path = listsFamilies ? arguments.optional(Self.model) : try arguments[Self.model]
    if listsFamilies, let path {
      throw .conflict(reason: "--families takes no MODEL, found '\(path)'", remedy: "leave one of them out")
    }
  }

  func run(_ session: Session) throws -> ExitStatus {
    guard let path else {
      try listFamilies(session.console)
      return .success
    }
    let checkpoint = try Support.checkpoint(path)
    let inspection = Inspection(checkpoint)
    if session.console.wantsJSON {
      try session.console.document(json(checkpoint, inspection))
    } else {
      try session.console.write(text(checkpoint, inspection))
    }
    return .success
  }

  private func listFamilies(_ console: Console) throws {
    if console.wantsJSON {
      let families = ModelFamilies.all.map { family -> JSONValue in
        ["model_type": .string(family.modelType), "summary": .string(family.summary)]
      }
      return try console.document(["families": .array(families)])
    }
    var table = TextTable([.text("model_type"), .text("family")])
    for family in ModelFamilies.all { table.append([family.modelType, family.summary]) }
    try console.write(table.text)
  }

  private func text(_ checkpoint: Checkpoint, _ inspection: Inspection) -> String {
    let sizes = inspection.configuration
    var lines = [
      ("model", Support.name(path ?? "")),
      ("family", checkpoint.family.modelType + ": " + checkpoint.family.summary),
      (
        "decoder",
        "\(sizes.layerCount) layers x \(sizes.headCount) heads (\(sizes.keyValueHeadCount) for keys and values) of size "
          + "\(sizes.headSize), hidden \(sizes.hiddenSize), inner \(sizes.intermediateSize)"
      ),
      (
        "vocabulary",
        Support.grouped(sizes.vocabularySize) + (sizes.tiesEmbeddings ? ", output tied to input" : "")
      ),
      ("context", "\(Support.grouped(sizes.contextLength)) positions"),
      ("parameters", Support.grouped(inspection.parameterCount)),
    ]
    for type in inspection.types {
      lines.append(
        (
          "stored as \(type.type.rawValue)",
          "\(Support.counted(type.tensorCount, "tensor")), \(Support.grouped(type.elementCount)) elements, "
            + ByteCount.text(type.byteCount)
        ))
    }
    lines.append(
      (
        "mapped",
        ByteCount.text(inspection.byteCount)
          + " in \(Support.counted(checkpoint.weights.files.count, "file"))"
      ))
    lines.append(
      ("tokenizer", checkpoint.tokenizer.map { "\(Support.grouped($0.vocabularySize)) pieces" } ?? "none"))
    for medium in inspection.media {
      let grid = medium.grid.rows > 1 ? " (\(medium.grid.rows) x \(medium.grid.columns))" : ""
      lines.append(
        (
          medium.modality.rawValue,
          "\(Support.shape(medium.shape)) \(medium.isBytes ? "bytes" : "numbers") become \(medium.rowCount) tokens\(grid), placeholder id "
            + "\(medium.placeholderID)"
        ))
    }
    if inspection.media.isEmpty { lines.append(("media", "none: text only")) }
    let able = inspection.analyses.filter { $0.obstacle == nil }.map(\.command).joined(separator: ", ")
    lines.append(("commands", able))
    for analysis in inspection.analyses {
      if let obstacle = analysis.obstacle { lines.append(("no \(analysis.command)", obstacle)) }
    }
    let width = lines.map(\.0.count).max() ?? 0
    return lines.map { $0 + String(repeating: " ", count: width - $0.count + 2) + $1 + "\n" }.joined()
  }

  private func json(_ checkpoint: Checkpoint, _ inspection: Inspection) -> JSONValue {
    let sizes = inspection.configuration
    let types = inspection.types.map { type -> JSONValue in
      [
        "type": .string(type.type.rawValue), "tensors": .integer(type.tensorCount),
        "elements": .integer(type.elementCount), "bytes": .integer(type.byteCount),
      ]
    }
    let media = inspection.media.map { medium -> JSONValue in
      [
        "modality": .string(medium.modality.rawValue), "shape": .array(medium.shape.map(JSONValue.integer)),
        "tokens": .integer(medium.rowCount),
        "grid": [.integer(medium.grid.rows), .integer(medium.grid.columns)],
        "placeholder_id": .integer(medium.placeholderID),
      ]
    }
    let analyses = inspection.analyses.map { analysis -> JSONValue in
      ["command": .string(analysis.command), "obstacle": analysis.obstacle.map(JSONValue.string) ?? .null]
    }
    return [
      "model": .string(Support.name(path ?? "")), "family": .string(checkpoint.family.modelType),
      "layers": .integer(sizes.layerCount), "heads": .integer(sizes.headCount),
      "kv_heads": .integer(sizes.keyValueHeadCount), "head_size": .integer(sizes.headSize),
      "hidden_size": .integer(sizes.hiddenSize), "intermediate_size": .integer(sizes.intermediateSize),
      "vocabulary_size": .integer(sizes.vocabularySize), "context_length": .integer(sizes.contextLength),
      "ties_embeddings": .bool(sizes.tiesEmbeddings), "parameters": .integer(inspection.parameterCount),
      "bytes": .integer(inspection.byteCount), "files": .integer(checkpoint.weights.files.count),
      "types": .array(types),
      "tokenizer_size": checkpoint.tokenizer.map { .integer($0.vocabularySize) } ?? .null,
      "media": .array(media), "commands": .array(analyses),
    ]
  }
}
