public import RunKit

/// The one training loop of the house: accumulates, clips, schedules, steps, averages, evaluates, logs, stops early,
/// saves, goes on where it was stopped, and obeys interrupts.
///
/// | file of the run | contents |
/// | --- | --- |
/// | `log.jsonl` | a line for every logged step and every evaluation |
/// | `events.out.tfevents.mmprobe` | the same figures for TensorBoard; the wall time of an event is its step in seconds |
/// | `state.safetensors` | everything a step depends on, and how long the two files above were then |
/// | `best/`, `last/` | models, as the task writes them |
///
/// A run that was killed at any moment ends, when it is resumed, in the same bytes of all of these as one that was not:
/// the state is replaced in one step, a resumed run cuts log and events back to it, and steps depend on their number
/// alone. Times and speeds are in `Report`, for `run.json`.
public final class StepDriver {
  /// How a training goes.
  public struct Options: Sendable {
    /// The learning rate of every step; says how many steps there are.
    public var schedule: LearningRateSchedule
    /// Parts of a batch whose gradients are added up in a step.
    public var accumulation = 1
    /// Bounds on gradients.
    public var clipping = GradientClipping()
    /// β of the exponential moving average of the weights that is evaluated and saved; nil to take the weights as they
    /// are. In the first steps it is (1 + t) / (10 + t) if that is less, so that the random start is soon forgotten.
    public var averageFactor: Double?
    /// Steps between lines of the log.
    public var logInterval = 50
    /// Steps between evaluations; the last step is evaluated too.
    public var evaluationInterval = 500
    /// Steps between saved states; the last step is saved too.
    public var saveInterval = 500
    /// Evaluations without a better one after which the training stops; nil to go on to the end.
    public var patience: Int?

    /// The defaults with a schedule.
    public init(schedule: LearningRateSchedule) { self.schedule = schedule }
  }

  /// How a training ended.
  public enum Outcome: Sendable, Equatable {
    /// All steps were done, or none that was better came for as long as `patience` says.
    case complete(steps: Int)
    /// An interrupt stopped it; the state is saved.
    case stopped(steps: Int)
  }

  /// What was just done, for progress.
  public struct Progress: Sendable {
    /// Steps done.
    public var step: Int
    /// The mean loss of the latest step.
    public var loss: Double
    /// Positions a second since this process began to train.
    public var tokensPerSecond: Double
    /// The figures of an evaluation, if there was one after this step.
    public var metrics: [TrainingMetric] = []
  }

  /// What a process spent, which differs from run to run.
  public struct Report: Sendable {
    /// Steps that this process did.
    public internal(set) var steps = 0
    /// Positions that went through the model.
    public internal(set) var tokens = 0
    /// Seconds of steps: loss, gradients and update.
    public internal(set) var stepSeconds = 0.0
    /// Seconds of evaluations.
    public internal(set) var evaluationSeconds = 0.0
    /// Seconds of everything else the driver does: logs, events, saving.
    public internal(set) var otherSeconds = 0.0

    /// Nothing spent yet.
    public init() {}
  }

  static let logName = "log.jsonl"
  static let eventsName = "events.out.tfevents.mmprobe"
  static let stateName = "state.safetensors"
  private static let bufferPrefix = "buffer."

  private let task: any TrainingTask
  private let optimizer: Optimizer
  private let options: Options
  private let folder: RunFolder
  private let average: ParameterSet?
  private let log: JSONLinesWriter
  private let events: EventFileWriter
  private var state = DriverState()
  /// Steps done.
  public var step: Int { state.step }
  /// The step with the best evaluation and its figure; nil before the first one.
  public var best: (step: Int, value: Double)? { state.best }
  /// What this process spent.
  public private(set) var report = Report()

  /// Opens the files of a run; if the folder holds a saved state, goes on from it.
  ///
  /// - Parameter folder: Open and locked.
  /// - Throws: `FileError`, `SafetensorsError`, `TrainingStateError`, `RunFolderError.shortened`.
  public init(_ task: any TrainingTask, optimizer: Optimizer, options: Options, folder: RunFolder) throws {
    require(
      options.accumulation > 0 && options.logInterval > 0 && options.evaluationInterval > 0
        && options.saveInterval > 0, "intervals of at least one step")
    (self.task, self.optimizer, self.options, self.folder) = (task, optimizer, options, folder)
    average = options.averageFactor.map { _ in optimizer.parameters.copy() }
    if folder.contains(Self.stateName) {
      let file = try SafetensorsFile(path: folder.url(of: Self.stateName).path)
      state = try DriverState(file, stepLimit: options.schedule.total)
      try optimizer.parameters.restore(from: file, prefix: "parameter.")
      try average?.restore(from: file, prefix: "average.")
      try optimizer.restore(from: file)
      try task.restoreBuffers(from: file, prefix: Self.bufferPrefix)
    }
    try folder.cut(Self.logName, to: state.logSize)
    try folder.cut(Self.eventsName, to: state.eventsSize)
    // Both go to the disk when the state does; more often would only cost time.
    log = try folder.appendingRecords(to: Self.logName, recordsPerSync: .max)
    events = try folder.appendingEvents(to: Self.eventsName)
  }

  /// Trains to the end, or until an interrupt.
  ///
  /// - Parameter progress: Told after every step.
  /// - Throws: `TrainingStateError.notFinite` when the loss or the gradient is not a number; what the task throws.
  public func run(progress: (Progress) -> Void = { _ in }) throws -> Outcome {
    let start = ProcessFacts.monotonicSeconds
    while state.step < options.schedule.total && !isExhausted {
      let stepStart = ProcessFacts.monotonicSeconds
      let (loss, figures) = try takeStep()
      report.stepSeconds += ProcessFacts.monotonicSeconds - stepStart
      report.steps += 1
      let isLast = state.step == options.schedule.total
      if state.step % options.logInterval == 0 || isLast { try logStep(figures) }
      var metrics: [TrainingMetric] = []
      if state.step % options.evaluationInterval == 0 || isLast { metrics = try evaluate() }
      if !isLast && !isExhausted && state.step % max(1, task.stepsPerEpoch) == 0 { try endEpoch() }
      let stops = Interrupts.isRequested
      if state.step % options.saveInterval == 0 || isLast || isExhausted || stops { try save() }
      report.otherSeconds =
        ProcessFacts.monotonicSeconds - start - report.stepSeconds - report.evaluationSeconds
      progress(
        Progress(
          step: state.step, loss: loss,
          tokensPerSecond: Double(report.tokens) / max(report.stepSeconds, 1e-9), metrics: metrics))
      if stops && !isLast && !isExhausted { return .stopped(steps: state.step) }
    }
    try task.write(evaluatedParameters, to: folder, under: "last")
    return .complete(steps: state.step)
  }

  /// The weights that are evaluated and saved: the average if there is one.
  public var evaluatedParameters: ParameterSet { average ?? optimizer.parameters }

  private var isExhausted: Bool { options.patience.map { state.evaluationsSinceBest >= $0 } ?? false }

  /// One update: gradients of all parts, clipped, at the learning rate of the step.
  private func takeStep() throws -> (loss: Double, figures: [(tag: String, value: Double)]) {
    let parameters = optimizer.parameters
    let next = state.step + 1
    let isLogged = next % options.logInterval == 0 || next == options.schedule.total
    var gradients = [Tensor?](repeating: nil, count: parameters.count)
    var (sum, weight) = (0.0, 0.0)
    var details: [(tag: String, value: Double)] = []
    var factors: [String: Double] = [:]
    for part in 0..<options.accumulation {
      let tape = Tape()
      let leaves = parameters.values.map { tape.leaf($0) }
      let named = Dictionary(uniqueKeysWithValues: zip(parameters.names, leaves))
      let place = TrainingPlace(
        step: state.step, part: part, partCount: options.accumulation, isLogged: isLogged)
      let loss = try task.loss(named, at: place)
      sum += Double(loss.sum.hostValues()[0])
      weight += loss.weight
      factors = loss.updateFactors
      report.tokens += loss.tokenCount
      if part == 0 { details = loss.details }
      guard loss.weight > 0 else { continue }
      let found = tape.gradients(of: loss.sum, for: leaves + loss.probes, retaining: false)
      if part == 0, let figures = loss.figures {
        details += figures(Array(found.dropFirst(leaves.count)), loss.weight)
      }
      Self.add(Array(found.prefix(leaves.count)), to: &gradients)
    }
    let learningRate = options.schedule.learningRate(at: state.step)
    var norm = 0.0
    if weight > 0 {
      let clipped = options.clipping.apply(gradients, scale: 1 / weight)
      norm = clipped.norm
      guard sum.isFinite else { throw notFinite("loss", sum) }
      guard norm.isFinite else { throw notFinite("norm of the gradient", norm) }
      optimizer.step(
        clipped.gradients, learningRate: learningRate, scale: clipped.scale, factors: factors)
    }
    state.didStep(lossSum: sum, lossWeight: weight, gradientNorm: norm)
    if let average, let factor = options.averageFactor {
      let warm = Double(state.step) / Double(9 + state.step)
      average.move(towards: parameters, share: 1 - min(factor, warm))
    }
    return (weight > 0 ? sum / weight : 0, [("learning_rate", learningRate)] + details)
  }

  private func notFinite(_ what: String, _ value: Double) -> TrainingStateError {
    .notFinite(what: what, step: state.step, found: "\(value)")
  }

  private static func add(_ parts: [Tensor?], to gradients: inout [Tensor?]) {
    for (index, part) in parts.enumerated() {
      guard let part else { continue }
      if gradients[index] == nil { gradients[index] = part } else { gradients[index]?.accumulate(part) }
    }
  }

  /// Logs the means since the last line, and the figures of the latest step.
  private func logStep(_ figures: [(tag: String, value: Double)]) throws {
    let all = state.takeMeans() + figures
    var line = JSONObject([("step", .integer(state.step)), ("epoch", .integer(epoch))])
    for (tag, value) in all { line[tag] = JSONValue(value) }
    try log.append(.object(line))
    try events.append(
      step: state.step, wallTime: Double(state.step),
      scalars: all.map { ($0.tag.contains("/") ? $0.tag : "train/" + $0.tag, $0.value) })
  }

  /// The pass over the data that the latest step belonged to, from 0.
  private var epoch: Int { (state.step - 1) / max(1, task.stepsPerEpoch) }

  /// Evaluates, logs the figures, and writes the model if it is the best so far.
  private func evaluate() throws -> [TrainingMetric] {
    let start = ProcessFacts.monotonicSeconds
    defer { report.evaluationSeconds += ProcessFacts.monotonicSeconds - start }
    let metrics = try task.evaluate(evaluatedParameters, step: state.step)
    guard let first = metrics.first else { return [] }
    guard first.value.isFinite else { throw notFinite(first.tag, first.value) }
    let isBest = state.didEvaluate(first)
    var line = JSONObject([("step", .integer(state.step)), ("epoch", .integer(epoch))])
    line["validation"] = .object(JSONObject(metrics.map { ($0.tag, JSONValue($0.value)) }))
    line["best"] = .bool(isBest)
    try log.append(.object(line))
    try events.append(
      step: state.step, wallTime: Double(state.step),
      scalars: metrics.map { ("validation/" + $0.tag, $0.value) })
    // Before the state: if the process is killed in between, the resumed run comes here again with the same weights.
    if isBest { try task.write(evaluatedParameters, to: folder, under: "best") }
    return metrics
  }

  /// Tells the task that a pass over the data is over, and logs what it did.
  private func endEpoch() throws {
    let end = try task.endEpoch(epoch)
    for members in end.lines {
      var line = JSONObject([("step", .integer(state.step))])
      for (key, value) in members.members { line[key] = value }
      try log.append(.object(line))
    }
    if !end.scalars.isEmpty {
      try events.append(step: state.step, wallTime: Double(state.step), scalars: end.scalars)
    }
  }

  private func save() throws {
    try log.sync()
    try events.sync()
    (state.logSize, state.eventsSize) = (log.size, events.size)
    let tensors =
      try state.stored() + optimizer.parameters.stored(prefix: "parameter.")
      + (average?.stored(prefix: "average.") ?? []) + optimizer.stored()
      + task.buffers(prefix: Self.bufferPrefix)
    try folder.write(
      to: Self.stateName, by: { try SafetensorsWriter.write(tensors: tensors, to: $0.path) })
  }
}
