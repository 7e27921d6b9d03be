import TensorCore
import TokenModel

/// A hook in which a method decides alone: of two parts of a composed method that have it, one would not be heard.
///
/// `features` and `afterBackward` are no such hooks, each part takes what the one before it left; they are told because
/// such a part sees all modalities in a step.
enum MethodHook: String, CaseIterable {
  /// H1, another head than the experiment's.
  case head
  /// H1, branches without a fused head.
  case branches
  /// H5, several steps for a batch.
  case turns
  case subStep, inputs, features, losses, gradientMode, evaluation, afterBackward

  /// What a part with the hook has, for messages; nil where all parts can have it.
  fileprivate var possession: String? {
    switch self {
    case .head: "a head of their own"
    case .branches: "branches without a fused head"
    case .turns: "several steps for each batch"
    case .subStep: "a plan of their own of who learns in a step"
    case .inputs: "inputs of their own"
    case .losses: "a loss of their own"
    case .gradientMode: "a way of their own to compute gradients"
    case .evaluation: "logits of their own in evaluation"
    case .features, .afterBackward: nil
    }
  }
}

/// Methods of different stages in one training, such as `opm+ogm-ge`.
///
/// In every hook the parts come in the order of stages: baseline, data, forward, objective, optimization. Each takes what
/// the one before it left: OPM drops features, the losses are of what is left, OGM scales the gradients of these losses.
/// Hooks that can have one answer (the losses, the sub-step, the logits of evaluation) are those of the one part that has
/// them. What the parts remember is kept under their names.
///
/// | refused | why |
/// | --- | --- |
/// | two of one stage | they are two answers to one question |
/// | two with a loss, a head, a sub-step, a gradient mode or an evaluation of their own | one of them would not be heard |
/// | one without a fused head, and one that looks at it | there is none |
/// | one that takes modalities in turns, and one that compares them in a step | it would see one of them |
/// | joint | it changes nothing |
final class ComposedMethod: ImbalanceMethod {
  static let id = "composed"
  static let name = "Composed"
  static let stage = MethodStage.composed
  static let source = "methods of different stages together"

  /// In the order of stages.
  let parts: [any ImbalanceMethod]

  /// - Parameter parts: Without conflict, see `conflict(_:)`.
  init(_ parts: [any ImbalanceMethod]) {
    self.parts = Self.ordered(parts) { type(of: $0).stage }
  }

  private static func ordered<Part>(_ parts: [Part], _ stage: (Part) -> MethodStage) -> [Part] {
    MethodStage.allCases.flatMap { wanted in parts.filter { stage($0) == wanted } }
  }

  /// Why methods cannot be parts of one; nil if they can.
  static func conflict(_ types: [any ImbalanceMethod.Type]) -> String? {
    if types.contains(where: { $0.id == Joint.id }) {
      return "\(Joint.id) changes nothing: leave it out"
    }
    if types.contains(where: { $0.id == RollingQ.id }) {
      return "\(RollingQ.id) rotates the query of the head, and other methods score the head without that"
    }
    for (place, first) in types.enumerated() {
      for second in types[(place + 1)...] {
        if let reason = conflict(first, second) { return reason }
      }
    }
    return nil
  }

  private static func conflict(
    _ first: any ImbalanceMethod.Type, _ second: any ImbalanceMethod.Type
  ) -> String? {
    if first.stage == second.stage {
      return "\(first.id) and \(second.id) are both of the stage \(first.stage.rawValue)"
    }
    for hook in MethodHook.allCases where first.hooks.contains(hook) && second.hooks.contains(hook) {
      if let possession = hook.possession { return "both \(first.id) and \(second.id) have \(possession)" }
    }
    for (one, other) in [(first, second), (second, first)] {
      if one.hooks.contains(.branches) && other.needsFusedHead {
        return "\(one.id) trains branches without a fused head, which \(other.id) needs"
      }
      if one.hooks.contains(.turns) && !other.hooks.isDisjoint(with: [.features, .afterBackward]) {
        return "\(one.id) takes modalities in turns, \(other.id) compares all of them in a step"
      }
    }
    return nil
  }

  /// Every part answers for itself.
  static func refusal(of modalities: [Modality]) -> String? { nil }

  var identifier: String { parts.map(\.identifier).joined(separator: "+") }

  private func first(_ reason: (any ImbalanceMethod) -> String?) -> String? {
    parts.compactMap { part in reason(part).map { "\(part.identifier): \($0)" } }.first
  }

  var accumulationRefusal: String? { first { $0.accumulationRefusal } }
  var updateRefusal: String? { first { $0.updateRefusal } }

  func refusal(of model: ClassicModel) -> String? {
    first { type(of: $0).refusal(of: model.modalities) ?? $0.refusal(of: model) }
  }

  /// The part that has a hook; any of them where none has, since all have the default then.
  private func part(with hook: MethodHook) -> any ImbalanceMethod {
    parts.first { type(of: $0).hooks.contains(hook) } ?? parts[0]
  }

  /// Calls a hook of a part, whose figures are noted under its name.
  private func noting<Result>(
    _ part: any ImbalanceMethod, _ context: StepContext, _ hook: () -> Result
  ) -> Result {
    context.notePrefix = part.identifier + "."
    defer { context.notePrefix = "" }
    return hook()
  }

  // MARK: Hooks that every part has a say in

  var needsHeldOut: Bool { parts.contains { $0.needsHeldOut } }

  func build(_ model: inout ClassicModel) { for part in parts { part.build(&model) } }

  func fitStart(_ model: ClassicModel, _ parameters: ParameterSet, samples: Int) {
    for part in parts { part.fitStart(model, parameters, samples: samples) }
  }

  func epochStart(_ epoch: Int, _ services: any TrainingServices) throws {
    for part in parts { try part.epochStart(epoch, services) }
  }

  func extraItems(_ epoch: Int) -> [ExtraItem] { parts.flatMap { $0.extraItems(epoch) } }

  func features(_ forward: Forward, _ context: StepContext) {
    for part in parts { noting(part, context) { part.features(forward, context) } }
  }

  func afterBackward(_ gradients: inout StepGradients, _ forward: Forward, _ context: StepContext) {
    for part in parts { noting(part, context) { part.afterBackward(&gradients, forward, context) } }
  }

  func afterStep(_ forward: Forward, _ context: StepContext) {
    for part in parts { noting(part, context) { part.afterStep(forward, context) } }
  }

  func epochEnd(_ epoch: Int, _ services: any TrainingServices) throws {
    for part in parts { try part.epochEnd(epoch, services) }
  }

  /// What each part adds to a joint step, or saves of it.
  func cost(modalities: Int) -> MethodCost {
    let joint = MethodCost()
    return parts.map { $0.cost(modalities: modalities) }.reduce(joint) { sum, part in
      MethodCost(
        forward: sum.forward + part.forward - joint.forward,
        backward: sum.backward + part.backward - joint.backward)
    }
  }

  // MARK: Hooks of one part

  func stepsPerBatch(_ model: ClassicModel) -> Int { part(with: .turns).stepsPerBatch(model) }

  func subStep(_ model: ClassicModel, at place: StepPlace) -> SubStep {
    part(with: .subStep).subStep(model, at: place)
  }

  func inputs(_ batch: ClassicBatch, _ context: StepContext) -> [Tensor] {
    let part = part(with: .inputs)
    return noting(part, context) { part.inputs(batch, context) }
  }

  func losses(_ forward: Forward, _ context: StepContext) -> [LossTerm] {
    let part = part(with: .losses)
    return noting(part, context) { part.losses(forward, context) }
  }

  var gradientMode: GradientMode { part(with: .gradientMode).gradientMode }

  func evaluationLogits(
    _ model: ClassicModel, _ features: [Tensor], present: [Bool], _ parameters: Parameters
  ) -> Tensor { part(with: .evaluation).evaluationLogits(model, features, present: present, parameters) }

  func evaluationUnimodal(
    _ model: ClassicModel, _ features: [Tensor], _ index: Int, _ parameters: Parameters
  ) -> Tensor { part(with: .evaluation).evaluationUnimodal(model, features, index, parameters) }

  // MARK: State

  private static func prefix(_ part: any ImbalanceMethod) -> String { part.identifier + "." }

  var state: [(name: String, value: Tensor)] {
    get { parts.flatMap { part in part.state.map { (Self.prefix(part) + $0.name, $0.value) } } }
    set {
      for part in parts {
        let prefix = Self.prefix(part)
        let own = newValue.filter { $0.name.hasPrefix(prefix) }
        if own.isEmpty { continue }
        part.state = own.map { (String($0.name.dropFirst(prefix.count)), $0.value) }
      }
    }
  }
}
