import Foundation
import TensorCore

/// Adaptive unimodal regulation: while an encoder learns fast and is ahead, it is held near where the epoch began.
///
///     Tr_m^t = mean over the batches of epoch t of |∇_θm L|²
///     m is in its window in epoch t ≥ 2 if (Tr^{t−1} − Tr^{t−2}) / Tr^{t−1} > K
///     s_m = mean_i log softmax(u_m,i)[y_i],   D_m = mean over {j: s_j < s_m} of (s_m − s_j), 0 if there is none
///     in the window and D_m > 0:  gradient of encoder m ← g + e^(β tanh D_m) (θ_m − θ_m at the end of the last epoch)
///
/// Source: Huang et al., "Adaptive Unimodal Regulation for Balanced Multimodal Information Acquisition", CVPR 2025,
/// arXiv:2503.18595, equations 5 to 11.
///
/// Departs from the paper as printed, where equation 8 is a loss but is compared as if larger were better: here the score
/// is the mean log-probability. The authors' code has other window tests and strengths.
final class InfoReg: ImbalanceMethod {
  static let id = "inforeg"
  static let name = "InfoReg"
  static let stage = MethodStage.optimization
  static let hooks: Set<MethodHook> = [.afterBackward]
  static let source = "Huang et al., CVPR 2025, arXiv:2503.18595"

  struct Options {
    /// β, at least 0.
    var beta = 0.9
    /// K.
    var threshold = 0.04
  }

  let options: Options
  private var snapshot: [(name: String, value: Tensor)] = []
  /// Sums over the batches of this epoch, then their number.
  private var sums: [Double] = []
  private var batchCount = 0
  /// Tr of the last two epochs; nothing before they have been.
  private(set) var traces: [[Double]] = []
  /// Whether each modality is in its window in this epoch.
  private(set) var isOpen: [Bool] = []

  init(_ options: Options = Options()) { self.options = options }

  var updateRefusal: String? { "InfoReg adds to gradients, it has no coefficient of them" }

  func fitStart(_ model: ClassicModel, _ parameters: ParameterSet, samples: Int) {
    takeSnapshot(model, parameters)
    sums = Array(repeating: 0, count: model.count)
    isOpen = Array(repeating: false, count: model.count)
  }

  private func takeSnapshot(_ model: ClassicModel, _ parameters: ParameterSet) {
    snapshot = model.names.indices.flatMap(model.encoderNames).compactMap { name in
      parameters[name].map { (name, 1 * $0) }
    }
  }

  func afterBackward(_ gradients: inout StepGradients, _ forward: Forward, _ context: StepContext) {
    let model = context.model
    let squares = model.names.indices.map { index in
      let parts = model.encoderNames(index).compactMap { gradients.all[$0] }
      return innerProduct(parts, parts)
    }
    sums = zip(sums, squares).map(+)
    batchCount += 1
    let scores = forward.detachedUnimodal().map { logits in
      -logits.crossEntropy(labels: forward.labels).doubleValues.reduce(0, +) / Double(forward.labels.count)
    }
    let gaps = Self.gaps(scores)
    let strengths = gaps.indices.map { isOpen[$0] && gaps[$0] > 0 ? exp(options.beta * tanh(gaps[$0])) : 0 }
    context.note("score", scores)
    context.note("gap", gaps)
    context.note("strength", strengths)
    context.note("grad_sq", squares)
    for (name, start) in snapshot {
      guard let index = model.encoderIndex(of: name), strengths[index] > 0,
        let gradient = gradients.all[name]
      else { continue }
      let moved = forward.parameters[name].detached - start
      gradients.all[name] = gradient + Float(strengths[index]) * moved
    }
  }

  /// D_m.
  static func gaps(_ scores: [Double]) -> [Double] {
    scores.map { score in
      let behind = scores.filter { $0 < score }
      return behind.isEmpty ? 0 : behind.reduce(0.0) { $0 + score - $1 } / Double(behind.count)
    }
  }

  func epochEnd(_ epoch: Int, _ services: any TrainingServices) throws {
    finishEpoch(services.model, services.parameters)
  }

  /// Takes the mean of the epoch's gradients and decides who is in the window of the next.
  func finishEpoch(_ model: ClassicModel, _ parameters: ParameterSet) {
    let trace = sums.map { $0 / Double(max(1, batchCount)) }
    traces = Array((traces + [trace]).suffix(2))
    (sums, batchCount) = (sums.map { _ in 0 }, 0)
    if traces.count == 2 {
      isOpen = trace.indices.map { m in
        traces[1][m] > 0 && (traces[1][m] - traces[0][m]) / traces[1][m] > options.threshold
      }
    }
    takeSnapshot(model, parameters)
  }

  var state: [(name: String, value: Tensor)] {
    get {
      let empty = sums.map { _ in 0.0 }
      let padded = Array((traces + [empty, empty]).prefix(2))
      let numbers =
        sums + padded.flatMap { $0 } + isOpen.map { $0 ? 1 : 0 } + [Double(batchCount), Double(traces.count)]
      return [("numbers", ExactNumbers.tensor(numbers))]
        + snapshot.map { ("snapshot." + $0.name, $0.value) }
    }
    set {
      guard let value = newValue.first?.value else { return }
      let numbers = ExactNumbers.values(value)
      let count = (numbers.count - 2) / 4
      func part(_ index: Int) -> [Double] { Array(numbers[index * count..<(index + 1) * count]) }
      (sums, batchCount) = (part(0), Int(numbers[4 * count]))
      traces = Array([part(1), part(2)].prefix(Int(numbers[4 * count + 1])))
      isOpen = part(3).map { $0 > 0 }
      snapshot = newValue.dropFirst().map { (String($0.name.dropFirst("snapshot.".count)), $0.value) }
    }
  }
}
