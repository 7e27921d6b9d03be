public import Foundation
import RunKit

/// The tokenizer of a Hugging Face folder with a `tokenizer.json`, or with `vocab.json` and `merges.txt`.
///
/// A text is cut at added tokens; what is between them is normalized, cut into words, and each word is merged by the
/// rules of a byte-pair encoding. `tokenizer_config.json` and `special_tokens_map.json` name the tokens that begin and
/// end a sequence and may add more.
///
/// A folder with `tokenizer.json` and `tokenizer.model` is read by the first, as `AutoTokenizer` of transformers does; the
/// two can differ in the pieces of spaces after added tokens. With `vocab.json` and `merges.txt` alone the steps are
/// those of the class that `tokenizer_config.json` names, Qwen2 or GPT-2.
///
/// Source: the `tokenizers` library 0.23 and `TokenizersBackend` of transformers 5.23. Texts get the same ids, ids the
/// same text; what the library would approximate or leave open is refused.
public struct BytePairTokenizer: Tokenizer {
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
  /// The Jinja template that lays out a conversation, as text; nil if `tokenizer_config.json` has none.
  public let chatTemplate: String?

  private let file: TokenizerFile
  private let addedTokens: [Int: AddedToken]
  private let addedIDs: [PieceKey: Int]
  /// Tokens found in the text as written, and in the normalized text.
  private let (writtenMatcher, normalizedMatcher): (AddedTokenMatcher, AddedTokenMatcher?)
  private let (prefix, suffix): ([Int], [Int])

  /// The longest text in bytes.
  public static let textLimit = 1 << 24
  private static let jsonLimit = 16 << 20

  /// Reads the tokenizer of a folder.
  ///
  /// - Throws: `FileError`, `TokenizerError`, `ConfigurationError`.
  public init(folder: URL) throws {
    func optional(_ name: String, limit: Int = Self.jsonLimit) throws(FileError) -> [UInt8]? {
      do {
        return try FileReader.bytes(of: folder.appendingPathComponent(name), limit: limit)
      } catch .missing {
        return nil
      }
    }
    let settings = try TokenizerSettings(
      folder: folder.path,
      files: .init(
        configuration: optional("tokenizer_config.json"), addedTokens: optional("added_tokens.json"),
        specialTokens: optional("special_tokens_map.json")),
      isSentencePiece: false)
    let path = folder.appendingPathComponent("tokenizer.json").path
    if let bytes = try optional("tokenizer.json", limit: TokenizerFile.sizeLimit) {
      try self.init(path: path, file: TokenizerFile(path: path, bytes: bytes), settings: settings)
    } else {
      let vocabulary = folder.appendingPathComponent("vocab.json")
      let merges = folder.appendingPathComponent("merges.txt")
      try self.init(
        path: vocabulary.path,
        file: TokenizerFile(
          vocabularyPath: vocabulary.path,
          vocabulary: FileReader.bytes(of: vocabulary, limit: TokenizerFile.sizeLimit),
          mergesPath: merges.path, merges: FileReader.bytes(of: merges, limit: TokenizerFile.sizeLimit),
          settings: settings), settings: settings)
    }
  }

  /// Reads the tokenizer from the bytes of its files.
  ///
  /// - Parameters:
  ///   - path: The folder, for messages.
  ///   - tokenizer: `tokenizer.json`.
  ///   - configuration: `tokenizer_config.json`.
  /// - Throws: `TokenizerError`, `ConfigurationError`.
  public init(path: String, tokenizer: [UInt8], configuration: [UInt8]? = nil) throws {
    let settings = try TokenizerSettings(
      folder: path, files: .init(configuration: configuration), isSentencePiece: false)
    let path = path + "/tokenizer.json"
    try self.init(path: path, file: TokenizerFile(path: path, bytes: tokenizer), settings: settings)
  }

  private init(path: String, file: TokenizerFile, settings: TokenizerSettings) throws {
    var added = AddedTokenTable(path: path, model: file.model)
    for token in file.addedTokens { try added.add(token) }
    for token in settings.addedTokens.sorted(by: { $0.id < $1.id }) { try added.add(token) }
    let named = [
      ("bos_token", settings.begin), ("eos_token", settings.end), ("pad_token", settings.padding),
      ("unk_token", settings.unknown),
    ]
    for (key, name) in named { try added.require(name, key: key) }
    for token in settings.additionalSpecial { try added.require(.token(token), key: "extra_special_tokens") }
    try TokenizerFile.check(added.tokens, path: path)

    func id(_ name: TokenizerSettings.NamedToken) -> Int? {
      guard case .token(let text) = name else { return nil }
      return added.ids[PieceKey(text)] ?? file.model.ids[PieceKey(text)]
    }
    beginID = id(settings.begin)
    endID = id(settings.end)
    paddingID = id(settings.padding)
    unknownID = id(settings.unknown)
    // Explicit settings replace the template of the file.
    if settings.saysWhatIsAdded {
      prefix = settings.addsBegin ? beginID.map { [$0] } ?? [] : []
      suffix = settings.addsEnd ? endID.map { [$0] } ?? [] : []
    } else {
      (prefix, suffix) = (file.prefix, file.suffix)
    }
    vocabularySize = max(file.model.pieces.count, (added.tokens.map(\.id).max() ?? -1) + 1)
    for id in prefix + suffix where !(0..<vocabularySize ~= id) {
      throw TokenizerError.idWithoutPiece(id: id, vocabulary: vocabularySize)
    }
    chatTemplate = settings.chatTemplate
    self.file = file
    addedIDs = added.ids
    // A token that is looked for in the normalized text is spelled so as a piece too.
    let spelled = added.tokens.map { token in
      var token = token
      if token.isNormalized {
        let content = Self.normalized(token.content, by: file.normalizer)
        // The library knows a special token by the spelling of the file, and leaves another one in the decoded text.
        if !content.utf8.elementsEqual(token.content.utf8) { token.isSpecial = false }
        token.content = content
      }
      return token
    }
    addedTokens = Dictionary(spelled.map { ($0.id, $0) }) { _, last in last }
    writtenMatcher = AddedTokenMatcher(spelled.filter { !$0.isNormalized })
    let normalized = spelled.filter(\.isNormalized)
    normalizedMatcher = normalized.isEmpty ? nil : AddedTokenMatcher(normalized)
  }

  private static func normalized(_ content: String, by normalizer: TextNormalizer?) -> String {
    var text = NormalizedText(Array(content.utf8), origin: 0, isTracked: false)
    normalizer?.apply(&text)
    return String(decoding: text.bytes, as: UTF8.self)
  }

  // MARK: - Encoding

  /// The ids of a text, of at most 16 MiB.
  ///
  /// - Throws: `TokenizerError.textTooLong`.
  public func encode(_ text: String, addingSpecialTokens: Bool) throws -> [Int] {
    var ids = addingSpecialTokens ? prefix : []
    try forEachStretch(text, isTracked: false) { stretch in
      switch stretch {
      case .token(let id, _): ids.append(id)
      case .word(let symbols, _, _): for symbol in symbols { ids.append(Int(symbol.id)) }
      }
    }
    return addingSpecialTokens ? ids + suffix : ids
  }

  /// The ids of a text with the places they stand for.
  ///
  /// - Throws: `TokenizerError.textTooLong`.
  public func encodePlaces(_ text: String) throws -> [EncodedToken] {
    var tokens: [EncodedToken] = []
    try forEachStretch(text, isTracked: true) { stretch in
      switch stretch {
      case .token(let id, let place): tokens.append(EncodedToken(id: id, place: place))
      case .word(let symbols, let start, let text):
        var start = start
        for symbol in symbols {
          // An unknown character comes after the bytes that are spelled behind it: it then stands for nothing.
          let end = max(start, Int(symbol.end))
          tokens.append(EncodedToken(id: Int(symbol.id), place: text.place(of: start..<end)))
          start = end
        }
      }
    }
    return tokens
  }

  /// A part of the result.
  private enum Stretch {
    case token(Int, Range<Int>)
    /// The pieces of a word that starts at a byte of a text.
    case word([BytePairModel.Symbol], Int, NormalizedText)
  }

  private func forEachStretch(_ text: String, isTracked: Bool, _ body: (Stretch) -> Void) throws {
    let bytes = Array(text.utf8)
    guard bytes.count <= Self.textLimit else {
      throw TokenizerError.textTooLong(count: bytes.count, limit: Self.textLimit)
    }
    var scratch = BytePairModel.Scratch(forTextOf: bytes.count)
    for part in writtenMatcher.split(bytes) {
      switch part {
      case .token(let id, let range): body(.token(id, range))
      case .text(let range):
        var text = NormalizedText(Array(bytes[range]), origin: range.lowerBound, isTracked: isTracked)
        file.normalizer?.apply(&text)
        guard let normalizedMatcher else {
          encodeWords(text, &scratch, body)
          continue
        }
        for part in normalizedMatcher.split(text.bytes) {
          switch part {
          case .token(let id, let range): body(.token(id, text.place(of: range)))
          case .text(let range): encodeWords(text.slice(range), &scratch, body)
          }
        }
      }
    }
  }

  private func encodeWords(
    _ text: NormalizedText, _ scratch: inout BytePairModel.Scratch, _ body: (Stretch) -> Void
  ) {
    var list = PieceList(text)
    for step in file.preTokenizers { step.apply(&list) }
    var symbols: [BytePairModel.Symbol] = []
    for piece in list.pieces {
      symbols.removeAll(keepingCapacity: true)
      file.model.encode(list.texts[piece.text].bytes, piece.range, &scratch, &symbols)
      body(.word(symbols, piece.range.lowerBound, list.texts[piece.text]))
    }
  }

  // MARK: - Decoding

  /// The text of ids.
  ///
  /// - Throws: `TokenizerError.idWithoutPiece`.
  public func decode(_ ids: [Int], skippingSpecialTokens: Bool) throws -> String {
    var pieces: [[UInt8]] = []
    for id in ids {
      guard let piece = piece(id) else {
        throw TokenizerError.idWithoutPiece(id: id, vocabulary: vocabularySize)
      }
      if skippingSpecialTokens, addedTokens[id]?.isSpecial == true { continue }
      pieces.append(Array(piece.utf8))
    }
    if let decoder = file.decoder {
      decoder.apply(&pieces)
      return String(decoding: pieces.joined(), as: UTF8.self)
    }
    return pieces.map { String(decoding: $0, as: UTF8.self) }.joined(separator: " ")
  }

  /// The piece of an id as the vocabulary spells it; nil when the id has none.
  public func piece(_ id: Int) -> String? {
    if let token = addedTokens[id] { return token.content }
    return file.model.pieces.indices.contains(id) ? file.model.pieces[id] : nil
  }

  /// The id of a piece spelled exactly so, by its UTF-8 bytes.
  public func id(of piece: String) -> Int? { addedIDs[PieceKey(piece)] ?? file.model.ids[PieceKey(piece)] }
}

/// Collects added tokens and gives each the id that the library would give it.
private struct AddedTokenTable {
  let path: String
  let model: BytePairModel
  private(set) var tokens: [AddedToken] = []
  private(set) var ids: [PieceKey: Int] = [:]
  private var greatestID = -1

  init(path: String, model: BytePairModel) { (self.path, self.model) = (path, model) }

  /// Adds a token; an equal one that is there already stays as it is.
  ///
  /// The library looks a token up in the vocabulary, or numbers it behind all others, and does not look at the id in
  /// the file. Files whose ids say something else are refused.
  ///
  /// - Throws: `TokenizerError.conflictingToken`.
  mutating func add(_ token: AddedToken) throws(TokenizerError) {
    if token.content.isEmpty { return }
    let known = ids[PieceKey(token.content)] ?? model.ids[PieceKey(token.content)]
    let expected = known ?? nextID
    guard token.id == expected else {
      throw .conflictingToken(
        path: path, token: token.content, id: token.id,
        reason: known == nil
          ? "the next free id is \(expected)" : "the vocabulary gives it the id \(expected)")
    }
    guard ids[PieceKey(token.content)] == nil else { return }
    tokens.append(token)
    ids[PieceKey(token.content)] = token.id
    greatestID = max(greatestID, token.id)
  }

  private var nextID: Int { max(greatestID + 1, model.ids.count) }

  /// Makes sure that a token with a role is among the added ones.
  mutating func require(_ name: TokenizerSettings.NamedToken, key: String) throws(TokenizerError) {
    guard case .token(let content) = name, ids[PieceKey(content)] == nil else { return }
    try add(
      AddedToken(content: content, id: model.ids[PieceKey(content)] ?? nextID, isSpecial: true))
  }
}

extension TokenizerFile {
  /// Reads `vocab.json` and `merges.txt`.
  ///
  /// - Throws: `TokenizerError`, `ConfigurationError`.
  init(
    vocabularyPath: String, vocabulary: [UInt8], mergesPath: String, merges: [UInt8],
    settings: TokenizerSettings
  ) throws {
    let reader = try ConfigurationReader(path: vocabularyPath, bytes: vocabulary, countLimit: Self.valueLimit)
    var pieces: [(piece: String, id: Int)] = []
    for key in reader.object.keys {
      pieces.append((key, try reader.integer(key, in: 0...BytePairModel.pieceLimit - 1)))
    }
    var rules: [(left: String, right: String)] = []
    for line in merges.split(separator: UInt8(ascii: "\n")) {
      let line = line.last == UInt8(ascii: "\r") ? line.dropLast() : line
      if line.isEmpty || line.starts(with: "#version".utf8) { continue }
      rules.append(
        try Self.rule(String(decoding: line, as: UTF8.self), number: rules.count, path: mergesPath))
    }
    let addsSpace = settings.prefixesSpace ?? false
    let (normalizer, steps): (TextNormalizer?, [PreTokenizer])
    switch settings.className {
    case "Qwen2Tokenizer", "Qwen2TokenizerFast":
      normalizer = .composition
      steps = [.pattern(.qwen2), .byteLevel(addsPrefixSpace: addsSpace, isSplitting: false)]
    case "GPT2Tokenizer", "GPT2TokenizerFast":
      normalizer = nil
      steps = [.byteLevel(addsPrefixSpace: addsSpace, isSplitting: true)]
    case let other:
      throw TokenizerError.unsupported(
        path: vocabularyPath, part: "tokenizer_class of tokenizer_config.json",
        found: other?.inQuotes ?? "not set",
        supported: ["Qwen2Tokenizer", "GPT2Tokenizer", "any class with a tokenizer.json"])
    }
    let model = try BytePairModel(
      path: vocabularyPath, vocabulary: pieces, rules: rules, options: .init(), isByteLevel: true)
    self.init(model: model, normalizer: normalizer, preTokenizers: steps)
  }
}
