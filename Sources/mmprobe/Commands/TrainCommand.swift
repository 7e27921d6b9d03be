import Foundation
import PEFT
import RunKit
import TensorCore

/// `mmprobe train`: a small model from scratch.
struct TrainCommand: Command {
  static let name = "train"
  static let summary = "train a small audio-visual-text model from scratch on questions"
  static let discussion = """
    CONFIG is a JSON file: the folder with config.json and tokenizer of the model
    (avt_llama), the questions to train on and to validate with (AVDigits-QA lines,
    media beside them), steps, optimizer, schedule, augmentation, layouts of media.
    Paths in it are relative to it. Unknown keys are refused.

    The run folder holds best/ and last/ (checkpoint folders for every other
    command), log.jsonl, an event file for TensorBoard and state.safetensors. A
    first interrupt saves; --resume goes on, and ends in the same bytes as a run
    that was never stopped. The best weights are those with the highest exact match
    on the validation questions.
    """
  static let configuration = Positional(name: "CONFIG", count: .one, help: "a JSON file of options")
  static let output = Option<String?>.text("output", short: "o", "RUN", "run folder to make")
  static let resume = Option<Bool>.flag("resume", "go on with the run in the folder")
  static let overwrite = Option<Bool>.flag("overwrite", "replace the run in the folder")
  static let positionals = [configuration]
  static let options = [output.declaration, resume.declaration, overwrite.declaration]
  static let examples = [
    Example(
      purpose: "The model that comes with mmprobe, once more",
      line: "train checkpoints/avdigits/train.json --seed 1 -o runs/avdigits")
  ]

  private let path: String
  private let output: String?
  private let resumes: Bool
  private let overwrites: Bool

  init(_ arguments: Arguments) throws(UsageError) {
    path = try arguments[Self.configuration]
    output = try arguments[Self.output]
    resumes = try arguments[Self.resume]
    overwrites = try arguments[Self.overwrite]
  }

  func validate() throws(UsageError) {
    if output == nil { throw .missingOption(option: "-o RUN", command: Self.name) }
    if resumes && overwrites {
      throw .conflict(
        reason: "--resume and --overwrite exclude each other", remedy: "leave one of them out")
    }
  }

  func run(_ session: Session) throws -> ExitStatus {
    let console = session.console
    let configuration = try TrainingConfiguration(URL(fileURLWithPath: path))
    let task = try QuestionTask(configuration, seed: session.globals.seed)
    let parameters = try task.initialParameters()
    let optimizer = Optimizer(
      parameters, rule: configuration.rule,
      groups: ParameterGroup.decayingMatrices(configuration.weightDecay))
    Interrupts.install()
    let folder = try openFolder(configuration, task, session)
    let driver = try StepDriver(task, optimizer: optimizer, options: configuration.driver, folder: folder)
    let total = configuration.driver.schedule.total
    if folder.isResumed {
      console.note("resuming \(output ?? ""): \(driver.step) of \(total) steps done, settings match")
    } else {
      console.note(
        "\(Support.grouped(parameters.elementCount)) parameters, \(Support.grouped(task.stepsPerEpoch)) steps an epoch"
      )
    }
    var progress = console.progress(total: total, alreadyDone: driver.step, unit: "step")
    var latest: StepDriver.Progress?
    let outcome = try driver.run { state in
      latest = state
      if let metric = state.metrics.first {
        progress?.note(
          "step \(state.step): validation \(metric.tag) \(Self.percent(metric.value))"
            + (driver.best?.step == state.step ? ", the best so far" : ""))
      }
      progress?.update(done: state.step, detail: Self.detail(state))
    }
    progress?.finish(done: driver.step, detail: latest.map(Self.detail) ?? "")
    return try finish(outcome, driver, folder, session)
  }

  private func openFolder(
    _ configuration: TrainingConfiguration, _ task: QuestionTask, _ session: Session
  ) throws -> RunFolder {
    let options = JSONObject([
      ("command", "train"), ("seed", .integer(session.globals.seed)),
      ("options", .object(configuration.effective)), ("sha256", .object(task.hashes)),
    ])
    return try RunFolder(
      at: URL(fileURLWithPath: output ?? "", isDirectory: true),
      mode: resumes ? .resume : overwrites ? .overwrite : .fresh, configuration: options,
      facts: .init(
        version: Version.number, arguments: ["mmprobe"] + session.commandLine, threads: Workers.threadCount))
  }

  private func finish(
    _ outcome: StepDriver.Outcome, _ driver: StepDriver, _ folder: RunFolder, _ session: Session
  ) throws -> ExitStatus {
    let console = session.console
    let report = driver.report
    let notes = JSONObject([
      (
        "cost",
        [
          "steps": .integer(report.steps), "tokens": .integer(report.tokens),
          "step_s": .number(report.stepSeconds), "evaluation_s": .number(report.evaluationSeconds),
          "other_s": .number(report.otherSeconds), "cpu_s": .number(ProcessFacts.processorSeconds),
          "tokens_per_s": .number(Double(report.tokens) / max(report.stepSeconds, 1e-9)),
          "peak_rss_bytes": .integer(ProcessMemory.current.peakResident),
        ]
      )
    ])
    if case .stopped(let steps) = outcome {
      try folder.finish(.stopped, notes: notes)
      console.note(
        "stopped after \(steps) steps; go on with:\n  \(Support.resumeLine(session.commandLine))")
      return .stopped
    }
    try Support.writeTrainingReport(folder)
    try folder.finish(.complete, notes: notes)
    let best = driver.best
    if console.wantsJSON {
      try console.document([
        "steps": .integer(driver.step), "best_step": best.map { .integer($0.step) } ?? .null,
        "best_exact_match": JSONValue(best?.value),
      ])
    } else {
      try console.write(
        best.map { "best on validation: step \($0.step), exact match \(Self.percent($0.value))\n" }
          ?? "no evaluation\n")
    }
    console.note("models: \(output ?? "")/best and \(output ?? "")/last")
    return .success
  }

  private static func detail(_ state: StepDriver.Progress) -> String {
    "loss \(Decimals.text(state.loss, places: 4))  \(Support.grouped(Int(state.tokensPerSecond))) tokens/s"
  }

  private static func percent(_ share: Double) -> String { Decimals.text(100 * share, places: 1) + " %" }
}
