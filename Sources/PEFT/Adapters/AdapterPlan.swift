import Foundation
import RunKit
public import TensorCore
public import TokenModel

/// Where the adapters of a configuration stand in a model, and the tensors that belong to them.
///
/// Tensors carry the family's own names: `model.layers.0.self_attn.q_proj.lora_A.weight`, `….lora_B.weight`; with MokA
/// `….lora_A.image.weight`; biases and modules that are trained whole the names they have in the model. Files carry the
/// names of PEFT: `base_model.model.` and the module's name in the model classes of transformers.
public struct AdapterPlan: Sendable {
  /// An adapted layer.
  public struct Module: Sendable {
    /// The layer.
    public let site: LinearSite
    /// r.
    public let rank: Int
    /// s.
    public let scale: Float
  }

  /// A tensor of the adapter.
  public struct Slot: Sendable, Equatable {
    /// The family's own name.
    public let name: String
    /// The name in a file.
    public let key: String
    /// Its axes.
    public let shape: [Int]
    /// Whether it is one of the model's own tensors, trained and saved whole.
    public let isWhole: Bool
  }

  /// Rank, scale, targets.
  public let configuration: AdapterConfiguration
  /// The adapted layers in the order of the model.
  public let modules: [Module]
  /// The tensors in order.
  public let slots: [Slot]
  /// How own names translate into those of modules.
  let layout: KeyLayout
  private let indices: [String: Int]
  static let keyPrefix = "base_model.model."

  /// Finds the modules of a configuration in a model.
  ///
  /// - Parameter path: What the configuration is called in messages.
  /// - Throws: `AdapterError`.
  public init(_ configuration: AdapterConfiguration, _ inventory: ModelInventory, path: String)
    throws(AdapterError)
  {
    (self.configuration, layout) = (configuration, inventory.layout)
    let matcher = try ModuleMatcher(configuration, path: path)
    var ranks: [(PythonPattern, Int)] = []
    for (pattern, rank) in configuration.rankPatterns {
      ranks.append(
        (try PythonPattern(pattern, before: "(.*\\.)?(", after: ")", path: path, key: "rank_pattern"), rank))
    }
    var alphas: [(PythonPattern, Double)] = []
    for (pattern, alpha) in configuration.alphaPatterns {
      alphas.append(
        (try PythonPattern(pattern, before: "(.*\\.)?(", after: ")", path: path, key: "alpha_pattern"), alpha)
      )
    }
    var modules: [Module] = []
    for site in inventory.sites where try matcher.selects(site) {
      let names = site.layout.moduleNames(of: site.name)
      let rank = try Self.first(ranks, names) ?? configuration.rank
      let alpha = try Self.first(alphas, names) ?? configuration.alpha
      if configuration.moka != nil { try Self.checkPlace(of: site, path: path) }
      let scale = configuration.scale(rank: rank, alpha: alpha)
      guard scale.isFinite else { throw .notFinite(path: path, name: "the scale of \(site.moduleName)") }
      modules.append(Module(site: site, rank: rank, scale: scale))
    }
    guard !modules.isEmpty else {
      throw .noModules(
        path: path, targets: configuration.selection.targets.text,
        examples: inventory.sites.prefix(3).map(\.moduleName))
    }
    self.modules = modules
    slots =
      modules.flatMap { Self.slots(of: $0, configuration.moka) }
      + Self.wholeSlots(configuration, inventory, modules)
    indices = Dictionary(slots.enumerated().map { ($1.name, $0) }) { first, _ in first }
    if inventory.tiesEmbeddings { try Self.checkTies(configuration, slots, path: path) }
  }

  /// The value of the first pattern that matches one of the names of a module.
  private static func first<Value>(_ entries: [(PythonPattern, Value)], _ names: [String])
    throws(AdapterError) -> Value?
  {
    for (pattern, value) in entries {
      for name in names { if try pattern.matches(name) { return value } }
    }
    return nil
  }

  /// A table saved whole is a copy, in PEFT, that embeds alone while the old one goes on as the output layer; here both are
  /// one.
  private static func checkTies(_ configuration: AdapterConfiguration, _ slots: [Slot], path: String)
    throws(AdapterError)
  {
    let table = slots.first { $0.isWhole && $0.name.hasSuffix("embed_tokens.weight") }?.name
    let head = configuration.savedModules.first { "lm_head".hasSuffix($0) || $0.hasSuffix(".lm_head") }
    guard let module = table ?? head else { return }
    throw .unsuitableModule(
      path: path, module: module,
      reason:
        "the output layer of the model is its embedding table (tie_word_embeddings), and one of the two "
        + "cannot be saved without the other")
  }

  /// MokA needs rows of a conversation.
  private static func checkPlace(of site: LinearSite, path: String) throws(AdapterError) {
    guard ModelPart(of: site.name + ".weight") == .decoder, site.name != "lm_head" else {
      throw .unsuitableModule(
        path: path, module: site.moduleName,
        reason: "MokA routes rows by modality, so it stands in the layers of the decoder only")
    }
  }

  private static func slots(of module: Module, _ moka: MokASettings?) -> [Slot] {
    let (site, rank) = (module.site, module.rank)
    func slot(_ leaf: String, _ shape: [Int]) -> Slot {
      Slot(
        name: "\(site.name).\(leaf)", key: "\(keyPrefix)\(site.moduleName).\(leaf)", shape: shape,
        isWhole: false)
    }
    let (down, up) = ([rank, site.inputSize], [site.outputSize, rank])
    guard let moka else { return [slot("lora_A.weight", down), slot("lora_B.weight", up)] }
    let names = moka.modalities.map(\.rawValue)
    return names.map { slot("lora_A.\($0).weight", down) }
      + (moka.sharesUp ? [slot("lora_B.weight", up)] : names.map { slot("lora_B.\($0).weight", up) })
  }

  /// Biases that are trained, and modules that are saved whole.
  private static func wholeSlots(
    _ configuration: AdapterConfiguration, _ inventory: ModelInventory, _ modules: [Module]
  ) -> [Slot] {
    let adapted = Set(modules.map { $0.site.name + ".bias" })
    return inventory.tensors.compactMap { tensor -> Slot? in
      let path = inventory.layout.moduleName(of: tensor.name)
      let isSaved = isInside(path, configuration.savedModules)
      let isBias =
        tensor.name.hasSuffix(".bias") && tensor.shape.count == 1
        && (configuration.bias == .all || configuration.bias == .adapted && adapted.contains(tensor.name))
      guard isSaved || isBias else { return nil }
      // PEFT keeps the bias of an adapted layer in the layer it wraps.
      let key =
        adapted.contains(tensor.name) ? path.dropLast("bias".count) + "base_layer.bias" : Substring(path)
      return Slot(name: tensor.name, key: keyPrefix + key, shape: tensor.shape, isWhole: true)
    }
  }

  /// Whether a module that holds the tensor, at any depth, has a name with one of the ends.
  private static func isInside(_ tensor: String, _ ends: [String]) -> Bool {
    if ends.isEmpty { return false }
    var parts = tensor.split(separator: ".")
    while parts.count > 1 {
      parts.removeLast()
      let module = parts.joined(separator: ".")
      if ends.contains(where: module.hasSuffix) { return true }
    }
    return false
  }

  /// The slot of a name.
  public func slot(_ name: String) -> Slot? { indices[name].map { slots[$0] } }

  /// Numbers in all tensors.
  public var elementCount: Int { slots.reduce(0) { $0 + $1.shape.reduce(1, *) } }

  /// Tensors to begin training with, in order: A uniform in ±1/√columns, as PEFT draws it (Kaiming with a = √5), B zero,
  /// whole tensors as they are.
  ///
  /// Source: He et al., "Delving Deep into Rectifiers", ICCV 2015, arXiv:1502.01852, for the name of the draw.
  public func initialTensors(_ checkpoint: Checkpoint, seed: Int) throws -> [(name: String, value: Tensor)] {
    try slots.map { slot in
      if slot.isWhole {
        return (slot.name, try checkpoint.tensor(slot.name, shape: slot.shape, layout: layout))
      }
      if slot.name.contains(".lora_B.") { return (slot.name, Tensor(zeros: slot.shape)) }
      var stream = RandomStream(seed: seed, purpose: "initialization " + slot.name)
      let bound = 1 / Float(slot.shape[1]).squareRoot()
      let elements = (0..<slot.shape[0] * slot.shape[1]).map { _ in bound * (2 * stream.uniformFloat() - 1) }
      return (slot.name, Tensor(elements, shape: slot.shape))
    }
  }

  /// A source of weights with the adapters around their layers.
  ///
  /// - Parameters:
  ///   - tensors: One for each slot, by name; tracked ones make a model whose passes are recorded.
  ///   - dropout: For each module in order, in training.
  ///   - split: Collects A for each modality, where a training wants the gradient of each.
  public func adapting(
    _ source: WeightSource, _ tensors: [String: Tensor], dropout: [AdapterDropout] = [],
    split: GradientSplit? = nil
  ) -> WeightSource {
    let places = Dictionary(modules.enumerated().map { ($1.site.name, $0) }) { first, _ in first }
    let whole = Set(slots.filter(\.isWhole).map(\.name))
    func tensor(_ name: String) -> Tensor {
      require(tensors[name] != nil, "no tensor for \(name)")
      return tensors[name] ?? Tensor(scalar: 0)
    }
    return source.replacing { name, _ in whole.contains(name) ? tensors[name] : nil }.wrapping {
      layer, site in
      guard let place = places[site.name] else { return layer }
      let module = modules[place]
      func tensors(_ leaf: String, _ names: [String]) -> [Tensor] {
        names.map { tensor("\(site.name).\(leaf).\($0)weight") }
      }
      guard let moka = configuration.moka else {
        let (down, up) = (tensors("lora_A", [""])[0], tensors("lora_B", [""])[0])
        var adapter = LoRALinear(layer, down: down, up: up, scale: module.scale)
        if place < dropout.count { adapter.dropout = dropout[place] }
        if let split { adapter.parts = split.parts(of: down, module: site.name) }
        return adapter
      }
      let names = moka.modalities.map { $0.rawValue + "." }
      var adapter = MokALinear(
        layer, downs: tensors("lora_A", names), ups: tensors("lora_B", moka.sharesUp ? [""] : names),
        scale: module.scale, settings: moka)
      if place < dropout.count { adapter.dropout = dropout[place] }
      return adapter
    }
  }
}

extension AdapterPlan {
  /// The same modules with plain LoRA.
  func withoutMokA() -> AdapterPlan {
    var configuration = configuration
    configuration.moka = nil
    return AdapterPlan(
      configuration, modules: modules,
      slots: modules.flatMap { Self.slots(of: $0, nil) } + slots.filter(\.isWhole), layout: layout)
  }

  private init(_ configuration: AdapterConfiguration, modules: [Module], slots: [Slot], layout: KeyLayout) {
    (self.configuration, self.modules, self.slots, self.layout) = (configuration, modules, slots, layout)
    indices = Dictionary(slots.enumerated().map { ($1.name, $0) }) { first, _ in first }
  }
}
