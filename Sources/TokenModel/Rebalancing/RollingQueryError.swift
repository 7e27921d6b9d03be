public import RunKit
public import TensorCore

/// Why queries cannot be rebalanced.
public enum RollingQueryError: DescribedError {
  case unknownLayer(layer: Int, count: Int)
  case unknownModality(modality: String, known: [String])
  case tooFewModalities(count: Int)
  case cannotFold(layer: Int, reason: String)
  case wrongShape(path: String, tensor: String, found: [Int], expected: [Int])
  case impossibleBuffer(path: String, tensor: String, reason: String)
  case unknownFormat(path: String, found: String, expected: String)
  case alreadyRotated(path: String)
  case wrongSettings(path: String, reason: String)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case unknownLayer = "rollingq_unknown_layer"
    case unknownModality = "rollingq_unknown_modality"
    case tooFewModalities = "rollingq_too_few_modalities"
    case cannotFold = "rollingq_cannot_fold"
    case wrongShape = "rollingq_wrong_shape"
    case impossibleBuffer = "rollingq_impossible_buffer"
    case unknownFormat = "rollingq_unknown_format"
    case alreadyRotated = "rollingq_already_rotated"
    case wrongSettings = "rollingq_wrong_settings"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .unknownLayer: .unknownLayer
    case .unknownModality: .unknownModality
    case .tooFewModalities: .tooFewModalities
    case .cannotFold: .cannotFold
    case .wrongShape: .wrongShape
    case .impossibleBuffer: .impossibleBuffer
    case .unknownFormat: .unknownFormat
    case .alreadyRotated: .alreadyRotated
    case .wrongSettings: .wrongSettings
    }
  }

  /// 64 for a wrong choice, 69 for what cannot be done, 65 for bad contents.
  public var exitStatus: ExitStatus {
    switch self {
    case .unknownLayer, .unknownModality, .tooFewModalities: .usage
    case .cannotFold, .unknownFormat, .alreadyRotated: .unsupported
    case .wrongShape, .impossibleBuffer, .wrongSettings: .data
    }
  }

  /// The file concerned, if there is one.
  public var path: String? {
    switch self {
    case .wrongShape(let path, _, _, _), .impossibleBuffer(let path, _, _), .unknownFormat(let path, _, _),
      .alreadyRotated(let path), .wrongSettings(let path, _):
      path
    default: nil
    }
  }

  /// What, where, found and expected.
  public var errorDescription: String? {
    switch self {
    case .unknownLayer(let layer, let count):
      "RollingQ on layer \(layer): the model has layers 0 to \(count - 1)"
    case .unknownModality(let modality, let known):
      "RollingQ between modalities: found \(modality.inQuotes), expected some of \(known.joined(separator: ", "))"
    case .tooFewModalities(let count):
      "RollingQ balances modalities against each other: found \(count), expected two or more, each once"
    case .cannotFold(let layer, let reason):
      "the rotation of layer \(layer) cannot be folded into its query projection: \(reason)"
    case .wrongShape(let path, let tensor, let found, let expected):
      "\(path): buffer \(tensor.inQuotes) has shape \(found.prefix(16)), expected \(expected.prefix(16))"
    case .impossibleBuffer(let path, let tensor, let reason): "\(path): buffer \(tensor.inQuotes): \(reason)"
    case .unknownFormat(let path, let found, let expected):
      "\(path): rotated queries of format \(found.inQuotes), expected \(expected.inQuotes)"
    case .wrongSettings(let path, let reason): "\(path): settings of \(reason)"
    case .alreadyRotated(let path):
      "\(path): the model has rotated queries of its own, and one file of them is all it can have"
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    switch self {
    case .unknownLayer: "name layers from 0"
    case .unknownModality: "name modalities whose rows have a role of their own, or text"
    case .tooFewModalities: "name at least two modalities"
    case .cannotFold: "keep the rotation beside the weights, in the file of buffers"
    case .unknownFormat: "train with this version, or use the version that wrote the file"
    case .alreadyRotated: "take the model that was trained first, before its queries were rotated"
    case .wrongShape, .impossibleBuffer, .wrongSettings:
      "use the file of a model with the same layers, heads and modalities"
    }
  }
}

/// A module with state that no gradient reaches: visited beside its parameters, saved and restored with them.
public protocol BufferedModule {
  /// Calls `visit` with every buffer; names are relative to the module.
  func visitBuffers(_ visit: (StoredTensor) throws -> Void) throws
  /// Takes every buffer back.
  ///
  /// - Throws: `RollingQueryError`, `SafetensorsError`, `StoredTensorError`; the module is then as before.
  mutating func restoreBuffers(from source: BufferSource) throws
}

extension BufferedModule {
  /// All buffers for a file, their names behind `prefix`.
  public func storedBuffers(prefix: String = "") throws -> [StoredTensor] {
    var buffers: [StoredTensor] = []
    try visitBuffers { buffers.append(try $0.named(prefix + $0.name)) }
    return buffers
  }
}

extension StoredTensor {
  /// The same elements under another name.
  func named(_ name: String) throws(StoredTensorError) -> StoredTensor {
    try StoredTensor(name: name, elementType: elementType, shape: shape, storage: storage)
  }
}

/// Buffers in a file or in memory, below a prefix.
public struct BufferSource {
  private let find: (String) throws -> StoredTensor
  private let prefix: String
  /// The file, for messages.
  public let path: String

  /// The tensors of a file whose names begin with `prefix`.
  public init(_ file: SafetensorsFile, prefix: String = "") {
    self.init(in: file.path, prefix: prefix, find: file.tensor)
  }

  /// - Parameters:
  ///   - path: What holds them, for messages.
  ///   - find: Gives a tensor by its full name.
  public init(in path: String, prefix: String = "", find: @escaping (String) throws -> StoredTensor) {
    (self.path, self.prefix, self.find) = (path, prefix, find)
  }

  /// The same buffers below a longer prefix.
  public func under(_ prefix: String) -> BufferSource {
    BufferSource(in: path, prefix: self.prefix + prefix + ".", find: find)
  }

  /// The full name of a buffer.
  func name(_ name: String) -> String { prefix + name }

  /// Finite numbers of a buffer.
  func doubles(_ name: String, shape: [Int]) throws -> [Double] {
    let values = try tensor(name, shape: shape).doubles()
    guard values.allSatisfy(\.isFinite) else {
      throw RollingQueryError.impossibleBuffer(
        path: path, tensor: prefix + name, reason: "found NaN or infinity, expected finite numbers")
    }
    return values
  }

  /// Whole numbers of a buffer.
  func integers(_ name: String, count: Int) throws -> [Int] { try tensor(name, shape: [count]).integers() }

  private func tensor(_ name: String, shape: [Int]) throws -> StoredTensor {
    let stored = try find(prefix + name)
    guard stored.shape == shape else {
      throw RollingQueryError.wrongShape(
        path: path, tensor: prefix + name, found: stored.shape, expected: shape)
    }
    return stored
  }
}
