import Foundation
import TensorCore

/// On-the-fly gradient modulation: gradients of the encoder that is ahead are scaled down.
///
///     S_m = Σ_i softmax(u_m,i)[y_i],   ρ_m = 1 / (M − 1) Σ_{j ≠ m} S_m / S_j
///     k_m = 1 − tanh(α ρ_m) if ρ_m > 1, else 1;   gradient of encoder m ← k_m g
///
/// Source: Peng et al., "Balanced Multimodal Learning via On-the-fly Gradient Modulation", CVPR 2022, arXiv:2203.15332,
/// equations 8 to 11; more than two modalities: the pairwise mean of Wei et al., TPAMI 2024, arXiv:2410.11582.
///
/// Departs from the authors' code: every parameter of an encoder is scaled, not only convolutions, which would leave out
/// every other kind of network; `matricesOnly` leaves biases and norms as they are. Where coefficients are for updates
/// the step of the optimizer is multiplied by k_m in place of the gradient.
class OGM: ImbalanceMethod {
  class var id: String { "ogm" }
  class var name: String { "OGM" }
  static let stage = MethodStage.optimization
  static let hooks: Set<MethodHook> = [.afterBackward]
  class var source: String { "Peng et al., CVPR 2022, arXiv:2203.15332" }

  /// The coefficient of a modality that is ahead.
  enum Coefficient: String, CaseIterable {
    /// 1 − tanh(α ρ), which jumps at ρ = 1.
    case cvpr
    /// max(0, 1 − α tanh(ρ − 1)), which does not.
    case tpami
  }

  struct Options {
    /// α, above 0.
    var alpha = 0.3
    var coefficient = Coefficient.cvpr
    /// Epochs in which gradients are scaled; the first and the last one included.
    var epochs = 0...Int.max
    /// Whether only tensors of two or more axes are scaled.
    var matricesOnly = false
  }

  let options: Options

  init(_ options: Options = Options()) { self.options = options }

  var updateRefusal: String? { nil }

  func afterBackward(_ gradients: inout StepGradients, _ forward: Forward, _ context: StepContext) {
    guard options.epochs.contains(context.place.epoch) else { return }
    let scores = DiscrepancyRatio.scores(forward.detachedUnimodal(), forward.labels)
    let ratios = DiscrepancyRatio.pairwise(scores)
    let factors = ratios.map { Self.factor($0, alpha: options.alpha, options.coefficient) }
    context.note("score", scores)
    context.note("rho", ratios)
    context.note("k", factors)
    for (name, gradient) in gradients.all {
      guard let index = forward.model.encoderIndex(of: name) else { continue }
      if options.matricesOnly && gradient.rank < 2 { continue }
      if context.coefficients == .update {
        gradients.updateFactors[name] = factors[index]
        continue
      }
      gradients.all[name] = modulated(gradient, name, factor: factors[index], context)
    }
  }

  /// k_m.
  static func factor(_ ratio: Double, alpha: Double, _ coefficient: Coefficient) -> Double {
    guard ratio > 1 else { return 1 }
    switch coefficient {
    case .cvpr: return 1 - tanh(alpha * ratio)
    case .tpami: return max(0, 1 - alpha * tanh(ratio - 1))
    }
  }

  /// The gradient of one parameter as the optimizer takes it.
  func modulated(_ gradient: Tensor, _ name: String, factor: Double, _ context: StepContext) -> Tensor {
    Float(factor) * gradient
  }
}

/// OGM with generalisation enhancement: noise as large as the gradient's own spread.
///
///     gradient of every encoder tensor ← k_m g + ξ,   ξ ~ N(0, σ²),   σ = std(g) + 1e-8
///
/// σ is over the entries of the tensor, before scaling; the weak modality gets noise too.
///
/// Source: Peng et al., CVPR 2022, arXiv:2203.15332, section 3.3; σ as in the authors' code.
final class OGMGE: OGM {
  override class var id: String { "ogm-ge" }
  override class var name: String { "OGM-GE" }
  override class var source: String { "Peng et al., CVPR 2022, arXiv:2203.15332" }
  override var updateRefusal: String? {
    "OGM-GE adds noise to gradients beside its coefficients; ogm can scale updates"
  }

  override func modulated(
    _ gradient: Tensor, _ name: String, factor: Double, _ context: StepContext
  ) -> Tensor {
    let deviation = Self.deviation(gradient)
    context.note("sigma." + name, tensor: Tensor(scalar: Float(deviation)))
    let draws = context.random.normals(gradient.count, for: "normal." + name)
    return Float(factor) * gradient + Float(deviation) * Tensor(draws, shape: gradient.shape)
  }

  /// The standard deviation over the entries, with n − 1, plus 1e-8; a single entry has none.
  private static func deviation(_ tensor: Tensor) -> Double {
    let values = tensor.doubleValues
    guard values.count > 1 else { return 1e-8 }
    let mean = values.reduce(0, +) / Double(values.count)
    let squares = values.reduce(0.0) { $0 + ($1 - mean) * ($1 - mean) }
    return (squares / Double(values.count - 1)).squareRoot() + 1e-8
  }
}
