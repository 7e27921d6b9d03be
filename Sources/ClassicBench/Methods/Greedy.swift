import Foundation
import TensorCore

/// Conditional learning speed: the branch that leans on what crosses over from the others has to do without for a while.
///
/// A gate (MMTM) sits on the features of all branches, each of which has its own classifier:
///
///     S_m = mean of A_m over positions,  t = ReLU(V [S_1 … S_M] + v),  E_m = σ(U_m t + c_m),  r_m = classifier_m(mean of A_m ⊙ E_m)
///     L = Σ_m CE(r_m, y);   prediction = mean_m r_m
///
/// After each regular step, with μ(group) = Σ g² / Σ w²,
///
///     A_m += μ({V, U_m}),   B_m += μ(encoder m and its classifier),   s_m = log₁₀(A_m / B_m)
///
/// and if max s − min s > α, the next Q steps care for the modality with the largest s: its E is replaced by the running
/// mean of its own earlier batch means, a constant, and nothing is added to A and B.
///
/// Source: Wu et al., "Characterizing and Overcoming the Greedy Nature of Learning in Multi-modal Deep Neural Networks",
/// ICML 2022, arXiv:2202.05306, section 4 and algorithm 1, which are for two modalities; the gate is that of Joze et al.,
/// CVPR 2020, arXiv:1911.08670.
///
/// Departs from the authors' code: the running mean is of the branch's own gate, takes in a batch only after it was used,
/// and only in training.
final class Greedy: ImbalanceMethod {
  static let id = "greedy"
  static let name = "Greedy"
  static let stage = MethodStage.forward
  static let hooks: Set<MethodHook> = [.branches, .losses, .afterBackward, .evaluation]
  static let source = "Wu et al., ICML 2022, arXiv:2202.05306"

  struct Options {
    /// α, at least 0.
    var threshold = 0.01
    /// Q.
    var window = 5
    /// The gate has 2 Σ c_m / ratio hidden units.
    var ratio = 4
    /// Regular steps before the first window.
    var regularSteps = 3
  }

  let options: Options
  private var bypass: [Double] = []
  private var main: [Double] = []
  private var caring: Int?
  private var remaining = 0
  private var regularCount = 0
  private var meanCount = 0
  /// Means of E_m over earlier batches, `[c_m]` for each modality, in Float64.
  private(set) var means: [[Double]] = []

  init(_ options: Options = Options()) { self.options = options }

  func build(_ model: inout ClassicModel) {
    (model.hasHead, model.hasUnimodalHeads) = (false, true)
    let total = model.featureSizes.reduce(0, +)
    let width = max(1, 2 * total / options.ratio)
    model.extra.append(ParameterShape(name: "mmtm.squeeze.weight", shape: [width, total], fanIn: total))
    model.extra.append(ParameterShape(name: "mmtm.squeeze.bias", shape: [width], fanIn: total))
    for (name, size) in zip(model.names, model.featureSizes) {
      model.extra.append(
        ParameterShape(name: "mmtm.excite.\(name).weight", shape: [size, width], fanIn: width))
      model.extra.append(ParameterShape(name: "mmtm.excite.\(name).bias", shape: [size], fanIn: width))
    }
  }

  var accumulationRefusal: String? {
    "Greedy changes what a branch sees from step to step, so that parts of one step would differ"
  }

  func fitStart(_ model: ClassicModel, _ parameters: ParameterSet, samples: Int) {
    guard means.isEmpty else { return }
    bypass = Array(repeating: 0, count: model.count)
    main = bypass
    means = model.featureSizes.map { Array(repeating: 0, count: $0) }
  }

  /// Natural gates E_m, `[samples, c_m]`.
  private static func excitations(
    _ model: ClassicModel, _ features: [Tensor], _ parameters: Parameters
  ) -> [Tensor] {
    let squeezed = Tensor.concatenatedColumns(features.indices.map { pooled(features[$0], model, $0) })
    let hidden = LinearWeight(parameters["mmtm.squeeze.weight"])
      .forward(squeezed, bias: parameters["mmtm.squeeze.bias"]).relu()
    return model.names.map { name in
      LinearWeight(parameters["mmtm.excite.\(name).weight"])
        .forward(hidden, bias: parameters["mmtm.excite.\(name).bias"]).logistic()
    }
  }

  /// The mean over positions, `[samples, c_m]`.
  private static func pooled(_ feature: Tensor, _ model: ClassicModel, _ index: Int) -> Tensor {
    let positions = model.encoders[index].positions
    if positions == 1 { return feature }
    let (samples, width) = (feature.rows / positions, feature.columns)
    return feature.reshaped(to: [samples, positions, 1, width]).globalAveragePooled()
  }

  /// A_m ⊙ E_m, of the shape of A_m.
  private static func gated(_ feature: Tensor, _ gate: Tensor, _ model: ClassicModel, _ index: Int) -> Tensor
  {
    let positions = model.encoders[index].positions
    let (samples, width) = (feature.rows / positions, feature.columns)
    let product =
      feature.reshaped(to: [samples, positions, width]) * gate.reshaped(to: [gate.rows, 1, width])
    return product.reshaped(to: feature.shape)
  }

  func losses(_ forward: Forward, _ context: StepContext) -> [LossTerm] {
    let model = context.model
    let natural = Self.excitations(model, forward.allFeatures, forward.parameters)
    latest = natural.map { gate in
      let rows = gate.detached.hostRows()
      return (0..<gate.columns).map { column in
        rows.reduce(0.0) { $0 + Double($1[column]) } / Double(rows.count)
      }
    }
    context.note("caring", [Double(caring ?? -1)])
    var terms: [LossTerm] = []
    for (index, name) in model.names.enumerated() {
      context.note("excitation.\(name)", tensor: natural[index])
      var gate = natural[index]
      if meanCount > 0 { context.note("running_mean.\(name)", tensor: mean(index)) }
      if caring == index {
        gate = mean(index)
        context.note("used_excitation.\(name)", tensor: gate)
      }
      let map = Self.gated(forward.feature(index), gate, model, index)
      context.note("gated.\(name)", tensor: map)
      let logits = model.unimodalHead(index, of: Self.pooled(map, model, index), forward.parameters)
      context.note("logits.\(name)", tensor: logits)
      terms.append(LossTerm(name: name, value: forward.meanCrossEntropy(logits)))
    }
    return terms
  }

  private var latest: [[Double]] = []
  private func mean(_ index: Int) -> Tensor {
    Tensor(means[index].map { Float($0) }, shape: [1, means[index].count])
  }

  /// Σ g² / Σ w² of some parameters.
  private static func speed(
    _ names: [String], _ gradients: [String: Tensor], _ parameters: Parameters
  ) -> Double {
    let moved = names.filter { gradients[$0] != nil }
    let slopes = moved.compactMap { gradients[$0] }
    let values = names.map { parameters[$0].detached }
    return innerProduct(slopes, slopes) / max(innerProduct(values, values), .leastNormalMagnitude)
  }

  func afterBackward(_ gradients: inout StepGradients, _ forward: Forward, _ context: StepContext) {
    let model = context.model
    if caring == nil {
      for (index, name) in model.names.enumerated() {
        let gate = [
          "mmtm.squeeze.weight", "mmtm.squeeze.bias", "mmtm.excite.\(name).weight",
          "mmtm.excite.\(name).bias",
        ]
        bypass[index] += Self.speed(gate, gradients.all, forward.parameters)
        let own = model.encoderNames(index) + ["unihead.\(name).weight", "unihead.\(name).bias"]
        main[index] += Self.speed(own, gradients.all, forward.parameters)
      }
    }
    context.note("A", bypass)
    context.note("B", main)
    context.note("speed", speeds)
  }

  /// s_m.
  private var speeds: [Double] {
    zip(bypass, main).map { log10(max($0, .leastNormalMagnitude) / max($1, .leastNormalMagnitude)) }
  }

  func afterStep(_ forward: Forward, _ context: StepContext) {
    let count = Double(meanCount)
    means = zip(means, latest).map { zip($0, $1).map { ($0 * count + $1) / (count + 1) } }
    meanCount += 1
    if caring != nil {
      remaining -= 1
      if remaining == 0 { caring = nil }
      return
    }
    regularCount += 1
    let speeds = speeds
    guard regularCount >= options.regularSteps, let largest = speeds.max(), let least = speeds.min(),
      largest - least > options.threshold
    else { return }
    (caring, remaining) = (speeds.firstIndex(of: largest), options.window)
  }

  func evaluationLogits(
    _ model: ClassicModel, _ features: [Tensor], present: [Bool], _ parameters: Parameters
  ) -> Tensor {
    let gates = Self.excitations(model, features, parameters)
    let kept = features.indices.filter { present[$0] }
    let parts = (kept.isEmpty ? Array(features.indices) : kept).map { index in
      let map = Self.gated(features[index], gates[index], model, index)
      return model.unimodalHead(index, of: Self.pooled(map, model, index), parameters)
    }
    return (1 / Float(parts.count)) * parts.dropFirst().reduce(parts[0]) { $0 + $1 }
  }

  func evaluationUnimodal(
    _ model: ClassicModel, _ features: [Tensor], _ index: Int, _ parameters: Parameters
  ) -> Tensor {
    let alone = features.indices.map { $0 == index ? features[$0] : Tensor(zeros: features[$0].shape) }
    return evaluationLogits(model, alone, present: features.indices.map { $0 == index }, parameters)
  }

  var state: [(name: String, value: Tensor)] {
    get {
      let numbers =
        bypass + main + [Double(caring ?? -1), Double(remaining), Double(regularCount), Double(meanCount)]
      return [
        ("numbers", ExactNumbers.tensor(numbers)), ("means", ExactNumbers.tensor(means.flatMap { $0 })),
      ]
    }
    set {
      guard newValue.count == 2 else { return }
      let numbers = ExactNumbers.values(newValue[0].value)
      let count = (numbers.count - 4) / 2
      (bypass, main) = (Array(numbers[..<count]), Array(numbers[count..<2 * count]))
      caring = numbers[2 * count] < 0 ? nil : Int(numbers[2 * count])
      remaining = Int(numbers[2 * count + 1])
      (regularCount, meanCount) = (Int(numbers[2 * count + 2]), Int(numbers[2 * count + 3]))
      var flat = ExactNumbers.values(newValue[1].value)[...]
      means = means.map { row in
        defer { flat = flat.dropFirst(row.count) }
        return Array(flat.prefix(row.count))
      }
    }
  }
}
