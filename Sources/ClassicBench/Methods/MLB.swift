import Foundation
import TensorCore

/// Multi-loss gradient modulation: encoders behind the others are sped up and those ahead slowed down.
///
///     L = CE(z, y) + Σ_m CE(v_m, y),   v_m = unihead_m(h_m),   S_m = mean_i softmax(v_m,i)[y_i]
///     r_m = mean_{j ≠ m} S_j / S_m,   k_m = 1 + tanh(α (r_m − 1));   gradient of encoder m ← k_m g
///
/// With β_max the factor of a modality behind is 1 + (β_max − 1) tanh(α (r_m − 1)).
///
/// Source: Kontras et al., "Improving Multimodal Learning with Multi-Loss Gradient Modulation", BMVC 2024,
/// arXiv:2405.07930, equations 4 to 6.
///
/// Departs from the authors' code, which also scales the modality's own classifier and its block of the fused head.
final class MLB: ImbalanceMethod {
  static let id = "mlb"
  static let name = "MLB"
  static let stage = MethodStage.optimization
  static let hooks: Set<MethodHook> = [.losses, .afterBackward]
  static let source = "Kontras et al., BMVC 2024, arXiv:2405.07930"

  struct Options {
    /// α, above 0.
    var alpha = 0.8
    /// β_max, above 1; nil for the symmetric form.
    var largestFactor: Double?
  }

  let options: Options

  init(_ options: Options = Options()) { self.options = options }

  func build(_ model: inout ClassicModel) { model.hasUnimodalHeads = true }
  func losses(_ forward: Forward, _ context: StepContext) -> [LossTerm] { Uniform.terms(forward) }

  /// r_m from mean scores.
  static func ratios(_ scores: [Double]) -> [Double] {
    scores.indices.map { m in
      let others = scores.indices.filter { $0 != m }.reduce(0.0) { $0 + scores[$1] }
      return others / Double(scores.count - 1) / max(scores[m], DiscrepancyRatio.floor)
    }
  }

  /// k_m.
  static func factor(_ ratio: Double, _ options: Options) -> Double {
    let change = tanh(options.alpha * (ratio - 1))
    if let largest = options.largestFactor, ratio > 1 { return 1 + (largest - 1) * change }
    return 1 + change
  }

  func afterBackward(_ gradients: inout StepGradients, _ forward: Forward, _ context: StepContext) {
    let model = context.model
    let parameters = forward.parameters.detached
    let logits = model.names.indices.map {
      model.unimodalHead($0, of: forward.feature($0).detached, parameters)
    }
    for (index, name) in model.names.enumerated() { context.note("v.\(name)", tensor: logits[index]) }
    let samples = Double(forward.labels.count)
    let scores = DiscrepancyRatio.scores(logits, forward.labels).map { $0 / samples }
    let ratios = Self.ratios(scores)
    let factors = ratios.map { Self.factor($0, options) }
    context.note("score", scores)
    context.note("r", ratios)
    context.note("k", factors)
    for (name, gradient) in gradients.all {
      guard let index = model.encoderIndex(of: name) else { continue }
      switch context.coefficients {
      case .grad: gradients.all[name] = Float(factors[index]) * gradient
      case .update: gradients.updateFactors[name] = factors[index]
      }
    }
  }
}
