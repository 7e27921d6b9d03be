import Foundation
import TensorCore

/// Boosting over modalities: each in turn learns what the others get wrong, then all are put right together.
///
/// One linear head is shared, u_m = W h_m + b; the ensemble is F = η Σ_m u_m with a trained rate η. A stage belongs to a
/// modality, in turn:
///
///     phase 1, only encoder m and the head:  q = softmax(η Σ_{j≠m} u_j) constant
///       L = mean_i −1/C (w₁ − w₂ q_i[y]) log softmax(u_m,i)[y] + α mean_{i,c} (softmax(u_m) − softmax(u_previous))²
///     phase 2, everything:  L = CE(F, y)
///
/// u_previous is that of the modality before, constant. The optimizer forgets its momentum where a phase begins.
///
/// Source: Hua et al., "ReconBoost: Boosting Can Achieve Modality Reconcilement", ICML 2024, arXiv:2405.09321, equations
/// 5 to 11; the loss of the true class alone is the authors' code.
///
/// Departs from the authors' code, in which both sides of the squared difference are constants, so that it has no
/// gradient: `compat` leaves it out likewise.
final class ReconBoost: ImbalanceMethod {
  static let id = "reconboost"
  static let name = "ReconBoost"
  static let stage = MethodStage.optimization
  static let hooks: Set<MethodHook> = [.head, .subStep, .losses, .evaluation]
  static let source = "Hua et al., ICML 2024, arXiv:2405.09321"

  struct Options {
    /// w₁.
    var boostWeight = 5.0
    /// w₂, at most w₁.
    var reconcileWeight = 1.0
    /// α.
    var memoryWeight = 0.5
    /// η before training.
    var initialRate = 1.0
    /// Epochs of phase 1 and of phase 2 in a stage.
    var firstEpochs = 4
    var secondEpochs = 4
    /// Whether the memory term has no gradient.
    var compat = false
  }

  let options: Options

  init(_ options: Options = Options()) { self.options = options }

  func build(_ model: inout ClassicModel) {
    model.head = .shared
    model.extra.append(ParameterShape(name: "eta", shape: [], fanIn: 1))
    model.extraStart["eta"] = Float(options.initialRate)
  }

  /// The modality and the phase of an epoch.
  func stage(epoch: Int, count: Int) -> (active: Int, phase: Int, isFirstEpoch: Bool) {
    let length = options.firstEpochs + options.secondEpochs
    let within = epoch % length
    let phase = within < options.firstEpochs ? 1 : 2
    return (epoch / length % count, phase, within == 0 || within == options.firstEpochs)
  }

  func subStep(_ model: ClassicModel, at place: StepPlace) -> SubStep {
    let stage = stage(epoch: place.epoch, count: model.count)
    var subStep = SubStep.joint(model.count)
    subStep.phase = "\(stage.phase)"
    subStep.restartsOptimizer = stage.isFirstEpoch && place.batch == 0
    if stage.phase == 1 {
      subStep.participation = model.names.indices.map { $0 == stage.active ? .trained : .observed }
      let prefix = "encoder.\(model.names[stage.active])."
      subStep.trains = { $0.hasPrefix(prefix) || $0.hasPrefix("shared.") }
    }
    return subStep
  }

  func losses(_ forward: Forward, _ context: StepContext) -> [LossTerm] {
    let count = context.model.count
    let active = stage(epoch: context.place.epoch, count: count).active
    if context.subStep.phase == "1" { return boostingTerms(forward, active, context) }
    let logits = (0..<count).map(forward.unimodal)
    let ensemble = forward.parameters["eta"] * logits.dropFirst().reduce(logits[0]) { $0 + $1 }
    context.note("F", tensor: ensemble)
    return [LossTerm(name: "total", value: forward.meanCrossEntropy(ensemble))]
  }

  private func boostingTerms(_ forward: Forward, _ active: Int, _ context: StepContext) -> [LossTerm] {
    let (model, labels) = (context.model, forward.labels)
    let (features, parameters) = (forward.allFeatures.map(\.detached), forward.parameters.detached)
    func constant(_ index: Int) -> Tensor {
      model.head.unimodal(index, features, model.names, parameters)
    }
    let others = model.names.indices.filter { $0 != active }.map(constant)
    let rest = (parameters["eta"] * others.dropFirst().reduce(others[0]) { $0 + $1 }).softmax()
    let weights = zip(rest.hostRows(), labels).map {
      options.boostWeight - options.reconcileWeight * Double($0[$1])
    }
    context.note("q", tensor: rest)
    context.note("sample_weight", weights)
    let logits = forward.unimodal(active)
    let factors = Tensor(weights.map { Float($0 / Double(model.classCount)) }, shape: [labels.count])
    let boost = forward.mean(logits.crossEntropy(labels: labels) * factors)
    let previous = constant((active + model.count - 1) % model.count).softmax()
    let difference = (options.compat ? logits.detached : logits).softmax() - previous
    return [
      LossTerm(name: "boost", value: boost),
      LossTerm(name: "memory", value: (difference * difference).mean(), weight: options.memoryWeight),
    ]
  }

  func evaluationLogits(
    _ model: ClassicModel, _ features: [Tensor], present: [Bool], _ parameters: Parameters
  ) -> Tensor {
    // A modality that is taken away leaves the sum: its masked feature would still add the bias.
    let parts = features.indices.filter { present[$0] }.map {
      model.head.unimodal($0, features, model.names, parameters)
    }
    guard let first = parts.first else { return Tensor(zeros: [features[0].rows, model.classCount]) }
    return parameters["eta"] * parts.dropFirst().reduce(first) { $0 + $1 }
  }

  func cost(modalities: Int) -> MethodCost {
    let share = Double(options.firstEpochs) / Double(options.firstEpochs + options.secondEpochs)
    return MethodCost(forward: 1, backward: share * 2 / Double(modalities) + (1 - share) * 2)
  }
}
