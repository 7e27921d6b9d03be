import Analysis
import Foundation
import RunKit
import TokenModel

/// A file of samples, and where their media are.
struct DataOptions {
  /// The forms a data file may have.
  static let data = Option<String?>.text(
    "data", "FILE", notes: "- for standard input",
    "samples: AVDigits-QA, LLaVA conversations, or text with media paths")
  static let format = Option<DataSet.Format?>.choice(
    "data-format", "FORM", absence: "found out from the first record", "how records are written")
  static let media = Option<String?>.text(
    "media", "FILE", notes: "default beside the data", "safetensors file with media as rows")
  static let mediaRoot = Option<String?>.text(
    "media-root", "FOLDER", notes: "default the folder of the data", "where media paths begin")
  static let count = Option<Int?>.integer(
    "count", short: "n", in: 1...Int.max, absence: "all", "use the first N samples")
  static let declarations = [
    data.declaration, format.declaration, media.declaration, mediaRoot.declaration, count.declaration,
  ]

  /// The data file.
  let path: String?
  let format: DataSet.Format?
  /// Where media are looked for.
  let media: DataSet.MediaOptions
  private let limit: Int?

  init(_ arguments: Arguments) throws(UsageError) {
    path = try arguments[Self.data]
    format = try arguments[Self.format]
    media = DataSet.MediaOptions(
      table: try arguments[Self.media].map { URL(fileURLWithPath: $0) },
      root: try arguments[Self.mediaRoot].map { URL(fileURLWithPath: $0, isDirectory: true) })
    limit = try arguments[Self.count]
  }

  /// Refuses a command line without a data file.
  func requireData(_ command: String) throws(UsageError) {
    if path == nil { throw .missingOption(option: Self.data.declaration.spelling, command: command) }
  }

  /// Reads the records.
  func open() throws -> DataSet {
    if path == "-" {
      let bytes = try FileHandle.standardInput.readToEnd() ?? Data()
      return try DataSet(
        bytes: [UInt8](bytes), url: URL(fileURLWithPath: "standard input"), format: format, media: media)
    }
    return try DataSet(URL(fileURLWithPath: path ?? ""), format: format, media: media)
  }

  /// Where media are looked for, for the configuration of a run.
  var mediaSettings: JSONValue {
    [
      "file": media.table.map { .string($0.lastPathComponent) } ?? .null,
      "root": media.root.map { .string($0.lastPathComponent) } ?? .null,
    ]
  }

  /// The files of media rows and what is in them.
  func mediaHashes(of data: DataSet) throws -> [AttentionContext.HashedFile] {
    let files = data.mediaFiles
    return try zip(files, FileHashes().sha256(of: files)).map { file, hash in
      .init(name: file.lastPathComponent, sha256: hash)
    }
  }

  /// How many samples of the data are used.
  func count(of data: DataSet) -> Int { min(data.count, limit ?? data.count) }
}
