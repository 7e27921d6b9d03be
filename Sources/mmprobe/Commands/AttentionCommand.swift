import Analysis
import Foundation
import RunKit
import TensorCore
import TokenModel

/// `mmprobe attention`: where does the model look?
struct AttentionCommand: Command {
  /// How results are printed.
  enum Format: String, CaseIterable, Sendable {
    case table
    case json
    case jsonl
    case csv
  }

  static let name = "attention"
  static let summary = "attention share of each modality, by layer, head and query"
  static let discussion = """
    Measures, for every layer and head, how much of the attention of the chosen rows
    falls on each group of keys (bos, image, audio, question, ...), beside the share
    of tokens, uniform attention under the same mask, attention per token, entropy,
    and for each medium MDI and the split of the log ratio of shares into count and
    content. Means over samples with intervals. Memory grows with the length of the
    prompt, not with its square.

    Data may be AVDigits-QA lines {"q": "...", "y": "...", "i": 3, "u": 7}, LLaVA
    conversations [{"id": "...", "image": "a.pgm", "conversations": [{"from":
    "human", "value": "<image>..."}, {"from": "gpt", "value": "..."}]}], or lines
    {"text": "...", "image": "a.pgm", "audio": "b.wav", "answer": "..."}.

    With -o the run folder holds samples.jsonl, result.json, stats.npz, tables/*.csv
    and report.html. A first interrupt finishes the sample and saves; --resume goes
    on. --from measures attention that another program computed: attention.N
    [batch, heads, tokens, tokens] and roles [batch, tokens], numbered from 0 in the
    order bos, system, image, audio, video, separator, instruction, question,
    response, -1 for padding, and optionally queries [batch, tokens] of 0 and 1.
    """
  static let model = Positional(name: "MODEL", count: .optional, help: Positional.model.help)
  static let from = Option<String?>.text(
    "from", "FILE", "measure the attention in this safetensors file, without MODEL")
  static let chunk = Option<Int>.integer(
    "chunk", in: 1...65536, default: 128, unit: "rows",
    "query rows that are computed together; less needs less memory")
  static let limit = Option<Int>.integer(
    "max-new-tokens", in: 1...65536, default: 64, unit: "tokens", "longest answer with --queries generated")
  static let highlights = Option<Int>.integer(
    "highlights", in: 0...12, default: 6, unit: "samples",
    "first samples that the report draws with their media")
  static let output = Option<String?>.text("output", short: "o", "RUN", "run folder to make")
  static let resume = Option<Bool>.flag("resume", "go on with the run in the folder")
  static let overwrite = Option<Bool>.flag("overwrite", "replace the run in the folder")
  static let shard = Option<AttentionContext.Shard?>.custom(
    "shard", "I/N", default: nil, notes: "I from 1 to N", "measure one part of N; 'mmprobe merge' joins them",
    read: readShard)
  static let dryRun = Option<Bool>.flag(
    "dry-run", "print the plan with estimates of memory and time, measure a few samples")
  static let format = Option<Format?>.choice("format", "FORM", absence: "table", "how results are printed")
  static let positionals = [model]
  static let options =
    DataOptions.declarations + SampleOptions.declarations + [from.declaration] + AttentionOptions.declarations
    + [
      chunk.declaration, limit.declaration, highlights.declaration, output.declaration, resume.declaration,
      overwrite.declaration, shard.declaration, dryRun.declaration, format.declaration,
    ]
  static let examples = [
    Example(
      purpose: "200 questions, with a report",
      line:
        "attention checkpoints/avdigits \\\n    --data checkpoints/avdigits/data/test.qa.jsonl -n 200 -o runs/first"
    ),
    Example(
      purpose: "One question about your own image and sound",
      line:
        "attention checkpoints/avdigits --image five.pgm --audio two.wav \\\n    --text \"what is the sum ?\""
    ),
    Example(
      purpose: "The second of three parts, to be joined with 'mmprobe merge'",
      line: "attention model --data vqa.jsonl --shard 2/3 -o runs/part2"),
  ]

  private let model: String?
  private let from: String?
  private let data: DataOptions
  private let sample: SampleOptions
  private let what: AttentionOptions
  private var probeOptions = AttentionProbe.Options()
  private let highlightCount: Int
  private let output: String?
  private let mode: RunFolder.Mode
  private let shard: AttentionContext.Shard?
  private let isDryRun: Bool
  private let format: Format?
  private let conflict: UsageError?

  init(_ arguments: Arguments) throws(UsageError) {
    from = try arguments[Self.from]
    model = from == nil ? try arguments[Self.model] : arguments.optional(Self.model)
    data = try DataOptions(arguments)
    sample = try SampleOptions(arguments)
    what = try AttentionOptions(arguments)
    probeOptions.queryBlock = try arguments[Self.chunk]
    probeOptions.answerLimit = try arguments[Self.limit]
    highlightCount = try arguments[Self.highlights]
    output = try arguments[Self.output]
    let (resumes, overwrites) = (try arguments[Self.resume], try arguments[Self.overwrite])
    mode = resumes ? .resume : overwrites ? .overwrite : .fresh
    shard = try arguments[Self.shard]
    isDryRun = try arguments[Self.dryRun]
    format = try arguments[Self.format]
    conflict =
      resumes && overwrites
      ? .conflict(reason: "--resume and --overwrite exclude each other", remedy: "leave one of them out")
      : nil
  }

  func validate() throws(UsageError) {
    if let conflict { throw conflict }
    let inputs = [data.path != nil, sample.isGiven, from != nil].count { $0 }
    if inputs > 1 {
      throw .conflict(
        reason: "--data, --from, and --text with media exclude each other", remedy: "give one of them")
    }
    if inputs == 0 {
      throw .missingOption(option: "--data FILE, or --text TEXT with media", command: Self.name)
    }
    if sample.isGiven { try sample.requireText(Self.name) }
    if from != nil && model != nil {
      throw .conflict(reason: "--from takes no MODEL", remedy: "leave one of them out")
    }
    if from != nil && (shard != nil || isDryRun || mode == .resume) {
      throw .conflict(
        reason: "--shard, --dry-run and --resume are for runs of a model, not for --from",
        remedy: "leave them out")
    }
    if output == nil && mode != .fresh {
      throw .conflict(reason: "--resume and --overwrite are for -o", remedy: "give -o RUN")
    }
    if shard != nil && output == nil {
      throw .conflict(reason: "--shard needs a folder to be merged from", remedy: "give -o RUN")
    }
  }

  private static func readShard(_ text: String) throws(ValueProblem) -> AttentionContext.Shard? {
    let parts = text.split(separator: "/", omittingEmptySubsequences: false).map { Int($0) }
    guard parts.count == 2, let part = parts[0], let count = parts[1], 1...(1 << 20) ~= count,
      1...count ~= part
    else {
      throw ValueProblem(expected: "a part and a number of parts, as in 2/3")
    }
    return AttentionContext.Shard(index: part - 1, count: count)
  }

  func run(_ session: Session) throws -> ExitStatus {
    if let from { return try measure(imported: from, session) }
    let checkpoint = try Support.checkpoint(model ?? "")
    let source = try Source(data, sample, checkpoint)
    let sizes = checkpoint.model.decoder.configuration
    let definition = try what.definition(
      layerCount: sizes.layerCount, headCount: sizes.headCount, hasAnswers: source.hasAnswers,
      seed: session.globals.seed)
    let context = AttentionContext(
      tool: .init(version: Version.number, commit: BuildFacts.commit), model: try Self.model(checkpoint),
      data: source.description, definition: definition, shard: shard, seed: session.globals.seed,
      options: JSONObject([
        ("chunk", .integer(probeOptions.queryBlock)), ("max_new_tokens", .integer(probeOptions.answerLimit)),
        ("highlights", .integer(highlightCount)),
      ]))
    let probe = AttentionProbe(checkpoint, definition: definition, options: probeOptions)
    var run = AttentionRun(probe, context: context, sample: source.sample)
    run.highlightCount = highlightCount
    run.failsOnBadSample = source.data == nil
    if isDryRun {
      let plan = try AttentionPlan(
        probe, checkpoint, definition: definition, indices: run.indices, sample: source.sample)
      try show(plan, definition, session.console)
      return .success
    }
    Interrupts.install()
    if let output { return try measure(run, into: output, context, session) }
    var progress =
      source.data == nil ? nil : session.console.progress(total: run.indices.count, unit: "sample")
    let samples = try run.measure { done, skipped in progress?.update(done: done, skipped: skipped) }
    if source.data != nil { progress?.finish(done: samples.samples.count, skipped: samples.skipped.count) }
    if Interrupts.isRequested && samples.samples.count < run.indices.count { return .interrupted }
    try show(AttentionSummary(context, samples), samples, session.console)
    return .success
  }

  /// Measures into a run folder.
  private func measure(
    _ run: AttentionRun, into path: String, _ context: AttentionContext, _ session: Session
  ) throws -> ExitStatus {
    let console = session.console
    let folder = try openFolder(path, context, session)
    let start = (wall: ProcessFacts.monotonicSeconds, processor: ProcessFacts.processorSeconds)
    var progress: ProgressReporter?
    var counts = (done: 0, skipped: 0)
    let outcome = try run.measure(into: folder) { done, skipped in
      if progress == nil {
        if folder.isResumed {
          console.note("resuming \(path): \(done) of \(run.indices.count) done, settings match")
        }
        progress = console.progress(total: run.indices.count, alreadyDone: done, unit: "sample")
      }
      counts = (done, skipped)
      progress?.update(done: done, skipped: skipped)
    }
    progress?.finish(done: counts.done, skipped: counts.skipped)
    let notes: JSONObject = JSONObject([
      (
        "cost",
        [
          "wall_s": .number(ProcessFacts.monotonicSeconds - start.wall),
          "cpu_s": .number(ProcessFacts.processorSeconds - start.processor),
          "peak_rss_bytes": .integer(ProcessMemory.current.peakResident),
        ]
      )
    ])
    if case .stopped(let done, let total) = outcome {
      try folder.finish(.stopped, notes: notes)
      console.note(
        "stopped after \(done) of \(total) samples; go on with:\n  \(Support.resumeLine(session.commandLine))"
      )
      return .stopped
    }
    let samples = try AttentionRunFiles.read(folder.url).samples
    let summary = AttentionSummary(context, samples)
    try AttentionRunFiles.write(summary, samples, to: folder)
    try folder.finish(.complete, notes: notes)
    try show(summary, samples, console)
    console.note("figures, tables, report: \(path)/\(AttentionRunFiles.reportName)")
    return .success
  }

  /// Attention that another program computed.
  private func measure(imported path: String, _ session: Session) throws -> ExitStatus {
    let imported = try AttentionImport(path: path)
    let definition = try what.definition(
      layerCount: imported.layerCount, headCount: imported.headCount, hasAnswers: false,
      seed: session.globals.seed)
    let hash = try SHA256.hexadecimal(ofFile: URL(fileURLWithPath: path))
    let context = AttentionContext(
      tool: .init(version: Version.number, commit: BuildFacts.commit),
      model: .init(
        name: Support.name(path), architecture: "imported", layerCount: imported.layerCount,
        headCount: imported.headCount, keyValueHeadCount: imported.headCount, dtype: "imported",
        files: [.init(name: Support.name(path), sha256: hash)]),
      data: .init(name: Support.name(path), sha256: hash, sampleCount: imported.sampleCount),
      definition: definition,
      seed: session.globals.seed)
    let samples = try imported.samples(definition)
    let summary = AttentionSummary(context, samples)
    if let output {
      let folder = try openFolder(output, context, session)
      let writer = try folder.appendingRecords(to: AttentionRun.samplesName)
      for sample in samples.samples { try writer.append(sample.json(definition)) }
      try writer.sync()
      try AttentionRunFiles.write(summary, samples, to: folder)
      try folder.finish(.complete)
    }
    try show(summary, samples, session.console)
    if let output {
      session.console.note("figures, tables, report: \(output)/\(AttentionRunFiles.reportName)")
    }
    return .success
  }

  private func openFolder(_ path: String, _ context: AttentionContext, _ session: Session) throws -> RunFolder
  {
    try RunFolder(
      at: URL(fileURLWithPath: path, isDirectory: true), mode: mode,
      configuration: context.json.objectValue ?? JSONObject(),
      facts: .init(
        version: Version.number, arguments: ["mmprobe"] + session.commandLine, threads: Workers.threadCount))
  }

  private static func model(_ checkpoint: Checkpoint) throws -> AttentionContext.Model {
    let sizes = checkpoint.model.decoder.configuration
    let types = Inspection(checkpoint).types
    return AttentionContext.Model(
      name: Support.name(checkpoint.folder.path), architecture: checkpoint.family.modelType,
      layerCount: sizes.layerCount, headCount: sizes.headCount, keyValueHeadCount: sizes.keyValueHeadCount,
      dtype: types.first?.type.rawValue.lowercased() ?? "none",
      files: try checkpoint.fileHashes().map { .init(name: $0.name, sha256: $0.sha256) })
  }

  private func show(_ summary: AttentionSummary, _ samples: AttentionSamples, _ console: Console) throws {
    switch format ?? (console.wantsJSON ? .json : .table) {
    case .table: try console.write(summary.terminalText)
    case .json: try console.document(summary.json)
    case .jsonl:
      let definition = summary.context.definition
      for sample in samples.samples { try console.line(sample.json(definition).text()) }
    case .csv:
      try console.write(AttentionTables(summary, samples).files.first { $0.name == "groups.csv" }?.text ?? "")
    }
  }

  private func show(_ plan: AttentionPlan, _ definition: AttentionDefinition, _ console: Console) throws {
    if console.wantsJSON {
      return try console.document([
        "samples": .integer(plan.sampleCount), "unreadable": .integer(plan.unreadableCount),
        "longest_prompt": .integer(plan.longestPrompt), "positions": .integer(plan.positionCount),
        "queries": .string(definition.queries.rawValue), "trials": .integer(plan.trialCount),
        "peak_rss_bytes": .integer(plan.peakBytes), "seconds": .number(plan.seconds),
      ])
    }
    let available = MachineFacts.availableMemory.map { ", \(ByteCount.text($0)) available" } ?? ""
    try console.write(
      """
      samples   \(plan.sampleCount)\(plan.unreadableCount > 0 ? ", \(plan.unreadableCount) of them cannot be read" : "")
      tokens    \(Support.grouped(plan.positionCount)), longest prompt \(plan.longestPrompt)
      queries   \(definition.queries.rawValue): \(definition.queries.explanation)
      measured  \(definition.layers.count) layers x \(definition.heads.count) heads, \(definition.groups.count) groups
      memory    about \(ByteCount.text(plan.peakBytes))\(available)
      time      about \(Decimals.text(plan.seconds, places: 1)) s with \(Workers.threadCount) threads

      """)
    console.note("estimated from \(plan.trialCount) measured samples; nothing was written")
  }
}

/// Where the samples of a run come from.
private struct Source {
  /// The data file; nil for a conversation on the command line.
  let data: DataSet?
  /// For the context of the run.
  let description: AttentionContext.Data
  /// Gives the sample of an index.
  let sample: (Int) throws -> Sample
  /// Whether every sample has an answer.
  let hasAnswers: Bool

  init(_ options: DataOptions, _ conversation: SampleOptions, _ checkpoint: Checkpoint) throws {
    let model = checkpoint.model
    guard options.path != nil else {
      let single = try conversation.sample(for: model)
      data = nil
      description = .init(name: "command line", sha256: nil, sampleCount: 1)
      sample = { _ in single }
      hasAnswers = false
      return
    }
    let data = try options.open()
    self.data = data
    description = .init(
      name: data.url.lastPathComponent, sha256: data.sha256, sampleCount: options.count(of: data))
    sample = { try data.sample(at: $0, for: model) }
    hasAnswers = (0..<options.count(of: data)).allSatisfy(data.hasAnswer)
  }
}
