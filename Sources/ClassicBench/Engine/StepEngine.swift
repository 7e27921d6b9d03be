import TensorCore

/// What a step computed.
struct StepResult {
  /// The terms of the loss.
  var losses: [(name: String, value: Double, weight: Double)]
  /// What the optimizer takes; a parameter that is absent stays as it is.
  var gradients: [String: Tensor]
  /// The gradients before the method changed them.
  var rawGradients: [String: Tensor]
  /// Figures and tensors that the method noted.
  var context: StepContext
  /// What the model computed.
  var forward: Forward
  /// Buffers of encoders after the step, by name; those that did not move are absent.
  var buffers: [String: Tensor] = [:]
  /// What the update of a parameter is multiplied by, where that is not 1.
  var updateFactors: [String: Double] = [:]
  /// Nominal operations from inputs to losses, and of gradients with the method's changes to them.
  var operations = (forward: 0, backward: 0)

  /// Σ weight · loss.
  var total: Double { losses.reduce(0) { $0 + $1.value * $1.weight } }
}

/// One step of any method on one batch: forward, losses, gradients, the method's changes to them.
///
/// It does not move parameters: the loop and the tests do, with the optimizer of their own.
struct StepEngine {
  let model: ClassicModel
  let method: any ImbalanceMethod
  /// Whether methods note tensors.
  var recordsTensors = false
  /// What coefficients of the method are multiplied with.
  var coefficients = CoefficientTarget.grad
  /// What a sample of each class counts; nil for all the same.
  var classWeights: [Double]?

  /// - Parameter values: Every parameter of the model by name.
  func step(
    _ values: [String: Tensor], _ batch: ClassicBatch, at place: StepPlace, random: any StepRandom
  ) -> StepResult {
    let start = OperationCount.total
    let tape = Tape()
    let subStep = method.subStep(model, at: place)
    let context = StepContext(
      model: model, place: place, subStep: subStep, random: random, tape: tape,
      recordsTensors: recordsTensors, coefficients: coefficients)
    let trained = model.parameterShapes.map(\.name).filter(subStep.trains)
    let leaves = values.merging(trained.map { ($0, tape.leaf(values[$0] ?? Tensor(zeros: []))) }) { $1 }
    let training = EncoderTraining(random)
    let forward = run(Parameters(leaves, training: training), batch, context)
    let terms = method.losses(forward, context)
    let middle = OperationCount.total
    var gradients = gradients(of: terms, trained, leaves, tape)
    let raw = gradients.all
    method.afterBackward(&gradients, forward, context)
    return StepResult(
      losses: terms.map { ($0.name, Double($0.value.hostValues()[0]), $0.weight) }, gradients: gradients.all,
      rawGradients: raw, context: context, forward: forward, buffers: training.buffers,
      updateFactors: gradients.updateFactors, operations: (middle - start, OperationCount.total - middle))
  }

  /// H6, encoders, the mask of the batch, H7.
  private func run(_ parameters: Parameters, _ batch: ClassicBatch, _ context: StepContext) -> Forward {
    let inputs = method.inputs(batch, context)
    let features = inputs.indices.map { index -> Tensor? in
      let view: Parameters
      switch context.subStep.participation[index] {
      case .trained: view = parameters
      case .observed: view = parameters.detached
      case .absent: return nil
      }
      let feature = model.features(index, of: inputs[index], view)
      context.note("h.\(model.names[index])", tensor: feature)
      return masked(feature, index, batch)
    }
    let forward = Forward(
      model: model, parameters: parameters, batch: batch, features: features, classWeights: classWeights)
    method.features(forward, context)
    return forward
  }

  /// Sets features to 0 where the batch says so.
  private func masked(_ feature: Tensor, _ index: Int, _ batch: ClassicBatch) -> Tensor {
    guard let keep = batch.keep, keep.contains(where: { !$0[index] }) else { return feature }
    return feature * Tensor(column: keep.map { $0[index] ? 1 : 0 })
  }

  private func gradients(
    of terms: [LossTerm], _ trained: [String], _ leaves: [String: Tensor], _ tape: Tape
  ) -> StepGradients {
    let targets = trained.map { leaves[$0] ?? Tensor(zeros: []) }
    let weighted = terms.filter { $0.weight != 0 }
    func named(_ found: [Tensor?]) -> [String: Tensor] {
      Dictionary(
        uniqueKeysWithValues: zip(trained, found).compactMap { name, value in value.map { (name, $0) } })
    }
    func scaled(_ term: LossTerm) -> Tensor {
      term.weight == 1 ? term.value : Float(term.weight) * term.value
    }
    switch method.gradientMode {
    case .summed:
      guard let first = weighted.first else { return StepGradients(all: [:]) }
      let total = weighted.dropFirst().reduce(scaled(first)) { $0 + scaled($1) }
      return StepGradients(all: named(tape.gradients(of: total, for: targets, retaining: false)))
    case .perLoss:
      var result = StepGradients(all: [:])
      for term in weighted {
        let part = named(tape.gradients(of: scaled(term), for: targets))
        result.perLoss[term.name] = part
        result.all.merge(part) { $0 + $1 }
      }
      return result
    }
  }
}
