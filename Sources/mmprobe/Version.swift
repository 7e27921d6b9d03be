import RunKit
import TensorCore

/// Which program this is.
enum Version {
  /// The version of mmprobe.
  static let number = "0.1.0"

  /// The version of the Swift compiler that built it.
  static var swift: String {
    #if compiler(>=6.4)
      "6.4 or later"
    #elseif compiler(>=6.3)
      "6.3"
    #else
      "6.2"
    #endif
  }

  /// What `--version` prints.
  static var text: String {
    """
    mmprobe \(number)
    commit \(BuildFacts.commit ?? "unknown")
    Swift \(swift)
    \(BuildFacts.blasConfiguration)

    """
  }

  /// The same for programs.
  static var json: JSONValue {
    [
      "version": .string(number), "commit": BuildFacts.commit.map(JSONValue.string) ?? .null,
      "swift": .string(swift),
      "blas": .string(BuildFacts.blasConfiguration),
    ]
  }
}
