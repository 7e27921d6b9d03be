import RunKit

/// What the JSON files beside a `tokenizer.model` say, as transformers writes them.
struct TokenizerSettings {
  /// Where a space is put before the text, so that a word is the same piece at the start as inside.
  enum PrefixSpace: Sendable {
    /// Before the text, and before each part that follows an added token.
    case always
    /// Before the text only.
    case first
    case never
  }

  /// The bytes of the files, nil for one that is not there.
  struct Files {
    var configuration: [UInt8]?
    var addedTokens: [UInt8]?
    var specialTokens: [UInt8]?
  }

  /// A token with a role, such as `bos_token`.
  enum NamedToken: Equatable {
    /// No file speaks of it.
    case unspecified
    /// Set to null: there is none.
    case none
    /// Its text.
    case token(String)
  }

  private(set) var addsBegin = true
  private(set) var addsEnd = false
  /// Whether `add_bos_token` or `add_eos_token` is given.
  private(set) var saysWhatIsAdded = false
  /// `tokenizer_class`.
  private(set) var className: String?
  /// `add_prefix_space`.
  private(set) var prefixesSpace: Bool?
  /// Nil leaves it to the model.
  private(set) var prefixSpace: PrefixSpace?
  private(set) var begin = NamedToken.unspecified
  private(set) var end = NamedToken.unspecified
  private(set) var padding = NamedToken.unspecified
  private(set) var unknown = NamedToken.unspecified
  /// Further tokens that steer the model, by their text.
  private(set) var additionalSpecial: [String] = []
  /// Tokens with their ids, in the order of the files.
  private(set) var addedTokens: [AddedToken] = []
  private(set) var chatTemplate: String?
  private var ids: [PieceKey: Int] = [:]
  private var contents: [Int: String] = [:]

  /// Classes whose ids are those of the SentencePiece model itself; others shift or reorder them.
  private static let supportedClasses: [JSONValue] = ["LlamaTokenizer", "LlamaTokenizerFast"]
  private let isSentencePiece: Bool
  private static let tokenLimit = 1 << 16
  private static let idLimit = 1 << 24

  /// Reads the files.
  ///
  /// - Parameters:
  ///   - folder: For messages.
  ///   - isSentencePiece: Whether they stand beside a `tokenizer.model`, which asks for classes whose ids are its own.
  /// - Throws: `ConfigurationError`, `TokenizerError.conflictingToken`.
  init(folder: String, files: Files, isSentencePiece: Bool = true) throws {
    self.isSentencePiece = isSentencePiece
    if let bytes = files.configuration {
      try readConfiguration(ConfigurationReader(path: folder + "/tokenizer_config.json", bytes: bytes))
    }
    if let bytes = files.addedTokens {
      let reader = try ConfigurationReader(path: folder + "/added_tokens.json", bytes: bytes)
      for content in reader.object.keys {
        try add(
          AddedToken(content: content, id: reader.integer(content, in: 0...Self.idLimit)), reader: reader)
      }
    }
    if let bytes = files.specialTokens {
      try readNames(ConfigurationReader(path: folder + "/special_tokens_map.json", bytes: bytes))
    }
  }

  private mutating func readConfiguration(_ reader: ConfigurationReader) throws {
    if isSentencePiece { try reader.refuse("tokenizer_class", unless: Self.supportedClasses) }
    className = reader.has("tokenizer_class") ? try reader.string("tokenizer_class") : nil
    prefixesSpace = reader.has("add_prefix_space") ? try reader.bool("add_prefix_space", default: false) : nil
    saysWhatIsAdded = reader.has("add_bos_token") || reader.has("add_eos_token")
    // Without a word a SentencePiece tokenizer begins its texts, one with a `tokenizer.json` does what that says.
    addsBegin = try reader.bool("add_bos_token", default: isSentencePiece)
    addsEnd = try reader.bool("add_eos_token", default: false)
    let isLegacy = try reader.bool("legacy", default: true)
    if try !reader.bool("add_prefix_space", default: true) {
      prefixSpace = .never
    } else if reader.has("add_prefix_space") || reader.has("legacy") {
      prefixSpace = isLegacy ? .always : .first
    }
    if let section = try reader.section("added_tokens_decoder") {
      for key in section.object.keys {
        guard let id = Int(key), "\(id)" == key, 0...Self.idLimit ~= id else {
          throw ConfigurationError.outOfRange(
            path: reader.path, key: "added_tokens_decoder", found: key.inQuotes,
            expected: "token ids from 0 to \(Self.idLimit) as keys")
        }
        try add(token(section.requiredSection(key), id: id), reader: reader)
      }
    }
    try readNames(reader)
    chatTemplate = try Self.chatTemplate(reader)
  }

  /// One entry of `added_tokens_decoder`.
  private func token(_ reader: ConfigurationReader, id: Int) throws(ConfigurationError) -> AddedToken {
    // The reference for `tokenizer.model` has another idea of a word than the one for `tokenizer.json`.
    if isSentencePiece { try reader.refuse("single_word", unless: [false]) }
    let isSpecial = try reader.bool("special", default: false)
    return AddedToken(
      content: try reader.string("content"), id: id, isSpecial: isSpecial,
      stripsLeft: try reader.bool("lstrip", default: false),
      stripsRight: try reader.bool("rstrip", default: false),
      isSingleWord: try reader.bool("single_word", default: false),
      isNormalized: try reader.bool("normalized", default: !isSpecial))
  }

  /// Adds a token unless it is known already; `tokenizer_config.json` comes first and has the details.
  private mutating func add(_ token: AddedToken, reader: ConfigurationReader) throws {
    guard 1...SentencePieceProto.pieceLengthLimit ~= token.content.utf8.count else {
      throw ConfigurationError.outOfRange(
        path: reader.path, key: "added token \(token.id)", found: "\(token.content.utf8.count) bytes",
        expected: "a text of 1 to \(SentencePieceProto.pieceLengthLimit) bytes")
    }
    if let known = ids[PieceKey(token.content)] {
      guard known == token.id else {
        throw TokenizerError.conflictingToken(
          path: reader.path, token: token.content, id: token.id, reason: "the id \(known) too")
      }
      return
    }
    if let known = contents[token.id] {
      throw TokenizerError.conflictingToken(
        path: reader.path, token: token.content, id: token.id, reason: "so has \(known.inQuotes)")
    }
    guard addedTokens.count < Self.tokenLimit else {
      throw ConfigurationError.outOfRange(
        path: reader.path, key: "added_tokens_decoder", found: "more entries",
        expected: "at most \(Self.tokenLimit) tokens")
    }
    addedTokens.append(token)
    ids[PieceKey(token.content)] = token.id
    contents[token.id] = token.content
  }

  /// Reads the tokens with a role, as far as no earlier file has them.
  private mutating func readNames(_ reader: ConfigurationReader) throws(ConfigurationError) {
    if begin == .unspecified { begin = try Self.named("bos_token", reader) }
    if end == .unspecified { end = try Self.named("eos_token", reader) }
    if padding == .unspecified { padding = try Self.named("pad_token", reader) }
    if unknown == .unspecified { unknown = try Self.named("unk_token", reader) }
    for key in ["additional_special_tokens", "extra_special_tokens"] {
      switch reader.object[key] {
      case nil, .null: break
      case .array(let values):
        for value in values { additionalSpecial.append(try Self.text(of: value, key: key, reader)) }
      case .object(let object):
        for (_, value) in object.members {
          additionalSpecial.append(try Self.text(of: value, key: key, reader))
        }
      case let value?:
        throw .wrongKind(path: reader.path, key: key, found: value.kind, expected: "a list of tokens")
      }
    }
  }

  private static func named(_ key: String, _ reader: ConfigurationReader) throws(ConfigurationError)
    -> NamedToken
  {
    switch reader.object[key] {
    case nil: .unspecified
    case .null: NamedToken.none
    case let value?: .token(try text(of: value, key: key, reader))
    }
  }

  /// A token is written as its text, or as an object with the text as `content`.
  private static func text(of value: JSONValue, key: String, _ reader: ConfigurationReader)
    throws(ConfigurationError) -> String
  {
    guard let text = value.stringValue ?? value["content"]?.stringValue else {
      throw .wrongKind(path: reader.path, key: key, found: value.kind, expected: "a token")
    }
    return text
  }

  /// The template itself, or the one named "default" of a list.
  static func chatTemplate(_ reader: ConfigurationReader) throws(ConfigurationError) -> String? {
    guard let templates = reader.object["chat_template"]?.arrayValue else {
      return reader.has("chat_template") ? try reader.string("chat_template") : nil
    }
    return templates.first { $0["name"]?.stringValue == "default" }?["template"]?.stringValue
  }
}
