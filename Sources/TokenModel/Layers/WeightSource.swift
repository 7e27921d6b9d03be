import Foundation
public import TensorCore

/// Takes tensors out of a checkpoint by name and checks each shape against the configuration.
public struct WeightSource {
  private let tensors: ShardedTensors
  private var prefix = ""

  /// - Parameter tensors: The weight files of a checkpoint.
  public init(_ tensors: ShardedTensors) { self.tensors = tensors }

  /// The same source with names relative to `prefix`.
  public func under(_ prefix: String) -> WeightSource {
    var source = self
    source.prefix = self.prefix + prefix + "."
    return source
  }

  /// Whether there is a tensor of this name.
  public func has(_ name: String) -> Bool { tensors[prefix + name] != nil }

  /// A matrix, kept in its file.
  ///
  /// - Throws: `ConfigurationError.missingTensor`, `.wrongShape`; `StoredTensorError` for a type without floats.
  public func matrix(_ name: String, rows: Int, columns: Int) throws -> LinearWeight {
    try LinearWeight(stored(name, shape: [rows, columns]))
  }

  /// A small tensor in float32.
  public func tensor(_ name: String, shape: [Int]) throws -> Tensor {
    Tensor(try stored(name, shape: shape).floats(), shape: shape)
  }

  /// A linear layer `name.weight` with, if asked for, `name.bias`.
  public func linear(_ name: String, from inputSize: Int, to outputSize: Int, hasBias: Bool = false) throws
    -> Linear
  {
    Linear(
      weight: try matrix(name + ".weight", rows: outputSize, columns: inputSize),
      bias: hasBias ? try tensor(name + ".bias", shape: [outputSize]) : nil)
  }

  private func stored(_ name: String, shape: [Int]) throws -> StoredTensor {
    guard let stored = tensors[prefix + name] else {
      throw ConfigurationError.missingTensor(path: tensors.folder, tensor: prefix + name)
    }
    guard stored.shape == shape else {
      throw ConfigurationError.wrongShape(
        path: tensors.folder, tensor: prefix + name, found: stored.shape, expected: shape)
    }
    return stored
  }
}
