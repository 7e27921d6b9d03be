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
    groups, the quarters of the key rows, is taken for every layer and head. With
    --rate the floating-point operations a second are compared with those of plain
    float32 products, measured before and after every pass. With --interactive a
    pass is run for every line of standard input and answered with one line of JSON,
    so that passes of two programs can alternate. --decode times tokens generated
    after the prompt instead.
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
  static let rate = Option<Bool>.flag("rate", "measure plain products too")
  static let interactive = Option<Bool>.flag(
    "interactive", "run a pass for every line of standard input")
  static let decode = Option<Int?>.integer(
    "decode", in: 2...65536, absence: "none", "tokens to generate instead of passes")
  static let output = Option<String?>.text(
    "output", short: "o", "FILE", "safetensors file for the last pass's logits and shares")
  static let positionals = [Positional.model]
  static let options = [
    inputs.declaration, statistics.declaration, queries.declaration, logits.declaration,
    queryBlock.declaration,
    repeats.declaration, warmUps.declaration, rate.declaration, interactive.declaration,
    decode.declaration, output.declaration,
  ]
  static let examples = [
    Example(
      purpose: "Ten passes with statistics",
      line: "bench-forward model --inputs in.safetensors --statistics --json")
  ]

  private let model: String
  private let inputs: String
  private let output: String?
  private let isInteractive: Bool
  private let decodeCount: Int?
  private var benchmark = ForwardBenchmark()

  init(_ arguments: Arguments) throws(UsageError) {
    model = try arguments[Positional.model]
    inputs = try arguments[Self.inputs]
    output = try arguments[Self.output]
    isInteractive = try arguments[Self.interactive]
    decodeCount = try arguments[Self.decode]
    if decodeCount != nil && (isInteractive || output != nil) {
      throw .conflict(reason: "--decode times no passes", remedy: "leave --interactive and -o out")
    }
    benchmark.takesStatistics = try arguments[Self.statistics]
    benchmark.queries = try arguments[Self.queries]
    benchmark.logits = try arguments[Self.logits]
    benchmark.queryBlock = try arguments[Self.queryBlock]
    benchmark.repeatCount = try arguments[Self.repeats]
    benchmark.warmUpCount = try arguments[Self.warmUps]
    benchmark.rateSeconds = try arguments[Self.rate] ? 0.5 : 0
    if !benchmark.takesStatistics && arguments.isGiven(Self.queries) {
      throw .conflict(reason: "--queries is for --statistics", remedy: "give --statistics, or leave it out")
    }
  }

  func run(_ session: Session) throws -> ExitStatus {
    let checkpoint = try Support.checkpoint(model)
    let file = try SafetensorsFile(path: inputs)
    let traceInputs = try TraceInputs(file.tensors, path: inputs, model: checkpoint.model)
    if let decodeCount { return try decode(checkpoint.model, traceInputs, decodeCount, session.console) }
    var benchmark = benchmark
    if isInteractive { benchmark.repeatCount = Int.max / 2 }
    let measurement = try benchmark.run(
      checkpoint.model, traceInputs, isWanted: { !isInteractive || readLine() != nil }
    ) { seconds in
      guard isInteractive else { return }
      try session.console.line(JSONValue.object(JSONObject([("seconds", .number(seconds))])).text())
      try session.console.flush()
    }
    if let output { try SafetensorsWriter.write(tensors: measurement.tensors(), to: output) }
    let median = Self.median(measurement.seconds)
    let speed = median > 0 ? Double(measurement.operations) / median * 1e-9 : 0
    let productRate = measurement.productRates.isEmpty ? nil : Self.median(measurement.productRates)
    if session.console.wantsJSON {
      try session.console.document([
        "rows": .integer(measurement.rowCount), "threads": .integer(Workers.threadCount),
        "statistics": .bool(benchmark.takesStatistics), "queries": .string(benchmark.queries.rawValue),
        "logits": .string(benchmark.logits.rawValue), "warmup": .integer(benchmark.warmUpCount),
        "seconds": .array(measurement.seconds.map(JSONValue.number)), "median_seconds": .number(median),
        "peak_anonymous_bytes": .integer(measurement.peakBytes),
        "process_peak_anonymous_bytes": .integer(measurement.peaks.anonymous),
        "process_peak_resident_bytes": .integer(measurement.peaks.resident),
        "operations": .integer(measurement.operations), "gigaflops": .number(speed),
        "product_gigaflops": .array(measurement.productRates.map(JSONValue.number)),
        "share_sum": JSONValue(measurement.shareSum),
      ])
    } else {
      for (index, seconds) in measurement.seconds.enumerated() {
        try session.console.line("pass \(index)  \(Decimals.text(seconds, places: 4)) s")
      }
      try session.console.line(
        "\(measurement.rowCount) rows: median \(Decimals.text(median, places: 4)) s, peak memory "
          + ByteCount.text(measurement.peakBytes))
      try session.console.line(
        "process: at most \(ByteCount.text(measurement.peaks.anonymous)) of its own, "
          + "\(ByteCount.text(measurement.peaks.resident)) with mapped files")
      var text = "\(Decimals.text(speed, places: 1)) GFLOP/s"
      if let productRate {
        text +=
          ", \(Decimals.text(speed / productRate, places: 3)) of the "
          + "\(Decimals.text(productRate, places: 1)) of plain products"
      }
      try session.console.line(text)
    }
    return .success
  }

  private func decode(
    _ model: any LanguageModel, _ inputs: TraceInputs, _ steps: Int, _ console: Console
  ) throws -> ExitStatus {
    let measured = try benchmark.decode(model, inputs, steps: steps)
    let rate = 1 / Self.median(measured.tokens)
    if console.wantsJSON {
      try console.document([
        "prompt_seconds": .number(measured.prompt),
        "token_seconds": .array(measured.tokens.map(JSONValue.number)),
        "tokens_per_second": .number(rate), "ids": .array(measured.ids.map(JSONValue.integer)),
      ])
    } else {
      try console.line(
        "prompt and first token \(Decimals.text(measured.prompt, places: 3)) s, then "
          + "\(Decimals.text(rate, places: 2)) tokens/s")
    }
    return .success
  }

  private static func median(_ values: [Double]) -> Double {
    if values.isEmpty { return 0 }
    let sorted = values.sorted()
    return (sorted[(sorted.count - 1) / 2] + sorted[sorted.count / 2]) / 2
  }
}
