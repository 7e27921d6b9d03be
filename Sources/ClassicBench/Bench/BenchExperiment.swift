public import Foundation
public import RunKit
import TokenModel

/// A benchmark as a JSON file describes it; unknown keys are refused.
///
/// | key | meaning |
/// | --- | --- |
/// | `data` | the folder of AVDigits or a packed folder, relative to the file |
/// | `modalities` | of those of the data; their order is that of the head |
/// | `encoders` | a name for all modalities, or for each a name or an object with `type` and its options: `EncoderChoice` |
/// | `fusion` | concatenation, sum, gated, film or transformer; methods may need another |
/// | `seeds` | how many seeds, counted from `first_seed` (that of the command line) |
/// | `methods` | a list of objects with `id`, an optional `label`, and the options of the method |
/// | `reference` | the label that others are compared with; the first method unless given |
/// | `training` | `epochs`, `batch_size`, `learning_rate`, `momentum`, `weight_decay`, `decay_interval`, `decay_factor`, `patience`, `held_out_share`, `selection`, `augmentation` |
///
/// A method `opm+ogm-ge` is composed of several, each of which has its options under its own name. Further keys of
/// `training`:
///
/// | key | meaning |
/// | --- | --- |
/// | `accumulation` | batches whose mean gradient is one step of the optimizer |
/// | `apply_to` | `grad`: coefficients of methods multiply gradients; `update`: the step that comes of them |
/// | `class_weights` | what samples of each class count in a mean, in the order of classes; or `balanced`, n / (C n_c) |
///
/// `selection` says which weights are tested: those of the best `validation` accuracy (the default), or the `last`.
public struct BenchExperiment {
  /// The most modalities: every set of them is evaluated.
  static let modalityLimit = 8

  /// The heads that an experiment can ask for.
  enum Fusion: String, CaseIterable {
    case concatenation, sum, gated, film, transformer

    /// - Parameter positions: Feature vectors of a sample in each modality.
    func head(positions: [Int]) -> FusionHead {
      switch self {
      case .concatenation: .concatenation
      case .sum: .sum
      case .gated: .gated
      case .film: .film
      case .transformer: .transformer(positions: positions)
      }
    }
  }

  /// Everything that was read, defaults included.
  public let effective: JSONObject
  /// The folder of the data.
  public let dataFolder: URL
  /// Labels of the methods, in order.
  public var labels: [String] { methods.map(\.label) }
  /// Seeds of the runs.
  public let seeds: [Int]
  /// What the others are compared with.
  public let reference: String
  let modalities: [Modality]
  let encoders: EncoderChoices
  let fusion: Fusion
  let methods: [MethodCatalog.Choice]
  let plan: TrainingPlan

  /// What the command line says beside an experiment.
  public struct Choices: Sendable {
    /// Where the experiment does not say `first_seed`.
    public var firstSeed = 0
    /// The folder of the data, in place of `data`.
    public var dataFolder: URL?
    /// Labels of the methods that are wanted, in place of all.
    public var labels: [String]?

    /// The experiment as it stands.
    public init() {}
  }

  /// Reads an experiment.
  ///
  /// - Throws: `FileError`, `ExperimentError`, `BenchError`.
  public init(_ url: URL, _ choices: Choices = Choices()) throws {
    try self.init(
      path: url.path, bytes: FileReader.bytes(of: url, limit: 1 << 22), base: url.deletingLastPathComponent(),
      choices: choices)
  }

  /// An experiment that comes with the program; its data are looked for in the current folder.
  ///
  /// - Throws: `BenchError`.
  public init(_ preset: BenchPreset, isQuick: Bool, _ choices: Choices = Choices()) throws {
    try self.init(
      path: "preset \(preset.rawValue)", bytes: [UInt8](preset.experiment(isQuick: isQuick).text().utf8),
      base: URL(fileURLWithPath: FileManager.default.currentDirectoryPath, isDirectory: true),
      choices: choices)
  }

  init(path: String, bytes: [UInt8], base: URL, choices: Choices) throws {
    let reader = try ExperimentReader(path: path, bytes: bytes)
    let stored = URL(fileURLWithPath: try reader.string("data"), relativeTo: base)
    dataFolder = (choices.dataFolder ?? stored).standardizedFileURL
    let names = try reader.strings("modalities")
    if let twice = names.first(where: { name in names.count { $0 == name } > 1 }) {
      throw BenchError.repeatedModality(path: path, name: twice)
    }
    guard !names.isEmpty else {
      throw reader.impossible("modalities", found: "none", expected: "one modality or more")
    }
    guard names.count <= Self.modalityLimit else {
      throw reader.impossible(
        "modalities", found: "\(names.count)",
        expected: "at most \(Self.modalityLimit): every set of them is evaluated")
    }
    modalities = names.map { Modality(rawValue: $0) }
    encoders = try EncoderChoices(reader, modalities: names, base: base)
    fusion = try reader.choice("fusion", default: .concatenation)
    let first = try reader.integer("first_seed", in: 0...Int.max - 1000, default: choices.firstSeed)
    let count = try reader.integer("seeds", in: 1...1000, default: 3)
    seeds = Array(first..<first + count)
    plan = try Self.plan(reader.section("training"))
    let listed = try reader.list("methods") { try MethodCatalog.read($0, modalities: names) }
    guard let firstLabel = listed.first?.label else {
      throw reader.impossible("methods", found: "none", expected: "one method or more")
    }
    let labels = listed.map(\.label)
    if let twice = labels.first(where: { label in labels.count { $0 == label } > 1 }) {
      throw reader.impossible(
        "methods", found: "two of \(twice.inQuotes)", expected: "a label of its own for each")
    }
    if let odd = labels.first(where: { !Self.isPlain($0) }) {
      throw reader.impossible(
        "methods", found: odd.inQuotes, expected: "labels of letters, digits, -, _ and +")
    }
    if let taken = listed.first(where: { $0.label == Benchmark.teacherLabel && $0.id != UnimodalEnsemble.id })
    {
      throw reader.impossible(
        "methods", found: "\(taken.id) with the label \(taken.label.inQuotes)",
        expected: "another label: the runs that others learn from have this one")
    }
    for label in choices.labels ?? [] where !labels.contains(label) {
      throw BenchError.unknownMethod(
        path: path, id: label, nearest: NameSuggestion.nearest(to: label, in: labels), known: labels)
    }
    let chosen = listed.filter { choices.labels?.contains($0.label) ?? true }
    methods = chosen
    let stated = try reader.string("reference", default: firstLabel)
    guard labels.contains(stated) else {
      throw reader.impossible(
        "reference", found: stated.inQuotes, expected: "one of \(labels.joined(separator: ", "))")
    }
    reference = chosen.contains { $0.label == stated } ? stated : chosen.first?.label ?? stated
    try reader.finish()
    var all = reader.effective
    if let labels = choices.labels { all["chosen_methods"] = .array(labels.map(JSONValue.string)) }
    effective = all
  }

  /// Labels name folders.
  static func isPlain(_ label: String) -> Bool {
    !label.isEmpty
      && label.utf8.allSatisfy { byte in
        UInt8(ascii: "a")...UInt8(ascii: "z") ~= byte || UInt8(ascii: "A")...UInt8(ascii: "Z") ~= byte
          || UInt8(ascii: "0")...UInt8(ascii: "9") ~= byte || "-_+".utf8.contains(byte)
      }
  }

  private static func plan(_ reader: ExperimentReader) throws -> TrainingPlan {
    var plan = TrainingPlan()
    plan.epochs = try reader.integer("epochs", in: 1...100_000, default: plan.epochs)
    plan.batchSize = try reader.integer("batch_size", in: 2...100_000, default: plan.batchSize)
    plan.learningRate = try reader.number("learning_rate", in: 1e-9...100, default: plan.learningRate)
    plan.momentum = try reader.number("momentum", in: 0...0.999, default: plan.momentum)
    plan.weightDecay = try reader.number("weight_decay", in: 0...10, default: plan.weightDecay)
    plan.decayInterval = try reader.optionalInteger("decay_interval", in: 1...100_000)
    plan.decayFactor = try reader.number("decay_factor", in: 1e-6...1, default: plan.decayFactor)
    plan.patience = try reader.optionalInteger("patience", in: 1...100_000)
    plan.heldOutShare = try reader.number("held_out_share", in: 0.01...0.9, default: plan.heldOutShare)
    plan.selection = try reader.choice("selection", default: plan.selection)
    plan.augments = try reader.bool("augmentation", default: plan.augments)
    plan.accumulation = try reader.integer("accumulation", in: 1...10_000, default: plan.accumulation)
    plan.coefficients = try reader.choice("apply_to", default: plan.coefficients)
    if plan.coefficients == .update && plan.accumulation > 1 {
      throw reader.impossible(
        "apply_to", found: "update with accumulation", expected: "grad, or an accumulation of 1")
    }
    let weights = try reader.optionalNumbers("class_weights", in: 1e-6...1e6, orOneOf: ["balanced"])
    plan.classWeights = weights.map { $0.word == nil ? .given($0.numbers) : .balanced }
    return plan
  }
}
