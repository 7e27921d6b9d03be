import RunKit
import TensorCore
import TokenModel

/// Inputs of a model and the outputs that another program computed for them, from one safetensors file.
///
/// Names are those of `trace` (`input_ids`, `hidden.0`, `attention.2`, `logits`, `layers.1.query`), alone or after a
/// prefix and a dot, so that one file holds several cases: `left.input_ids`, `left.logits`. Also accepted: `attn.N` for
/// `attention.N`, `hidden.last` for the state after the final norm, `inputs_embeds` for `embeddings`, and `_f64` after an
/// output for values computed in float64.
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
    var outputs: [Output] = []
  }

  /// A tensor that is not compared, and why.
  struct Leftover { let name: String, reason: String }

  private(set) var cases: [Case] = []
  private(set) var leftovers: [Leftover] = []

  private static let inputNames = ["input_ids", "attention_mask", "position_ids", "image_u8", "audio_u8"]

  init(_ tensors: [StoredTensor], layerCount: Int) {
    var cases: [String: Case] = [:]
    for tensor in tensors {
      let parts = tensor.name.split(separator: ".", omittingEmptySubsequences: false).map(String.init)
      var isKnown = false
      for start in parts.indices where !isKnown {
        let prefix = parts[..<start].joined(separator: ".")
        let name = parts[start...].joined(separator: ".")
        if Self.inputNames.contains(name) {
          cases[prefix, default: Case(prefix: prefix)].inputs.append(tensor.renamed(name))
          isKnown = true
        } else if let capture = Self.capture(name, layerCount: layerCount) {
          cases[prefix, default: Case(prefix: prefix)].outputs.append(
            Output(name: tensor.name, capture: capture, tensor: tensor))
          isKnown = true
        }
      }
      if !isKnown {
        leftovers.append(Leftover(name: tensor.name, reason: "no tensor of a trace has this name"))
      }
    }
    for prefix in cases.keys.sorted() {
      guard let found = cases[prefix] else { continue }
      if found.inputs.contains(where: { $0.name == "input_ids" }) && !found.outputs.isEmpty {
        self.cases.append(found)
      } else {
        let reason =
          found.outputs.isEmpty ? "inputs without outputs" : "there is no input_ids under the same prefix"
        let names =
          found.outputs.map(\.name) + found.inputs.map { prefix.isEmpty ? $0.name : "\(prefix).\($0.name)" }
        leftovers += names.map { Leftover(name: $0, reason: reason) }
      }
    }
    leftovers.sort { $0.name < $1.name }
  }

  /// The trace name of an output, or nil if it is none.
  private static func capture(_ name: String, layerCount: Int) -> String? {
    let plain = name.hasSuffix("_f64") ? String(name.dropLast(4)) : name
    let known = Trace.allNames(layerCount: layerCount)
    switch plain {
    case "inputs_embeds": return "embeddings"
    case "hidden.last": return "hidden.\(layerCount)"
    case "last_layer_output_before_norm": return "layers.\(layerCount - 1).output"
    default:
      let renamed = plain.hasPrefix("attn.") ? "attention." + plain.dropFirst(5) : plain
      return known.contains(renamed) ? renamed : nil
    }
  }
}
