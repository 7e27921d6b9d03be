import Foundation
import TensorCore

/// Adaptive gradient modulation: gradients into each modality's Shapley response are scaled by whether it is further ahead
/// than it usually is.
///
///     f(S): logits with the inputs outside S replaced by zeros
///     φ_m = Σ_{T ⊆ M∖m} |T|! (M−|T|−1)! / M! [f(T ∪ m) − f(T)],  f(∅) taken as 0, so that Σ φ_m = f(all)
///     S_m = mean_i min(−log softmax(φ_m,i)[y_i], −log 1e-8),   r_m = exp(mean_{j≠m} S_j − S_m),   τ_m the same of
///     running means;   κ_m = exp(α min(τ_m − r_m, cap))
///     L = CE(Σ φ_m, y), the gradient into φ_m times κ_m
///
/// For an additive head φ_m = W_m (h_m − h⁰_m) + z⁰ / M with h⁰_m the feature of a zero input, so that one pass over a
/// single row of zeros takes the place of 2^M − 1 passes; the gradient goes through h⁰ too. Other heads are refused.
///
/// Source: Li et al., "Boosting Multi-modal Model Performance with Adaptive Gradient Modulation", ICCV 2023,
/// arXiv:2308.07686, equations 3 to 9; the cap and the floor of probabilities are of the authors' code.
///
/// `compat` exchanges r and τ in κ, as the benchmark's code does: it speeds up the modality that is ahead.
final class AGM: ImbalanceMethod {
  static let id = "agm"
  static let name = "AGM"
  static let stage = MethodStage.optimization
  static let hooks: Set<MethodHook> = [.losses]
  static let source = "Li et al., ICCV 2023, arXiv:2308.07686"

  struct Options {
    /// α, at least 0.
    var alpha = 1.0
    /// The bound on τ − r; nil for 10 with two modalities and 7 with more, as in the authors' code.
    var cap: Double?
    /// Whether the sign of the benchmark's code is taken.
    var compat = false
  }

  let options: Options
  /// Mean scores of all steps so far.
  private(set) var running: [Double] = []
  private var stepCount = 0
  private var latest: [Double] = []

  init(_ options: Options = Options()) { self.options = options }

  func refusal(of model: ClassicModel) -> String? {
    model.head.isAdditive
      ? nil : "AGM is implemented for additive heads; \(model.head.name) needs every subset of modalities"
  }

  var updateRefusal: String? {
    "the coefficients of AGM are for gradients of logits, which reach the head too, not for an encoder's"
  }

  func fitStart(_ model: ClassicModel, _ parameters: ParameterSet, samples: Int) {
    if running.isEmpty { running = Array(repeating: 0, count: model.count) }
  }

  func losses(_ forward: Forward, _ context: StepContext) -> [LossTerm] {
    let responses = Self.responses(forward, context)
    for (name, response) in zip(context.model.names, responses) {
      context.note("phi.\(name)", tensor: response)
    }
    if running.isEmpty { running = Array(repeating: 0, count: context.model.count) }
    let scores = responses.map { Self.score($0.detached, forward.labels) }
    let (r, tau) = (Self.relative(scores), Self.relative(running))
    let cap = options.cap ?? (context.model.count == 2 ? 10 : 7)
    let kappa = zip(r, tau).map { r, tau in
      exp(options.alpha * min(options.compat ? r - tau : tau - r, cap))
    }
    context.note("score", scores)
    context.note("running", running)
    context.note("r", r)
    context.note("tau", tau)
    context.note("kappa", kappa)
    latest = scores
    // The value of φ with κ times its gradient.
    let scaled = zip(responses, kappa).map { response, kappa in
      Float(kappa) * response + Float(1 - kappa) * response.detached
    }
    let logits = scaled.dropFirst().reduce(scaled[0]) { $0 + $1 }
    return [LossTerm(name: "total", value: forward.meanCrossEntropy(logits))]
  }

  /// φ_m, `[samples, classes]` for each modality.
  private static func responses(_ forward: Forward, _ context: StepContext) -> [Tensor] {
    let model = context.model
    let parameters = forward.parameters.evaluating
    let zeros = model.encoders.indices.map {
      model.features($0, of: Tensor(zeros: [1] + model.encoders[$0].inputShape), parameters)
    }
    let share = 1 / Float(model.count)
    let base = model.head.fused(zeros, model.names, forward.parameters)
    return model.names.indices.map { index in
      // The blocks of both have the same bias, which the difference takes away.
      let block = model.head.unimodal(index, zeros, model.names, forward.parameters)
      return forward.unimodal(index) - block + share * base
    }
  }

  /// S_m.
  private static func score(_ response: Tensor, _ labels: [Int]) -> Double {
    let losses = response.crossEntropy(labels: labels).doubleValues
    return losses.reduce(0.0) { $0 + min($1, -log(1e-8)) } / Double(losses.count)
  }

  /// exp(mean of the others' scores − the own score).
  static func relative(_ scores: [Double]) -> [Double] {
    scores.indices.map { m in
      let others = scores.indices.filter { $0 != m }.reduce(0.0) { $0 + scores[$1] }
      return exp(others / Double(scores.count - 1) - scores[m])
    }
  }

  func afterStep(_ forward: Forward, _ context: StepContext) {
    stepCount += 1
    let t = Double(stepCount)
    running = zip(running, latest).map { ((t - 1) * $0 + $1) / t }
  }

  func cost(modalities: Int) -> MethodCost { MethodCost() }

  var state: [(name: String, value: Tensor)] {
    get { [("running", ExactNumbers.tensor(running + [Double(stepCount)]))] }
    set {
      guard let value = newValue.first?.value else { return }
      let numbers = ExactNumbers.values(value)
      (running, stepCount) = (Array(numbers.dropLast()), Int(numbers.last ?? 0))
    }
  }
}
