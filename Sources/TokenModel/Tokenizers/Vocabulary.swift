/// Pieces and added tokens by their spelling.
struct Vocabulary {
  /// The ids by spelling; an added token wins over an equally spelled piece.
  private(set) var ids: [PieceKey: Int]
  /// Added tokens by id.
  private(set) var addedTokens: [Int: AddedToken]
  private let path: String
  private let pieces: [SentencePieceProto.Piece]

  /// - Parameter addedTokens: No two with the same id or spelling.
  /// - Throws: `TokenizerError.conflictingToken` when one has the id of another piece.
  init(path: String, proto: SentencePieceProto, addedTokens: [AddedToken]) throws(TokenizerError) {
    self.path = path
    pieces = proto.pieces
    ids = Dictionary(minimumCapacity: pieces.count + addedTokens.count)
    self.addedTokens = [:]
    for (id, piece) in pieces.enumerated() { ids[PieceKey(piece.text)] = id }
    for token in addedTokens {
      if token.id < pieces.count, PieceKey(pieces[token.id].text) != PieceKey(token.content) {
        throw .conflictingToken(
          path: path, token: token.content, id: token.id,
          reason: "in tokenizer.model that is \(pieces[token.id].text.inQuotes)")
      }
      ids[PieceKey(token.content)] = token.id
      self.addedTokens[token.id] = token
    }
  }

  /// The id of a piece if it is of one kind.
  func id(of text: String, kind: SentencePieceProto.PieceKind) -> Int? {
    guard let id = ids[PieceKey(text)], id < pieces.count, pieces[id].kind == kind else { return nil }
    return id
  }

  /// The id of a token with a role.
  ///
  /// - Parameter fallback: Where no file speaks of it.
  /// - Throws: `TokenizerError.unknownToken`.
  func id(of token: TokenizerSettings.NamedToken, key: String, default fallback: Int?)
    throws(TokenizerError) -> Int?
  {
    switch token {
    case .unspecified: return fallback
    case .none: return nil
    case .token(let text):
      guard let id = ids[PieceKey(text)] else { throw .unknownToken(path: path, key: key, token: text) }
      return id
    }
  }

  /// Makes a token one that steers the model: found in texts, left out of decoded text.
  mutating func markSpecial(_ id: Int) {
    if addedTokens[id] == nil, id < pieces.count {
      addedTokens[id] = AddedToken(content: pieces[id].text, id: id)
    }
    addedTokens[id]?.isSpecial = true
  }
}
