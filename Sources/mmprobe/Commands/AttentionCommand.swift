import Analysis
import Foundation
import RunKit
import TensorCore
import TokenModel

/// `mmprobe attention`: where does the model look?
struct AttentionCommand: Command {
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
    {"text": "...", "image": "a.pgm", "audio": "b.wav", "answer": "..."}. A record
    that cannot be measured is skipped and named; if all are, the status is 65.

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
  static let positionals = [model]
  static let options =
    DataOptions.declarations + SampleOptions.declarations + AdapterOptions.declarations + [from.declaration]
    + AttentionOptions.declarations
    + [chunk.declaration, limit.declaration, highlights.declaration] + RunOptions.declarations
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
  private let adapter: AdapterOptions
  private let data: DataOptions
  private let sample: SampleOptions
  private let what: AttentionOptions
  private var probeOptions = AttentionProbe.Options()
  private let highlightCount: Int
  private let runOptions: RunOptions

  init(_ arguments: Arguments) throws(UsageError) {
    from = try arguments[Self.from]
    adapter = try AdapterOptions(arguments)
    model = from == nil ? try arguments[Self.model] : arguments.optional(Self.model)
    data = try DataOptions(arguments)
    sample = try SampleOptions(arguments)
    what = try AttentionOptions(arguments)
    probeOptions.queryBlock = try arguments[Self.chunk]
    probeOptions.answerLimit = try arguments[Self.limit]
    highlightCount = try arguments[Self.highlights]
    runOptions = try RunOptions(arguments)
  }

  func validate() throws(UsageError) {
    try runOptions.validate()
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
    if from != nil && adapter.path != nil {
      throw .conflict(reason: "--adapter is for a model, not for --from", remedy: "leave one of them out")
    }
    if from != nil && (runOptions.shard != nil || runOptions.isDryRun || runOptions.mode == .resume) {
      throw .conflict(
        reason: "--shard, --dry-run and --resume are for runs of a model, not for --from",
        remedy: "leave them out")
    }
  }

  func run(_ session: Session) throws -> ExitStatus {
    if let from { return try measure(imported: from, session) }
    let checkpoint = try adapter.checkpoint(model ?? "")
    let source = try SampleSource(data, sample, checkpoint)
    let sizes = checkpoint.model.decoder.configuration
    let definition = try what.definition(
      layerCount: sizes.layerCount, headCount: sizes.headCount, hasAnswers: source.hasAnswers,
      seed: session.globals.seed)
    let context = try MeasuredRun.context(
      checkpoint, adapter, source, definition, runOptions, session,
      more: [
        ("chunk", .integer(probeOptions.queryBlock)), ("max_new_tokens", .integer(probeOptions.answerLimit)),
        ("highlights", .integer(highlightCount)),
      ])
    let probe = AttentionProbe(checkpoint, definition: definition, options: probeOptions)
    var run = AttentionRun(probe, context: context, sample: source.sample)
    run.highlightCount = highlightCount
    run.failsOnBadSample = source.data == nil
    return try MeasuredRun(
      probe: probe, run: run, context: context, source: source, options: runOptions, session: session,
      mainTable: "groups.csv"
    ).carryOut(checkpoint)
  }

  /// Attention that another program computed.
  private func measure(imported path: String, _ session: Session) throws -> ExitStatus {
    let imported = try AttentionImport(path: path)
    var definition = try what.definition(
      layerCount: imported.layerCount, headCount: imported.headCount, hasAnswers: false,
      seed: session.globals.seed)
    if imported.hasQueries { definition.queries = .given }
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
    if imported.hasQueries && what.asksForQueries {
      session.console.warn("--queries does not apply: the file says which rows are queries")
    }
    let summary = AttentionSummary(context, samples)
    if let output = runOptions.output {
      let folder = try MeasuredRun.openFolder(output, runOptions, context, session)
      let writer = try folder.appendingRecords(to: AttentionRun.samplesName)
      for sample in samples.samples { try writer.append(sample.json(definition)) }
      try writer.sync()
      try AttentionRunFiles.write(summary, samples, to: folder)
      try folder.finish(.complete)
    }
    try MeasurementError.check(samples)
    try MeasuredRun.show(summary, samples, runOptions, mainTable: "groups.csv", session.console)
    if let output = runOptions.output {
      session.console.note("figures, tables, report: \(output)/\(AttentionRunFiles.reportName)")
    }
    return .success
  }
}
