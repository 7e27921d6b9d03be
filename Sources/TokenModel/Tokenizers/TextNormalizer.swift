/// A step of the `normalizer` of a `tokenizer.json`: changes the text before it is cut.
enum TextNormalizer: Sendable {
  /// Unicode normalization form C.
  case composition
  /// Puts a text before every stretch that is not empty.
  case prepend([UInt8])
  /// Replaces a text wherever it stands.
  case replace([UInt8], with: [UInt8])
  /// Several in order.
  case sequence([TextNormalizer])

  /// The names of the supported kinds.
  static let supported = ["NFC", "Prepend", "Replace (of a text)", "Sequence", "null"]

  /// Changes a stretch of text.
  func apply(_ text: inout NormalizedText) {
    switch self {
    case .composition: text.composeCanonically()
    case .prepend(let content): if !text.bytes.isEmpty { text.prepend(content) }
    case .replace(let pattern, let content): text.replace(pattern, with: content)
    case .sequence(let steps): for step in steps { step.apply(&text) }
    }
  }
}

/// A step of the `pre_tokenizer` of a `tokenizer.json`: cuts a text into the stretches that are merged each by itself.
enum PreTokenizer: Sendable {
  /// Where a mark is put before a text.
  enum PrependScheme: String, Sendable { case first, always, never }
  /// What becomes of the matches of a split.
  enum SplitBehavior: String, Sendable {
    case removed = "Removed"
    case isolated = "Isolated"
    case mergedWithPrevious = "MergedWithPrevious"
    case mergedWithNext = "MergedWithNext"
    case contiguous = "Contiguous"
  }

  /// Cuts at a pattern whose matches cover the text.
  case pattern(SplitPattern)
  /// Cuts at a text.
  case text([UInt8], SplitBehavior, isInverted: Bool)
  /// Prepares for pieces that spell bytes; always the last step.
  case byteLevel(addsPrefixSpace: Bool, isSplitting: Bool)
  /// Marks spaces with a sign.
  case metaspace([UInt8], PrependScheme, isSplitting: Bool)
  /// Cuts at numbers.
  case digits(isIndividual: Bool)

  /// The names of the supported kinds.
  static let supported = [
    "Split", "ByteLevel (as the last step)", "Metaspace", "Digits", "Sequence", "null",
  ]

  /// Cuts every piece.
  func apply(_ pieces: inout PieceList) {
    switch self {
    case .pattern(let pattern):
      pieces.split { text, range, keep in pattern.forEachMatch(text, range, keep) }
    case .text(let text, let behavior, let isInverted):
      pieces.split { bytes, range, keep in
        Self.cut(Self.matches(of: text, in: bytes, range), range, behavior, isInverted, keep)
      }
    case .byteLevel(let addsPrefixSpace, let isSplitting):
      if addsPrefixSpace {
        pieces.edit { text in
          if text.bytes.first != UInt8(ascii: " ") { text.prepend([UInt8(ascii: " ")]) }
        }
      }
      if isSplitting { Self.pattern(.gpt2).apply(&pieces) }
    case .metaspace(let mark, let scheme, let isSplitting):
      pieces.edit { text in
        text.replace([UInt8(ascii: " ")], with: mark)
        guard scheme == .always || (scheme == .first && text.origin == 0), !text.bytes.starts(with: mark)
        else { return }
        text.prepend(mark)
      }
      if isSplitting { Self.text(mark, .mergedWithNext, isInverted: false).apply(&pieces) }
    case .digits(let isIndividual):
      pieces.split { bytes, range, keep in
        Self.cut(
          Self.numbers(in: bytes, range), range, isIndividual ? .isolated : .contiguous, false, keep)
      }
    }
  }

  /// A stretch between matches, or a match.
  private typealias Part = (range: Range<Int>, isMatch: Bool)

  private static func matches(of pattern: [UInt8], in bytes: [UInt8], _ range: Range<Int>) -> [Part] {
    var parts: [Part] = []
    var (start, position) = (range.lowerBound, range.lowerBound)
    while position + pattern.count <= range.upperBound {
      guard bytes[position] == pattern[0], bytes[position..<position + pattern.count].elementsEqual(pattern)
      else {
        position += 1
        continue
      }
      if position > start { parts.append((start..<position, false)) }
      parts.append((position..<position + pattern.count, true))
      position += pattern.count
      start = position
    }
    if start < range.upperBound { parts.append((start..<range.upperBound, false)) }
    return parts
  }

  private static func numbers(in bytes: [UInt8], _ range: Range<Int>) -> [Part] {
    let reader = ClassReader(bytes, end: range.upperBound)
    var parts: [Part] = []
    var (start, position) = (range.lowerBound, range.lowerBound)
    while position < range.upperBound {
      let (found, next) = reader.read(position)
      let isNewer =
        bytes[position] == 0xF0
        && CharacterClasses.newerNumbers.contains(UTF8Text.scalar(bytes, position).value)
      if found == CharacterClasses.Class.number || isNewer {
        if position > start { parts.append((start..<position, false)) }
        parts.append((position..<next, true))
        start = next
      }
      position = next
    }
    if start < range.upperBound { parts.append((start..<range.upperBound, false)) }
    return parts
  }

  /// Puts the parts of a text together as the behaviour asks; they cover `range` in order.
  private static func cut(
    _ parts: [Part], _ range: Range<Int>, _ behavior: SplitBehavior, _ isInverted: Bool,
    _ keep: (Range<Int>) -> Void
  ) {
    let parts = parts.map { (range: $0.range, isMatch: $0.isMatch != isInverted) }
    switch behavior {
    case .removed: for part in parts where !part.isMatch { keep(part.range) }
    case .isolated: for part in parts { keep(part.range) }
    case .contiguous:
      var start = range.lowerBound
      for (part, next) in zip(parts, parts.dropFirst()) where part.isMatch != next.isMatch {
        keep(start..<part.range.upperBound)
        start = part.range.upperBound
      }
      if start < range.upperBound { keep(start..<range.upperBound) }
    case .mergedWithPrevious:
      var (start, wasMatch) = (range.lowerBound, false)
      for part in parts {
        // A match joins what is before it unless that is a match too.
        if part.range.lowerBound > start, !part.isMatch || wasMatch {
          keep(start..<part.range.lowerBound)
          start = part.range.lowerBound
        }
        wasMatch = part.isMatch
      }
      if start < range.upperBound { keep(start..<range.upperBound) }
    case .mergedWithNext:
      var (start, wasMatch) = (range.lowerBound, false)
      for part in parts {
        if part.range.lowerBound > start, part.isMatch || !wasMatch {
          keep(start..<part.range.lowerBound)
          start = part.range.lowerBound
        }
        wasMatch = part.isMatch
      }
      if start < range.upperBound { keep(start..<range.upperBound) }
    }
  }
}

/// Stretches of text on their way through the pre-tokenizer.
struct PieceList {
  /// A stretch of one of the texts.
  struct Piece {
    let text: Int
    let range: Range<Int>
  }

  private(set) var texts: [NormalizedText]
  private(set) var pieces: [Piece]

  /// A list of one text; of none if it is empty.
  init(_ text: NormalizedText) {
    texts = [text]
    pieces = text.bytes.isEmpty ? [] : [Piece(text: 0, range: 0..<text.bytes.count)]
  }

  /// Cuts every piece into the stretches that `cut` gives to its last argument; empty ones are dropped.
  mutating func split(_ cut: ([UInt8], Range<Int>, (Range<Int>) -> Void) -> Void) {
    var output: [Piece] = []
    output.reserveCapacity(pieces.count)
    for piece in pieces {
      cut(texts[piece.text].bytes, piece.range) { range in
        if !range.isEmpty { output.append(Piece(text: piece.text, range: range)) }
      }
    }
    pieces = output
  }

  /// Changes every piece.
  mutating func edit(_ change: (inout NormalizedText) -> Void) {
    var (changed, output): ([NormalizedText], [Piece]) = ([], [])
    for piece in pieces {
      var text = texts[piece.text].slice(piece.range)
      change(&text)
      if text.bytes.isEmpty { continue }
      output.append(Piece(text: changed.count, range: 0..<text.bytes.count))
      changed.append(text)
    }
    (texts, pieces) = (changed, output)
  }
}
