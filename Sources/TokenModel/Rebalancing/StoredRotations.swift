public import Foundation
import RunKit
import TensorCore

/// Rotated queries in a file: `rollingq.safetensors`, beside an adapter or in a model folder.
///
/// | part of the file | contents |
/// | --- | --- |
/// | `__metadata__.format` | `mmprobe.rollingq.v1` |
/// | `__metadata__.settings` | JSON: `layers`, `modalities`, `query_roles`, and the options of `RollingQueryOptions` |
/// | `layers.N.rotation` | f64 `[heads, size, size]`: R of each head of layer N |
/// | `layers.N.shift` | f64 `[heads, size]`: what is added with `"rotation": "reset"` |
/// | `layers.N.count` | i64 `[heads]`: how often a head was rotated |
/// | `layers.N.statistics.*` | what was seen since the last epoch ended; see `AttentionBalance` |
///
/// A model without its rotations is another model, so a folder that has the file is never opened without it.
public struct StoredRotations: Sendable {
  /// The name of the file.
  public static let name = "rollingq.safetensors"
  static let format = "mmprobe.rollingq.v1"

  /// The file.
  public let file: URL
  /// What turns the queries.
  public let intervention: any Intervention

  /// Reads the file of a folder; nil where there is none.
  ///
  /// - Parameter configuration: Of the decoder that it belongs to.
  /// - Throws: `RollingQueryError`, `ConfigurationError`, `SafetensorsError`, `StoredTensorError`, `FileError`.
  public init?(in folder: URL, for configuration: LLaMAConfiguration) throws {
    let url = folder.appendingPathComponent(Self.name)
    guard FileManager.default.fileExists(atPath: url.path) else { return nil }
    file = url
    let stored = try SafetensorsFile(path: url.path)
    guard let format = stored.metadata["format"], format == Self.format,
      let settings = stored.metadata["settings"]
    else {
      throw RollingQueryError.unknownFormat(
        path: url.path, found: stored.metadata["format"] ?? "none", expected: Self.format)
    }
    let reader = try ConfigurationReader(path: url.path, bytes: [UInt8](settings.utf8))
    let layers = try reader.integers("layers", in: 0...configuration.layerCount - 1) ?? []
    let modalities = try Self.words("modalities", reader).map(Modality.init(rawValue:))
    let (roles, options) = (Set(try Self.roles(reader)), try RollingQueryOptions(reader))
    let rolling: DecoderRollingQuery
    do throws(RollingQueryError) {
      rolling = try DecoderRollingQuery(
        configuration, layers: layers, modalities: modalities, queryRoles: roles, options: options)
    } catch {
      throw RollingQueryError.wrongSettings(
        path: url.path, reason: error.errorDescription ?? "cannot be used")
    }
    try rolling.restoreBuffers(from: BufferSource(stored))
    var names: Set<String> = []
    try rolling.visitBuffers { names.insert($0.name) }
    if let other = stored.names.first(where: { !names.contains($0) }) {
      throw RollingQueryError.impossibleBuffer(
        path: url.path, tensor: other, reason: "belongs to no layer of the settings")
    }
    intervention = rolling.intervention
  }

  private static func words(_ key: String, _ reader: ConfigurationReader) throws(ConfigurationError)
    -> [String]
  {
    let values = reader.object[key]?.arrayValue ?? []
    let words = values.compactMap(\.stringValue)
    guard !words.isEmpty, words.count == values.count else {
      throw .outOfRange(
        path: reader.path, key: key, found: reader.object[key]?.text() ?? "missing",
        expected: "a list of names")
    }
    return words
  }

  private static func roles(_ reader: ConfigurationReader) throws(ConfigurationError) -> [Role] {
    var roles: [Role] = []
    for word in try words("query_roles", reader) {
      guard let role = Role(rawValue: word) else {
        throw reader.unsupported(
          "query_roles", found: word, supported: Role.allCases.map(\.rawValue).joined(separator: ", "))
      }
      roles.append(role)
    }
    return roles
  }
}

extension DecoderRollingQuery {
  /// Writes `rollingq.safetensors`; see `StoredRotations`.
  ///
  /// - Throws: `StoredTensorError`, `TensorWriteError`, `FileError`.
  public func write(to path: String) throws {
    var settings = rolling.options?.json.objectValue ?? JSONObject()
    settings["layers"] = .array(rolling.layers.map(JSONValue.integer))
    settings["modalities"] = .array(rolling.modalities.map { .string($0.rawValue) })
    settings["query_roles"] = .array(
      Role.allCases.filter(queryRoles.contains).map { .string($0.rawValue) })
    try SafetensorsWriter.write(
      tensors: storedBuffers(),
      metadata: ["format": StoredRotations.format, "settings": JSONValue.object(settings).text()], to: path)
  }
}

extension RollingQueryOptions {
  /// Reads what `json` wrote.
  ///
  /// - Throws: `ConfigurationError`.
  init(_ reader: ConfigurationReader) throws(ConfigurationError) {
    // The bound of a number is exclusive; a smaller one is 0 where the processor flushes such numbers.
    sharpness = try reader.number("sharpness", above: -.leastNormalMagnitude)
    threshold = try reader.number("threshold", above: -.leastNormalMagnitude)
    limit = try reader.integer("limit", in: 0...Int(Int32.max))
    rotation = try Self.choice("rotation", reader)
    balance = try Self.choice("balance", reader)
    anchor = try Self.choice("anchor", reader)
    seed = try reader.integer("seed", in: Int.min...Int.max)
  }

  private static func choice<Word: RawRepresentable<String> & CaseIterable>(
    _ key: String, _ reader: ConfigurationReader
  ) throws(ConfigurationError) -> Word {
    let text = try reader.string(key)
    guard let word = Word(rawValue: text) else {
      throw reader.unsupported(
        key, found: "\"\(text)\"", supported: Word.allCases.map(\.rawValue).joined(separator: ", "))
    }
    return word
  }
}
