/// What a serialized SentencePiece model says, read before the library sees it.
///
/// The library reports most bad models by a status, but reads past its buffers for others (a broken character map,
/// more than 64 user-defined symbols that are prefixes of each other). Those are refused here.
///
/// Source: `sentencepiece_model.proto` of SentencePiece 0.1.97.
struct SentencePieceProto {
  /// What a piece is for.
  enum PieceKind: Int, Sendable {
    case normal = 1
    case unknown
    case control
    case userDefined
    case unused
    case byte
  }

  /// One entry of the vocabulary.
  struct Piece: Sendable {
    var text = ""
    var score: Float = 0
    var kind = PieceKind.normal
  }

  /// The vocabulary; the place of a piece is its id.
  private(set) var pieces: [Piece] = []
  /// The spellings of the pieces that begin and end a sequence and that fill it up.
  private(set) var (beginPiece, endPiece, paddingPiece) = ("<s>", "</s>", "<pad>")
  /// Whether a space is put before the text.
  private(set) var addsDummyPrefix = true
  /// Whether spaces at both ends are dropped and runs of spaces become one.
  private(set) var removesExtraSpaces = true
  /// The places of the self test, which holds only with the model's own settings.
  private var selfTests: [Range<Int>] = []

  /// The most pieces; the largest vocabularies in use have 262,144. The library takes most of a kilobyte for each.
  static let pieceLimit = 300_000
  /// The longest piece in bytes. The library recurses over the parts of some pieces.
  static let pieceLengthLimit = 4096
  /// The library's room for user-defined symbols that match at one place.
  static let nestedSymbolLimit = 64

  /// Reads and checks the model.
  ///
  /// - Throws: `TokenizerError.malformedModel`, `.unusableModel`.
  init(path: String, bytes: [UInt8]) throws(TokenizerError) {
    do {
      try read(bytes)
    } catch {
      throw .malformedModel(path: path, offset: error.offset, expected: error.expected)
    }
    guard !pieces.isEmpty else { throw .unusableModel(path: path, reason: "it has no pieces") }
    let nesting = Self.deepestNesting(pieces.filter { $0.kind == .userDefined }.map { Array($0.text.utf8) })
    guard nesting <= Self.nestedSymbolLimit else {
      throw .unusableModel(
        path: path,
        reason:
          "\(nesting) user-defined symbols are prefixes of each other, at most \(Self.nestedSymbolLimit) may be"
      )
    }
  }

  /// The same model with another setting for the space before the text.
  ///
  /// A later occurrence of a message field is merged into the earlier one, so the setting is appended.
  func bytes(_ bytes: [UInt8], addingDummyPrefix: Bool) -> [UInt8] {
    guard addingDummyPrefix != addsDummyPrefix else { return bytes }
    var changed: [UInt8] = []
    changed.reserveCapacity(bytes.count + 4)
    var start = 0
    for range in selfTests {
      changed += bytes[start..<range.lowerBound]
      start = range.upperBound
    }
    changed += bytes[start...]
    let (normalizerSpec, settingBytes, dummyPrefixSetting): (UInt8, UInt8, UInt8) = (3 << 3 | 2, 2, 3 << 3)
    return changed + [normalizerSpec, settingBytes, dummyPrefixSetting, addingDummyPrefix ? 1 : 0]
  }

  private mutating func read(_ bytes: [UInt8]) throws(ProtobufReader.Malformed) {
    var reader = ProtobufReader(bytes, 0..<bytes.count)
    while let field = try reader.next() {
      switch field.number {
      case 1: try readPiece(bytes, try field.contents())
      case 2: try readTrainerSpec(bytes, try field.contents())
      case 3: try readNormalizerSpec(bytes, try field.contents(), isDenormalizer: false)
      case 4: selfTests.append(field.range)
      case 5: try readNormalizerSpec(bytes, try field.contents(), isDenormalizer: true)
      default: break
      }
    }
  }

  private mutating func readPiece(_ bytes: [UInt8], _ range: Range<Int>) throws(ProtobufReader.Malformed) {
    guard pieces.count < Self.pieceLimit else {
      throw ProtobufReader.Malformed(offset: range.lowerBound, expected: "at most \(Self.pieceLimit) pieces")
    }
    var piece = Piece()
    var reader = ProtobufReader(bytes, range)
    while let field = try reader.next() {
      switch field.number {
      case 1: piece.text = try Self.text(bytes, try field.contents())
      case 2: piece.score = try field.float()
      case 3:
        guard let kind = PieceKind(rawValue: try field.integer()) else {
          throw ProtobufReader.Malformed(offset: field.range.lowerBound, expected: "a piece type from 1 to 6")
        }
        piece.kind = kind
      default: break
      }
    }
    guard !piece.text.isEmpty else {
      throw ProtobufReader.Malformed(offset: range.lowerBound, expected: "a piece that is not empty")
    }
    pieces.append(piece)
  }

  private mutating func readTrainerSpec(_ bytes: [UInt8], _ range: Range<Int>) throws(ProtobufReader
    .Malformed)
  {
    var reader = ProtobufReader(bytes, range)
    while let field = try reader.next() {
      switch field.number {
      case 46: beginPiece = try Self.text(bytes, try field.contents())
      case 47: endPiece = try Self.text(bytes, try field.contents())
      case 48: paddingPiece = try Self.text(bytes, try field.contents())
      // The texts of the unknown piece; the library copies them as they are.
      case 44, 45: _ = try Self.text(bytes, try field.contents())
      default: break
      }
    }
  }

  private mutating func readNormalizerSpec(
    _ bytes: [UInt8], _ range: Range<Int>, isDenormalizer: Bool
  ) throws(ProtobufReader.Malformed) {
    var reader = ProtobufReader(bytes, range)
    while let field = try reader.next() {
      switch field.number {
      case 2: try CharacterMap.check(bytes, try field.contents())
      case 3 where !isDenormalizer: addsDummyPrefix = try field.bool()
      case 4 where !isDenormalizer: removesExtraSpaces = try field.bool()
      default: break
      }
    }
  }

  /// UTF-8 without NUL, at which the library's search trees would end a piece.
  private static func text(_ bytes: [UInt8], _ range: Range<Int>) throws(ProtobufReader.Malformed) -> String {
    guard range.count <= pieceLengthLimit, !bytes[range].contains(0),
      let text = String(validating: bytes[range], as: UTF8.self)
    else {
      throw ProtobufReader.Malformed(
        offset: range.lowerBound, expected: "UTF-8 without NUL of at most \(pieceLengthLimit) bytes")
    }
    return text
  }

  /// The greatest number of the texts that are prefixes of one of them, itself included.
  private static func deepestNesting(_ texts: [[UInt8]]) -> Int {
    // In sorted order the prefixes of a text that come before it are exactly those still on the stack.
    var (prefixes, deepest): ([[UInt8]], Int) = ([], 0)
    for text in texts.sorted(by: { $0.lexicographicallyPrecedes($1) }) {
      while let last = prefixes.last, !text.starts(with: last) { prefixes.removeLast() }
      prefixes.append(text)
      deepest = max(deepest, prefixes.count)
    }
    return deepest
  }
}
