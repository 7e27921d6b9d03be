import Foundation
import RunKit
import TensorCore
import TokenModel

extension Checkpoint {
  /// A tensor of the weight files by the family's own name, in float32.
  ///
  /// - Throws: `AdapterError.quantised` where the files hold few bits a number in its place; `StoredTensorError`.
  func tensor(_ name: String, shape: [Int], layout: KeyLayout) throws -> Tensor {
    let stored = layout.resolved(in: weights.names).name(of: name)
    guard let tensor = weights[stored] else {
      throw AdapterError.quantised(path: folder.path, tensor: stored)
    }
    return Tensor(try tensor.floats(), shape: shape)
  }
}

/// Copies a model folder with some of its tensors changed: a merged adapter, or a fine-tuned model.
///
/// Tensors keep their names, shards and element types; changed ones are rounded to the type they had.
struct CheckpointCopy {
  let checkpoint: Checkpoint
  /// How own names translate into those of the files.
  let layout: KeyLayout
  /// By the family's own name: what to write in place of a tensor; nil for the tensor as it is.
  let change: (_ name: String, _ tensor: StoredTensor) throws -> [Float]?

  /// Files of a model folder that are copied as they are.
  private static let endings = [".json", ".model", ".jinja", ".txt", StoredRotations.name]

  /// Writes the copy; `config.json` comes last, so that a folder without it is not whole.
  ///
  /// - Parameter write: Writes a file of the given name in one step.
  func write(_ write: (_ name: String, _ body: (URL) throws -> Void) throws -> Void) throws {
    let resolved = layout.resolved(in: checkpoint.weights.names)
    var own: [String: String] = [:]
    for name in try ModelInventory(checkpoint).tensors.map(\.name) { own[resolved.name(of: name)] = name }
    for file in checkpoint.weights.files {
      let parts = file.tensors.map { tensor in
        SafetensorsWriter.Part(name: tensor.name, elementType: tensor.elementType, shape: tensor.shape) {
          guard let name = own[tensor.name], let values = try change(name, tensor) else {
            return tensor.storage
          }
          return try StoredTensor(
            name: tensor.name, shape: tensor.shape, floats: values, roundingTo: tensor.elementType
          ).storage
        }
      }
      try write(URL(fileURLWithPath: file.path).lastPathComponent) { url in
        try SafetensorsWriter.write(parts, metadata: file.metadata, to: url.path)
      }
    }
    let names = try FileManager.default.contentsOfDirectory(atPath: checkpoint.folder.path).sorted()
    let others = names.filter { name in
      name != "config.json" && Self.endings.contains { name.hasSuffix($0) }
    }
    for name in others + ["config.json"] {
      let bytes = try FileReader.bytes(of: checkpoint.folder.appendingPathComponent(name), limit: 1 << 28)
      try write(name) { try AtomicFile.write(bytes, to: $0) }
    }
  }
}
