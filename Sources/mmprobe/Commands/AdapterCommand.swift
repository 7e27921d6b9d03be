import Foundation
import PEFT
import RunKit
import TensorCore
import TokenModel

/// `mmprobe adapter`: looks at adapters and makes other things of them.
struct AdapterCommand: Command {
  /// What is done.
  enum Action: String, CaseIterable { case show, merge, extract, convert }

  static let name = "adapter"
  static let summary = "show, merge, extract or convert LoRA and MokA adapters"
  static let discussion = """
    show     what an adapter is; with --model where it stands in the model, and for
             MokA whether A of images still is its first draw, layer by layer
    merge    a copy of the model in which a LoRA is part of the weights; MokA is
             refused, since its map depends on each row
    extract  a plain LoRA of one modality out of MokA (--modality)
    convert  an adapter as the authors of MokA released it, from safetensors

    Adapters are folders as PEFT writes them: adapter_config.json and
    adapter_model.safetensors. For convert ADAPTER is the released file.
    """
  static let action = Positional(
    name: "ACTION", count: .one, help: "show, merge, extract or convert")
  static let adapter = Positional(name: "ADAPTER", count: .one, help: "an adapter folder")
  static let model = Option<String?>.text(
    "model", "MODEL", notes: "needed by all but show", "the checkpoint folder the adapter belongs to")
  static let output = Option<String?>.text("output", short: "o", "FOLDER", "folder to make")
  static let modality = Option<String?>.text(
    "modality", "NAME", notes: "such as text or image", "the modality to extract")
  static let alpha = Option<Double?>.number(
    "alpha", in: .above(0, atMost: 1_000_000), absence: "16, as in both releases",
    "alpha of a released adapter")
  static let positionals = [action, adapter]
  static let options = [
    model.declaration, output.declaration, modality.declaration, alpha.declaration,
  ]
  static let examples = [
    Example(purpose: "What is it, and does it fit?", line: "adapter show runs/lora/best --model model"),
    Example(
      purpose: "For programs that know no adapters",
      line: "adapter merge runs/lora/best --model model -o model-tuned"),
    Example(
      purpose: "The released weights of MokA",
      line: "adapter convert adapter_model.safetensors --model llama \\\n    -o moka-avt"),
  ]

  private let word: String
  private let path: String
  private let model: String?
  private let output: String?
  private let modality: String?
  private let alpha: Double?

  init(_ arguments: Arguments) throws(UsageError) {
    word = try arguments[Self.action]
    path = try arguments[Self.adapter]
    model = try arguments[Self.model]
    output = try arguments[Self.output]
    modality = try arguments[Self.modality]
    alpha = try arguments[Self.alpha]
  }

  func validate() throws(UsageError) {
    let words = Action.allCases.map(\.rawValue)
    guard let action = Action(rawValue: word) else {
      throw .badValue(
        option: "ACTION", found: word,
        expected: "one of \(words.joined(separator: ", "))." + NameSuggestion.question(for: word, in: words),
        command: Self.name)
    }
    if action != .show {
      if model == nil { throw .missingOption(option: Self.model.declaration.spelling, command: Self.name) }
      if output == nil { throw .missingOption(option: "-o FOLDER", command: Self.name) }
    }
    if action == .extract && modality == nil {
      throw .missingOption(option: Self.modality.declaration.spelling, command: Self.name)
    }
    if action != .extract && modality != nil {
      throw .conflict(reason: "--modality is for extract", remedy: "leave it out")
    }
    if action != .convert && alpha != nil {
      throw .conflict(reason: "--alpha is for convert", remedy: "leave it out")
    }
    if action == .show && output != nil {
      throw .conflict(reason: "show writes nothing", remedy: "leave -o out")
    }
  }

  func run(_ session: Session) throws -> ExitStatus {
    let folder = URL(fileURLWithPath: path, isDirectory: true)
    if output != nil { try Support.requireNew(target) }
    switch Action(rawValue: word) ?? .show {
    case .show: try show(folder, session.console)
    case .merge: try merge(folder, session.console)
    case .extract: try extract(folder, session.console)
    case .convert: try convert(session.console)
    }
    return .success
  }

  private var target: URL { URL(fileURLWithPath: output ?? "", isDirectory: true) }

  private func show(_ folder: URL, _ console: Console) throws {
    let configuration = try StoredAdapter.configuration(of: folder)
    let file = try StoredAdapter.tensorFile(of: folder)
    let count = file.tensors.reduce(0) { $0 + $1.elementCount }
    let adapter = try model.map { try StoredAdapter(folder: folder, for: Support.checkpoint($0)) }
    let draws = adapter?.draws ?? []
    if console.wantsJSON {
      var members: [(String, JSONValue)] = [
        ("type", .string(configuration.type)), ("configuration", .object(configuration.json)),
        ("tensors", .integer(file.tensors.count)), ("parameters", .integer(count)),
      ]
      if let adapter {
        members.append(("modules", .array(adapter.plan.modules.map { .string($0.site.moduleName) })))
        members.append(("image_draws", .array(draws.map(Self.json))))
      }
      return try console.document(.object(JSONObject(members)))
    }
    var lines = [
      ("adapter", Support.name(path)),
      ("type", configuration.type + (configuration.moka.map { ": " + Self.text($0) } ?? "")),
      ("base model", configuration.baseModel ?? "not said"),
      (
        "rank",
        "\(configuration.rank), alpha \(Self.number(configuration.alpha))"
          + (configuration.stabilisesRank ? " over the root of the rank" : "")
      ),
      ("targets", configuration.selection.targets.text),
      ("biases", configuration.bias.rawValue),
    ]
    if !configuration.savedModules.isEmpty {
      lines.append(("saved whole", configuration.savedModules.joined(separator: ", ")))
    }
    lines.append(
      ("parameters", "\(Support.grouped(count)) in \(Support.counted(file.tensors.count, "tensor"))"))
    if let adapter {
      lines.append(("fits", "\(Support.counted(adapter.plan.modules.count, "layer")) of \(model ?? "")"))
    }
    let width = lines.map(\.0.count).max() ?? 0
    for line in lines {
      try console.line(line.0 + String(repeating: " ", count: width - line.0.count + 2) + line.1)
    }
    try show(draws, console)
  }

  /// The table of A of images, and what it means.
  private func show(_ draws: [MokAImport.Draw], _ console: Console) throws {
    guard !draws.isEmpty else { return }
    var table = TextTable([
      .text("layer"), .number("largest / bound"), .number("distance"), .text("A of images"),
    ])
    for draw in draws {
      table.append([
        "\(draw.layer)", Decimals.text(draw.largest, places: 4), Decimals.text(draw.distance, places: 4),
        draw.looksUntrained ? "its first draw" : "trained",
      ])
    }
    try console.line()
    try console.write(table.text)
    let untrained = draws.filter(\.looksUntrained)
    guard !untrained.isEmpty else { return }
    console.warn(
      "A of images still lies within its first draw in \(untrained.count) of \(draws.count) layers: it was "
        + "trained for few steps, or rows of images were not routed there")
  }

  private func merge(_ folder: URL, _ console: Console) throws {
    let checkpoint = try Support.checkpoint(model ?? "")
    let merge = try AdapterMerge(StoredAdapter(folder: folder, for: checkpoint), into: checkpoint)
    var progress: ProgressReporter?
    let count = try merge.write(to: target) { done, total in
      if progress == nil { progress = console.progress(total: total, alreadyDone: 0, unit: "matrix") }
      progress?.update(done: done, detail: "")
    }
    progress?.finish(done: count, detail: "")
    try report("merged", count, console)
  }

  private func extract(_ folder: URL, _ console: Console) throws {
    let adapter = try StoredAdapter(folder: folder, for: Support.checkpoint(model ?? ""))
    let plain = try adapter.extracting(Modality(rawValue: modality ?? ""))
    try plain.plan.write(plain.tensors, to: target)
    try adapter.copyRotations(to: target)
    try report("extracted", plain.plan.slots.count, console)
  }

  private func convert(_ console: Console) throws {
    let imported = try MokAImport(
      URL(fileURLWithPath: path), for: Support.checkpoint(model ?? ""), alpha: alpha ?? 16)
    try imported.plan.write(imported.tensors, to: target)
    if console.wantsJSON {
      return try console.document([
        "release": .string(imported.release.rawValue), "folder": .string(output ?? ""),
        "tensors": .integer(imported.tensors.count),
        "other_keys": .array(imported.otherKeys.map(JSONValue.string)),
        "image_draws": .array(imported.draws.map(Self.json)),
      ])
    }
    try console.line(
      "\(Support.counted(imported.tensors.count, "tensor")) of the \(imported.release.rawValue) release")
    if !imported.otherKeys.isEmpty {
      console.note(
        "\(Support.counted(imported.otherKeys.count, "key")) of the file belong to other parts and were left out"
      )
    }
    try show(imported.draws, console)
  }

  private func report(_ verb: String, _ count: Int, _ console: Console) throws {
    if console.wantsJSON {
      return try console.document([verb: .integer(count), "folder": .string(output ?? "")])
    }
    try console.line("\(Support.counted(count, "tensor")) \(verb) into \(output ?? "")")
  }

  private static func text(_ moka: MokASettings) -> String {
    let names = moka.modalities.map(\.rawValue).joined(separator: ", ")
    return "\(moka.preset?.rawValue ?? "no preset") for \(names); \(moka.interaction.rawValue)"
  }

  private static func number(_ value: Double) -> String {
    value == value.rounded() && abs(value) < 1e9 ? "\(Int(value))" : "\(value)"
  }

  private static func json(_ draw: MokAImport.Draw) -> JSONValue {
    [
      "layer": .integer(draw.layer), "largest": .number(draw.largest), "distance": .number(draw.distance),
      "elements": .integer(draw.count), "looks_untrained": .bool(draw.looksUntrained),
    ]
  }
}
