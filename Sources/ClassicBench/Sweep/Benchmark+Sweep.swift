public import Foundation
public import RunKit
import TensorCore

extension Benchmark {
  /// A benchmark of one run of a sweep, whose data are read.
  ///
  /// - Parameters:
  ///   - folder: Of the sweep.
  ///   - dataFolder: nil for the one that the sweep was started with.
  /// - Throws: `SweepError`, and as `init(_:facts:)`.
  public init(run name: String, ofSweep folder: URL, dataFolder: URL?, facts: RunFolder.Facts) throws {
    let index = try SweepIndex(of: folder)
    let run = try index.entry(name, in: folder).run
    var choices = BenchExperiment.Choices()
    choices.dataFolder = try dataFolder ?? Self.storedDataFolder(folder)
    let text = SweepPlan.experiment(of: run, index.experiment).text()
    let experiment = try BenchExperiment(
      path: folder.appendingPathComponent(SweepIndex.fileName).path, bytes: [UInt8](text.utf8), base: folder,
      choices: choices)
    try self.init(experiment, facts: facts)
  }

  static let dataFolderKey = "data_folder"

  /// Where the data were when the sweep was started.
  static func storedDataFolder(_ folder: URL) throws -> URL? {
    let bytes = try FileReader.bytes(of: folder.appendingPathComponent("run.json"), limit: 1 << 24)
    let record = try JSONValue(parsing: bytes)
    return record[dataFolderKey]?.stringValue.map { URL(fileURLWithPath: $0, isDirectory: true) }
  }

  /// Trains and evaluates one run of a sweep, or goes on with it.
  ///
  /// A process of a sweep that was killed may still hold the folder: it ends within a step, so it is waited for.
  ///
  /// - Throws: What training throws.
  public func run(_ name: String, ofSweep folder: URL, progress: (Event) -> Void) throws -> Outcome {
    let run = try SweepIndex(of: folder).entry(name, in: folder).run
    guard let choice = experiment.methods.first, let seed = experiment.seeds.first else { return .stopped }
    var ingredients = MethodCatalog.Ingredients()
    var spent = 0
    if choice.needsTeachers, let teacher = run.teacher {
      let place = SweepIndex.place(teacher, in: folder)
      ingredients.teachers = try encoders(of: place, seed: seed)
      let bytes = try FileReader.bytes(of: place.appendingPathComponent(BenchResult.fileName), limit: 1 << 26)
      spent = BenchResult(try JSONValue(parsing: bytes))?.operations?.total ?? 0
    }
    let place = SweepIndex.place(name, in: folder)
    var patience = 150
    while true {
      do {
        let result = try single(
          choice.make(ingredients), label: choice.label, seed: seed, at: place, .resume, teachers: spent,
          progress)
        return result.map { Outcome.complete([$0]) } ?? .stopped
      } catch RunFolderError.locked where patience > 0 && !Interrupts.isRequested {
        patience -= 1
        Thread.sleep(forTimeInterval: 0.2)
      }
    }
  }
}

/// A sweep whose experiments were all checked against the data.
public struct CheckedSweep: Sendable {
  /// What a point of the grid costs.
  struct Cost: Sendable {
    let point: String
    let isTeacher: Bool
    let runs: Int
    let parameters: Int
    let steps: Int
    /// Passes over all encoders in training, in units of those of a joint run of the same length.
    let relative: Double
  }

  /// The runs.
  public let plan: SweepPlan
  /// Where the data are.
  public let dataFolder: URL
  /// The options of every run, by name: those of a run that is complete must be the same.
  public let configurations: [String: JSONObject]
  private let hashes: JSONObject
  private let sizes: (training: Int, validation: Int, test: Int)
  private let costs: [Cost]

  /// Reads the data once and checks every point of the grid.
  ///
  /// - Throws: `SweepError`, `ExperimentError`, `BenchError`, and errors of data.
  public init(
    _ plan: SweepPlan, path: String, choices: BenchExperiment.Choices, facts: RunFolder.Facts
  ) throws {
    self.plan = plan
    let base = URL(fileURLWithPath: path).deletingLastPathComponent()
    var choices = choices
    choices.labels = nil
    func experiment(_ run: SweepPlan.Run) throws -> BenchExperiment {
      try BenchExperiment(
        path: "\(path) with \(run.point)", bytes: [UInt8](plan.experiment(of: run).text().utf8), base: base,
        choices: choices)
    }
    guard let first = plan.runs.first else { throw SweepError.noRuns(path: path) }
    let firstExperiment = try experiment(first)
    dataFolder = firstExperiment.dataFolder
    let data = try Benchmark.data(of: firstExperiment)
    hashes = data.hashes
    let named = try plan.runs.map { run in
      let options = try Benchmark.configuration(
        experiment(run), hashes: data.hashes, label: run.label, seed: run.seed)
      return (run.name, options)
    }
    configurations = Dictionary(uniqueKeysWithValues: named)
    sizes = (data.training.labels.count, data.validation.labels.count, data.test.labels.count)
    costs = try plan.runs.filter { $0.seed == first.seed }.map { run in
      let benchmark = try Benchmark(experiment(run), data: data, facts: facts)
      return try benchmark.cost(of: run, runs: plan.runs.count { $0.point == run.point })
    }
  }

  /// What a resumed sweep must share: the experiment and the data. More seeds, methods and values may be asked for.
  public var configuration: JSONObject {
    JSONObject([
      ("command", "bench sweep"), ("experiment", .object(plan.experiment)), ("sha256", .object(hashes)),
    ])
  }

  /// What run.json is to say besides.
  public var notes: JSONObject { JSONObject([(Benchmark.dataFolderKey, .string(dataFolder.path))]) }

  /// What would be done, with the work in units of one joint run.
  public var dryRun: JSONValue {
    let total = costs.reduce(0.0) { $0 + $1.relative * Double($1.runs) }
    return [
      "reference": .string(plan.reference), "training_samples": .integer(sizes.training),
      "validation_samples": .integer(sizes.validation), "test_samples": .integer(sizes.test),
      "runs": .integer(plan.runs.count), "joint_runs": .number(total),
      "points": .array(
        costs.map { cost in
          [
            "name": .string(cost.point), "is_teacher": .bool(cost.isTeacher), "runs": .integer(cost.runs),
            "parameters": .integer(cost.parameters), "steps": .integer(cost.steps),
            "joint_runs_each": .number(cost.relative),
          ]
        }),
      "order": .array(plan.runs.map { .string($0.name) }),
    ]
  }

  /// The same for people: titles, rows and a last line.
  public var dryRunTable: (titles: [String], rows: [[String]], total: String) {
    let rows = costs.map { cost in
      [
        cost.point + (cost.isTeacher ? " (for others to learn from)" : ""), "\(cost.runs)",
        "\(cost.parameters)", "\(cost.steps)", Decimals.text(cost.relative, places: 2),
      ]
    }
    let total = costs.reduce(0.0) { $0 + $1.relative * Double($1.runs) }
    return (
      ["point", "runs", "parameters", "steps", "work each"], rows,
      "\(plan.runs.count) runs, the work of \(Decimals.text(total, places: 1)) joint runs; "
        + "work: passes over the encoders in steps, one joint run of the same length being 1; what methods do between epochs is not in it"
    )
  }
}

extension Benchmark {
  /// What one point costs; the run must be of this experiment.
  fileprivate func cost(of run: SweepPlan.Run, runs: Int) throws -> CheckedSweep.Cost {
    guard let choice = experiment.methods.first else {
      return CheckedSweep.Cost(
        point: run.point, isTeacher: run.isTeacher, runs: runs, parameters: 0, steps: 0, relative: 0)
    }
    let method = choice.make(untrainedIngredients(choice))
    let task = try task(method, seed: run.seed)
    let passes = method.cost(modalities: data.modalities.count)
    let steps = task.stepsPerEpoch * experiment.plan.epochs
    let joint = MethodCost()
    let work = Double(task.method.stepsPerBatch(task.model)) * (passes.forward + passes.backward)
    return CheckedSweep.Cost(
      point: run.point, isTeacher: run.isTeacher, runs: runs,
      parameters: task.model.parameterShapes.reduce(0) { $0 + $1.shape.reduce(1, *) }, steps: steps,
      relative: work / (joint.forward + joint.backward))
  }
}
