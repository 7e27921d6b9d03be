public import Foundation
import RunKit

/// The tokenizer of BERT: a Hugging Face folder with a `tokenizer.json` of kind WordPiece, or with a `vocab.txt`.
///
/// A text is cut at special tokens; what is between them is cleaned, its letters made small and bare where the folder says
/// so, cut at spaces and around punctuation and Chinese characters, and each word cut into the longest pieces of the
/// vocabulary.
///
/// Source: Devlin et al., "BERT", NAACL 2019, arXiv:1810.04805; the `tokenizers` library 0.23 and `BertTokenizer` of
/// transformers 5.23. Texts get the same ids.
public struct WordPieceTokenizer: Tokenizer {
  /// One more than the greatest id that has a piece.
  public let vocabularySize: Int
  /// The id before a text, `[CLS]`.
  public let beginID: Int?
  /// The id after a text, `[SEP]`.
  public let endID: Int?
  /// The id of padding, `[PAD]`.
  public let paddingID: Int?
  /// The id of a word that cannot be cut, `[UNK]`.
  public let unknownID: Int?

  private let model: WordPieceModel
  private let options: BertText.Options
  private let addedTokens: [Int: AddedToken]
  private let addedIDs: [PieceKey: Int]
  private let matcher: AddedTokenMatcher
  private let (prefix, suffix): ([Int], [Int])
  /// Whether spaces before punctuation are left out of decoded text.
  private let tidies: Bool

  /// The longest text in bytes.
  public static let textLimit = 1 << 24
  /// The most characters of a word where no file says so.
  private static let longestWord = 100
  private static let jsonLimit = 16 << 20

  /// Reads the tokenizer of a folder.
  ///
  /// - Throws: `FileError`, `TokenizerError`, `ConfigurationError`.
  public init(folder: URL) throws {
    func optional(_ name: String, limit: Int) throws(FileError) -> [UInt8]? {
      do {
        return try FileReader.bytes(of: folder.appendingPathComponent(name), limit: limit)
      } catch .missing {
        return nil
      }
    }
    let configuration = try optional("tokenizer_config.json", limit: Self.jsonLimit)
    if let bytes = try optional("tokenizer.json", limit: TokenizerFile.sizeLimit) {
      try self.init(path: folder.path, tokenizer: bytes)
    } else {
      let vocabulary = try FileReader.bytes(
        of: folder.appendingPathComponent("vocab.txt"), limit: TokenizerFile.sizeLimit)
      try self.init(path: folder.path, vocabulary: vocabulary, configuration: configuration)
    }
  }

  /// Reads the tokenizer from the bytes of `vocab.txt`, a piece on each line, and of `tokenizer_config.json`.
  ///
  /// - Parameter path: The folder, for messages.
  /// - Throws: `TokenizerError`, `ConfigurationError`.
  public init(path: String, vocabulary: [UInt8], configuration: [UInt8]? = nil) throws {
    let reader = try ConfigurationReader(
      path: path + "/tokenizer_config.json", bytes: configuration ?? Array("{}".utf8))
    var options = BertText.Options()
    options.lowercases = try reader.bool("do_lower_case", default: true)
    options.stripsAccents =
      reader.has("strip_accents") ? try reader.bool("strip_accents", default: true) : options.lowercases
    options.separatesChinese = try reader.bool("tokenize_chinese_chars", default: true)
    guard let text = String(validating: vocabulary, as: UTF8.self) else {
      throw TokenizerError.unsupported(
        path: path, part: "vocab.txt", found: "bytes that are no UTF-8", supported: ["UTF-8"])
    }
    // A line ends with a line feed, a carriage return or both, and with nothing else.
    var lines = text.replacing("\r\n", with: "\n").unicodeScalars.split(
      omittingEmptySubsequences: false
    ) { $0 == "\n" || $0 == "\r" }
    if lines.last?.isEmpty == true { lines.removeLast() }
    let settings = try TokenizerSettings(
      folder: path, files: .init(configuration: configuration), isSentencePiece: false)
    func named(_ key: String, _ token: TokenizerSettings.NamedToken = .unspecified, default fallback: String)
      throws -> String
    {
      if case .token(let text) = token { return text }
      guard let value = reader.object[key], !value.isNull else { return fallback }
      guard let text = value.stringValue ?? value["content"]?.stringValue else {
        throw ConfigurationError.wrongKind(
          path: reader.path, key: key, found: value.kind, expected: "a token")
      }
      return text
    }
    let unknown = try named("unk_token", settings.unknown, default: "[UNK]")
    let model = try WordPieceModel(
      path: path + "/vocab.txt",
      vocabulary: lines.enumerated().map { (String(String.UnicodeScalarView($1)), $0) }, mark: "##",
      unknown: unknown, longestWord: Self.longestWord)
    let names = [
      try named("cls_token", default: "[CLS]"), try named("sep_token", default: "[SEP]"),
      try named("pad_token", settings.padding, default: "[PAD]"), unknown,
      try named("mask_token", default: "[MASK]"),
    ]
    var tokens = settings.addedTokens
    for name in names + settings.additionalSpecial {
      guard !tokens.contains(where: { PieceKey($0.content) == PieceKey(name) }),
        let id = model.ids[PieceKey(name)]
      else { continue }
      tokens.append(AddedToken(content: name, id: id, isSpecial: true))
    }
    func id(_ index: Int, _ key: String) throws(TokenizerError) -> Int {
      guard let id = model.ids[PieceKey(names[index])] else {
        throw .unknownToken(path: path + "/vocab.txt", key: key, token: names[index])
      }
      return id
    }
    try self.init(
      path: path, model: model, options: options, tokens: tokens, prefix: [id(0, "cls_token")],
      suffix: [id(1, "sep_token")], padding: model.ids[PieceKey(names[2])], tidies: true)
  }

  /// Reads the tokenizer from the bytes of `tokenizer.json`.
  ///
  /// - Parameter path: The folder, for messages.
  /// - Throws: `TokenizerError`, `ConfigurationError`.
  public init(path folder: String, tokenizer: [UInt8]) throws {
    let path = folder + "/tokenizer.json"
    let reader = try ConfigurationReader(
      path: path, bytes: tokenizer, countLimit: TokenizerFile.valueLimit)
    func refuse(_ reader: ConfigurationReader, _ name: String) throws {
      let kind = try reader.string("type")
      guard kind == name else {
        throw TokenizerError.unsupported(
          path: path, part: reader.name(of: "type"), found: kind, supported: [name])
      }
    }
    var options = BertText.Options(
      cleansText: false, separatesChinese: false, stripsAccents: false, lowercases: false)
    if let normalizer = try reader.section("normalizer") {
      try refuse(normalizer, "BertNormalizer")
      options.cleansText = try normalizer.bool("clean_text", default: true)
      options.separatesChinese = try normalizer.bool("handle_chinese_chars", default: true)
      options.lowercases = try normalizer.bool("lowercase", default: true)
      options.stripsAccents =
        normalizer.has("strip_accents")
        ? try normalizer.bool("strip_accents", default: true) : options.lowercases
    }
    try refuse(reader.requiredSection("pre_tokenizer"), "BertPreTokenizer")
    let section = try reader.requiredSection("model")
    try refuse(section, "WordPiece")
    let entries = try section.requiredSection("vocab")
    let model = try WordPieceModel(
      path: path,
      vocabulary: entries.object.keys.map {
        ($0, try entries.integer($0, in: 0...WordPieceModel.pieceLimit - 1))
      },
      mark: section.string("continuing_subword_prefix", default: "##"),
      unknown: section.string("unk_token", default: "[UNK]"),
      longestWord: section.integer("max_input_chars_per_word", in: 1...1_000_000, default: Self.longestWord))
    let tokens = try reader.sections("added_tokens").map(TokenizerFile.addedToken)
    var (prefix, suffix): ([Int], [Int]) = ([], [])
    if let processor = try reader.section("post_processor") {
      (prefix, suffix) = try Self.surroundings(processor)
    }
    var tidies = false
    if let decoder = try reader.section("decoder") {
      try refuse(decoder, "WordPiece")
      tidies = try decoder.bool("cleanup", default: true)
    }
    let padding = tokens.first { $0.content == "[PAD]" }?.id ?? model.ids[PieceKey("[PAD]")]
    try self.init(
      path: path, model: model, options: options, tokens: tokens, prefix: prefix, suffix: suffix,
      padding: padding, tidies: tidies)
  }

  /// What a post-processor puts before and after a text.
  private static func surroundings(_ reader: ConfigurationReader) throws -> ([Int], [Int]) {
    switch try reader.string("type") {
    case "TemplateProcessing": return try TokenizerFile.template(reader)
    case "BertProcessing":
      func id(_ key: String) throws -> Int {
        guard let pair = reader.object[key]?.arrayValue, pair.count == 2, let id = pair[1].intValue, id >= 0
        else {
          throw ConfigurationError.wrongKind(
            path: reader.path, key: reader.name(of: key), found: reader.object[key]?.kind ?? "nothing",
            expected: "a token and its id")
        }
        return id
      }
      return ([try id("cls")], [try id("sep")])
    case let other:
      throw TokenizerError.unsupported(
        path: reader.path, part: reader.name(of: "type"), found: other,
        supported: ["TemplateProcessing", "BertProcessing", "null"])
    }
  }

  private init(
    path: String, model: WordPieceModel, options: BertText.Options, tokens: [AddedToken], prefix: [Int],
    suffix: [Int], padding: Int?, tidies: Bool
  ) throws(TokenizerError) {
    try TokenizerFile.check(tokens, path: path)
    (self.model, self.options, self.tidies) = (model, options, tidies)
    (self.prefix, self.suffix) = (prefix, suffix)
    var spelled: [AddedToken] = []
    for token in tokens where !token.content.isEmpty {
      if let known = model.ids[PieceKey(token.content)], known != token.id {
        throw .conflictingToken(
          path: path, token: token.content, id: token.id, reason: "the vocabulary gives it the id \(known)")
      }
      guard 0..<WordPieceModel.pieceLimit ~= token.id else {
        throw .conflictingToken(
          path: path, token: token.content, id: token.id,
          reason: "ids end at \(WordPieceModel.pieceLimit - 1)")
      }
      guard !token.isNormalized else {
        throw .unsupported(
          path: path, part: "added token \(token.content.inQuotes)", found: "normalized",
          supported: ["tokens found in the text as written"])
      }
      spelled.append(token)
    }
    addedTokens = Dictionary(spelled.map { ($0.id, $0) }) { first, _ in first }
    addedIDs = Dictionary(spelled.map { (PieceKey($0.content), $0.id) }) { first, _ in first }
    matcher = AddedTokenMatcher(spelled)
    vocabularySize = max(model.pieces.count, (spelled.map(\.id).max() ?? -1) + 1)
    for id in prefix + suffix where id >= vocabularySize {
      throw .idWithoutPiece(id: id, vocabulary: vocabularySize)
    }
    (beginID, endID, paddingID, unknownID) = (prefix.first, suffix.last, padding, model.unknownID)
  }

  // MARK: - Encoding

  /// The ids of a text, of at most 16 MiB, between `[CLS]` and `[SEP]` where they are asked for.
  ///
  /// - Throws: `TokenizerError.textTooLong`.
  public func encode(_ text: String, addingSpecialTokens: Bool) throws -> [Int] {
    let ids = try encodePlaces(text).map(\.id)
    return addingSpecialTokens ? prefix + ids + suffix : ids
  }

  /// The ids of a text with the places they stand for.
  ///
  /// - Throws: `TokenizerError.textTooLong`.
  public func encodePlaces(_ text: String) throws -> [EncodedToken] {
    let bytes = Array(text.utf8)
    guard bytes.count <= Self.textLimit else {
      throw TokenizerError.textTooLong(count: bytes.count, limit: Self.textLimit)
    }
    var tokens: [EncodedToken] = []
    for part in matcher.split(bytes) {
      switch part {
      case .token(let id, let range): tokens.append(EncodedToken(id: id, place: range))
      case .text(let range):
        for word in BertText(bytes[range], origin: range.lowerBound, options: options).words {
          tokens += model.cut(word).map { EncodedToken(id: $0.id, place: $0.place) }
        }
      }
    }
    return tokens
  }

  // MARK: - Decoding

  /// The words of ids with a space between them.
  ///
  /// - Throws: `TokenizerError.idWithoutPiece`.
  public func decode(_ ids: [Int], skippingSpecialTokens: Bool) throws -> String {
    var text = ""
    for id in ids {
      guard let piece = piece(id) else {
        throw TokenizerError.idWithoutPiece(id: id, vocabulary: vocabularySize)
      }
      if skippingSpecialTokens, addedTokens[id]?.isSpecial == true { continue }
      var part = piece
      if !text.isEmpty {
        part =
          piece.utf8.starts(with: model.mark.utf8)
          ? String(decoding: piece.utf8.dropFirst(model.mark.utf8.count), as: UTF8.self) : " " + piece
      }
      text += tidies ? Self.tidied(part) : part
    }
    return text
  }

  /// A piece without the space before a punctuation mark or a short form.
  private static func tidied(_ part: String) -> String {
    let endings = [" .", " ?", " !", " ,", " n't", " 'm", " 's", " 've", " 're"]
    return endings.contains(part) ? String(part.dropFirst()) : part
  }

  /// The piece of an id as the vocabulary spells it; nil when the id has none.
  public func piece(_ id: Int) -> String? {
    if let token = addedTokens[id] { return token.content }
    return model.pieces.indices.contains(id) ? model.pieces[id] : nil
  }

  /// The id of a piece spelled exactly so, by its UTF-8 bytes.
  public func id(of piece: String) -> Int? { addedIDs[PieceKey(piece)] ?? model.ids[PieceKey(piece)] }
}
