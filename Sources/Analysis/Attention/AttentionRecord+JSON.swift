import Foundation
public import RunKit

extension AttentionSample {
  /// The line as JSON, keys in a fixed order.
  public func json(_ definition: AttentionDefinition) -> JSONValue {
    switch self {
    case .measured(let record): record.json(definition)
    case .skipped(let index, let id, let reason):
      ["index": .integer(index), "id": .string(id), "skipped": .string(reason)]
    }
  }

  /// Reads one line.
  ///
  /// - Throws: `AttentionRecordError`, naming the file, the line and the key.
  public init(
    json: JSONValue, definition: AttentionDefinition, at place: RecordPlace
  ) throws(AttentionRecordError) {
    guard json["skipped"] != nil else {
      self = .measured(try AttentionRecord(json: json, definition: definition, at: place))
      return
    }
    var reader = try StrictObject(json, at: place)
    self = .skipped(
      index: try reader.int("index"), id: try reader.string("id"), reason: try reader.string("skipped"))
    try reader.finish()
  }
}

extension AttentionRecord {
  /// The record as JSON, keys in a fixed order; text dictionaries sorted by key.
  public func json(_ definition: AttentionDefinition) -> JSONValue {
    let names = definition.groups.map(\.name)
    func byGroup(_ values: [JSONValue]) -> JSONValue { .object(JSONObject(Array(zip(names, values)))) }
    func sorted(_ words: [String: String]) -> JSONValue {
      .object(JSONObject(words.sorted { $0.key < $1.key }.map { ($0.key, .string($0.value)) }))
    }
    func text(_ string: String?) -> JSONValue { string.map { .string($0) } ?? .null }
    var object = JSONObject()
    object["index"] = .integer(index)
    object["id"] = .string(id)
    object["hash"] = .string(hash)
    object["clusters"] = sorted(clusters)
    object["tags"] = sorted(tags)
    object["tokens"] = byGroup(tokens.map { .integer($0) })
    object["visible"] = byGroup(visible.map { JSONValue($0) })
    object["query_count"] = .integer(queryCount)
    object["text"] = .string(self.text)
    object["answer"] = text(answer)
    object["generated"] = text(generated)
    object["share"] = JSONValue(floats: share)
    object["sink_share"] = sinkShare.map { JSONValue(floats: $0) } ?? .null
    object["sinks"] = .array(
      sinks.map {
        [
          "row": .integer($0.row), "group": .string(names[$0.group]), "piece": .string($0.piece),
          "rate": JSONValue($0.rate),
        ]
      })
    object["entropy"] = JSONValue(floats: entropy)
    object["baseline"] = JSONValue(floats: baseline)
    object["query_tokens"] = .array(
      queryTokens.map {
        [
          "row": .integer($0.row), "piece": .string($0.piece), "predicts": text($0.predicts),
          "share": JSONValue(floats: $0.share),
        ]
      })
    object["key_share"] = keys.map { JSONValue(floats: $0.share) } ?? .null
    object["key_pieces"] = keys.map { .array($0.pieces.map { .string($0) }) } ?? .null
    object["key_groups"] = keys.map { .array($0.groups.map { .integer($0) }) } ?? .null
    object["media"] = media.isEmpty ? .null : .array(media.map(\.json))
    object["row_sum_error"] = JSONValue(rowSumError)
    object["nonfinite"] = .integer(nonfiniteCount)
    if definition.contribution != nil {
      object["contribution"] = contribution.map { $0.json(definition) } ?? .null
    }
    return .object(object)
  }

  /// Reads one measured line.
  ///
  /// - Throws: `AttentionRecordError`, naming the file, the line and the key.
  public init(
    json: JSONValue, definition: AttentionDefinition, at place: RecordPlace
  ) throws(AttentionRecordError) {
    let names = definition.groups.map(\.name)
    let layerCount = definition.layers.count
    let headCount = definition.heads.count
    var reader = try StrictObject(json, at: place)
    let nonfinite = try reader.int("nonfinite")
    let allowsNull = nonfinite > 0

    self.init(
      index: try reader.int("index"), id: try reader.string("id"), hash: try reader.string("hash"),
      clusters: try Self.words("clusters", &reader), tags: try Self.words("tags", &reader),
      tokens: try Self.counts(&reader, names), visible: try Self.visible(&reader, names),
      queryCount: try reader.int("query_count"), text: try reader.string("text"),
      answer: try reader.stringOrNull("answer"), generated: try reader.stringOrNull("generated"),
      share: try reader.floats("share", count: definition.shareCount, allowsNull: allowsNull),
      entropy: try reader.floats("entropy", count: layerCount * headCount, allowsNull: allowsNull),
      baseline: try reader.floats("baseline", count: names.count),
      rowSumError: try reader.valueOrNull("row_sum_error")?.doubleValue ?? .nan, nonfiniteCount: nonfinite)
    if try reader.valueOrNull("sink_share") != nil {
      sinkShare = try reader.floats("sink_share", count: definition.shareCount, allowsNull: allowsNull)
    }
    for (number, value) in try reader.array("sinks").enumerated() {
      sinks.append(try Self.sink(value, names, at: place, path: "sinks[\(number)]"))
    }
    let queries = try reader.array("query_tokens")
    guard queries.count <= Self.queryTokenLimit else {
      throw .wrongValue(
        place: place, key: "query_tokens", found: "\(queries.count) rows",
        expected: "at most \(Self.queryTokenLimit)")
    }
    for (number, value) in queries.enumerated() {
      var token = try StrictObject(value, at: place, path: "query_tokens[\(number)]")
      queryTokens.append(
        QueryToken(
          row: try token.int("row"), piece: try token.string("piece"),
          predicts: try token.stringOrNull("predicts"),
          share: try token.floats("share", count: layerCount * names.count, allowsNull: allowsNull)))
      try token.finish()
    }
    if try reader.valueOrNull("key_share") != nil {
      let share = try reader.floats("key_share", allowsNull: allowsNull)
      keys = Keys(
        share: share, pieces: try reader.strings("key_pieces", count: share.count),
        groups: try reader.ints("key_groups", count: share.count, in: 0..<names.count))
    } else {
      for key in ["key_pieces", "key_groups"] {
        if let value = try reader.valueOrNull(key) {
          throw reader.wrongType(key, value, "null, as key_share is")
        }
      }
    }
    if try reader.valueOrNull("media") != nil {
      for (number, value) in try reader.array("media").enumerated() {
        let path = "media[\(number)]"
        let medium = try Medium(json: value, at: place, path: path)
        // A medium is drawn beside the attention on its keys, so the keys must be there.
        let (end, overflow) = medium.firstKey.addingReportingOverflow(medium.keys)
        guard let keys, !overflow, end <= keys.share.count else {
          throw .wrongValue(
            place: place, key: "\(path).first_key", found: "\(medium.firstKey) with \(medium.keys) keys",
            expected: "keys inside the \(keys?.share.count ?? 0) of key_share")
        }
        media.append(medium)
      }
    }
    if let measured = definition.contribution {
      contribution = try Contribution(reader.object("contribution"), measured, definition)
    }
    try reader.finish()
    // The report draws the pieces of the keys by these effects.
    if let tokens = contribution?.tokens, let keys, tokens.count != keys.share.count {
      throw .wrongCount(
        place: place, key: "contribution.tokens", found: tokens.count, expected: keys.share.count)
    }
    try checkValues(at: place)
  }

  /// Refuses shares outside 0...1 (with room for rounding), so that a wrong file cannot make a plausible figure.
  private func checkValues(at place: RecordPlace) throws(AttentionRecordError) {
    let arrays: [(String, [Float])] = [
      ("share", share), ("sink_share", sinkShare ?? []), ("baseline", baseline),
      ("key_share", keys?.share ?? []),
      ("query_tokens.share", queryTokens.flatMap(\.share)),
    ]
    for (key, values) in arrays {
      if let bad = values.first(where: { $0 < -1e-3 || $0 > 1.001 }) {
        throw .wrongValue(place: place, key: key, found: "\(bad)", expected: "shares from 0 to 1")
      }
    }
    if let bad = entropy.first(where: { $0 < -1e-3 }) {
      throw .wrongValue(place: place, key: "entropy", found: "\(bad)", expected: "at least 0")
    }
    if let bad = visible.first(where: { $0 < 0 }) {
      throw .wrongValue(place: place, key: "visible", found: "\(bad)", expected: "at least 0")
    }
  }

  private static func words(
    _ key: String, _ reader: inout StrictObject
  ) throws(AttentionRecordError) -> [String: String] {
    var object = try reader.object(key)
    var words: [String: String] = [:]
    for word in object.allKeys() { words[word] = try object.string(word) }
    return words
  }

  private static func counts(
    _ reader: inout StrictObject, _ names: [String]
  ) throws(AttentionRecordError) -> [Int] {
    var object = try reader.object("tokens")
    var counts: [Int] = []
    for name in names { counts.append(try object.int(name, in: 0...1 << 40)) }
    try object.finish()
    return counts
  }

  private static func visible(
    _ reader: inout StrictObject, _ names: [String]
  ) throws(AttentionRecordError) -> [Double] {
    var object = try reader.object("visible")
    var counts: [Double] = []
    for name in names { counts.append(try object.double(name)) }
    try object.finish()
    return counts
  }

  private static func sink(
    _ value: JSONValue, _ names: [String], at place: RecordPlace, path: String
  ) throws(AttentionRecordError) -> Sink {
    var reader = try StrictObject(value, at: place, path: path)
    let name = try reader.string("group")
    guard let group = names.firstIndex(of: name) else {
      throw .wrongValue(
        place: place, key: reader.name("group"), found: "\"\(name)\"",
        expected: "one of \(names.joined(separator: ", "))")
    }
    let sink = Sink(
      row: try reader.int("row"), group: group, piece: try reader.string("piece"),
      rate: try reader.double("rate"))
    try reader.finish()
    return sink
  }
}

extension AttentionRecord.Medium {
  /// The medium as JSON; pixels in base64.
  var json: JSONValue {
    [
      "kind": .string(kind), "first_key": .integer(firstKey), "keys": .integer(keys),
      "width": .integer(width),
      "height": .integer(height), "grid_width": .integer(gridWidth), "grid_height": .integer(gridHeight),
      "pixels": .string(Data(pixels).base64EncodedString()),
    ]
  }

  /// The widest and highest medium a record may hold.
  static let sideLimit = 1 << 14

  /// Reads a medium; its sizes must agree with each other and with the pixels.
  init(json: JSONValue, at place: RecordPlace, path: String) throws(AttentionRecordError) {
    var reader = try StrictObject(json, at: place, path: path)
    let sides = 1...Self.sideLimit
    let text = try reader.string("pixels")
    guard let data = Data(base64Encoded: text) else {
      throw .wrongValue(place: place, key: reader.name("pixels"), found: "not base64", expected: "base64")
    }
    self.init(
      kind: try reader.string("kind"), firstKey: try reader.int("first_key"), keys: try reader.int("keys"),
      width: try reader.int("width", in: sides), height: try reader.int("height", in: sides),
      gridWidth: try reader.int("grid_width", in: sides),
      gridHeight: try reader.int("grid_height", in: sides),
      pixels: [UInt8](data))
    try reader.finish()
    guard keys == gridWidth * gridHeight else {
      throw .wrongCount(place: place, key: "\(path).keys", found: keys, expected: gridWidth * gridHeight)
    }
    guard pixels.count == width * height || pixels.count == 3 * width * height else {
      throw .wrongCount(place: place, key: "\(path).pixels", found: pixels.count, expected: width * height)
    }
  }
}
