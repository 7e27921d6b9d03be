import TensorCore

/// How far modalities are ahead of each other, from their own predictions.
enum DiscrepancyRatio {
  /// What divides a ratio is at least this.
  static let floor = 1e-8

  /// p_m,i[y_i], the probability that each modality gives to the right class, `[modality][sample]`.
  ///
  /// - Parameter logits: u_m, `[samples, classes]`, without a tape.
  static func trueClassProbabilities(_ logits: [Tensor], _ labels: [Int]) -> [[Double]] {
    logits.map { zip($0.softmax().hostRows(), labels).map { Double($0[$1]) } }
  }

  /// S_m = Σ_i p_m,i[y_i].
  static func scores(_ logits: [Tensor], _ labels: [Int]) -> [Double] {
    trueClassProbabilities(logits, labels).map { $0.reduce(0, +) }
  }

  /// ρ_m = 1 / (M − 1) Σ_{j ≠ m} S_m / max(S_j, 1e-8).
  ///
  /// Source: Wei et al., "On-the-fly Modulation for Balanced Multimodal Learning", TPAMI 2024, arXiv:2410.11582,
  /// equations 6 and 7; for two modalities the ratio of Peng et al., CVPR 2022, arXiv:2203.15332, equation 8.
  static func pairwise(_ scores: [Double]) -> [Double] {
    scores.indices.map { m in
      let others = scores.indices.filter { $0 != m }
      return others.reduce(0.0) { $0 + scores[m] / max(scores[$1], floor) } / Double(others.count)
    }
  }
}
