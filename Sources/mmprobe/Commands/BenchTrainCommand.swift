import Analysis
import RunKit
import TensorCore
import Foundation

/// `mmprobe bench-train`: how long a training step takes.
struct BenchTrainCommand: Command {
  static let name = "bench-train"
  static let summary = "time training steps of small models in one process"
  static let discussion = """
    For the comparisons in Benchmarks/: peer_training.py writes the file with
    weights and a batch, compare_training.py runs both sides. A step is the loss,
    its gradients and an AdamW update. With --run the steps go through the loop that
    trains everything here, with a log, so that its cost can be told.
    """
  static let isListed = false
  static let inputs = Option<String>.required(
    "inputs", "FILE", "safetensors file that peer_training.py --export wrote")
  static let repeats = Option<Int>.integer(
    "repeat", in: 1...10000, default: 10, unit: "steps", "timed steps")
  static let warmUps = Option<Int>.integer(
    "warmup", in: 0...1000, default: 2, unit: "steps", "steps before them")
  static let model = Option<TrainingBenchmark.Model>.choice(
    "model", "MODEL", default: .decoder, "what is trained")
  static let runFolder = Option<String?>.text(
    "run", "FOLDER", "new run folder; the steps go through the step driver")
  static let positionals: [Positional] = []
  static let options = [
    model.declaration, inputs.declaration, repeats.declaration, warmUps.declaration,
    runFolder.declaration,
  ]
  static let examples = [
    Example(
      purpose: "Ten steps of a decoder",
      line: "bench-train --model decoder --inputs decoder.safetensors --json")
  ]

  private let model: TrainingBenchmark.Model
  private let inputs: String
  private let runFolder: String?
  private var benchmark = TrainingBenchmark()

  init(_ arguments: Arguments) throws(UsageError) {
    model = try arguments[Self.model]
    inputs = try arguments[Self.inputs]
    runFolder = try arguments[Self.runFolder]
    benchmark.repeatCount = try arguments[Self.repeats]
    benchmark.warmUpCount = try arguments[Self.warmUps]
  }

  func run(_ session: Session) throws -> ExitStatus {
    let file = try SafetensorsFile(path: inputs)
    let measurement =
      if let runFolder {
        try benchmark.run(
          model, file,
          through: RunFolder(
            at: URL(fileURLWithPath: runFolder, isDirectory: true), mode: .fresh,
            configuration: JSONObject([("command", .string(Self.name))]),
            facts: .init(
              version: Version.number, arguments: ["mmprobe"] + session.commandLine,
              threads: Workers.threadCount)))
      } else {
        try benchmark.run(model, file)
      }
    if session.console.wantsJSON {
      try session.console.document([
        "model": .string(model.rawValue), "threads": .integer(Workers.threadCount),
        "warmup": .integer(benchmark.warmUpCount),
        "seconds": .array(measurement.seconds.map(JSONValue.number)),
        "losses": .array(measurement.losses.map { JSONValue($0) }),
        "driver_share": JSONValue(measurement.driverShare),
      ])
    } else {
      for (step, loss) in measurement.losses.enumerated() {
        // The last step of a run through the driver is not timed: the state is saved after it.
        let timed = step - benchmark.warmUpCount
        let seconds =
          measurement.seconds.indices.contains(timed)
          ? "  \(Decimals.text(measurement.seconds[timed], places: 4)) s" : ""
        try session.console.line("step \(step)  loss \(Decimals.text(loss, places: 5))\(seconds)")
      }
      if let share = measurement.driverShare {
        try session.console.line("the step driver adds \(Decimals.text(100 * share, places: 3)) %")
      }
    }
    return .success
  }
}
