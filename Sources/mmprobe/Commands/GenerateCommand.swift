import Analysis
import RunKit
import TokenModel

/// `mmprobe generate`: the answer of the model.
struct GenerateCommand: Command {
  static let name = "generate"
  static let summary = "answer a prompt with media, greedily or sampled"
  static let discussion = """
    Prints the answer. Without --temperature the most likely token is taken at each
    step; with it tokens are drawn, the same for the same --seed. An end id ends the
    answer: eos_token_id of generation_config.json, else of config.json.
    """
  static let temperature = Option<Double>.number(
    "temperature", in: .closed(0, 100), default: 0, "0 takes the most likely token; higher draws more freely")
  static let topK = Option<Int?>.integer(
    "top-k", in: 1...Int.max, absence: "all", "draw among the K most likely tokens")
  static let topP = Option<Double?>.number(
    "top-p", in: .above(0, atMost: 1), absence: "all",
    "draw among the most likely tokens that reach this probability together")
  static let limit = Option<Int>.integer(
    "max-new-tokens", in: 1...65536, default: 64, unit: "tokens", "longest answer")
  static let positionals = [Positional.model]
  static let options =
    SampleOptions.declarations + AdapterOptions.declarations + [
      temperature.declaration, topK.declaration, topP.declaration, limit.declaration,
      RunOptions.maxMemory.declaration,
    ]
  static let examples = [
    Example(
      purpose: "Ask about an image and a sound",
      line:
        "generate checkpoints/avdigits --image five.pgm --audio two.wav \\\n    --text \"what is the sum ?\""),
    Example(
      purpose: "Draw an answer",
      line: "generate model --text \"Once upon a time\" \\\n    --temperature 0.8 --top-p 0.95 --seed 7"),
  ]

  private let model: String
  private let adapter: AdapterOptions
  private let sample: SampleOptions
  private let sampler: Sampler
  private let limit: Int
  private let maxMemory: Int?

  init(_ arguments: Arguments) throws(UsageError) {
    model = try arguments[Positional.model]
    adapter = try AdapterOptions(arguments)
    sample = try SampleOptions(arguments)
    let temperature = try arguments[Self.temperature]
    sampler = Sampler(
      temperature: Float(temperature), topK: try arguments[Self.topK],
      topP: try arguments[Self.topP].map { Float($0) })
    limit = try arguments[Self.limit]
    maxMemory = try arguments[RunOptions.maxMemory]
  }

  func validate() throws(UsageError) {
    try sample.requireText(Self.name)
    if sampler.temperature == 0 && (sampler.topK != nil || sampler.topP != nil) {
      throw .conflict(
        reason: "--top-k and --top-p are for drawing, but the temperature is 0",
        remedy: "add --temperature, such as 0.8")
    }
  }

  func run(_ session: Session) throws -> ExitStatus {
    let checkpoint = try adapter.checkpoint(model)
    let tokenizer = try checkpoint.requiredTokenizer()
    let prompt = try checkpoint.prompt(for: sample.sample(for: checkpoint))
    if let maxMemory {
      MemoryLimit.bytes = maxMemory
      try AnswerPlan(checkpoint, [prompt], answerLimit: limit).check()
    }
    var generator = Generator(checkpoint)
    generator.sampler = sampler
    generator.seed = session.globals.seed
    generator.limit = limit
    let start = ProcessFacts.monotonicSeconds
    guard let answer = try generator.answers(to: .init([prompt], model: checkpoint.model)).first else {
      return .failure
    }
    let seconds = ProcessFacts.monotonicSeconds - start
    try MemoryLimit.check()
    let text = try tokenizer.decode(answer.ids)
    Support.warnOfLength(prompt.count + answer.ids.count, checkpoint, session.console)
    if session.console.wantsJSON {
      try session.console.document([
        "text": .string(text), "ids": .array(answer.ids.map(JSONValue.integer)),
        "pieces": .array(answer.ids.map { .string(tokenizer.piece($0) ?? "") }),
        "log_probabilities": .array(answer.logProbabilities.map { JSONValue(Double($0)) }),
        "complete": .bool(answer.isComplete), "prompt_tokens": .integer(prompt.count),
        "seed": .integer(session.globals.seed),
      ])
    } else {
      try session.console.line(text)
      session.console.detail(
        "\(prompt.count) prompt tokens, \(answer.ids.count) generated in \(Decimals.text(seconds, places: 2)) s"
      )
      if !answer.isComplete { session.console.note("stopped after \(limit) tokens (--max-new-tokens)") }
    }
    return .success
  }
}
