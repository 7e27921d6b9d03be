import RunKit

/// What a `tokenizer.json` says, checked.
///
/// Source: the format of the `tokenizers` library, versions 0.13 to 0.23.
struct TokenizerFile: Sendable {
  /// How a text is changed before it is cut.
  var normalizer: TextNormalizer?
  /// How a text is cut into words.
  var preTokenizers: [PreTokenizer] = []
  /// How pieces become text; nil joins them with spaces.
  var decoder: TokenDecoder?
  /// Ids put before and after a text on demand.
  var (prefix, suffix): ([Int], [Int]) = ([], [])
  /// The tokens beside the model, in the order of the file.
  var addedTokens: [AddedToken] = []
  /// The pieces and the rules.
  var model: BytePairModel

  /// The most bytes of a file.
  static let sizeLimit = 64 << 20
  /// The most JSON values: half a million pieces and as many rules of two parts each.
  static let valueLimit = 1 << 21
  private static let addedTokenLimit = 1 << 16
  private static let addedByteLimit = 1 << 21

  /// Whether the pieces spell bytes.
  var isByteLevel: Bool {
    if case .byteLevel = preTokenizers.last { true } else { false }
  }

  /// Reads a file.
  ///
  /// - Throws: `TokenizerError`, `ConfigurationError`.
  init(path: String, bytes: [UInt8]) throws {
    let reader = try ConfigurationReader(path: path, bytes: bytes, countLimit: Self.valueLimit)
    normalizer = try reader.section("normalizer").flatMap(Self.normalizer)
    if let section = try reader.section("pre_tokenizer") { preTokenizers = try Self.preTokenizers(section) }
    decoder = try reader.section("decoder").flatMap(Self.decoder)
    model = try Self.model(
      reader.requiredSection("model"), isByteLevel: Self.endsByteLevel(preTokenizers, reader))
    for section in try reader.sections("added_tokens") { addedTokens.append(try Self.addedToken(section)) }
    try Self.check(addedTokens, path: path)
    if let section = try reader.section("post_processor") { try readPostProcessor(section) }
  }

  /// The parts of a folder with `vocab.json` and `merges.txt`, cut as the class of the tokenizer does it.
  init(model: BytePairModel, normalizer: TextNormalizer?, preTokenizers: [PreTokenizer]) {
    (self.model, self.normalizer, self.preTokenizers) = (model, normalizer, preTokenizers)
    decoder = .byteLevel
  }

  private static func unsupported(
    _ reader: ConfigurationReader, _ key: String, _ found: String, _ supported: [String]
  ) -> TokenizerError {
    .unsupported(path: reader.path, part: reader.name(of: key), found: found, supported: supported)
  }

  private static func bytes(_ text: String) -> [UInt8] { Array(text.utf8) }

  // MARK: - Steps

  private static func normalizer(_ reader: ConfigurationReader) throws -> TextNormalizer? {
    switch try reader.string("type") {
    case "NFC": return .composition
    case "Prepend": return .prepend(bytes(try reader.string("prepend")))
    case "Replace":
      let (pattern, content) = try replacement(reader)
      return .replace(pattern, with: content)
    case "Sequence": return .sequence(try reader.sections("normalizers").compactMap(normalizer))
    case let other: throw unsupported(reader, "type", other, TextNormalizer.supported)
    }
  }

  /// Pattern and content of a Replace; the pattern is a text.
  private static func replacement(_ reader: ConfigurationReader) throws -> ([UInt8], [UInt8]) {
    let pattern = try reader.requiredSection("pattern")
    guard pattern.has("String") else {
      throw TokenizerError.unsupportedPattern(
        path: reader.path, pattern: try pattern.string("Regex"),
        supported: ["a text to be replaced, as {\"String\": …}"])
    }
    let text = try pattern.string("String")
    guard !text.isEmpty else { throw unsupported(reader, "pattern.String", "empty", ["a text"]) }
    return (bytes(text), bytes(try reader.string("content")))
  }

  private static func preTokenizers(_ reader: ConfigurationReader) throws -> [PreTokenizer] {
    switch try reader.string("type") {
    case "Sequence": return try reader.sections("pretokenizers").flatMap(preTokenizers)
    case "ByteLevel":
      return [
        .byteLevel(
          addsPrefixSpace: try reader.bool("add_prefix_space", default: true),
          isSplitting: try reader.bool("use_regex", default: true))
      ]
    case "Metaspace":
      let isPrefixed = try reader.bool("add_prefix_space", default: true)
      let name = try reader.string("prepend_scheme", default: isPrefixed ? "always" : "never")
      guard let scheme = PreTokenizer.PrependScheme(rawValue: name) else {
        throw unsupported(reader, "prepend_scheme", name, ["first", "always", "never"])
      }
      return [
        .metaspace(try mark(reader), scheme, isSplitting: try reader.bool("split", default: true))
      ]
    case "Digits": return [.digits(isIndividual: try reader.bool("individual_digits", default: false))]
    case "Split": return [try split(reader)]
    case let other: throw unsupported(reader, "type", other, PreTokenizer.supported)
    }
  }

  /// The sign of a Metaspace: one character.
  private static func mark(_ reader: ConfigurationReader) throws -> [UInt8] {
    let mark = try reader.string("replacement", default: "▁")
    guard mark.unicodeScalars.count == 1, mark != " " else {
      throw unsupported(reader, "replacement", mark.inQuotes, ["one character other than a space"])
    }
    return bytes(mark)
  }

  private static func split(_ reader: ConfigurationReader) throws -> PreTokenizer {
    let name = try reader.string("behavior")
    let isInverted = try reader.bool("invert", default: false)
    guard let behavior = PreTokenizer.SplitBehavior(rawValue: name) else {
      throw unsupported(
        reader, "behavior", name,
        ["Removed", "Isolated", "MergedWithPrevious", "MergedWithNext", "Contiguous"])
    }
    let pattern = try reader.requiredSection("pattern")
    if pattern.has("String") {
      let text = try pattern.string("String")
      guard !text.isEmpty else { throw unsupported(reader, "pattern.String", "empty", ["a text"]) }
      return .text(bytes(text), behavior, isInverted: isInverted)
    }
    let text = try pattern.string("Regex")
    guard let known = SplitPattern(text) else {
      throw TokenizerError.unsupportedPattern(
        path: reader.path, pattern: text, supported: SplitPattern.allCases.map(\.text))
    }
    // The matches cover the text, so to keep the matches and to remove what is between them are the same.
    guard (behavior == .isolated && !isInverted) || (behavior == .removed && isInverted) else {
      throw unsupported(
        reader, "behavior", isInverted ? "\(name), inverted" : name, ["Isolated", "Removed, inverted"])
    }
    return .pattern(known)
  }

  /// Whether pieces spell bytes: the last step says so, and none before it.
  private static func endsByteLevel(
    _ steps: [PreTokenizer], _ reader: ConfigurationReader
  ) throws -> Bool {
    for step in steps.dropLast() {
      if case .byteLevel = step {
        throw unsupported(reader, "pre_tokenizer", "ByteLevel before another step", PreTokenizer.supported)
      }
    }
    if case .byteLevel = steps.last { return true }
    return false
  }

  private static func decoder(_ reader: ConfigurationReader) throws -> TokenDecoder? {
    switch try reader.string("type") {
    case "ByteLevel": return .byteLevel
    case "Replace":
      let (pattern, content) = try replacement(reader)
      return .replace(pattern, with: content)
    case "ByteFallback": return .byteFallback
    case "Fuse": return .fuse
    case "Strip":
      let content = try reader.string("content")
      guard content.unicodeScalars.count == 1 else {
        throw unsupported(reader, "content", content.inQuotes, ["one character"])
      }
      return .strip(
        bytes(content), start: try reader.integer("start", in: 0...1_000),
        end: try reader.integer("stop", in: 0...1_000))
    case "Metaspace":
      let isPrefixed = try reader.bool("add_prefix_space", default: true)
      let scheme = try reader.string("prepend_scheme", default: isPrefixed ? "always" : "never")
      return .metaspace(try mark(reader), wasPrepended: scheme != "never")
    case "Sequence": return .sequence(try reader.sections("decoders").compactMap(decoder))
    case let other: throw unsupported(reader, "type", other, TokenDecoder.supported)
    }
  }

  private mutating func readPostProcessor(_ reader: ConfigurationReader) throws {
    switch try reader.string("type") {
    case "ByteLevel": break  // Changes the places of pieces, not the pieces.
    case "Sequence": for section in try reader.sections("processors") { try readPostProcessor(section) }
    case "TemplateProcessing":
      let (before, after) = try Self.template(reader)
      (prefix, suffix) = (before + prefix, suffix + after)
    case let other:
      throw Self.unsupported(reader, "type", other, ["TemplateProcessing", "ByteLevel", "Sequence", "null"])
    }
  }

  /// The ids that a TemplateProcessing puts before and after a text.
  static func template(_ reader: ConfigurationReader) throws -> (before: [Int], after: [Int]) {
    let special = try reader.section("special_tokens")
    var (before, after, isBefore): ([Int], [Int], Bool) = ([], [], true)
    for part in try reader.sections("single") {
      if let token = try part.section("SpecialToken") {
        let name = try token.string("id")
        guard let entry = try special?.section(name) else {
          throw TokenizerError.unknownToken(
            path: reader.path, key: part.name(of: "SpecialToken"), token: name)
        }
        let ids = try entry.tokenIDs("ids", below: BytePairModel.pieceLimit)
        if isBefore { before += ids } else { after += ids }
      } else {
        let sequence = try part.requiredSection("Sequence").string("id")
        guard isBefore, sequence == "A" else {
          throw unsupported(part, "Sequence", sequence, ["A, once"])
        }
        isBefore = false
      }
    }
    return (before, after)
  }

  // MARK: - Model and tokens

  private static func model(_ reader: ConfigurationReader, isByteLevel: Bool) throws -> BytePairModel {
    let kind = try reader.string("type", default: reader.has("merges") ? "BPE" : "unknown")
    guard kind == "BPE" else { throw unsupported(reader, "type", kind, ["BPE"]) }
    if reader.has("dropout"), try reader.number("dropout", above: -1) != 0 {
      throw unsupported(reader, "dropout", "set", ["null", "0"])
    }
    for key in ["continuing_subword_prefix", "end_of_word_suffix"]
    where try !reader.string(key, default: "").isEmpty {
      throw unsupported(reader, key, try reader.string(key).inQuotes, ["null", "\"\""])
    }
    let entries = try reader.requiredSection("vocab")
    var vocabulary: [(piece: String, id: Int)] = []
    vocabulary.reserveCapacity(entries.object.members.count)
    for (piece, value) in entries.object.members {
      guard let id = value.intValue else {
        throw ConfigurationError.wrongKind(
          path: reader.path, key: entries.name(of: piece), found: value.kind, expected: "an id")
      }
      vocabulary.append((piece, id))
    }
    var options = BytePairModel.Options()
    options.unknown = reader.has("unk_token") ? try reader.string("unk_token") : nil
    options.fusesUnknown = try reader.bool("fuse_unk", default: false)
    options.usesByteFallback = try reader.bool("byte_fallback", default: false)
    options.ignoresMerges = try reader.bool("ignore_merges", default: false)
    return try BytePairModel(
      path: reader.path, vocabulary: vocabulary, rules: rules(reader), options: options,
      isByteLevel: isByteLevel)
  }

  /// The merges: each two pieces, as a list or joined by a space.
  private static func rules(_ reader: ConfigurationReader) throws -> [(left: String, right: String)] {
    guard let values = reader.object["merges"]?.arrayValue else {
      throw ConfigurationError.missingKey(path: reader.path, key: reader.name(of: "merges"))
    }
    var rules: [(left: String, right: String)] = []
    rules.reserveCapacity(values.count)
    for value in values {
      if let parts = value.arrayValue, parts.count == 2, let left = parts[0].stringValue,
        let right = parts[1].stringValue
      {
        rules.append((left, right))
      } else {
        let text = value.stringValue ?? value.text()
        rules.append(try rule(text, number: rules.count, path: reader.path))
      }
    }
    return rules
  }

  /// A rule written as two pieces with a space between them.
  static func rule(_ text: String, number: Int, path: String) throws(TokenizerError) -> (
    left: String, right: String
  ) {
    let parts = text.utf8.split(separator: UInt8(ascii: " "), omittingEmptySubsequences: false)
    guard parts.count == 2, let left = String(parts[0]), let right = String(parts[1]) else {
      throw .malformedMerge(path: path, rule: number, found: text)
    }
    return (left, right)
  }

  /// A token of `added_tokens`.
  static func addedToken(_ reader: ConfigurationReader) throws -> AddedToken {
    let isSpecial = try reader.bool("special", default: false)
    return AddedToken(
      content: try reader.string("content"),
      id: try reader.integer("id", in: 0...BytePairModel.pieceLimit - 1),
      isSpecial: isSpecial, stripsLeft: try reader.bool("lstrip", default: false),
      stripsRight: try reader.bool("rstrip", default: false),
      isSingleWord: try reader.bool("single_word", default: false),
      isNormalized: try reader.bool("normalized", default: !isSpecial))
  }

  /// Refuses more tokens than a finder of tokens should hold.
  static func check(_ tokens: [AddedToken], path: String) throws(TokenizerError) {
    guard tokens.count <= addedTokenLimit else {
      throw .tooMany(path: path, what: "added tokens", found: tokens.count, limit: addedTokenLimit)
    }
    let count = tokens.reduce(0) { $0 + $1.content.utf8.count }
    guard count <= addedByteLimit else {
      throw .tooMany(path: path, what: "bytes in added tokens", found: count, limit: addedByteLimit)
    }
  }
}
