import Analysis
import Foundation
import RunKit
import TensorCore
import TokenModel

/// A model folder. Configuration and weights first: a change of the tokenizer is the business of its own target.
private func modelFolder(
  _ configuration: String, _ weights: [CheckpointBytes.Entry], tokenizer: [UInt8]? = nil
) -> [FuzzFile] {
  [
    FuzzFile(
      "config.json", [UInt8](configuration.utf8), .json(words: CheckpointBytes.configurationWords)),
    FuzzFile(
      "model.safetensors", CheckpointBytes.safetensors(weights),
      .safetensors(words: CheckpointBytes.weightWords)),
  ] + (tokenizer.map { [FuzzFile("tokenizer.model", $0, .binary(headerCount: $0.count))] } ?? [])
}

private let avtFolder = modelFolder(
  CheckpointBytes.avtConfiguration, CheckpointBytes.avtWeights, tokenizer: CheckpointBytes.tokenizer())

/// The text model with one setting changed.
private func llamaFolder(_ setting: String, _ changed: String) -> [FuzzFile] {
  modelFolder(
    CheckpointBytes.llamaConfiguration.replacing(setting, with: changed), CheckpointBytes.llamaWeights)
}

/// The audio-visual model without a weight, or with another in its place.
private func avtFolder(without name: String, with other: [CheckpointBytes.Entry] = []) -> [FuzzFile] {
  modelFolder(
    CheckpointBytes.avtConfiguration, CheckpointBytes.avtWeights.filter { $0.name != name } + other,
    tokenizer: CheckpointBytes.tokenizer())
}

/// Sizes that no file of weights backs: they must be refused before anything of that size is made.
private let absurdSizes: [(String, String)] = [
  (#""num_hidden_layers":1"#, #""num_hidden_layers":4096"#),
  (#""num_hidden_layers":1"#, #""num_hidden_layers":16777216"#),
  (#""vocab_size":26"#, #""vocab_size":16777216"#), (#""hidden_size":8"#, #""hidden_size":16777216"#),
  (#""head_dim":4"#, #""head_dim":4096"#),
  (#""max_position_embeddings":64"#, #""max_position_embeddings":1099511627776"#),
  (#""num_attention_heads":2"#, #""num_attention_heads":9223372036854775807"#),
]

extension FuzzTarget {
  /// A model folder, used as `inspect`, `trace` and `generate` use it.
  static let checkpoint = FuzzTarget(
    "checkpoint", errors: [ConfigurationError.self, ModelError.self],
    seeds: [avtFolder, modelFolder(CheckpointBytes.llamaConfiguration, CheckpointBytes.llamaWeights)],
    directed: each(absurdSizes.indices.map { $0 }) { llamaFolder(absurdSizes[$0].0, absurdSizes[$0].1) }
      + each(absurdSizes.indices.map { $0 }) { index in
        let (setting, changed) = absurdSizes[index]
        return modelFolder(CheckpointBytes.llamaConfiguration.replacing(setting, with: changed), [])
      } + each([#""mistral""#, "7", "null"]) { llamaFolder(#""llama""#, $0) }
      + each([#""gelu""#, #""silu","quantization_config":{}"#, "7"]) { llamaFolder(#""silu""#, $0) }
      + each(["0.0", "-1", "1e-300", "1e29", "1e31"]) { llamaFolder("8.0", $0) } + [
        { random in
          let names = CheckpointBytes.avtWeights.map(\.name)
          return avtFolder(without: random.pick(names))
        },
        { random in
          let old = random.pick(CheckpointBytes.avtWeights)
          return avtFolder(without: old.name, with: [.init(weight: old.name, old.shape + [1])])
        },
        { random in
          let old = random.pick(CheckpointBytes.avtWeights)
          let count = old.shape.reduce(1, *)
          let values = [Float](repeating: random.pick([.nan, .infinity, 3e38]), count: count)
          return avtFolder(without: old.name, with: [.init(old.name, old.shape, floats: values)])
        },
        { random in
          let old = random.pick(CheckpointBytes.avtWeights)
          let bytes = [UInt8](repeating: 7, count: 8 * old.shape.reduce(1, *))
          return avtFolder(without: old.name, with: [.init(old.name, .i64, old.shape, bytes: bytes)])
        },
      ],
    read: { folder in
      let checkpoint = try Checkpoint(folder: URL(fileURLWithPath: folder))
      _ = Inspection(checkpoint)
      _ = try checkpoint.fileHashes()
      let model = checkpoint.model
      let inputs = try TraceInputs(
        [StoredTensor(name: "input_ids", shape: [2, 2], integers: [1, 0, 0, 0])], path: "ids", model: model)
      _ = try Trace(model).run(inputs)
      var generator = Generator(model)
      generator.limit = 2
      let (embeddings, context) = try inputs.batch(for: model)
      _ = try generator.answers(to: .init(embeddings: embeddings, context: context))
    })

  /// A checkpoint that others load once for all their cases.
  ///
  /// - Parameter hasTokenizer: Whether its folder has a tokenizer.
  static func loadCheckpoint(hasTokenizer: Bool = true) throws -> Checkpoint {
    let folder = NSTemporaryDirectory() + "mmprobe-fuzz-model-\(ProcessInfo.processInfo.processIdentifier)"
    try? FileManager.default.removeItem(atPath: folder)
    try FileManager.default.createDirectory(atPath: folder, withIntermediateDirectories: true)
    // The weights stay mapped.
    defer { try? FileManager.default.removeItem(atPath: folder) }
    try (hasTokenizer ? avtFolder : Array(avtFolder.prefix(2))).lay(in: folder)
    return try Checkpoint(folder: URL(fileURLWithPath: folder))
  }

  /// The audio-visual model.
  static let model = Result { try loadCheckpoint() }
  /// The same without a tokenizer.
  static let modelWithoutTokenizer = Result { try loadCheckpoint(hasTokenizer: false) }
}
