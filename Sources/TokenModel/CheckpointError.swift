public import RunKit

/// Why a folder is no model that can be used, beyond the faults of one of its files.
public enum CheckpointError: DescribedError {
  case noFolder(path: String)
  case notAFolder(path: String)
  case noConfiguration(path: String)
  /// The weights of a tensor are not numbers.
  case notFinite(path: String, tensor: String)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case noFolder = "checkpoint_no_folder"
    case notAFolder = "checkpoint_not_a_folder"
    case noConfiguration = "checkpoint_no_configuration"
    case notFinite = "checkpoint_not_finite"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .noFolder: .noFolder
    case .notAFolder: .notAFolder
    case .noConfiguration: .noConfiguration
    case .notFinite: .notFinite
    }
  }

  /// The status a command ends with.
  public var exitStatus: ExitStatus { code == .notFinite ? .data : .missingInput }

  /// The folder concerned.
  public var path: String? {
    switch self {
    case .noFolder(let path), .notAFolder(let path), .noConfiguration(let path), .notFinite(let path, _): path
    }
  }

  /// What was wrong, where, and what was expected.
  public var errorDescription: String? {
    switch self {
    case .noFolder(let path): "\(path): there is no such folder"
    case .notAFolder(let path): "\(path): found a file, expected the folder of a model"
    case .noConfiguration(let path): "\(path): the folder has no config.json, so it is no model"
    case .notFinite(let path, let tensor):
      "\(path): the weights of tensor \(tensor.inQuotes) contain NaN or infinity, so nothing can be computed with them"
    }
  }

  /// What to do about it.
  public var recoverySuggestion: String? {
    switch self {
    case .noFolder: "check the spelling of the path"
    case .notAFolder, .noConfiguration:
      "name a folder in the layout of Hugging Face: config.json, safetensors weights, tokenizer"
    case .notFinite: "get the weight files again, and compare their checksums with the source"
    }
  }
}
