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
    let training = TrainingRun(
      driver: driver, folder: folder, total: configuration.driver.schedule.total, output: output ?? "",
      text: Self.percent)
    if folder.isResumed {
      training.noteResumption(console)
    } else {
      console.note(
        "\(Support.grouped(parameters.elementCount)) parameters, \(Support.grouped(task.stepsPerEpoch)) steps an epoch"
      )
    }
    guard case .complete = try training.run(session) else { return .stopped }
    try show(driver, console)
    return .success
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

  private func show(_ driver: StepDriver, _ console: Console) throws {
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
  }

  private static func percent(_ share: Double) -> String { Decimals.text(100 * share, places: 1) + " %" }
}
