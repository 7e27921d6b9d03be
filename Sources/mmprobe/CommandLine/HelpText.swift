/// Help, made from the declarations that the parser uses.
enum HelpText {
  private static let width = 80

  /// For the program.
  static func program(_ commands: [any Command.Type]) -> String {
    let listed = commands.filter { $0.isListed }
    let names = listed.map { ($0.name, $0.summary) }
    return """
      mmprobe: which modality does a multimodal language model look at?

      Usage: mmprobe COMMAND [options]

      Commands
      \(columns(names, indent: 2))

      Options of every command
      \(optionColumns(GlobalOptions.declarations + [helpOption, versionOption]))

      Example
        mmprobe attention checkpoints/avdigits \\
          --data checkpoints/avdigits/data/test.qa.jsonl -n 200 -o runs/first

      Results go to standard output, everything else to standard error. Exit status:
      0 done, 1 failure, 3 a check did not pass, 64 wrong command line, 65 bad data,
      66 missing input, 69 not supported, 70 defect, 73 and 74 output cannot be
      written, 75 stopped and can be resumed, 130 interrupted.

      """
  }

  // The parser knows these two itself, since they need no command.
  private static let helpOption = OptionDeclaration(
    name: "help", short: "h", valueName: nil, help: "explain a command: 'mmprobe COMMAND --help'", notes: nil,
    repeats: false, isRequired: false)
  private static let versionOption = OptionDeclaration(
    name: "version", short: nil, valueName: nil, help: "version of this program and of what it is built on",
    notes: nil, repeats: false, isRequired: false)

  /// For one command.
  static func command(_ command: any Command.Type) -> String {
    let required = command.options.filter(\.isRequired).map { option in
      (option.short.map { "-\($0)" } ?? "--" + option.name) + (option.valueName.map { " " + $0 } ?? "")
    }
    let usage = (["mmprobe", command.name] + command.positionals.map(\.spelling) + required + ["[options]"])
    var sections = [
      "mmprobe \(command.name): \(command.summary)", "Usage: " + usage.joined(separator: " "),
      command.discussion,
    ]
    if !command.positionals.isEmpty {
      sections.append("Arguments\n" + columns(command.positionals.map { ($0.spelling, $0.help) }, indent: 2))
    }
    if !command.options.isEmpty { sections.append("Options\n" + optionColumns(command.options)) }
    sections.append("Options of every command\n" + optionColumns(GlobalOptions.declarations))
    let examples = command.examples.map { "  # \($0.purpose)\n  mmprobe \($0.line)" }
    sections.append((examples.count == 1 ? "Example\n" : "Examples\n") + examples.joined(separator: "\n"))
    return sections.joined(separator: "\n\n") + "\n"
  }

  private static func optionColumns(_ options: [OptionDeclaration]) -> String {
    let lines = options.map { option in
      let name = (option.short.map { "-\($0), " } ?? "    ") + option.spelling
      return (name, option.help + (option.notes.map { " (\($0))" } ?? ""))
    }
    return columns(lines, indent: 2)
  }

  /// Names on the left, explanations wrapped on the right.
  private static func columns(_ lines: [(String, String)], indent: Int) -> String {
    let left = min(26, lines.map(\.0.count).max() ?? 0)
    let margin = String(repeating: " ", count: indent + left + 2)
    return lines.map { name, help in
      let wrapped = wrap(help, width: width - margin.count)
      let head = String(repeating: " ", count: indent) + name
      // A name too long for its column stands on a line of its own.
      let first =
        name.count > left ? head + "\n" + margin : head + String(repeating: " ", count: left - name.count + 2)
      return first + wrapped.joined(separator: "\n" + margin)
    }.joined(separator: "\n")
  }

  private static func wrap(_ text: String, width: Int) -> [String] {
    var lines: [String] = []
    for word in text.split(separator: " ") {
      if let last = lines.last, last.count + 1 + word.count <= width {
        lines[lines.count - 1] += " " + word
      } else {
        lines.append(String(word))
      }
    }
    return lines
  }
}
