public import Foundation
import RunKit
import TensorCore

/// The items of a data file, read one by one.
///
/// Four forms are recognised:
/// - AVDigits-QA: JSON lines `{"t": type, "q": question, "y": answer, "i": image row, "u": audio row, "h": hint, "r": 1}`
///   with the media as rows of a safetensors file beside it;
/// - LLaVA: a JSON array (or lines) of `{"id", "image", "audio", "conversations": [{"from", "value"}]}`, media as
///   `file/row` or paths;
/// - messages: the same with `{"id", "images", "audios", "videos", "messages": [{"role", "content"}]}`, contents as text or
///   as lists of `{"type": "text", "text"}` and `{"type": "image"}`;
/// - lines `{"id", "text", "image", "audio", "answer"}` with media paths.
public struct DataSet: Sendable {
  /// How records are written.
  public enum Format: String, Sendable, CaseIterable {
    case questions = "qa"
    case conversations = "llava"
    case messages = "messages"
    case records = "records"
  }

  /// Where media are looked for.
  public struct MediaOptions: Sendable {
    /// The safetensors file of media rows; beside the data by its name unless given.
    public var table: URL?
    /// The folder of media paths; that of the data unless given.
    public var root: URL?
    /// Media beside the data file unless given.
    public init(table: URL? = nil, root: URL? = nil) { (self.table, self.root) = (table, root) }
  }

  /// The data file.
  public let url: URL
  /// How its records are written.
  public let format: Format
  /// SHA-256 of the data file.
  public let sha256: String
  private let records: DataSetRecords
  private let options: MediaOptions
  private let tables: [String: MediaTable]

  /// Finds the records; each is read again, with its media, when it is asked for.
  ///
  /// - Parameter format: How records are written; found out from the first one unless given.
  /// - Throws: `FileError`, `DataSetError`, `SafetensorsError`.
  public init(_ url: URL, format: Format? = nil, media options: MediaOptions = MediaOptions()) throws {
    let file = try MappedFile(path: url.path)
    try self.init(
      .mapped(file, 0..<file.count), url: url, format: format, media: options,
      hash: SHA256.hexadecimal(ofFile: url))
  }

  /// Reads records from bytes; see `init(_:format:media:)`.
  public init(bytes: [UInt8], url: URL, format: Format? = nil, media options: MediaOptions = MediaOptions())
    throws
  {
    try self.init(
      .owned(bytes), url: url, format: format, media: options, hash: SHA256.hexadecimal(of: bytes))
  }

  private init(
    _ storage: StoredBytes, url: URL, format given: Format?, media options: MediaOptions,
    hash: @autoclosure () throws -> String
  ) throws {
    var (format, names) = (given, Set<String>())
    records = try DataSetRecords(storage, path: url.path) { record in
      if format == nil { format = try Self.detect(record, path: url.path) }
      names.formUnion(Self.tables(of: record, format))
    }
    guard let format else { throw DataSetError.empty(path: url.path) }
    (self.url, self.options, self.format) = (url, options, format)
    // Last, as it takes the longest.
    sha256 = try hash()
    // Opened now, so that a missing one is found before any work.
    let folder = options.root ?? url.deletingLastPathComponent()
    var tables: [String: MediaTable] = [:]
    for name in names.sorted() {
      let file = name.isEmpty ? Self.stem(of: url) : name
      tables[name] = try MediaTable(
        path: (options.table ?? folder.appendingPathComponent("\(file).safetensors")).path)
    }
    self.tables = tables
  }

  /// The number of items.
  public var count: Int { records.count }

  /// The media of AVDigits-QA lines; nil for other forms, or if no line has media.
  public var questionMedia: MediaTable? { tables[""] }

  /// The safetensors files of media rows, in the order of their names; paths of media stand in the records.
  public var mediaFiles: [URL] {
    tables.values.map { URL(fileURLWithPath: $0.path) }.sorted { $0.path < $1.path }
  }

  /// The name of a file up to its first dot.
  private static func stem(of url: URL) -> String {
    url.lastPathComponent.split(separator: ".").first.map(String.init) ?? ""
  }

  private static func detect(_ record: JSONValue, path: String) throws(DataSetError) -> Format {
    guard let object = record.objectValue else {
      throw .malformedRecord(path: path, line: 1, reason: "expected an object, found \(record.kind)")
    }
    if object["conversations"] != nil { return .conversations }
    if object["messages"] != nil { return .messages }
    if object["q"] != nil { return .questions }
    if object["text"] != nil { return .records }
    throw .unknownFormat(path: path, found: object.keys.joined(separator: ", "))
  }

  /// The names of the media tables a record speaks of; that of AVDigits-QA has none.
  private static func tables(of record: JSONValue, _ format: Format?) -> [String] {
    switch format {
    case .questions: record["i"] != nil || record["u"] != nil ? [""] : []
    case .conversations:
      Modality.media.flatMap { modality -> [String] in
        guard let value = record[modality.rawValue] else { return [] }
        return (value.arrayValue ?? [value]).compactMap { $0.stringValue.flatMap(Self.tableRow)?.table }
      }
    case .messages:
      Modality.media.flatMap { modality -> [String] in
        guard let value = record[modality.rawValue + "s"] else { return [] }
        return (value.arrayValue ?? [value]).compactMap { $0.stringValue.flatMap(Self.tableRow)?.table }
      }
    case .records, nil: []
    }
  }

  /// `name/12` as a row of the table `name`; nil for a path of a file.
  private static func tableRow(_ text: String) -> (table: String, row: Int)? {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let row = Int(parts[1]), ![".", ".."].contains(parts[0]),
      1...nameLimit ~= parts[0].utf8.count, isPlain(parts[0])
    else { return nil }
    return (String(parts[0]), row)
  }

  /// The longest name of a file in bytes, as on every common file system.
  private static let nameLimit = 255
  /// The longest path of a medium in bytes.
  private static let pathLimit = 1_024

  /// Whether a name has no control characters, which no file is called by except to deceive.
  private static func isPlain(_ name: some StringProtocol) -> Bool {
    name.unicodeScalars.allSatisfy { $0.value >= 0x20 }
  }

  /// What a message calls item `index`.
  func place(_ index: Int) -> String {
    let id = (try? records.value(at: index))?["id"].flatMap { $0.stringValue ?? $0.intValue.map(String.init) }
    let place = records.isArray ? "record \(index)" : "line \(records.line(of: index))"
    return place + (id.map { " (id \($0.inQuotes))" } ?? "")
  }

  /// One item with its media.
  ///
  /// - Parameter source: Media files are read as this model takes them, or this checkpoint with its preprocessing.
  /// - Throws: `DataSetError` (`.badMedium` for a medium that cannot be read), `PromptError`.
  public func sample(at index: Int, for source: any MediaSource) throws -> Sample {
    let reader = source.mediaReader
    guard 0..<records.count ~= index else {
      throw DataSetError.indexOutOfRange(path: url.path, index: index, count: records.count)
    }
    let value = try records.value(at: index)
    guard let record = value.objectValue else {
      throw DataSetError.malformedRecord(
        path: url.path, line: records.line(of: index), reason: "expected an object, found \(value.kind)")
    }
    switch format {
    case .questions: return try question(record, index)
    case .conversations: return try conversation(record, index, reader)
    case .messages: return try messages(record, index, reader)
    case .records: return try plainRecord(record, index, reader)
    }
  }

  /// Whether an item says what the right answer is; its media are not read.
  public func hasAnswer(at index: Int) -> Bool {
    guard 0..<records.count ~= index, let record = try? records.value(at: index) else { return false }
    switch format {
    case .questions: return record["y"]?.stringValue != nil
    case .records: return record["answer"]?.stringValue != nil
    case .conversations:
      let last = record["conversations"]?.arrayValue?.last?["from"]?.stringValue
      return last == "gpt" || last == "assistant"
    case .messages: return record["messages"]?.arrayValue?.last?["role"]?.stringValue == "assistant"
    }
  }

  /// The names of the tags of an item, as `sample(at:for:)` gives them; its media are not read.
  public func tagNames(at index: Int) -> Set<String> {
    guard 0..<records.count ~= index, let record = (try? records.value(at: index))?.objectValue else {
      return []
    }
    if format == .questions { return record["t"]?.stringValue == nil ? ["hint"] : ["hint", "type"] }
    let members = (record["tags"]?.objectValue?.members ?? []).filter { $0.value.stringValue != nil }
    return Set(["type", "hint"].filter { record[$0]?.stringValue != nil } + members.map { $0.key })
  }

  func string(_ key: String, _ record: JSONObject, _ index: Int) throws(DataSetError) -> String {
    guard let value = record[key] else {
      throw .missingKey(path: url.path, record: place(index), key: key)
    }
    guard let string = value.stringValue else {
      throw .wrongKind(path: url.path, record: place(index), key: key, found: value.kind, expected: "a text")
    }
    return string
  }

  private func optionalString(_ key: String, _ record: JSONObject, _ index: Int) throws(DataSetError)
    -> String?
  {
    guard let value = record[key], !value.isNull else { return nil }
    return try string(key, record, index)
  }

  func name(_ record: JSONObject, _ index: Int) throws(DataSetError) -> String {
    guard let value = record["id"], !value.isNull else {
      let stem = Self.stem(of: url)
      let digits = String(index)
      return "\(stem.isEmpty ? "item" : stem)-" + String(repeating: "0", count: max(0, 4 - digits.count))
        + digits
    }
    if let integer = value.intValue { return String(integer) }
    return try string("id", record, index)
  }

  /// A line of AVDigits-QA.
  private func question(_ record: JSONObject, _ index: Int) throws -> Sample {
    var media: [Medium] = []
    for (key, modality) in [("i", Modality.image), ("u", .audio)] {
      guard let value = record[key], !value.isNull else { continue }
      guard let row = value.intValue, let table = tables[""] else {
        throw DataSetError.wrongKind(
          path: url.path, record: place(index), key: key, found: value.kind, expected: "a row number")
      }
      media.append(try table.medium(modality, row: row, record: place(index), key: key))
    }
    var tags: [String: String] = [:]
    if let type = try optionalString("t", record, index) { tags["type"] = type }
    if record["h"] != nil {
      tags["hint"] = record["r"]?.intValue == 1 ? "right" : "wrong"
    } else {
      tags["hint"] = "none"
    }
    return Sample(
      index: index, id: try name(record, index), media: media, question: try string("q", record, index),
      answer: try optionalString("y", record, index), tags: tags)
  }

  /// A LLaVA conversation: the last turn of the assistant is the expected answer.
  private func conversation(_ record: JSONObject, _ index: Int, _ reader: MediaReader) throws -> Sample {
    guard let value = record["conversations"] else {
      throw DataSetError.missingKey(path: url.path, record: place(index), key: "conversations")
    }
    guard let list = value.arrayValue else {
      throw DataSetError.wrongKind(
        path: url.path, record: place(index), key: "conversations", found: value.kind, expected: "an array")
    }
    var turns: [Sample.Turn] = []
    for turn in list {
      guard let object = turn.objectValue else {
        throw DataSetError.wrongKind(
          path: url.path, record: place(index), key: "conversations", found: turn.kind, expected: "objects")
      }
      let from = try string("from", object, index)
      let speaker: Sample.Speaker
      switch from {
      case "human", "user": speaker = .user
      case "gpt", "assistant": speaker = .assistant
      case "system": speaker = .system
      default: throw DataSetError.unknownSpeaker(path: url.path, record: place(index), found: from)
      }
      turns.append(Sample.Turn(speaker: speaker, text: try string("value", object, index)))
    }
    let answer = turns.last?.speaker == .assistant ? turns.removeLast().text : nil
    return Sample(
      index: index, id: try name(record, index), turns: turns, media: try media(record, index, reader),
      answer: answer, tags: try tags(record, index))
  }

  /// A line with a text and media paths.
  private func plainRecord(_ record: JSONObject, _ index: Int, _ reader: MediaReader) throws -> Sample {
    let text = try string("text", record, index)
    let media = try media(record, index, reader)
    let hasPlaceholders = Modality.media.contains { text.contains("<\($0.rawValue)>") }
    let id = try name(record, index)
    let answer = try optionalString("answer", record, index)
    let tags = try tags(record, index)
    return hasPlaceholders
      ? Sample(
        index: index, id: id, turns: [Sample.Turn(speaker: .user, text: text)], media: media, answer: answer,
        tags: tags)
      : Sample(index: index, id: id, media: media, question: text, answer: answer, tags: tags)
  }

  /// The media of a record: `image`, `audio`, `video`, or `images` and so on, as one name or a list.
  func media(_ record: JSONObject, _ index: Int, _ reader: MediaReader, plural: Bool = false) throws
    -> [Medium]
  {
    var media: [Medium] = []
    for modality in Modality.media {
      let key = plural ? modality.rawValue + "s" : modality.rawValue
      guard let value = record[key], !value.isNull else { continue }
      for entry in value.arrayValue ?? [value] {
        guard let name = entry.stringValue else {
          throw DataSetError.wrongKind(
            path: url.path, record: place(index), key: key, found: entry.kind,
            expected: "a path or file/row")
        }
        guard name.utf8.count <= Self.pathLimit, Self.isPlain(name) else {
          throw DataSetError.wrongKind(
            path: url.path, record: place(index), key: key,
            found: "a name of \(name.utf8.count) bytes",
            expected: "a path of at most \(Self.pathLimit) bytes without control characters")
        }
        if let (table, row) = Self.tableRow(name), let rows = tables[table] {
          media.append(try rows.medium(modality, row: row, record: place(index), key: key))
        } else {
          media.append(try medium(modality, file(name, index), name, index, reader))
        }
      }
    }
    return media
  }

  /// A medium in a file of its own; what is wrong with it is said with the record that names it.
  private func medium(
    _ modality: Modality, _ file: URL, _ name: String, _ index: Int, _ reader: MediaReader
  ) throws -> Medium {
    do {
      return try reader.medium(modality, at: file, named: name)
    } catch let error as PromptError {
      throw error
    } catch let error as any DescribedError {
      throw DataSetError.badMedium(
        path: url.path, record: place(index), reason: error.errorDescription ?? error.localizedDescription,
        remedy: error.recoverySuggestion ?? "name another medium", status: error.exitStatus)
    }
  }

  /// A media path, which must stay in the folder of media unless that was named.
  private func file(_ name: String, _ index: Int) throws(DataSetError) -> URL {
    let root = options.root ?? url.deletingLastPathComponent()
    // Links in the folder's own path first: they are not followed in the path of a file that is missing.
    let folder = root.standardizedFileURL.resolvingSymlinksInPath()
    let target = folder.appendingPathComponent(name).standardizedFileURL.resolvingSymlinksInPath()
    let base = folder.path
    guard !name.hasPrefix("/"), target.path.hasPrefix(base.hasSuffix("/") ? base : base + "/") else {
      throw .pathLeavesFolder(path: url.path, record: place(index), found: name)
    }
    return target
  }

  /// `type`, `hint` and everything under `tags` with a text.
  func tags(_ record: JSONObject, _ index: Int) throws(DataSetError) -> [String: String] {
    var tags: [String: String] = [:]
    for key in ["type", "hint", "category"] {
      if let value = try optionalString(key, record, index) { tags[key] = value }
    }
    for (key, value) in record["tags"]?.objectValue?.members ?? [] {
      if let text = value.stringValue { tags[key] = text }
    }
    return tags
  }
}
