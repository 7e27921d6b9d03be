import TensorCore
import TokenModel

/// One loss on the fused logits: the baseline that methods are compared with.
///
///     L = mean_i CE(z_i, y_i)
final class Joint: ImbalanceMethod {
  static let id = "joint"
  static let name = "Joint"
  static let stage = MethodStage.baseline
  static let source = "the usual late fusion"

  static func refusal(of modalities: [Modality]) -> String? {
    modalities.isEmpty ? "\(name) needs a modality" : nil
  }
}

/// Every modality trained alone, with a linear classifier of its own; together they are the unimodal ensemble.
///
///     L_m = mean_i CE(unihead_m(h_m,i), y_i) for each m, nothing shared;   prediction = mean_m softmax(unihead_m(h_m))
///
/// The encoders share no parameter, so one run trains them all as separate runs with the same batches would.
///
/// Source: the ensemble is UME of Du et al., "On Uni-Modal Feature Learning in Supervised Multi-Modal Learning",
/// ICML 2023, arXiv:2305.01233.
final class UnimodalEnsemble: ImbalanceMethod {
  static let id = "unimodal-ensemble"
  static let name = "Unimodal ensemble"
  static let stage = MethodStage.baseline
  static let hooks: Set<MethodHook> = [.branches, .losses, .evaluation]
  static let source = "Du et al., ICML 2023, arXiv:2305.01233 (UME)"

  static func refusal(of modalities: [Modality]) -> String? {
    modalities.isEmpty ? "\(name) needs a modality" : nil
  }

  func build(_ model: inout ClassicModel) { (model.hasHead, model.hasUnimodalHeads) = (false, true) }

  func losses(_ forward: Forward, _ context: StepContext) -> [LossTerm] {
    forward.model.names.enumerated().map { index, name in
      let logits = forward.unimodalHead(index)
      context.note("u.\(name)", tensor: logits)
      return LossTerm(name: name, value: forward.meanCrossEntropy(logits))
    }
  }

  func evaluationLogits(
    _ model: ClassicModel, _ features: [Tensor], present: [Bool], _ parameters: Parameters
  ) -> Tensor {
    let kept = features.indices.filter { present[$0] }
    return Self.meanProbabilities(model, features, kept.isEmpty ? Array(features.indices) : kept, parameters)
  }

  func evaluationUnimodal(
    _ model: ClassicModel, _ features: [Tensor], _ index: Int, _ parameters: Parameters
  ) -> Tensor { model.unimodalHead(index, of: features[index], parameters) }

  /// mean_m softmax(unihead_m(h_m)) over some modalities, `[samples, classes]`.
  static func meanProbabilities(
    _ model: ClassicModel, _ features: [Tensor], _ indices: [Int], _ parameters: Parameters
  ) -> Tensor {
    let parts = indices.map { model.unimodalHead($0, of: features[$0], parameters).softmax() }
    return (1 / Float(parts.count)) * parts.dropFirst().reduce(parts[0]) { $0 + $1 }
  }
}

/// One modality alone, with a linear classifier of its own.
///
///     L = mean_i CE(unihead_m(h_m,i), y_i)
final class Unimodal: ImbalanceMethod {
  static let id = "unimodal"
  static let name = "Unimodal"
  static let stage = MethodStage.baseline
  static let hooks: Set<MethodHook> = [.branches, .subStep, .losses, .evaluation]
  static let source = "the upper reference for each modality"

  /// Which modality is trained.
  let modality: Int

  init(modality: Int) { self.modality = modality }

  static func refusal(of modalities: [Modality]) -> String? {
    modalities.isEmpty ? "\(name) needs a modality" : nil
  }

  func refusal(of model: ClassicModel) -> String? {
    modality < model.count ? nil : "the modality \(modality) of \(model.count) does not exist"
  }

  func build(_ model: inout ClassicModel) { (model.hasHead, model.hasUnimodalHeads) = (false, true) }

  func subStep(_ model: ClassicModel, at place: StepPlace) -> SubStep {
    let name = model.names[modality]
    var subStep = SubStep(participation: model.names.indices.map { $0 == modality ? .trained : .absent })
    subStep.trains = { $0.hasPrefix("encoder.\(name).") || $0.hasPrefix("unihead.\(name).") }
    return subStep
  }

  func losses(_ forward: Forward, _ context: StepContext) -> [LossTerm] {
    let logits = forward.unimodalHead(modality)
    return [LossTerm(name: forward.model.names[modality], value: forward.meanCrossEntropy(logits))]
  }

  func evaluationLogits(
    _ model: ClassicModel, _ features: [Tensor], present: [Bool], _ parameters: Parameters
  ) -> Tensor { model.unimodalHead(modality, of: features[modality], parameters) }

  func evaluationUnimodal(
    _ model: ClassicModel, _ features: [Tensor], _ index: Int, _ parameters: Parameters
  ) -> Tensor { model.unimodalHead(index, of: features[index], parameters) }

  func cost(modalities: Int) -> MethodCost {
    MethodCost(forward: 1 / Double(modalities), backward: 2 / Double(modalities))
  }
}

/// The sum of the loss of the fused logits and of a classifier for each modality: the control for every method that adds
/// unimodal losses.
///
///     L = CE(z, y) + Σ_m CE(unihead_m(h_m), y)
///
/// Source: "Joint*" of Huang et al., "Adaptive Unimodal Regulation", CVPR 2025, arXiv:2503.18595, tables 2 and 3.
final class Uniform: ImbalanceMethod {
  static let id = "uniform"
  static let name = "Uniform"
  static let stage = MethodStage.baseline
  static let hooks: Set<MethodHook> = [.losses]
  static let source = "the control of Huang et al., CVPR 2025, arXiv:2503.18595"

  func build(_ model: inout ClassicModel) { model.hasUnimodalHeads = true }

  func losses(_ forward: Forward, _ context: StepContext) -> [LossTerm] { Self.terms(forward) }

  /// The loss of the fused logits, then one for each modality.
  static func terms(_ forward: Forward) -> [LossTerm] {
    [LossTerm(name: "multi", value: forward.meanCrossEntropy(forward.fused))]
      + forward.model.names.enumerated().map { index, name in
        LossTerm(name: name, value: forward.meanCrossEntropy(forward.unimodalHead(index)))
      }
  }
}
