import Foundation
public import RunKit
import TensorCore
import TokenModel

/// Runs every method of an experiment with every seed, and compares them on the test split.
///
/// Each run has a folder of its own below that of the benchmark. The last weights are tested, or those with the best
/// validation accuracy, as the experiment says; the test split is read once, after training.
public struct Benchmark {
  /// What a run did, for progress.
  public enum Event {
    /// A run begins, or was done before.
    case started(label: String, seed: Int, isDone: Bool)
    /// An epoch of it ended.
    case epoch(label: String, seed: Int, epoch: Int, of: Int, accuracy: Double)
  }

  /// How a benchmark ended.
  public enum Outcome {
    /// All runs are done.
    case complete([BenchResult])
    /// An interrupt stopped it; it can be resumed.
    case stopped
  }

  let experiment: BenchExperiment
  let data: ClassicData
  let facts: RunFolder.Facts

  /// Reads the data and checks every method against it.
  ///
  /// - Throws: `ClassicDataError`, `PackedDataError`, `EncoderError`, `BenchError.refused`, `SafetensorsError`,
  ///   `FileError`, and what reading encoders throws.
  public init(_ experiment: BenchExperiment, facts: RunFolder.Facts) throws {
    try self.init(experiment, data: Self.data(of: experiment), facts: facts)
  }

  /// Reads the data that an experiment names.
  static func data(of experiment: BenchExperiment) throws -> ClassicData {
    try ClassicData.read(
      experiment.dataFolder, modalities: experiment.modalities, encoders: experiment.encoders)
  }

  /// Checks every method against data that were read before.
  ///
  /// - Throws: `BenchError.refused`.
  init(_ experiment: BenchExperiment, data: ClassicData, facts: RunFolder.Facts) throws {
    (self.experiment, self.data, self.facts) = (experiment, data, facts)
    for choice in experiment.methods {
      _ = try task(choice.make(untrainedIngredients(choice)), seed: experiment.seeds[0])
    }
  }

  private var baseModel: ClassicModel {
    ClassicModel(
      modalities: data.modalities, encoders: data.encoders, classCount: data.classes.count,
      head: experiment.fusion.head(positions: data.encoders.map(\.positions)))
  }

  var teacherModel: ClassicModel {
    var model = baseModel
    UnimodalEnsemble().build(&model)
    return model
  }

  func task(_ method: any ImbalanceMethod, seed: Int) throws -> ClassicTask {
    let task = try ClassicTask(
      data: (data.training, data.validation), model: baseModel, method: method, plan: experiment.plan,
      seed: seed)
    task.dataPath = experiment.dataFolder.path
    return task
  }

  /// Ingredients with teachers as they start: enough to check a method and its shapes; nothing is trained with them.
  func untrainedIngredients(_ choice: MethodCatalog.Choice) -> MethodCatalog.Ingredients {
    guard choice.needsTeachers else { return MethodCatalog.Ingredients() }
    let start = teacherModel.initialParameters(seed: 0).map { ($0.name, $0.value) }
    return MethodCatalog.Ingredients(teachers: Dictionary(uniqueKeysWithValues: start))
  }

  /// What would be done: runs, steps, parameters and work, without doing it.
  public func dryRun() throws -> JSONValue {
    var methods: [JSONValue] = []
    for choice in experiment.methods {
      let method = choice.make(untrainedIngredients(choice))
      let task = try task(method, seed: experiment.seeds[0])
      let cost = method.cost(modalities: data.modalities.count)
      methods.append([
        "label": .string(choice.label), "id": .string(choice.id), "fusion": .string(task.model.head.name),
        "parameters": .integer(task.model.parameterShapes.reduce(0) { $0 + $1.shape.reduce(1, *) }),
        "steps": .integer(task.stepsPerEpoch * experiment.plan.epochs),
        "forward_passes": .number(cost.forward), "backward_passes": .number(cost.backward),
        "trains_teachers": .bool(choice.needsTeachers),
      ])
    }
    return [
      "data": .string(data.name), "encoders": .array(encoderNotes),
      "training_samples": .integer(data.training.labels.count),
      "validation_samples": .integer(data.validation.labels.count),
      "test_samples": .integer(data.test.labels.count),
      "seeds": .array(experiment.seeds.map(JSONValue.integer)),
      "runs": .integer(experiment.methods.count * experiment.seeds.count), "methods": .array(methods),
    ]
  }

  /// What each modality is encoded by.
  private var encoderNotes: [JSONValue] {
    zip(data.modalities, data.encoders).map { modality, encoder in
      [
        "modality": .string(modality.rawValue), "type": .string(encoder.kind),
        "input": .array(encoder.inputShape.map(JSONValue.integer)), "features": .integer(encoder.featureSize),
        "parameters": .integer(encoder.parameters.reduce(0) { $0 + $1.shape.reduce(1, *) }),
      ]
    }
  }

  /// The options that a resumed benchmark must share, with the hashes of the data.
  public var configuration: JSONObject { Self.configuration(experiment, hashes: data.hashes) }

  private static func configuration(_ experiment: BenchExperiment, hashes: JSONObject) -> JSONObject {
    JSONObject([
      ("command", "bench run"), ("experiment", .object(experiment.effective)), ("sha256", .object(hashes)),
    ])
  }

  /// The options that a resumed run of one method and seed must share.
  static func configuration(
    _ experiment: BenchExperiment, hashes: JSONObject, label: String, seed: Int
  ) -> JSONObject {
    var all = configuration(experiment, hashes: hashes)
    all["label"] = .string(label)
    all["seed"] = .integer(seed)
    return all
  }

  /// Runs what is not done yet.
  ///
  /// - Parameters:
  ///   - folder: That of the benchmark.
  ///   - mode: Of the folders of single runs.
  /// - Throws: What training throws.
  public func run(in folder: RunFolder, mode: RunFolder.Mode, progress: (Event) -> Void) throws -> Outcome {
    if mode == .overwrite, !experiment.methods.contains(where: \.needsTeachers) {
      // Those of an experiment that stood here would be taken for this one's.
      for seed in experiment.seeds {
        let place = Self.place(Self.teacherLabel, seed, folder)
        guard FileManager.default.fileExists(atPath: place.path) else { continue }
        do {
          try FileManager.default.removeItem(at: place)
        } catch {
          throw FileError.failed(path: place.path, operation: .remove, reason: error.localizedDescription)
        }
      }
    }
    var results: [BenchResult] = []
    for seed in experiment.seeds {
      var learned: (encoders: [String: Tensor], operations: Int)?
      for choice in experiment.methods {
        var ingredients = MethodCatalog.Ingredients()
        var spent = 0
        if choice.needsTeachers {
          guard let teachers = try learned ?? teachers(seed, in: folder, mode, progress) else {
            return .stopped
          }
          learned = teachers
          (ingredients.teachers, spent) = teachers
        }
        guard
          let result = try single(
            choice.make(ingredients), label: choice.label, seed: seed, in: folder, mode, teachers: spent,
            progress)
        else { return .stopped }
        results.append(result)
      }
    }
    return .complete(results)
  }

  /// Encoders of unimodal runs of a seed, trained if they are not there, and the operations of their training.
  private func teachers(
    _ seed: Int, in folder: RunFolder, _ mode: RunFolder.Mode, _ progress: (Event) -> Void
  ) throws -> (encoders: [String: Tensor], operations: Int)? {
    let label = Self.teacherLabel
    guard
      let result = try single(UnimodalEnsemble(), label: label, seed: seed, in: folder, mode, progress)
    else { return nil }
    let encoders = try encoders(of: Self.place(label, seed, folder), seed: seed)
    return (encoders, result.operations?.total ?? 0)
  }

  /// The encoders of a finished run of the unimodal ensemble.
  func encoders(of run: URL, seed: Int) throws -> [String: Tensor] {
    let file = try SafetensorsFile(path: run.appendingPathComponent(testedWeights).path)
    let parameters = ParameterSet(teacherModel.initialParameters(seed: seed))
    try parameters.restore(from: file)
    return parameters.named.filter { $0.key.hasPrefix("encoder.") }
  }

  /// Where a run keeps the weights that are tested.
  var testedWeights: String {
    experiment.plan.selection == .last ? "last/parameters.safetensors" : "best/parameters.safetensors"
  }

  /// The label of runs that were added for others to learn from.
  static let teacherLabel = "teachers"

  private static func place(_ label: String, _ seed: Int, _ folder: RunFolder) -> URL {
    folder.url.appendingPathComponent("runs/\(label)-seed\(seed)", isDirectory: true)
  }

  /// One run; nil if it was stopped.
  private func single(
    _ method: any ImbalanceMethod, label: String, seed: Int, in parent: RunFolder, _ mode: RunFolder.Mode,
    teachers: Int = 0, _ progress: (Event) -> Void
  ) throws -> BenchResult? {
    // The unimodal ensemble of an experiment may have this label, and is then trained once.
    let mode = label == Self.teacherLabel && mode == .fresh ? .resume : mode
    return try single(
      method, label: label, seed: seed, at: Self.place(label, seed, parent), mode, teachers: teachers,
      progress)
  }

  /// One run in a folder of its own; nil if it was stopped.
  ///
  /// - Parameter teachers: Operations of the runs that it learns from.
  func single(
    _ method: any ImbalanceMethod, label: String, seed: Int, at place: URL, _ mode: RunFolder.Mode,
    teachers: Int = 0, _ progress: (Event) -> Void
  ) throws -> BenchResult? {
    let configuration = Self.configuration(experiment, hashes: data.hashes, label: label, seed: seed)
    let folder = try RunFolder(at: place, mode: mode, configuration: configuration, facts: facts)
    if folder.isResumed, folder.contains(BenchResult.fileName) {
      progress(.started(label: label, seed: seed, isDone: true))
      let bytes = try FileReader.bytes(of: folder.url(of: BenchResult.fileName), limit: 1 << 26)
      if let stored = BenchResult(try JSONValue(parsing: bytes)) {
        // It may have been killed just before this was noted.
        if folder.record["finished"]?.isNull ?? true { try folder.finish(.complete) }
        return stored
      }
    }
    progress(.started(label: label, seed: seed, isDone: false))
    let task = try task(method, seed: seed)
    let optimizer = task.makeOptimizer()
    let driver = try StepDriver(task, optimizer: optimizer, options: task.driverOptions, folder: folder)
    let outcome = try driver.run { state in
      guard let metric = state.metrics.first else { return }
      progress(
        .epoch(
          label: label, seed: seed, epoch: state.step / task.stepsPerEpoch, of: experiment.plan.epochs,
          accuracy: metric.value))
    }
    guard case .complete(let steps) = outcome else {
      try folder.finish(.stopped)
      return nil
    }
    let chosen = try tested(task, folder)
    let evaluation = try task.evaluation(of: data.test, chosen)
    var operations = task.operations
    operations.teachers = teachers
    let result = BenchResult(
      label: label, method: method.identifier, seed: seed, modalities: task.model.names, steps: steps,
      bestStep: driver.best?.step ?? steps, validationAccuracy: driver.best?.value ?? 0,
      operations: operations, evaluation)
    try folder.write(EpochTable.csv(of: folder), to: EpochTable.fileName)
    try folder.write(result.json, to: BenchResult.fileName)
    try folder.finish(
      .complete,
      notes: JSONObject([
        (
          "cost",
          [
            "steps": .integer(driver.report.steps), "step_s": .number(driver.report.stepSeconds),
            "evaluation_s": .number(driver.report.evaluationSeconds),
            "loop_s": .number(driver.report.otherSeconds),
          ]
        )
      ]))
    return result
  }

  /// The weights that the experiment wants tested; the method remembers what it did when they were written.
  private func tested(_ task: ClassicTask, _ folder: RunFolder) throws -> ParameterSet {
    let set = ParameterSet(
      task.parameters.names.compactMap { name in task.parameters[name].map { (name, $0) } })
    if folder.contains(testedWeights) {
      try set.restore(from: SafetensorsFile(path: folder.url(of: testedWeights).path))
    }
    task.takeState(of: set)
    return set
  }
}
