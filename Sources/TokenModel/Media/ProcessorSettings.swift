import Foundation
import RunKit

/// The parts of a checkpoint's configuration that say how media are prepared.
struct ProcessorSettings {
  /// For images; nil if nothing says that there are any.
  let image: ConfigurationReader?

  private static let limit = 10 << 20

  /// Reads what there is.
  ///
  /// - Throws: `FileError`, `ConfigurationError`.
  init(folder: URL) throws {
    let processor = try Self.read("processor_config.json", folder)
    let preprocessor = try Self.read("preprocessor_config.json", folder)
    image = try processor?.section("image_processor") ?? preprocessor
  }

  /// A file of the folder; nil if it is not there.
  private static func read(_ name: String, _ folder: URL) throws -> ConfigurationReader? {
    let url = folder.appendingPathComponent(name)
    guard FileManager.default.fileExists(atPath: url.path) else { return nil }
    return try ConfigurationReader(path: url.path, bytes: FileReader.bytes(of: url, limit: limit))
  }
}
