import Foundation
import RunKit

/// The way to the user: results to standard output, everything else to standard error.
final class Console {
  private let globals: GlobalOptions
  private let output = OutputFile.standardOutput()
  private let messages = OutputFile.standardError()
  private let usesColor: Bool

  init(_ globals: GlobalOptions) {
    self.globals = globals
    usesColor = Self.allowsColor(globals, ProcessInfo.processInfo.environment)
  }

  /// NO_COLOR and `--no-color` win over CLICOLOR_FORCE, which wins over what standard error is.
  private static func allowsColor(_ globals: GlobalOptions, _ environment: [String: String]) -> Bool {
    if globals.forbidsColor || !(environment["NO_COLOR"] ?? "").isEmpty { return false }
    if let force = environment["CLICOLOR_FORCE"], force != "", force != "0" { return true }
    return ProcessFacts.standardErrorIsTerminal && environment["TERM"] != "dumb"
  }

  /// Whether results are one JSON document.
  var wantsJSON: Bool { globals.json }

  /// Adds text to the results, as it is.
  func write(_ text: String) throws(FileError) { try output.write(text) }

  /// Adds a line to the results.
  func line(_ text: String = "") throws(FileError) { try output.write(text + "\n") }

  /// Gives the result as one JSON document.
  func document(_ value: JSONValue) throws(FileError) { try output.write(value.text(.indented) + "\n") }

  /// Hands the results to the system.
  ///
  /// - Throws: `FileError` where standard output takes no more.
  func flush() throws(FileError) { try output.flush() }

  /// Shows a remark, unless `--quiet`.
  func note(_ text: String) { if !globals.isQuiet { show(text + "\n") } }

  /// Shows a remark that only `--verbose` asks for.
  func detail(_ text: String) { if globals.verbosity > 0 && !globals.isQuiet { show(text + "\n") } }

  /// Shows a warning.
  func warn(_ text: String) {
    if !globals.isQuiet { show(colored("warning:", code: "33") + " " + text + "\n") }
  }

  /// Shows an error with its remedy, or as one JSON object with `--json`.
  func report(_ report: ErrorReport) {
    if globals.json { return show(report.json.text() + "\n") }
    show(colored("error:", code: "31") + " " + report.message + "\n")
    if let hint = report.hint { show("hint: " + hint + "\n") }
  }

  /// Progress of a long loop on standard error; nil with `--quiet`.
  func progress(total: Int, alreadyDone: Int = 0, unit: String) -> ProgressReporter? {
    if globals.isQuiet { return nil }
    return ProgressReporter(
      total: total, alreadyDone: alreadyDone, unit: unit, isTerminal: ProcessFacts.standardErrorIsTerminal,
      columns: ProcessFacts.terminalColumns ?? 80, sink: { [weak self] in self?.show($0) })
  }

  private func colored(_ text: String, code: String) -> String {
    usesColor ? "\u{1B}[\(code)m\(text)\u{1B}[0m" : text
  }

  /// A message that cannot be shown is lost: there is nowhere left to say so.
  private func show(_ text: String) {
    try? messages.write(text)
    try? messages.flush()
  }
}
