import TensorCore

/// Logits from cosines, so that no modality wins by the length of its features or weights.
///
///     u_m[i, c] = s ⟨W_m,c, h_m,i⟩ / (|W_m,c| |h_m,i|),   z = Σ_m u_m, no bias;   L = CE(z, y)
///
/// The same logits are used in evaluation; the bias of the head gets no gradient and stays as it is.
///
/// Source: Xu et al., "MMCosine: Multi-Modal Cosine Loss Towards Balanced Audio-Visual Fine-Grained Learning", ICASSP
/// 2023, arXiv:2303.05338, equation 5.
final class MMCosine: ImbalanceMethod {
  static let id = "mmcosine"
  static let name = "MMCosine"
  static let stage = MethodStage.objective
  static let hooks: Set<MethodHook> = [.head]
  static let source = "Xu et al., ICASSP 2023, arXiv:2303.05338"

  /// s, above 0.
  let scale: Double

  init(scale: Double = 10) { self.scale = scale }

  func build(_ model: inout ClassicModel) { model.head = .cosine(scale: Float(scale)) }
}
