import TensorCore

/// Distillation of features from teachers that were trained on one modality each.
///
///     L = CE(z, y) + λ Σ_m mean_i |h_m,i − t_m,i|²
///
/// t_m is the feature of the frozen teacher on the same input. The sum is over feature coordinates: with a mean over them,
/// as in some implementations, λ is d times as large for the same training.
///
/// Source: Du et al., "On Uni-Modal Feature Learning in Supervised Multi-Modal Learning", ICML 2023, arXiv:2305.01233,
/// section 4.
final class UMT: ImbalanceMethod {
  static let id = "umt"
  static let name = "UMT"
  static let stage = MethodStage.objective
  static let hooks: Set<MethodHook> = [.losses]
  static let source = "Du et al., ICML 2023, arXiv:2305.01233"

  /// λ, at least 0.
  let weight: Double
  /// Parameters of the teachers' encoders, under the names of the students'.
  private let teachers: Parameters

  init(weight: Double = 0.5, teachers: [String: Tensor]) {
    (self.weight, self.teachers) = (weight, Parameters(teachers))
  }

  func refusal(of model: ClassicModel) -> String? {
    let names = model.names.indices.flatMap { model.encoderNames($0) + model.bufferNames($0) }
    let missing = names.first { !teachers.contains($0) }
    return missing.map { "UMT has no teacher for the parameter \($0)" }
  }

  func losses(_ forward: Forward, _ context: StepContext) -> [LossTerm] {
    let model = context.model
    var terms = [LossTerm(name: "multi", value: forward.meanCrossEntropy(forward.fused))]
    for (index, name) in model.names.enumerated() {
      let all = model.features(index, of: forward.batch.inputs[index], teachers)
      let teacher = forward.rows.map { all.gatherRows($0) } ?? all
      context.note("teacher_h.\(name)", tensor: teacher)
      let difference = forward.feature(index) - teacher
      let distance = (difference * difference).rowSums().mean()
      terms.append(LossTerm(name: "distill_\(name)", value: distance, weight: weight))
    }
    return terms
  }

  func cost(modalities: Int) -> MethodCost { MethodCost(forward: 2) }
}
