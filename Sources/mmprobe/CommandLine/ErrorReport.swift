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
    if let error = error as? any DescribedError {
      self.init(described: error)
    } else {
      // Every error that input can cause is described; another one is a defect of this program.
      self.init(
        code: "internal", message: "unexpected: \(error.localizedDescription)",
        hint: "this is a defect of mmprobe; please report it with the command line and this message",
        path: nil,
        status: .internalFailure)
    }
  }

  private init(code: String, message: String, hint: String?, path: String?, status: ExitStatus) {
    (self.code, self.message, self.hint, self.path, self.status) = (code, message, hint, path, status)
  }

  private init(described error: some DescribedError) {
    self.init(
      code: error.code.rawValue, message: error.errorDescription ?? error.code.rawValue,
      hint: error.recoverySuggestion, path: error.path, status: error.exitStatus)
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
