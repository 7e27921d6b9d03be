public import Foundation
import RunKit
public import TensorCore
public import TokenModel

/// Reads adapters as the authors of MokA released them, from safetensors.
///
/// | release | keys of a layer | A of | B |
/// | --- | --- | --- | --- |
/// | AudioVisualText | `lora_A0.weight`, `lora_A1.weight`, `lora_A2.weight`, `lora_B0.weight` | text, image, audio | `lora_B0` |
/// | VisualText | `lora_A.text.weight`, `lora_A.image.weight`, `lora_B.text.weight` | as they say | `lora_B.text` |
///
/// Layers are found by the end of their names, `layers.N.self_attn.q_proj` and so on, whatever stands before. In the first
/// release A1 serves images and videos; in the second `lora_B.image` was never used and is left out. The releases are
/// pickles, which are not read: `AdapterError.pickled` says how to convert them.
///
/// Source: GeWu-Lab/MokA, `AudioVisualText/peft_hyper/tuners/lora.py` and
/// `VisualText/modified_peft/tuners/lora/layer.py`.
public struct MokAImport {
  /// Which release a file belongs to.
  public enum Release: String, CaseIterable, Sendable {
    case audioVisualText = "avt"
    case visualText = "vt"
  }

  /// How A of the images of one layer lies against its first draw, uniform in ±1/√columns.
  ///
  /// In the visual-text release every layer but the first may have seen text alone while it was trained, since each asked
  /// the cache of the first one whether there was a prompt to route. Then its A of images is still what was drawn.
  public struct Draw: Sendable, Equatable {
    /// The layer.
    public let layer: Int
    /// The largest |element| over the bound, over all modules of the layer; at most 1 for what was drawn.
    public let largest: Double
    /// The largest distance of the elements' distribution from the uniform one (Kolmogorov and Smirnov).
    public let distance: Double
    /// Elements in all.
    public let count: Int

    /// Whether all elements lie within the bound, 8 bits of rounding aside, and no farther from uniform than one draw in
    /// a thousand.
    public var looksUntrained: Bool {
      largest <= 1 + 1.0 / 256 && distance <= 1.95 / Double(max(1, count)).squareRoot()
    }
  }

  /// The release.
  public let release: Release
  /// The plan of the adapter in the model.
  public let plan: AdapterPlan
  /// The tensors by the family's own names.
  public let tensors: [String: Tensor]
  /// Keys that are no part of the adapter: those of projectors and of the base model.
  public let otherKeys: [String]
  /// For every layer with A of images, how it lies against its first draw.
  public let draws: [Draw]

  /// Reads a file.
  ///
  /// - Parameter alpha: α; 16 in both releases.
  /// - Throws: `AdapterError`, `SafetensorsError`, `StoredTensorError`.
  public init(_ file: URL, for checkpoint: Checkpoint, alpha: Double = 16) throws {
    if ["bin", "pt", "pth", "pkl"].contains(file.pathExtension.lowercased()) {
      throw AdapterError.pickled(path: file.path)
    }
    let stored = try SafetensorsFile(path: file.path)
    let inventory = try ModelInventory(checkpoint)
    let parts = stored.tensors.map { (tensor: $0, place: Self.place(of: $0.name)) }
    guard let first = parts.lazy.compactMap(\.place).first else {
      throw AdapterError.unknownLayout(path: file.path, example: stored.names.first ?? "")
    }
    release = first.release
    var (matrices, names, others) = ([String: StoredTensor](), Set<String>(), [String]())
    for (tensor, place) in parts {
      guard let place, place.release == release else {
        others.append(tensor.name)
        continue
      }
      names.insert(place.module)
      // Made by the program, used by nothing.
      if place.leaf == "lora_B.image.weight" { continue }
      matrices["\(place.module).\(place.leaf)"] = tensor
    }
    let sites = inventory.sites.filter { site in names.contains { site.name.hasSuffix("." + $0) } }
    let unmatched = names.filter { name in !sites.contains { $0.name.hasSuffix("." + name) } }.sorted()
    guard unmatched.isEmpty else {
      throw AdapterError.unmatchedKeys(path: file.path, keys: unmatched, total: names.count)
    }
    // The first in the file, so that messages about another rank are the same each time.
    let sample = parts.first { $0.place?.leaf == "lora_A.text.weight" }?.tensor
    guard let sample, sample.shape.count == 2, sample.shape[0] > 0 else {
      throw AdapterError.unknownLayout(path: file.path, example: stored.names.first ?? "")
    }
    let media = ["image", "audio"].filter { name in
      matrices.keys.contains { $0.hasSuffix("lora_A.\(name).weight") }
    }
    var configuration = AdapterConfiguration(
      rank: sample.shape[0], alpha: alpha,
      selection: ModuleSelection(.names(sites.map(\.moduleName).sorted())))
    configuration.moka = MokASettings(
      release == .visualText ? .mokaVTRelease : .mokaAVTRelease, media: media.map { Modality(rawValue: $0) })
    plan = try AdapterPlan(configuration, inventory, path: file.path)
    var tensors: [String: Tensor] = [:]
    for module in plan.modules {
      guard let own = names.first(where: { module.site.name.hasSuffix("." + $0) }) else { continue }
      for slot in plan.slots where slot.name.hasPrefix(module.site.name + ".lora_") {
        let leaf = String(slot.name.dropFirst(module.site.name.count + 1))
        guard let matrix = matrices["\(own).\(leaf)"] else {
          throw AdapterError.missingTensors(
            path: file.path, tensors: ["\(own).\(leaf)"], total: plan.slots.count)
        }
        guard matrix.shape == slot.shape else {
          throw AdapterError.wrongShape(
            path: file.path, tensor: matrix.name, found: matrix.shape, expected: slot.shape)
        }
        let values = try matrix.floats()
        guard values.allSatisfy(\.isFinite) else {
          throw AdapterError.notFinite(path: file.path, name: matrix.name)
        }
        tensors[slot.name] = Tensor(values, shape: slot.shape)
      }
    }
    (self.tensors, otherKeys) = (tensors, others)
    draws = Self.draws(plan, tensors)
  }

  /// The layer and the matrix of a key, by the names used here.
  private static func place(of key: String) -> (release: Release, module: String, leaf: String)? {
    guard let start = key.range(of: "layers.", options: .backwards)?.lowerBound,
      let end = key.range(of: ".lora_", range: start..<key.endIndex)?.lowerBound
    else { return nil }
    let (module, leaf) = (String(key[start..<end]), String(key[key.index(after: end)...]))
    let numbered = [
      "lora_A0.weight": "lora_A.text.weight", "lora_A1.weight": "lora_A.image.weight",
      "lora_A2.weight": "lora_A.audio.weight", "lora_B0.weight": "lora_B.weight",
    ]
    if let own = numbered[leaf] { return (.audioVisualText, module, own) }
    let named = [
      "lora_A.text.weight": "lora_A.text.weight", "lora_A.image.weight": "lora_A.image.weight",
      "lora_B.text.weight": "lora_B.weight", "lora_B.image.weight": "lora_B.image.weight",
    ]
    return named[leaf].map { (.visualText, module, $0) }
  }

  /// For every layer the elements of A of images against the uniform distribution they were drawn from.
  static func draws(_ plan: AdapterPlan, _ tensors: [String: Tensor]) -> [Draw] {
    var layers: [Int: [Double]] = [:]
    for module in plan.modules {
      guard let tensor = tensors["\(module.site.name).lora_A.image.weight"],
        let layer = module.site.name.split(separator: ".").lazy.compactMap({ Int($0) }).first
      else { continue }
      let bound = 1 / Double(module.site.inputSize).squareRoot()
      layers[layer, default: []] += tensor.hostValues().map { Double($0) / bound }
    }
    return layers.sorted { $0.key < $1.key }.map { layer, values in
      let sorted = values.sorted()
      let count = Double(max(1, sorted.count))
      var distance = 0.0
      for (index, value) in sorted.enumerated() {
        let expected = min(1, max(0, (value + 1) / 2))
        distance = max(distance, expected - Double(index) / count, Double(index + 1) / count - expected)
      }
      let largest = max(abs(sorted.first ?? 0), abs(sorted.last ?? 0))
      return Draw(layer: layer, largest: largest, distance: distance, count: sorted.count)
    }
  }
}

extension StoredAdapter {
  /// For every layer with A of images, how it lies against its first draw; empty for LoRA.
  public var draws: [MokAImport.Draw] { MokAImport.draws(plan, tensors) }

  /// A plain LoRA with A of one modality and the B that belongs to it: MokA as it is for rows of this modality without
  /// attention. That of text is what MokA does while it decodes.
  ///
  /// - Throws: `AdapterError.noModality`, `.plainLoRA`.
  public func extracting(_ modality: Modality) throws(AdapterError) -> (
    plan: AdapterPlan, tensors: [String: Tensor]
  ) {
    guard let moka = plan.configuration.moka else {
      throw .plainLoRA(path: folder.path)
    }
    guard moka.modalities.contains(modality) else {
      throw .noModality(
        path: folder.path, modality: modality.rawValue, known: moka.modalities.map(\.rawValue))
    }
    let plain = plan.withoutMokA()
    var found: [String: Tensor] = [:]
    for slot in plain.slots {
      let name = slot.name.replacingOccurrences(
        of: ".lora_A.weight", with: ".lora_A.\(modality.rawValue).weight")
      let ownUp = slot.name.replacingOccurrences(
        of: ".lora_B.weight", with: ".lora_B.\(modality.rawValue).weight")
      found[slot.name] = tensors[name] ?? tensors[ownUp] ?? tensors[slot.name]
    }
    return (plain, found)
  }
}
