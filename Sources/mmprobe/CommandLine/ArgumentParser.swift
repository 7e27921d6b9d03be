import RunKit

/// What a command line asks for.
enum Request {
  /// Help for the program, or for one command.
  case help((any Command.Type)?)
  /// The version of the program and of what it is built on.
  case version(Arguments)
  /// To run a command.
  case run(any Command.Type, Arguments)
}

/// Splits a command line into command, options and arguments.
///
/// `--name value` and `--name=value`, `-n value`, flags, `--` before arguments that begin with a hyphen. Names are never
/// cut short. Options may stand before and after arguments; those before the command must be global.
struct ArgumentParser {
  let commands: [any Command.Type]

  func parse(_ line: [String]) throws(UsageError) -> Request {
    var rest = line[...]
    var texts: [String: [String]] = [:]
    var command: (any Command.Type)?
    var words: [String] = []
    var asksForHelp = false
    var asksForVersion = false
    var optionsEnded = false
    while let word = rest.popFirst() {
      if !optionsEnded && word == "--" {
        optionsEnded = true
      } else if !optionsEnded && word.count > 1 && word.hasPrefix("-") {
        switch word {
        case "--help", "-h": asksForHelp = true
        case "--version" where command == nil: asksForVersion = true
        default: try takeOption(word, command: command, rest: &rest, into: &texts)
        }
      } else if command == nil {
        if word == "help" {
          asksForHelp = true
        } else if let second = rest.first,
          let pair = commands.first(where: { $0.name == "\(word) \(second)" })
        {
          // A name of two words, such as "bench sweep".
          command = pair
          rest = rest.dropFirst()
        } else {
          command = try find(word)
        }
      } else {
        words.append(word)
      }
    }
    if asksForHelp { return .help(command) }
    let name = command?.name ?? "--version"
    if asksForVersion { return .version(Arguments(command: name, texts: texts, positionals: [:])) }
    guard let command else { throw .missingCommand }
    let positionals = try assign(words, to: command)
    return .run(command, Arguments(command: command.name, texts: texts, positionals: positionals))
  }

  private func find(_ name: String) throws(UsageError) -> any Command.Type {
    guard let command = commands.first(where: { $0.name == name }) else {
      throw .unknownCommand(
        name: name, nearest: NameSuggestion.nearest(to: name, in: commands.map { $0.name }))
    }
    return command
  }

  private func takeOption(
    _ word: String, command: (any Command.Type)?, rest: inout ArraySlice<String>,
    into texts: inout [String: [String]]
  ) throws(UsageError) {
    let parts = word.split(separator: "=", maxSplits: 1, omittingEmptySubsequences: false).map(String.init)
    let (spelling, attached) = (parts[0], parts.count > 1 ? parts[1] : nil)
    let declarations = (command?.options ?? []) + GlobalOptions.declarations
    let found = declarations.first {
      "--" + $0.name == spelling || $0.short.map { "-\($0)" == spelling } ?? false
    }
    guard let declaration = found else {
      // Flags of one letter may stand together, as in -vv.
      if attached == nil, !word.hasPrefix("--"), word.count > 2 {
        let flags = word.dropFirst().map { letter in
          declarations.first { $0.short == letter && $0.valueName == nil }?.name
        }
        if !flags.contains(nil) {
          for flag in flags.compactMap(\.self) { texts[flag, default: []].append("") }
          return
        }
      }
      let known = declarations.map { "--" + $0.name } + ["--help"]
      throw .unknownOption(
        option: spelling, command: command?.name, nearest: NameSuggestion.nearest(to: spelling, in: known))
    }
    let name = declaration.name
    if texts[name] != nil && !declaration.repeats {
      throw .repeatedOption(option: "--" + name, command: command?.name)
    }
    guard let valueName = declaration.valueName else {
      if let attached { throw .unexpectedValue(option: spelling, value: attached, command: command?.name) }
      texts[name, default: []].append("")
      return
    }
    if let attached {
      texts[name, default: []].append(attached)
    } else if let next = rest.first, !Self.looksLikeOption(next) {
      rest = rest.dropFirst()
      texts[name, default: []].append(next)
    } else {
      throw .missingValue(option: spelling, valueName: valueName, command: command?.name)
    }
  }

  /// A lone hyphen and negative numbers are values.
  private static func looksLikeOption(_ word: String) -> Bool {
    word.count > 1 && word.hasPrefix("-") && Double(word) == nil
  }

  private func assign(
    _ words: [String], to command: any Command.Type
  ) throws(UsageError) -> [String: [String]] {
    var rest = words[...]
    var positionals: [String: [String]] = [:]
    for positional in command.positionals {
      switch positional.count {
      case .one, .optional: positionals[positional.name] = rest.popFirst().map { [$0] }
      case .oneOrMore:
        positionals[positional.name] = Array(rest)
        rest = []
      }
    }
    if let extra = rest.first { throw .extraArgument(found: extra, command: command.name) }
    return positionals
  }
}
