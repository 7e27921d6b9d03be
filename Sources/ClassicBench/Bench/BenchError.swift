public import RunKit

/// Why a benchmark cannot be run as it is asked for.
public enum BenchError: DescribedError {
  case unknownMethod(path: String, id: String, nearest: String?, known: [String])
  case refused(method: String, reason: String)
  case repeatedModality(path: String, name: String)
  /// A value of `training` that does not go with the samples that a method is trained on.
  case unfitTraining(method: String, key: String, found: String, expected: String)
  case notFinite(data: String, split: String, modality: String, sample: Int)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case unknownMethod = "bench_unknown_method"
    case refused = "bench_refused"
    case repeatedModality = "bench_repeated_modality"
    case unfitTraining = "bench_unfit_training"
    case notFinite = "bench_not_finite"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .unknownMethod: .unknownMethod
    case .refused: .refused
    case .repeatedModality: .repeatedModality
    case .unfitTraining: .unfitTraining
    case .notFinite: .notFinite
    }
  }

  /// A method that cannot do what it is asked for is not supported; the rest is a mistake in the experiment.
  public var exitStatus: ExitStatus {
    if case .refused = self { .unsupported } else { .data }
  }

  /// The experiment.
  public var path: String? {
    switch self {
    case .unknownMethod(let path, _, _, _), .repeatedModality(let path, _): path
    case .refused, .unfitTraining: nil
    case .notFinite(let data, _, _, _): data
    }
  }

  /// What, where, found and expected.
  public var errorDescription: String? {
    switch self {
    case .unknownMethod(let path, let id, let nearest, _):
      "\(path): there is no method \(id.inQuotes)." + (nearest.map { " Did you mean \($0.inQuotes)?" } ?? "")
    case .refused(let method, let reason): "the method \(method.inQuotes) cannot be used here: \(reason)"
    case .repeatedModality(let path, let name): "\(path): the modality \(name.inQuotes) is named twice"
    case .unfitTraining(let method, let key, let found, let expected):
      "training.\(key): found \(found), expected \(expected) (method \(method.inQuotes))"
    case .notFinite(let data, let split, let modality, let sample):
      "\(data): \(modality) of sample \(sample) of the \(split) split holds NaN or infinity, expected finite numbers"
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    switch self {
    case .unknownMethod(_, _, _, let known): "known methods: \(known.joined(separator: ", "))"
    case .refused: "leave the method out, or change the modalities or its options"
    case .repeatedModality: "name each modality once"
    case .unfitTraining(_, let key, _, _): "change \(key) in the experiment's training"
    case .notFinite:
      "'mmprobe data check' lists what is wrong with a packed folder; samples count from 0"
    }
  }
}
