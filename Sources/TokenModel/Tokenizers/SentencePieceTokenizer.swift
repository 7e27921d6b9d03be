public import Foundation
import RunKit

/// The tokenizer of a Hugging Face folder with a `tokenizer.model`.
///
/// Pieces are cut by the SentencePiece library. `tokenizer_config.json`, `added_tokens.json` and
/// `special_tokens_map.json` beside it add tokens and say where a space is put before the text; without them the
/// model's own settings hold, and texts are cut exactly as SentencePiece does.
///
/// Source: Kudo and Richardson, "SentencePiece: A simple and language independent subword tokenizer and detokenizer
/// for Neural Text Processing", EMNLP 2018 (demo), arXiv:1808.06226; added tokens as in transformers'
/// `LlamaTokenizer`.
/// Departs from transformers: added tokens with `normalized: true` are found in the text as written.
public struct SentencePieceTokenizer: Tokenizer {
  /// One more than the greatest id that has a piece.
  public let vocabularySize: Int
  /// The id that begins a sequence, if there is one.
  public let beginID: Int?
  /// The id that ends a sequence, if there is one.
  public let endID: Int?
  /// The id of padding, if there is one.
  public let paddingID: Int?
  /// The id that stands for text outside the vocabulary, if there is one.
  public let unknownID: Int?
  /// The Jinja template that lays out a conversation, as text; nil if the folder has none.
  public let chatTemplate: String?

  private let pieces: [SentencePieceProto.Piece]
  private let ids: [PieceKey: Int]
  private let addedTokens: [Int: AddedToken]
  private let matcher: AddedTokenMatcher
  private let addsBegin: Bool
  private let addsEnd: Bool
  private let prefixSpace: TokenizerSettings.PrefixSpace
  private let removesExtraSpaces: Bool
  /// The model as it is told to put a space before the text, and not to.
  private let (prefixed, plain): (SentencePieceModel, SentencePieceModel)

  /// The most pieces of a model, not counting added tokens.
  public static let pieceLimit = SentencePieceProto.pieceLimit
  private static let modelLimit = 16 << 20
  private static let jsonLimit = 16 << 20

  /// Reads the tokenizer of a folder.
  ///
  /// - Throws: `FileError`, `TokenizerError`, `ConfigurationError`.
  public init(folder: URL) throws {
    func optional(_ name: String) throws(FileError) -> [UInt8]? {
      do {
        return try FileReader.bytes(of: folder.appendingPathComponent(name), limit: Self.jsonLimit)
      } catch .missing {
        return nil
      }
    }
    try self.init(
      path: folder.path,
      model: FileReader.bytes(of: folder.appendingPathComponent("tokenizer.model"), limit: Self.modelLimit),
      configuration: optional("tokenizer_config.json"), addedTokens: optional("added_tokens.json"),
      specialTokens: optional("special_tokens_map.json"))
  }

  /// Reads the tokenizer from the bytes of its files.
  ///
  /// - Parameters:
  ///   - path: The folder, for messages.
  ///   - model: `tokenizer.model`.
  ///   - configuration: `tokenizer_config.json`.
  ///   - addedTokens: `added_tokens.json`.
  ///   - specialTokens: `special_tokens_map.json`.
  /// - Throws: `TokenizerError`, `ConfigurationError`.
  public init(
    path: String, model: [UInt8], configuration: [UInt8]? = nil, addedTokens: [UInt8]? = nil,
    specialTokens: [UInt8]? = nil
  ) throws {
    let modelPath = path + "/tokenizer.model"
    let proto = try SentencePieceProto(path: modelPath, bytes: model)
    let settings = try TokenizerSettings(
      folder: path,
      files: .init(configuration: configuration, addedTokens: addedTokens, specialTokens: specialTokens))
    var vocabulary = try Vocabulary(path: path, proto: proto, addedTokens: settings.addedTokens)

    let control = { (text: String) in vocabulary.id(of: text, kind: .control) }
    beginID = try vocabulary.id(of: settings.begin, key: "bos_token", default: control(proto.beginPiece))
    endID = try vocabulary.id(of: settings.end, key: "eos_token", default: control(proto.endPiece))
    paddingID = try vocabulary.id(
      of: settings.padding, key: "pad_token", default: control(proto.paddingPiece))
    unknownID = try vocabulary.id(
      of: settings.unknown, key: "unk_token", default: proto.pieces.firstIndex { $0.kind == .unknown })
    let named = [
      (settings.begin, beginID), (settings.end, endID), (settings.padding, paddingID),
      (settings.unknown, unknownID),
    ]
    for case (.token, let id?) in named { vocabulary.markSpecial(id) }
    for token in settings.additionalSpecial {
      if let id = try vocabulary.id(of: .token(token), key: "additional_special_tokens", default: nil) {
        vocabulary.markSpecial(id)
      }
    }

    pieces = proto.pieces
    ids = vocabulary.ids
    self.addedTokens = vocabulary.addedTokens
    vocabularySize = max(pieces.count, (vocabulary.addedTokens.keys.max() ?? -1) + 1)
    chatTemplate = settings.chatTemplate
    addsBegin = settings.addsBegin
    addsEnd = settings.addsEnd
    prefixSpace = settings.prefixSpace ?? (proto.addsDummyPrefix ? .always : .never)
    removesExtraSpaces = proto.removesExtraSpaces
    // Where no space is ever put before the text, SentencePiece finds its own symbols just as well, and treats the
    // spaces around them as it was trained to.
    let leavesSymbols = prefixSpace == .never
    let matched = vocabulary.addedTokens.values.filter { token in
      !(leavesSymbols && token.id < proto.pieces.count && proto.pieces[token.id].kind == .userDefined)
    }
    matcher = AddedTokenMatcher(matched.sorted { $0.id < $1.id })
    func load(addingDummyPrefix: Bool) throws(TokenizerError) -> SentencePieceModel {
      try SentencePieceModel(
        path: modelPath, bytes: proto.bytes(model, addingDummyPrefix: addingDummyPrefix),
        pieceCount: proto.pieces.count)
    }
    // A model takes much memory: the second is made only where it is used.
    switch prefixSpace {
    case .always:
      prefixed = try load(addingDummyPrefix: true)
      plain = prefixed
    case .never where !removesExtraSpaces:
      plain = try load(addingDummyPrefix: false)
      prefixed = plain
    case .first, .never:
      (prefixed, plain) = (try load(addingDummyPrefix: true), try load(addingDummyPrefix: false))
    }
  }

  /// The ids of a text, of at most 4 MiB.
  ///
  /// - Throws: `TokenizerError.textTooLong`.
  public func encode(_ text: String, addingSpecialTokens: Bool) throws -> [Int] {
    var ids: [Int] = []
    if addingSpecialTokens, addsBegin, let beginID { ids.append(beginID) }
    for part in try encodeParts(text) { ids.append(part.id) }
    if addingSpecialTokens, addsEnd, let endID { ids.append(endID) }
    return ids
  }

  /// The ids of a text with the places they stand for.
  ///
  /// - Throws: `TokenizerError.textTooLong`.
  public func encodePlaces(_ text: String) throws -> [EncodedToken] {
    try encodeParts(text).map { EncodedToken(id: $0.id, place: $0.place) }
  }

  /// The pieces of a text as they were cut: an unknown one keeps the text it stands for.
  func encodeParts(_ text: String) throws(TokenizerError) -> [SentencePieceModel.Piece] {
    let bytes = Array(text.utf8)
    guard bytes.count <= SentencePieceModel.textLimit else {
      throw .textTooLong(count: bytes.count, limit: SentencePieceModel.textLimit)
    }
    var parts: [SentencePieceModel.Piece] = []
    for part in matcher.split(bytes) {
      switch part {
      case .token(let id, let place): parts.append(.init(id: id, piece: piece(id) ?? "", place: place))
      case .text(let range):
        let model = model(forTextAt: range, startingWith: bytes[range.lowerBound])
        for var part in try model.encode(bytes[range]) {
          // Places count from the start of what the model was given.
          part.place = part.place.lowerBound + range.lowerBound..<part.place.upperBound + range.lowerBound
          parts.append(part)
        }
      }
    }
    return parts
  }

  /// Which way of loading the model cuts a part of the text.
  private func model(forTextAt range: Range<Int>, startingWith byte: UInt8) -> SentencePieceModel {
    let isFirst = range.lowerBound == 0
    switch prefixSpace {
    case .always: return prefixed
    case .first where isFirst: return prefixed
    case .never where isFirst: return plain
    case .first, .never:
      // A model that drops spaces at the start of its input would drop one between a token and a word; it is
      // given back.
      return removesExtraSpaces && byte == UInt8(ascii: " ") ? prefixed : plain
    }
  }

  /// The text of ids.
  ///
  /// - Throws: `TokenizerError.idWithoutPiece`.
  public func decode(_ ids: [Int], skippingSpecialTokens: Bool) throws -> String {
    let model = prefixSpace == .never ? plain : prefixed
    var text = ""
    var run: [String] = []
    func flush() throws(TokenizerError) {
      guard !run.isEmpty else { return }
      if text.isEmpty {
        text = try model.decode(run)
      } else {
        // The library drops a space at the start of what it decodes; the NUL, which no piece holds, is before it.
        text.unicodeScalars.append(contentsOf: try model.decode(["\0"] + run).unicodeScalars.dropFirst())
      }
      run = []
    }
    for id in ids {
      guard let piece = piece(id) else {
        throw TokenizerError.idWithoutPiece(id: id, vocabulary: vocabularySize)
      }
      guard let token = addedTokens[id] else {
        run.append(piece)
        continue
      }
      if token.isSpecial, skippingSpecialTokens { continue }
      try flush()
      text += token.content
    }
    try flush()
    return text
  }

  /// The piece of an id as the vocabulary spells it; nil when the id has none.
  public func piece(_ id: Int) -> String? {
    if let token = addedTokens[id] { return token.content }
    return pieces.indices.contains(id) ? pieces[id].text : nil
  }

  /// The id of a piece spelled exactly so, by its UTF-8 bytes.
  public func id(of piece: String) -> Int? { ids[PieceKey(piece)] }

  /// The score of a piece of the model and what it is for, for tests against the library.
  func entry(_ id: Int) -> SentencePieceProto.Piece { pieces[id] }
}
