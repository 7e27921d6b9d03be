import Analysis
import RunKit
import TensorCore
import TokenModel

/// `mmprobe bench-forward`: how long a forward pass takes and how much memory.
struct BenchForwardCommand: Command {
  static let name = "bench-forward"
  static let summary = "time forward passes in one process, with peak memory"
  static let discussion = """
    For the comparisons in Benchmarks/. Prints the seconds of each pass and the peak
    of the memory that belongs to no file (RssAnon, looked at every 20 ms) above its
    value before the first pass. With --statistics the attention share of four
    groups, the quarters of the key rows, is taken for every layer and head.
    """
  static let isListed = false
  static let inputs = Option<String>.required(
    "inputs", "FILE", "safetensors file with input_ids, as for 'mmprobe trace'")
  static let statistics = Option<Bool>.flag(
    "statistics", "take the share of four groups for every layer, head and row")
  static let queries = Option<ForwardBenchmark.Rows>.choice(
    "queries", "ROWS", default: .all, "rows that --statistics reports")
  static let logits = Option<ForwardBenchmark.Rows>.choice(
    "logits", "ROWS", default: .last, "rows with logits")
  static let queryBlock = Option<Int?>.integer(
    "query-block", in: 1...65536, absence: "chosen by the program", "rows in a block of attention")
  static let repeats = Option<Int>.integer(
    "repeat", in: 1...10000, default: 10, unit: "passes", "timed passes")
  static let warmUps = Option<Int>.integer(
    "warmup", in: 0...1000, default: 2, unit: "passes", "passes before them")
  static let output = Option<String?>.text(
    "output", short: "o", "FILE", "safetensors file for the last pass's logits and shares")
  static let positionals = [Positional.model]
  static let options = [
    inputs.declaration, statistics.declaration, queries.declaration, logits.declaration,
    queryBlock.declaration,
    repeats.declaration, warmUps.declaration, output.declaration,
  ]
  static let examples = [
    Example(
      purpose: "Ten passes with statistics",
      line: "bench-forward model --inputs in.safetensors --statistics --json")
  ]

  private let model: String
  private let inputs: String
  private let output: String?
  private var benchmark = ForwardBenchmark()

  init(_ arguments: Arguments) throws(UsageError) {
    model = try arguments[Positional.model]
    inputs = try arguments[Self.inputs]
    output = try arguments[Self.output]
    benchmark.takesStatistics = try arguments[Self.statistics]
    benchmark.queries = try arguments[Self.queries]
    benchmark.logits = try arguments[Self.logits]
    benchmark.queryBlock = try arguments[Self.queryBlock]
    benchmark.repeatCount = try arguments[Self.repeats]
    benchmark.warmUpCount = try arguments[Self.warmUps]
    if !benchmark.takesStatistics && arguments.isGiven(Self.queries) {
      throw .conflict(reason: "--queries is for --statistics", remedy: "give --statistics, or leave it out")
    }
  }

  func run(_ session: Session) throws -> ExitStatus {
    let checkpoint = try Support.checkpoint(model)
    let file = try SafetensorsFile(path: inputs)
    let measurement = try benchmark.run(
      checkpoint.model, TraceInputs(file.tensors, path: inputs, model: checkpoint.model))
    if let output { try SafetensorsWriter.write(tensors: measurement.tensors(), to: output) }
    let sorted = measurement.seconds.sorted()
    let median = (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
    if session.console.wantsJSON {
      try session.console.document([
        "rows": .integer(measurement.rowCount), "threads": .integer(Workers.threadCount),
        "statistics": .bool(benchmark.takesStatistics), "queries": .string(benchmark.queries.rawValue),
        "logits": .string(benchmark.logits.rawValue), "warmup": .integer(benchmark.warmUpCount),
        "seconds": .array(measurement.seconds.map(JSONValue.number)), "median_seconds": .number(median),
        "peak_anonymous_bytes": .integer(measurement.peakBytes), "share_sum": JSONValue(measurement.shareSum),
      ])
    } else {
      for (index, seconds) in measurement.seconds.enumerated() {
        try session.console.line("pass \(index)  \(Decimals.text(seconds, places: 4)) s")
      }
      try session.console.line(
        "\(measurement.rowCount) rows: median \(Decimals.text(median, places: 4)) s, peak memory "
          + ByteCount.text(measurement.peakBytes))
    }
    return .success
  }
}
