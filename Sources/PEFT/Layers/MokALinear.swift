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
/// With G = ∂L/∂Y the tape gives, operation by operation,
///
///     dB = s Gᵀ Z,  dZ = s G B,  dU = dZ
///     dC = λ dZᵐ,  dP = dC Tᵀ,  dS = P ⊙ (dP − rowsum(dP ⊙ P))
///     dUᵐ += (g/√r) dS T,  dT += Pᵀ dC + (g/√r) dSᵀ Uᵐ
///     dAᵐ = (dUᵐ)ᵀ Xᵐ,  dXᵐ += dUᵐ Aᵐ
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
    let input = dropout.map { $0(x) } ?? x
    let rows = ModalityRows(context, settings.modalities)
    let projected = rows.product(input, downs)
    let middle = context.adapted(scale * interacting(projected, rows.owners, context))
    let output = base(x, context)
    if settings.sharesUp {
      return output
        + LinearWeight(ups[0]).forward(middle, segments: context.joinsSequences ? nil : context.segments)
    }
    return output + rows.product(middle, ups)
  }

  /// Z from U.
  private func interacting(_ projected: Tensor, _ owners: [Int], _ context: TokenContext) -> Tensor {
    guard settings.interaction != .none, let text = settings.modalities.firstIndex(of: .text) else {
      return projected
    }
    var (additions, targets): ([Tensor], [Int]) = ([], [])
    for index in 0..<context.segments.count {
      let rows = context.segments[index]
      let questions = rows.filter { context.roles[$0] == .question && owners[$0] == text }
      let media = settings.modalities.indices.filter { $0 != text }.compactMap {
        owner -> (weight: Float, rows: [Int])? in
        let own = rows.filter { owners[$0] == owner }
        return own.isEmpty ? nil : (weight: settings.weight(of: owner), rows: own)
      }
      guard let first = questions.first, let last = questions.last, !media.isEmpty else { continue }
      let keys = settings.keys == .question ? questions : Array(first...last)
      // With whole spans the rows between that are no question take part as zeros.
      let isQuestion = Set(questions)
      let mask = Tensor(keys.map { isQuestion.contains($0) ? 1 : 0 }, shape: [keys.count, 1])
      let gathered = projected.gatherRows(keys)
      let keyRows = keys.count == questions.count ? gathered : gathered * mask
      for (weight, own) in media {
        switch settings.interaction {
        case .none: break
        case .mediaToText:
          additions.append(weight * attended(projected.gatherRows(own), to: keyRows))
          targets += own
        case .mean:
          let mean = (1 / Float(questions.count)) * Tensor(repeating: 1, shape: [own.count, keys.count])
          additions.append(weight * mean.matmul(keyRows))
          targets += own
        case .textToMedia:
          additions.append(weight * attended(projected.gatherRows(questions), to: projected.gatherRows(own)))
          targets += questions
        }
      }
    }
    return additions.isEmpty ? projected : projected.addingRows(.concatenated(additions), at: targets)
  }

  /// softmax(g · Q Kᵀ / √r) K.
  private func attended(_ queries: Tensor, to keys: Tensor) -> Tensor {
    let factor = settings.gain.value(scale: scale) / Float(queries.columns).squareRoot()
    return (factor * queries.matmul(keys, transposingOther: true)).softmax().matmul(keys)
  }
}
