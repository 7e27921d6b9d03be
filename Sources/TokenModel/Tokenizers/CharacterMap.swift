/// The table by which a SentencePiece model normalizes characters: a double-array trie over input bytes whose
/// leaves point at replacement texts.
///
///     file: trie size (u32), trie units (u32 each), replacement texts, each ended by NUL
///     unit: label in the low byte, bit 8 "has a leaf", bit 9 "offset is in blocks of 256", offset from bit 10
///     child of the unit at p for byte b: p ^ offset ^ b; it exists if its label is b
///
/// The library follows offsets without looking at the size of the table, so a broken table would be read past its
/// end. `check` walks everything that can be reached.
///
/// Source: Yata, "Darts-clone", 2008-2011, unit layout of version 0.32; `normalizer.cc` of SentencePiece 0.1.97.
enum CharacterMap {
  /// The library's room for keys that match at one place.
  static let nestedKeyLimit = 32
  /// The longest replacement in bytes: bounds how much longer a text can get.
  static let replacementLimit = 1024

  /// Refuses a table that the library could not walk safely.
  static func check(_ bytes: [UInt8], _ range: Range<Int>) throws(ProtobufReader.Malformed) {
    guard !range.isEmpty else { return }
    guard range.count > 4 else { throw malformed(range, "the size of a trie") }
    let trieSize = Int(word(bytes, range.lowerBound))
    let trieStart = range.lowerBound + 4
    guard trieSize >= 1024, trieSize % 4 == 0, trieSize < range.upperBound - trieStart else {
      throw malformed(range, "a trie of whole units, followed by texts")
    }
    let texts = bytes[(trieStart + trieSize)..<range.upperBound]
    guard texts.last == 0, String(validating: texts, as: UTF8.self) != nil else {
      throw malformed(range, "texts in UTF-8 that end with NUL")
    }
    let units = (0..<trieSize / 4).map { word(bytes, trieStart + 4 * $0) }
    guard Trie(units: units, texts: Array(texts)).isSound() else {
      throw malformed(range, "a trie without loops whose offsets stay inside")
    }
  }

  private static func malformed(_ range: Range<Int>, _ expected: String) -> ProtobufReader.Malformed {
    ProtobufReader.Malformed(offset: range.lowerBound, expected: "a character map: \(expected)")
  }

  private static func word(_ bytes: [UInt8], _ offset: Int) -> UInt32 {
    (0..<4).reduce(0) { $0 | UInt32(bytes[offset + $1]) << (8 * $1) }
  }
}

/// A double-array trie as stored.
private struct Trie {
  let units: [UInt32]
  let texts: [UInt8]

  /// Where the children of the unit at `position` start.
  private func base(_ position: Int) -> Int {
    let unit = units[position]
    return position ^ Int((unit >> 10) << ((unit & 1 << 9) >> 6))
  }

  /// Whether the children of a unit lie inside the table and its leaf, if it has one, points at a short text.
  private func isSound(_ position: Int) -> Bool {
    let base = base(position)
    guard base | 0xFF < units.count else { return false }
    guard units[position] & 1 << 8 != 0 else { return true }
    let start = Int(units[base] & 0x7FFF_FFFF)
    // The texts end with NUL, so one is found.
    return start < texts.count && texts[start...].prefix(CharacterMap.replacementLimit + 1).contains(0)
  }

  /// Whether every unit that can be reached is sound, and no path loops or passes too many leaves.
  func isSound() -> Bool {
    // Units are shared between paths, so each is visited once and keeps the most leaves at and below it.
    let unseen = -1, open = -2
    var leafCounts = [Int](repeating: unseen, count: units.count)
    var path: [(position: Int, byte: Int, leaves: Int)] = []
    guard isSound(0) else { return false }
    leafCounts[0] = open
    path.append((0, 0, 0))
    while var step = path.popLast() {
      let base = base(step.position)
      var child: Int?
      while step.byte < 256, child == nil {
        let position = base ^ step.byte
        if units[position] & 0x8000_00FF == UInt32(step.byte) {
          switch leafCounts[position] {
          case open: return false
          case unseen: child = position
          case let leaves: step.leaves = max(step.leaves, leaves)
          }
        }
        if child == nil { step.byte += 1 }
      }
      if let child {
        guard isSound(child) else { return false }
        leafCounts[child] = open
        // The byte is kept: when the walk comes back, the child has its count.
        path.append(step)
        path.append((child, 0, 0))
      } else {
        let leaves = step.leaves + Int(units[step.position] >> 8 & 1)
        guard leaves <= CharacterMap.nestedKeyLimit else { return false }
        leafCounts[step.position] = leaves
      }
    }
    return true
  }
}
