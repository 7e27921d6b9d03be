public import Foundation
public import RunKit

/// One value that a sweep gives to an option of a method, or to the training: `alpha=0.5`, `training.epochs=20`.
public struct SweepSetting: Equatable, Sendable {
  /// An option of the method, behind its name and a dot where it is of a part of a composed one; `training.` and a key of
  /// the training; or `fusion`.
  public let key: String
  /// A number, a text, or a truth value.
  public let value: JSONValue

  /// A setting.
  public init(key: String, value: JSONValue) { (self.key, self.value) = (key, value) }

  /// As on the command line.
  public var text: String { key + "=" + (value.stringValue ?? value.text()) }

  /// Whether it changes the experiment and not the method alone.
  var isOfExperiment: Bool { key.hasPrefix("training.") || key == "fusion" }
}

/// The values that are tried of one key, which may begin with a method's label: `ogm.alpha`.
public struct SweepDimension: Equatable, Sendable {
  /// What is set.
  public let key: String
  /// In order.
  public let values: [JSONValue]

  /// A dimension of a grid.
  public init(key: String, values: [JSONValue]) { (self.key, self.values) = (key, values) }
}

/// Every run of a sweep: methods times the points of a grid times seeds.
///
/// A key of the grid multiplies the methods that have such an option: `alpha` every method with an α, `ogm.alpha` one
/// method, `training.learning_rate` and `fusion` all. Methods that learn from teachers get a run of the unimodal ensemble
/// of the same training and seed before them: the sweep's own if it has one, else one that is added and left out of tables.
public struct SweepPlan: Sendable {
  /// One run.
  public struct Run: Equatable, Sendable {
    /// Of its folder.
    public let name: String
    /// What the experiment calls the method.
    public let label: String
    /// The method.
    public let method: String
    /// What the sweep sets.
    public let settings: [SweepSetting]
    /// The seed.
    public let seed: Int
    /// Whether it was added for others to learn from.
    public let isTeacher: Bool
    /// The run whose encoders it learns from.
    public let teacher: String?

    /// The method with its settings.
    var point: String { SweepPlan.point(label, settings) }
  }

  /// The experiment that all runs are made of.
  public let experiment: JSONObject
  /// What others are compared with.
  public let reference: String
  /// In the order in which they begin: all of a seed before the next.
  public let runs: [Run]

  /// A method with its settings: `ogm`, `ogm.alpha=0.5`.
  static func point(_ label: String, _ settings: [SweepSetting]) -> String {
    ([label] + settings.map(\.text)).joined(separator: ".")
  }

  /// The experiment in a file.
  ///
  /// - Throws: `FileError`, `ExperimentError`.
  public static func experiment(in url: URL) throws -> JSONObject {
    let bytes = try FileReader.bytes(of: url, limit: 1 << 22)
    // The reader has better words for what is wrong.
    _ = try ExperimentReader(path: url.path, bytes: bytes)
    return try JSONValue(parsing: bytes).objectValue ?? JSONObject()
  }

  /// - Parameters:
  ///   - experiment: What the file or preset says; checked by `BenchExperiment` before.
  ///   - path: Of the experiment, for messages.
  ///   - labels: The methods that are wanted; nil for all.
  ///   - seeds: nil for those of the experiment.
  /// - Throws: `SweepError`, `ExperimentError`, `BenchError`.
  public init(
    _ experiment: JSONObject, path: String, choices: BenchExperiment.Choices, grid: [SweepDimension],
    seeds: [Int]?
  ) throws {
    let base = URL(fileURLWithPath: path).deletingLastPathComponent()
    let read = try BenchExperiment(
      path: path, bytes: [UInt8](JSONValue.object(experiment).text().utf8), base: base, choices: choices)
    let modalities = read.modalities.map(\.rawValue)
    // Runs read it from elsewhere: the files of encoders have whole paths then.
    var stored = experiment
    if experiment["encoders"] != nil { stored["encoders"] = read.effective["encoders"] }
    (self.experiment, reference) = (stored, read.reference)
    let methods = (experiment["methods"]?.arrayValue ?? []).compactMap(\.objectValue).filter { method in
      let label = Self.label(method)
      return read.labels.contains(label)
    }
    var used: Set<String> = []
    var points: [(method: JSONObject, settings: [SweepSetting], learns: Bool)] = []
    for method in methods {
      let own = try grid.compactMap { dimension -> [SweepSetting]? in
        guard let key = try Self.key(dimension, method, path: path, modalities: modalities) else {
          return nil
        }
        used.insert(dimension.key)
        return dimension.values.map { SweepSetting(key: key, value: $0) }
      }
      for settings in Self.product(own) {
        // Every point is an experiment of its own, and is checked as one.
        let single = try BenchExperiment(
          path: path + " with " + Self.point(Self.label(method), settings),
          bytes: [UInt8](Self.experiment(experiment, method, settings, seed: 0).text().utf8), base: base,
          choices: Self.plain(choices))
        points.append((method, settings, single.methods.contains { $0.needsTeachers }))
      }
    }
    if let unused = grid.first(where: { !used.contains($0.key) }) {
      throw Self.unused(unused, methods, path: path, modalities: modalities)
    }
    runs = try Self.runs(points, seeds: seeds ?? read.seeds)
  }

  /// The same choices without those that say which methods.
  private static func plain(_ choices: BenchExperiment.Choices) -> BenchExperiment.Choices {
    var plain = choices
    plain.labels = nil
    return plain
  }

  private static func label(_ method: JSONObject) -> String {
    method["label"]?.stringValue ?? method["id"]?.stringValue ?? ""
  }

  // MARK: Runs

  private static func runs(
    _ points: [(method: JSONObject, settings: [SweepSetting], learns: Bool)], seeds: [Int]
  ) throws -> [Run] {
    var runs: [Run] = []
    for seed in seeds {
      var added: [String] = []
      for (method, settings, learns) in points {
        var teacher: String?
        if learns {
          let training = settings.filter { $0.key.hasPrefix("training.") }
          let own = points.first { point in
            point.method["id"]?.stringValue == UnimodalEnsemble.id
              && point.settings.filter { $0.key.hasPrefix("training.") } == training
          }
          let name = Self.name(
            own.map { label($0.method) } ?? Benchmark.teacherLabel, own?.settings ?? training, seed)
          if own == nil && !added.contains(name) {
            added.append(name)
            runs.append(
              Run(
                name: name, label: Benchmark.teacherLabel, method: UnimodalEnsemble.id, settings: training,
                seed: seed,
                isTeacher: true, teacher: nil))
          }
          teacher = name
        }
        runs.append(
          Run(
            name: name(label(method), settings, seed), label: label(method),
            method: method["id"]?.stringValue ?? "", settings: settings, seed: seed, isTeacher: false,
            teacher: teacher))
      }
    }
    var names: Set<String> = []
    for run in runs where !names.insert(run.name).inserted { throw SweepError.repeatedRun(name: run.name) }
    return runs
  }

  private static func name(_ label: String, _ settings: [SweepSetting], _ seed: Int) -> String {
    point(label, settings) + "-seed\(seed)"
  }

  /// Every way to take one of each list; the last list changes fastest.
  static func product(_ lists: [[SweepSetting]]) -> [[SweepSetting]] {
    lists.reduce([[]]) { points, list in points.flatMap { point in list.map { point + [$0] } } }
  }

  // MARK: The grid

  /// What a dimension sets of a method; nil if it does not concern it.
  private static func key(
    _ dimension: SweepDimension, _ method: JSONObject, path: String, modalities: [String]
  ) throws -> String? {
    let setting = SweepSetting(key: dimension.key, value: .null)
    if setting.isOfExperiment { return dimension.key }
    var key = dimension.key
    if let dot = key.firstIndex(of: ".") {
      guard key[..<dot] == label(method) else { return nil }
      key = String(key[key.index(after: dot)...])
    }
    // What tells methods apart is no setting of theirs.
    if key == "id" || key == "label" { return nil }
    do {
      try check(method, key, dimension.values.first ?? .null, path: path, modalities: modalities)
      return key
    } catch ExperimentError.unknownKey(_, let found, _, _) where found == key && !dimension.key.contains(".")
    {
      return nil
    }
  }

  /// Reads a method with one more option.
  private static func check(
    _ method: JSONObject, _ key: String, _ value: JSONValue, path: String, modalities: [String]
  ) throws {
    var method = method
    set(key, value, in: &method)
    let reader = try ExperimentReader(
      path: path + ", " + label(method), bytes: [UInt8](JSONValue.object(method).text().utf8))
    _ = try MethodCatalog.read(reader, modalities: modalities)
    try reader.finish()
  }

  /// Sets an option of a method, or of a part of a composed one: `ogm-ge.alpha`.
  private static func set(_ key: String, _ value: JSONValue, in method: inout JSONObject) {
    guard let dot = key.firstIndex(of: ".") else {
      method[key] = value
      return
    }
    let part = String(key[..<dot])
    var options = method[part]?.objectValue ?? JSONObject()
    options[String(key[key.index(after: dot)...])] = value
    method[part] = .object(options)
  }

  private static func unused(
    _ dimension: SweepDimension, _ methods: [JSONObject], path: String, modalities: [String]
  ) -> SweepError {
    var known: [String] = dimension.key.contains(".") ? ["training"] + methods.map(label) : ["fusion"]
    if !dimension.key.contains(".") {
      for method in methods {
        do {
          try check(method, dimension.key, .null, path: path, modalities: modalities)
        } catch ExperimentError.unknownKey(_, _, _, let keys) {
          for key in keys where !known.contains(key) && key != "id" && key != "label" { known.append(key) }
        } catch {}
      }
    }
    let asked = dimension.key.split(separator: ".").first.map(String.init) ?? dimension.key
    return .unusedSetting(
      key: dimension.key, nearest: NameSuggestion.nearest(to: asked, in: known), known: known)
  }

  // MARK: Experiments of single runs

  /// The experiment of one run.
  public func experiment(of run: Run) -> JSONValue { Self.experiment(of: run, experiment) }

  static func experiment(of run: Run, _ base: JSONObject) -> JSONValue {
    let listed = (base["methods"]?.arrayValue ?? []).compactMap(\.objectValue)
    let teacher = JSONObject([
      ("id", .string(UnimodalEnsemble.id)), ("label", .string(Benchmark.teacherLabel)),
    ])
    let method = run.isTeacher ? teacher : listed.first { label($0) == run.label } ?? teacher
    return experiment(base, method, run.settings, seed: run.seed)
  }

  private static func experiment(
    _ base: JSONObject, _ method: JSONObject, _ settings: [SweepSetting], seed: Int
  ) -> JSONValue {
    var (experiment, method) = (base, method)
    var training = base["training"]?.objectValue ?? JSONObject()
    for setting in settings {
      if setting.key.hasPrefix("training.") {
        training[String(setting.key.dropFirst("training.".count))] = setting.value
      } else if setting.isOfExperiment {
        experiment[setting.key] = setting.value
      } else {
        set(setting.key, setting.value, in: &method)
      }
    }
    experiment["reference"] = nil
    experiment["training"] = .object(training)
    experiment["seeds"] = 1
    experiment["first_seed"] = .integer(seed)
    experiment["methods"] = [.object(method)]
    return .object(experiment)
  }
}
