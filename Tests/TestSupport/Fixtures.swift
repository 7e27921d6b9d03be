public import Foundation

/// The files that tests read, in `Tests/Fixtures`.
public enum Fixtures {
  /// The place of a fixture; it is found beside the source of this file, so no build step copies it.
  ///
  /// - Parameter name: The path below `Tests/Fixtures`.
  public static func url(_ name: String) -> URL {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .appendingPathComponent("Fixtures").appendingPathComponent(name)
  }
}

extension Fixtures {
  /// A file of the embedded checkpoint, in `checkpoints/avdigits`.
  public static func embedded(_ name: String = "") -> URL {
    URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("checkpoints/avdigits").appendingPathComponent(name)
  }
}
