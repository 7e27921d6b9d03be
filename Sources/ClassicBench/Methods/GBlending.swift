import Foundation
import TensorCore

/// Gradient blending: the losses of all heads, weighted by how well each generalises for how much it overfits.
///
/// For each modality's classifier and for the fused head, trained alone from one point to another,
///
///     G = L*_0 − L*_1,   ΔO = (L*_1 − L^T_1) − (L*_0 − L^T_0),   w ∝ max(G, 0) / max(ΔO², floor²),   Σ w = 1
///     L = Σ_m w_m CE(unihead_m(h_m), y) + w_fused CE(z, y)
///
/// L* is the mean loss on samples held out of the training set, L^T that on training samples. Nobody gains: all weights
/// are equal.
///
/// Source: Wang, Tran and Feiszli, "What Makes Training Multi-Modal Classification Networks Hard?", CVPR 2020,
/// arXiv:1905.12681, equations 3 to 7.
final class GBlending: ImbalanceMethod {
  static let id = "gblending"
  static let name = "G-Blend"
  static let stage = MethodStage.objective
  static let hooks: Set<MethodHook> = [.losses]
  static let source = "Wang et al., CVPR 2020, arXiv:1905.12681"

  struct Options {
    /// Epochs between estimates of the weights; nil for one estimate before training.
    var superEpoch: Int? = 10
    /// Epochs that a head is trained alone for an estimate.
    var soloEpochs = 5
    /// The exponent of the weights before they are made to add up to 1: 1 is the paper, 0 weighs all losses the same.
    var strength = 1.0
  }

  let options: Options
  /// w of the modalities, then of the fused head; empty before the first estimate, when all are equal.
  private(set) var weights: [Double]
  var needsHeldOut: Bool { true }
  private let isFixed: Bool

  /// - Parameter weights: Given weights, which are not estimated.
  init(_ options: Options = Options(), weights: [Double]? = nil) {
    (self.options, self.weights, isFixed) = (options, weights ?? [], weights != nil)
  }

  func build(_ model: inout ClassicModel) { model.hasUnimodalHeads = true }

  func fitStart(_ model: ClassicModel, _ parameters: ParameterSet, samples: Int) {
    if weights.isEmpty { weights = Self.equal(model.count + 1) }
  }

  func epochStart(_ epoch: Int, _ services: any TrainingServices) throws {
    if isFixed { return }
    guard epoch == 0 || options.superEpoch.map({ epoch % $0 == 0 }) ?? false else { return }
    let losses = try (0...services.model.count).map {
      try services.soloLosses(head: $0, epochs: options.soloEpochs)
    }
    weights = Self.normalized(losses.map { pow(Self.rawWeight($0), options.strength) })
  }

  /// max(G, 0) / max(ΔO², floor²).
  static func rawWeight(_ losses: SoloLosses, floor: Double = 1e-3) -> Double {
    let gain = losses.heldOutBefore - losses.heldOutAfter
    let overfitting =
      (losses.heldOutAfter - losses.trainAfter) - (losses.heldOutBefore - losses.trainBefore)
    return max(gain, 0) / max(overfitting * overfitting, floor * floor)
  }

  /// Weights that add up to 1; equal ones if all are 0.
  static func normalized(_ raw: [Double]) -> [Double] {
    let sum = raw.reduce(0, +)
    return sum > 0 ? raw.map { $0 / sum } : equal(raw.count)
  }

  private static func equal(_ count: Int) -> [Double] { Array(repeating: 1 / Double(count), count: count) }

  func losses(_ forward: Forward, _ context: StepContext) -> [LossTerm] {
    let weights = weights.isEmpty ? Self.equal(context.model.count + 1) : weights
    context.note("weight", weights)
    var terms = Uniform.terms(forward)
    terms[0].weight = weights[context.model.count]
    for index in context.model.names.indices { terms[index + 1].weight = weights[index] }
    return terms
  }

  func cost(modalities: Int) -> MethodCost {
    guard let superEpoch = options.superEpoch else { return MethodCost() }
    // One solo run of every encoder and one of all of them together.
    let share = 2 * Double(options.soloEpochs) / Double(superEpoch)
    return MethodCost(forward: 1 + share, backward: 2 + 2 * share)
  }

  var state: [(name: String, value: Tensor)] {
    get { [("weights", ExactNumbers.tensor(weights))] }
    set { if let value = newValue.first?.value { weights = ExactNumbers.values(value) } }
  }
}
