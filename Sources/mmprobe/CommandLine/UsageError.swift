import RunKit

/// Why a command line was refused.
enum UsageError: DescribedError {
  case missingCommand
  case unknownCommand(name: String, nearest: String?)
  case unknownOption(option: String, command: String?, nearest: String?)
  case missingValue(option: String, valueName: String, command: String?)
  case unexpectedValue(option: String, value: String, command: String?)
  case badValue(option: String, found: String, expected: String, command: String)
  case repeatedOption(option: String, command: String?)
  case missingOption(option: String, command: String)
  case missingArgument(name: String, command: String)
  case extraArgument(found: String, command: String)
  case conflict(reason: String, remedy: String)

  /// The cases, by their word in machine-readable output.
  enum Code: String, CaseIterable, Sendable {
    case missingCommand = "usage_missing_command"
    case unknownCommand = "usage_unknown_command"
    case unknownOption = "usage_unknown_option"
    case missingValue = "usage_missing_value"
    case unexpectedValue = "usage_unexpected_value"
    case badValue = "usage_bad_value"
    case repeatedOption = "usage_repeated_option"
    case missingOption = "usage_missing_option"
    case missingArgument = "usage_missing_argument"
    case extraArgument = "usage_extra_argument"
    case conflict = "usage_conflict"
  }

  var code: Code {
    switch self {
    case .missingCommand: .missingCommand
    case .unknownCommand: .unknownCommand
    case .unknownOption: .unknownOption
    case .missingValue: .missingValue
    case .unexpectedValue: .unexpectedValue
    case .badValue: .badValue
    case .repeatedOption: .repeatedOption
    case .missingOption: .missingOption
    case .missingArgument: .missingArgument
    case .extraArgument: .extraArgument
    case .conflict: .conflict
    }
  }

  var exitStatus: ExitStatus { .usage }

  var errorDescription: String? {
    switch self {
    case .missingCommand: "no command given"
    case .unknownCommand(let name, let nearest): "unknown subcommand '\(name)'." + Self.question(nearest)
    case .unknownOption(let option, let command, let nearest):
      "unknown option '\(option)'" + (command.map { " of 'mmprobe \($0)'" } ?? " before the command") + "."
        + Self.question(nearest)
    case .missingValue(let option, let valueName, _):
      "option '\(option)' needs a value: \(option) \(valueName)"
    case .unexpectedValue(let option, let value, _): "option '\(option)' takes no value, found '\(value)'"
    case .badValue(let option, let found, let expected, _):
      "option '\(option)': found '\(found)', expected \(expected)"
    case .repeatedOption(let option, _): "option '\(option)' is given twice"
    case .missingOption(let option, let command): "'mmprobe \(command)' needs \(option)"
    case .missingArgument(let name, let command): "'mmprobe \(command)' needs \(name)"
    case .extraArgument(let found, let command):
      "'mmprobe \(command)' takes no further argument, found '\(found)'"
    case .conflict(let reason, _): reason
    }
  }

  var recoverySuggestion: String? {
    switch self {
    case .missingCommand, .unknownCommand: "'mmprobe --help' lists the commands"
    case .missingValue(let option, _, let command):
      "a value that begins with a hyphen is written \(option)=VALUE" + Self.help(command, before: "; ")
    case .unknownOption(_, let command, _), .unexpectedValue(_, _, let command),
      .repeatedOption(_, let command):
      Self.help(command)
    case .badValue(_, _, _, let command), .missingOption(_, let command), .missingArgument(_, let command),
      .extraArgument(_, let command):
      Self.help(command)
    case .conflict(_, let remedy): remedy
    }
  }

  private static func question(_ nearest: String?) -> String {
    nearest.map { " Did you mean '\($0)'?" } ?? ""
  }

  private static func help(_ command: String?, before: String = "") -> String {
    before
      + (command.map { "'mmprobe \($0) --help' explains the options" }
        ?? "'mmprobe --help' lists the commands")
  }
}
