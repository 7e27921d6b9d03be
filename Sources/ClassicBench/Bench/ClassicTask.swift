import Foundation
import RunKit
import TensorCore

/// The numbers of one training.
struct TrainingPlan: Equatable {
  /// Which weights are tested.
  enum Selection: String, CaseIterable {
    /// Those with the best accuracy on validation samples.
    case validation
    /// Those after the last step.
    case last
  }

  var epochs = 50
  var batchSize = 64
  var learningRate = 0.01
  var momentum = 0.9
  var weightDecay = 1e-4
  /// Epochs after which the learning rate is multiplied by `decayFactor`, again and again; nil for never.
  var decayInterval: Int?
  var decayFactor = 0.1
  /// Epochs without a better validation accuracy after which training stops; nil to go on to the end.
  var patience: Int?
  /// The share of training samples that is held out for methods that need it.
  var heldOutShare = 0.1
  var selection = Selection.validation
  /// Whether pictures are changed at random in training, where the data say how.
  var augments = true
  /// Batches whose mean gradient is one step of the optimizer.
  var accumulation = 1
  /// What coefficients of methods are multiplied with.
  var coefficients = CoefficientTarget.grad
  /// What samples of a class count; nil for all the same.
  var classWeights: ClassWeights?

  /// Weights of classes.
  enum ClassWeights: Equatable {
    /// n / (C n_c) of the samples that are trained on.
    case balanced
    /// One for each class, in their order.
    case given([Double])

    /// A weight for each class; nil for another number of them than classes. A class without samples has 1.
    func values(_ labels: [Int], classes: Int) -> [Double]? {
      switch self {
      case .given(let weights): return weights.count == classes ? weights : nil
      case .balanced:
        var counts = [Int](repeating: 0, count: classes)
        for label in labels { counts[label] += 1 }
        return counts.map { $0 > 0 ? Double(labels.count) / Double(classes * $0) : 1 }
      }
    }
  }
}

/// Any method on any data set, as a task of the step driver.
///
/// A step of the driver is a step of the method's plan. The method's gradients reach the optimizer through a linear loss
/// Σ ⟨g, θ⟩ whose gradient they are, so that the one driver of the house needs to know nothing of methods. What a method
/// remembers is kept among the parameters, where it gets no gradient: it is saved and restored with them.
final class ClassicTask: TrainingTask, TrainingServices {
  let model: ClassicModel
  let method: any ImbalanceMethod
  let plan: TrainingPlan
  let seed: Int
  /// Where the data are, for messages.
  var dataPath = "the data"
  /// Model parameters and buffers, then what the method remembers under `method.`.
  let parameters: ParameterSet
  let rule: RestartableSGD
  /// What a sample of each class counts; nil for all the same.
  let classWeights: [Double]?
  /// Operations of the steps so far.
  var operations = TrainingOperations()
  /// Losses of the heads at the last evaluation.
  var headLossesBefore: TrainingDynamics.HeadLosses?
  private let training: ClassicSplit
  private let validation: ClassicSplit
  /// Samples of the training split that are trained on, and those held out.
  private let trained: [Int]
  private let heldOut: [Int]
  private let stateNames: [String]
  private var isStateLoaded = false
  private var isValidationChecked = false
  // Whether the optimizer forgets its momentum in this step: any of its parts says so.
  private var restarts = false
  private var orders: (epoch: Int, items: [ExtraItem])?

  /// - Throws: `BenchError.refused`, `BenchError.unfitTraining`.
  init(
    data: (training: ClassicSplit, validation: ClassicSplit), model base: ClassicModel,
    method: any ImbalanceMethod, plan: TrainingPlan, seed: Int
  ) throws {
    (self.method, self.plan, self.seed) = (method, plan, seed)
    (training, validation) = (data.training, data.validation)
    var model = base
    method.build(&model)
    let name = method.identifier
    if let reason = type(of: method).refusal(of: model.modalities) ?? method.refusal(of: model)
      ?? model.head.refusal(featureSizes: model.featureSizes) ?? Self.refusal(of: plan, method)
    {
      throw BenchError.refused(method: name, reason: reason)
    }
    self.model = model
    (trained, heldOut) = Self.split(
      training.labels, share: method.needsHeldOut ? plan.heldOutShare : 0, seed: seed)
    guard trained.count >= plan.batchSize * plan.accumulation else {
      let batches = plan.accumulation > 1 ? "\(plan.accumulation) accumulated batches of " : ""
      throw BenchError.unfitTraining(
        method: name, key: plan.accumulation > 1 ? "accumulation" : "batch_size",
        found: "\(batches)\(plan.batchSize)",
        expected: "no more than the \(trained.count) samples that are trained on")
    }
    let trainedLabels = trained.map { data.training.labels[$0] }
    classWeights = plan.classWeights?.values(trainedLabels, classes: model.classCount)
    if case .given(let weights)? = plan.classWeights, classWeights == nil {
      throw BenchError.unfitTraining(
        method: name, key: "class_weights", found: "\(weights.count) numbers",
        expected: "one for each of \(model.classCount) classes")
    }
    let initial = ParameterSet(model.initialParameters(seed: seed))
    method.fitStart(model, initial, samples: trained.count)
    let state = method.state
    stateNames = state.map { "method." + $0.name }
    parameters = ParameterSet(
      zip(initial.names, initial.values).map { ($0, $1) } + state.map { ("method." + $0.name, $0.value) })
    rule = RestartableSGD(momentum: plan.momentum)
  }

  /// Why a method cannot be trained so; nil if it can.
  private static func refusal(of plan: TrainingPlan, _ method: any ImbalanceMethod) -> String? {
    if plan.accumulation > 1, let reason = method.accumulationRefusal { return "accumulation: \(reason)" }
    if plan.coefficients == .update, let reason = method.updateRefusal { return "apply_to update: \(reason)" }
    return nil
  }

  /// The same share of every class, drawn by the seed.
  private static func split(_ labels: [Int], share: Double, seed: Int) -> ([Int], [Int]) {
    guard share > 0 else { return (Array(labels.indices), []) }
    var stream = RandomStream(seed: seed, purpose: "held out")
    var byClass: [Int: [Int]] = [:]
    for index in stream.permutation(of: labels.count) { byClass[labels[index], default: []].append(index) }
    var held: Set<Int> = []
    for members in byClass.values {
      held.formUnion(members.prefix(Int((Double(members.count) * share).rounded())))
    }
    return (labels.indices.filter { !held.contains($0) }, labels.indices.filter { held.contains($0) })
  }

  /// The optimizer of this task.
  func makeOptimizer() -> Optimizer {
    Optimizer(parameters, rule: rule, groups: [ParameterGroup(weightDecay: plan.weightDecay)])
  }

  /// How the driver goes.
  var driverOptions: StepDriver.Options {
    let shape = plan.decayInterval.map {
      LearningRateSchedule.Shape.step(interval: $0 * stepsPerEpoch, factor: plan.decayFactor)
    }
    var options = StepDriver.Options(
      schedule: LearningRateSchedule(
        peak: plan.learningRate, shape: shape ?? .constant, total: plan.epochs * stepsPerEpoch))
    options.accumulation = plan.accumulation
    options.logInterval = stepsPerEpoch
    options.evaluationInterval = stepsPerEpoch
    options.saveInterval = stepsPerEpoch
    options.patience = plan.patience
    return options
  }

  /// Whole batches of an epoch, as many as make whole steps.
  private var batchesPerEpoch: Int {
    trained.count / (plan.batchSize * plan.accumulation) * plan.accumulation
  }
  var stepsPerEpoch: Int { batchesPerEpoch / plan.accumulation * method.stepsPerBatch(model) }

  /// Values of the model's parameters, followed by no tape.
  private func values(_ set: ParameterSet) -> [String: Tensor] {
    set.named.filter { !$0.key.hasPrefix("method.") }
  }

  // MARK: Steps

  func loss(_ leaves: [String: Tensor], at place: TrainingPlace) throws -> TrainingLoss {
    try loadState(step: place.step)
    let here = stepPlace(place)
    if here.batch == 0 && here.part == 0 {
      let before = OperationCount.total
      if here.epoch > 0 { try method.epochEnd(here.epoch - 1, self) }
      try method.epochStart(here.epoch, self)
      operations.betweenEpochs += OperationCount.total - before
    }
    let batch = batch(here)
    try requireFinite(batch.inputs, batch.indices, "training")
    let engine = StepEngine(
      model: model, method: method, coefficients: plan.coefficients, classWeights: classWeights)
    let result = engine.step(
      values(parameters), batch, at: here, random: KeyedRandom(seed: seed, place: here))
    operations.forward += result.operations.forward
    operations.backward += result.operations.backward
    operations.samples += result.forward.batch.count
    method.afterStep(result.forward, result.context)
    storeState()
    parameters.assign(result.buffers)
    restarts = result.context.subStep.restartsOptimizer || place.part > 0 && restarts
    rule.prepare(restarts: restarts)
    return linearLoss(result, leaves, isLogged: place.isLogged)
  }

  /// A method sees every part of an accumulated step as a step.
  private func stepPlace(_ place: TrainingPlace) -> StepPlace {
    let parts = method.stepsPerBatch(model)
    let within = place.step % stepsPerEpoch
    return StepPlace(
      epoch: place.step / stepsPerEpoch, step: place.step * plan.accumulation + place.part,
      batch: within * plan.accumulation / parts + place.part, batchesPerEpoch: batchesPerEpoch,
      part: within % parts)
  }

  /// A loss with the value of the method's whose gradient is what the method wants the optimizer to take.
  private func linearLoss(_ result: StepResult, _ leaves: [String: Tensor], isLogged: Bool) -> TrainingLoss {
    var sum: Tensor?
    // In the order of the parameters, not of a dictionary.
    for name in parameters.names {
      guard let gradient = result.gradients[name], let leaf = leaves[name] else { continue }
      let term = (leaf * gradient).total()
      sum = sum.map { $0 + term } ?? term
    }
    let count = result.forward.labels.count
    guard let sum else { return TrainingLoss(sum: Tensor(scalar: 0), weight: 0, tokenCount: count) }
    let shift = result.total - Double(sum.hostValues()[0])
    var details: [(tag: String, value: Double)] = []
    if isLogged {
      details = result.losses.map { ("loss/" + $0.name, $0.value) }
      details += TrainingDynamics.gradientNorms(result.rawGradients, model)
      for (name, values) in result.context.figures {
        for (index, value) in values.enumerated() where values.count <= 2 * model.count + 1 {
          details.append((values.count == 1 ? "method/\(name)" : "method/\(name).\(index)", value))
        }
      }
    }
    var loss = TrainingLoss(
      sum: sum + Tensor(scalar: Float(shift)), weight: 1, tokenCount: count, details: details)
    loss.updateFactors = result.updateFactors
    return loss
  }

  private func loadState(step: Int) throws {
    defer { isStateLoaded = true }
    guard !isStateLoaded, step > 0 else { return }
    takeState(of: parameters)
  }

  /// Gives the method what it remembered when these parameters were written.
  func takeState(of set: ParameterSet) {
    guard !stateNames.isEmpty else { return }
    method.state = stateNames.map { name in
      (String(name.dropFirst("method.".count)), 1 * (set[name] ?? Tensor(zeros: [])))
    }
  }

  private func storeState() {
    guard !stateNames.isEmpty else { return }
    let state = Dictionary(uniqueKeysWithValues: zip(stateNames, method.state.map(\.value)))
    parameters.assign(zip(parameters.names, parameters.values).map { state[$0] ?? $1 })
  }

  // MARK: Data

  /// The samples of one batch: those of the epoch in an order of its own.
  private func batch(_ place: StepPlace) -> ClassicBatch {
    if orders?.epoch != place.epoch {
      let all = Array(repeating: true, count: model.count)
      let plain = trained.map { ExtraItem(sample: $0, keep: all) }
      let extra = method.extraItems(place.epoch).map { ExtraItem(sample: trained[$0.sample], keep: $0.keep) }
      var items = plain + extra
      var stream = RandomStream(seed: seed, purpose: "order", epoch: place.epoch)
      stream.shuffle(&items)
      orders = (place.epoch, items)
    }
    let items = (orders?.items ?? [])[place.batch * plan.batchSize..<(place.batch + 1) * plan.batchSize]
    let draw = plan.augments ? AugmentationDraw(seed: seed, epoch: place.epoch) : nil
    var batch = training.batch(items.map(\.sample), draw)
    batch.keep = items.contains { $0.keep.contains(false) } ? items.map(\.keep) : nil
    return batch
  }

  var trainingLabels: [Int] { trained.map { training.labels[$0] } }
  var heldOutLabels: [Int] { heldOut.map { training.labels[$0] } }
  func trainingFeatures(_ indices: [Int]) -> [Tensor] { features(indices.map { trained[$0] }) }
  func heldOutFeatures() -> [Tensor] { features(heldOut) }
  func trainingBatch(_ indices: [Int]) -> ClassicBatch { training.batch(indices.map { trained[$0] }) }
  func heldOutBatch(_ indices: [Int]) -> ClassicBatch { training.batch(indices.map { heldOut[$0] }) }
  var learningRate: Double { plan.learningRate }

  /// Training samples that stand for all in the figures of an epoch: the same ones every time.
  func dynamicsSample(_ parameters: Parameters) -> (features: [Tensor], labels: [Int]) {
    var stream = RandomStream(seed: seed, purpose: "dynamics")
    let order = stream.permutation(of: trained.count).prefix(Self.dynamicsSampleCount(trained.count))
    let indices = order.sorted().map { trained[$0] }
    return (
      Self.features(model, training, indices, parameters), indices.map { training.labels[$0] }
    )
  }

  private func features(_ indices: [Int]) -> [Tensor] {
    Self.features(model, training, indices, Parameters(values(parameters)))
  }

  /// Features of many samples as they are, some at a time.
  static func features(
    _ model: ClassicModel, _ split: ClassicSplit, _ indices: [Int], _ parameters: Parameters
  ) -> [Tensor] {
    var parts = [[Tensor]](repeating: [], count: split.rows.count)
    for start in stride(from: 0, to: indices.count, by: split.panelSize) {
      let panel = Array(indices[start..<min(indices.count, start + split.panelSize)])
      for (index, rows) in split.rows.enumerated() {
        parts[index].append(model.features(index, of: rows.tensor(panel, nil), parameters))
      }
    }
    return parts.map(Tensor.concatenated)
  }

  func soloLosses(head: Int, epochs: Int) throws -> SoloLosses {
    let copy = ParameterSet(values(parameters).sorted { $0.key < $1.key }.map { ($0.key, $0.value) })
    let optimizer = Optimizer(
      copy, rule: SGD(momentum: plan.momentum), groups: [ParameterGroup(weightDecay: plan.weightDecay)])
    let engine = StepEngine(model: model, method: SoloTraining(head: head), classWeights: classWeights)
    func mean(_ indices: [Int]) -> Double {
      let parameters = Parameters(copy.named)
      let labels = indices.map { training.labels[$0] }
      let features = Self.features(model, training, indices, parameters)
      let logits =
        head < model.count
        ? model.unimodalHead(head, of: features[head], parameters)
        : model.head.fused(features, model.names, parameters)
      let losses = logits.crossEntropy(labels: labels).doubleValues
      let weights = labels.map { classWeights?[$0] ?? 1 }
      let total = weights.reduce(0, +)
      return total > 0 ? zip(losses, weights).reduce(0.0) { $0 + $1.0 * $1.1 } / total : 0
    }
    let before = (mean(trained), mean(heldOut))
    for epoch in 0..<epochs {
      var stream = RandomStream(seed: seed, purpose: "solo order", epoch: epoch, id: head)
      let order = stream.permutation(of: trained.count)
      for batch in 0..<batchesPerEpoch {
        let chosen = order[batch * plan.batchSize..<(batch + 1) * plan.batchSize].map { trained[$0] }
        let place = StepPlace(
          epoch: epoch, step: epoch * batchesPerEpoch + batch, batch: batch, batchesPerEpoch: batchesPerEpoch)
        let draw = plan.augments ? AugmentationDraw(seed: seed, epoch: epoch) : nil
        let result = engine.step(
          copy.named, training.batch(chosen, draw), at: place, random: KeyedRandom(seed: seed, place: place))
        optimizer.step(copy.names.map { result.gradients[$0] }, learningRate: plan.learningRate)
        copy.assign(result.buffers)
      }
    }
    return SoloLosses(
      trainBefore: before.0, heldOutBefore: before.1, trainAfter: mean(trained), heldOutAfter: mean(heldOut))
  }

  // MARK: Evaluation

  func evaluate(_ parameters: ParameterSet, step: Int) throws -> [TrainingMetric] {
    let view = Parameters(values(parameters))
    if !isValidationChecked { try requireFinite(validation, "validation") }
    isValidationChecked = true
    let features = Self.features(model, validation, Array(validation.labels.indices), view)
    let evaluation = Evaluation(model, method, features, validation.labels, view)
    return [
      TrainingMetric(tag: "accuracy", value: evaluation.scores.accuracy),
      TrainingMetric(tag: "macro_f1", value: evaluation.scores.macroF1),
    ] + dynamics(evaluation, features, validation.labels, view)
  }

  /// Everything that is measured on the test split.
  ///
  /// - Throws: `BenchError.notFinite`.
  func evaluation(of split: ClassicSplit, _ set: ParameterSet) throws -> (
    scores: Evaluation, robustness: RobustnessScores
  ) {
    try requireFinite(split, "test")
    let parameters = Parameters(values(set))
    let features = Self.features(model, split, Array(split.labels.indices), parameters)
    return (
      Evaluation(model, method, features, split.labels, parameters),
      robustness(of: split, features, parameters)
    )
  }

  /// Fails where inputs hold NaN or infinity: a ReLU makes 0 of NaN, and nothing could be seen in the logits.
  private func requireFinite(_ split: ClassicSplit, _ name: String) throws {
    for start in stride(from: 0, to: split.labels.count, by: split.panelSize) {
      let panel = Array(start..<min(split.labels.count, start + split.panelSize))
      try requireFinite(split.rows.map { $0.tensor(panel, nil) }, panel, name)
    }
  }

  private func requireFinite(_ inputs: [Tensor], _ samples: [Int], _ split: String) throws {
    for (input, modality) in zip(inputs, model.names) where !input.total().hostValues()[0].isFinite {
      let rows = input.reshaped(to: [samples.count, input.count / max(1, samples.count)]).hostRows()
      guard let bad = rows.firstIndex(where: { !$0.allSatisfy(\.isFinite) }) else { continue }
      throw BenchError.notFinite(data: dataPath, split: split, modality: modality, sample: samples[bad])
    }
  }

  func write(_ parameters: ParameterSet, to folder: RunFolder, under name: String) throws {
    let tensors = try parameters.stored()
    try folder.write(
      to: "\(name)/parameters.safetensors", by: { try SafetensorsWriter.write(tensors: tensors, to: $0.path) }
    )
  }
}

/// Trains one head and the encoders below it.
private final class SoloTraining: ImbalanceMethod {
  static let id = "solo"
  static let name = "Solo"
  static let stage = MethodStage.baseline
  static let source = "one head alone"
  let head: Int

  init(head: Int) { self.head = head }

  func subStep(_ model: ClassicModel, at place: StepPlace) -> SubStep {
    guard head < model.count else { return .joint(model.count) }
    let name = model.names[head]
    return SubStep(
      participation: model.names.indices.map { $0 == head ? .trained : .absent },
      trains: { $0.hasPrefix("encoder.\(name).") || $0.hasPrefix("unihead.\(name).") })
  }

  func losses(_ forward: Forward, _ context: StepContext) -> [LossTerm] {
    let logits = head < forward.model.count ? forward.unimodalHead(head) : forward.fused
    return [LossTerm(name: "solo", value: forward.meanCrossEntropy(logits))]
  }
}

/// What is measured on a split, from features that are computed once.
struct Evaluation {
  /// Of the fused prediction with all modalities.
  let scores: Classification
  /// Accuracy of each modality's own logits.
  let unimodalAccuracies: [Double]
  /// Correctness for every set of modalities.
  let subsets: SubsetScores
  /// φ_m.
  let contributions: [Double]
  /// I.
  let imbalance: Double

  init(
    _ model: ClassicModel, _ method: any ImbalanceMethod, _ features: [Tensor], _ labels: [Int],
    _ parameters: Parameters
  ) {
    subsets = SubsetScores(model, features, labels, parameters) { model, features, present, parameters in
      method.evaluationLogits(model, features, present: present, parameters)
    }
    let all = subsets.logits[subsets.logits.count - 1]
    scores = Classification(
      predictions: Classification.predictions(all), labels: labels, classes: model.classCount)
    unimodalAccuracies = features.indices.map { index in
      let logits = method.evaluationUnimodal(model, features, index, parameters)
      return Classification.accuracy(Classification.predictions(logits), labels)
    }
    contributions = ShapleyContribution.values(subsets.values, count: model.count)
    imbalance = ShapleyContribution.imbalance(contributions)
  }
}
