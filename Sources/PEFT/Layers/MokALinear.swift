public import TensorCore
public import TokenModel

/// A frozen linear layer plus MokA: a projection down for each modality, a shared projection up, and between them
/// attention of the rows of media to the question.
///
///     Uᵐ = Xᵐ (Aᵐ)ᵀ                                  for the rows of modality m
///     T  = the rows of Uᵗ that are the question
///     Zᵐ = Uᵐ + λᵐ softmax(g · Uᵐ Tᵀ / √r) T          for media
///     Zᵗ = Uᵗ                                         for text
///     Y  = base(X) + s · Z Bᵀ
///
/// Rows of media depend on later rows, those of the question; answers are never keys, so that they cannot leak into the
/// media while an adapter is trained. In decoding every row is text and Y is that of LoRA with Aᵗ and B: a cache needs
/// nothing more. Where a sequence has no question or no media, its rows have no attention.
///
/// Gradients are in closed form: see `MokAOperation`.
///
/// Source: Wei et al., "MokA: Multimodal Low-Rank Adaptation for MLLMs", NeurIPS 2025, section 3.
/// Departs from the authors' code: both of their trees fix g, λ and the keys; see `MokASettings`.
public struct MokALinear: Adapter {
  /// The frozen layer.
  public let base: any LinearLayer
  /// Aᵐ of each modality of the settings, `[rank, inputSize]`.
  public let downs: [Tensor]
  /// B, `[outputSize, rank]`: one, or one for each modality where the settings do not share it.
  public let ups: [Tensor]
  /// s.
  public let scale: Float
  /// Modalities, λ, g, keys and form.
  public let settings: MokASettings
  /// Dropout of the input, in training only; a row belongs to one modality, so this is a draw for each of them.
  public var dropout: AdapterDropout?

  /// - Parameters:
  ///   - base: The layer to adapt; shared, not copied.
  ///   - downs: In the order of the modalities of the settings, at least text.
  ///   - ups: One, or as many as `downs`.
  public init(
    _ base: any LinearLayer, downs: [Tensor], ups: [Tensor], scale: Float, settings: MokASettings
  ) {
    let rank = downs.first?.shape.first ?? 0
    require(
      downs.count == settings.modalities.count && ups.count == (settings.sharesUp ? 1 : downs.count)
        && downs.allSatisfy { $0.shape == [rank, base.inputSize] }
        && ups.allSatisfy { $0.shape == [base.outputSize, rank] },
      "A \(downs.map(\.shape)) and B \(ups.map(\.shape)) do not fit a \(base.outputSize) x \(base.inputSize) weight"
    )
    (self.base, self.downs, self.ups, self.scale, self.settings) = (base, downs, ups, scale, settings)
  }

  /// A row's map depends on its modality, and that of media on the question.
  public var isMergeable: Bool { false }
  /// Through attention in the middle, unless the settings have none.
  public var mixesRows: Bool { settings.interaction != .none || base.mixesRows }

  /// base(X) + s · Z Bᵀ; the rows of a sequence come together.
  public func callAsFunction(_ x: Tensor, _ context: TokenContext) -> Tensor {
    let operation = MokAOperation(settings, scale: scale, context: context)
    return base(x, context) + operation(dropout.map { $0(x) } ?? x, downs: downs, ups: ups)
  }
}
