public import Foundation
public import RunKit

/// The files that tests read, in `Tests/Fixtures`.
public enum Fixtures {
  /// The place of a fixture; it is found beside the source of this file, so no build step copies it.
  ///
  /// - Parameter name: The path below `Tests/Fixtures`.
  public static func url(_ name: String) -> URL {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("Fixtures").appendingPathComponent(name)
  }

  /// The bytes of a fixture.
  public static func bytes(_ name: String) throws -> [UInt8] { [UInt8](try Data(contentsOf: url(name))) }

  /// A fixture parsed as JSON.
  public static func json(_ name: String) throws -> JSONValue { try JSONValue(parsing: bytes(name)) }
}

extension Fixtures {
  /// A file of the data that the embedded model comes with, in `checkpoints/avdigits/data`.
  ///
  /// The model of tests is the fixture `avdigits_model`, whose reference values do not change when the embedded one is
  /// trained again.
  public static func avdigitsData(_ name: String) -> URL { embedded("data/\(name)") }

  /// A file of the embedded checkpoint, in `checkpoints/avdigits`.
  private static func embedded(_ name: String) -> URL {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("checkpoints/avdigits").appendingPathComponent(name)
  }
}

/// A folder of its own for a test, removed with the value.
public final class TemporaryDirectory {
  /// Its path.
  public let path: String

  /// Makes the folder.
  public init() throws {
    path = FileManager.default.temporaryDirectory.appendingPathComponent("mmprobe-\(UUID().uuidString)").path
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  }

  deinit { try? FileManager.default.removeItem(atPath: path) }
}
