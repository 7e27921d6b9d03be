public import Foundation
public import RunKit
import TensorCore

/// What the encoder of each modality knows after training alone, and after training inside a method.
///
/// Two measures of an encoder: the accuracy of the logits that the method itself has for the modality (its block of an
/// additive head, a classifier of its own), and that of a linear classifier trained on its frozen features
/// (`LinearProbe`). The gap is the linear probe of the encoder that was trained alone minus that of the method's encoder,
/// over seeds and test samples.
public struct EncoderProbe: Sendable {
  /// One encoder.
  public struct Row: Sendable {
    /// The modality.
    public let modality: String
    /// The method that trained it, with its settings; `alone` for the encoder that was trained alone.
    public let title: String
    /// The mean over seeds of the accuracy of the method's own logits.
    public let ownAccuracy: Double?
    /// The mean over seeds of the accuracy of the linear probe, and its interval.
    public let probe: Double
    /// See `probe`.
    public let probeInterval: ConfidenceInterval?
    /// Alone minus this one; nil for the encoder that was trained alone.
    public let gap: Double?
    /// Its interval.
    public let gapInterval: ConfidenceInterval?
    /// The P of no gap over seeds and samples.
    public let p: Double?
    /// The same corrected by Holm over all gaps.
    public internal(set) var corrected: Double?
  }

  static let aloneTitle = "alone"

  /// What was read.
  public let runs: BenchRuns
  /// Modalities in order, `alone` first.
  public let rows: [Row]
  /// Seeds that every row has.
  public let seeds: [Int]
  private let bootstrap: Bootstrap

  /// Computes features of all runs and fits a probe to each.
  ///
  /// - Parameters:
  ///   - labels: The methods to look at; none for the reference.
  ///   - dataFolder: nil for the one that the runs were started with.
  ///   - progress: Told how many encoders are done, and of how many.
  /// - Throws: `SweepError`, and errors of data and weights.
  public init(
    _ runs: BenchRuns, labels: [String], dataFolder: URL?, bootstrap: Bootstrap,
    progress: (_ done: Int, _ total: Int) -> Void
  ) throws {
    for label in labels { try runs.requireLabel(label) }
    (self.runs, self.bootstrap) = (runs, bootstrap)
    let points = (labels.isEmpty ? [runs.reference] : labels).compactMap(runs.chosen)
    let reader = try EncoderReader(runs, dataFolder)
    let solo = try reader.soloRuns(runs)
    let seeds = runs.seeds.filter { seed in
      points.allSatisfy { $0.places[seed] != nil } && solo.allSatisfy { $0[seed] != nil }
    }
    guard !seeds.isEmpty, !points.isEmpty else {
      throw SweepError.cannotProbe(
        path: runs.path, reason: "no seed has complete runs of every encoder alone and of the methods")
    }
    self.seeds = seeds
    let total = seeds.count * runs.modalities.count * (points.count + 1)
    var (done, rows): (Int, [Row]) = (0, [])
    let estimates = BenchEstimates(bootstrap: bootstrap)
    for (place, modality) in runs.modalities.enumerated() {
      func scores(_ runOf: (Int) -> EncoderReader.Run?) throws -> (own: [Double], probe: [RunScores]) {
        var (own, probes): ([Double], [RunScores]) = ([], [])
        for seed in seeds {
          guard let run = runOf(seed) else { continue }
          let correct = try reader.correct(run, modality: place, seed: seed)
          let share = Double(correct.count { $0 }) / Double(max(1, correct.count))
          probes.append(RunScores(bits: [correct], modalities: nil, value: share))
          if let value = run.ownAccuracies[safely: place] { own.append(value) }
          done += 1
          progress(done, total)
        }
        return (own, probes)
      }
      func row(_ title: String, _ found: (own: [Double], probe: [RunScores]), _ alone: [RunScores]?) -> Row {
        let mean = estimates.mean(found.probe, .accuracy, itemCount: runs.itemCount)
        let gap = alone.flatMap {
          estimates.difference($0, from: found.probe, .accuracy, itemCount: runs.itemCount)
        }
        return Row(
          modality: modality, title: title,
          ownAccuracy: found.own.isEmpty ? nil : found.own.reduce(0, +) / Double(found.own.count),
          probe: mean?.value ?? 0, probeInterval: mean?.interval, gap: gap?.value,
          gapInterval: gap?.interval, p: alone.flatMap { estimates.test($0, against: found.probe).p },
          corrected: nil)
      }
      let alone = try scores { solo[place][$0] }
      rows.append(row(Self.aloneTitle, alone, nil))
      for point in points {
        let found = try scores { seed in
          point.places[seed].map { folder in
            EncoderReader.Run(
              folder: folder, label: point.label, ownAccuracies: point.results[seed]?.unimodalAccuracies ?? []
            )
          }
        }
        rows.append(row(point.title, found, alone.probe))
      }
    }
    let corrected = PairedTests.holm(rows.map(\.p))
    for (place, value) in corrected.enumerated() { rows[place].corrected = value }
    self.rows = rows
  }

  /// For people.
  public var printed: PrintedTable {
    let level = PrintedTable.level(bootstrap.confidence)
    let cells = rows.map { row in
      [
        row.modality + ", " + row.title, PrintedTable.percent(row.ownAccuracy),
        PrintedTable.percent(row.probe), PrintedTable.bounds(row.probeInterval),
        PrintedTable.percent(row.gap), PrintedTable.bounds(row.gapInterval),
        PrintedTable.probability(row.p), PrintedTable.probability(row.corrected),
      ]
    }
    return PrintedTable(
      titles: ["encoder", "own logits", "linear probe", level, "gap", level, "p", "p Holm"], rows: cells,
      notes: [
        "accuracy in percent on \(runs.itemCount) test samples of \(runs.title), means over \(PrintedTable.seeds(seeds.count))",
        "own logits: what the method has for the modality; linear probe: logistic regression on frozen features, its penalty "
          + "chosen on validation samples",
        "gap: the probe of the encoder trained alone minus that of the method's; intervals and p over seeds and samples, "
          + "p Holm: corrected for \(rows.count { $0.p != nil }) gaps",
      ])
  }

  /// Everything.
  public var json: JSONValue {
    [
      "data": .string(runs.title), "seeds": .array(seeds.map(JSONValue.integer)),
      "test_samples": .integer(runs.itemCount), "confidence": .number(bootstrap.confidence),
      "rows": .array(
        rows.map { row in
          [
            "modality": .string(row.modality), "encoder": .string(row.title),
            "own_accuracy": JSONValue(row.ownAccuracy), "probe_accuracy": .number(row.probe),
            "probe_interval": BenchTable.bounds(row.probeInterval), "gap": JSONValue(row.gap),
            "gap_interval": BenchTable.bounds(row.gapInterval), "p": JSONValue(row.p),
            "p_holm": JSONValue(row.corrected),
          ]
        }), "notes": .array(printed.notes.map(JSONValue.string)),
    ]
  }
}

extension Array {
  /// The element of a place, or nil beyond the end.
  fileprivate subscript(safely place: Int) -> Element? { indices.contains(place) ? self[place] : nil }
}

/// Reads the encoders of runs and fits probes to their features.
private struct EncoderReader {
  /// A run whose encoders are looked at.
  struct Run {
    let folder: URL
    let label: String
    let ownAccuracies: [Double]
  }

  private let data: ClassicData
  private let path: String
  private static let facts = RunFolder.Facts(version: "", arguments: [], threads: 1)

  init(_ runs: BenchRuns, _ dataFolder: URL?) throws {
    path = runs.path
    let root = URL(fileURLWithPath: runs.path, isDirectory: true)
    guard let place = runs.points.flatMap({ Array($0.places.values) }).first else {
      throw SweepError.noRuns(path: runs.path)
    }
    let folder = try dataFolder ?? Benchmark.storedDataFolder(root)
    data = try Benchmark.data(of: Self.experiment(of: place, dataFolder: folder))
    let found = "\(runs.modalities.joined(separator: ", ")); \(JSONValue.object(data.hashes).text())"
    guard found == runs.identity else {
      throw SweepError.mixed(
        path: runs.path, run: place.lastPathComponent, what: "data", found: runs.identity, expected: found)
    }
  }

  /// The experiment of a run as its config.json has it.
  private static func experiment(of run: URL, dataFolder: URL? = nil) throws -> BenchExperiment {
    let url = run.appendingPathComponent("config.json")
    let stored = try JSONValue(parsing: FileReader.bytes(of: url, limit: 1 << 24))
    guard var experiment = stored["experiment"]?.objectValue else {
      throw SweepError.malformed(path: url.path, reason: "there is no experiment in it")
    }
    experiment["chosen_methods"] = nil
    var choices = BenchExperiment.Choices()
    choices.dataFolder = dataFolder
    return try BenchExperiment(
      path: url.path, bytes: [UInt8](JSONValue.object(experiment).text().utf8),
      base: URL(fileURLWithPath: FileManager.default.currentDirectoryPath, isDirectory: true),
      choices: choices)
  }

  /// For each modality the runs by seed that trained its encoder alone.
  func soloRuns(_ runs: BenchRuns) throws -> [[Int: Run]] {
    var found = [[Int: Run]](repeating: [:], count: runs.modalities.count)
    for (seed, folder) in runs.teachers {
      let accuracies = try Self.ownAccuracies(folder)
      for place in found.indices {
        found[place][seed] = Run(folder: folder, label: Benchmark.teacherLabel, ownAccuracies: accuracies)
      }
    }
    // Runs of one modality, where there is no run of the ensemble.
    for label in runs.labels {
      guard let point = runs.chosen(label), point.method == Unimodal.id else { continue }
      for (seed, folder) in point.places {
        let choice = try Self.experiment(of: folder).methods.first { $0.label == label }
        guard let method = choice?.make(MethodCatalog.Ingredients()) as? Unimodal,
          found.indices.contains(method.modality), found[method.modality][seed] == nil
        else { continue }
        found[method.modality][seed] = Run(
          folder: folder, label: label, ownAccuracies: point.results[seed]?.unimodalAccuracies ?? [])
      }
    }
    if let missing = found.firstIndex(where: \.isEmpty) {
      throw SweepError.cannotProbe(
        path: runs.path, reason: "no complete run trained the encoder of \(runs.modalities[missing]) alone")
    }
    return found
  }

  private static func ownAccuracies(_ folder: URL) throws -> [Double] {
    let url = folder.appendingPathComponent(BenchResult.fileName)
    let value = try JSONValue(parsing: FileReader.bytes(of: url, limit: 1 << 26))
    return BenchResult(value)?.unimodalAccuracies ?? []
  }

  /// Which test samples the probe of one encoder has right.
  func correct(_ run: Run, modality: Int, seed: Int) throws -> [Bool] {
    let experiment = try Self.experiment(of: run.folder)
    let benchmark = try Benchmark(experiment, data: data, facts: Self.facts)
    let choice = experiment.methods.first { $0.label == run.label }
    // The teachers of 'bench run' are no method of the experiment.
    let method: any ImbalanceMethod =
      choice.map { $0.make(benchmark.untrainedIngredients($0)) } ?? UnimodalEnsemble()
    let task = try benchmark.task(method, seed: seed)
    let encoder = task.model.encoders[modality]
    guard encoder.positions == 1 else {
      throw SweepError.cannotProbe(
        path: path, reason: "the encoder of \(task.model.names[modality]) gives several vectors for a sample")
    }
    let names = task.model.encoderNames(modality) + task.model.bufferNames(modality)
    let set = ParameterSet(names.compactMap { name in task.parameters[name].map { (name, $0) } })
    try set.restore(
      from: SafetensorsFile(path: run.folder.appendingPathComponent(benchmark.testedWeights).path))
    let parameters = Parameters(set.named)
    func features(_ split: ClassicSplit) -> (features: Tensor, labels: [Int]) {
      let count = split.labels.count
      let parts = stride(from: 0, to: count, by: split.panelSize).map { start in
        let panel = Array(start..<min(count, start + split.panelSize))
        return task.model.features(modality, of: split.rows[modality].tensor(panel, nil), parameters)
      }
      return (Tensor.concatenated(parts), split.labels)
    }
    return LinearProbe.correct(
      training: features(data.training), validation: features(data.validation), test: features(data.test),
      classes: data.classes.count)
  }
}
