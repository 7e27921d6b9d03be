import RunKit
import TensorCore
import TokenModel

/// Inputs of a model and the outputs that another program computed for them, from one safetensors file.
///
/// Names are those of `trace` (`input_ids`, `hidden.0`, `attention.2`, `logits`, `layers.1.query`), alone or after a
/// prefix and a dot, so that one file holds several cases: `left.input_ids`, `left.logits`. Media without a prefix serve
/// every case that has none of its own: each takes as many as its placeholders ask for, from the first. Outputs of towers
/// are compared where media stand under the same prefix. Also accepted: `attn.N` for `attention.N`, `hidden.last` for the
/// state after the final norm, `inputs_embeds` for `embeddings`, `image_features` and `audio_features` for the rows a
/// tower's projector gives, `vision.layer.N` for `vision.layers.N.output`, `vision.last_hidden_state` for what the tower of
/// the family calls so, and `_f64` after an output for values computed in float64. `PatchSupplies` says how patches of
/// families with grids serve several cases.
struct ReferenceFile {
  /// One output to compare.
  struct Output {
    /// The name in the file.
    let name: String
    /// The name of the same tensor in a trace.
    let capture: String
    let tensor: StoredTensor
  }

  /// Tensors that share a prefix.
  struct Case {
    let prefix: String
    var inputs: [StoredTensor] = []
    /// Whether media stand here that some placeholders of the case may not ask for.
    var sharesMedia = false
    var outputs: [Output] = []
  }

  /// A tensor that is not compared, and why.
  struct Leftover { let name: String, reason: String }

  private(set) var cases: [Case] = []
  private(set) var leftovers: [Leftover] = []

  /// - Throws: `StoredTensorError`.
  init(_ tensors: [StoredTensor], model: any LanguageModel) throws {
    let inputNames = TraceInputs.textInputs + model.mediaInputs
    let known = Set(Trace.allNames(of: model))
    var cases: [String: Case] = [:]
    let supplies = PatchSupplies(tensors, model: model)
    var ofSupplies: [String: [Output]] = [:]
    for tensor in tensors {
      if let prefix = supplies.prefix(of: tensor.name) {
        let name = String(tensor.name.dropFirst(prefix.count + 1))
        if let capture = PatchSupplies.capture(name), known.contains(capture) {
          if tensor.shape.count > 1 {
            ofSupplies[prefix, default: []].append(
              Output(name: tensor.name, capture: capture, tensor: tensor))
          } else {
            leftovers.append(Leftover(name: tensor.name, reason: "segments of several lengths in one row"))
          }
        } else if !["pixel_values", "grid_thw"].contains(name) {
          leftovers.append(Leftover(name: tensor.name, reason: "no tensor of a trace has this name"))
        }
        continue
      }
      let parts = tensor.name.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
      var isKnown = false
      for start in parts.indices where !isKnown {
        let prefix = parts[..<start].joined(separator: ".")
        let name = parts[start...].joined(separator: ".")
        if inputNames.contains(name) {
          cases[prefix, default: Case(prefix: prefix)].inputs.append(tensor.renamed(name))
          isKnown = true
        } else if let capture = Self.capture(name, known, model) {
          cases[prefix, default: Case(prefix: prefix)].outputs.append(
            Output(name: tensor.name, capture: capture, tensor: tensor))
          isKnown = true
        }
      }
      if !isKnown {
        leftovers.append(Leftover(name: tensor.name, reason: "no tensor of a trace has this name"))
      }
    }
    self.cases = try supplies.cases(ofSupplies)
    for (prefix, found) in cases { cases[prefix]?.inputs += try supplies.missing(found.inputs) }
    let shared = cases[""].map { $0.has("input_ids") ? [] : $0.inputs } ?? []
    for prefix in cases.keys.sorted() {
      guard let found = cases[prefix] else { continue }
      for group in Self.groups(of: found, shared: shared, mediaInputs: model.mediaInputs) {
        if let reason = Self.obstacle(group, model) {
          let inputs = group.inputs.map { prefix.isEmpty ? $0.name : "\(prefix).\($0.name)" }
          let names = group.outputs.map(\.name) + (group.sharesMedia ? [] : inputs)
          leftovers += names.map { Leftover(name: $0, reason: reason) }
        } else {
          self.cases.append(group)
        }
      }
    }
    leftovers.sort { $0.name < $1.name }
  }

  /// The outputs of the decoder, which need ids, and those of towers, which need media only.
  private static func groups(of found: Case, shared: [StoredTensor], mediaInputs: [String]) -> [Case] {
    var (decoder, towers) = (found, found)
    decoder.outputs.removeAll { isOfTower($0.capture) }
    towers.outputs.removeAll { !isOfTower($0.capture) }
    towers.inputs.removeAll { !mediaInputs.contains($0.name) }
    let hasMedia = found.inputs.contains { mediaInputs.contains($0.name) }
    if found.has("input_ids") && !hasMedia {
      decoder.inputs += shared
      decoder.sharesMedia = true
    }
    // Media alone are no case: they serve others.
    let isSupply = !found.has("input_ids") && decoder.outputs.isEmpty && hasMedia
    if towers.outputs.isEmpty { return isSupply ? [] : [decoder] }
    return isSupply ? [towers] : [decoder, towers]
  }

  private static func isOfTower(_ capture: String) -> Bool {
    TensorName.Tower.allCases.contains { capture.hasPrefix($0.rawValue + ".") }
  }

  /// Why a case cannot run; nil if it can.
  private static func obstacle(_ group: Case, _ model: any LanguageModel) -> String? {
    if group.outputs.isEmpty { return "inputs without outputs" }
    if group.outputs.allSatisfy({ isOfTower($0.capture) }) {
      return group.inputs.isEmpty ? "there are no media under the same prefix" : nil
    }
    guard let ids = group.inputs.first(where: { $0.name == "input_ids" }) else {
      return "there is no input_ids under the same prefix"
    }
    // Some families need several tensors for a medium, and media that serve several cases may not fit this one.
    do {
      let inputs = try TraceInputs(
        group.inputs, path: "the case", model: model, mayLeaveMedia: group.sharesMedia)
      if group.sharesMedia { _ = try inputs.batch(for: model) }
    } catch TraceError.missingInput(_, let name) {
      return "there is no \(name) under the same prefix"
    } catch let error as PromptError where group.sharesMedia {
      return error.localizedDescription
    } catch {
      return nil
    }
    let placeholders = Set(model.modalities.compactMap { model.placeholderID(of: $0) })
    let hasMedia = group.inputs.contains { model.mediaInputs.contains($0.name) }
    let values = (try? ids.integers()) ?? []
    if !hasMedia && values.contains(where: placeholders.contains) {
      return "there is no \(model.mediaInputs.joined(separator: ", ")) for its placeholders"
    }
    return nil
  }

  /// The trace name of an output, or nil if it is none.
  private static func capture(_ name: String, _ known: Set<String>, _ model: any LanguageModel) -> String? {
    let plain = name.hasSuffix("_f64") ? String(name.dropLast(4)) : name
    let layerCount = model.decoder.configuration.layerCount
    func renamed(_ name: String) -> String {
      if name.hasPrefix("attn.") { return "attention." + name.dropFirst(5) }
      for (tower, _) in model.towers where name.hasPrefix(tower.rawValue + ".") {
        let rest = name.dropFirst(tower.rawValue.count + 1)
        if ["last_hidden_state", "encoder_output"].contains(rest) { return model.lastHiddenState(of: tower) }
        if rest.hasPrefix("layer."), let layer = Int(rest.dropFirst(6)) {
          return "\(tower.rawValue).layers.\(layer).output"
        }
        if rest.hasPrefix("attn.") { return "\(tower.rawValue).attention." + rest.dropFirst(5) }
      }
      return name
    }
    let capture =
      switch plain {
      case "inputs_embeds": "embeddings"
      case "hidden.last": "hidden.\(layerCount)"
      case "last_layer_output_before_norm": "layers.\(layerCount - 1).output"
      case "image_features": "vision.projected"
      case "audio_features": "audio.projected"
      default: renamed(plain)
      }
    return known.contains(capture) ? capture : nil
  }
}

extension ReferenceFile.Case {
  fileprivate func has(_ name: String) -> Bool { inputs.contains { $0.name == name } }
}
