import TensorCore

/// A linear classifier of frozen features: what an encoder knows of the class, whatever its own head does with it.
///
/// Multinomial logistic regression on features with mean 0 and deviation 1 over the training samples, the bias not
/// penalised:
///
///     min_W  mean_i CE(W [x_i, 1], y_i) + λ/2 ‖W without bias‖²
///
/// Solved by accelerated gradient steps of 1 / L with restarts, L = λ_max(XᵀX / n) / 2 + λ: whole batches, no random
/// numbers. λ is chosen by accuracy on validation samples, the smallest of equal ones.
///
/// Source: Alain and Bengio, "Understanding Intermediate Layers Using Linear Classifier Probes", 2016, arXiv:1610.01644;
/// the bound L: Böhning, "Multinomial Logistic Regression Algorithm", AISM 44, 1992; restarts: O'Donoghue and Candès,
/// "Adaptive Restart for Accelerated Gradient Schemes", FoCM 15, 2015, arXiv:1204.3982.
struct LinearProbe {
  /// The λ that are tried.
  static let ridges: [Float] = [1e-4, 1e-3, 1e-2, 1e-1]
  private static let stepLimit = 3000
  private static let tolerance: Float = 2e-5

  /// `[classes, featureSize + 1]`, the bias last.
  let weights: Tensor
  private let means: [Float]
  private let scales: [Float]

  /// Which test samples are right.
  ///
  /// - Parameters:
  ///   - features: `[samples, featureSize]` of each split.
  ///   - labels: Of each split.
  static func correct(
    training: (features: Tensor, labels: [Int]), validation: (features: Tensor, labels: [Int]),
    test: (features: Tensor, labels: [Int]), classes: Int
  ) -> [Bool] {
    var best: (accuracy: Double, probe: LinearProbe)?
    for ridge in ridges {
      let probe = LinearProbe(training.features, training.labels, classes: classes, ridge: ridge)
      let accuracy = Classification.accuracy(probe.predictions(validation.features), validation.labels)
      if best.map({ accuracy > $0.accuracy }) ?? true { best = (accuracy, probe) }
    }
    let predictions = best?.probe.predictions(test.features) ?? []
    return zip(predictions, test.labels).map { $0 == $1 }
  }

  /// Fits a classifier.
  init(_ features: Tensor, _ labels: [Int], classes: Int, ridge: Float) {
    let rows = features.hostRows()
    let width = features.columns
    let moments = (0..<width).map { column -> (mean: Float, scale: Float) in
      let count = Double(rows.count)
      let mean = rows.reduce(0.0) { $0 + Double($1[column]) } / count
      let squares = rows.reduce(0.0) { sum, row in
        let distance = Double(row[column]) - mean
        return sum + distance * distance
      }
      let deviation = (squares / count).squareRoot()
      // A feature that is always the same says nothing.
      return (Float(mean), deviation > 1e-12 ? Float(1 / deviation) : 0)
    }
    (means, scales) = (moments.map(\.mean), moments.map(\.scale))
    let inputs = Self.standardized(rows, moments.map(\.mean), moments.map(\.scale))
    var targets = [Float](repeating: 0, count: rows.count * classes)
    for (row, label) in labels.enumerated() { targets[row * classes + label] = 1 }
    var penalties = [Float](repeating: ridge, count: classes * (width + 1))
    for row in 0..<classes { penalties[row * (width + 1) + width] = 0 }
    weights = Self.minimum(
      inputs, Tensor(targets, shape: [rows.count, classes]),
      penalty: Tensor(penalties, shape: [classes, width + 1]), ridge: ridge)
  }

  /// The most probable class of each row.
  func predictions(_ features: Tensor) -> [Int] {
    let inputs = Self.standardized(features.hostRows(), means, scales)
    return Classification.predictions(inputs.matmul(weights, transposingOther: true))
  }

  private static func standardized(_ rows: [[Float]], _ means: [Float], _ scales: [Float]) -> Tensor {
    var values: [Float] = []
    values.reserveCapacity(rows.count * (means.count + 1))
    for row in rows {
      for column in means.indices { values.append((row[column] - means[column]) * scales[column]) }
      values.append(1)
    }
    return Tensor(values, shape: [rows.count, means.count + 1])
  }

  private static func minimum(
    _ inputs: Tensor, _ targets: Tensor, penalty: Tensor, ridge: Float
  ) -> Tensor {
    let scale = 1 / Float(inputs.rows)
    let step = 1 / (0.5 * largestEigenvalue(inputs) + ridge)
    var current = Tensor(zeros: penalty.shape)
    var ahead = current
    var momentum: Float = 1
    for _ in 0..<stepLimit {
      let errors = inputs.matmul(ahead, transposingOther: true).softmax() - targets
      let gradient = scale * errors.matmul(inputs, transposingSelf: true) + penalty * ahead
      let values = gradient.hostValues()
      if values.allSatisfy({ abs($0) < tolerance }) { return ahead }
      let next = ahead - step * gradient
      let change = next - current
      // Momentum that points uphill is thrown away.
      let slope = zip(values, change.hostValues()).reduce(Float(0)) { $0 + $1.0 * $1.1 }
      let following = slope > 0 ? 1 : (1 + (1 + 4 * momentum * momentum).squareRoot()) / 2
      ahead = slope > 0 ? next : next + ((momentum - 1) / following) * change
      (current, momentum) = (next, following)
    }
    return current
  }

  /// λ_max(XᵀX / n) by the power method, a little above what it finds.
  private static func largestEigenvalue(_ inputs: Tensor) -> Float {
    var vector = Tensor(repeating: 1 / Float(inputs.columns).squareRoot(), shape: [1, inputs.columns])
    var value: Float = 1
    for _ in 0..<60 {
      let product = inputs.matmul(vector, transposingOther: true)
      let next = (1 / Float(inputs.rows)) * product.matmul(inputs, transposingSelf: true)
      value = next.hostValues().reduce(0) { $0 + $1 * $1 }.squareRoot()
      guard value > 0 else { return 1 }
      vector = (1 / value) * next
    }
    return 1.05 * value
  }
}
