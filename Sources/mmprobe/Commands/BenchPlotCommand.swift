import ClassicBench
import Foundation
import RunKit

/// `mmprobe bench plot`: figures of runs, and one page that holds them with the table.
struct BenchPlotCommand: Command {
  static let name = "bench plot"
  static let summary = "figures of runs as SVG, and one HTML page with the table"
  static let discussion = """
    Reads a folder of 'bench run' or 'bench sweep' and writes
      seeds.svg    accuracy of every seed, mean and interval of each method
      curves.svg   accuracy on validation samples by epoch, mean and band over seeds
      balance.svg  accuracy against the imbalance I, with intervals
      report.html  all of them with the table and its notes; needs no network
    """
  static let folder = Positional(name: "FOLDER", count: .one, help: "a folder of runs")
  static let output = Option<String?>.text(
    "output", short: "o", "FOLDER", notes: "default plots in the folder of runs", "folder for the files")
  static let positionals = [folder]
  static let options = [
    output.declaration, BenchTableCommand.against.declaration, BenchTableCommand.all.declaration,
    IntervalOptions.confidence.declaration, IntervalOptions.replicates.declaration,
  ]
  static let examples = [Example(purpose: "Look at a sweep", line: "bench plot runs/sweep")]

  private let folder: String
  private let output: String?
  private var options = BenchTable.Options()

  init(_ arguments: Arguments) throws(UsageError) {
    folder = try arguments[Self.folder]
    output = try arguments[Self.output]
    options.reference = try arguments[BenchTableCommand.against]
    options.showsAll = try arguments[BenchTableCommand.all]
    options.bootstrap.confidence = try arguments[IntervalOptions.confidence]
    options.bootstrap.replicates = try arguments[IntervalOptions.replicates]
  }

  func run(_ session: Session) throws -> ExitStatus {
    var options = options
    options.bootstrap.seed = session.globals.seed
    let runs = try BenchRuns(URL(fileURLWithPath: folder, isDirectory: true))
    let report = try BenchReport(BenchTable(runs, options))
    let place =
      output.map { URL(fileURLWithPath: $0, isDirectory: true) }
      ?? URL(fileURLWithPath: folder, isDirectory: true).appendingPathComponent("plots", isDirectory: true)
    try FileSystem.createFolder(place.path)
    var written: [JSONValue] = []
    for file in report.files {
      let url = place.appendingPathComponent(file.name)
      try AtomicFile.write(file.text, to: url)
      written.append(["file": .string(url.path), "bytes": .integer(file.text.utf8.count)])
      if !session.console.wantsJSON {
        try session.console.line("\(url.path)  \(ByteCount.text(file.text.utf8.count))")
      }
    }
    if session.console.wantsJSON { try session.console.document(["files": .array(written)]) }
    return .success
  }
}
