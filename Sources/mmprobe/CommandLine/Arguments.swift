import RunKit

/// The options and arguments given to a command, handed out by type.
final class Arguments {
  /// The command they are for.
  let command: String
  private let texts: [String: [String]]
  private let positionals: [String: [String]]
  /// The names of the options that were asked for; a test compares them with those declared.
  private(set) var namesRead: Set<String> = []

  init(command: String, texts: [String: [String]], positionals: [String: [String]]) {
    self.command = command
    self.texts = texts
    self.positionals = positionals
  }

  /// The value of an option.
  subscript<Value>(option: Option<Value>) -> Value {
    get throws(UsageError) {
      let declaration = option.declaration
      namesRead.insert(declaration.name)
      let given = texts[declaration.name] ?? []
      if given.isEmpty && declaration.isRequired {
        throw .missingOption(option: declaration.spelling, command: command)
      }
      do {
        return try option.value(given)
      } catch {
        throw .badValue(
          option: "--" + declaration.name, found: given.first ?? "", expected: error.expected,
          command: command)
      }
    }
  }

  /// Whether an option was given.
  func isGiven<Value>(_ option: Option<Value>) -> Bool { isGiven(name: option.declaration.name) }

  /// Whether the option of this long name was given.
  func isGiven(name: String) -> Bool { texts[name] != nil }

  /// The one value of a positional argument.
  subscript(positional: Positional) -> String {
    get throws(UsageError) {
      guard let text = positionals[positional.name]?.first else {
        throw .missingArgument(name: positional.name, command: command)
      }
      return text
    }
  }

  /// The value of a positional argument that may be missing.
  func optional(_ positional: Positional) -> String? { positionals[positional.name]?.first }

  /// All values of a positional argument.
  func all(_ positional: Positional) throws(UsageError) -> [String] {
    guard let texts = positionals[positional.name], !texts.isEmpty else {
      throw .missingArgument(name: positional.name, command: command)
    }
    return texts
  }
}
