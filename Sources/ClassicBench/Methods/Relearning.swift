import Foundation
import TensorCore

/// Diagnosing and re-learning: encoders that memorise go part of the way back to where they started.
///
/// Every E epochs, at most R times: features of the training set and of held-out samples, each coordinate scaled to
/// [−1, 1] by its own extremes in that set (a constant one becomes −1), are clustered by k-means with K = C; then
///
///     P = 1/n Σ_clusters largest class count,   gap_m = |P_train − P_held|,   w_m = tanh(λ gap_m)
///     θ_m ← (1 − w_m) θ_m + w_m θ_m⁰ for every parameter of encoder m; heads stay
///
/// Source: Wei et al., "Diagnosing and Re-learning for Balanced Multimodal Learning", ECCV 2024, arXiv:2407.09705,
/// equations 3 to 6.
///
/// Departs from the authors' code: as many training samples are clustered as are held out, so that purity has the same
/// bias on both sides.
final class Relearning: ImbalanceMethod {
  static let id = "relearning"
  static let name = "Diagnosing & Re-learning"
  static let stage = MethodStage.optimization
  static let source = "Wei et al., ECCV 2024, arXiv:2407.09705"

  struct Options {
    /// λ, at least 0.
    var lambda = 3.0
    /// E.
    var interval = 20
    /// R.
    var limit = 3
  }

  static let needsFusedHead = false

  let options: Options
  var needsHeldOut: Bool { true }
  private var initial: [(name: String, value: Tensor)] = []
  private var eventCount = 0
  /// Figures of the latest event.
  private(set) var latest: (purity: [[Double]], gaps: [Double], weights: [Double])?

  init(_ options: Options = Options()) { self.options = options }

  func fitStart(_ model: ClassicModel, _ parameters: ParameterSet, samples: Int) {
    initial = model.names.indices.flatMap(model.encoderNames).compactMap { name in
      parameters[name].map { (name, 1 * $0) }
    }
  }

  func epochEnd(_ epoch: Int, _ services: any TrainingServices) throws {
    guard epoch > 0, epoch % options.interval == 0, eventCount < options.limit else { return }
    eventCount += 1
    let held = services.heldOutLabels
    let labels = services.trainingLabels
    let chosen = Array(
      KeyedRandom(seed: services.seed, place: StepPlace(epoch: epoch))
        .order(of: labels.count, for: "relearning samples").prefix(held.count))
    let model = services.model
    let weights = diagnose(
      train: services.trainingFeatures(chosen), trainLabels: chosen.map { labels[$0] },
      held: services.heldOutFeatures(), heldLabels: held, classes: model.classCount
    ) { rows, part in KMeans.spreadCentroids(rows, count: model.classCount, seed: services.seed, part: part) }
    reinitialize(services.parameters, model, weights)
  }

  /// w_m of each modality.
  ///
  /// - Parameter start: The centroids that k-means begins with, of scaled rows.
  func diagnose(
    train: [Tensor], trainLabels: [Int], held: [Tensor], heldLabels: [Int], classes: Int,
    start: (_ rows: [[Double]], _ part: String) -> [[Double]]
  ) -> [Double] {
    var purities: [[Double]] = []
    for m in train.indices {
      let sets = [("train", train[m], trainLabels), ("held", held[m], heldLabels)]
      purities.append(
        sets.map { part, features, labels in
          let rows = Self.scaled(features)
          let clusters = KMeans.clusters(of: rows, start: start(rows, "\(part) \(m)"))
          return Self.purity(clusters, labels, classes: classes)
        })
    }
    let gaps = purities.map { abs($0[0] - $0[1]) }
    let weights = gaps.map { tanh(options.lambda * $0) }
    latest = (purities, gaps, weights)
    return weights
  }

  /// Moves encoders towards their start.
  func reinitialize(_ parameters: ParameterSet, _ model: ClassicModel, _ weights: [Double]) {
    let start = Dictionary(uniqueKeysWithValues: initial)
    parameters.assign(
      zip(parameters.names, parameters.values).map { name, value in
        guard let index = model.encoderIndex(of: name), let first = start[name] else { return value }
        return Float(1 - weights[index]) * value + Float(weights[index]) * first
      })
  }

  /// Coordinates scaled to [−1, 1] by their extremes.
  static func scaled(_ features: Tensor) -> [[Double]] {
    let rows = features.hostRows().map { $0.map(Double.init) }
    guard let first = rows.first else { return [] }
    var (low, high) = (first, first)
    for row in rows {
      for index in row.indices {
        low[index] = min(low[index], row[index])
        high[index] = max(high[index], row[index])
      }
    }
    return rows.map { row in
      row.indices.map {
        high[$0] > low[$0] ? 2 * (row[$0] - low[$0]) / (high[$0] - low[$0]) - 1 : -1
      }
    }
  }

  /// 1/n Σ over clusters of the largest class count.
  static func purity(_ clusters: [Int], _ labels: [Int], classes: Int) -> Double {
    var counts: [Int: [Int]] = [:]
    for (cluster, label) in zip(clusters, labels) {
      counts[cluster, default: Array(repeating: 0, count: classes)][label] += 1
    }
    return Double(counts.values.reduce(0) { $0 + ($1.max() ?? 0) }) / Double(labels.count)
  }

  var state: [(name: String, value: Tensor)] {
    get {
      [("events", Tensor([Float(eventCount)], shape: [1]))] + initial.map { ("start." + $0.name, $0.value) }
    }
    set {
      eventCount = Int(newValue.first?.value.hostValues()[0] ?? 0)
      initial = newValue.dropFirst().map { (String($0.name.dropFirst("start.".count)), $0.value) }
    }
  }
}

/// Clusters by Lloyd's algorithm.
///
/// Source: Lloyd, "Least Squares Quantization in PCM", IEEE Transactions on Information Theory 28(2), 1982; start:
/// Arthur and Vassilvitskii, "k-means++", SODA 2007.
enum KMeans {
  /// The cluster of each row, from given centroids until no row changes; ties go to the lower number, and a centroid
  /// without rows stays where it is.
  static func clusters(of rows: [[Double]], start: [[Double]]) -> [Int] {
    var centroids = start
    var assignment: [Int] = []
    while true {
      let next = rows.map { nearest($0, centroids) }
      if next == assignment { return assignment }
      assignment = next
      for cluster in centroids.indices {
        let members = rows.indices.filter { assignment[$0] == cluster }
        if members.isEmpty { continue }
        for index in centroids[cluster].indices {
          centroids[cluster][index] = members.reduce(0.0) { $0 + rows[$1][index] } / Double(members.count)
        }
      }
    }
  }

  private static func squaredDistance(_ left: [Double], _ right: [Double]) -> Double {
    zip(left, right).reduce(0.0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
  }

  private static func nearest(_ row: [Double], _ centroids: [[Double]]) -> Int {
    var best = (index: 0, distance: Double.infinity)
    for (index, centroid) in centroids.enumerated() {
      let distance = squaredDistance(row, centroid)
      if distance < best.distance { best = (index, distance) }
    }
    return best.index
  }

  /// Rows chosen one after another, each with a probability in proportion to its squared distance from those before.
  static func spreadCentroids(_ rows: [[Double]], count: Int, seed: Int, part: String) -> [[Double]] {
    let draws = KeyedRandom(seed: seed, place: StepPlace()).uniforms(count, for: "kmeans " + part)
    var centroids: [[Double]] = []
    for draw in draws where !rows.isEmpty {
      let distances = rows.map { row in centroids.map { squaredDistance(row, $0) }.min() ?? 1 }
      var rest = Double(draw) * distances.reduce(0, +)
      var chosen = 0
      for (index, distance) in distances.enumerated() where distance > 0 {
        chosen = index
        rest -= distance
        if rest < 0 { break }
      }
      centroids.append(rows[chosen])
    }
    return centroids
  }
}
