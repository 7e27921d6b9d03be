/// A token that a checkpoint defines beside its model.
struct AddedToken: Sendable, Equatable {
  /// How it is written in a text.
  var content: String
  /// Its id; beyond the pieces of the model, or that of the equally spelled piece.
  let id: Int
  /// Whether it steers the model, such as the end of a sequence, and is left out of decoded text.
  var isSpecial = false
  /// Whether spaces before it in a text belong to it.
  var stripsLeft = false
  /// Whether spaces after it in a text belong to it.
  var stripsRight = false
  /// Whether it is found only where no letter or digit stands beside it.
  var isSingleWord = false
  /// Whether it is looked for in the normalized text instead of the text as written.
  var isNormalized = false
}

/// Finds added tokens in a text, by bytes: the first place, there the longest token.
struct AddedTokenMatcher: Sendable {
  /// A part of a text, by its bytes.
  enum Part: Equatable {
    /// Text between tokens.
    case text(Range<Int>)
    /// A token, by its id, with the spaces that belong to it.
    case token(Int, Range<Int>)
  }

  private let tokens: [AddedToken]
  /// The trie of the tokens' bytes: for a node and a byte the next node.
  private var children = PairTable(minimumCapacity: 64)
  /// For every node the token that ends there, or -1. The root is node 0.
  private var ends: [Int32] = [-1]
  private var startsToken = [Bool](repeating: false, count: 256)

  init(_ tokens: [AddedToken]) {
    self.tokens = tokens
    for (index, token) in tokens.enumerated() {
      var node: Int32 = 0
      for byte in token.content.utf8 {
        if let child = children[node, Int32(byte)] {
          node = Int32(child)
        } else {
          children[node, Int32(byte)] = UInt64(ends.count)
          node = Int32(ends.count)
          ends.append(-1)
        }
      }
      guard node != 0 else { continue }
      if let first = token.content.utf8.first { startsToken[Int(first)] = true }
      if ends[Int(node)] < 0 { ends[Int(node)] = Int32(index) }
    }
  }

  /// The longest token that starts at a byte, and where it ends.
  private func longest(_ text: [UInt8], _ start: Int) -> (token: AddedToken, end: Int)? {
    var (node, position): (Int32, Int) = (0, start)
    var found: (AddedToken, Int)?
    while position < text.count, let child = children[node, Int32(text[position])] {
      node = Int32(child)
      position += 1
      if ends[Int(node)] >= 0 { found = (tokens[Int(ends[Int(node)])], position) }
    }
    return found
  }

  /// Cuts a text at its tokens; parts without bytes are left out.
  func split(_ text: [UInt8]) -> [Part] {
    var parts: [Part] = []
    var (start, position) = (0, 0)
    while position < text.count {
      guard startsToken[Int(text[position])], let (token, tokenEnd) = longest(text, position) else {
        position += 1
        continue
      }
      let tokenStart = position
      position = tokenEnd
      if token.isSingleWord,
        Self.isWord(text, before: tokenStart) || Self.isWord(text, after: tokenEnd)
      {
        continue
      }
      var (from, to) = (tokenStart, tokenEnd)
      if token.stripsLeft { from = Self.spaceStart(text, before: from) }
      // The token before may own these spaces already.
      from = max(start, from)
      if token.stripsRight { to = Self.spaceEnd(text, after: to) }
      if from > start { parts.append(.text(start..<from)) }
      parts.append(.token(token.id, min(from, to)..<to))
      start = max(start, to)
    }
    if start < text.count { parts.append(.text(start..<text.count)) }
    return parts
  }

  private static func isSpace(_ scalar: Int) -> Bool {
    guard scalar < CharacterClasses.limit else { return false }
    let found = CharacterClasses.shared.classes[scalar]
    return found == CharacterClasses.Class.space || found == CharacterClasses.Class.newline
  }

  /// Where the character before a position starts.
  private static func characterStart(_ text: [UInt8], before position: Int) -> Int {
    var start = position - 1
    while start > 0, text[start] & 0xC0 == 0x80 { start -= 1 }
    return start
  }

  private static func spaceStart(_ text: [UInt8], before position: Int) -> Int {
    var position = position
    while position > 0 {
      let start = characterStart(text, before: position)
      guard isSpace(UTF8Text.scalar(text, start).value) else { break }
      position = start
    }
    return position
  }

  private static func spaceEnd(_ text: [UInt8], after position: Int) -> Int {
    var position = position
    while position < text.count {
      let (scalar, count) = UTF8Text.scalar(text, position)
      guard isSpace(scalar) else { break }
      position += count
    }
    return position
  }

  private static func isWord(_ text: [UInt8], before position: Int) -> Bool {
    position > 0 && isWord(UTF8Text.scalar(text, characterStart(text, before: position)).value)
  }

  private static func isWord(_ text: [UInt8], after position: Int) -> Bool {
    position < text.count && isWord(UTF8Text.scalar(text, position).value)
  }

  /// `\w` of Unicode Technical Standard 18: letters, marks, decimal digits, connectors and joiners.
  static func isWord(_ scalar: Int) -> Bool {
    guard let scalar = Unicode.Scalar(UInt32(scalar)) else { return false }
    if scalar.properties.isAlphabetic || scalar.value == 0x200C || scalar.value == 0x200D { return true }
    switch scalar.properties.generalCategory {
    case .nonspacingMark, .spacingMark, .enclosingMark, .decimalNumber, .connectorPunctuation: return true
    default: return false
    }
  }
}
