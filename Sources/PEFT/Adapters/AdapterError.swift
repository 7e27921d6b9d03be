public import RunKit

/// Why an adapter cannot be used.
public enum AdapterError: DescribedError {
  case unknownType(path: String, found: String, supported: [String])
  case badPattern(path: String, key: String, pattern: String)
  case noModules(path: String, targets: String, examples: [String])
  case unmatchedKeys(path: String, keys: [String], total: Int)
  case missingTensors(path: String, tensors: [String], total: Int)
  case wrongShape(path: String, tensor: String, found: [Int], expected: [Int])
  case unsuitableModule(path: String, module: String, reason: String)
  case pickled(path: String)
  case notMergeable(path: String, reason: String)
  case unknownLayout(path: String, example: String)
  case noModality(path: String, modality: String, known: [String])
  case sameFolder(path: String)
  case quantised(path: String, tensor: String)
  case notFinite(path: String, name: String)
  case slowPattern(path: String, key: String, pattern: String, name: String)
  case plainLoRA(path: String)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case unknownType = "adapter_unknown_type"
    case badPattern = "adapter_bad_pattern"
    case noModules = "adapter_no_modules"
    case unmatchedKeys = "adapter_unmatched_keys"
    case missingTensors = "adapter_missing_tensors"
    case wrongShape = "adapter_wrong_shape"
    case unsuitableModule = "adapter_unsuitable_module"
    case pickled = "adapter_pickled"
    case notMergeable = "adapter_not_mergeable"
    case unknownLayout = "adapter_unknown_layout"
    case noModality = "adapter_no_modality"
    case sameFolder = "adapter_same_folder"
    case quantised = "adapter_quantised_base"
    case notFinite = "adapter_not_finite"
    case slowPattern = "adapter_slow_pattern"
    case plainLoRA = "adapter_plain_lora"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .unknownType: .unknownType
    case .badPattern: .badPattern
    case .noModules: .noModules
    case .unmatchedKeys: .unmatchedKeys
    case .missingTensors: .missingTensors
    case .wrongShape: .wrongShape
    case .unsuitableModule: .unsuitableModule
    case .pickled: .pickled
    case .notMergeable: .notMergeable
    case .unknownLayout: .unknownLayout
    case .noModality: .noModality
    case .sameFolder: .sameFolder
    case .quantised: .quantised
    case .notFinite: .notFinite
    case .slowPattern: .slowPattern
    case .plainLoRA: .plainLoRA
    }
  }

  /// The exit status a command ends with.
  public var exitStatus: ExitStatus {
    switch self {
    case .unknownType, .unsuitableModule, .pickled, .notMergeable, .quantised: .unsupported
    case .sameFolder, .plainLoRA: .usage
    default: .data
    }
  }

  /// The file concerned.
  public var path: String? {
    switch self {
    case .unknownType(let path, _, _), .badPattern(let path, _, _), .noModules(let path, _, _),
      .unmatchedKeys(let path, _, _), .missingTensors(let path, _, _), .wrongShape(let path, _, _, _),
      .unsuitableModule(let path, _, _), .pickled(let path), .notMergeable(let path, _),
      .unknownLayout(let path, _), .noModality(let path, _, _), .sameFolder(let path),
      .quantised(let path, _), .notFinite(let path, _), .slowPattern(let path, _, _, _),
      .plainLoRA(let path):
      path
    }
  }

  /// What was wrong, where, and what was expected.
  public var errorDescription: String? {
    switch self {
    case .unknownType(let path, let found, let supported):
      "\(path): peft_type \(found.inQuotes) is not supported (supported: \(supported.joined(separator: ", ")))"
    case .badPattern(let path, let key, let pattern):
      "\(path): \(key.inQuotes) holds \(pattern.inQuotes), which is no regular expression"
    case .noModules(let path, let targets, let examples):
      "\(path): the targets \(targets.shown()) match no linear layer of the model, whose layers are called "
        + examples.joined(separator: ", ")
    case .unmatchedKeys(let path, let keys, let total):
      "\(path): \(keys.count) of \(total) tensors belong to no module of the model that the configuration names: "
        + Self.list(keys)
    case .missingTensors(let path, let tensors, let total):
      "\(path): \(tensors.count) of \(total) tensors that the configuration asks for are missing: "
        + Self.list(tensors)
    case .wrongShape(let path, let tensor, let found, let expected):
      "\(path): tensor \(tensor.inQuotes) has shape \(found.prefix(16)), the model and the configuration ask for \(expected)"
    case .unsuitableModule(let path, let module, let reason): "\(path): \(module.inQuotes): \(reason)"
    case .pickled(let path): "\(path): a pickle can run any code when it is read, so it is not read here"
    case .notMergeable(let path, let reason): "\(path): the adapter cannot be merged: \(reason)"
    case .unknownLayout(let path, let example):
      "\(path): the keys are of no known release of MokA, such as \(example.inQuotes)"
    case .noModality(let path, let modality, let known):
      "\(path): the adapter has no modality \(modality.inQuotes), only \(known.joined(separator: ", "))"
    case .sameFolder(let path): "\(path): the result cannot go into the folder it is made from"
    case .quantised(let path, let tensor):
      "\(path): the tensor \(tensor.inQuotes) is quantised; what is trained would be lost in rounding"
    case .notFinite(let path, let name): "\(path): \(name.inQuotes) holds NaN or infinity"
    case .slowPattern(let path, let key, let pattern, let name):
      "\(path): matching \(pattern.shown()) of \(key.inQuotes) with \(name.inQuotes) takes too long"
    case .plainLoRA(let path): "\(path): the adapter is a plain LoRA already"
    }
  }

  private static func list(_ names: [String]) -> String {
    names.prefix(5).map(\.inQuotes).joined(separator: ", ") + (names.count > 5 ? ", …" : "")
  }

  /// What to do about it.
  public var recoverySuggestion: String? {
    switch self {
    case .unknownType: "train a LoRA or MokA adapter, or merge this one with the program that made it"
    case .badPattern: "correct the pattern; it is matched against whole names of modules"
    case .noModules, .unmatchedKeys, .missingTensors, .wrongShape:
      "check that the adapter was trained on this model: 'mmprobe adapter show ADAPTER' says on which"
    case .unsuitableModule: "name other target modules"
    case .pickled:
      "convert it where it is trusted: python -c \"import torch, safetensors.torch as s; "
        + "s.save_file(torch.load('FILE.bin', weights_only=True), 'FILE.safetensors')\""
    case .notMergeable:
      "give it with --adapter instead; 'mmprobe adapter extract' makes a plain LoRA of one modality"
    case .unknownLayout: "'Documentation/Adapters/moka.md' shows the two layouts"
    case .noModality: "name one of its modalities"
    case .sameFolder: "give another folder with -o"
    case .quantised: "take the folder it was made from, then convert the result"
    case .notFinite: "get the file again, or train anew with a lower learning rate"
    case .slowPattern: "write it without repetitions inside repetitions"
    case .plainLoRA: "use it as it is"
    }
  }
}
