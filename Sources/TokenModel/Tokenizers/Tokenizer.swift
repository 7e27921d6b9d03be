import RunKit

/// Turns text into token ids and back.
public protocol Tokenizer: Sendable {
  /// One more than the greatest id that has a piece.
  var vocabularySize: Int { get }
  /// The id that begins a sequence, if there is one.
  var beginID: Int? { get }
  /// The id that ends a sequence, if there is one.
  var endID: Int? { get }
  /// The id of padding, if there is one.
  var paddingID: Int? { get }
  /// The id that stands for text outside the vocabulary, if there is one.
  var unknownID: Int? { get }

  /// The ids of a text. Special tokens written out in it, such as `<s>`, become their ids.
  ///
  /// - Parameter addingSpecialTokens: Whether the tokens that begin and end a sequence are added, as far as the
  ///   tokenizer's settings ask for them.
  func encode(_ text: String, addingSpecialTokens: Bool) throws -> [Int]

  /// The ids of a text without the tokens that begin and end a sequence, each with the place it stands for.
  ///
  /// - Throws: As `encode`.
  func encodePlaces(_ text: String) throws -> [EncodedToken]

  /// The text of ids.
  ///
  /// - Parameter skippingSpecialTokens: Whether special tokens are left out of the text.
  /// - Throws: `TokenizerError.idWithoutPiece`.
  func decode(_ ids: [Int], skippingSpecialTokens: Bool) throws -> String

  /// The piece of an id as the vocabulary spells it, such as `▁what` or `<0x0A>`; nil when the id has none.
  func piece(_ id: Int) -> String?

  /// The id of a piece spelled exactly so, by its UTF-8 bytes; nil when it is not in the vocabulary.
  func id(of piece: String) -> Int?
}

extension Tokenizer {
  /// The ids of a text without the tokens that begin and end a sequence.
  public func encode(_ text: String) throws -> [Int] { try encode(text, addingSpecialTokens: false) }

  /// The text of ids without special tokens.
  public func decode(_ ids: [Int]) throws -> String { try decode(ids, skippingSpecialTokens: true) }
}

extension Tokenizer {
  /// The tokens with a role by the names that chat templates have for them, such as `bos_token`.
  var namedPieces: [String: JSONValue] {
    var pieces: [String: JSONValue] = [:]
    let ids = ["bos_token": beginID, "eos_token": endID, "pad_token": paddingID, "unk_token": unknownID]
    for (name, id) in ids { if let id, let piece = piece(id) { pieces[name] = .string(piece) } }
    return pieces
  }
}

/// An id and the stretch of the text that it stands for.
public struct EncodedToken: Sendable, Equatable {
  /// The id.
  public let id: Int
  /// Bytes of the text in UTF-8. Empty where the tokenizer put something that is not in the text, such as a space before
  /// it; shared by neighbours where one character was changed into several pieces.
  public let place: Range<Int>

  /// An id and its place.
  public init(id: Int, place: Range<Int>) { (self.id, self.place) = (id, place) }
}
