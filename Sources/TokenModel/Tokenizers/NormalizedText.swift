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

  /// Brings the text into Unicode normalization form C.
  ///
  /// Source: Unicode Standard Annex 15. Characters below U+0300 are in this form and compose with none of their kind.
  mutating func composeCanonically() {
    // U+0300 is CC 80 in UTF-8.
    guard bytes.contains(where: { $0 >= 0xCC }) else { return }
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
