import Foundation
public import TensorCore

/// Takes tensors out of a checkpoint, or out of memory, by name and checks each shape against the configuration.
public struct WeightSource {
  private enum Tensors {
    case files(ShardedTensors)
    case memory(place: String, find: (_ name: String, _ shape: [Int]) throws -> Tensor?)
  }

  private let tensors: Tensors
  private var prefix = ""

  /// - Parameter tensors: The weight files of a checkpoint.
  public init(_ tensors: ShardedTensors) { self.tensors = .files(tensors) }

  /// Tensors in memory; tracked ones make a model whose passes are recorded.
  ///
  /// - Parameters:
  ///   - place: What stands for the path in messages.
  ///   - find: Gives the tensor of a name, or nil; the shape is the one the model asks for.
  public init(in place: String, find: @escaping (_ name: String, _ shape: [Int]) throws -> Tensor?) {
    tensors = .memory(place: place, find: find)
  }

  /// The same source with names relative to `prefix`.
  public func under(_ prefix: String) -> WeightSource {
    var source = self
    source.prefix = self.prefix + prefix + "."
    return source
  }

  /// A matrix, kept in its file if it has one.
  ///
  /// - Throws: `ConfigurationError.missingTensor`, `.wrongShape`; `StoredTensorError` for a type without floats.
  public func matrix(_ name: String, rows: Int, columns: Int) throws -> LinearWeight {
    switch tensors {
    case .files(let files): try LinearWeight(stored(files, name, shape: [rows, columns]))
    case .memory: LinearWeight(try tensor(name, shape: [rows, columns]))
    }
  }

  /// A small tensor in float32.
  public func tensor(_ name: String, shape: [Int]) throws -> Tensor {
    switch tensors {
    case .files(let files): return Tensor(try stored(files, name, shape: shape).floats(), shape: shape)
    case .memory(let place, let find):
      guard let tensor = try find(prefix + name, shape) else {
        throw ConfigurationError.missingTensor(path: place, tensor: prefix + name)
      }
      guard tensor.shape == shape else {
        throw ConfigurationError.wrongShape(
          path: place, tensor: prefix + name, found: tensor.shape, expected: shape)
      }
      return tensor
    }
  }

  /// A linear layer `name.weight` with, if asked for, `name.bias`.
  public func linear(_ name: String, from inputSize: Int, to outputSize: Int, hasBias: Bool = false) throws
    -> Linear
  {
    Linear(
      weight: try matrix(name + ".weight", rows: outputSize, columns: inputSize),
      bias: hasBias ? try tensor(name + ".bias", shape: [outputSize]) : nil)
  }

  private func stored(_ tensors: ShardedTensors, _ name: String, shape: [Int]) throws -> StoredTensor {
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
