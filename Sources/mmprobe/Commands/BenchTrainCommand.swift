import Analysis
import Foundation
import PEFT
import RunKit
import TensorCore
import TokenModel

/// `mmprobe bench-train`: how long a training step takes.
struct BenchTrainCommand: Command {
  static let name = "bench-train"
  static let summary = "time training steps in one process"
  static let discussion = """
    For the comparisons in Benchmarks/: peer_training.py writes the file with
    weights and a batch, compare_training.py runs both sides. A step is the loss,
    its gradients and an AdamW update. With --checkpoint the tensors of LoRA around
    the linear layers of a decoder are trained, on the next ids of raw inputs;
    compare_lora.py runs that beside PEFT. With --run the steps go through the loop
    that trains everything here, with a log, so that its cost can be told. With
    --interactive a step is done for every line of standard input and answered with
    one line of JSON, so that steps of two programs can alternate.
    """
  static let isListed = false
  static let inputs = Option<String>.required(
    "inputs", "FILE", "safetensors file that peer_training.py --export wrote, or input_ids and media")
  static let repeats = Option<Int>.integer(
    "repeat", in: 1...10000, default: 10, unit: "steps", "timed steps")
  static let warmUps = Option<Int>.integer(
    "warmup", in: 0...1000, default: 2, unit: "steps", "steps before them")
  static let model = Option<TrainingBenchmark.Model>.choice(
    "model", "MODEL", default: .decoder, "what is trained")
  static let checkpoint = Option<String?>.text(
    "checkpoint", "FOLDER", "model around whose layers LoRA is trained, in place of --model")
  static let adapter = Option<String?>.text(
    "adapter", "FOLDER", notes: "default a fresh LoRA", "LoRA or MokA to begin with")
  static let rank = Option<Int>.integer(
    "rank", in: 1...65536, default: 8, unit: "rows", "rank of a fresh LoRA")
  static let checkpointing = Option<Bool>.flag(
    "activation-checkpointing", "run every layer twice to need less memory")
  static let gradients = Option<String?>.text(
    "gradients", "FILE", "safetensors file for the first gradients of the adapter")
  static let interactive = Option<Bool>.flag(
    "interactive", "do a step for every line of standard input")
  static let runFolder = Option<String?>.text(
    "run", "FOLDER", "new run folder; the steps go through the step driver")
  static let positionals: [Positional] = []
  static let options = [
    model.declaration, checkpoint.declaration, adapter.declaration, rank.declaration,
    checkpointing.declaration, inputs.declaration, repeats.declaration, warmUps.declaration,
    gradients.declaration, interactive.declaration, runFolder.declaration,
  ]
  static let examples = [
    Example(
      purpose: "Ten steps of a decoder",
      line: "bench-train --model decoder --inputs decoder.safetensors --json")
  ]

  private let model: TrainingBenchmark.Model
  private let checkpoint: String?
  private let adapter: String?
  private let rank: Int
  private let checkpointsLayers: Bool
  private let inputs: String
  private let gradients: String?
  private let isInteractive: Bool
  private let runFolder: String?
  private var benchmark = TrainingBenchmark()

  init(_ arguments: Arguments) throws(UsageError) {
    model = try arguments[Self.model]
    checkpoint = try arguments[Self.checkpoint]
    adapter = try arguments[Self.adapter]
    rank = try arguments[Self.rank]
    checkpointsLayers = try arguments[Self.checkpointing]
    inputs = try arguments[Self.inputs]
    gradients = try arguments[Self.gradients]
    isInteractive = try arguments[Self.interactive]
    runFolder = try arguments[Self.runFolder]
    benchmark.repeatCount = try arguments[Self.repeats]
    benchmark.warmUpCount = try arguments[Self.warmUps]
    if checkpoint != nil && arguments.isGiven(Self.model) {
      throw .conflict(reason: "--model and --checkpoint exclude each other", remedy: "leave one of them out")
    }
    let needsCheckpoint =
      adapter != nil || checkpointsLayers || gradients != nil || isInteractive || arguments.isGiven(Self.rank)
    if checkpoint == nil && needsCheckpoint {
      throw .conflict(
        reason: "--adapter, --rank, --activation-checkpointing, --gradients and --interactive are for LoRA",
        remedy: "give --checkpoint, or leave them out")
    }
    if isInteractive && runFolder != nil {
      throw .conflict(reason: "--run asks for no steps one by one", remedy: "leave --interactive out")
    }
    if isInteractive { benchmark.repeatCount = Int.max / 2 }
  }

  func run(_ session: Session) throws -> ExitStatus {
    let file = try SafetensorsFile(path: inputs)
    let folder = try runFolder.map { path in
      try RunFolder(
        at: URL(fileURLWithPath: path, isDirectory: true), mode: .fresh,
        configuration: JSONObject([("command", .string(Self.name))]),
        facts: .init(
          version: Version.number, arguments: ["mmprobe"] + session.commandLine,
          threads: Workers.threadCount))
    }
    let sampler = MemorySampler()
    let measurement: TrainingBenchmark.Measurement
    if let checkpoint {
      measurement = try adapt(Support.checkpoint(checkpoint), file, folder, session.console)
    } else {
      measurement = try benchmark.run(model, file, through: folder)
    }
    try report(measurement, sampler.stop(), session.console)
    return .success
  }

  /// Trains an adapter of a model.
  private func adapt(
    _ checkpoint: Checkpoint, _ file: SafetensorsFile, _ folder: RunFolder?, _ console: Console
  ) throws -> TrainingBenchmark.Measurement {
    let plan: AdapterPlan
    let tensors: [String: Tensor]
    if let adapter {
      let stored = try StoredAdapter(
        folder: URL(fileURLWithPath: adapter, isDirectory: true), for: checkpoint)
      (plan, tensors) = (stored.plan, stored.tensors)
    } else {
      let inventory = try ModelInventory(checkpoint)
      plan = try AdapterPlan(
        AdapterConfiguration(
          rank: rank, alpha: 2 * Double(rank),
          selection: ModuleSelection(.pattern(inventory.decoderPattern()))), inventory,
        path: checkpoint.folder.path)
      tensors = Dictionary(
        uniqueKeysWithValues: try plan.initialTensors(checkpoint, seed: 0).map { ($0.name, $0.value) })
    }
    var objective = AdapterObjective(
      checkpoint, plan: plan, inputs: try TraceInputs(file.tensors, path: inputs, model: checkpoint.model))
    objective.checkpointsLayers = checkpointsLayers
    if let gradients {
      let tape = Tape()
      let leaves = plan.slots.compactMap { slot in tensors[slot.name].map { (slot, tape.leaf($0)) } }
      let loss = try objective.loss(Dictionary(uniqueKeysWithValues: leaves.map { ($0.0.name, $0.1) }))
      let found = tape.gradients(of: loss, for: leaves.map(\.1), retaining: false)
      let named = zip(leaves, found).map { ($0.0.name, $1 ?? Tensor(zeros: $0.0.shape)) }
      try SafetensorsWriter.write(
        tensors: plan.stored(Dictionary(uniqueKeysWithValues: named)), to: gradients)
    }
    let parameters = ParameterSet(
      plan.slots.compactMap { slot in tensors[slot.name].map { (name: slot.name, value: $0) } })
    let final = objective
    return try benchmark.run(
      parameters, through: folder, isWanted: { !isInteractive || readLine() != nil },
      report: { seconds, loss in
        guard isInteractive else { return }
        let line = JSONObject([("seconds", .number(seconds)), ("loss", .number(loss))])
        try console.line(JSONValue.object(line).text())
        try console.flush()
      }, loss: { try final.loss($0) })
  }

  private func report(
    _ measurement: TrainingBenchmark.Measurement, _ peaks: MemorySampler.Peaks, _ console: Console
  ) throws {
    if console.wantsJSON {
      try console.document([
        "model": .string(checkpoint.map(Support.name) ?? model.rawValue),
        "threads": .integer(Workers.threadCount),
        "warmup": .integer(benchmark.warmUpCount),
        "seconds": .array(measurement.seconds.map(JSONValue.number)),
        "losses": .array(measurement.losses.map { JSONValue($0) }),
        "driver_share": JSONValue(measurement.driverShare),
        "process_peak_anonymous_bytes": .integer(peaks.anonymous),
        "process_peak_resident_bytes": .integer(peaks.resident),
      ])
      return
    }
    for (step, loss) in measurement.losses.enumerated() {
      // The last step of a run through the driver is not timed: the state is saved after it.
      let timed = step - benchmark.warmUpCount
      let seconds =
        measurement.seconds.indices.contains(timed)
        ? "  \(Decimals.text(measurement.seconds[timed], places: 4)) s" : ""
      try console.line("step \(step)  loss \(Decimals.text(loss, places: 5))\(seconds)")
    }
    try console.line(
      "process: at most \(ByteCount.text(peaks.anonymous)) of its own, "
        + "\(ByteCount.text(peaks.resident)) with mapped files")
    if let share = measurement.driverShare {
      try console.line("the step driver adds \(Decimals.text(100 * share, places: 3)) %")
    }
  }
}
