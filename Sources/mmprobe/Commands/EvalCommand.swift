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
    expected one, spaces around it aside. Prints accuracy overall and by tag (such
    as the type of the question) with Wilson intervals. With -o the answers go to
    samples.jsonl and the figures to result.json in a run folder, when all are
    answered. A record that cannot be used is an error.
    """
  static let keys = Option<[String]>.list(
    "by", "TAGS", absence: "every tag", "tags to group by; crossed with a plus sign, as in type+hint")
  static let confidence = Option<Double>.number(
    "confidence", in: .between(0, 1), default: 0.95, "nominal coverage of intervals")
  static let limit = Option<Int>.integer(
    "max-new-tokens", in: 1...65536, default: 64, unit: "tokens", "longest answer")
  static let batch = Option<Int>.integer(
    "batch", in: 1...4096, default: 16, unit: "samples",
    "samples that are answered together; changes no answer")
  static let output = Option<String?>.text("output", short: "o", "RUN", "run folder to make")
  static let overwrite = Option<Bool>.flag("overwrite", "replace the run in the folder")
  static let positionals = [Positional.model]
  static let options =
    DataOptions.declarations + AdapterOptions.declarations + [
      keys.declaration, confidence.declaration, limit.declaration, batch.declaration, output.declaration,
      overwrite.declaration,
    ]
  static let examples = [
    Example(
      purpose: "The model that comes with mmprobe on its test questions",
      line: "eval checkpoints/avdigits \\\n    --data checkpoints/avdigits/data/test.qa.jsonl"),
    Example(
      purpose: "By type of question and hint, for a program",
      line: "eval model --data test.jsonl --by type,type+hint --json"),
  ]

  private let model: String
  private let adapter: AdapterOptions
  private let data: DataOptions
  private let keys: [String]
  private let confidence: Double
  private let limit: Int
  private let batchSize: Int
  private let output: String?
  private let overwrites: Bool

  init(_ arguments: Arguments) throws(UsageError) {
    model = try arguments[Positional.model]
    adapter = try AdapterOptions(arguments)
    data = try DataOptions(arguments)
    keys = try arguments[Self.keys]
    confidence = try arguments[Self.confidence]
    limit = try arguments[Self.limit]
    batchSize = try arguments[Self.batch]
    output = try arguments[Self.output]
    overwrites = try arguments[Self.overwrite]
  }

  func validate() throws(UsageError) {
    try data.requireData(Self.name)
    if overwrites && output == nil { throw .conflict(reason: "--overwrite is for -o", remedy: "give -o RUN") }
  }

  func run(_ session: Session) throws -> ExitStatus {
    let checkpoint = try adapter.checkpoint(model)
    let samples = try data.open()
    try checkKeys(samples)
    let folder = try output.map { try openFolder($0, samples, checkpoint, session) }
    let items = try answer(samples, checkpoint, session.console)
    let evaluation = Evaluation(items, by: keys.isEmpty ? nil : keys, confidence: confidence)
    if let folder {
      let writer = try folder.appendingRecords(to: "samples.jsonl")
      for item in items { try writer.append(item.json) }
      try writer.sync()
      try folder.write(evaluation.json, to: "result.json")
      try folder.finish(.complete)
    }
    try session.console.wantsJSON
      ? session.console.document(evaluation.json) : session.console.write(text(evaluation))
    return .success
  }

  /// Refuses tags that no sample has, before anything is computed.
  private func checkKeys(_ samples: DataSet) throws(UsageError) {
    if keys.isEmpty { return }
    var found: Set<String> = []
    for index in 0..<data.count(of: samples) { found.formUnion(samples.tagNames(at: index)) }
    let known = found.sorted()
    for tag in keys.flatMap({ $0.split(separator: "+").map(String.init) }) where !found.contains(tag) {
      throw .badValue(
        option: "--by", found: tag,
        expected: known.isEmpty
          ? "no tag: the samples have none"
          : "one of \(known.joined(separator: ", "))." + NameSuggestion.question(for: tag, in: known),
        command: Self.name)
    }
  }

  private func openFolder(
    _ path: String, _ samples: DataSet, _ checkpoint: Checkpoint, _ session: Session
  ) throws -> RunFolder {
    let hashes = try checkpoint.fileHashes().map { ($0.name, JSONValue.string($0.sha256)) }
    let configuration = JSONObject([
      ("command", "eval"), ("model", .string(Support.name(model))),
      ("model_files", .object(JSONObject(hashes))),
      ("data", .string(samples.url.lastPathComponent)), ("data_sha256", .string(samples.sha256)),
      ("count", .integer(data.count(of: samples))), ("max_new_tokens", .integer(limit)),
      ("confidence", .number(confidence)), ("by", .array(keys.map(JSONValue.string))),
    ])
    return try RunFolder(
      at: URL(fileURLWithPath: path, isDirectory: true), mode: overwrites ? .overwrite : .fresh,
      configuration: configuration,
      facts: .init(
        version: Version.number, arguments: ["mmprobe"] + session.commandLine, threads: Workers.threadCount))
  }

  private func answer(_ data: DataSet, _ checkpoint: Checkpoint, _ console: Console) throws -> [Evaluation
    .Item]
  {
    let evaluator = Evaluator(checkpoint, limit: limit)
    let count = self.data.count(of: data)
    var progress = console.progress(total: count, unit: "question")
    var items: [Evaluation.Item] = []
    for start in stride(from: 0, to: count, by: batchSize) {
      let samples = try (start..<min(count, start + batchSize)).map {
        try data.sample(at: $0, for: checkpoint)
      }
      items += try evaluator.items(for: samples)
      progress?.update(done: items.count)
    }
    progress?.finish(done: items.count)
    return items
  }

  private func text(_ evaluation: Evaluation) -> String {
    var table = TextTable([
      .text("group"), .number("n"), .number("accuracy"),
      .number("\(Self.percent(confidence, places: 0)) interval"),
    ])
    func append(_ name: String, _ accuracy: Evaluation.Accuracy) {
      let interval = accuracy.interval
      table.append([
        name, "\(accuracy.count)", interval.map { Self.percent($0.estimate) } ?? "-",
        interval.map { "\(Self.percent($0.lower)) to \(Self.percent($0.upper))" } ?? "-",
      ])
    }
    append("all", evaluation.overall)
    for breakdown in evaluation.breakdowns {
      for part in breakdown.parts { append("\(breakdown.key) \(part.value)", part.accuracy) }
    }
    return table.text
  }

  private static func percent(_ share: Double, places: Int = 1) -> String {
    Decimals.text(100 * share, places: places) + " %"
  }
}
