/// A token that a checkpoint defines beside its SentencePiece model.
struct AddedToken: Sendable, Equatable {
  /// How it is written in a text.
  let content: String
  /// Its id; beyond the pieces of the model, or that of the equally spelled piece.
  let id: Int
  /// Whether it steers the model, such as the end of a sequence, and is left out of decoded text.
  var isSpecial = false
  /// Whether spaces before it in a text belong to it.
  var stripsLeft = false
  /// Whether spaces after it in a text belong to it.
  var stripsRight = false
}

/// Finds added tokens in a text, by bytes: the first place, there the longest token.
struct AddedTokenMatcher: Sendable {
  /// A part of a text.
  enum Part: Equatable {
    /// Text between tokens, by its bytes' place.
    case text(Range<Int>)
    /// A token, by its id.
    case token(Int)
  }

  /// Tokens by their first byte, the longest first.
  private let tokens: [UInt8: [(bytes: [UInt8], token: AddedToken)]]

  init(_ tokens: [AddedToken]) {
    var byFirst: [UInt8: [(bytes: [UInt8], token: AddedToken)]] = [:]
    for token in tokens.sorted(by: { $0.content.utf8.count > $1.content.utf8.count }) {
      let bytes = Array(token.content.utf8)
      if let first = bytes.first { byFirst[first, default: []].append((bytes, token)) }
    }
    self.tokens = byFirst
  }

  /// Cuts a text at its tokens; parts without bytes are left out.
  func split(_ text: [UInt8]) -> [Part] {
    var parts: [Part] = []
    var (start, position) = (0, 0)
    while position < text.count {
      guard
        let (bytes, token) = tokens[text[position]]?.first(where: { text[position...].starts(with: $0.bytes) }
        )
      else {
        position += 1
        continue
      }
      var end = position
      if token.stripsLeft { while end > start, Self.isSpace(text[end - 1]) { end -= 1 } }
      if end > start { parts.append(.text(start..<end)) }
      parts.append(.token(token.id))
      position += bytes.count
      if token.stripsRight { while position < text.count, Self.isSpace(text[position]) { position += 1 } }
      start = position
    }
    if start < text.count { parts.append(.text(start..<text.count)) }
    return parts
  }

  private static func isSpace(_ byte: UInt8) -> Bool { byte == 0x20 || 0x09...0x0D ~= byte }
}
