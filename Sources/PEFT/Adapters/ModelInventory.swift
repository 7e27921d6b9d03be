import Foundation
import TensorCore
public import TokenModel

/// What a model is made of: its linear layers, and every tensor it asks for.
public struct ModelInventory: Sendable {
  /// The linear layers in the order they are made.
  public let sites: [LinearSite]
  /// Every tensor by the family's own name, in the order it is asked for, each once.
  public let tensors: [(name: String, shape: [Int])]
  /// How own names translate into those of modules.
  public let layout: KeyLayout
  /// Whether the output layer is the embedding table.
  public let tiesEmbeddings: Bool

  /// Looks at a model; its matrices stay mapped.
  ///
  /// - Throws: As opening the checkpoint.
  public init(_ checkpoint: Checkpoint) throws {
    var sites: [LinearSite] = []
    var tensors: [(name: String, shape: [Int])] = []
    var names: Set<String> = []
    _ = try checkpoint.model { source in
      source.replacing { name, shape in
        if names.insert(name).inserted { tensors.append((name, shape)) }
        return nil
      }.wrapping { layer, site in
        sites.append(site)
        return layer
      }
    }
    (self.sites, self.tensors) = (sites, tensors)
    layout = sites.first?.layout ?? .identity
    tiesEmbeddings = checkpoint.model.decoder.configuration.tiesEmbeddings
  }

  /// How many numbers the model has.
  public var elementCount: Int { tensors.reduce(0) { $0 + $1.shape.reduce(1, *) } }
}

/// A part of a model that can be frozen, or trained at a rate of its own.
public enum ModelPart: String, CaseIterable, Sendable {
  /// The image tower.
  case vision
  /// The audio tower.
  case audio
  /// What turns outputs of towers, or media themselves, into rows of the decoder.
  case projector
  /// The decoder with embeddings and output layer.
  case decoder
  /// What was added.
  case adapters

  /// The part a tensor belongs to, by the family's own name.
  public init(of name: String) {
    let projectors = [
      "multi_modal_projector.", "connector.", "visual.merger.", "image_newline", "image_embed.",
      "audio_embed.",
      "image_position.", "audio_position.", "modality_embed.",
    ]
    if name.contains(".lora_") {
      self = .adapters
    } else if projectors.contains(where: name.hasPrefix) {
      self = .projector
    } else if ["vision_tower.", "visual.", "vision_model.", "model.vqmodel."].contains(where: name.hasPrefix)
    {
      self = .vision
    } else if name.hasPrefix("audio_tower.") {
      self = .audio
    } else {
      self = .decoder
    }
  }
}

extension ModelInventory {
  /// Linear layers in the layers of the decoder.
  private var decoderSites: [LinearSite] {
    sites.filter { ModelPart(of: $0.name) == .decoder && $0.name != "lm_head" }
  }

  /// A regular expression for the linear layers of the decoder but the last, as `target_modules` of PEFT: it names each,
  /// since PEFT refuses one that fits a module around them too.
  ///
  /// - Parameter layers: All layers if empty.
  public func decoderPattern(layers: [Int] = []) -> String {
    var (prefix, leaves) = ("", [String]())
    for site in decoderSites {
      let name = site.moduleName
      guard let place = name.range(of: ".layers.") else { continue }
      let leaf = name[place.upperBound...].drop { $0 != "." }.dropFirst()
      prefix = String(name[..<place.upperBound])
      if !leaves.contains(String(leaf)) { leaves.append(String(leaf)) }
    }
    func escaped(_ text: String) -> String { text.replacingOccurrences(of: ".", with: "\\.") }
    let numbers = layers.isEmpty ? "\\d+" : "(\(layers.map(String.init).joined(separator: "|")))"
    return escaped(prefix) + numbers + "\\.(" + leaves.map(escaped).joined(separator: "|") + ")"
  }

  /// The names of the modules that hold the tensors of a part, as `modules_to_save` of PEFT: one name above all of them
  /// where nothing else lies below it.
  public func modules(of part: ModelPart) -> [String] {
    func module(_ name: String) -> String {
      layout.moduleName(of: name).split(separator: ".").dropLast().joined(separator: ".")
    }
    let own = tensors.filter { ModelPart(of: $0.name) == part }.map { module($0.name) }
    let others = tensors.filter { ModelPart(of: $0.name) != part }.map { layout.moduleName(of: $0.name) }
    guard var common = own.first?.split(separator: ".") else { return [] }
    for name in own {
      let parts = name.split(separator: ".")
      common = Array(zip(common, parts).prefix { $0 == $1 }.map(\.0))
    }
    let above = common.joined(separator: ".")
    if !above.isEmpty, !others.contains(where: { $0.hasPrefix(above + ".") }) { return [above] }
    var names: [String] = []
    for name in own where !names.contains(name) { names.append(name) }
    return names
  }
}
