/// The regular expressions by which byte-level tokenizers cut a text into words.
///
/// A pattern is known by its exact text, and is run as a scanner written by hand that takes the alternatives of the
/// pattern in their order: linear in the text, where a general engine could be made to backtrack. Every character
/// belongs to a match, so the words cover the text.
///
/// Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019 (GPT-2, `encoder.py`); the
/// patterns of Llama 3 and Qwen2 as their `tokenizer.json` give them. Characters: `CharacterClasses`.
enum SplitPattern: CaseIterable, Sendable {
  /// Words with the space before them; runs of digits.
  case gpt2
  /// Words with one character before them, line feeds kept together, single digits.
  case qwen2
  /// As Qwen2, with up to three digits together.
  case llama3

  /// The pattern as files spell it.
  var text: String {
    switch self {
    case .gpt2: #"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"#
    case .qwen2: Self.modern(digits: #"\p{N}"#)
    case .llama3: Self.modern(digits: #"\p{N}{1,3}"#)
    }
  }

  private static func modern(digits: String) -> String {
    #"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|"# + digits
      + #"| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"#
  }

  /// The pattern with this text; nil for any other.
  init?(_ text: String) {
    guard let pattern = Self.allCases.first(where: { $0.text == text }) else { return nil }
    self = pattern
  }

  private typealias Class = CharacterClasses.Class

  /// Calls `match` with each match of a stretch of text, in order.
  func forEachMatch(_ bytes: [UInt8], _ range: Range<Int>, _ match: (Range<Int>) -> Void) {
    let reader = ClassReader(bytes, end: range.upperBound)
    var position = range.lowerBound
    while position < range.upperBound {
      let end: Int
      switch self {
      case .gpt2: end = Self.gpt2End(reader, position)
      case .qwen2: end = Self.modernEnd(reader, position, digits: 1)
      case .llama3: end = Self.modernEnd(reader, position, digits: 3)
      }
      match(position..<end)
      position = end
    }
  }

  private static func gpt2End(_ reader: ClassReader, _ start: Int) -> Int {
    if let end = contraction(reader, start, ignoringCase: false) { return end }
    // ` ?\p{L}+`, ` ?\p{N}+` and ` ?[^\s\p{L}\p{N}]+` differ in the class alone.
    let wordStart = reader.byte(start) == UInt8(ascii: " ") ? start + 1 : start
    let found = reader.read(wordStart).class
    if found == Class.letter || found == Class.number || found == Class.other {
      return reader.run(of: found, from: wordStart)
    }
    return spaceEnd(reader, start, keepsNewlines: false)
  }

  private static func modernEnd(_ reader: ClassReader, _ start: Int, digits: Int) -> Int {
    if let end = contraction(reader, start, ignoringCase: true) { return end }
    let (first, second) = reader.read(start)
    if first == Class.letter { return reader.run(of: Class.letter, from: second) }
    if first == Class.number {
      var (end, count) = (second, 1)
      while count < digits {
        let (next, after) = reader.read(end)
        guard next == Class.number else { break }
        (end, count) = (after, count + 1)
      }
      return end
    }
    // `[^\r\n\p{L}\p{N}]?\p{L}+` with the character before the letters.
    if first != Class.newline, reader.read(second).class == Class.letter {
      return reader.run(of: Class.letter, from: second)
    }
    // ` ?[^\s\p{L}\p{N}]+[\r\n]*`
    let signStart = reader.byte(start) == UInt8(ascii: " ") ? second : start
    if reader.read(signStart).class == Class.other {
      return reader.run(of: Class.newline, from: reader.run(of: Class.other, from: signStart))
    }
    return spaceEnd(reader, start, keepsNewlines: true)
  }

  /// `\s*[\r\n]+|\s+(?!\S)|\s+`, or without its first alternative, at a space.
  private static func spaceEnd(_ reader: ClassReader, _ start: Int, keepsNewlines: Bool) -> Int {
    var (position, last, newlineEnd) = (start, start, start)
    while true {
      let (found, next) = reader.read(position)
      guard found == Class.space || found == Class.newline else {
        // The greedy `\s*` gives characters back until a line feed follows, which is the last one of the run.
        if keepsNewlines, newlineEnd > start { return newlineEnd }
        // A space before a word is left to the word, unless it is all there is.
        return found == Class.end || last == start ? position : last
      }
      if found == Class.newline { newlineEnd = next }
      (last, position) = (position, next)
    }
  }

  /// `'s|'t|'re|'ve|'m|'ll|'d`. Without regard to case `ſ` (U+017F) is an s too, as Unicode folds it.
  private static func contraction(_ reader: ClassReader, _ start: Int, ignoringCase: Bool) -> Int? {
    guard reader.byte(start) == UInt8(ascii: "'"), let first = reader.byte(start + 1) else { return nil }
    let fold: (UInt8) -> UInt8 = { ignoringCase && 0x41...0x5A ~= $0 ? $0 | 0x20 : $0 }
    switch fold(first) {
    case UInt8(ascii: "s"), UInt8(ascii: "t"), UInt8(ascii: "m"), UInt8(ascii: "d"): return start + 2
    case UInt8(ascii: "r"), UInt8(ascii: "v"):
      return reader.byte(start + 2).map(fold) == UInt8(ascii: "e") ? start + 3 : nil
    case UInt8(ascii: "l"): return reader.byte(start + 2).map(fold) == UInt8(ascii: "l") ? start + 3 : nil
    case 0xC5 where ignoringCase: return reader.byte(start + 2) == 0xBF ? start + 3 : nil
    default: return nil
    }
  }
}
