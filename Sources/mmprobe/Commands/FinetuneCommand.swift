import Foundation
import PEFT
import RunKit
import TensorCore
import TokenModel

/// `mmprobe finetune`: LoRA, MokA, or whole parts of a model on conversations.
struct FinetuneCommand: Command {
  static let name = "finetune"
  static let summary = "train LoRA, MokA or parts of a model on data with media"
  static let discussion = """
    METHOD is lora, moka or full. Before the first step it says what is trained,
    what the data hold, whether the media reach the answers (how the loss changes
    when they are blanked), and what a step costs; --dry-run stops there.

    Loss counts on answers alone. The run folder holds best/ and last/ (adapter
    folders as PEFT writes them; model folders for full), log.jsonl, an event file
    for TensorBoard and state.safetensors. Logged beside the loss: attention on each
    modality and its cosine with the query (share, air), the gradient of the rows of
    each modality, for LoRA the gradient of A split by modality, and the norms that
    Chameleon watches. The first interrupt saves; --resume ends in the same bytes.

    Data: AVDigits-QA lines, LLaVA conversations, messages, or text with media paths
    and an answer. Documentation/Adapters has a page for each method.
    """
  static let method = Positional(name: "METHOD", count: .one, help: "lora, moka or full")
  static let validation = Option<String?>.text(
    "validation", "FILE", notes: "default none: no best/ and no early stop",
    "records that choose the best weights")
  static let validationMedia = Option<String?>.text(
    "validation-media", "FILE", notes: "default as --media", "media rows of the validation records")
  static let metric = Option<FinetuneOptions.Metric>.choice(
    "metric", "NAME", default: .loss, "figure on the validation records that counts")
  static let answerLimit = Option<Int>.integer(
    "max-new-tokens", in: 1...65536, default: 32, unit: "tokens", "longest answer for exact-match")
  static let lengthLimit = Option<Int?>.integer(
    "max-length", in: 2...Prompt.positionLimit, absence: "none",
    "longest record in tokens; a longer one is refused")
  static let survey = Option<Int>.integer(
    "survey", in: 0...Int.max, default: 1000, unit: "records", "records that are read before the first step")
  static let logInterval = Option<Int>.integer(
    "log-interval", in: 1...1_000_000, default: 10, unit: "steps", "steps between lines of the log")
  static let evaluationInterval = Option<Int>.integer(
    "eval-interval", in: 1...100_000_000, default: 200, unit: "steps", "steps between evaluations")
  static let saveInterval = Option<Int>.integer(
    "save-interval", in: 1...100_000_000, default: 200, unit: "steps", "steps between saved states")
  static let patience = Option<Int?>.integer(
    "patience", in: 1...1_000_000, absence: "none", "evaluations without a better one that end the training")
  static let output = Option<String?>.text("output", short: "o", "RUN", "run folder to make")
  static let resume = Option<Bool>.flag("resume", "go on with the run in the folder")
  static let overwrite = Option<Bool>.flag("overwrite", "replace the run in the folder")
  static let dryRun = Option<Bool>.flag("dry-run", "stop before the first step; writes nothing")
  static let positionals = [method, Positional.model]
  static let maxMemory = Option<Int?>.custom(
    "max-memory", "SIZE", default: nil, notes: "such as 6GB or 800MB",
    "refuse a training that needs more, mapped weights included", read: RunOptions.readSize)
  static let options =
    DataOptions.declarations + [validation.declaration, validationMedia.declaration]
    + FinetuneArguments.declarations + RebalanceOptions.declarations + [
      metric.declaration, answerLimit.declaration, lengthLimit.declaration, survey.declaration,
      logInterval.declaration, evaluationInterval.declaration, saveInterval.declaration,
      patience.declaration, output.declaration, resume.declaration, overwrite.declaration,
      dryRun.declaration, maxMemory.declaration,
    ]
  static let examples = [
    Example(
      purpose: "LoRA on the linear layers of the decoder",
      line:
        "finetune lora model --data train.json --validation val.json \\\n    --rank 8 --epochs 3 -o runs/lora"
    ),
    Example(
      purpose: "MokA and the projector, and what would be trained",
      line: "finetune moka model --data train.json --train projector --dry-run"),
    Example(
      purpose: "The whole model but its image tower, slower in the projector",
      line:
        "finetune full model --data train.json --freeze vision --lr 1e-5 \\\n    --lr-projector 1e-6 -o runs/full"
    ),
  ]

  private let word: String
  private let model: String
  private let data: DataOptions
  private let validation: String?
  private let validationMedia: String?
  private let what: FinetuneArguments
  private let rebalance: RebalanceOptions
  private let metric: FinetuneOptions.Metric
  private let answerLimit: Int
  private let lengthLimit: Int?
  private let surveyLimit: Int
  private let intervals: (log: Int, evaluation: Int, save: Int)
  private let patience: Int?
  private let isGiven: (answerLimit: Bool, evaluationInterval: Bool)
  private let output: String?
  private let resumes: Bool
  private let overwrites: Bool
  private let isDryRun: Bool
  private let maxMemory: Int?

  init(_ arguments: Arguments) throws(UsageError) {
    word = try arguments[Self.method]
    model = try arguments[Positional.model]
    data = try DataOptions(arguments)
    validation = try arguments[Self.validation]
    validationMedia = try arguments[Self.validationMedia]
    what = try FinetuneArguments(arguments)
    rebalance = try RebalanceOptions(arguments)
    metric = try arguments[Self.metric]
    answerLimit = try arguments[Self.answerLimit]
    lengthLimit = try arguments[Self.lengthLimit]
    surveyLimit = try arguments[Self.survey]
    intervals = (
      try arguments[Self.logInterval], try arguments[Self.evaluationInterval],
      try arguments[Self.saveInterval]
    )
    patience = try arguments[Self.patience]
    output = try arguments[Self.output]
    (resumes, overwrites) = (try arguments[Self.resume], try arguments[Self.overwrite])
    isDryRun = try arguments[Self.dryRun]
    maxMemory = try arguments[Self.maxMemory]
    isGiven = (
      arguments.isGiven(Self.answerLimit), arguments.isGiven(Self.evaluationInterval)
    )
  }

  func validate() throws(UsageError) {
    let words = FinetuneArguments.Method.allCases.map(\.rawValue)
    guard let method = FinetuneArguments.Method(rawValue: word) else {
      throw .badValue(
        option: "METHOD", found: word,
        expected: "one of \(words.joined(separator: ", "))." + NameSuggestion.question(for: word, in: words),
        command: Self.name)
    }
    try what.validate(method)
    try rebalance.validate()
    try data.requireData(Self.name)
    if data.path == "-" {
      throw .conflict(reason: "--data - is read once, training reads records again", remedy: "give a file")
    }
    if output == nil && !isDryRun { throw .missingOption(option: "-o RUN", command: Self.name) }
    if resumes && overwrites {
      throw .conflict(
        reason: "--resume and --overwrite exclude each other", remedy: "leave one of them out")
    }
    if validation == nil && validationMedia != nil {
      throw .conflict(
        reason: "--validation-media is for validation records", remedy: "give --validation FILE")
    }
    if validation == nil && (metric != .loss || patience != nil || isGiven.evaluationInterval) {
      throw .conflict(
        reason: "--metric, --patience and --eval-interval are for validation records",
        remedy: "give --validation FILE")
    }
    if isGiven.answerLimit && metric == .loss {
      throw .conflict(
        reason: "--max-new-tokens is for answers, which only --metric exact-match has generated",
        remedy: "leave it out, or give --metric exact-match")
    }
  }

  func run(_ session: Session) throws -> ExitStatus {
    let console = session.console
    let checkpoint = try Support.checkpoint(model)
    _ = try checkpoint.requiredTokenizer()
    let records = try data.open()
    let inventory = try ModelInventory(checkpoint)
    let method = try what.method(
      FinetuneArguments.Method(rawValue: word) ?? .lora, inventory, model: model,
      media: checkpoint.model.modalities)
    var options = what.options(method, records: data.count(of: records), seed: session.globals.seed)
    (options.metric, options.answerLimit) = (metric, answerLimit)
    (options.driver.logInterval, options.driver.evaluationInterval) = (intervals.log, intervals.evaluation)
    (options.driver.saveInterval, options.driver.patience) = (intervals.save, patience)
    let training = FinetuneData(
      records, count: data.count(of: records), for: checkpoint, options: options, lengthLimit: lengthLimit)
    options.rebalancing = rebalance.rebalancing(
      media: checkpoint.model.modalities, seed: session.globals.seed)
    var validationOptions = data.media
    if let validationMedia { validationOptions.table = URL(fileURLWithPath: validationMedia) }
    let other = try validation.map { path in
      let records = try DataSet(URL(fileURLWithPath: path), format: data.format, media: validationOptions)
      return FinetuneData(
        records, count: records.count, for: checkpoint, options: options, lengthLimit: lengthLimit)
    }
    let task = try FinetuneTask(checkpoint, options: options, training: training, validation: other)
    MemoryLimit.bytes = maxMemory
    try checkMemory(task)
    let parameters = try task.initialParameters()
    let survey = try survey(training, console)
    if survey.count == training.count && survey.withMedia == 0 && word == "moka" {
      throw FinetuneError.noMedia(path: training.data.url.path, method: "moka")
    }
    if let rebalancing = options.rebalancing, survey.count == training.count,
      survey.count(withAll: rebalancing.modalities) == 0
    {
      throw FinetuneError.neverTogether(
        path: training.data.url.path, modalities: rebalancing.modalities.map(\.rawValue))
    }
    Support.warnOfLength(survey.longest, checkpoint, console)
    // A resumed run has been described before.
    let folder = try isDryRun ? nil : openFolder(checkpoint, training, other, options, session)
    if folder?.isResumed != true {
      let report = FinetuneReport(
        task: task, rebalancing: options.rebalancing, survey: survey, records: training.count,
        use: try task.mediaUse(limit: 8),
        trial: try task.trial(parameters), steps: options.driver.schedule.total)
      try show(report, console)
      try MemoryLimit.check(needed: report.peakBytes, for: "this training")
    }
    guard let folder else { return .success }
    // Before the first step there is nothing to save.
    Interrupts.install()
    let optimizer = Optimizer(parameters, rule: options.rule, groups: task.groups())
    let run = TrainingRun(
      driver: try StepDriver(task, optimizer: optimizer, options: options.driver, folder: folder),
      folder: folder, total: options.driver.schedule.total, output: output ?? "",
      text: { Decimals.text($0, places: 4) })
    if folder.isResumed { run.noteResumption(console) }
    guard case .complete(let latest) = try run.run(session) else { return .stopped }
    try finish(run.driver, latest, console)
    return .success
  }

  /// Reads records; what takes longer than two seconds shows how far it is.
  private func survey(_ training: FinetuneData, _ console: Console) throws -> FinetuneData.Survey {
    let (start, total) = (ProcessFacts.monotonicSeconds, min(surveyLimit, training.count))
    var progress: ProgressReporter?
    let survey = try training.survey(surveyLimit) { done in
      if progress == nil, ProcessFacts.monotonicSeconds - start > 2 {
        progress = console.progress(total: total, alreadyDone: done, unit: "record")
      }
      progress?.update(done: done, detail: "")
    }
    progress?.finish(done: survey.count, detail: "")
    return survey
  }

  /// Refuses what cannot fit: the trained numbers, their gradients and the two moments of AdamW in 32 bits, activations
  /// aside.
  private func checkMemory(_ task: FinetuneTask) throws(MemoryLimitError) {
    let needed = task.parts.reduce(0) { $0 + 16 * $1.trained }
    let what = "training \(Support.grouped(task.parts.reduce(0) { $0 + $1.trained })) numbers"
    try MemoryLimit.check(needed: needed, for: what)
    if let available = MachineFacts.availableMemory, needed > available {
      throw .unavailable(what: what, needed: needed, available: available)
    }
  }

  private func show(_ report: FinetuneReport, _ console: Console) throws {
    if !isDryRun {
      for line in report.lines { console.note(line) }
    } else if console.wantsJSON {
      try console.document(report.json)
    } else {
      for line in report.lines { try console.line(line) }
    }
    for warning in report.warnings { console.warn(warning) }
  }

  private func openFolder(
    _ checkpoint: Checkpoint, _ training: FinetuneData, _ other: FinetuneData?, _ options: FinetuneOptions,
    _ session: Session
  ) throws -> RunFolder {
    var hashes = try checkpoint.fileHashes().map { ("model/" + $0.name, JSONValue.string($0.sha256)) }
    hashes.append(("train", .string(training.data.sha256)))
    if let other { hashes.append(("validation", .string(other.data.sha256))) }
    for (name, data) in [("train", training.data)] + (other.map { [("validation", $0.data)] } ?? []) {
      for file in try self.data.mediaHashes(of: data) {
        hashes.append(("\(name)/\(file.name)", .string(file.sha256)))
      }
    }
    var settings = settings
    settings["rebalance"] = options.rebalancing?.json ?? .null
    let configuration = JSONObject([
      ("command", "finetune"), ("method", .string(word)), ("model", .string(Support.name(model))),
      ("data", .string(training.data.url.lastPathComponent)), ("count", .integer(training.count)),
      ("media", data.mediaSettings),
      (
        "validation",
        other.map {
          [
            "data": .string($0.data.url.lastPathComponent),
            "media": validationMedia.map { .string(Support.name($0)) } ?? .null,
          ]
        } ?? .null
      ),
      ("seed", .integer(session.globals.seed)), ("options", .object(settings)),
      ("sha256", .object(JSONObject(hashes))),
    ])
    return try RunFolder(
      at: URL(fileURLWithPath: output ?? "", isDirectory: true),
      mode: resumes ? .resume : overwrites ? .overwrite : .fresh, configuration: configuration,
      facts: .init(
        version: Version.number, arguments: ["mmprobe"] + session.commandLine, threads: Workers.threadCount))
  }

  /// Every option that changes the numbers.
  private var settings: JSONObject {
    var settings = what.settings
    settings["metric"] = .string(metric.rawValue)
    settings["max_new_tokens"] = .integer(answerLimit)
    settings["max_length"] = lengthLimit.map(JSONValue.integer) ?? .null
    settings["log_interval"] = .integer(intervals.log)
    settings["eval_interval"] = .integer(intervals.evaluation)
    settings["save_interval"] = .integer(intervals.save)
    settings["patience"] = patience.map(JSONValue.integer) ?? .null
    return settings
  }

  private func finish(_ driver: StepDriver, _ latest: StepDriver.Progress?, _ console: Console) throws {
    let best = driver.best
    if console.wantsJSON {
      try console.document([
        "steps": .integer(driver.step), "last_loss": JSONValue(latest?.loss),
        "best_step": best.map { .integer($0.step) } ?? .null,
        "best_\(metric == .loss ? "loss" : "exact_match")": JSONValue(best?.value),
      ])
    } else if let best {
      try console.line(
        "best on validation: step \(best.step), \(metric.rawValue) \(Decimals.text(best.value, places: 4))")
    } else {
      try console.line("\(Support.counted(driver.step, "step")) done")
    }
    let kind = word == "full" ? "models" : "adapters"
    console.note("\(kind): " + (best == nil ? "" : "\(output ?? "")/best and ") + "\(output ?? "")/last")
  }
}
