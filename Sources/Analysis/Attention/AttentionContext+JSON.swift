public import RunKit

extension AttentionContext {
  /// The name and version of the form of config.json.
  public static let schema = "mmprobe.config/v1"

  /// The context as it stands in config.json.
  public var json: JSONValue {
    .object(
      JSONObject([
        ("schema", .string(Self.schema)), ("kind", .string(kind)), ("tool", tool.json), ("model", model.json),
        ("data", data.json), ("definition", definition.json), ("shard", shardJSON), ("seed", .integer(seed)),
        ("options", .object(options)),
      ]))
  }

  /// What the run measures: "attention", or "contribution" beside it.
  var kind: String { definition.contribution == nil ? "attention" : "contribution" }

  /// The part of the run as JSON, or null.
  var shardJSON: JSONValue {
    shard.map { ["index": .integer($0.index), "count": .integer($0.count)] } ?? .null
  }

  /// Reads config.json.
  ///
  /// - Throws: `AttentionRecordError`, naming the file and the key.
  public init(json: JSONValue, at place: RecordPlace) throws(AttentionRecordError) {
    var reader = try StrictObject(json, at: place)
    func check(_ key: String, _ found: String, _ word: String) throws(AttentionRecordError) {
      guard found == word else {
        throw .wrongValue(place: place, key: key, found: "\"\(found)\"", expected: "\"\(word)\"")
      }
    }
    try check("schema", try reader.string("schema"), Self.schema)
    let kind = try reader.string("kind")
    let tool = try Tool(reader.object("tool"))
    let data = try Data(reader.object("data"))
    var shard: Shard?
    if try reader.valueOrNull("shard") != nil {
      var part = try reader.object("shard")
      let count = try part.int("count", in: 1...1 << 30)
      shard = Shard(index: try part.int("index", in: 0...count - 1), count: count)
      try part.finish()
    }
    let options = try reader.value("options")
    guard let options = options.objectValue else { throw reader.wrongType("options", options, "an object") }
    self.init(
      tool: tool, model: try Model(reader.object("model")), data: data,
      definition: try AttentionDefinition(json: reader.value("definition"), at: place),
      shard: shard, seed: try reader.int("seed", in: Int.min...Int.max), options: options)
    try reader.finish()
    try check("kind", kind, self.kind)
    for (key, numbers, count) in [
      ("layers", definition.layers, model.layerCount), ("heads", definition.heads, model.headCount),
    ] {
      guard let last = numbers.last, last < count else {
        throw .wrongValue(
          place: place, key: "definition.\(key)", found: "\(numbers.last ?? 0)", expected: "below \(count)")
      }
    }
  }
}

extension AttentionContext.Tool {
  var json: JSONValue {
    ["name": "mmprobe", "version": .string(version), "commit": commit.map { .string($0) } ?? .null]
  }

  init(_ object: StrictObject) throws(AttentionRecordError) {
    var reader = object
    _ = try reader.value("name")
    self.init(version: try reader.string("version"), commit: try reader.stringOrNull("commit"))
    try reader.finish()
  }
}

extension AttentionContext.Data {
  var json: JSONValue {
    [
      "name": .string(name), "sha256": sha256.map { .string($0) } ?? .null,
      "n_requested": .integer(sampleCount),
      "media": .array(media.map { ["name": .string($0.name), "sha256": .string($0.sha256)] }),
      "media_root": mediaRoot.map { .string($0) } ?? .null,
    ]
  }

  init(_ object: StrictObject) throws(AttentionRecordError) {
    var reader = object
    self.init(
      name: try reader.string("name"), sha256: try reader.stringOrNull("sha256"),
      sampleCount: try reader.int("n_requested", in: 0...1 << 40),
      media: try AttentionContext.HashedFile.list("media", &reader),
      mediaRoot: try reader.stringOrNull("media_root"))
    try reader.finish()
  }
}

extension AttentionContext.Model {
  var json: JSONValue {
    [
      "name": .string(name), "architecture": .string(architecture), "layers": .integer(layerCount),
      "heads": .integer(headCount), "kv_heads": .integer(keyValueHeadCount), "dtype": .string(dtype),
      "files": .array(files.map { ["name": .string($0.name), "sha256": .string($0.sha256)] }),
      "adapters": .array(
        adapters.map {
          [
            "name": .string($0.name), "type": .string($0.type), "scale": .number($0.scale),
            "sha256": .string($0.sha256),
          ]
        }),
    ]
  }

  init(_ object: StrictObject) throws(AttentionRecordError) {
    var reader = object
    let files = try AttentionContext.HashedFile.list("files", &reader)
    var adapters: [AttentionContext.Adapter] = []
    for (number, value) in try reader.array("adapters").enumerated() {
      var adapter = try StrictObject(value, at: reader.place, path: "model.adapters[\(number)]")
      adapters.append(
        .init(
          name: try adapter.string("name"), type: try adapter.string("type"),
          scale: try adapter.double("scale"),
          sha256: try adapter.string("sha256")))
      try adapter.finish()
    }
    self.init(
      name: try reader.string("name"), architecture: try reader.string("architecture"),
      layerCount: try reader.int("layers", in: 1...1 << 20),
      headCount: try reader.int("heads", in: 1...1 << 20),
      keyValueHeadCount: try reader.int("kv_heads", in: 1...1 << 20), dtype: try reader.string("dtype"),
      files: files, adapters: adapters)
    try reader.finish()
  }
}

extension AttentionContext.HashedFile {
  /// Reads a list of files.
  static func list(_ key: String, _ reader: inout StrictObject) throws(AttentionRecordError) -> [Self] {
    var files: [Self] = []
    for (number, value) in try reader.array(key).enumerated() {
      var file = try StrictObject(value, at: reader.place, path: reader.name("\(key)[\(number)]"))
      files.append(.init(name: try file.string("name"), sha256: try file.string("sha256")))
      try file.finish()
    }
    return files
  }
}
