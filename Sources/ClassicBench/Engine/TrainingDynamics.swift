import Foundation
import RunKit
import TensorCore

/// How modalities fare in the course of a training, told once an epoch from features that are there anyway.
enum TrainingDynamics {
  /// The distance of the mean features of two modalities on the unit sphere, |mean_i ĥ_a,i − mean_i ĥ_b,i|, for each pair
  /// whose features have one size.
  ///
  /// Source: Liang et al., "Mind the Gap: Understanding the Modality Gap in Multi-modal Contrastive Representation
  /// Learning", NeurIPS 2022, arXiv:2203.02053, section 2.
  static func gaps(_ features: [Tensor], names: [String]) -> [(tag: String, value: Double)] {
    let centers = features.map { feature -> [Double] in
      let rows = feature.rowsNormalized().hostRows()
      return (0..<feature.columns).map { column in
        rows.reduce(0.0) { $0 + Double($1[column]) } / Double(max(1, rows.count))
      }
    }
    var found: [(tag: String, value: Double)] = []
    for a in centers.indices {
      for b in centers.indices where b > a && centers[a].count == centers[b].count {
        let square = zip(centers[a], centers[b]).reduce(0.0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }
        found.append(("gap.\(names[a])-\(names[b])", square.squareRoot()))
      }
    }
    return found
  }

  /// The conditional utilisation rate of each modality, u_m = (A − A_m) / A: A is the accuracy with all modalities, A_m
  /// with the feature of m replaced by its mean over the samples.
  ///
  /// Source: Wu et al., "Characterizing and Overcoming the Greedy Nature of Learning in Multi-modal Deep Neural Networks",
  /// ICML 2022, arXiv:2202.05306, section 3.
  ///
  /// - Parameter accuracy: Of features.
  /// - Returns: nil where nothing is right with all modalities.
  static func utilisation(
    _ features: [Tensor], all: Double, accuracy: ([Tensor]) -> Double
  ) -> [Double]? {
    guard all > 0 else { return nil }
    return features.indices.map { index in
      let rows = features[index].hostRows()
      let mean = (0..<features[index].columns).map { column in
        Float(rows.reduce(0.0) { $0 + Double($1[column]) } / Double(max(1, rows.count)))
      }
      var changed = features
      changed[index] = Tensor(rows.flatMap { _ in mean }, shape: features[index].shape)
      return (all - accuracy(changed)) / all
    }
  }

  /// Mean losses of heads on training and on validation samples at one time.
  struct HeadLosses: Equatable {
    var training: [Double]
    var validation: [Double]
  }

  /// The overfitting-to-generalisation ratio of each head between two times, |ΔO / G| with O = L* − L^T and
  /// G = L*₀ − L*₁; nil where L* did not change.
  ///
  /// Source: Wang, Tran and Feiszli, "What Makes Training Multi-Modal Classification Networks Hard?", CVPR 2020,
  /// arXiv:1905.12681, equation 1.
  static func overfittingRatios(_ before: HeadLosses, _ after: HeadLosses) -> [Double?] {
    before.validation.indices.map { head in
      let gain = before.validation[head] - after.validation[head]
      let old = before.validation[head] - before.training[head]
      let new = after.validation[head] - after.training[head]
      let ratio = abs((new - old) / gain)
      return ratio.isFinite ? ratio : nil
    }
  }

  /// |g_m| of the encoder of each modality, and its ratio to the mean of the others.
  static func gradientNorms(
    _ gradients: [String: Tensor], _ model: ClassicModel
  ) -> [(tag: String, value: Double)] {
    let norms = model.names.indices.map { index -> Double in
      let parts = model.encoderNames(index).compactMap { gradients[$0] }
      return innerProduct(parts, parts).squareRoot()
    }
    var found = zip(model.names, norms).map { (tag: "dynamics/gradient_norm.\($0)", value: $1) }
    guard norms.count > 1 else { return found }
    for (index, name) in model.names.enumerated() {
      let others = norms.indices.filter { $0 != index }.reduce(0.0) { $0 + norms[$1] }
      let mean = others / Double(norms.count - 1)
      if mean > 0 { found.append(("dynamics/gradient_ratio.\(name)", norms[index] / mean)) }
    }
    return found
  }
}

extension ClassicTask {
  /// How many training samples stand for all where losses on both sides are compared: a fiftieth, at least 32, so that the
  /// pass over them is a small part of an epoch.
  static func dynamicsSampleCount(_ trained: Int) -> Int { min(trained, max(32, trained / 50)) }

  /// Figures of an epoch beside accuracy, from features of validation samples.
  func dynamics(
    _ evaluation: Evaluation, _ features: [Tensor], _ labels: [Int], _ parameters: Parameters
  ) -> [TrainingMetric] {
    var found = TrainingDynamics.gaps(features, names: model.names)
    let everything = Array(repeating: true, count: model.count)
    let rates = TrainingDynamics.utilisation(features, all: evaluation.scores.accuracy) { changed in
      let logits = method.evaluationLogits(model, changed, present: everything, parameters)
      return Classification.accuracy(Classification.predictions(logits), labels)
    }
    if let rates, model.count > 1 { found += zip(model.names, rates).map { ("utilisation.\($0)", $1) } }
    if model.count > 1 {
      found += zip(model.names, evaluation.contributions).map { ("shapley.\($0)", $1) }
      found.append(("imbalance", evaluation.imbalance))
    }
    let sample = dynamicsSample(parameters)
    let now = TrainingDynamics.HeadLosses(
      training: headLosses(sample.features, sample.labels, parameters),
      validation: headLosses(features, labels, parameters))
    if let before = headLossesBefore {
      let heads = model.names + (model.hasHead ? ["fused"] : [])
      for (head, ratio) in zip(heads, TrainingDynamics.overfittingRatios(before, now)) {
        if let ratio { found.append(("ogr.\(head)", ratio)) }
      }
    }
    headLossesBefore = now
    return found.map { TrainingMetric(tag: $0.tag, value: $0.value) }
  }

  /// The mean loss of each modality's own logits, then of the fused ones where there is a fused head.
  private func headLosses(_ features: [Tensor], _ labels: [Int], _ parameters: Parameters) -> [Double] {
    func mean(_ logits: Tensor) -> Double {
      logits.crossEntropy(labels: labels).doubleValues.reduce(0, +) / Double(max(1, labels.count))
    }
    let own = model.names.indices.map { mean(method.evaluationUnimodal(model, features, $0, parameters)) }
    guard model.hasHead else { return own }
    let present = Array(repeating: true, count: model.count)
    return own + [mean(method.evaluationLogits(model, features, present: present, parameters))]
  }

  // MARK: Saved beside the weights

  func buffers(prefix: String) throws -> [StoredTensor] {
    // A first number that says whether there were any.
    let known = headLossesBefore.map { [1] + $0.training + $0.validation }
    let losses = known ?? Array(repeating: 0, count: 1 + 2 * headCount)
    return [
      try StoredTensor(name: prefix + "operations", shape: [4], integers: operations.counts),
      try StoredTensor(name: prefix + "losses", shape: [losses.count], doubles: losses),
    ]
  }

  private var headCount: Int { model.count + (model.hasHead ? 1 : 0) }

  func restoreBuffers(from file: SafetensorsFile, prefix: String) throws {
    let stored = try file.tensor(prefix + "operations")
    guard stored.shape == [4] else {
      throw TrainingStateError.wrongShape(
        path: file.path, tensor: stored.name, found: stored.shape, expected: [4])
    }
    operations.counts = try stored.integers()
    let losses = try file.tensor(prefix + "losses")
    guard losses.shape == [1 + 2 * headCount] else {
      throw TrainingStateError.wrongShape(
        path: file.path, tensor: losses.name, found: losses.shape, expected: [1 + 2 * headCount])
    }
    let numbers = try losses.doubles()
    let known = TrainingDynamics.HeadLosses(
      training: Array(numbers[1...headCount]), validation: Array(numbers.suffix(headCount)))
    headLossesBefore = numbers[0] > 0 ? known : nil
  }
}
