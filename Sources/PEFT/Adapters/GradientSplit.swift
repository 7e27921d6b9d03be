import TensorCore
public import TokenModel

/// The gradient of the shared A of every LoRA layer, split by the modality of the rows it comes from.
///
///     ∂L/∂A = Σₘ gₘ,   gₘ = Σ over rows i of modality m of δᵢ xᵢᵀ,   δ = ∂L/∂(A x)
///
/// The split is exact: the layer uses a copy of A for each modality, and their gradients add up to that of A. The share of
/// a modality is ⟨gₘ, g⟩ / ‖g‖²; shares sum to 1. A share of text near 1 says that A is learned from text alone.
///
/// Only a factor of the gradient that passes B enters, so before B has moved from zero there is nothing to split.
public final class GradientSplit {
  /// A copy of A of one module for one modality.
  struct Part {
    let module: String
    let modality: Modality
    let down: Tensor
  }

  private let modalities: [Modality]
  /// The copies, module by module.
  private(set) var parts: [Part] = []

  /// - Parameter modalities: Those that occur in the batch, text included.
  public init(_ modalities: [Modality]) { self.modalities = modalities }

  /// A copy of A for each modality.
  func parts(of down: Tensor, module: String) -> [(modality: Modality, down: Tensor)] {
    modalities.map { modality in
      // The same elements under the same shape: an entry of the tape of its own.
      let copy = down.reshaped(to: down.shape)
      parts.append(Part(module: module, modality: modality, down: copy))
      return (modality, copy)
    }
  }

  /// What the split says about one training step.
  struct Figures {
    /// ‖gₘ‖ over all modules, by modality.
    var norms: [(modality: Modality, value: Double)] = []
    /// ⟨gₘ, g⟩ / ‖g‖² over all modules; none where g is 0.
    var shares: [(modality: Modality, value: Double)] = []
    /// cos(gₘ, gₜ) of every modality with text.
    var cosines: [(modality: Modality, value: Double)] = []
  }

  /// Adds up the modules.
  ///
  /// - Parameter gradients: Of the copies, in the order of `parts`; nil where the loss does not depend on one.
  func figures(_ gradients: [Tensor?]) -> Figures {
    require(gradients.count == parts.count, "\(gradients.count) gradients for \(parts.count) parts")
    var (squares, withAll, withText) = ([Modality: Double](), [Modality: Double](), [Modality: Double]())
    var total = 0.0
    for start in stride(from: 0, to: parts.count, by: max(1, modalities.count)) {
      let own = modalities.indices.map { gradients[start + $0]?.hostValues() }
      let count = own.lazy.compactMap { $0?.count }.first ?? 0
      var sum = [Double](repeating: 0, count: count)
      for values in own.compactMap(\.self) {
        for index in sum.indices { sum[index] += Double(values[index]) }
      }
      total += sum.reduce(0) { $0 + $1 * $1 }
      let text = modalities.firstIndex(of: .text).flatMap { own[$0] }
      for (modality, values) in zip(modalities, own) {
        guard let values else { continue }
        var (square, all, textual) = (0.0, 0.0, 0.0)
        for index in values.indices {
          let value = Double(values[index])
          square += value * value
          all += value * sum[index]
          if let text { textual += value * Double(text[index]) }
        }
        squares[modality, default: 0] += square
        withAll[modality, default: 0] += all
        withText[modality, default: 0] += textual
      }
    }
    var figures = Figures()
    let textNorm = (squares[.text] ?? 0).squareRoot()
    for modality in modalities {
      let norm = (squares[modality] ?? 0).squareRoot()
      figures.norms.append((modality, norm))
      if total > 0 { figures.shares.append((modality, (withAll[modality] ?? 0) / total)) }
      if modality != .text, norm > 0, textNorm > 0 {
        figures.cosines.append((modality, (withText[modality] ?? 0) / norm / textNorm))
      }
    }
    return figures
  }
}
