import TensorCore
import TokenModel

/// Watches how large hidden states and logits grow while a model is trained.
///
/// | figure | meaning |
/// | --- | --- |
/// | `norm/layer.L/image` (`audio`, `video`, `text`) | mean √ Σ h² of the rows of a modality that leave layer L |
/// | `logits/normaliser` | mean \|log Σ exp z\| |
/// | `logits/largest` | the largest \|z\| |
///
/// Norms of modalities that grow apart are what Chameleon names as the first sign of divergence: modalities that share
/// all weights compete by raising their norms, and softmax does not notice until 16 bits no longer suffice.
///
/// Source: Chameleon Team, "Chameleon: Mixed-Modal Early-Fusion Foundation Models", 2024, arXiv:2405.09818, section 2.3.
final class DriftObserver: ForwardObserver {
  private let rows: [(name: String, rows: [Int])]
  /// The figures by their tags, in the order of the layers.
  private(set) var figures: [(tag: String, value: Double)] = []

  /// - Parameter roles: The role of every row.
  init(_ roles: [Role]) {
    rows = (Modality.media + [.text]).compactMap { modality in
      let rows = roles.indices.filter { modality == .text ? roles[$0].isText : roles[$0] == modality.role }
      return rows.isEmpty ? nil : (modality.rawValue, rows)
    }
  }

  func wants(_ name: TensorName) -> Bool { name.site == .output || name.site == .logits }

  func observe(_ tensor: Tensor, _ name: TensorName, context: TokenContext) {
    let tensor = tensor.detached
    guard let layer = name.layer else {
      let normalisers = tensor.logSumExp().hostValues()
      let sum = normalisers.reduce(0.0) { $0 + abs(Double($1)) }
      figures.append(("logits/normaliser", sum / Double(max(1, normalisers.count))))
      figures.append(("logits/largest", tensor.hostValues().reduce(0.0) { max($0, abs(Double($1))) }))
      return
    }
    let squares = (tensor * tensor).rowSums().hostValues()
    for (name, rows) in rows {
      let sum = rows.reduce(0.0) { $0 + Double(squares[$1]).squareRoot() }
      figures.append(("norm/layer.\(layer)/\(name)", sum / Double(rows.count)))
    }
  }
}
