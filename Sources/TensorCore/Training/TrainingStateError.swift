public import RunKit

/// Why training cannot go on.
public enum TrainingStateError: DescribedError {
  case wrongShape(path: String, tensor: String, found: [Int], expected: [Int])
  case impossibleValue(path: String, tensor: String, reason: String)
  case notFinite(what: String, step: Int, found: String)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case wrongShape = "training_wrong_shape"
    case impossibleValue = "training_impossible_value"
    case notFinite = "training_not_finite"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .wrongShape: .wrongShape
    case .impossibleValue: .impossibleValue
    case .notFinite: .notFinite
    }
  }

  /// Divergence is a failure; the others are bad contents.
  public var exitStatus: ExitStatus {
    switch self {
    case .notFinite: .failure
    default: .data
    }
  }

  /// The file concerned, if there is one.
  public var path: String? {
    switch self {
    case .wrongShape(let path, _, _, _), .impossibleValue(let path, _, _): path
    case .notFinite: nil
    }
  }

  /// What, where, found and expected.
  public var errorDescription: String? {
    switch self {
    case .wrongShape(let path, let tensor, let found, let expected):
      "\(path): tensor \(tensor.inQuotes) has shape \(found.prefix(16)), the training asks for \(expected.prefix(16))"
    case .impossibleValue(let path, let tensor, let reason): "\(path): tensor \(tensor.inQuotes): \(reason)"
    case .notFinite(let what, let step, let found):
      "the \(what) of step \(step) is \(found), expected a finite number"
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    switch self {
    case .wrongShape, .impossibleValue: "start again with --overwrite: the saved state belongs to another run"
    case .notFinite: "lower the learning rate, warm up for longer, or clip gradients"
    }
  }
}
