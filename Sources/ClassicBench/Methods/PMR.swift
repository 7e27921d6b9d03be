import Foundation
import TensorCore

/// Prototypical modal rebalance: the slower modality is pulled towards the mean features of its classes.
///
///     c_m,k = mean feature of class k over a part of the training set, detached; after epoch 0
///             c ← μ_old c_old + (1 − μ_old) c_new; a class without samples keeps its prototype
///     π_m,i = softmax_k(−√(|h_m,i − c_m,k|² + 1e-12)),   S_m = Σ_i π_m,i[y_i],   PCE_m = mean_i −log π_m,i[y_i]
///     S* = max S, of modality m*;   a_m = clip(S* / S_m − 1, 0, 1), a_m* = 0
///     L = CE(z, y) + α Σ_m a_m PCE_m − [epoch < E] μ (max_m a_m) mean_i H(π_m*,i)
///
/// Source: Fan et al., "PMR: Prototypical Modal Rebalance for Multimodal Learning", CVPR 2023, arXiv:2211.07089, equations
/// 5 to 12, which are for two modalities; for more, each is compared with the best.
///
/// Departs from the authors' code, which has no entropy term and coefficients of 0 and 1; `compat` takes these.
final class PMR: ImbalanceMethod {
  static let id = "pmr"
  static let name = "PMR"
  static let stage = MethodStage.optimization
  static let hooks: Set<MethodHook> = [.losses]
  static let source = "Fan et al., CVPR 2023, arXiv:2211.07089"

  struct Options {
    /// α, at least 0.
    var alpha = 1.0
    /// μ, at least 0.
    var entropyWeight = 0.01
    /// E.
    var entropyEpochs = 1
    /// μ_old, in 0..<1.
    var oldShare = 0.2
    /// The share of the training set that prototypes are means of.
    var subsetShare = 0.1
    /// Whether coefficients are those of the authors' code.
    var compat = false
  }

  let options: Options
  /// c_m, `[classes, d_m]` for each modality; empty before the first epoch.
  private(set) var prototypes: [Tensor] = []

  init(_ options: Options = Options()) { self.options = options }

  func fitStart(_ model: ClassicModel, _ parameters: ParameterSet, samples: Int) {
    if prototypes.isEmpty {
      prototypes = model.featureSizes.map { Tensor(zeros: [model.classCount, $0]) }
    }
  }

  func epochStart(_ epoch: Int, _ services: any TrainingServices) throws {
    let labels = services.trainingLabels
    var byClass: [Int: [Int]] = [:]
    let order = KeyedRandom(seed: services.seed, place: StepPlace(epoch: epoch))
      .order(of: labels.count, for: "pmr subset")
    for index in order { byClass[labels[index], default: []].append(index) }
    // The same share of every class, at least one sample of it.
    var chosen: [Int] = []
    for label in byClass.keys.sorted() {
      let members = byClass[label] ?? []
      chosen += members.prefix(max(1, Int((Double(members.count) * options.subsetShare).rounded())))
    }
    update(services.trainingFeatures(chosen), chosen.map { labels[$0] }, isFirst: epoch == 0)
  }

  /// Takes class means of new features into the prototypes.
  ///
  /// - Parameter features: `[samples, d_m]` for each modality, without a tape.
  func update(_ features: [Tensor], _ labels: [Int], isFirst: Bool) {
    let old = prototypes
    prototypes = features.indices.map { m in
      var rows = old[m].hostRows().map { $0.map(Double.init) }
      var sums = rows.map { $0.map { _ in 0.0 } }
      var counts = [Int](repeating: 0, count: rows.count)
      for (row, label) in zip(features[m].hostRows(), labels) {
        counts[label] += 1
        for index in row.indices { sums[label][index] += Double(row[index]) }
      }
      for label in rows.indices where counts[label] > 0 {
        let share = isFirst ? 0 : options.oldShare
        for index in rows[label].indices {
          let mean = sums[label][index] / Double(counts[label])
          rows[label][index] = share * rows[label][index] + (1 - share) * mean
        }
      }
      return Tensor(rows.flatMap { $0.map { Float($0) } }, shape: old[m].shape)
    }
  }

  /// −d_m,i,k, the logits of the prototype posterior, `[samples, classes]`.
  static func negativeDistances(_ feature: Tensor, _ prototypes: Tensor) -> Tensor {
    let (samples, classes, width) = (feature.rows, prototypes.rows, feature.columns)
    let difference =
      feature.reshaped(to: [samples, 1, width]) - prototypes.reshaped(to: [1, classes, width])
    let rows = difference.reshaped(to: [samples * classes, width])
    // |v| = ⟨v, v / |v|⟩ keeps both the value and the gradient finite at 0.
    return -1 * (rows * rows.rowsNormalized()).rowSums().reshaped(to: [samples, classes])
  }

  /// a_m.
  func coefficients(_ scores: [Double]) -> [Double] {
    let best = scores.max() ?? 0
    let bestIndex = scores.firstIndex(of: best)
    return scores.indices.map { m in
      if m == bestIndex { return 0 }
      let lead = best / max(scores[m], DiscrepancyRatio.floor) - 1
      return options.compat ? (lead > 0 ? 1 : 0) : min(1, max(0, lead))
    }
  }

  func losses(_ forward: Forward, _ context: StepContext) -> [LossTerm] {
    let (model, labels) = (context.model, forward.labels)
    let logits = model.names.indices.map { Self.negativeDistances(forward.feature($0), prototypes[$0]) }
    let scores = DiscrepancyRatio.scores(logits.map(\.detached), labels)
    let coefficients = coefficients(scores)
    let entropies = logits.map { -1 * ($0.softmax() * $0.logSoftmax()).rowSums().mean() }
    for (index, name) in model.names.enumerated() {
      context.note("posterior.\(name)", tensor: logits[index].softmax())
    }
    context.note("score", scores)
    context.note("coefficient", coefficients)
    context.note("entropy", entropies.map { Double($0.hostValues()[0]) })
    var terms = [LossTerm(name: "multi", value: forward.meanCrossEntropy(forward.fused))]
    for (index, name) in model.names.enumerated() {
      terms.append(
        LossTerm(
          name: "pce_\(name)", value: forward.meanCrossEntropy(logits[index]),
          weight: options.alpha * coefficients[index]))
    }
    if context.place.epoch < options.entropyEpochs && !options.compat,
      let best = scores.indices.max(by: { scores[$0] < scores[$1] })
    {
      let weight = -options.entropyWeight * (coefficients.max() ?? 0)
      terms.append(LossTerm(name: "entropy", value: entropies[best], weight: weight))
    }
    return terms
  }

  var state: [(name: String, value: Tensor)] {
    get { prototypes.enumerated().map { ("prototypes.\($0)", $1) } }
    set { prototypes = newValue.map(\.value) }
  }
}
