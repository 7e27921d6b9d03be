import Foundation
import RunKit

/// What `generation_config.json` of a folder says about the end of an answer.
///
/// transformers takes the end ids from this file and those of `config.json` only where it has none: chat models often end
/// with other ids than `config.json` says, and with one of several. How ids are drawn is said where an answer is asked for,
/// not by the folder.
struct GenerationSettings {
  /// Ids that end an answer; nil where the file does not say.
  let endIDs: [Int]?

  private static let name = "generation_config.json"
  private static let limit = 1 << 20

  /// - Parameter vocabulary: Ids are below it.
  /// - Throws: `FileError`, `ConfigurationError`.
  init(folder: URL, vocabulary: Int) throws {
    let url = folder.appendingPathComponent(Self.name)
    guard FileManager.default.fileExists(atPath: url.path) else {
      endIDs = nil
      return
    }
    let reader = try ConfigurationReader(
      path: url.path, bytes: FileReader.bytes(of: url, limit: Self.limit))
    endIDs = reader.has("eos_token_id") ? try reader.tokenIDs("eos_token_id", below: vocabulary) : nil
  }
}
