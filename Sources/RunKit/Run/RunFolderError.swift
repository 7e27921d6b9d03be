/// Why a run folder could not be used.
public enum RunFolderError: DescribedError {
  case notAFolder(path: String)
  case notEmpty(path: String, isRun: Bool)
  case notARun(path: String, reason: String)
  case locked(path: String, holder: String)
  case configurationDiffers(path: String, differences: [Difference])
  case configurationMissing(path: String)
  case shortened(path: String, found: Int, expected: Int)

  /// An option whose value is not the stored one.
  public struct Difference: Equatable, Sendable {
    /// The option; members of objects are joined by dots.
    public let key: String
    /// The stored value as JSON, or nil if there is none.
    public let stored: String?
    /// The value asked for as JSON, or nil if there is none.
    public let asked: String?
  }

  /// The cases, by their word in machine-readable output.
  public enum Code: String, CaseIterable, Sendable {
    case notAFolder = "run_not_a_folder"
    case notEmpty = "run_not_empty"
    case notARun = "run_not_a_run"
    case locked = "run_locked"
    case configurationDiffers = "run_configuration_differs"
    case configurationMissing = "run_configuration_missing"
    case shortened = "run_shortened"
  }

  /// Which case this is.
  public var code: Code {
    switch self {
    case .notAFolder: .notAFolder
    case .notEmpty: .notEmpty
    case .notARun: .notARun
    case .locked: .locked
    case .configurationDiffers: .configurationDiffers
    case .configurationMissing: .configurationMissing
    case .shortened: .shortened
    }
  }

  /// 73 where the folder cannot become the output, 65 where what it holds does not fit.
  public var exitStatus: ExitStatus {
    switch self {
    case .notAFolder, .notEmpty, .notARun, .locked: .cannotCreate
    case .configurationDiffers, .configurationMissing, .shortened: .data
    }
  }

  /// The folder concerned.
  public var path: String? {
    switch self {
    case .notAFolder(let path), .notEmpty(let path, _), .notARun(let path, _), .locked(let path, _),
      .configurationDiffers(let path, _), .configurationMissing(let path), .shortened(let path, _, _):
      path
    }
  }

  /// What, where, found and expected.
  public var errorDescription: String? {
    switch self {
    case .notAFolder(let path): return "\(path): found a file, expected a folder or nothing"
    case .notEmpty(let path, let isRun):
      return "\(path): found \(isRun ? "an earlier run" : "other files"), expected an empty folder or nothing"
    case .notARun(let path, let reason): return "\(path): found files that are not a run: \(reason)"
    case .locked(let path, let holder): return "\(path): in use by \(holder.shown())"
    case .configurationDiffers(let path, let differences):
      let shownCount = 5
      let list = differences.prefix(shownCount).map { difference in
        let (stored, asked) = (difference.stored ?? "nothing", difference.asked ?? "nothing")
        return
          "\(difference.key.shown(limit: 80)) \(stored.shown(limit: 80)), this command asks \(asked.shown(limit: 80))"
      }
      let rest = differences.count > shownCount ? "; and \(differences.count - shownCount) more" : ""
      return "\(path): was made with " + list.joined(separator: "; ") + rest + "; a run cannot mix"
    case .configurationMissing(let path): return "\(path): found results, but no config.json to compare with"
    case .shortened(let path, let found, let expected):
      return "\(path): found \(found) bytes, expected at least the \(expected) that the saved state counts"
    }
  }

  /// What to do.
  public var recoverySuggestion: String? {
    switch self {
    case .notAFolder, .notEmpty(_, isRun: false), .notARun: "choose another -o"
    case .notEmpty(_, isRun: true):
      "choose another -o, start again with --overwrite, or go on with --resume if the command has it"
    case .locked: "wait for that process to end, or choose another -o"
    case .configurationDiffers: "repeat the stored options, choose another -o, or --overwrite"
    case .configurationMissing, .shortened: "start again with --overwrite, or choose another -o"
    }
  }
}
