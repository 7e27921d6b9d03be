import ClassicBench
import Foundation
import RunKit

/// Which experiment of the classic benchmark: a file or a preset, and what of it.
struct ExperimentOptions {
  static let preset = Option<BenchPreset?>.choice(
    "preset", "NAME", absence: "a file", "an experiment that comes with the program")
  static let quick = Option<Bool>.flag("quick", "3 seeds of the preset; AVDigits with half the epochs")
  static let data = Option<String?>.text(
    "data", "FOLDER", notes: "default: what the experiment says", "folder of the data")
  static let methods = Option<[String]>.list(
    "methods", "LABELS", absence: "all", "run only these of the experiment, with commas between")
  static let declarations = [
    preset.declaration, quick.declaration, data.declaration, methods.declaration,
  ]

  /// The file.
  let path: String?
  let preset: BenchPreset?
  let isQuick: Bool
  /// The folder of the data.
  let data: URL?
  /// Labels of methods; none for all.
  let methods: [String]

  /// - Parameter path: The file, if there is one.
  init(_ arguments: Arguments, path: String?) throws(UsageError) {
    self.path = path
    preset = try arguments[Self.preset]
    isQuick = try arguments[Self.quick]
    data = try arguments[Self.data].map { URL(fileURLWithPath: $0, isDirectory: true) }
    methods = try arguments[Self.methods]
  }

  /// Whether an option was given.
  var isGiven: Bool { preset != nil || isQuick || data != nil || !methods.isEmpty }

  /// Refuses neither or both of file and preset.
  ///
  /// - Parameters:
  ///   - argument: What the file is called.
  ///   - seeds: How seeds are chosen without --quick.
  func validate(_ command: String, argument: String, seeds: String) throws(UsageError) {
    if path == nil && preset == nil { throw .missingArgument(name: argument, command: command) }
    if path != nil && preset != nil {
      throw .conflict(reason: "a file and --preset exclude each other", remedy: "leave one of them out")
    }
    if isQuick && preset == nil { throw .conflict(reason: "--quick is for --preset", remedy: seeds) }
  }

  /// What the command line says beside the experiment.
  func choices(_ session: Session) -> BenchExperiment.Choices {
    var choices = BenchExperiment.Choices()
    choices.firstSeed = min(session.globals.seed, Int.max - 1000)
    choices.dataFolder = data
    choices.labels = methods.isEmpty ? nil : methods
    return choices
  }
}
