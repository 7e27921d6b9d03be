import Foundation
import RunKit
import TensorCore

/// The program: finds the command, runs it, and turns every error into a message and an exit status.
@main
struct MMProbe {
  static func main() {
    let status = run(Array(CommandLine.arguments.dropFirst()))
    FaultPoint.writeCount()
    // Everything is flushed: libraries need not be taken down, which would wait for idle threads of OpenBLAS.
    _exit(status.rawValue)
  }

  private static func run(_ line: [String]) -> ExitStatus {
    // Errors of the command line itself come before its options are known.
    var globals = GlobalOptions()
    globals.json = line.prefix { $0 != "--" }.contains("--json")
    var console = Console(globals)
    var model: String?
    do {
      let status: ExitStatus
      switch try ArgumentParser(commands: AllCommands.list).parse(line) {
      case .help(let command):
        try console.write(command.map { HelpText.command($0) } ?? HelpText.program(AllCommands.list))
        status = .success
      case .version(let arguments):
        globals = try GlobalOptions(arguments)
        if globals.json { try console.document(Version.json) } else { try console.write(Version.text) }
        status = .success
      case .run(let command, let arguments):
        globals = try GlobalOptions(arguments)
        console = Console(globals)
        if let threads = globals.threads { Workers.threadCount = threads }
        model = arguments.optional(.model)
        let command = try command.init(arguments)
        try command.validate()
        status = try command.run(Session(globals: globals, console: console, commandLine: line))
      }
      try console.flush()
      return status
    } catch {
      // What was found before the error is shown before it.
      try? console.flush()
      let report = ErrorReport(Support.naming(error, model: model))
      console.report(report)
      return report.status
    }
  }
}
