public import RunKit

/// Why a sample cannot be measured.
public enum ProbeError: DescribedError {
  case noAnswer(sample: String)
  case noQueries(sample: String)
  case noPiece(sample: String)
  case noPadding(sample: String)
  case noDonor(sample: String, role: String)
  case nothingLeft(sample: String)
  case notFinite(sample: String)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case noAnswer = "probe_no_answer"
    case noQueries = "probe_no_queries"
    case noPiece = "probe_no_piece"
    case noPadding = "probe_no_padding"
    case noDonor = "probe_no_donor"
    case nothingLeft = "probe_nothing_left"
    case notFinite = "probe_not_finite"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .noAnswer: .noAnswer
    case .noQueries: .noQueries
    case .noPiece: .noPiece
    case .noPadding: .noPadding
    case .noDonor: .noDonor
    case .nothingLeft: .nothingLeft
    case .notFinite: .notFinite
    }
  }

  /// What was wrong, where, and what was expected.
  public var errorDescription: String? {
    switch self {
    case .noAnswer(let sample):
      "\(sample.shown(limit: 1_000)): queries are those of the answer, but the record has no answer"
    case .noQueries(let sample): "\(sample.shown(limit: 1_000)): the query set is empty"
    case .noPiece(let sample):
      "\(sample.shown(limit: 1_000)): the first piece of the answer is explained, but the record has no answer"
    case .noPadding(let sample):
      "\(sample.shown(limit: 1_000)): the question cannot be blanked, the model has no id of padding"
    case .noDonor(let sample, let role):
      "\(sample.shown(limit: 1_000)): no other sample of the data was found whose \(role) could replace this one's"
    case .nothingLeft(let sample):
      "\(sample.shown(limit: 1_000)): without its modalities no row is left to predict from"
    case .notFinite(let sample): "\(sample.shown(limit: 1_000)): a contribution is not finite"
    }
  }

  /// What to do about it.
  public var recoverySuggestion: String? {
    switch self {
    case .noAnswer: "add answers to the data, or use --queries generated or last"
    case .noQueries: "choose another --queries"
    case .noPiece: "add answers to the data, or use --piece prediction"
    case .noPadding: "use --removal mean or deletion, or --baseline zero or mean"
    case .noDonor: "use a larger data set, or --removal deletion, blank or mean"
    case .nothingLeft: "use --removal blank, mean or replacement"
    case .notFinite: "run 'mmprobe verify' to see whether the model computes finite logits"
    }
  }
}
