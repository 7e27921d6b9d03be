import TensorCore

/// Which samples are right when only some modalities are there, for every set of modalities.
///
/// Bit m of a set's number says that modality m is in it. Features are computed once; those of absent modalities are
/// replaced by what the mask puts there.
struct SubsetScores {
  /// What stands in place of a feature.
  enum Mask: String, CaseIterable {
    /// 0.
    case zeroFeature
    /// The feature of an input of zeros.
    case zeroInput
  }

  /// M.
  let modalities: Int
  /// `[sample][set]`.
  let correct: [[Bool]]
  /// Logits of each set.
  let logits: [Tensor]

  /// - Parameter fuse: The model's or a method's logits of features and which modalities are present.
  init(
    _ model: ClassicModel, _ features: [Tensor], _ labels: [Int], _ parameters: Parameters,
    mask: Mask = .zeroFeature, fuse: (ClassicModel, [Tensor], [Bool], Parameters) -> Tensor
  ) {
    modalities = model.count
    let substitutes = features.enumerated().map { index, feature -> Tensor in
      switch mask {
      case .zeroFeature: return Tensor(zeros: feature.shape)
      case .zeroInput:
        let zero = Tensor(zeros: [1] + model.encoders[index].inputShape)
        return Tensor(zeros: feature.shape) + model.features(index, of: zero, parameters)
      }
    }
    logits = (0..<1 << model.count).map { set in
      let present = (0..<model.count).map { set & 1 << $0 != 0 }
      let seen = features.indices.map { present[$0] ? features[$0] : substitutes[$0] }
      return fuse(model, seen, present, parameters)
    }
    let predictions = logits.map(Classification.predictions)
    correct = labels.indices.map { i in predictions.map { $0[i] == labels[i] } }
  }

  /// v(S), the accuracy of each set.
  var values: [Double] {
    (0..<1 << modalities).map { set in Double(correct.count { $0[set] }) / Double(max(1, correct.count)) }
  }

  /// φ of every sample, `[sample][modality]`.
  var sampleContributions: [[Double]] {
    correct.map { ShapleyContribution.values($0.map { $0 ? 1 : 0 }, count: modalities) }
  }
}

/// Shapley values of modalities, and how far they are apart.
///
///     φ_m = Σ_{T ⊆ M∖m} |T|! (M − |T| − 1)! / M! (v(T ∪ m) − v(T)),   I = mean over pairs |φ_m − φ_j|
///
/// Source: Shapley, "A Value for n-Person Games", 1953; the imbalance is that of Xu et al., BalanceBenchmark, 2025,
/// arXiv:2502.10816, section 4.3.
enum ShapleyContribution {
  /// φ from the value of each set.
  static func values(_ v: [Double], count: Int) -> [Double] {
    func factorial(_ n: Int) -> Double { n < 2 ? 1 : (2...n).reduce(1.0) { $0 * Double($1) } }
    return (0..<count).map { m in
      (0..<1 << count).filter { $0 & 1 << m == 0 }.reduce(0.0) { sum, set in
        let size = set.nonzeroBitCount
        let weight = factorial(size) * factorial(count - size - 1) / factorial(count)
        return sum + weight * (v[set | 1 << m] - v[set])
      }
    }
  }

  /// I; 0 for one modality.
  static func imbalance(_ contributions: [Double]) -> Double {
    var (sum, pairs) = (0.0, 0.0)
    for m in contributions.indices {
      for j in contributions.indices where j > m {
        sum += abs(contributions[m] - contributions[j])
        pairs += 1
      }
    }
    return pairs > 0 ? sum / pairs : 0
  }
}
