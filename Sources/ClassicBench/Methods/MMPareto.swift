import TensorCore

/// A common descent direction of the multimodal and the unimodal loss for each encoder.
///
///     a = ∇ CE(z, y),  b = ∇ CE(unihead_m(h_m), y) with respect to all parameters of encoder m
///     cos(a, b) ≥ 0:  λ = (½, ½);  otherwise λ_a = clip(⟨b − a, b⟩ / |a − b|², 0, 1), λ_b = 1 − λ_a
///     g = 2 (λ_a a + λ_b b);   |g| < |a + b|:  g ← g |a + b| / |g|;   g ← γ g
///
/// Heads take the plain sum of gradients. Where a and b cancel each other the direction is a.
///
/// Source: Wei and Hu, "MMPareto: Boosting Multimodal Learning with Innocent Unimodal Assistance", ICML 2024,
/// arXiv:2405.17730, equations 8 to 12.
///
/// Departs from the authors' code: the length is restored for the encoder as a whole, not for every tensor, which can
/// turn the direction against one of the losses; `perTensor` does as the code does. `compat` is the benchmark's code, in
/// which both gradients are the same sum, so that encoders take 2 γ (a + b).
final class MMPareto: ImbalanceMethod {
  static let id = "mmpareto"
  static let name = "MMPareto"
  static let stage = MethodStage.objective
  static let hooks: Set<MethodHook> = [.losses, .gradientMode, .afterBackward]
  static let source = "Wei and Hu, ICML 2024, arXiv:2405.17730"

  /// How the length of a direction is restored.
  enum Rescaling: String, CaseIterable {
    case perEncoder, perTensor
    /// The benchmark's code: no common direction at all.
    case compat
  }

  struct Options {
    /// γ, above 0.
    var gamma = 1.5
    var rescaling = Rescaling.perEncoder
  }

  let options: Options

  init(_ options: Options = Options()) { self.options = options }

  func build(_ model: inout ClassicModel) { model.hasUnimodalHeads = true }
  func losses(_ forward: Forward, _ context: StepContext) -> [LossTerm] { Uniform.terms(forward) }
  var gradientMode: GradientMode { .perLoss }
  var updateRefusal: String? { "MMPareto makes a direction of two gradients, not a coefficient of one" }
  func cost(modalities: Int) -> MethodCost { MethodCost(forward: 1, backward: 4) }

  func afterBackward(_ gradients: inout StepGradients, _ forward: Forward, _ context: StepContext) {
    var (cosines, weights, scales): ([Double], [Double], [Double]) = ([], [], [])
    for (index, name) in context.model.names.enumerated() {
      let parameters = context.model.encoderNames(index).filter { gradients.all[$0] != nil }
      func parts(_ loss: String) -> [Tensor] {
        parameters.map { gradients.perLoss[loss]?[$0] ?? Tensor(zeros: gradients.all[$0]?.shape ?? []) }
      }
      let (multi, uni) = (parts("multi"), parts(name))
      for (parameter, (a, b)) in zip(parameters, zip(multi, uni)) {
        context.note("multi_grad." + parameter, tensor: a)
        context.note("uni_grad." + parameter, tensor: b)
      }
      let direction = Self.direction(multi, uni, options)
      for (parameter, gradient) in zip(parameters, direction.gradients) {
        gradients.all[parameter] = gradient
      }
      cosines.append(direction.cosine)
      weights += [direction.weights.0, direction.weights.1]
      scales.append(direction.scale)
    }
    context.note("cosine", cosines)
    context.note("lambda", weights)
    context.note("scale", scales)
  }

  /// What an encoder takes, and how it came about.
  struct Direction {
    var gradients: [Tensor]
    var cosine: Double
    var weights: (Double, Double)
    /// |a + b| / |g|, or 1.
    var scale: Double
  }

  /// g of one encoder from the tensors of a and of b.
  static func direction(_ a: [Tensor], _ b: [Tensor], _ options: Options) -> Direction {
    let (aa, bb, ab) = (innerProduct(a, a), innerProduct(b, b), innerProduct(a, b))
    let cosine = aa * bb > 0 ? ab / (aa * bb).squareRoot() : 0
    var weights = (0.5, 0.5)
    if ab < 0 {
      let share = min(1, max(0, (bb - ab) / (aa + bb - 2 * ab)))
      weights = (share, 1 - share)
    }
    let (left, right) = (Float(2 * weights.0), Float(2 * weights.1))
    let sum = zip(a, b).map { $0 + $1 }
    let gamma = Float(options.gamma)
    if options.rescaling == .compat {
      return Direction(gradients: sum.map { 2 * gamma * $0 }, cosine: cosine, weights: (0.5, 0.5), scale: 1)
    }
    var g = zip(a, b).map { left * $0 + right * $1 }
    func norm(_ tensors: [Tensor]) -> Double { innerProduct(tensors, tensors).squareRoot() }
    let wanted = norm(sum)
    if norm(g) < 1e-8 * (aa.squareRoot() + bb.squareRoot()) { g = a }
    func factor(_ found: Double, _ wanted: Double) -> Double {
      found < wanted && found > 0 ? wanted / found : 1
    }
    if options.rescaling == .perTensor {
      g = zip(g, sum).map { Float(factor(norm([$0]), norm([$1]))) * gamma * $0 }
      return Direction(gradients: g, cosine: cosine, weights: weights, scale: 1)
    }
    let scale = factor(norm(g), wanted)
    return Direction(
      gradients: g.map { Float(scale) * gamma * $0 }, cosine: cosine, weights: weights, scale: scale)
  }
}
