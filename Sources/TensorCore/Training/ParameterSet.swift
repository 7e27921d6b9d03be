/// The tensors that are trained, in a fixed order, each with its name.
///
/// The one place where tensors change: an optimizer updates the elements in place, and whoever took a tensor from here
/// sees the new values. A training step takes them as leaves of a tape, which is done with before the update.
public final class ParameterSet: Sendable {
  /// The names, in order.
  public let names: [String]
  /// The values, in the order of the names.
  public let values: [Tensor]
  private let indices: [String: Int]

  /// Copies tensors, so that nobody else holds their elements.
  ///
  /// - Parameter tensors: Each name once.
  public init(_ tensors: [(name: String, value: Tensor)]) {
    names = tensors.map(\.name)
    values = tensors.map { tensor in
      let copy = Tensor(uninitialized: tensor.value.shape)
      Kernels.overwrite(copy, with: tensor.value)
      return copy
    }
    indices = Dictionary(names.enumerated().map { ($1, $0) }, uniquingKeysWith: { first, _ in first })
    require(indices.count == names.count, "two parameters of one name")
  }

  /// The number of tensors.
  public var count: Int { values.count }
  /// The number of elements of all tensors.
  public var elementCount: Int { values.reduce(0) { $0 + $1.count } }

  /// The tensor of a name.
  public subscript(name: String) -> Tensor? { indices[name].map { values[$0] } }

  /// The tensors by name.
  public var named: [String: Tensor] { indices.mapValues { values[$0] } }

  /// Another set with the same names and values.
  public func copy() -> ParameterSet { ParameterSet(Array(zip(names, values).map { ($0, $1) })) }

  /// Takes over the values of tensors of the same shapes, in order.
  public func assign(_ tensors: [Tensor]) {
    require(
      tensors.map(\.shape) == values.map(\.shape), "values of other shapes than the parameters")
    for (value, tensor) in zip(values, tensors) { Kernels.overwrite(value, with: tensor) }
  }

  /// Takes over the values of some tensors, by name; the others stay.
  public func assign(_ tensors: [String: Tensor]) {
    for (name, tensor) in tensors {
      guard let index = indices[name] else { require(false, "there is no parameter \(name)"); continue }
      require(
        tensor.shape == values[index].shape, "a value of shape \(tensor.shape) for \(name)")
      Kernels.overwrite(values[index], with: tensor)
    }
  }

  /// Moves every value a share of the way to that of another set: value + share (other − value).
  ///
  /// - Parameter share: From 0 to 1; with share 1 − β this is the exponential moving average of factor β.
  public func move(towards other: ParameterSet, share: Double) {
    require(other.names == names, "parameters of other names")
    for (value, target) in zip(values, other.values) {
      Kernels.move(value, towards: target, share: Float(share))
    }
  }

  /// The tensors for a file, their names behind `prefix`.
  ///
  /// - Throws: `StoredTensorError`.
  public func stored(prefix: String = "") throws -> [StoredTensor] {
    try zip(names, values).map { name, value in
      try StoredTensor(name: prefix + name, shape: value.shape, floats: value.hostValues())
    }
  }

  /// Takes over the values of a file.
  ///
  /// - Throws: `SafetensorsError.missingTensor`, `TrainingStateError.wrongShape`.
  public func restore(from file: SafetensorsFile, prefix: String = "") throws {
    assign(try zip(names, values).map { try file.floats(prefix + $0, shape: $1.shape) })
  }
}

extension SafetensorsFile {
  /// A tensor of a saved training state.
  ///
  /// - Throws: `SafetensorsError.missingTensor`, `TrainingStateError.wrongShape`, `StoredTensorError`.
  func floats(_ name: String, shape: [Int]) throws -> Tensor {
    let stored = try tensor(name)
    guard stored.shape == shape else {
      throw TrainingStateError.wrongShape(path: path, tensor: name, found: stored.shape, expected: shape)
    }
    return Tensor(try stored.floats(), shape: shape)
  }

  /// Whole numbers of a saved training state.
  ///
  /// - Throws: `SafetensorsError.missingTensor`, `TrainingStateError.wrongShape`, `StoredTensorError`.
  func integers(_ name: String, count: Int) throws -> [Int] {
    let stored = try tensor(name)
    guard stored.shape == [count] else {
      throw TrainingStateError.wrongShape(path: path, tensor: name, found: stored.shape, expected: [count])
    }
    return try stored.integers()
  }

  /// Numbers of a saved training state.
  ///
  /// - Throws: `SafetensorsError.missingTensor`, `TrainingStateError.wrongShape`, `StoredTensorError`.
  func doubles(_ name: String, count: Int) throws -> [Double] {
    let stored = try tensor(name)
    guard stored.shape == [count] else {
      throw TrainingStateError.wrongShape(path: path, tensor: name, found: stored.shape, expected: [count])
    }
    return try stored.doubles()
  }
}
