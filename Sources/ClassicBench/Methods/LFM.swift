import Foundation
import TensorCore

/// Learning to fill the modality gap: a loss without labels that matches modalities, strong at first and weak later.
///
///     L = α L_match + (1 − α) CE(z, y)
///
/// L_match is a mean over pairs of modalities of the Jensen-Shannon divergence of their predictions (the authors' code), or
/// of the symmetric contrastive loss of their features, ½ [CE(S, identity) + CE(Sᵀ, identity)] with
/// S = ĥ_m ĥ_jᵀ / τ (the paper).
///
/// | schedule | α in epoch e |
/// | --- | --- |
/// | heuristic | 1 − exp(−1 / t), t = e + 1 |
/// | polynomial | 1 − the fitted weight of the classification loss that the authors' code has for CREMA-D |
/// | fixed | a constant |
/// | bilevel | learned: before every epoch but the first α ← clip(α − η_α dL_val/dα, 0.05, 0.95), from 0.95 |
///
/// The bi-level step takes the derivative of `weightDerivative` on samples of the training set and on held-out ones. How often it
/// is done, how many samples it is over and η_α are not those of a published run: this schedule is a reconstruction.
///
/// Source: Yang, Wan, Jiang and Xu, "Facilitating Multimodal Classification via Dynamically Learning Modality Gap",
/// NeurIPS 2024, equations 4 to 9.
///
/// Departs from the authors' code: no factor 2 on the loss; z is that of the head; the divergence is not taken with its
/// arguments exchanged (`compat`).
final class LFM: ImbalanceMethod {
  static let id = "lfm"
  static let name = "LFM"
  static let stage = MethodStage.objective
  static let hooks: Set<MethodHook> = [.losses]
  static let source = "Yang et al., NeurIPS 2024"

  /// What is matched.
  enum Matching: String, CaseIterable {
    case jensenShannon, contrastive
    /// The authors' code: means of KL(mixture ‖ p), which is not the Jensen-Shannon divergence.
    case compat
  }

  /// How α goes down.
  enum Schedule: String, CaseIterable {
    case heuristic, polynomial, fixed, bilevel
  }

  struct Options {
    var matching = Matching.jensenShannon
    var schedule = Schedule.heuristic
    /// α of the fixed schedule.
    var fixedWeight = 0.5
    /// τ of the contrastive loss.
    var temperature = 0.1
    /// η_α of the bi-level schedule.
    var weightRate = 1.0
    /// Samples on either side of a bi-level step.
    var bilevelSamples = 64
  }

  /// α of the bi-level schedule stays in here.
  static let bounds = 0.05...0.95

  let options: Options
  /// α of the bi-level schedule.
  private(set) var learned = LFM.bounds.upperBound
  var needsHeldOut: Bool { options.schedule == .bilevel }

  init(_ options: Options = Options()) { self.options = options }

  func refusal(of model: ClassicModel) -> String? {
    options.matching == .contrastive && Set(model.featureSizes).count > 1
      ? "the contrastive loss of LFM compares features of one size, found \(model.featureSizes)" : nil
  }

  /// α of the heuristic schedule, t from 1.
  static func heuristicWeight(_ t: Int) -> Double { 1 - exp(-1 / Double(t)) }

  /// The fitted weight of the classification loss; outside epochs 0...199 that of the nearest one.
  static func polynomialWeight(epoch: Int) -> Double {
    let e = Double(min(199, max(0, epoch)))
    // Horner's scheme on the six coefficients of the authors' code.
    return polynomial.reversed().reduce(0.0) { $0 * e + $1 }
  }

  /// The authors' fit, lowest power first.
  private static let polynomial = [
    0.204623704, 3.35472727e-3, 1.22989557e-4, -2.92947416e-6, 2.23835486e-8, -5.39717505e-11,
  ]

  /// α of an epoch.
  func weight(epoch: Int) -> Double {
    switch options.schedule {
    case .heuristic: Self.heuristicWeight(epoch + 1)
    case .polynomial: 1 - Self.polynomialWeight(epoch: epoch)
    case .fixed: options.fixedWeight
    case .bilevel: learned
    }
  }

  func epochStart(_ epoch: Int, _ services: any TrainingServices) throws {
    guard options.schedule == .bilevel, epoch > 0 else { return }
    let random = KeyedRandom(seed: services.seed, place: StepPlace(epoch: epoch))
    func draw(_ count: Int, _ purpose: String) -> [Int] {
      Array(random.order(of: count, for: purpose).prefix(options.bilevelSamples))
    }
    let training = draw(services.trainingLabels.count, "lfm training")
    let held = draw(services.heldOutLabels.count, "lfm held out")
    let found = weightDerivative(
      services.model, services.parameters.named, training: services.trainingBatch(training),
      validation: services.heldOutBatch(held), weight: learned, innerRate: services.learningRate,
      classWeights: services.classWeights)
    let moved = learned - options.weightRate * found.derivative
    learned = min(Self.bounds.upperBound, max(Self.bounds.lowerBound, moved))
  }

  var state: [(name: String, value: Tensor)] {
    get { options.schedule == .bilevel ? [("alpha", ExactNumbers.tensor([learned]))] : [] }
    set { if let value = newValue.first?.value { learned = ExactNumbers.values(value)[0] } }
  }

  func losses(_ forward: Forward, _ context: StepContext) -> [LossTerm] {
    let weight = weight(epoch: context.place.epoch)
    context.note("alpha", [weight])
    return [
      LossTerm(name: "match", value: matching(forward, context), weight: weight),
      LossTerm(name: "cls", value: forward.meanCrossEntropy(forward.fused), weight: 1 - weight),
    ]
  }

  /// L_match.
  func matching(_ forward: Forward, _ context: StepContext) -> Tensor {
    let count = context.model.count
    var parts: [Tensor] = []
    for m in 0..<count {
      for j in m + 1..<count {
        switch options.matching {
        case .jensenShannon: parts.append(jensenShannonDivergence(forward.unimodal(m), forward.unimodal(j)))
        case .compat: parts.append(Self.reversedDivergence(forward.unimodal(m), forward.unimodal(j)))
        case .contrastive:
          parts.append(contrastive(forward.feature(m), forward.feature(j), isFirst: parts.isEmpty, context))
        }
      }
    }
    return (1 / Float(parts.count)) * parts.dropFirst().reduce(parts[0]) { $0 + $1 }
  }

  private func contrastive(
    _ left: Tensor, _ right: Tensor, isFirst: Bool, _ context: StepContext
  ) -> Tensor {
    let similarity =
      Float(1 / options.temperature)
      * left.rowsNormalized().matmul(right.rowsNormalized(), transposingOther: true)
    if isFirst { context.note("similarity", tensor: similarity) }
    let pairs = Array(0..<left.rows)
    return 0.5 * (similarity.meanCrossEntropy(pairs) + similarity.transposed().meanCrossEntropy(pairs))
  }

  /// ½ [KL(m ‖ p) + KL(m ‖ q)], m = (p + q) / 2, averaged over samples.
  static func reversedDivergence(_ left: Tensor, _ right: Tensor) -> Tensor {
    let (p, q) = (left.logSoftmax(), right.logSoftmax())
    let mixture = p.logAddedExponentials(q) + Float(-log(2.0))
    let parts = mixture.exponential() * (2 * mixture - p - q)
    return 0.5 * parts.rowSums().mean()
  }

  /// The derivative of the validation loss by α after one plain step of size η.
  ///
  ///     θ' = θ − η (α g_match + (1 − α) g_cls),   dL_val/dα = −η ⟨g_val(θ'), g_match − g_cls⟩
  ///
  /// Source: the bi-level objective of the paper, equation 8, in its first-order form.
  ///
  /// - Returns: The derivative and the inner products of g_val with g_match and with g_cls.
  func weightDerivative(
    _ model: ClassicModel, _ parameters: [String: Tensor], training: ClassicBatch, validation: ClassicBatch,
    weight: Double, innerRate: Double, classWeights: [Double]? = nil
  ) -> (derivative: Double, products: (Double, Double)) {
    let names = model.parameterShapes.map(\.name)
    func gradients(
      _ values: [String: Tensor], _ batch: ClassicBatch, _ loss: (Forward, StepContext) -> Tensor
    ) -> [Tensor] {
      let tape = Tape()
      let leaves = values.mapValues { tape.leaf($0) }
      let context = StepContext(
        model: model, place: StepPlace(), subStep: .joint(model.count),
        random: KeyedRandom(seed: 0, place: StepPlace()), tape: tape, recordsTensors: false)
      let view = Parameters(leaves)
      let features = batch.inputs.indices.map { Optional(model.features($0, of: batch.inputs[$0], view)) }
      let forward = Forward(
        model: model, parameters: view, batch: batch, features: features, classWeights: classWeights)
      let targets = names.map { view[$0] }
      let found = tape.gradients(of: loss(forward, context), for: targets, retaining: false)
      return zip(found, targets).map { $0 ?? Tensor(zeros: $1.shape) }
    }
    let match = gradients(parameters, training) { self.matching($0, $1) }
    let classification = gradients(parameters, training) { forward, _ in
      forward.meanCrossEntropy(forward.fused)
    }
    var moved = parameters
    for (index, name) in names.enumerated() {
      let step = Float(weight) * match[index] + Float(1 - weight) * classification[index]
      moved[name] = parameters[name].map { $0 - Float(innerRate) * step }
    }
    let held = gradients(moved, validation) { forward, _ in forward.meanCrossEntropy(forward.fused) }
    let products = (innerProduct(held, match), innerProduct(held, classification))
    return (-innerRate * (products.0 - products.1), products)
  }
}
