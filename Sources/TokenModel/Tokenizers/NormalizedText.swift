import Foundation

/// A stretch of a text on its way through a normalizer, by its UTF-8 bytes, and where each byte came from.
struct NormalizedText: Sendable {
  /// A stretch of the original text, by its bytes.
  struct Place: Sendable {
    var start: Int32
    var end: Int32
  }

  /// The text as it is now.
  private(set) var bytes: [UInt8]
  /// Where the stretch begins in the original text.
  let origin: Int
  /// Whether places are kept.
  private let isTracked: Bool
  /// For every byte the original bytes it stands for; nil while the text is as it was.
  private var places: [Place]?

  /// - Parameters:
  ///   - bytes: Well-formed UTF-8.
  ///   - isTracked: Whether `place(of:)` will be asked for.
  init(_ bytes: [UInt8], origin: Int, isTracked: Bool) {
    (self.bytes, self.origin, self.isTracked) = (bytes, origin, isTracked)
  }

  /// A stretch of this text.
  func slice(_ range: Range<Int>) -> NormalizedText {
    if range == 0..<bytes.count { return self }
    var slice = NormalizedText(
      Array(bytes[range]), origin: place(of: range.lowerBound..<range.lowerBound).lowerBound,
      isTracked: isTracked)
    if let places { slice.places = Array(places[range]) }
    return slice
  }

  /// The original bytes that a stretch stands for.
  func place(of range: Range<Int>) -> Range<Int> {
    guard let places else { return origin + range.lowerBound..<origin + range.upperBound }
    guard !range.isEmpty else {
      let start =
        range.lowerBound < places.count ? Int(places[range.lowerBound].start) : Int(places.last?.end ?? 0)
      return start..<start
    }
    let start = Int(places[range.lowerBound].start)
    return start..<max(start, Int(places[range.upperBound - 1].end))
  }

  private func identity(_ range: Range<Int>) -> [Place] {
    if let places { return Array(places[range]) }
    return range.map { Place(start: Int32(origin + $0), end: Int32(origin + $0 + 1)) }
  }

  /// Puts a text before this one; it stands for nothing of the original.
  mutating func prepend(_ content: [UInt8]) {
    if isTracked {
      let start = Int32(place(of: 0..<0).lowerBound)
      places =
        Array(repeating: Place(start: start, end: start), count: content.count) + identity(0..<bytes.count)
    }
    bytes = content + bytes
  }

  /// Replaces every occurrence of `pattern`, from the left; each replacement stands for what it replaced.
  mutating func replace(_ pattern: [UInt8], with content: [UInt8]) {
    guard let first = pattern.first, bytes.contains(first) else { return }
    var output: [UInt8] = []
    output.reserveCapacity(bytes.count + bytes.count / 2)
    var moved: [Place] = []
    var (position, copied) = (0, 0)
    func keep(upTo end: Int) {
      output.append(contentsOf: bytes[copied..<end])
      if isTracked { moved += identity(copied..<end) }
    }
    while position + pattern.count <= bytes.count {
      guard bytes[position] == first, bytes[position..<position + pattern.count].elementsEqual(pattern) else {
        position += 1
        continue
      }
      keep(upTo: position)
      output.append(contentsOf: content)
      if isTracked {
        let place = place(of: position..<position + pattern.count)
        moved += repeatElement(
          Place(start: Int32(place.lowerBound), end: Int32(place.upperBound)), count: content.count)
      }
      position += pattern.count
      copied = position
    }
    guard copied > 0 else { return }
    keep(upTo: bytes.count)
    bytes = output
    if isTracked { places = moved }
  }

  /// Stretches of characters that are in form C by themselves, do not combine with what stands before them, and are not
  /// reordered (`NFC_Quick_Check` yes, combining class 0): texts of nothing else are in form C as they are. Letters with
  /// marks up to U+02FF, Greek, Cyrillic, punctuation, symbols, kana, Han, Hangul syllables, full-width forms, emoji.
  private static let composed: [ClosedRange<Int>] = [
    0...0x2FF, 0x4E00...0xA66E, 0x2002...0x20CF, 0x388...0x482, 0x48A...0x590, 0xAC00...0xD7A3,
    0x3001...0x3029,
    0x3030...0x3098, 0x309B...0x4DFF, 0xFF00...0xFFEF, 0x1F000...0x1FAFF, 0x2190...0x2328, 0x232B...0x2ADB,
    0xFE00...0xFE0F,
  ]

  private var isKnownToBeComposed: Bool {
    var position = 0
    while position < bytes.count {
      // U+0300 is CC 80 in UTF-8.
      guard bytes[position] >= 0xCC else {
        position += 1
        continue
      }
      let (scalar, count) = UTF8Text.scalar(bytes, position)
      guard Self.composed.contains(where: { $0.contains(scalar) }) else { return false }
      position += count
    }
    return true
  }

  /// Brings the text into Unicode normalization form C.
  ///
  /// Source: Unicode Standard Annex 15, with the tables of Foundation.
  mutating func composeCanonically() {
    if isKnownToBeComposed { return }
    let text = String(decoding: bytes, as: UTF8.self)
    let composed = text.precomposedStringWithCanonicalMapping
    guard !composed.utf8.elementsEqual(bytes) else { return }
    guard isTracked else {
      bytes = Array(composed.utf8)
      return
    }
    // Nothing composes or is reordered across the bounds of what users see as one character (Annex 29).
    var (output, moved): ([UInt8], [Place]) = ([], [])
    var position = 0
    for character in text {
      let count = character.utf8.count
      let cluster = Array(String(character).precomposedStringWithCanonicalMapping.utf8)
      if cluster.elementsEqual(bytes[position..<position + count]) {
        moved += identity(position..<position + count)
      } else {
        let place = place(of: position..<position + count)
        moved += repeatElement(
          Place(start: Int32(place.lowerBound), end: Int32(place.upperBound)), count: cluster.count)
      }
      output += cluster
      position += count
    }
    (bytes, places) = (output, moved)
  }
}
