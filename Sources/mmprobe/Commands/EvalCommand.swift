import Analysis
import Foundation
import RunKit
import TensorCore
import TokenModel

/// `mmprobe eval`: how often is the greedy answer right?
struct EvalCommand: Command {
  static let name = "eval"
  static let summary = "exact match of greedy answers over a data set, with intervals"
  static let discussion = """
    Every question is answered greedily; an answer is right if it equals the
    expected one, spaces around it aside. Prints accuracy overall, by tag (such as
    the type of the question) and by the modalities a question needs: known for
    AVDigits-QA, read with --needs for other data, such as {"sum": ["image",
    "audio"], "text_sum": []}, which may be the member "needs" of a larger object.

    Conditions change the input, and the same questions are answered again:
    missing-image    the rows of images become those of their mean input
    deleted-image    images and their placeholders are taken out of the prompt
    noisy-image=0.5  noise of so many standard deviations of the image's own values
    adapter-text     an adapter acts on the prompt's text rows only (adapter-none:
                     on none); answers are adapted as always
    Modalities are image, audio and video, for adapters text too, and several with a
    plus sign between. Each condition is compared with the first one, sample by
    sample: mean difference with its interval, and McNemar's exact test.

    With -o the run folder holds config.json, samples.jsonl with every answer,
    result.json and report.html. A first interrupt finishes the batch and saves;
    --resume goes on.
    'mmprobe compare' compares two such runs. A record that cannot be used is an
    error.
    """
  static let keys = Option<[String]>.list(
    "by", "TAGS", absence: "every tag", "tags to group by; crossed with a plus sign, as in type+hint")
  static let conditions = Option<[EvaluationCondition]>.custom(
    "conditions", "LIST", default: [.full], notes: "default full",
    "how the input is changed, with commas between", read: readConditions)
  static let needs = Option<String?>.text(
    "needs", "FILE", notes: "default: those of AVDigits-QA",
    "JSON: modalities that each type of question needs")
  static let interval = Option<EvaluationDefinition.Interval.Method?>.choice(
    "ci", "METHOD", absence: "wilson; bootstrap with --cluster-key", "how intervals of accuracies are made")
  static let confidence = Option<Double>.number(
    "confidence", in: .between(0, 1), default: 0.95, "nominal coverage of intervals")
  static let limit = Option<Int>.integer(
    "max-new-tokens", in: 1...65536, default: 64, unit: "tokens", "longest answer")
  static let batch = Option<Int>.integer(
    "batch", in: 1...4096, default: 16, unit: "samples",
    "samples that are answered together; changes no answer")
  static let output = Option<String?>.text("output", short: "o", "RUN", "run folder to make")
  static let positionals = [Positional.model]
  static let options =
    DataOptions.declarations + AdapterOptions.declarations + [
      keys.declaration, conditions.declaration, needs.declaration, interval.declaration,
      IntervalOptions.clusterKey.declaration, confidence.declaration, IntervalOptions.replicates.declaration,
      limit.declaration, batch.declaration, output.declaration, RunOptions.resume.declaration,
      RunOptions.overwrite.declaration, RunOptions.maxMemory.declaration,
    ]
  static let examples = [
    Example(
      purpose: "The model that comes with mmprobe on its test questions",
      line: "eval checkpoints/avdigits \\\n    --data checkpoints/avdigits/data/test.qa.jsonl"),
    Example(
      purpose: "Without the image, and with noisy sound, into a folder",
      line:
        "eval checkpoints/avdigits \\\n    --data checkpoints/avdigits/data/test.qa.jsonl --by needs \\\n    --conditions full,missing-image,noisy-audio=1 -o runs/eval"
    ),
    Example(
      purpose: "By type of question and hint, for a program",
      line: "eval model --data test.jsonl --by type,type+hint --json"),
  ]

  private let model: String
  private let adapter: AdapterOptions
  private let data: DataOptions
  private var definition: EvaluationDefinition
  private let needs: String?
  private let batchSize: Int
  private let output: String?
  private let resumes: Bool
  private let overwrites: Bool
  private let maxMemory: Int?
  private let conflict: UsageError?

  init(_ arguments: Arguments) throws(UsageError) {
    model = try arguments[Positional.model]
    adapter = try AdapterOptions(arguments)
    data = try DataOptions(arguments)
    needs = try arguments[Self.needs]
    definition = EvaluationDefinition(
      answerLimit: try arguments[Self.limit], conditions: try arguments[Self.conditions],
      keys: try arguments[Self.keys])
    definition.interval.clusterKey = try arguments[IntervalOptions.clusterKey]?.rawValue
    definition.interval.level = try arguments[Self.confidence]
    definition.interval.replicates = try arguments[IntervalOptions.replicates]
    let method = try arguments[Self.interval]
    definition.interval.method =
      method ?? (definition.interval.clusterKey == nil ? .wilson : .bootstrap)
    batchSize = try arguments[Self.batch]
    output = try arguments[Self.output]
    resumes = try arguments[RunOptions.resume]
    overwrites = try arguments[RunOptions.overwrite]
    maxMemory = try arguments[RunOptions.maxMemory]
    if resumes && overwrites {
      conflict = .conflict(
        reason: "--resume and --overwrite exclude each other", remedy: "leave one of them out")
    } else if output == nil && (resumes || overwrites) {
      conflict = .conflict(reason: "--resume and --overwrite are for -o", remedy: "give -o RUN")
    } else if method == .wilson && definition.interval.clusterKey != nil {
      conflict = .conflict(
        reason: "--ci wilson takes samples as independent, --cluster-key says they are not",
        remedy: "leave one of them out")
    } else {
      conflict = nil
    }
  }

  func validate() throws(UsageError) {
    try data.requireData(Self.name)
    if let conflict { throw conflict }
  }

  private static func readConditions(_ text: String) throws(ValueProblem) -> [EvaluationCondition] {
    var conditions: [EvaluationCondition] = []
    for word in text.split(separator: ",", omittingEmptySubsequences: false) {
      guard let condition = EvaluationCondition(String(word)), !conditions.contains(condition) else {
        throw ValueProblem(
          expected: "each once, with commas between: \(EvaluationCondition.grammar)")
      }
      conditions.append(condition)
    }
    return conditions
  }

  func run(_ session: Session) throws -> ExitStatus {
    let checkpoint = try adapter.checkpoint(model)
    // Without this every sample would fail for the same reason.
    _ = try checkpoint.requiredTokenizer()
    let samples = try data.open()
    let context = try context(checkpoint, samples, session)
    try checkKeys(samples, context.definition)
    let run = EvaluationRun(
      Evaluator(checkpoint, context.definition), context: context, batchSize: batchSize,
      sample: { try samples.sample(at: $0, for: checkpoint) })
    if let maxMemory {
      MemoryLimit.bytes = maxMemory
      try run.plan(checkpoint)?.check()
    }
    Interrupts.install()
    if let output { return try measure(run, into: output, context, session) }
    var progress = session.console.progress(total: context.data.sampleCount, unit: "question")
    let records = try run.measure { progress?.update(done: $0) }
    progress?.finish(done: records.count)
    if records.count < context.data.sampleCount {
      session.console.note("interrupted, nothing was saved; a run with -o RUN can be resumed")
      return .interrupted
    }
    try show(EvaluationSummary(context, records), session.console)
    return .success
  }

  /// What the run is asked to do, with what the files say.
  private func context(_ checkpoint: Checkpoint, _ samples: DataSet, _ session: Session) throws
    -> EvaluationContext
  {
    var definition = definition
    (definition.seed, definition.interval.seed) = (session.globals.seed, session.globals.seed)
    if let needs {
      let bytes = try FileReader.bytes(of: URL(fileURLWithPath: needs), limit: 1 << 24)
      let json: JSONValue
      do {
        json = try JSONValue(parsing: bytes)
      } catch {
        throw AttentionRecordError.notJSON(
          place: RecordPlace(file: needs), reason: error.errorDescription ?? "not JSON")
      }
      definition.needs = try EvaluationDefinition.readNeeds(json, file: needs)
    } else if samples.format == .questions {
      definition.needs = EvaluationDefinition.avdigitsNeeds
    }
    if checkpoint.attachments.isEmpty, let condition = definition.conditions.first(where: \.isAboutAdapters) {
      throw UsageError.conflict(
        reason: "condition \(condition.name): \(Support.name(model)) has no adapter",
        remedy: "leave the condition out")
    }
    return EvaluationContext(
      tool: .init(version: Version.number, commit: BuildFacts.commit),
      model: try MeasuredRun.model(checkpoint, adapter, session.console),
      data: .init(
        name: samples.url.lastPathComponent, sha256: samples.sha256, sampleCount: data.count(of: samples),
        media: try data.mediaHashes(of: samples), mediaRoot: data.media.root?.lastPathComponent),
      definition: definition)
  }

  /// Answers into a run folder.
  private func measure(
    _ run: EvaluationRun, into path: String, _ context: EvaluationContext, _ session: Session
  ) throws -> ExitStatus {
    let console = session.console
    let folder = try RunFolder(
      at: URL(fileURLWithPath: path, isDirectory: true),
      mode: resumes ? .resume : overwrites ? .overwrite : .fresh,
      configuration: context.json.objectValue ?? JSONObject(),
      facts: .init(
        version: Version.number, arguments: ["mmprobe"] + session.commandLine, threads: Workers.threadCount))
    let total = context.data.sampleCount
    var progress: ProgressReporter?
    var answered = 0
    let outcome = try run.measure(into: folder) { done in
      if progress == nil {
        if folder.isResumed {
          console.note("resuming \(path): \(done) of \(total) done, settings match")
        }
        progress = console.progress(total: total, alreadyDone: done, unit: "question")
      }
      answered = done
      progress?.update(done: done)
    }
    progress?.finish(done: answered)
    if case .stopped(let done, let total) = outcome {
      try folder.finish(.stopped)
      console.note(
        "stopped after \(done) of \(total) samples; go on with:\n  \(Support.resumeLine(session.commandLine))"
      )
      return .stopped
    }
    let summary = EvaluationSummary(context, try EvaluationRun.read(folder.url).records)
    try folder.write(summary.json, to: EvaluationRun.resultName)
    let html = EvaluationReport(summary).html
    try folder.write(to: EvaluationReport.name) { try AtomicFile.write(html, to: $0) }
    try folder.finish(.complete)
    try show(summary, console)
    return .success
  }

  /// Refuses tags that no sample has, before anything is computed.
  private func checkKeys(_ samples: DataSet, _ definition: EvaluationDefinition) throws(UsageError) {
    if definition.keys.isEmpty { return }
    var found: Set<String> = []
    for index in 0..<data.count(of: samples) { found.formUnion(samples.tagNames(at: index)) }
    if !definition.needs.isEmpty { found.insert(EvaluationDefinition.needsTag) }
    let known = found.sorted()
    for tag in definition.keys.flatMap({ $0.split(separator: "+").map(String.init) })
    where !found.contains(tag) {
      throw .badValue(
        option: "--by", found: tag,
        expected: known.isEmpty
          ? "no tag: the samples have none"
          : "one of \(known.joined(separator: ", "))." + NameSuggestion.question(for: tag, in: known),
        command: Self.name)
    }
  }

  private func show(_ summary: EvaluationSummary, _ console: Console) throws {
    try console.wantsJSON ? console.document(summary.json) : console.write(summary.terminalText)
  }
}
