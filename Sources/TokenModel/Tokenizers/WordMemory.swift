/// The pieces of short words that came before in a text: texts say the same words again and again.
///
/// Every word has one place, by its bytes; a word that comes later takes the place of another. What is found equals what
/// merging would give, since a word is merged by itself.
struct WordMemory {
  /// A piece and how many bytes of the word end with it.
  private typealias Symbol = BytePairMerger.Symbol

  /// The bytes of a word, packed.
  struct Key {
    fileprivate let low: UInt64
    fileprivate let high: UInt64
    fileprivate let count: UInt8

    /// nil for words that are not kept.
    init?(_ bytes: [UInt8], _ range: Range<Int>) {
      guard 1...WordMemory.longest ~= range.count else { return nil }
      var (low, high): (UInt64, UInt64) = (0, 0)
      let middle = min(range.upperBound, range.lowerBound + 8)
      for index in range.lowerBound..<middle { low = low << 8 | UInt64(bytes[index]) }
      for index in middle..<range.upperBound { high = high << 8 | UInt64(bytes[index]) }
      (self.low, self.high, count) = (low, high, UInt8(range.count))
    }

    /// Multiplied and folded, so that every byte counts.
    fileprivate var slot: Int {
      let mixed = (low ^ high &* 0x9E37_79B9_7F4A_7C15 ^ UInt64(count)) &* 0xBF58_476D_1CE4_E5B9
      return Int(truncatingIfNeeded: mixed >> 40) & (WordMemory.slotCount - 1)
    }
  }

  /// The longest word kept, in bytes; it has no more pieces than bytes.
  private static let longest = 16
  private static let slotCount = 1 << 13

  private var keys = [Key?](repeating: nil, count: slotCount)
  private var counts = [UInt8](repeating: 0, count: slotCount)
  private var symbols = [Symbol](repeating: Symbol(id: 0, end: 0), count: slotCount * longest)

  /// Appends the pieces of a word that is known; false for another word.
  ///
  /// - Parameter start: Where the word begins in the text.
  func append(_ key: Key, at start: Int, to output: inout [BytePairMerger.Symbol]) -> Bool {
    let slot = key.slot
    guard let known = keys[slot], known.low == key.low, known.high == key.high, known.count == key.count
    else {
      return false
    }
    let first = slot * Self.longest
    for index in first..<first + Int(counts[slot]) {
      let symbol = symbols[index]
      output.append(BytePairMerger.Symbol(id: symbol.id, end: symbol.end + Int32(start)))
    }
    return true
  }

  /// Keeps the pieces of a word.
  mutating func insert(_ key: Key, at start: Int, _ pieces: ArraySlice<BytePairMerger.Symbol>) {
    guard pieces.count <= Self.longest else { return }
    let slot = key.slot
    (keys[slot], counts[slot]) = (key, UInt8(pieces.count))
    for (index, piece) in pieces.enumerated() {
      symbols[slot * Self.longest + index] = Symbol(id: piece.id, end: piece.end - Int32(start))
    }
  }
}
