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
  private var layout = KeyLayout.identity
  /// The layout with all alternatives, for the names of modules.
  private var modules = KeyLayout.identity
  private var replace: ((_ name: String, _ shape: [Int]) throws -> Tensor?)?
  private var wrap: ((_ layer: Linear, _ site: LinearSite) throws -> any LinearLayer)?

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

  /// The same source with names of the family's own, which the layout translates into those of the files.
  ///
  /// Tensors in memory carry the family's own names.
  public func with(_ layout: KeyLayout) -> WeightSource {
    var source = self
    source.modules = layout
    if case .files(let files) = tensors { source.layout = layout.resolved(in: files.names) }
    return source
  }

  /// The same source with some tensors from elsewhere, such as those that are trained.
  ///
  /// - Parameter find: Asked for every tensor by the family's own name before the files are; nil for that of the files.
  public func replacing(_ find: @escaping (_ name: String, _ shape: [Int]) throws -> Tensor?) -> WeightSource
  {
    var source = self
    source.replace = find
    return source
  }

  /// The same source with something around linear layers, such as adapters.
  ///
  /// - Parameter wrap: Given every linear layer as it is made; gives the layer itself or another one with its sizes.
  public func wrapping(
    _ wrap: @escaping (_ layer: Linear, _ site: LinearSite) throws -> any LinearLayer
  ) -> WeightSource {
    var source = self
    source.wrap = wrap
    return source
  }

  /// A tensor that stands in for one of the files, of the right shape.
  private func replacement(_ name: String, shape: [Int]) throws -> Tensor? {
    guard let tensor = try replace?(prefix + name, shape) else { return nil }
    guard tensor.shape == shape else {
      throw ConfigurationError.wrongShape(
        path: place, tensor: prefix + name, found: tensor.shape, expected: shape)
    }
    return tensor
  }

  /// Where the tensors come from, for messages.
  public var place: String {
    switch tensors {
    case .files(let files): files.folder
    case .memory(let place, _): place
    }
  }

  /// Whether the files have a tensor of this name; never for tensors in memory, which are made on demand.
  public func has(_ name: String) -> Bool {
    guard case .files(let files) = tensors else { return false }
    return files[layout.name(of: prefix + name)] != nil
  }

  /// Whether the files have two tensors that are not equal, byte by byte; not where one of them is missing.
  func differ(_ name: String, _ other: String) -> Bool {
    guard case .files(let files) = tensors, let first = files[layout.name(of: prefix + name)],
      let second = files[layout.name(of: prefix + other)]
    else { return false }
    guard first.elementType == second.elementType, first.shape == second.shape else { return true }
    defer {
      first.storage.releasePages()
      second.storage.releasePages()
    }
    let piece = 1 << 20
    return stride(from: 0, to: first.storage.count, by: piece).contains { start in
      let range = start..<min(start + piece, first.storage.count)
      return first.storage.bytes(range) != second.storage.bytes(range)
    }
  }

  /// Checks that the files hold no more layers than the configuration asks for: fewer would be another model.
  ///
  /// - Parameter tensor: A tensor that every layer has, relative to it.
  /// - Throws: `ConfigurationError.unsupportedValue`.
  func checkLayerCount(_ count: Int, of layers: String, ending tensor: String) throws(ConfigurationError) {
    var found = count
    while found < 1 << 12, has("\(layers).\(found).\(tensor)") { found += 1 }
    guard found == count else {
      throw .unsupportedValue(
        path: place, key: "num_hidden_layers", found: "\(count) for \(layout.name(of: prefix + layers))",
        supported: "\(found), as many as the weight files hold")
    }
  }

  /// A matrix, kept in its file if it has one.
  ///
  /// - Throws: `ConfigurationError.missingTensor`, `.wrongShape`; `StoredTensorError` for a type without floats.
  public func matrix(_ name: String, rows: Int, columns: Int) throws -> LinearWeight {
    if let tensor = try replacement(name, shape: [rows, columns]) { return LinearWeight(tensor) }
    switch tensors {
    case .files(let files):
      return try quantised(files, name, rows: rows, columns: columns)
        ?? LinearWeight(stored(files, name, shape: [rows, columns]))
    case .memory: return LinearWeight(try tensor(name, shape: [rows, columns]))
    }
  }

  /// A tensor of more axes, such as a convolution whose windows do not overlap, as a matrix of its rows.
  ///
  /// - Parameter shape: As the file has it; the first axis counts the rows of the matrix.
  public func matrix(_ name: String, shape: [Int]) throws -> LinearWeight {
    let flat = [shape[0], shape.dropFirst().reduce(1, *)]
    if let tensor = try replacement(name, shape: shape) { return LinearWeight(tensor.reshaped(to: flat)) }
    switch tensors {
    case .files(let files):
      let stored = try stored(files, name, shape: shape)
      return try LinearWeight(
        StoredTensor(
          name: stored.name, elementType: stored.elementType, shape: flat, storage: stored.storage))
    case .memory: return LinearWeight(try tensor(name, shape: shape).reshaped(to: flat))
    }
  }

  /// A small tensor in float32.
  public func tensor(_ name: String, shape: [Int]) throws -> Tensor {
    if let tensor = try replacement(name, shape: shape) { return tensor }
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

  /// A linear layer `name.weight` with, if asked for, `name.bias`, and what is put around it.
  public func linear(_ name: String, from inputSize: Int, to outputSize: Int, hasBias: Bool = false) throws
    -> any LinearLayer
  {
    let layer = try plainLinear(name, from: inputSize, to: outputSize, hasBias: hasBias)
    guard let wrap else { return layer }
    let site = LinearSite(
      name: prefix + name, layout: modules, inputSize: inputSize, outputSize: outputSize, hasBias: hasBias)
    let wrapped = try wrap(layer, site)
    require(
      wrapped.inputSize == inputSize && wrapped.outputSize == outputSize,
      "\(prefix + name) was wrapped by a layer of other sizes")
    return wrapped
  }

  /// A linear layer `name.weight` with, if asked for, `name.bias`, and nothing around it.
  public func plainLinear(
    _ name: String, from inputSize: Int, to outputSize: Int, hasBias: Bool = false
  ) throws -> Linear {
    Linear(
      weight: try matrix(name + ".weight", rows: outputSize, columns: inputSize),
      bias: hasBias ? try tensor(name + ".bias", shape: [outputSize]) : nil)
  }

  /// A matrix of few bits a number, if the files have the name as such.
  private func quantised(
    _ tensors: ShardedTensors, _ name: String, rows: Int, columns: Int
  ) throws -> LinearWeight? {
    let name = layout.name(of: prefix + name)
    for bits in QuantisedMatrix.Bits.allCases {
      guard let codes = tensors[name + bits.suffix] else { continue }
      guard let scales = tensors[name + QuantisedMatrix.scaleSuffix] else {
        throw ConfigurationError.missingTensor(
          path: tensors.folder, tensor: name + QuantisedMatrix.scaleSuffix)
      }
      let expected = [rows, bits == .four ? columns / 2 : columns]
      guard codes.shape == expected else {
        throw ConfigurationError.wrongShape(
          path: tensors.folder, tensor: codes.name, found: codes.shape, expected: expected)
      }
      return LinearWeight(
        try QuantisedMatrix(bits: bits, rows: rows, columns: columns, codes: codes, scales: scales))
    }
    return nil
  }

  private func stored(_ tensors: ShardedTensors, _ name: String, shape: [Int]) throws -> StoredTensor {
    let name = layout.name(of: prefix + name)
    guard let stored = tensors[name] else {
      throw ConfigurationError.missingTensor(path: tensors.folder, tensor: name)
    }
    guard stored.shape == shape else {
      throw ConfigurationError.wrongShape(
        path: tensors.folder, tensor: name, found: stored.shape, expected: shape)
    }
    return stored
  }
}
