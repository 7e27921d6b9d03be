import RunKit

/// One subcommand: what it is called, what it takes, and what it does.
///
/// Everything that can be wrong in the command line is found by `init` and `validate`, before anything is loaded.
protocol Command: Sendable {
  /// What a user types.
  static var name: String { get }
  /// One line for the list of commands.
  static var summary: String { get }
  /// Paragraphs that help shows below the usage line; lines of at most 80 columns.
  static var discussion: String { get }
  /// Whether the list of commands shows it.
  static var isListed: Bool { get }
  /// What stands on the command line without a name.
  static var positionals: [Positional] { get }
  /// Every option.
  static var options: [OptionDeclaration] { get }
  /// At least one.
  static var examples: [Example] { get }

  /// Reads the options into their types.
  init(_ arguments: Arguments) throws(UsageError)
  /// Checks what concerns several options together.
  func validate() throws(UsageError)
  /// Does it.
  func run(_ session: Session) throws -> ExitStatus
}

extension Command {
  static var isListed: Bool { true }
  func validate() throws(UsageError) {}
}

/// An argument without a name.
struct Positional: Sendable, Equatable {
  /// How many there may be.
  enum Count: Sendable { case one, optional, oneOrMore }
  /// What stands for it in help, in capitals.
  let name: String
  /// How many there may be.
  let count: Count
  /// One sentence without a full stop.
  let help: String

  /// The folder of a model.
  static let model = Positional(
    name: "MODEL", count: .one, help: "a checkpoint folder: config.json, safetensors weights, tokenizer")

  /// In a usage line.
  var spelling: String {
    switch count {
    case .one: name
    case .optional: "[\(name)]"
    case .oneOrMore: name + "..."
    }
  }
}

/// A command line that can be copied, and what it does.
struct Example: Sendable, Equatable {
  /// What it does.
  let purpose: String
  /// What follows `mmprobe`.
  let line: String
}

/// What a command runs in: the options all commands share, and the ways to the user.
struct Session {
  /// Options that mean the same everywhere.
  let globals: GlobalOptions
  /// The way to the user.
  let console: Console
  /// The command line as typed, without the program.
  let commandLine: [String]
}

/// Options that every command takes.
struct GlobalOptions: Sendable, Equatable {
  static let json = Option<Bool>.flag("json", "print one JSON document instead of text; errors too")
  static let quiet = Option<Bool>.flag(
    "quiet", short: "q", "no progress and no notes, only results and errors")
  static let verbose = Option<Int>.count("verbose", short: "v", "more notes; may be repeated")
  static let noColor = Option<Bool>.flag("no-color", "no colour, also switched off by the variable NO_COLOR")
  static let threads = Option<Int?>.integer(
    "threads", in: 1...1024, absence: "all cores",
    "threads to compute with; results are the same bytes for any number")
  static let seed = Option<Int>.integer(
    "seed", in: 0...Int.max, default: 0, "seed of everything that is drawn at random")

  /// All of them.
  static let declarations = [
    json.declaration, quiet.declaration, verbose.declaration, noColor.declaration, threads.declaration,
    seed.declaration,
  ]

  /// Whether results are JSON.
  var json = false
  /// Whether only results and errors are shown.
  var isQuiet = false
  /// How many levels of notes are shown beyond the usual.
  var verbosity = 0
  /// Whether colour is forbidden.
  var forbidsColor = false
  /// Threads asked for; nil for all cores.
  var threads: Int?
  /// The seed.
  var seed = 0

  init() {}

  init(_ arguments: Arguments) throws(UsageError) {
    json = try arguments[Self.json]
    isQuiet = try arguments[Self.quiet]
    verbosity = try arguments[Self.verbose]
    forbidsColor = try arguments[Self.noColor]
    threads = try arguments[Self.threads]
    seed = try arguments[Self.seed]
  }
}
