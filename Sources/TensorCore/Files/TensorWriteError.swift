public import RunKit

/// Why tensors could not be written to a file.
public enum TensorWriteError: DescribedError {
  case emptyName(path: String)
  case reservedName(path: String, name: String)
  case duplicateName(path: String, name: String)
  case noNumPyType(path: String, tensor: String, type: ElementType)
  case tooLarge(path: String, found: Int, limit: Int)
  case tooManyAxes(path: String, tensor: String, found: Int, limit: Int)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case emptyName = "write_empty_name"
    case reservedName = "write_reserved_name"
    case duplicateName = "write_duplicate_name"
    case noNumPyType = "write_no_numpy_type"
    case tooLarge = "write_too_large"
    case tooManyAxes = "write_too_many_axes"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .emptyName: .emptyName
    case .reservedName: .reservedName
    case .duplicateName: .duplicateName
    case .noNumPyType: .noNumPyType
    case .tooLarge: .tooLarge
    case .tooManyAxes: .tooManyAxes
    }
  }

  /// The status a command ends with.
  public var exitStatus: ExitStatus { .internalFailure }

  /// The file concerned.
  public var path: String? {
    switch self {
    case .emptyName(let path), .reservedName(let path, _), .duplicateName(let path, _),
      .noNumPyType(let path, _, _), .tooLarge(let path, _, _), .tooManyAxes(let path, _, _, _):
      path
    }
  }

  /// What, where, found and expected.
  public var errorDescription: String? {
    switch self {
    case .emptyName(let path): "\(path): cannot write a tensor with an empty name"
    case .reservedName(let path, let name):
      "\(path): a tensor cannot be named \(name.inQuotes) in this format"
    case .duplicateName(let path, let name): "\(path): two tensors to write are named \(name.inQuotes)"
    case .noNumPyType(let path, let tensor, let type):
      "\(path): tensor \(tensor.inQuotes) is of type \(type.rawValue), which NumPy does not have"
    case .tooLarge(let path, let found, let limit):
      "\(path): found \(found) bytes to write, expected at most \(limit) in this format"
    case .tooManyAxes(let path, let tensor, let found, let limit):
      "\(path): tensor \(tensor.inQuotes) has \(found) axes, expected at most \(limit) in this format"
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    switch self {
    case .emptyName, .reservedName, .duplicateName: "give every tensor a name of its own"
    case .noNumPyType: "write a safetensors file, or convert the tensor to F32"
    case .tooLarge, .tooManyAxes: "write a safetensors file, or several archives"
    }
  }
}
