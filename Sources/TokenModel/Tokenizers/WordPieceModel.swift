import RunKit

/// The pieces of a WordPiece vocabulary, and how a word is cut into them: each time the longest piece that begins the rest,
/// with a mark before every piece but the first.
///
/// Source: Schuster and Nakajima, "Japanese and Korean Voice Search", ICASSP 2012; Devlin et al., arXiv:1810.04805, section
/// 3.
struct WordPieceModel: Sendable {
  /// By id; nil for an id that no piece has.
  let pieces: [String?]
  /// By the spelling of a piece.
  let ids: [PieceKey: Int]
  /// What stands before a piece inside a word.
  let mark: String
  /// What a word becomes that cannot be cut.
  let unknownID: Int
  /// The most characters of a word; longer ones are unknown.
  let longestWord: Int

  /// The trie of the pieces' bytes: for a node and a byte the next node. Pieces that begin a word start at node 0, those
  /// inside, without the mark, at node 1.
  private var children: PairTable
  /// For every node the id of the piece that ends there, or -1.
  private var ends: [Int32] = [-1, -1]

  /// The most pieces.
  static let pieceLimit = 1 << 20
  /// The longest piece in bytes.
  private static let byteLimit = 1 << 12

  /// - Parameters:
  ///   - path: Of the vocabulary, for messages.
  ///   - vocabulary: Pieces with their ids; of equally spelled ones the last counts.
  /// - Throws: `TokenizerError`.
  init(
    path: String, vocabulary: [(piece: String, id: Int)], mark: String, unknown: String, longestWord: Int
  ) throws(TokenizerError) {
    guard vocabulary.count <= Self.pieceLimit else {
      throw .tooMany(path: path, what: "pieces", found: vocabulary.count, limit: Self.pieceLimit)
    }
    (self.mark, self.longestWord) = (mark, longestWord)
    var ids: [PieceKey: Int] = [:]
    var pieces = [String?](repeating: nil, count: (vocabulary.map(\.id).max() ?? -1) + 1)
    children = PairTable(minimumCapacity: 4 * vocabulary.count)
    for (piece, id) in vocabulary {
      guard piece.utf8.count <= Self.byteLimit else {
        throw .tooMany(path: path, what: "bytes in a piece", found: piece.utf8.count, limit: Self.byteLimit)
      }
      if let other = pieces[id], PieceKey(other) != PieceKey(piece) {
        throw .duplicateID(path: path, id: id, first: other, second: piece)
      }
      pieces[id] = piece
      ids[PieceKey(piece)] = id
    }
    guard let unknownID = ids[PieceKey(unknown)] else {
      throw .unknownToken(path: path, key: "unk_token", token: unknown)
    }
    (self.pieces, self.ids, self.unknownID) = (pieces, ids, unknownID)
    for (key, id) in ids {
      add(Array(key.text.utf8), id, from: 0)
      if key.text.utf8.starts(with: mark.utf8) {
        add(Array(key.text.utf8.dropFirst(mark.utf8.count)), id, from: 1)
      }
    }
  }

  private mutating func add(_ bytes: [UInt8], _ id: Int, from root: Int32) {
    guard !bytes.isEmpty else { return }
    var node = root
    for byte in bytes {
      if let child = children[node, Int32(byte)] {
        node = Int32(child)
      } else {
        children[node, Int32(byte)] = UInt64(ends.count)
        node = Int32(ends.count)
        ends.append(-1)
      }
    }
    ends[Int(node)] = Int32(id)
  }

  /// The pieces of a word, each with the characters it stands for; the unknown piece for all where there are none.
  func cut(_ word: ArraySlice<BertText.Element>) -> [(id: Int, place: Range<Int>)] {
    guard let first = word.first, let last = word.last else { return [] }
    let whole = [(unknownID, first.place.lowerBound..<last.place.upperBound)]
    guard word.count <= longestWord else { return whole }
    var pieces: [(Int, Range<Int>)] = []
    var start = word.startIndex
    while start < word.endIndex {
      guard let (id, end) = longest(word[start...], from: start == word.startIndex ? 0 : 1) else {
        return whole
      }
      pieces.append((id, word[start].place.lowerBound..<word[end - 1].place.upperBound))
      start = end
    }
    return pieces
  }

  /// The longest piece that begins some characters, and where it ends.
  private func longest(_ rest: ArraySlice<BertText.Element>, from root: Int32) -> (id: Int, end: Int)? {
    var node = root
    var found: (Int, Int)?
    for index in rest.indices {
      for byte in UTF8.encode(rest[index].scalar) ?? UTF8.EncodedScalar() {
        guard let child = children[node, Int32(byte)] else { return found }
        node = Int32(child)
      }
      if ends[Int(node)] >= 0 { found = (Int(ends[Int(node)]), index + 1) }
    }
    return found
  }
}
