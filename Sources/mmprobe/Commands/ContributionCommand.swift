import Analysis
import RunKit
import TensorCore
import TokenModel

/// `mmprobe contribution`: what does the answer depend on?
struct ContributionCommand: Command {
  static let name = "contribution"
  static let summary = "what each modality is worth, beside the attention on it"
  static let discussion = """
    Explains one number, the logit of the first answer piece unless told otherwise,
    and prints what each part of the prompt adds to it beside the attention of the
    last prompt row on that part. Means over samples with intervals.

    shapley     exact Shapley values of the media and the question, from the target
                with every subset of them present; they sum to v(all) - v(none)
    knockout    attention from chosen rows to chosen keys cut, in all layers and in
                windows of layers: (p' - p) / p and the change of the target
    value-norm  norms of attention times value after the output projection
    grad-input  gradient times embedding, per token
    ig          integrated gradients from a baseline, per token, with the residual
                of completeness

    Data, run folders, --resume, --shard and 'mmprobe merge' work as in 'mmprobe
    attention'; the report of the run has both measures and one against the other.
    """
  static let model = Positional.model
  static let highlights = AttentionCommand.highlights
  static let positionals = [model]
  static let options =
    DataOptions.declarations + SampleOptions.declarations + AdapterOptions.declarations
    + ContributionOptions.declarations + [highlights.declaration] + RunOptions.declarations
  static let examples = [
    Example(
      purpose: "Shapley values of image, sound and question over 200 questions",
      line:
        "contribution checkpoints/avdigits \\\n    --data checkpoints/avdigits/data/test.qa.jsonl -n 200 -o runs/worth"
    ),
    Example(
      purpose: "In which layers the image reaches the last row",
      line:
        "contribution checkpoints/avdigits \\\n    --data checkpoints/avdigits/data/test.qa.jsonl -n 200 \\\n"
        + "    --method knockout --keys image --queries last --window 1"
    ),
    Example(
      purpose: "One question about your own image",
      line: "contribution checkpoints/avdigits --image three.pgm \\\n    --text \"what digit is written ?\""),
  ]

  private let model: String
  private let adapter: AdapterOptions
  private let data: DataOptions
  private let sample: SampleOptions
  private let what: ContributionOptions
  private let highlightCount: Int
  private let runOptions: RunOptions

  init(_ arguments: Arguments) throws(UsageError) {
    model = try arguments[Self.model]
    adapter = try AdapterOptions(arguments)
    data = try DataOptions(arguments)
    sample = try SampleOptions(arguments)
    what = try ContributionOptions(arguments)
    highlightCount = try arguments[Self.highlights]
    runOptions = try RunOptions(arguments)
  }

  func validate() throws(UsageError) {
    try runOptions.validate()
    try what.validate()
    if data.path != nil && sample.isGiven {
      throw .conflict(
        reason: "--data and --text with media exclude each other", remedy: "give one of them")
    }
    if data.path == nil && !sample.isGiven {
      throw .missingOption(option: "--data FILE, or --text TEXT with media", command: Self.name)
    }
    if sample.isGiven { try sample.requireText(Self.name) }
    if data.path == nil && what.needsOtherSamples {
      throw .conflict(
        reason: "--removal replacement needs other samples", remedy: "give --data FILE")
    }
  }

  func run(_ session: Session) throws -> ExitStatus {
    let checkpoint = try adapter.checkpoint(model)
    let source = try SampleSource(data, sample, checkpoint)
    let definition = try what.definition(
      checkpoint.model, hasAnswers: source.hasAnswers, seed: session.globals.seed)
    let context = try MeasuredRun.context(
      checkpoint, adapter, source, definition, runOptions, session,
      more: [("highlights", .integer(highlightCount))])
    let probe = AttentionProbe(
      checkpoint, definition: definition,
      donors: .init(count: source.description.sampleCount, sample: source.sample))
    var run = AttentionRun(probe, context: context, sample: source.sample)
    run.highlightCount = highlightCount
    run.failsOnBadSample = source.data == nil
    return try MeasuredRun(
      probe: probe, run: run, context: context, source: source, options: runOptions, session: session,
      mainTable: "contribution.csv"
    ).carryOut(checkpoint)
  }
}
