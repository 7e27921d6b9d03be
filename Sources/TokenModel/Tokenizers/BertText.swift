import Foundation

/// A text on its way through the steps that BERT takes before it looks words up.
///
/// Source: Devlin et al., "BERT", NAACL 2019, arXiv:1810.04805, and `tokenization.py` of its authors, as the `tokenizers`
/// library 0.23 does it in `BertNormalizer` and `BertPreTokenizer`. The library knows the classes of characters as of
/// Unicode 8; those of later characters have none for it.
struct BertText {
  /// What is done to the text.
  struct Options: Sendable, Equatable {
    /// Whether control characters go and every kind of space becomes one.
    var cleansText = true
    /// Whether every Chinese character is a word.
    var separatesChinese = true
    /// Whether marks over and under letters go.
    var stripsAccents = true
    /// Whether letters become small.
    var lowercases = true
  }

  /// A character, and the bytes of the original text that it stands for.
  struct Element {
    var scalar: Unicode.Scalar
    var place: Range<Int>
  }

  private(set) var elements: [Element]

  /// - Parameters:
  ///   - bytes: Well-formed UTF-8.
  ///   - origin: Where it begins in the original text.
  init(_ bytes: ArraySlice<UInt8>, origin: Int, options: Options) {
    elements = []
    elements.reserveCapacity(bytes.count)
    var start = origin
    for scalar in String(decoding: bytes, as: UTF8.self).unicodeScalars {
      let place = start..<start + UTF8.width(scalar)
      start = place.upperBound
      if options.cleansText {
        if scalar.value == 0 || scalar.value == 0xFFFD || Self.isControl(scalar) { continue }
        if Self.isSpace(scalar) {
          elements.append(Element(scalar: " ", place: place))
          continue
        }
      }
      let isWord = options.separatesChinese && Self.isChinese(scalar)
      if isWord { elements.append(Element(scalar: " ", place: place.lowerBound..<place.lowerBound)) }
      elements.append(Element(scalar: scalar, place: place))
      if isWord { elements.append(Element(scalar: " ", place: place.upperBound..<place.upperBound)) }
    }
    if options.stripsAccents { stripAccents() }
    if options.lowercases { lowercase() }
  }

  /// Normalization form D without the marks that take no room.
  private mutating func stripAccents() {
    var output: [Element] = []
    output.reserveCapacity(elements.count)
    for element in elements {
      if element.scalar.isASCII || !Self.isKnown(element.scalar) {
        output.append(element)
        continue
      }
      let parts = String(Character(element.scalar)).decomposedStringWithCanonicalMapping.unicodeScalars
      output += parts.map { Element(scalar: $0, place: element.place) }
    }
    Self.reorder(&output)
    elements = output.filter { !Self.isMark($0.scalar) }
  }

  /// Puts runs of combining characters into the order of their classes.
  private static func reorder(_ elements: inout [Element]) {
    var start = 0
    while start < elements.count {
      var end = start
      while end < elements.count, combiningClass(elements[end].scalar) != 0 { end += 1 }
      if end - start > 1 {
        let sorted = elements[start..<end].enumerated().sorted {
          (combiningClass($0.element.scalar), $0.offset) < (combiningClass($1.element.scalar), $1.offset)
        }
        elements.replaceSubrange(start..<end, with: sorted.map(\.element))
      }
      start = max(end, start + 1)
    }
  }

  private static func combiningClass(_ scalar: Unicode.Scalar) -> UInt8 {
    scalar.value < 0x300 ? 0 : scalar.properties.canonicalCombiningClass.rawValue
  }

  private mutating func lowercase() {
    elements = elements.flatMap { element -> [Element] in
      element.scalar.properties.lowercaseMapping.unicodeScalars.map {
        Element(scalar: $0, place: element.place)
      }
    }
  }

  /// The words: what stands between spaces, with every punctuation mark by itself.
  var words: [ArraySlice<Element>] {
    var words: [ArraySlice<Element>] = []
    var start = 0
    func close(_ end: Int) {
      if end > start { words.append(elements[start..<end]) }
    }
    for (index, element) in elements.enumerated() {
      if element.scalar.properties.isWhitespace {
        close(index)
        start = index + 1
      } else if Self.isPunctuation(element.scalar) {
        close(index)
        words.append(elements[index...index])
        start = index + 1
      }
    }
    close(elements.count)
    return words
  }

  // MARK: - Classes of characters

  /// Whether the library's tables have the character.
  private static func isKnown(_ scalar: Unicode.Scalar) -> Bool {
    guard let age = scalar.properties.age else { return false }
    return age.major <= 8
  }

  private static func isSpace(_ scalar: Unicode.Scalar) -> Bool { scalar.properties.isWhitespace }

  private static func isControl(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar {
    case "\t", "\n", "\r": return false
    default: break
    }
    switch scalar.properties.generalCategory {
    case .control, .format, .privateUse, .surrogate: return isKnown(scalar)
    default: return false
    }
  }

  private static func isChinese(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x4E00...0x9FFF, 0x3400...0x4DBF, 0x20000...0x2A6DF, 0x2A700...0x2B73F, 0x2B740...0x2B81F,
      0x2B920...0x2CEAF, 0xF900...0xFAFF, 0x2F800...0x2FA1F:
      true
    default: false
    }
  }

  /// Category Mn, as of Unicode 8.
  private static func isMark(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 0x1734, 0x1171E: true
    case 0x1885, 0x1886, 0xA9BD, 0x111C9: false
    default: scalar.properties.generalCategory == .nonspacingMark && isKnown(scalar)
    }
  }

  /// The characters of ASCII that are no letters, digits, spaces or controls, and categories P, as of Unicode 8.
  private static func isPunctuation(_ scalar: Unicode.Scalar) -> Bool {
    switch scalar.value {
    case 33...47, 58...64, 91...96, 123...126, 0x166D, 0x111C9: return true
    default: break
    }
    switch scalar.properties.generalCategory {
    case .connectorPunctuation, .dashPunctuation, .openPunctuation, .closePunctuation, .initialPunctuation,
      .finalPunctuation, .otherPunctuation:
      return isKnown(scalar)
    default: return false
    }
  }
}
