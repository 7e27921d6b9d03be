public import RunKit

/// Why a `config.json` cannot be used.
public enum ConfigurationError: DescribedError {
  case notAnObject(path: String)
  case malformed(path: String, reason: String)
  case missingKey(path: String, key: String)
  case wrongKind(path: String, key: String, found: String, expected: String)
  case outOfRange(path: String, key: String, found: String, expected: String)
  case unsupportedValue(path: String, key: String, found: String, supported: String)
  case unsupportedModelType(path: String, found: String, supported: [String])
  case missingTensor(path: String, tensor: String)
  case wrongShape(path: String, tensor: String, found: [Int], expected: [Int])

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case notAnObject = "config_not_an_object"
    case malformed = "config_malformed"
    case missingKey = "config_missing_key"
    case wrongKind = "config_wrong_kind"
    case outOfRange = "config_out_of_range"
    case unsupportedValue = "config_unsupported_value"
    case unsupportedModelType = "config_unsupported_model_type"
    case missingTensor = "checkpoint_missing_tensor"
    case wrongShape = "checkpoint_wrong_shape"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .notAnObject: .notAnObject
    case .malformed: .malformed
    case .missingKey: .missingKey
    case .wrongKind: .wrongKind
    case .outOfRange: .outOfRange
    case .unsupportedValue: .unsupportedValue
    case .unsupportedModelType: .unsupportedModelType
    case .missingTensor: .missingTensor
    case .wrongShape: .wrongShape
    }
  }

  /// The exit status a command ends with.
  public var exitStatus: ExitStatus {
    switch self {
    case .unsupportedValue, .unsupportedModelType: .unsupported
    default: .data
    }
  }

  /// The file concerned, if there is one.
  public var path: String? {
    switch self {
    case .notAnObject(let path), .malformed(let path, _), .missingKey(let path, _),
      .wrongKind(let path, _, _, _), .outOfRange(let path, _, _, _), .unsupportedValue(let path, _, _, _),
      .unsupportedModelType(let path, _, _), .missingTensor(let path, _), .wrongShape(let path, _, _, _):
      path
    }
  }

  /// What was wrong, where, and what was expected.
  public var errorDescription: String? {
    switch self {
    case .notAnObject(let path): "\(path): expected a JSON object"
    case .malformed(let path, let reason): "\(path): \(reason)"
    case .missingKey(let path, let key): "\(path): the key \(key.inQuotes) is missing"
    case .wrongKind(let path, let key, let found, let expected):
      "\(path): \(key.inQuotes) is \(found.shown()), expected \(expected)"
    case .outOfRange(let path, let key, let found, let expected):
      "\(path): \(key.inQuotes) is \(found.shown()), expected \(expected)"
    case .unsupportedValue(let path, let key, let found, let supported):
      "\(path): \(key.inQuotes) is \(found.shown()), which would change the numbers and is not supported (supported: \(supported))"
    case .unsupportedModelType(let path, let found, let supported):
      "\(path): model_type \(found.inQuotes) is not supported (supported: \(supported.joined(separator: ", ")))"
    case .missingTensor(let path, let tensor): "\(path): the weights have no tensor \"\(tensor)\""
    case .wrongShape(let path, let tensor, let found, let expected):
      "\(path): tensor \"\(tensor)\" has shape \(found.prefix(16)), the configuration asks for \(expected)"
    }
  }

  /// Whether the file belongs to an adapter or its rotations.
  private var isOfAdapter: Bool {
    path.map { $0.hasSuffix("adapter_config.json") || $0.hasSuffix(StoredRotations.name) } ?? false
  }

  /// What to do about it.
  public var recoverySuggestion: String? {
    switch self {
    case .notAnObject, .malformed, .missingKey, .wrongKind, .outOfRange:
      isOfAdapter
        ? "compare the file with one that PEFT or mmprobe wrote"
        : "compare the file with the one published with the model; it must be a Hugging Face config.json"
    case .unsupportedValue:
      isOfAdapter ? "use an adapter without this setting" : "use a checkpoint without this setting"
    case .unsupportedModelType: "'mmprobe inspect --families' lists what each family needs"
    case .missingTensor, .wrongShape:
      "check that config.json and the weight files belong to the same model, and that all shards were downloaded"
    }
  }
}
