import Foundation
import TensorCore

/// On-the-fly prediction modulation: features of the modality that is ahead are dropped at random.
///
///     q_m = clip(q₀ (1 + λ tanh(ρ_m − 1)), 0, 1) if ρ_m > 1, else 0
///     h'_m,i = keep_m,i h_m,i / (1 − θ),   keep ~ Bernoulli(1 − q_m),   θ = min(Σ d_m q_m / Σ d_m, 0.9)
///     L = CE(W h' + b, y)
///
/// Scores, q and θ are constants for the gradient. A batch is left alone with probability 1 − `executionShare`. The
/// modality with the smallest score has ρ ≤ 1, so that it is always kept and no sample loses everything.
///
/// Source: Wei et al., "On-the-fly Modulation for Balanced Multimodal Learning", TPAMI 2024, arXiv:2410.11582, equations
/// 6 to 8; the share of batches and the factor 1 / (1 − θ) are of the authors' code.
final class OPM: ImbalanceMethod {
  static let id = "opm"
  static let name = "OPM"
  static let stage = MethodStage.forward
  static let hooks: Set<MethodHook> = [.features]
  static let source = "Wei et al., TPAMI 2024, arXiv:2410.11582"

  struct Options {
    /// q₀, in 0...1.
    var baseRate = 0.5
    /// λ.
    var lambda = 0.5
    /// The share of batches in which features are dropped.
    var executionShare = 0.7
    /// Epochs without dropping at the beginning.
    var warmupEpochs = 5
    /// Whether features are divided by 1 − θ, as in the authors' code; the paper does not.
    var rescales = true
  }

  let options: Options

  init(_ options: Options = Options()) { self.options = options }

  func refusal(of model: ClassicModel) -> String? {
    model.head.isAdditive ? nil : "OPM scores modalities by blocks of an additive head"
  }

  /// q_m of each modality.
  static func dropRates(_ ratios: [Double], baseRate: Double, lambda: Double) -> [Double] {
    ratios.map { $0 > 1 ? min(1, max(0, baseRate * (1 + lambda * tanh($0 - 1)))) : 0 }
  }

  func features(_ forward: Forward, _ context: StepContext) {
    for (index, name) in context.model.names.enumerated() {
      context.note("h.\(name)", tensor: forward.feature(index))
      context.note("u.\(name)", tensor: forward.detachedUnimodal()[index])
    }
    context.note("z", tensor: forward.fused)
    guard context.place.epoch >= options.warmupEpochs else { return }
    let scores = DiscrepancyRatio.scores(forward.detachedUnimodal(), forward.labels)
    let ratios = DiscrepancyRatio.pairwise(scores)
    let rates = Self.dropRates(ratios, baseRate: options.baseRate, lambda: options.lambda)
    let sizes = context.model.featureSizes.map(Double.init)
    let theta = min(0.9, zip(sizes, rates).reduce(0.0) { $0 + $1.0 * $1.1 } / sizes.reduce(0, +))
    context.note("score", scores)
    context.note("rho", ratios)
    context.note("q", rates)
    context.note("theta", [theta])
    guard Double(context.random.uniforms(1, for: "opm execute")[0]) < options.executionShare else { return }
    drop(rates, theta, forward, context)
  }

  private func drop(_ rates: [Double], _ theta: Double, _ forward: Forward, _ context: StepContext) {
    let (samples, count) = (forward.labels.count, rates.count)
    let draws = context.random.uniforms(samples * count, for: "opm drop")
    let factor = options.rescales ? 1 / (1 - theta) : 1
    let keeps = (0..<samples).map { i in rates.indices.map { Double(draws[i * count + $0]) < 1 - rates[$0] } }
    let kept = keeps.indices.filter { keeps[$0].contains(true) }
    for index in rates.indices {
      let mask = Tensor(column: keeps.map { $0[index] ? factor : 0 })
      let dropped = forward.feature(index) * mask
      forward.features[index] = kept.count == samples ? dropped : dropped.gatherRows(kept)
    }
    context.note(
      "keep",
      tensor: Tensor.concatenatedColumns(
        rates.indices.map { m in
          Tensor(column: keeps.map { $0[m] ? 1 : 0 })
        }))
    for (index, name) in context.model.names.enumerated() {
      context.note("dropped_h.\(name)", tensor: forward.feature(index))
    }
    if kept.count < samples {
      forward.labels = kept.map { forward.labels[$0] }
      forward.rows = kept
    }
    let logits = context.model.head.fused(forward.allFeatures, context.model.names, forward.parameters)
    context.note("dropped_z", tensor: logits)
    forward.fusedOverride = logits
  }
}
