import Foundation
import TensorCore

/// Modality valuation: samples to which a modality contributes little are seen again with that modality alone.
///
/// The profit of a set A of modalities for sample i is v_i(A) = |A| if the prediction from A is right, else 0, with
/// features outside A set to 0. With φ_m,i the Shapley values of v_i,
///
///     sample level: 0 copies of (i, only m) for φ ≥ 1, 1 for 0.4 < φ < 1, 2 for −0.1 < φ ≤ 0.4, 3 below
///     modality level: gap_m = 1 − mean φ_m over a part of the samples; for every m with gap_m > min gap, ρ_m N draws
///       with replacement are seen with only m,   ρ_m = f(gap_m − min gap)
///     f(d) = ⅔ α d, or tanh of that, or α (⅔ d)^1.5
///
/// Arithmetic on φ is exact: whole multiples of 1 / lcm.
///
/// Source: Wei et al., "Enhancing Multimodal Cooperation via Sample-level Modality Valuation", CVPR 2024,
/// arXiv:2309.06255, equations 2 to 8; the numbers of copies are the authors' code.
///
/// Departs from the papers in that an epoch has as many steps as for every other method: the items that are seen again and
/// the plain ones are mixed, and the epoch ends when its steps are done. Departs from the benchmark's code, which keeps the
/// values of the first batch for all others, gives every subset the profit 1, and sets inputs to 0 in place of features.
final class ModalityValuation: ImbalanceMethod {
  static let id = "modality-valuation"
  static let name = "Modality-valuation"
  static let stage = MethodStage.data
  static let source = "Wei et al., CVPR 2024, arXiv:2309.06255"

  /// Whether each sample decides for itself.
  enum Level: String, CaseIterable {
    case sample, modality
  }

  /// f.
  enum Fraction: String, CaseIterable {
    case linear, tanh, square
  }

  struct Options {
    var level = Level.modality
    var fraction = Fraction.linear
    /// α, at least 0.
    var alpha = 1.0
    /// The share of samples that gaps are means over.
    var subsetShare = 0.2
    /// Epochs of plain training at the beginning.
    var warmupEpochs = 5
  }

  let options: Options
  /// How often each training sample is seen again with each modality alone, `[sample][modality]`.
  private var counts: [[Int]] = []

  init(_ options: Options = Options()) { self.options = options }

  func refusal(of model: ClassicModel) -> String? {
    // Exact arithmetic with M! and the 2^M subsets of every sample.
    model.count <= 8
      ? nil : "Modality-valuation enumerates subsets: at most 8 modalities, found \(model.count)"
  }

  func fitStart(_ model: ClassicModel, _ parameters: ParameterSet, samples: Int) {
    counts = Array(repeating: Array(repeating: 0, count: model.count), count: samples)
  }

  func extraItems(_ epoch: Int) -> [ExtraItem] { Self.items(counts) }

  /// Items in the order of samples and modalities.
  static func items(_ counts: [[Int]]) -> [ExtraItem] {
    counts.enumerated().flatMap { sample, row in
      row.enumerated().flatMap { m, count in
        Array(repeating: ExtraItem(sample: sample, keep: row.indices.map { $0 == m }), count: count)
      }
    }
  }

  func epochStart(_ epoch: Int, _ services: any TrainingServices) throws {
    guard epoch >= options.warmupEpochs else { return }
    let (model, labels) = (services.model, services.trainingLabels)
    let all = Array(labels.indices)
    let random = KeyedRandom(seed: services.seed, place: StepPlace(epoch: epoch))
    func values(_ samples: [Int]) -> [[Int]] {
      let parameters = Parameters(services.parameters.named)
      let features = services.trainingFeatures(samples)
      let correct = SubsetScores(model, features, samples.map { labels[$0] }, parameters) { m, f, _, p in
        m.head.fused(f, m.names, p)
      }.correct
      return correct.map { Self.values(correct: $0, count: model.count) }
    }
    switch options.level {
    case .sample:
      let common = Self.denominator(model.count)
      counts = values(all).map { $0.map { Self.copies($0, denominator: common) } }
    case .modality:
      let part = max(1, Int(Double(all.count) * options.subsetShare))
      let gaps = Self.gaps(values(Array(random.order(of: all.count, for: "valuation subset").prefix(part))))
      counts = counts.map { $0.map { _ in 0 } }
      for (m, share) in fractions(gaps).enumerated() {
        let draws = random.uniforms(Int(share * Double(all.count)), for: "valuation draws \(m)")
        for draw in draws { counts[min(all.count - 1, Int(Double(draw) * Double(all.count)))][m] += 1 }
      }
    }
  }

  /// The least common multiple of the denominators of Shapley weights: 1, 2, 6, 12, 60, …
  static func denominator(_ count: Int) -> Int {
    func divisor(_ a: Int, _ b: Int) -> Int { b == 0 ? a : divisor(b, a % b) }
    return weights(count).reduce(1) { $0 / divisor($0, $1) * $1 }
  }

  /// M! / (|T|! (M − |T| − 1)!), the denominators of the weights of sets of each size.
  private static func weights(_ count: Int) -> [Int] {
    func factorial(_ n: Int) -> Int { (1...max(1, n)).reduce(1, *) }
    return (0..<count).map { factorial(count) / (factorial($0) * factorial(count - $0 - 1)) }
  }

  /// φ_m of one sample in multiples of 1 / denominator, from whether each subset is right; bit m of a subset's number
  /// says that m is in it.
  static func values(correct: [Bool], count: Int) -> [Int] {
    let (common, weights) = (denominator(count), weights(count))
    func profit(_ subset: Int) -> Int { subset > 0 && correct[subset] ? subset.nonzeroBitCount : 0 }
    return (0..<count).map { m in
      (0..<1 << count).filter { $0 & 1 << m == 0 }.reduce(0) { sum, subset in
        sum + common / weights[subset.nonzeroBitCount] * (profit(subset | 1 << m) - profit(subset))
      }
    }
  }

  /// How often a sample is seen again with one modality, of φ · denominator.
  static func copies(_ value: Int, denominator: Int) -> Int {
    let tenfold = 10 * value
    if tenfold >= 10 * denominator { return 0 }
    if tenfold > 4 * denominator { return 1 }
    return tenfold > -denominator ? 2 : 3
  }

  /// Copies of all samples, in the order of samples and modalities.
  static func sampleItems(_ values: [[Int]], count: Int) -> [ExtraItem] {
    let common = denominator(count)
    return items(values.map { $0.map { copies($0, denominator: common) } })
  }

  /// gap_m.
  static func gaps(_ values: [[Int]]) -> [Double] {
    let count = values.first?.count ?? 0
    let common = Double(denominator(count))
    return (0..<count).map { m in
      1 - values.reduce(0.0) { $0 + Double($1[m]) / common } / Double(values.count)
    }
  }

  /// ρ_m; 0 for the modality with the smallest gap.
  func fractions(_ gaps: [Double]) -> [Double] {
    let least = gaps.min() ?? 0
    return gaps.map { gap in
      let distance = 2.0 / 3 * (gap - least)
      switch options.fraction {
      case .linear: return options.alpha * distance
      case .tanh: return Foundation.tanh(options.alpha * distance)
      case .square: return options.alpha * pow(distance, 1.5)
      }
    }
  }

  var state: [(name: String, value: Tensor)] {
    get {
      let width = counts.first?.count ?? 0
      return [("counts", Tensor(counts.flatMap { $0.map { Float($0) } }, shape: [counts.count, width]))]
    }
    set { if let value = newValue.first?.value { counts = value.hostRows().map { $0.map { Int($0) } } } }
  }
}
