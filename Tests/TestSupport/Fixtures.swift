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
  /// A file of the embedded checkpoint, in `checkpoints/avdigits`.
  public static func embedded(_ name: String = "") -> URL {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("checkpoints/avdigits").appendingPathComponent(name)
  }
}
