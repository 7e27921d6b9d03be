/// A step of the `decoder` of a `tokenizer.json`: turns pieces back into text.
enum TokenDecoder: Sendable {
  /// Pieces that spell bytes become the bytes' text.
  case byteLevel
  /// Replaces a text within each piece.
  case replace([UInt8], with: [UInt8])
  /// Pieces such as `<0xE2>` become their bytes' text; what is not UTF-8 becomes one `U+FFFD` for each.
  case byteFallback
  /// Joins all pieces.
  case fuse
  /// Cuts characters off both ends of each piece, at most so many.
  case strip([UInt8], start: Int, end: Int)
  /// Signs become spaces, and none at the start if one was put there.
  case metaspace([UInt8], wasPrepended: Bool)
  /// Several in order.
  case sequence([TokenDecoder])

  /// The names of the supported kinds.
  static let supported = [
    "ByteLevel", "Replace (of a text)", "ByteFallback", "Fuse", "Strip", "Metaspace", "Sequence", "null",
  ]

  /// Changes pieces, given by their bytes.
  func apply(_ pieces: inout [[UInt8]]) {
    switch self {
    case .byteLevel:
      let bytes = pieces.flatMap { piece in
        ByteAlphabet.bytes(of: String(decoding: piece, as: UTF8.self).unicodeScalars) ?? piece
      }
      // What is no character, such as half of one, becomes U+FFFD.
      pieces = [Array(String(decoding: bytes, as: UTF8.self).utf8)]
    case .replace(let pattern, let content):
      for index in pieces.indices {
        var text = NormalizedText(pieces[index], origin: 0, isTracked: false)
        text.replace(pattern, with: content)
        pieces[index] = text.bytes
      }
    case .byteFallback: Self.joinBytes(&pieces)
    case .fuse: pieces = [pieces.flatMap { $0 }]
    case .strip(let content, let start, let end):
      for index in pieces.indices { pieces[index] = Self.strip(pieces[index], content, start, end) }
    case .metaspace(let mark, let wasPrepended):
      for index in pieces.indices {
        var text = NormalizedText(pieces[index], origin: 0, isTracked: false)
        text.replace(mark, with: index == 0 && wasPrepended ? [] : [UInt8(ascii: " ")])
        pieces[index] = text.bytes
      }
    case .sequence(let steps): for step in steps { step.apply(&pieces) }
    }
  }

  /// The byte of a piece such as `<0xE2>`.
  private static func byte(of piece: [UInt8]) -> UInt8? {
    guard piece.count == 6, piece.starts(with: Array("<0x".utf8)), piece[5] == UInt8(ascii: ">") else {
      return nil
    }
    return UInt8(String(decoding: piece[3..<5], as: UTF8.self), radix: 16)
  }

  private static func joinBytes(_ pieces: inout [[UInt8]]) {
    var (output, bytes): ([[UInt8]], [UInt8]) = ([], [])
    func flush() {
      if bytes.isEmpty { return }
      if String(validating: bytes, as: UTF8.self) != nil {
        output.append(bytes)
      } else {
        output += repeatElement(Array("\u{FFFD}".utf8), count: bytes.count)
      }
      bytes = []
    }
    for piece in pieces {
      if let byte = byte(of: piece) {
        bytes.append(byte)
      } else {
        flush()
        output.append(piece)
      }
    }
    flush()
    pieces = output
  }

  private static func strip(_ piece: [UInt8], _ content: [UInt8], _ start: Int, _ end: Int) -> [UInt8] {
    var piece = piece[...]
    for _ in 0..<start where piece.starts(with: content) { piece = piece.dropFirst(content.count) }
    for _ in 0..<end where piece.suffix(content.count).elementsEqual(content) {
      piece = piece.dropLast(content.count)
    }
    return Array(piece)
  }
}
