import Foundation
import RunKit
import TensorCore
import TestSupport
import TokenModel

/// A text model of random weights, large enough that every kernel splits its work, in a folder of the test.
struct RandomLLaMA {
  static let (hiddenSize, innerSize, layerCount, headCount, headSize) = (256, 1_100, 2, 8, 32)
  let path: String

  /// Writes the model, its weights in bf16.
  init(in folder: TemporaryFolder) throws {
    let fixture = Fixtures.url("llama")
    path = folder.path("model")
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    for name in ["tokenizer.model", "tokenizer_config.json", "special_tokens_map.json"] {
      try FileManager.default.copyItem(
        at: fixture.appendingPathComponent(name), to: URL(fileURLWithPath: "\(path)/\(name)"))
    }
    let configuration: JSONValue = [
      "model_type": "llama", "vocab_size": 512, "hidden_size": .integer(Self.hiddenSize),
      "intermediate_size": .integer(Self.innerSize), "num_hidden_layers": .integer(Self.layerCount),
      "num_attention_heads": .integer(Self.headCount), "num_key_value_heads": 4,
      "head_dim": .integer(Self.headSize), "rms_norm_eps": 1e-5, "max_position_embeddings": 2_048,
      "bos_token_id": 1, "eos_token_id": 2,
    ]
    try Data(configuration.text().utf8).write(to: URL(fileURLWithPath: "\(path)/config.json"))
    let (hidden, inner, heads) = (Self.hiddenSize, Self.innerSize, Self.headCount * Self.headSize)
    var shapes: [(name: String, shape: [Int])] = [
      ("model.embed_tokens.weight", [512, hidden]), ("model.norm.weight", [hidden]),
      ("lm_head.weight", [512, hidden]),
    ]
    for layer in 0..<Self.layerCount {
      shapes += [
        ("input_layernorm", [hidden]), ("post_attention_layernorm", [hidden]),
        ("self_attn.q_proj", [heads, hidden]),
        ("self_attn.k_proj", [heads / 2, hidden]), ("self_attn.v_proj", [heads / 2, hidden]),
        ("self_attn.o_proj", [hidden, heads]), ("mlp.gate_proj", [inner, hidden]),
        ("mlp.up_proj", [inner, hidden]),
        ("mlp.down_proj", [hidden, inner]),
      ].map { ("model.layers.\(layer).\($0).weight", $1) }
    }
    try SafetensorsWriter.write(
      tensors: shapes.enumerated().map { try Self.weight($1.name, $1.shape, id: $0) },
      to: "\(path)/model.safetensors")
  }

  /// Norms near 1, matrices that keep the size of what they map.
  private static func weight(_ name: String, _ shape: [Int], id: Int) throws -> StoredTensor {
    var stream = RandomStream(seed: 9, purpose: "random llama", id: id)
    let scale = shape.count == 1 ? 0.1 : 2 / Double(shape[1]).squareRoot()
    let values = (0..<shape.reduce(1, *)).map { _ in
      Float((shape.count == 1 ? 1 : 0) + scale * stream.normal())
    }
    return try StoredTensor(
      name: name, elementType: .bf16, shape: shape,
      storage: .owned(values.flatMap { [UInt8($0.bitPattern >> 16 & 0xFF), UInt8($0.bitPattern >> 24)] }))
  }

  /// A data file of texts of at least so many tokens each.
  func data(records: Int, tokens: Int, in folder: TemporaryFolder) throws -> String {
    let tokenizer = try SentencePieceTokenizer(folder: URL(fileURLWithPath: path))
    var lines = ""
    for record in 0..<records {
      var stream = RandomStream(seed: 9, purpose: "random text", id: record)
      var text = ""
      while try tokenizer.encode(text).count < tokens {
        text += (0..<100).map { _ in
          ["hello", "world", "the", "of", "seven", "image"][stream.integer(below: 6)] + " "
        }
        .joined()
      }
      lines += JSONValue.object(JSONObject([("text", .string(text)), ("answer", "yes")])).text() + "\n"
    }
    let path = folder.path("long.jsonl")
    try Data(lines.utf8).write(to: URL(fileURLWithPath: path))
    return path
  }
}
