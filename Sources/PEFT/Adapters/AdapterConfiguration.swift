public import RunKit
public import TokenModel

/// `adapter_config.json`: where an adapter stands and how it is scaled, as PEFT writes it.
///
/// | key | meaning |
/// | --- | --- |
/// | `peft_type` | `LORA`, or `MOKA` with the keys of `MokASettings` |
/// | `r`, `lora_alpha`, `use_rslora` | rank, α, and whether α is divided by √r |
/// | `rank_pattern`, `alpha_pattern` | other values for modules whose names end like the key, a regular expression |
/// | `target_modules`, `exclude_modules`, `layers_to_transform`, `layers_pattern` | see `ModuleSelection` |
/// | `lora_dropout` | of the input of an adapter in training |
/// | `bias` | `none`, `lora_only` (biases of adapted layers are trained) or `all` |
/// | `modules_to_save` | ends of names of modules that are trained and saved whole |
///
/// Settings that change numbers and are not known here, such as `use_dora`, are refused. How matrices were drawn
/// (`init_lora_weights`) does not matter for saved ones, except where drawing changes the frozen weight.
public struct AdapterConfiguration: Sendable, Equatable {
  /// Which biases are trained.
  public enum Bias: String, CaseIterable, Sendable {
    case none = "none"
    case adapted = "lora_only"
    case all = "all"
  }

  /// The rank of modules that no pattern names.
  public var rank: Int
  /// α of modules that no pattern names.
  public var alpha: Double
  /// Ranks by pattern, in order.
  public var rankPatterns: [(pattern: String, rank: Int)] = []
  /// α by pattern, in order.
  public var alphaPatterns: [(pattern: String, alpha: Double)] = []
  /// Whether α is divided by √r instead of r.
  public var stabilisesRank = false
  /// Dropout in training.
  public var dropout = 0.0
  /// Which biases are trained.
  public var bias = Bias.none
  /// Where it stands.
  public var selection: ModuleSelection
  /// Ends of names of modules that are saved whole.
  public var savedModules: [String] = []
  /// The form of MokA; nil for LoRA.
  public var moka: MokASettings?
  /// What the frozen model was called.
  public var baseModel: String?

  /// LoRA with the same rank everywhere.
  public init(rank: Int, alpha: Double, selection: ModuleSelection) {
    (self.rank, self.alpha, self.selection) = (rank, alpha, selection)
  }

  /// Whether both mean the same adapter.
  public static func == (left: Self, right: Self) -> Bool { left.json == right.json }

  /// `LORA` or `MOKA`.
  public var type: String { moka == nil ? "LORA" : "MOKA" }

  /// α / r or α / √r.
  func scale(rank: Int, alpha: Double) -> Float {
    Float(alpha / (stabilisesRank ? Double(rank).squareRoot() : Double(rank)))
  }

  /// The scale of modules that no pattern names.
  public var scale: Double { Double(scale(rank: rank, alpha: alpha)) }

  private static let rankLimit = 1 << 16

  /// Keys that say nothing about the numbers of a saved adapter.
  private static let notes: Set<String> = [
    "auto_mapping", "revision", "task_type", "inference_mode", "peft_version", "megatron_core",
    "qalora_group_size", "loftq_config", "eva_config", "corda_config", "lora_ga_config", "runtime_config",
  ]
  private static let keys: Set<String> = [
    "peft_type", "base_model_name_or_path", "r", "lora_alpha", "rank_pattern", "alpha_pattern", "use_rslora",
    "lora_dropout", "bias", "target_modules", "exclude_modules", "layers_to_transform", "layers_pattern",
    "modules_to_save", "init_lora_weights",
  ]
  private static let mokaKeys: Set<String> = [
    "preset", "modalities", "cross_weight", "logit_gain", "kv_set", "interaction", "shared_b",
  ]

  /// Reads and checks a file.
  ///
  /// - Throws: `ConfigurationError`, `AdapterError.unknownType`.
  public init(_ reader: ConfigurationReader) throws {
    let type = try reader.string("peft_type")
    guard type == "LORA" || type == "MOKA" else {
      throw AdapterError.unknownType(path: reader.path, found: type, supported: ["LORA", "MOKA"])
    }
    rank = try reader.integer("r", in: 1...Self.rankLimit)
    alpha = try reader.number("lora_alpha", in: -1e6...1e6)
    for (key, value) in try Self.members("rank_pattern", reader) {
      guard let rank = value.intValue, 1...Self.rankLimit ~= rank else {
        throw Self.wrong(reader, "rank_pattern", value, "whole numbers from 1 to \(Self.rankLimit)")
      }
      rankPatterns.append((key, rank))
    }
    for (key, value) in try Self.members("alpha_pattern", reader) {
      guard let alpha = value.doubleValue, abs(alpha) <= 1e6 else {
        throw Self.wrong(reader, "alpha_pattern", value, "numbers from -1e6 to 1e6")
      }
      alphaPatterns.append((key, alpha))
    }
    stabilisesRank = try reader.bool("use_rslora", default: false)
    dropout = try reader.number("lora_dropout", in: 0...1, default: 0)
    guard dropout < 1 else {
      throw Self.wrong(reader, "lora_dropout", .number(dropout), "a number from 0 to 1, without 1")
    }
    let word = try reader.string("bias", default: "none")
    guard let bias = Bias(rawValue: word) else {
      throw reader.unsupported("bias", found: word, supported: "none, lora_only, all")
    }
    self.bias = bias
    guard let targets = try Self.rule("target_modules", reader) else {
      throw reader.unsupported(
        "target_modules", found: "missing", supported: "a list of names, a regular expression, all-linear")
    }
    selection = ModuleSelection(targets)
    selection.exclusions = try Self.rule("exclude_modules", reader)
    if reader.object["layers_to_transform"]?.intValue != nil {
      selection.layers = [try reader.integer("layers_to_transform", in: 0...4096)]
    } else {
      selection.layers = try reader.integers("layers_to_transform", in: 0...4096)
    }
    if let pattern = reader.object["layers_pattern"]?.stringValue {
      selection.layerPatterns = pattern.isEmpty ? [] : [pattern]
    } else {
      selection.layerPatterns = try Self.words("layers_pattern", reader)
    }
    // PEFT refuses both too.
    if case .pattern = targets, selection.layers?.isEmpty == false {
      throw reader.unsupported(
        "layers_to_transform", found: "beside a regular expression for target_modules",
        supported: "a list of names beside it")
    }
    if !selection.layerPatterns.isEmpty, selection.layers?.isEmpty != false {
      throw reader.unsupported(
        "layers_pattern", found: "without layers_to_transform", supported: "both or none")
    }
    savedModules = try Self.words("modules_to_save", reader)
    moka = type == "MOKA" ? try MokASettings(reader) : nil
    baseModel = reader.object["base_model_name_or_path"]?.stringValue
    try Self.checkInitialization(reader)
    try Self.refuseUnknown(reader, known: type == "MOKA" ? Self.keys.union(Self.mokaKeys) : Self.keys)
    if moka != nil && bias != .none {
      throw reader.unsupported("bias", found: word, supported: "none, with MokA")
    }
  }

  /// Refuses ways of drawing that change the frozen weight: its change is in no file of the adapter.
  private static func checkInitialization(_ reader: ConfigurationReader) throws(ConfigurationError) {
    guard let value = reader.object["init_lora_weights"], value.boolValue == nil, !value.isNull else {
      return
    }
    guard ["gaussian", "orthogonal", "eva"].contains(value.stringValue) else {
      throw reader.unsupported(
        "init_lora_weights", found: value.text(),
        supported: "true, false, gaussian, orthogonal, eva; others change the frozen weight")
    }
  }

  /// Refuses what is switched on and not known; what is off may be anything.
  private static func refuseUnknown(
    _ reader: ConfigurationReader, known: Set<String>
  ) throws(ConfigurationError) {
    for (key, value) in reader.object.members where !known.contains(key) && !notes.contains(key) {
      let isOff =
        value.isNull || value == false || value.arrayValue?.isEmpty == true
        || value.objectValue?.members.isEmpty == true
      if !isOff { throw reader.unsupported(key, found: value.text(), supported: "not set") }
    }
  }

  private static func wrong(
    _ reader: ConfigurationReader, _ key: String, _ found: JSONValue, _ expected: String
  ) -> ConfigurationError {
    .outOfRange(path: reader.path, key: key, found: found.text(), expected: expected)
  }

  private static func members(
    _ key: String, _ reader: ConfigurationReader
  ) throws(ConfigurationError) -> [(key: String, value: JSONValue)] {
    try reader.section(key)?.object.members ?? []
  }

  private static func words(
    _ key: String, _ reader: ConfigurationReader
  ) throws(ConfigurationError) -> [String] {
    guard let value = reader.object[key], !value.isNull else { return [] }
    let words = value.arrayValue?.compactMap(\.stringValue) ?? []
    guard words.count == value.arrayValue?.count, words.allSatisfy({ !$0.isEmpty }) else {
      throw wrong(reader, key, value, "a list of names")
    }
    return words
  }

  private static func rule(
    _ key: String, _ reader: ConfigurationReader
  ) throws(ConfigurationError) -> ModuleSelection.Rule? {
    if let text = reader.object[key]?.stringValue {
      return text.lowercased() == "all-linear" && key == "target_modules" ? .allLinear : .pattern(text)
    }
    let words = try words(key, reader)
    return words.isEmpty ? nil : .names(words)
  }

  /// The file's contents: the keys PEFT writes.
  public var json: JSONObject {
    func rule(_ rule: ModuleSelection.Rule?) -> JSONValue {
      switch rule {
      case nil: .null
      case .allLinear: "all-linear"
      case .pattern(let text): .string(text)
      case .names(let names): .array(names.map(JSONValue.string))
      }
    }
    let ranks = JSONObject(rankPatterns.map { ($0.pattern, JSONValue.integer($0.rank)) })
    let alphas = JSONObject(alphaPatterns.map { ($0.pattern, JSONValue.number($0.alpha)) })
    let isWhole = alpha == alpha.rounded() && abs(alpha) < 1e9
    let wholeAlpha: JSONValue = isWhole ? .integer(Int(alpha)) : .number(alpha)
    let layers = selection.layers.map { JSONValue.array($0.map(JSONValue.integer)) }
    func words(_ words: [String]) -> JSONValue {
      words.isEmpty ? .null : .array(words.map(JSONValue.string))
    }
    var members: [(String, JSONValue)] = []
    members.append(("alpha_pattern", .object(alphas)))
    members.append(("auto_mapping", .null))
    members.append(("base_model_name_or_path", baseModel.map(JSONValue.string) ?? .null))
    members.append(("bias", .string(bias.rawValue)))
    members.append(("exclude_modules", rule(selection.exclusions)))
    members.append(("fan_in_fan_out", false))
    members.append(("inference_mode", true))
    members.append(("init_lora_weights", true))
    members.append(("layers_pattern", words(selection.layerPatterns)))
    members.append(("layers_to_transform", layers ?? .null))
    members.append(("lora_alpha", wholeAlpha))
    members.append(("lora_dropout", .number(dropout)))
    members.append(("modules_to_save", words(savedModules)))
    members.append(("peft_type", .string(type)))
    members.append(("r", .integer(rank)))
    members.append(("rank_pattern", .object(ranks)))
    members.append(("revision", .null))
    members.append(("target_modules", rule(selection.targets)))
    members.append(("task_type", "CAUSAL_LM"))
    members.append(("use_dora", false))
    members.append(("use_rslora", .bool(stabilisesRank)))
    members += moka?.members ?? []
    return JSONObject(members)
  }
}
