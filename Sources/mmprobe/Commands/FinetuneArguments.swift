import Foundation
import PEFT
import RunKit
import TensorCore
import TokenModel

/// The options of `mmprobe finetune` that say what is trained and how.
struct FinetuneArguments {
  /// What is trained.
  enum Method: String, CaseIterable { case lora, moka, full }
  /// The course of the learning rate.
  enum Schedule: String, CaseIterable { case cosine, linear, constant }

  static let rank = Option<Int?>.integer("rank", in: 1...65536, absence: "8; 4 for moka", "rank of adapters")
  static let alpha = Option<Double?>.number(
    "alpha", in: .above(0, atMost: 1_000_000), absence: "twice the rank; moka as its preset says",
    "alpha of adapters")
  static let rslora = Option<Bool>.flag("rslora", "divide alpha by the root of the rank")
  static let dropout = Option<Double>.number(
    "dropout", in: .from(0, below: 1), default: 0, "of the input of adapters")
  static let targets = Option<[String]>.list(
    "targets", "NAMES", absence: "all linear layers of the decoder",
    "ends of names of adapted layers, one regular expression, or all-linear")
  static let layers = Option<[String]>.list(
    "layers", "LIST", absence: "all", "layers with adapters, as in 0,1,8")
  static let bias = Option<AdapterConfiguration.Bias>.choice(
    "bias", "WHICH", default: .none, "biases that are trained with adapters")
  static let preset = Option<MokASettings.Preset>.choice(
    "preset", "NAME", default: .mokaPaper, "form of moka")
  static let train = Option<[String]>.list(
    "train", "PARTS", absence: "none; all for full", "parts trained whole: vision, audio, projector, decoder")
  static let freeze = Option<[String]>.list(
    "freeze", "PARTS", absence: "none", "parts that full leaves as they are")
  static let rate = Option<Double>.number(
    "lr", in: .atLeast(1e-12, atMost: 100), default: 1e-4, "learning rate at its peak")
  static let partRates: [(part: ModelPart, option: Option<Double?>)] = [
    ModelPart.vision, .audio, .projector, .decoder, .adapters,
  ].map { part in
    (part, .number("lr-\(part.rawValue)", in: .closed(0, 100), absence: "--lr", "learning rate of this part"))
  }
  static let decay = Option<Double>.number(
    "weight-decay", in: .closed(0, 100), default: 0, "of matrices")
  static let epochs = Option<Double>.number(
    "epochs", in: .above(0, atMost: 1_000_000), default: 1, "passes over the data")
  static let steps = Option<Int?>.integer(
    "steps", in: 1...100_000_000, absence: "by --epochs", "updates in all")
  static let batch = Option<Int>.integer(
    "batch", in: 1...65536, default: 4, unit: "records", "records in a part of a step")
  static let accumulation = Option<Int>.integer(
    "accumulation", in: 1...65536, default: 1, unit: "parts", "parts whose gradients make a step")
  static let schedule = Option<Schedule>.choice(
    "schedule", "SHAPE", default: .cosine, "course of the learning rate")
  static let warmup = Option<Double>.number(
    "warmup", in: .closed(0, 1), default: 0.03, "share of the steps in which the rate rises")
  static let clip = Option<Double>.number(
    "clip", in: .closed(0, 1_000_000), default: 1, "largest norm of the gradient; 0 for none")
  static let checkpointing = Option<Bool>.flag(
    "activation-checkpointing", "run every layer twice to need less memory")
  static let declarations =
    [
      rank.declaration, alpha.declaration, rslora.declaration, dropout.declaration, targets.declaration,
      layers.declaration, bias.declaration, preset.declaration, train.declaration, freeze.declaration,
      rate.declaration,
    ] + partRates.map(\.option.declaration) + [
      decay.declaration, epochs.declaration, steps.declaration, batch.declaration, accumulation.declaration,
      schedule.declaration, warmup.declaration, clip.declaration, checkpointing.declaration,
    ]

  let rank: Int?
  let alpha: Double?
  let stabilisesRank: Bool
  let dropout: Double
  let targets: [String]
  let layers: [Int]
  let bias: AdapterConfiguration.Bias
  let preset: MokASettings.Preset
  let trained: [ModelPart]
  let frozen: [ModelPart]
  let rate: Double
  let rates: [ModelPart: Double]
  let decay: Double
  let epochs: Double
  let steps: Int?
  let batch: Int
  let accumulation: Int
  let schedule: Schedule
  let warmup: Double
  let clip: Double
  let checkpointsLayers: Bool
  /// Options given for another method than their own, each with its method.
  private let foreign: [(option: String, methods: [Method])]

  init(_ arguments: Arguments) throws(UsageError) {
    rank = try arguments[Self.rank]
    alpha = try arguments[Self.alpha]
    stabilisesRank = try arguments[Self.rslora]
    dropout = try arguments[Self.dropout]
    targets = try arguments[Self.targets]
    var layers: [Int] = []
    for word in try arguments[Self.layers] {
      guard let layer = Int(word), 0...4095 ~= layer else {
        throw .badValue(
          option: "--layers", found: word, expected: "numbers from 0", command: FinetuneCommand.name)
      }
      layers.append(layer)
    }
    self.layers = layers
    bias = try arguments[Self.bias]
    preset = try arguments[Self.preset]
    trained = try Self.parts(arguments[Self.train], "--train")
    frozen = try Self.parts(arguments[Self.freeze], "--freeze")
    rate = try arguments[Self.rate]
    var rates: [ModelPart: Double] = [:]
    for (part, option) in Self.partRates {
      if let value = try arguments[option] { rates[part] = value }
    }
    self.rates = rates
    decay = try arguments[Self.decay]
    epochs = try arguments[Self.epochs]
    steps = try arguments[Self.steps]
    if steps != nil && arguments.isGiven(Self.epochs) {
      throw .conflict(reason: "--steps and --epochs exclude each other", remedy: "leave one of them out")
    }
    batch = try arguments[Self.batch]
    accumulation = try arguments[Self.accumulation]
    schedule = try arguments[Self.schedule]
    warmup = try arguments[Self.warmup]
    clip = try arguments[Self.clip]
    checkpointsLayers = try arguments[Self.checkpointing]
    var foreign: [(option: String, methods: [Method])] = []
    for (isGiven, name) in [
      (rank != nil, "rank"), (alpha != nil, "alpha"), (stabilisesRank, "rslora"), (dropout > 0, "dropout"),
      (!targets.isEmpty, "targets"), (!layers.isEmpty, "layers"),
    ] where isGiven {
      foreign.append(("--" + name, [.lora, .moka]))
    }
    if bias != .none { foreign.append(("--bias", [.lora])) }
    if arguments.isGiven(Self.preset) { foreign.append(("--preset", [.moka])) }
    if !frozen.isEmpty { foreign.append(("--freeze", [.full])) }
    self.foreign = foreign
  }

  private static func parts(_ words: [String], _ option: String) throws(UsageError) -> [ModelPart] {
    var parts: [ModelPart] = []
    let known = ModelPart.allCases.filter { $0 != .adapters }.map(\.rawValue)
    for word in words {
      guard let part = ModelPart(rawValue: word), part != .adapters else {
        throw .badValue(
          option: option, found: word,
          expected: "some of \(known.joined(separator: ", "))."
            + NameSuggestion.question(for: word, in: known),
          command: FinetuneCommand.name)
      }
      parts.append(part)
    }
    return parts
  }

  /// Refuses options of another method.
  func validate(_ method: Method) throws(UsageError) {
    for (option, methods) in foreign where !methods.contains(method) {
      throw .conflict(
        reason:
          "\(option) is for \(methods.map(\.rawValue).joined(separator: " and ")), not for \(method.rawValue)",
        remedy: "leave it out")
    }
    let isPattern = targets == ["all-linear"] || Self.pattern(targets) != nil
    if isPattern && !layers.isEmpty {
      throw .conflict(
        reason: "--layers is for targets that are ends of names",
        remedy: "name the layers in the regular expression, or leave --targets out")
    }
    if method != .full && trained.contains(.decoder) {
      throw .conflict(
        reason: "the decoder is either adapted or trained whole",
        remedy: "take 'finetune full --train decoder'")
    }
  }

  /// The one target, if it is no plain name.
  private static func pattern(_ targets: [String]) -> String? {
    guard targets.count == 1, targets[0].contains(where: { "\\*+?()[]|^$".contains($0) }) else { return nil }
    return targets[0]
  }

  /// What is trained in a model.
  ///
  /// - Throws: `FinetuneError.noSuchPart`.
  func method(_ method: Method, _ inventory: ModelInventory, model: String, media: [Modality]) throws
    -> FinetuneOptions.Method
  {
    let parts = ModelPart.allCases.filter { part in
      inventory.tensors.contains { ModelPart(of: $0.name) == part }
    }
    if let missing = (trained + frozen + rates.keys.sorted { $0.rawValue < $1.rawValue }).first(where: {
      $0 != .adapters && !parts.contains($0)
    }) {
      throw FinetuneError.noSuchPart(path: model, part: missing.rawValue, parts: parts.map(\.rawValue))
    }
    let whole =
      method == .full ? (trained.isEmpty ? parts : trained).filter { !frozen.contains($0) } : trained
    let rated = whole + (method == .full ? [] : [.adapters])
    for part in rates.keys.sorted(by: { $0.rawValue < $1.rawValue }) where !rated.contains(part) {
      throw UsageError.conflict(
        reason: "--lr-\(part.rawValue) is for a part that is not trained",
        remedy: "leave it out, or train the part")
    }
    if method == .full {
      guard !whole.isEmpty else {
        throw UsageError.conflict(
          reason: "--train and --freeze leave nothing to train", remedy: "freeze fewer parts")
      }
      return .full(whole)
    }
    try requireMatches(inventory)
    let rule: ModuleSelection.Rule
    switch targets {
    case []: rule = .pattern(inventory.decoderPattern(layers: layers))
    case ["all-linear"]: rule = .allLinear
    default: rule = Self.pattern(targets).map { .pattern($0) } ?? .names(targets)
    }
    var selection = ModuleSelection(rule)
    if case .names = rule, !layers.isEmpty { selection.layers = layers }
    let rank = self.rank ?? (method == .moka ? 4 : 8)
    let usual = method == .moka ? rank * preset.defaultScale : 2 * rank
    var configuration = AdapterConfiguration(rank: rank, alpha: alpha ?? Double(usual), selection: selection)
    configuration.stabilisesRank = stabilisesRank
    configuration.dropout = dropout
    configuration.bias = bias
    configuration.baseModel = Support.name(model)
    configuration.savedModules = trained.flatMap { inventory.modules(of: $0) }
    if method == .moka { configuration.moka = MokASettings(preset, media: media) }
    return .adapter(configuration)
  }

  /// Refuses layers that the model does not have, and names that none of its layers has.
  private func requireMatches(_ inventory: ModelInventory) throws(UsageError) {
    let names = inventory.sites.flatMap { $0.layout.moduleNames(of: $0.name) + [$0.moduleName] }
    let numbers = Set(
      inventory.sites.flatMap { site in
        ModelPart(of: site.name + ".weight") == .decoder
          ? site.name.split(separator: ".").compactMap { Int($0) } : []
      })
    if let layer = layers.first(where: { !numbers.contains($0) }) {
      throw .badValue(
        option: "--layers", found: "\(layer)",
        expected: "numbers from 0 to \(numbers.max() ?? 0), the layers of the decoder",
        command: FinetuneCommand.name)
    }
    guard targets != ["all-linear"], Self.pattern(targets) == nil else { return }
    for target in targets where !names.contains(where: { $0 == target || $0.hasSuffix("." + target) }) {
      throw .badValue(
        option: "--targets", found: target,
        expected: "ends of names of linear layers, such as \(names.prefix(3).joined(separator: ", "))",
        command: FinetuneCommand.name)
    }
  }

  /// How it is trained.
  func options(_ method: FinetuneOptions.Method, records: Int, seed: Int) -> FinetuneOptions {
    let perStep = batch * accumulation
    let total = steps ?? max(1, Int((epochs * Double(records) / Double(perStep)).rounded(.up)))
    let shape: LearningRateSchedule.Shape =
      switch schedule {
      case .cosine: .cosine(floor: 0)
      case .linear: .linear(floor: 0)
      case .constant: .constant
      }
    let warm = min(total - 1, Int((warmup * Double(total)).rounded(.up)))
    var options = FinetuneOptions(
      method, schedule: LearningRateSchedule(peak: rate, shape: shape, warmup: warm, total: total))
    options.batchSize = batch
    options.driver.accumulation = accumulation
    options.driver.clipping = GradientClipping(norm: clip > 0 ? clip : nil)
    options.weightDecay = decay
    options.rates = rates.mapValues { $0 / rate }
    options.checkpointsLayers = checkpointsLayers
    options.seed = seed
    return options
  }

  /// Every option that changes the numbers, for the configuration of a run.
  var settings: JSONObject {
    func words(_ words: [String]) -> JSONValue { .array(words.map(JSONValue.string)) }
    let rates = self.rates.sorted { $0.key.rawValue < $1.key.rawValue }
    return JSONObject([
      ("rank", rank.map(JSONValue.integer) ?? .null), ("alpha", JSONValue(alpha)),
      ("rslora", .bool(stabilisesRank)), ("dropout", .number(dropout)), ("targets", words(targets)),
      ("layers", .array(layers.map(JSONValue.integer))), ("bias", .string(bias.rawValue)),
      ("preset", .string(preset.rawValue)), ("train", words(trained.map(\.rawValue))),
      ("freeze", words(frozen.map(\.rawValue))), ("lr", .number(rate)),
      ("part_lr", .object(JSONObject(rates.map { ($0.key.rawValue, .number($0.value)) }))),
      ("weight_decay", .number(decay)), ("epochs", .number(epochs)),
      ("steps", steps.map(JSONValue.integer) ?? .null), ("batch", .integer(batch)),
      ("accumulation", .integer(accumulation)), ("schedule", .string(schedule.rawValue)),
      ("warmup", .number(warmup)), ("clip", .number(clip)),
      ("activation_checkpointing", .bool(checkpointsLayers)),
    ])
  }
}
