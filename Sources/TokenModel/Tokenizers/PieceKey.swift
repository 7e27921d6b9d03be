/// A piece as a dictionary key, compared by its bytes.
///
/// `String` compares by canonical equivalence: "é" in one scalar and in two would be one key, and a vocabulary
/// that has both would lose a piece.
struct PieceKey: Hashable, Sendable {
  let text: String

  init(_ text: String) { self.text = text }

  static func == (left: PieceKey, right: PieceKey) -> Bool { left.text.utf8.elementsEqual(right.text.utf8) }

  func hash(into hasher: inout Hasher) {
    for byte in text.utf8 { hasher.combine(byte) }
  }
}
