import TensorCore
import TokenModel

/// What MokA adds to a layer, s · Z Bᵀ, and its gradients in closed form.
///
/// Where queries Q = Uᵃ meet keys K = Uᵇ (media and question, or the other way round), with P = softmax(f · Q Kᵀ), f = g / √r,
/// and Z = U + λ P K in the rows of the queries, G = ∂L/∂Y gives
///
///     dB = s Gᵀ Z,  dZ = s G B,  dU = dZ
///     dC = λ dZᵃ,  dP = dC Kᵀ,  dS = P ⊙ (dP − rowsum(dP ⊙ P))
///     dUᵃ += f dS K,  dUᵇ += Pᵀ dC + f dSᵀ Q
///     dAᵐ = (dUᵐ)ᵀ Xᵐ,  dXᵐ = dUᵐ Aᵐ
///
/// With the mean of the question in place of attention every entry of P is 1 / (number of questions), and dS is none.
struct MokAOperation {
  /// Queries of a sequence that meet keys.
  private struct Meeting {
    let queries: [Int]
    let keys: [Int]
    /// λ.
    let weight: Float
    /// 1 for keys that count, 0 for those that take part as zeros, `[keys, 1]`; nil where all count.
    let mask: Tensor?
    /// Whether P depends on what meets.
    let isAttention: Bool
    /// Questions, for the mean.
    let questionCount: Int
  }

  private let settings: MokASettings
  private let scale: Float
  private let context: TokenContext
  private let rows: ModalityRows
  private let meetings: [Meeting]

  init(_ settings: MokASettings, scale: Float, context: TokenContext) {
    (self.settings, self.scale, self.context) = (settings, scale, context)
    rows = ModalityRows(context, settings.modalities)
    meetings = Self.meetings(settings, context, rows.owners)
  }

  /// s · Z Bᵀ, `[rows, outputSize]`, for rows that enter the adapter.
  func callAsFunction(_ x: Tensor, downs: [Tensor], ups: [Tensor]) -> Tensor {
    Tensor.operation(on: [x] + downs + ups) { inputs in
      let (x, downs) = (inputs[0], Array(inputs[1..<1 + downs.count]))
      let ups = Array(inputs[(1 + downs.count)...])
      let projected = rows.product(x, downs)
      let middle = context.adapted(scale * interacting(projected))
      let output =
        settings.sharesUp
        ? LinearWeight(ups[0]).forward(middle, segments: context.joinsSequences ? nil : context.segments)
        : rows.product(middle, ups)
      return (
        output,
        { gradient, needs in
          gradients(
            gradient, needs, x: x, downs: downs, ups: ups, projected: projected, middle: middle)
        }
      )
    }
  }

  // MARK: - Who meets whom

  private static func meetings(
    _ settings: MokASettings, _ context: TokenContext, _ owners: [Int]
  ) -> [Meeting] {
    guard settings.interaction != .none, let text = settings.modalities.firstIndex(of: .text) else {
      return []
    }
    var meetings: [Meeting] = []
    for index in 0..<context.segments.count {
      let rows = context.segments[index]
      let questions = rows.filter { context.roles[$0] == .question && owners[$0] == text }
      guard let first = questions.first, let last = questions.last else { continue }
      let keys = settings.keys == .question ? questions : Array(first...last)
      // With whole spans the rows between that are no question take part as zeros.
      let isQuestion = Set(questions)
      let mask =
        keys.count == questions.count
        ? nil : Tensor(keys.map { isQuestion.contains($0) ? 1 : 0 }, shape: [keys.count, 1])
      for owner in settings.modalities.indices where owner != text {
        let media = rows.filter { owners[$0] == owner }
        if media.isEmpty { continue }
        let isToMedia = settings.interaction == .textToMedia
        meetings.append(
          Meeting(
            queries: isToMedia ? questions : media, keys: isToMedia ? media : keys,
            weight: settings.weight(of: owner), mask: isToMedia ? nil : mask,
            isAttention: settings.interaction != .mean, questionCount: questions.count))
      }
    }
    return meetings
  }

  // MARK: - Forward

  /// The factor of attention logits.
  private func factor(rank: Int) -> Float { settings.gain.value(scale: scale) / Float(rank).squareRoot() }

  private func keyRows(_ meeting: Meeting, _ projected: Tensor) -> Tensor {
    let keys = projected.gatherRows(meeting.keys)
    return meeting.mask.map { keys * $0 } ?? keys
  }

  /// P of a meeting.
  private func probabilities(_ meeting: Meeting, _ queries: Tensor, _ keys: Tensor) -> Tensor {
    guard meeting.isAttention else {
      return Tensor(
        repeating: 1 / Float(meeting.questionCount), shape: [meeting.queries.count, meeting.keys.count])
    }
    return (factor(rank: queries.columns) * queries.matmul(keys, transposingOther: true)).softmax()
  }

  /// Z from U.
  private func interacting(_ projected: Tensor) -> Tensor {
    var sum = projected
    for meeting in meetings {
      let keys = keyRows(meeting, projected)
      let attended = probabilities(meeting, projected.gatherRows(meeting.queries), keys).matmul(keys)
      sum = sum.addingRows(meeting.weight * attended, at: meeting.queries)
    }
    return sum
  }

  // MARK: - Backward

  private func gradients(
    _ gradient: Tensor, _ needs: [Bool], x: Tensor, downs: [Tensor], ups: [Tensor], projected: Tensor,
    middle: Tensor
  ) -> [Tensor?] {
    let needsUps = Array(needs[(1 + downs.count)...])
    let upGradients = ups.indices.map { owner -> Tensor? in
      guard needsUps[owner] else { return nil }
      let own = settings.sharesUp ? middle : rows.only(owner, of: middle)
      return gradient.matmul(own, transposingSelf: true)
    }
    guard needs[...downs.count].contains(true) else {
      return [Tensor?](repeating: nil, count: 1 + downs.count) + upGradients
    }
    let middleGradient =
      settings.sharesUp
      ? gradient.matmul(ups[0])
      : rows.sum { rows.only($0, of: gradient.matmul(ups[$0])) } ?? Tensor(zeros: middle.shape)
    let inner = projectedGradient(scale * context.adapted(middleGradient), projected)
    // All matrices beside each other, each with the rows of its own modality: two products in place of two for each.
    let columns = Tensor.concatenatedColumns(downs.indices.map { rows.only($0, of: inner) })
    let inputGradient = needs[0] ? columns.matmul(Tensor.concatenated(downs)) : nil
    let needsDowns = needs[1...downs.count].contains(true)
    let stacked = needsDowns ? columns.matmul(x, transposingSelf: true) : nil
    let rank = downs[0].shape[0]
    let downGradients = downs.indices.map { stacked?.slice($0 * rank..<($0 + 1) * rank) }
    return [inputGradient] + downGradients + upGradients
  }

  /// dU from dZ.
  private func projectedGradient(_ gradient: Tensor, _ projected: Tensor) -> Tensor {
    var sum = gradient
    for meeting in meetings {
      let (queries, keys) = (projected.gatherRows(meeting.queries), keyRows(meeting, projected))
      let probabilities = probabilities(meeting, queries, keys)
      let attended = meeting.weight * gradient.gatherRows(meeting.queries)
      var keyGradient = probabilities.matmul(attended, transposingSelf: true)
      if meeting.isAttention {
        let slopes = attended.matmul(keys, transposingOther: true)
        let means = (slopes * probabilities).rowSums().reshaped(to: [slopes.rows, 1])
        let logits = factor(rank: queries.columns) * (probabilities * (slopes - means))
        sum = sum.addingRows(logits.matmul(keys), at: meeting.queries)
        keyGradient = keyGradient + logits.matmul(queries, transposingSelf: true)
      }
      sum = sum.addingRows(meeting.mask.map { keyGradient * $0 } ?? keyGradient, at: meeting.keys)
    }
    return sum
  }
}
