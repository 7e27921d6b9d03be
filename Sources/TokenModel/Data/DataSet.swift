public import Foundation
import RunKit
import TensorCore

/// The items of a data file, read one by one.
///
/// Three forms are recognised:
/// - AVDigits-QA: JSON lines `{"t": type, "q": question, "y": answer, "i": image row, "u": audio row, "h": hint, "r": 1}`
///   with the media as rows of a safetensors file beside it;
/// - LLaVA: a JSON array (or lines) of `{"id", "image", "audio", "conversations": [{"from", "value"}]}`, media as
///   `file/row` or paths;
/// - lines `{"id", "text", "image", "audio", "answer"}` with media paths.
public struct DataSet: Sendable {
  /// How records are written.
  public enum Format: String, Sendable, CaseIterable {
    case questions = "qa"
    case conversations = "llava"
    case records = "records"
  }

  /// Where media are looked for.
  public struct MediaOptions: Sendable {
    /// The safetensors file of media rows; beside the data by its name unless given.
    public var table: URL?
    /// The folder of media paths; that of the data unless given.
    public var root: URL?
    public init(table: URL? = nil, root: URL? = nil) { (self.table, self.root) = (table, root) }
  }

  /// The data file.
  public let url: URL
  /// How its records are written.
  public let format: Format
  /// SHA-256 of the data file.
  public let sha256: String
  private let records: [JSONValue]
  private let lines: [Int]
  private let options: MediaOptions
  private let tables: [String: MediaTable]
  private static let sizeLimit = 1 << 30

  /// Reads the records; media are read when an item is asked for.
  ///
  /// - Parameter format: How records are written; found out from the first one unless given.
  /// - Throws: `FileError`, `DataSetError`, `SafetensorsError`.
  public init(_ url: URL, format: Format? = nil, media options: MediaOptions = MediaOptions()) throws {
    try self.init(
      bytes: FileReader.bytes(of: url, limit: Self.sizeLimit), url: url, format: format, media: options)
  }

  /// Reads records from bytes; see `init(_:format:media:)`.
  public init(bytes: [UInt8], url: URL, format: Format? = nil, media options: MediaOptions = MediaOptions()) throws {
    self.url = url
    self.options = options
    sha256 = SHA256.hexadecimal(of: bytes)
    (records, lines) = try Self.parse(bytes, path: url.path)
    guard let first = records.first else { throw DataSetError.empty(path: url.path) }
    self.format = try format ?? Self.detect(first, path: url.path)
    tables = try Self.openTables(self.format, records, url: url, options)
  }

  /// The number of items.
  public var count: Int { records.count }

  private static func parse(_ bytes: [UInt8], path: String) throws -> ([JSONValue], [Int]) {
    let firstByte = bytes.first { ![0x20, 0x09, 0x0A, 0x0D].contains($0) }
    if firstByte == UInt8(ascii: "[") {
      do {
        let records = try JSONValue(parsing: bytes).arrayValue ?? []
        return (records, Array(repeating: 1, count: records.count))
      } catch {
        throw DataSetError.malformedRecord(path: path, line: 1, reason: error.localizedDescription)
      }
    }
    var (records, lines): ([JSONValue], [Int]) = ([], [])
    for (index, line) in bytes.split(separator: 0x0A, omittingEmptySubsequences: false).enumerated() {
      guard line.contains(where: { ![0x20, 0x09, 0x0D].contains($0) }) else { continue }
      do {
        records.append(try JSONValue(parsing: Array(line)))
      } catch {
        throw DataSetError.malformedRecord(path: path, line: index + 1, reason: error.localizedDescription)
      }
      lines.append(index + 1)
    }
    return (records, lines)
  }

  private static func detect(_ record: JSONValue, path: String) throws(DataSetError) -> Format {
    guard let object = record.objectValue else {
      throw .malformedRecord(path: path, line: 1, reason: "expected an object, found \(record.kind)")
    }
    if object["conversations"] != nil { return .conversations }
    if object["q"] != nil { return .questions }
    if object["text"] != nil { return .records }
    throw .unknownFormat(path: path, found: object.keys.joined(separator: ", "))
  }

  /// Opens every media file the records speak of, so that a missing one is found before any work.
  private static func openTables(
    _ format: Format, _ records: [JSONValue], url: URL, _ options: MediaOptions
  ) throws -> [String: MediaTable] {
    let folder = options.root ?? url.deletingLastPathComponent()
    var tables: [String: MediaTable] = [:]
    switch format {
    case .questions:
      guard records.contains(where: { $0["i"] != nil || $0["u"] != nil }) else { break }
      let stem = url.lastPathComponent.split(separator: ".").first.map(String.init) ?? ""
      let table = options.table ?? folder.appendingPathComponent("\(stem).safetensors")
      tables[""] = try MediaTable(path: table.path)
    case .conversations:
      for record in records {
        for modality in Modality.media {
          guard let name = record[modality.rawValue]?.stringValue.flatMap(Self.tableRow)?.table,
            tables[name] == nil
          else { continue }
          tables[name] = try MediaTable(
            path: (options.table ?? folder.appendingPathComponent("\(name).safetensors")).path)
        }
      }
    case .records: break
    }
    return tables
  }

  /// `name/12` as a row of the table `name`; nil for a path of a file.
  private static func tableRow(_ text: String) -> (table: String, row: Int)? {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false)
    guard parts.count == 2, let row = Int(parts[1]), !parts[0].isEmpty, parts[0] != "..", parts[0] != "." else {
      return nil
    }
    return (String(parts[0]), row)
  }

  /// What a message calls item `index`.
  private func place(_ index: Int) -> String {
    let id = records[index]["id"].flatMap { $0.stringValue ?? $0.intValue.map(String.init) }
    return lines[index] > 1 || lines.count == 1 || format == .questions
      ? "line \(lines[index])" + (id.map { " (id \($0.inQuotes))" } ?? "")
      : "record \(index)" + (id.map { " (id \($0.inQuotes))" } ?? "")
  }

  /// One item with its media.
  ///
  /// - Parameter model: Reads media files as this model takes them.
  /// - Throws: `DataSetError`, `MediaError`, `PromptError`.
  public func sample(at index: Int, for model: any LanguageModel) throws -> Sample {
    guard records.indices.contains(index) else {
      throw DataSetError.indexOutOfRange(path: url.path, index: index, count: records.count)
    }
    guard let record = records[index].objectValue else {
      throw DataSetError.malformedRecord(
        path: url.path, line: lines[index], reason: "expected an object, found \(records[index].kind)")
    }
    switch format {
    case .questions: return try question(record, index)
    case .conversations: return try conversation(record, index, model)
    case .records: return try plainRecord(record, index, model)
    }
  }

  private func string(_ key: String, _ record: JSONObject, _ index: Int) throws(DataSetError) -> String {
    guard let value = record[key] else {
      throw .missingKey(path: url.path, record: place(index), key: key)
    }
    guard let string = value.stringValue else {
      throw .wrongKind(path: url.path, record: place(index), key: key, found: value.kind, expected: "a text")
    }
    return string
  }

  private func optionalString(_ key: String, _ record: JSONObject, _ index: Int) throws(DataSetError) -> String? {
    guard let value = record[key], !value.isNull else { return nil }
    return try string(key, record, index)
  }

  private func name(_ record: JSONObject, _ index: Int) throws(DataSetError) -> String {
    guard let value = record["id"], !value.isNull else {
      let stem = url.lastPathComponent.split(separator: ".").first.map(String.init) ?? "item"
      let digits = String(index)
      return "\(stem)-" + String(repeating: "0", count: max(0, 4 - digits.count)) + digits
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
  private func conversation(_ record: JSONObject, _ index: Int, _ model: any LanguageModel) throws -> Sample {
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
      index: index, id: try name(record, index), turns: turns, media: try media(record, index, model),
      answer: answer, tags: try tags(record, index))
  }

  /// A line with a text and media paths.
  private func plainRecord(_ record: JSONObject, _ index: Int, _ model: any LanguageModel) throws -> Sample {
    let text = try string("text", record, index)
    let media = try media(record, index, model)
    let hasPlaceholders = Modality.media.contains { text.contains("<\($0.rawValue)>") }
    let id = try name(record, index)
    let answer = try optionalString("answer", record, index)
    let tags = try tags(record, index)
    return hasPlaceholders
      ? Sample(
        index: index, id: id, turns: [Sample.Turn(speaker: .user, text: text)], media: media, answer: answer, tags: tags)
      : Sample(index: index, id: id, media: media, question: text, answer: answer, tags: tags)
  }

  /// The media of a record: `image`, `audio`, `video` as one name or a list.
  private func media(_ record: JSONObject, _ index: Int, _ model: any LanguageModel) throws -> [Medium] {
    var media: [Medium] = []
    for modality in Modality.media {
      guard let value = record[modality.rawValue], !value.isNull else { continue }
      for entry in value.arrayValue ?? [value] {
        guard let name = entry.stringValue else {
          throw DataSetError.wrongKind(
            path: url.path, record: place(index), key: modality.rawValue, found: entry.kind,
            expected: "a path or file/row")
        }
        if let (table, row) = Self.tableRow(name), let rows = tables[table] {
          media.append(try rows.medium(modality, row: row, record: place(index), key: modality.rawValue))
        } else {
          media.append(try MediaFile.medium(modality, at: file(name, index), named: name, for: model))
        }
      }
    }
    return media
  }

  /// A media path, which must stay in the folder of media unless that was named.
  private func file(_ name: String, _ index: Int) throws(DataSetError) -> URL {
    let root = options.root ?? url.deletingLastPathComponent()
    let target = root.appendingPathComponent(name).standardizedFileURL.resolvingSymlinksInPath()
    let base = root.standardizedFileURL.resolvingSymlinksInPath().path
    guard !name.hasPrefix("/"), target.path.hasPrefix(base.hasSuffix("/") ? base : base + "/") else {
      throw .pathLeavesFolder(path: url.path, record: place(index), found: name)
    }
    return target
  }

  /// `type`, `hint` and everything under `tags` with a text.
  private func tags(_ record: JSONObject, _ index: Int) throws(DataSetError) -> [String: String] {
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
