import Foundation
import TensorCore

/// Unidirectional interaction: a frozen anchor modality guides every other one, which learns alone.
///
/// In the first `soloEpochs` every branch (encoder and its own linear classifier) is trained alone. Then the branch with
/// the highest held-out accuracy, among equals the one with the lower mean entropy, is the anchor a and stays as it is;
/// for every other branch
///
///     L = CE(u_m, y) + λ_con JS(softmax(u_a), softmax(u_m)) + λ_cmp L_cmp,   the anchor's side constant
///     vCLUB: L_cmp = mean_i [log q(h_m,i | h_a,i) − mean_j log q(h_m,j | h_a,i)],  q = N(A h_a + c, diag e^s), fitted
///       by its own likelihood
///     correlation: L_cmp = Σ R²,  R = Z_mᵀ Z_a / n of standardised features
///     λ_k = (1 + cos(∇CE, ∇L_k)) / 2 on the encoder's last layer, smoothed: 0.9 old + 0.1 new after the first step
///
/// Prediction: the mean of the branches' probabilities.
///
/// Source: Wang et al., "Unidirectional Dynamic Interaction", 2025, arXiv:2509.02281. Its estimator and controller could
/// not be read: this is a reconstruction.
final class UDI: ImbalanceMethod {
  static let id = "udi"
  static let name = "UDI"
  static let stage = MethodStage.objective
  static let hooks: Set<MethodHook> = [.branches, .subStep, .losses, .evaluation]
  static let source = "Wang et al., 2025, arXiv:2509.02281"
  static let isReconstruction = true

  /// L_cmp.
  enum Complementarity: String, CaseIterable {
    case vCLUB, correlation
  }

  struct Options {
    var complementarity = Complementarity.vCLUB
    /// Epochs in which every branch is trained alone.
    var soloEpochs = 20
    /// The share of the old λ.
    var smoothing = 0.9
  }

  let options: Options
  var needsHeldOut: Bool { true }
  /// The anchor; nil while branches are trained alone.
  private(set) var anchor: Int?
  /// λ_con and λ_cmp of each modality; nil before the first guided step.
  private var weights: [[Double]]?

  init(_ options: Options = Options(), anchor: Int? = nil) { (self.options, self.anchor) = (options, anchor) }

  func refusal(of model: ClassicModel) -> String? {
    Set(model.featureSizes).count > 1
      ? "UDI relates features of one size to each other, found \(model.featureSizes)" : nil
  }

  func build(_ model: inout ClassicModel) {
    (model.hasHead, model.hasUnimodalHeads) = (false, true)
    guard options.complementarity == .vCLUB else { return }
    for (m, name) in model.names.enumerated() {
      let size = model.featureSizes[m]
      // Any branch may become the anchor; all features have one size.
      model.extra.append(ParameterShape(name: "q.\(name).A", shape: [size, size], fanIn: size))
      model.extra.append(ParameterShape(name: "q.\(name).c", shape: [size], fanIn: size))
      model.extra.append(ParameterShape(name: "q.\(name).s", shape: [size], fanIn: size))
      model.extraStart["q.\(name).s"] = 0
    }
  }

  /// The branch with the highest accuracy; among equals the one with the lowest entropy.
  static func chooseAnchor(accuracies: [Double], entropies: [Double]) -> Int {
    accuracies.indices.min {
      (-accuracies[$0], entropies[$0], $0) < (-accuracies[$1], entropies[$1], $1)
    } ?? 0
  }

  func epochEnd(_ epoch: Int, _ services: any TrainingServices) throws {
    guard anchor == nil, epoch + 1 >= options.soloEpochs else { return }
    let (model, labels) = (services.model, services.heldOutLabels)
    let parameters = Parameters(services.parameters.named)
    let logits = services.heldOutFeatures().enumerated().map {
      model.unimodalHead($0, of: $1, parameters)
    }
    let entropies = logits.map { logits in
      Double((-1 * (logits.softmax() * logits.logSoftmax()).rowSums().mean()).hostValues()[0])
    }
    let accuracies = logits.map { Classification.accuracy(Classification.predictions($0), labels) }
    anchor = Self.chooseAnchor(accuracies: accuracies, entropies: entropies)
  }

  func subStep(_ model: ClassicModel, at place: StepPlace) -> SubStep {
    guard let anchor else {
      var subStep = SubStep.joint(model.count)
      subStep.trains = { !$0.hasPrefix("q.") }
      return subStep
    }
    let name = model.names[anchor]
    return SubStep(
      participation: model.names.indices.map { $0 == anchor ? .observed : .trained },
      trains: { parameter in
        !["encoder.\(name).", "unihead.\(name).", "q.\(name)."].contains(where: parameter.hasPrefix)
      }, phase: "guided")
  }

  func losses(_ forward: Forward, _ context: StepContext) -> [LossTerm] {
    let model = context.model
    guard let anchor else {
      return model.names.enumerated().map { index, name in
        LossTerm(name: "ce_\(name)", value: forward.meanCrossEntropy(forward.unimodalHead(index)))
      }
    }
    let anchorFeature = forward.feature(anchor).detached
    let anchorLogits = forward.unimodalHead(anchor).detached
    var (terms, cosines, raw, smoothed): ([LossTerm], [Double], [Double], [Double]) = ([], [], [], [])
    var next = weights ?? Array(repeating: [], count: model.count)
    for (m, name) in model.names.enumerated() where m != anchor {
      let (logits, feature) = (forward.unimodalHead(m), forward.feature(m))
      context.note("u.\(name)", tensor: logits)
      let classification = forward.meanCrossEntropy(logits)
      let consistency = jensenShannonDivergence(anchorLogits, logits)
      let complementarity = complementarity(feature, anchorFeature, name, forward.parameters, context)
      let layer = model.lastLayerNames(m).map { forward.parameters[$0] }
      func gradient(_ loss: Tensor) -> [Tensor] {
        zip(context.tape.gradients(of: loss, for: layer), layer).map { $0 ?? Tensor(zeros: $1.shape) }
      }
      let own = gradient(classification)
      let found = [consistency, complementarity].map { cosine(own, gradient($0)) }
      let fresh = found.map { (1 + $0) / 2 }
      let old = next[m].isEmpty ? fresh : next[m]
      next[m] = zip(old, fresh).map {
        next[m].isEmpty ? $1 : options.smoothing * $0 + (1 - options.smoothing) * $1
      }
      cosines += found
      raw += fresh
      smoothed += next[m]
      terms.append(LossTerm(name: "ce_\(name)", value: classification))
      terms.append(LossTerm(name: "con_\(name)", value: consistency, weight: next[m][0]))
      terms.append(LossTerm(name: "cmp_\(name)", value: complementarity, weight: next[m][1]))
      if options.complementarity == .vCLUB {
        let likelihood = Self.logDensities(
          feature.detached, anchorFeature, name, forward.parameters, acrossPairs: false)
        terms.append(LossTerm(name: "nll_\(name)", value: -1 * likelihood.mean()))
      }
    }
    weights = next
    context.note("cosine", cosines)
    context.note("lambda_raw", raw)
    context.note("lambda", smoothed)
    return terms
  }

  /// L_cmp; its gradient reaches h_m alone.
  private func complementarity(
    _ feature: Tensor, _ anchor: Tensor, _ name: String, _ parameters: Parameters, _ context: StepContext
  ) -> Tensor {
    switch options.complementarity {
    case .vCLUB:
      let constant = parameters.detached
      let own = Self.logDensities(feature, anchor, name, constant, acrossPairs: false).mean()
      return own - Self.logDensities(feature, anchor, name, constant, acrossPairs: true).mean()
    case .correlation:
      let samples = Float(feature.rows)
      func standardized(_ tensor: Tensor) -> Tensor {
        let ones = Tensor(repeating: 1, shape: [tensor.rows])
        return tensor.transposed().layerNorm(weight: ones, bias: Tensor(zeros: [tensor.rows]), epsilon: 1e-5)
      }
      let correlation =
        (1 / samples) * standardized(feature).matmul(standardized(anchor), transposingOther: true)
      context.note("correlation.\(name)", tensor: correlation)
      return (correlation * correlation).total()
    }
  }

  /// log q(h_m,j | h_a,i) without its constant, of pairs i = j `[samples]` or of all pairs `[samples · samples]`.
  static func logDensities(
    _ feature: Tensor, _ anchor: Tensor, _ name: String, _ parameters: Parameters, acrossPairs: Bool
  ) -> Tensor {
    let mean = LinearWeight(parameters["q.\(name).A"]).forward(anchor, bias: parameters["q.\(name).c"])
    let logVariance = parameters["q.\(name).s"]
    let (rows, width) = (feature.rows, feature.columns)
    let difference =
      acrossPairs
      ? (feature.reshaped(to: [1, rows, width]) - mean.reshaped(to: [rows, 1, width]))
        .reshaped(to: [rows * rows, width]) : feature - mean
    let precision = (-1 * logVariance).exponential()
    return -0.5 * (difference * difference * precision + logVariance).rowSums()
  }

  func evaluationLogits(
    _ model: ClassicModel, _ features: [Tensor], present: [Bool], _ parameters: Parameters
  ) -> Tensor {
    let kept = features.indices.filter { present[$0] }
    return UnimodalEnsemble.meanProbabilities(
      model, features, kept.isEmpty ? Array(features.indices) : kept, parameters)
  }

  func evaluationUnimodal(
    _ model: ClassicModel, _ features: [Tensor], _ index: Int, _ parameters: Parameters
  ) -> Tensor { model.unimodalHead(index, of: features[index], parameters) }

  func fitStart(_ model: ClassicModel, _ parameters: ParameterSet, samples: Int) { stateCount = model.count }
  private var stateCount = 0

  var state: [(name: String, value: Tensor)] {
    get {
      // −1 stands for what is not there yet.
      let numbers = (0..<stateCount).flatMap { m -> [Double] in
        let pair = weights.map { $0[m] } ?? []
        return pair.isEmpty ? [-1, -1] : pair
      }
      return [("numbers", ExactNumbers.tensor([Double(anchor ?? -1)] + numbers))]
    }
    set {
      guard let value = newValue.first?.value else { return }
      let numbers = ExactNumbers.values(value)
      anchor = numbers[0] < 0 ? nil : Int(numbers[0])
      let pairs = stride(from: 1, to: numbers.count - 1, by: 2).map { [numbers[$0], numbers[$0 + 1]] }
      weights = pairs.allSatisfy { $0[0] < 0 } ? nil : pairs.map { $0[0] < 0 ? [] : $0 }
    }
  }
}
