import Foundation
import TensorCore
import TokenModel

/// Attention knockout: what the target loses when chosen rows cannot see the keys of a group.
///
/// Attention logits from the blinded rows to the hidden keys are set to −∞ in a window of layers, or in one head. Two numbers are
/// reported for each group of keys, set of rows and window: (p′ − p) / p of the piece, and the change of the target. The
/// effect of a group is the target it loses when hidden from the first set of rows in all layers.
///
/// Source: Geva et al., "Dissecting Recall of Factual Associations", EMNLP 2023, arXiv:2304.14767, section 5; for
/// vision-language models arXiv:2411.18620.
struct KnockoutEffect {
  let queries: [ContributionDefinition.Blinded]
  let keys: [Role]
  let window: Int
  let byHead: Bool
  /// The most rows of one pass; prompts are repeated once for each cut.
  private static let rowLimit = 4096

  /// One way to cut a prompt.
  private struct Cut {
    let blinded: [Int]
    let hidden: [Int]
    let layers: Range<Int>
    let head: Int?
    /// Its place among all cuts, those of the prompt or not.
    let place: Int
  }

  func contribution(of item: ContributionCase) -> Contribution {
    let sizes = item.decoder.configuration
    let places = ContributionDefinition.cutPlaces(
      window, byHead: byHead, layerCount: sizes.layerCount, headCount: sizes.headCount)
    var cuts: [Cut] = []
    var place = 0
    for key in keys {
      for query in queries {
        let (hidden, blinded) = (item.rows(of: key), rows(query, key, item))
        for cut in places {
          if !hidden.isEmpty && !blinded.isEmpty {
            cuts.append(
              Cut(blinded: blinded, hidden: hidden, layers: cut.layers, head: cut.head, place: place))
          }
          place += 1
        }
      }
    }
    // The prompt as it is comes first.
    let logits = logits(item, cuts)
    let target = item.target(logits[0])
    let (value, logProbability) = (target.value(logits[0]), target.logProbability(logits[0]))
    var cells = [Double](repeating: 0, count: 2 * place)
    for (cut, row) in zip(cuts, logits.dropFirst()) {
      cells[2 * cut.place] = expm1(target.logProbability(row) - logProbability)
      cells[2 * cut.place + 1] = target.value(row) - value
    }
    var effect = [Double](repeating: 0, count: item.definition.groups.count)
    for (number, key) in keys.enumerated() {
      // The first set of rows and the first window, all layers.
      let cell = cells[2 * number * queries.count * places.count + 1]
      if let group = item.definition.group(of: key) { effect[group] = 0 - cell }
    }
    return Contribution(
      target: item.record(target, logits[0]), effect: effect, magnitude: effect.map(abs), cells: cells)
  }

  private func rows(_ query: ContributionDefinition.Blinded, _ key: Role, _ item: ContributionCase) -> [Int] {
    switch query {
    case .last: [item.prompt.count - 1]
    case .others: item.roles.indices.filter { item.roles[$0] != key }
    case .role(let role): item.rows(of: role)
    }
  }

  /// The logits of the last row of the prompt as it is, and of each cut.
  private func logits(_ item: ContributionCase, _ cuts: [Cut]) -> [[Float]] {
    let copies = max(1, Self.rowLimit / item.prompt.count)
    var all: [[Float]] = []
    var (start, total) = (0, cuts.count + 1)
    while start < total {
      let count = min(copies, total - start)
      let length = item.prompt.count
      let parts = (0..<count).compactMap { copy -> FlowKnockout.Part? in
        guard start + copy > 0 else { return nil }
        let cut = cuts[start + copy - 1]
        return FlowKnockout.Part(
          blinded: cut.blinded.map { copy * length + $0 }, hidden: cut.hidden.map { copy * length + $0 },
          layers: cut.layers, head: cut.head, rows: copy * length..<(copy + 1) * length)
      }
      var options = ForwardOptions()
      options.interventions = [FlowKnockout(parts: parts)]
      let context = TokenContext(
        segments: RowSegments(lengths: [Int](repeating: length, count: count)),
        positions: .concatenated((0..<count).map { _ in item.prompt.positions }),
        roles: (0..<count).flatMap { _ in item.roles })
      let embeddings = Tensor.concatenated([Tensor](repeating: item.embeddings, count: count))
      all += item.decoder.forward(embeddings, context: context, options: options).logits?.hostRows() ?? []
      start += count
    }
    return all
  }
}

/// Attention knockout by rows of a ragged batch, each sequence with its own window of layers.
struct FlowKnockout: Intervention {
  /// What is cut in one sequence.
  struct Part: Sendable {
    /// Rows of the batch that are blinded.
    let blinded: [Int]
    /// Rows of the batch, of the same sequence, whose keys they do not see.
    let hidden: [Int]
    let layers: Range<Int>
    /// The head, or nil for all.
    let head: Int?
    /// The rows of the sequence.
    let rows: Range<Int>
  }

  let parts: [Part]

  /// The keys hidden in a layer.
  func knockout(layer: Int, context: TokenContext, keyRows: KeyRows) -> AttentionKnockout? {
    require(keyRows.count == context.roles.count, "a knockout by rows over a cache")
    let active = parts.filter { $0.head == nil && $0.layers.contains(layer) }
    guard !active.isEmpty else { return nil }
    // One pair of sets for all sequences: a row sees keys of its own sequence only.
    var queries = [Bool](repeating: false, count: context.roles.count)
    var keys = queries
    for part in active {
      for row in part.blinded { queries[row] = true }
      for row in part.hidden { keys[row] = true }
    }
    return AttentionKnockout(queries: queries, keys: keys)
  }

  /// The probabilities of a single head without the hidden keys: what logits of −∞ give.
  func attentionEdit(layer: Int, context: TokenContext) -> AttentionEdit? {
    var partOfRow: [Int: Part] = [:]
    for part in parts where part.head != nil && part.layers.contains(layer) {
      for row in part.blinded { partOfRow[row] = part }
    }
    guard !partOfRow.isEmpty else { return nil }
    return { [partOfRow] head, row, probabilities in
      guard let part = partOfRow[row], part.head == head else { return }
      for key in part.hidden { probabilities[key - part.rows.lowerBound] = 0 }
      let rest = probabilities.reduce(0, +)
      guard rest > 0 else { return }
      for key in probabilities.indices { probabilities[key] /= rest }
    }
  }
}
