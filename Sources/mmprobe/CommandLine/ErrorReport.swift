import Foundation
import RunKit

/// An error as a user sees it.
struct ErrorReport {
  let code: String
  let message: String
  let hint: String?
  let path: String?
  let status: ExitStatus

  init(_ error: any Error) {
    self = if let described = error as? any DescribedError { Self(described: described) } else { Self(defect: error) }
  }

  private init(described error: some DescribedError) {
    code = error.code.rawValue
    message = error.errorDescription ?? code
    hint = error.recoverySuggestion
    path = error.path
    status = error.exitStatus
  }

  /// Every error that input can cause is described; another one is a defect of this program.
  private init(defect error: any Error) {
    code = "internal"
    message = "unexpected: \(error.localizedDescription)"
    hint = "this is a defect of mmprobe; please report it with the command line and this message"
    path = nil
    status = .internalFailure
  }

  /// `{"error": {"code", "message", "hint", "path"}}`.
  var json: JSONValue {
    [
      "error": [
        "code": .string(code), "message": .string(message), "hint": hint.map(JSONValue.string) ?? .null,
        "path": path.map(JSONValue.string) ?? .null,
      ]
    ]
  }
}
