import Foundation
import TensorCore

/// Adaptive mask co-optimization: features of a modality that the others depend on are masked, more from epoch to epoch.
///
///     mass_m = mean_i of the entries of m in one softmax over [u_1,i … u_M,i];   m is dependent if mass_m > σ
///     r_e = r_max sin(π/2 · min(e, ramp) / ramp)
///     h'_m = mask ⊙ h_m for dependent m, with exactly ⌊r_e d_m⌋ zeros in each row
///     L = CE(W h' + b, y) + Σ_m CE(u_m, y), u_m of unmasked features
///
/// Source: Zhou et al., "Adaptive Mask Co-optimization for Modal Dependence in Multimodal Learning", ICASSP 2023. No code
/// and only the abstract could be read: this is a reconstruction.
final class AMCo: ImbalanceMethod {
  static let id = "amco"
  static let name = "AMCo"
  static let stage = MethodStage.forward
  static let hooks: Set<MethodHook> = [.losses]
  static let source = "Zhou et al., ICASSP 2023"
  static let isReconstruction = true

  struct Options {
    /// r_max, below 1.
    var largestRate = 0.8
    /// Epochs until the rate is reached.
    var rampEpochs = 6.0
    /// σ.
    var threshold = 0.5
    /// Whether masked features are multiplied by min(1 / (1 − r), 10).
    var rescales = false
  }

  let options: Options

  init(_ options: Options = Options()) { self.options = options }

  /// r_e.
  func rate(epoch: Int) -> Double {
    let share = min(Double(epoch), options.rampEpochs) / options.rampEpochs
    return options.largestRate * sin(Double.pi / 2 * share)
  }

  /// mass_m of each modality.
  static func masses(_ logits: [Tensor]) -> [Double] {
    let classes = logits[0].columns
    let rows = Tensor.concatenatedColumns(logits).softmax().hostRows()
    return logits.indices.map { m in
      let sums = rows.map { row in row[m * classes..<(m + 1) * classes].reduce(0.0) { $0 + Double($1) } }
      return sums.reduce(0, +) / Double(rows.count)
    }
  }

  func losses(_ forward: Forward, _ context: StepContext) -> [LossTerm] {
    let model = context.model
    let masses = Self.masses(forward.detachedUnimodal())
    let rate = rate(epoch: context.place.epoch)
    context.note("mass", masses)
    context.note("dependent", masses.map { $0 > options.threshold ? 1 : 0 })
    context.note("rate", [rate])
    let masked = model.names.indices.map { index in
      masses[index] > options.threshold
        ? mask(forward.feature(index), rate, model.names[index], context) : forward.feature(index)
    }
    let logits = model.head.fused(masked, model.names, forward.parameters)
    context.note("masked_z", tensor: logits)
    return [LossTerm(name: "multi_masked", value: forward.meanCrossEntropy(logits))]
      + model.names.enumerated().map { index, name in
        LossTerm(name: name, value: forward.meanCrossEntropy(forward.unimodal(index)))
      }
  }

  private func mask(_ feature: Tensor, _ rate: Double, _ name: String, _ context: StepContext) -> Tensor {
    let (rows, width) = (feature.rows, feature.columns)
    let zeroCount = Int(rate * Double(width))
    let kept = options.rescales ? Float(min(1 / (1 - rate), 10)) : 1
    var mask = [Float](repeating: kept, count: rows * width)
    for row in 0..<rows {
      let order = context.random.order(of: width, for: "mask.\(name) \(row)")
      for place in order.prefix(zeroCount) { mask[row * width + place] = 0 }
    }
    return feature * Tensor(mask, shape: feature.shape)
  }
}
