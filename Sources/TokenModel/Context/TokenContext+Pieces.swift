import TensorCore

/// Contexts of some of the rows of a batch, for layers that treat every row alike.
extension TokenContext {
  /// A piece of the rows and its context.
  struct Piece {
    let rows: Range<Int>
    let context: TokenContext
  }

  /// The batch in pieces of at most `rows` rows: long sequences are cut in as few and as even parts as possible, short ones
  /// stay whole, so that a sequence is cut the same way alone and in a batch.
  func pieces(rows limit: Int) -> [Piece] {
    var lengths: [[Int]] = [[]]
    var filled = 0
    for index in 0..<segments.count {
      var rest = segments[index].count
      let parts = (rest + limit - 1) / limit
      let size = parts == 0 ? 0 : (rest + parts - 1) / parts
      while rest > 0 {
        let length = min(rest, size)
        if filled + length > limit {
          lengths.append([])
          filled = 0
        }
        lengths[lengths.count - 1].append(length)
        filled += length
        rest -= length
      }
    }
    var start = 0
    return lengths.map { lengths in
      let rows = start..<start + lengths.reduce(0, +)
      start = rows.upperBound
      return Piece(rows: rows, context: rowwise(RowSegments(lengths: lengths), rows: Array(rows)))
    }
  }

  /// The context of single rows, each a segment of its own or together with neighbours of its sequence.
  func selecting(rows: [Int]) -> TokenContext {
    var lengths: [Int] = []
    var sequence = -1
    for row in rows {
      let owner = segments.offsets.lastIndex { $0 <= row } ?? 0
      if owner == sequence { lengths[lengths.count - 1] += 1 } else { lengths.append(1) }
      sequence = owner
    }
    return rowwise(RowSegments(lengths: lengths), rows: rows)
  }

  private func rowwise(_ segments: RowSegments, rows: [Int]) -> TokenContext {
    var context = TokenContext(
      segments: segments, positions: positions.selecting(rows), roles: rows.map { roles[$0] }, mask: .full,
      phase: phase)
    context.joinsSequences = joinsSequences
    context.adaptedModalities = adaptedModalities
    return context
  }
}
