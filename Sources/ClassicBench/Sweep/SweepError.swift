public import RunKit

/// Why a sweep cannot be planned, or the runs in a folder cannot be put together.
public enum SweepError: DescribedError {
  case notRuns(path: String)
  case noRuns(path: String)
  case malformed(path: String, reason: String)
  case mixed(path: String, run: String, what: String, found: String, expected: String)
  case unusedSetting(key: String, nearest: String?, known: [String])
  case repeatedRun(name: String)
  case unknownRun(path: String, name: String, nearest: String?)
  case unknownLabel(path: String, label: String, nearest: String?, known: [String])
  case sameData(path: String, other: String)
  case cannotTrace(path: String, reason: String, remedy: String)
  case cannotProbe(path: String, reason: String)

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case notRuns = "sweep_not_runs"
    case noRuns = "sweep_no_runs"
    case malformed = "sweep_malformed"
    case mixed = "sweep_mixed"
    case unusedSetting = "sweep_unused_setting"
    case repeatedRun = "sweep_repeated_run"
    case unknownRun = "sweep_unknown_run"
    case unknownLabel = "sweep_unknown_label"
    case sameData = "sweep_same_data"
    case cannotTrace = "sweep_cannot_trace"
    case cannotProbe = "sweep_cannot_probe"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .notRuns: .notRuns
    case .noRuns: .noRuns
    case .malformed: .malformed
    case .mixed: .mixed
    case .unusedSetting: .unusedSetting
    case .repeatedRun: .repeatedRun
    case .unknownRun: .unknownRun
    case .unknownLabel: .unknownLabel
    case .sameData: .sameData
    case .cannotTrace: .cannotTrace
    case .cannotProbe: .cannotProbe
    }
  }

  /// What the command line asks for wrongly is a matter of usage, the rest of data.
  public var exitStatus: ExitStatus {
    switch self {
    case .unusedSetting, .repeatedRun, .unknownRun, .unknownLabel: .usage
    default: .data
    }
  }

  /// The folder or file concerned.
  public var path: String? {
    switch self {
    case .notRuns(let path), .noRuns(let path), .malformed(let path, _), .mixed(let path, _, _, _, _),
      .unknownRun(let path, _, _), .unknownLabel(let path, _, _, _), .sameData(let path, _),
      .cannotTrace(let path, _, _), .cannotProbe(let path, _):
      path
    case .unusedSetting, .repeatedRun: nil
    }
  }

  /// What, where, found and expected.
  public var errorDescription: String? {
    func question(_ nearest: String?) -> String { nearest.map { " Did you mean \($0.inQuotes)?" } ?? "" }
    return switch self {
    case .notRuns(let path): "\(path): expected the folder of 'bench run' or 'bench sweep', found neither"
    case .noRuns(let path): "\(path): no run is complete"
    case .malformed(let path, let reason): "\(path): \(reason)"
    case .mixed(let path, let run, let what, let found, let expected):
      "\(path): the run \(run.inQuotes) has other \(what) than the rest: \(found.shown()), expected \(expected.shown())"
    case .unusedSetting(let key, let nearest, _):
      "no method has the setting \(key.inQuotes)." + question(nearest)
    case .repeatedRun(let name): "the run \(name.inQuotes) is asked for twice"
    case .unknownRun(let path, let name, let nearest):
      "\(path): the sweep has no run \(name.inQuotes)." + question(nearest)
    case .unknownLabel(let path, let label, let nearest, _):
      "\(path): there is no method \(label.inQuotes)." + question(nearest)
    case .sameData(let path, let other): "\(path): the same data and modalities as in \(other)"
    case .cannotTrace(let path, let reason, _), .cannotProbe(let path, let reason): "\(path): \(reason)"
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    switch self {
    case .notRuns: "name the folder that was given to -o"
    case .noRuns: "go on with the sweep: the same command line with --resume"
    case .malformed: "start again with --overwrite, or get the folder again"
    case .mixed: "keep runs of different experiments in folders of their own"
    case .unusedSetting(_, _, let known): known.isEmpty ? nil : "known: \(known.joined(separator: ", "))"
    case .repeatedRun: "name each value and each seed once"
    case .unknownRun: "index.json in the folder names the runs"
    case .unknownLabel(_, _, _, let known): "known: \(known.joined(separator: ", "))"
    case .sameData: "name each data set once; one table holds all methods of a folder"
    case .cannotTrace(_, _, let remedy): remedy
    case .cannotProbe:
      "run the method 'unimodal-ensemble' too, which trains every encoder alone; --resume goes on with a sweep"
    }
  }
}
