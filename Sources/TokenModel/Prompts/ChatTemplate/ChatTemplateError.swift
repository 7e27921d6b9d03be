public import RunKit

/// Why a chat template cannot be used.
public enum ChatTemplateError: DescribedError {
  case syntax(path: String, line: Int, expected: String)
  case unsupported(path: String, line: Int, construct: String)
  case raised(path: String, message: String)
  case failed(path: String, line: Int, reason: String)
  case tooLarge(path: String, what: String, limit: Int)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case syntax = "template_syntax"
    case unsupported = "template_unsupported"
    case raised = "template_raised"
    case failed = "template_failed"
    case tooLarge = "template_too_large"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .syntax: .syntax
    case .unsupported: .unsupported
    case .raised: .raised
    case .failed: .failed
    case .tooLarge: .tooLarge
    }
  }

  /// The exit status a command ends with.
  public var exitStatus: ExitStatus {
    if case .unsupported = self { .unsupported } else { .data }
  }

  /// The file concerned.
  public var path: String? {
    switch self {
    case .syntax(let path, _, _), .unsupported(let path, _, _), .raised(let path, _), .failed(let path, _, _),
      .tooLarge(let path, _, _):
      path
    }
  }

  /// What was wrong, where, and what was expected.
  public var errorDescription: String? {
    switch self {
    case .syntax(let path, let line, let expected):
      "\(path): line \(line) of the chat template cannot be read: expected \(expected.shown())"
    case .unsupported(let path, let line, let construct):
      "\(path): line \(line) of the chat template has \(construct.shown(limit: 450)), which is not supported"
    case .raised(let path, let message):
      "\(path): the chat template refuses this conversation: \(message.shown(limit: 280))"
    case .failed(let path, let line, let reason):
      "\(path): line \(line) of the chat template cannot be carried out: \(reason.shown(limit: 280))"
    case .tooLarge(let path, let what, let limit):
      "\(path): the chat template makes more than \(limit) \(what)"
    }
  }

  /// What to do about it.
  public var recoverySuggestion: String? {
    switch self {
    case .raised: "change the conversation as the template asks"
    case .syntax, .unsupported, .failed, .tooLarge:
      "give the whole prompt as text with '--prompt-raw'"
    }
  }
}
