import Foundation
import TensorCore

/// Alternating adaptation: modalities take turns on a shared head, whose steps are kept off what the others rely on.
///
/// For each batch and each modality in turn, L = CE(W h_m + b, y); encoder m, W and b move, and
///
///     gradient of W ← ∂L/∂W · P
///     then, with h̄ the batch mean of h_m:  k = P h̄,  P ← P − k kᵀ / (α + h̄ᵀ k),  α = 0.1^(1 + batch / batches)
///
/// P starts as the identity. In evaluation modalities are weighted by how sure they are of a sample, e_m,i the entropy of
/// softmax(u_m,i):
///
///     z_i = Σ_m w_m,i u_m,i,   w = softmax over m of −e
///
/// Source: Zhang et al., "Multimodal Representation Learning by Alternating Unimodal Adaptation", CVPR 2024,
/// arXiv:2311.10707, equations 5 to 9.
///
/// Departs from the authors' code, in which the projection never acts (it looks for a parameter of another name), its
/// denominator is a matrix, and the entropy is over the samples of the batch.
final class MLA: ImbalanceMethod {
  static let id = "mla"
  static let name = "MLA"
  static let stage = MethodStage.forward
  static let hooks: Set<MethodHook> = [.head, .turns, .subStep, .losses, .afterBackward, .evaluation]
  static let source = "Zhang et al., CVPR 2024, arXiv:2311.10707"

  /// When P becomes the identity again.
  enum Reset: String, CaseIterable {
    case never, epoch
  }

  struct Options {
    var reset = Reset.epoch
  }

  let options: Options
  /// P, row by row.
  private(set) var projection: [[Double]] = []

  init(_ options: Options = Options()) { self.options = options }

  func build(_ model: inout ClassicModel) { model.head = .shared }

  func fitStart(_ model: ClassicModel, _ parameters: ParameterSet, samples: Int) {
    if projection.isEmpty { projection = Self.identity(model.featureSizes[0]) }
  }

  private static func identity(_ size: Int) -> [[Double]] {
    (0..<size).map { row in (0..<size).map { $0 == row ? 1 : 0 } }
  }

  func epochStart(_ epoch: Int, _ services: any TrainingServices) throws {
    if options.reset == .epoch { projection = Self.identity(services.model.featureSizes[0]) }
  }

  var accumulationRefusal: String? { "MLA takes a step for each modality on every batch" }
  var updateRefusal: String? { "MLA projects a gradient, it has no coefficient of it" }

  func stepsPerBatch(_ model: ClassicModel) -> Int { model.count }

  func cost(modalities: Int) -> MethodCost {
    MethodCost(forward: 1 / Double(modalities), backward: 2 / Double(modalities))
  }

  func subStep(_ model: ClassicModel, at place: StepPlace) -> SubStep {
    let prefix = "encoder.\(model.names[place.part])."
    return SubStep(
      participation: model.names.indices.map { $0 == place.part ? .trained : .absent },
      trains: { $0.hasPrefix(prefix) || $0.hasPrefix("shared.") }, phase: model.names[place.part])
  }

  private func alpha(_ place: StepPlace) -> Double {
    pow(0.1, 1 + Double(place.batch) / Double(place.batchesPerEpoch))
  }

  func losses(_ forward: Forward, _ context: StepContext) -> [LossTerm] {
    let part = context.place.part
    if projection.isEmpty { projection = Self.identity(forward.feature(part).columns) }
    let logits = LinearWeight(forward.parameters["shared.weight"]).forward(
      forward.feature(part), bias: forward.parameters["shared.bias"])
    context.note("logits", tensor: logits)
    return [LossTerm(name: "total", value: forward.meanCrossEntropy(logits))]
  }

  func afterBackward(_ gradients: inout StepGradients, _ forward: Forward, _ context: StepContext) {
    let size = projection.count
    let matrix = Tensor(projection.flatMap { $0.map { Float($0) } }, shape: [size, size])
    if let gradient = gradients.all["shared.weight"] {
      gradients.all["shared.weight"] = gradient.matmul(matrix)
    }
    let rows = forward.feature(context.place.part).detached.hostRows()
    let mean = (0..<size).map { column in
      rows.reduce(0.0) { $0 + Double($1[column]) } / Double(rows.count)
    }
    let k = projection.map { row in zip(row, mean).reduce(0.0) { $0 + $1.0 * $1.1 } }
    let alpha = alpha(context.place)
    let denominator = alpha + zip(mean, k).reduce(0.0) { $0 + $1.0 * $1.1 }
    for row in 0..<size {
      for column in 0..<size { projection[row][column] -= k[row] * k[column] / denominator }
    }
    context.note("alpha", [alpha])
    context.note("hbar", mean)
    context.note("P_after", projection.flatMap { $0 })
  }

  /// w_m,i and e_m,i, `[sample][modality]`.
  static func gates(_ logits: [Tensor]) -> (weights: [[Double]], entropies: [[Double]]) {
    let columns = logits.map { logits -> [Double] in
      (-1 * (logits.softmax() * logits.logSoftmax()).rowSums()).doubleValues
    }
    let entropies = columns[0].indices.map { i in columns.map { $0[i] } }
    let weights = entropies.map { row -> [Double] in
      let least = row.min() ?? 0
      let parts = row.map { exp(least - $0) }
      let sum = parts.reduce(0, +)
      return parts.map { $0 / sum }
    }
    return (weights, entropies)
  }

  func evaluationLogits(
    _ model: ClassicModel, _ features: [Tensor], present: [Bool], _ parameters: Parameters
  ) -> Tensor {
    let logits = features.indices.filter { present[$0] }.map {
      model.head.unimodal($0, features, model.names, parameters)
    }
    guard let first = logits.first else { return Tensor(zeros: [features[0].rows, model.classCount]) }
    let weights = Self.gates(logits).weights
    return logits.indices.dropFirst().reduce(first * Tensor(column: weights.map { $0[0] })) { sum, m in
      sum + logits[m] * Tensor(column: weights.map { $0[m] })
    }
  }

  var state: [(name: String, value: Tensor)] {
    get { [("projection", ExactNumbers.tensor(projection.flatMap { $0 }))] }
    set {
      guard let value = newValue.first?.value else { return }
      let numbers = ExactNumbers.values(value)
      let size = Int(Double(numbers.count).squareRoot().rounded())
      projection = (0..<size).map { Array(numbers[$0 * size..<($0 + 1) * size]) }
    }
  }
}
