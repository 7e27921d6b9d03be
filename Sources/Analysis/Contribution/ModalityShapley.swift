import TensorCore
import TokenModel

/// Exact Shapley values of modalities: what each adds to the target, averaged over all orders in which they can come.
///
///     φₚ = Σ_{S ⊆ P∖p} |S|! (|P| − |S| − 1)! / |P|! · (v(S ∪ p) − v(S)),   Σₚ φₚ = v(P) − v(∅)
///
/// v(S) is the target when only the modalities of S are present; bos, system text and the marks of turns always are. A
/// modality that a prompt lacks changes nothing and gets 0.
///
/// All coalitions go through the decoder in one pass. The rows before the first modality are the same for all and are
/// computed once: with M modalities of together n rows, f fixed rows before and e after them, deletion takes
/// f + 2ᴹ e + 2ᴹ⁻¹ n rows where a forward pass takes f + e + n: less than 2 forward passes for M = 2 and 4 for M = 3
/// as soon as f and n outweigh e. Blanking takes f + 2ᴹ (e + n).
///
/// Source: Shapley, "A Value for n-Person Games", 1953; modalities as players after Parcalabescu and Frank, "MM-SHAP",
/// ACL 2023, arXiv:2212.08158, which samples tokens in place of whole modalities.
struct ModalityShapley {
  let players: [Role]
  let removal: ContributionDefinition.Removal

  /// The rows of one modality when it is absent: none, blank ones, or another sample's.
  typealias Absent = [Role: Tensor]

  /// - Parameter absent: The rows of absent players, `[any, hidden]`; a player without an entry is deleted. Players of the
  ///   prompt only.
  func contribution(of item: ContributionCase, absent: Absent, sample: String) throws(ProbeError)
    -> Contribution
  {
    let present = players.filter { !item.rows(of: $0).isEmpty }
    let pass = try CoalitionPass(item, present, absent: absent, sample: sample)
    let logits = pass.logits(item)
    let target = item.target(logits[logits.count - 1])
    let known = logits.map(target.value)
    // The coalitions of all players, those the prompt lacks making no difference.
    let values = (0..<1 << players.count).map { coalition -> Double in
      var place = 0
      for (bit, player) in present.enumerated() {
        guard let index = players.firstIndex(of: player) else { continue }
        place |= (coalition >> index & 1) << bit
      }
      return known[place]
    }
    let shapley = Self.values(values, playerCount: players.count)
    var effect = [Double](repeating: 0, count: item.definition.groups.count)
    for (player, value) in zip(players, shapley) {
      if let group = item.definition.group(of: player) { effect[group] = value }
    }
    return Contribution(
      target: item.record(target, logits[logits.count - 1]), effect: effect, magnitude: effect.map(abs),
      cells: values, baselineValue: values[0],
      residual: shapley.reduce(0, +) - (values[values.count - 1] - values[0]))
  }

  /// Shapley values from the values of all coalitions, bit p of the index saying whether player p is in it.
  static func values(_ values: [Double], playerCount: Int) -> [Double] {
    require(values.count == 1 << playerCount, "\(values.count) values of coalitions of \(playerCount)")
    // |S|! (M − |S| − 1)! / M! = 1 / (M · binomial(M − 1, |S|)).
    var weights: [Double] = []
    var binomial = 1.0
    for size in 0..<playerCount {
      weights.append(1 / (Double(playerCount) * binomial))
      binomial = binomial * Double(playerCount - 1 - size) / Double(size + 1)
    }
    return (0..<playerCount).map { player in
      var sum = 0.0
      for coalition in values.indices where coalition >> player & 1 == 0 {
        sum += weights[coalition.nonzeroBitCount] * (values[coalition | 1 << player] - values[coalition])
      }
      return sum
    }
  }
}

/// The rows of all coalitions of a prompt's modalities as branches of one sequence.
struct CoalitionPass {
  /// `[rows, hidden]`.
  let embeddings: Tensor
  let context: TokenContext
  /// The last row of each coalition.
  let lastRows: [Int]
  /// The rows of the whole pass.
  var rowCount: Int { context.roles.count }

  init(
    _ item: ContributionCase, _ players: [Role], absent: ModalityShapley.Absent, sample: String
  ) throws(ProbeError) {
    let spans = item.prompt.spans.spans
    let first = spans.first { players.contains($0.role) }?.positions.lowerBound ?? item.prompt.count
    // Each coalition as pieces of rows after the shared ones. Absent rows are taken in order from those of their player,
    // since a modality can have several spans; all that are left come with its last span.
    // `rows` are the rows of the prompt whose places they take.
    var branches: [(parts: [Tensor], roles: [Role], rows: [Int])] = []
    for coalition in 0..<1 << players.count {
      var branch: (parts: [Tensor], roles: [Role], rows: [Int]) = ([], [], [])
      var used: [Role: Int] = [:]
      for (index, span) in spans.enumerated() where span.positions.upperBound > first {
        let positions = max(first, span.positions.lowerBound)..<span.positions.upperBound
        guard let player = players.firstIndex(of: span.role), coalition >> player & 1 == 0 else {
          branch.parts.append(item.embeddings.slice(positions))
          branch.roles += [Role](repeating: span.role, count: positions.count)
          branch.rows += positions
          continue
        }
        guard let rows = absent[span.role] else { continue }
        let start = min(rows.rows, used[span.role] ?? 0)
        let isLast = !spans[(index + 1)...].contains { $0.role == span.role }
        let end = isLast ? rows.rows : min(rows.rows, start + positions.count)
        used[span.role] = end
        if end > start { branch.parts.append(rows.slice(start..<end)) }
        branch.roles += [Role](repeating: span.role, count: end - start)
        branch.rows += (0..<end - start).map { min(positions.lowerBound + $0, positions.upperBound - 1) }
      }
      branches.append(branch)
    }
    // A branch needs a row of its own to predict from; where deletion leaves none, the last shared row becomes one.
    let needsRow = branches.contains { $0.roles.isEmpty }
    let shared = needsRow ? first - 1 : first
    guard shared >= 0 else { throw .nothingLeft(sample: sample) }
    var parts: [Tensor] = shared > 0 ? [item.embeddings.slice(0..<shared)] : []
    var roles = Array(item.roles[..<shared])
    var (positions, rows) = (Array(0..<shared), Array(0..<shared))
    var ids = [Int](repeating: -1, count: shared)
    var lastRows: [Int] = []
    for (number, branch) in branches.enumerated() {
      if needsRow { parts.append(item.embeddings.slice(shared..<first)) }
      parts += branch.parts
      let own = (needsRow ? [item.roles[shared]] : []) + branch.roles
      roles += own
      positions += shared..<shared + own.count
      rows += (needsRow ? [shared] : []) + branch.rows
      ids += [Int](repeating: number, count: own.count)
      lastRows.append(roles.count - 1)
    }
    embeddings = Tensor.concatenated(parts)
    // On one axis the rows that are left close up; on several each keeps its place, since a grid cannot.
    let own = item.prompt.positions
    context = TokenContext(
      segments: .single(roles.count),
      positions: own.axes.count == 1 ? RowPositions(positions) : own.selecting(rows), roles: roles,
      mask: .branches(prefix: [shared], ids: [ids]))
    self.lastRows = lastRows
  }

  /// The logits of the last row of each coalition.
  func logits(_ item: ContributionCase) -> [[Float]] {
    var options = ForwardOptions()
    options.logits = .rows(lastRows)
    return item.decoder.forward(embeddings, context: context, options: options).logits?.hostRows() ?? []
  }
}
