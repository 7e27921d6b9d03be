import Foundation
import RunKit
import TestSupport
import XCTest

@testable import TokenModel

/// Every row that the `tokenizers` library 0.23.3 gave for six `tokenizer.json` files; everything is text or an id, so
/// everything must be equal.
final class BytePairTokenizerTests: XCTestCase {
  private static let names = [
    "qwen2", "llama3", "gpt2", "llama_metaspace_first", "llama_metaspace_always", "llama2_hub_style",
  ]

  private func tokenizer(_ name: String, configuration: String? = nil) throws -> BytePairTokenizer {
    try BytePairTokenizer(
      path: name, tokenizer: Fixtures.bytes("hf_tokenizers/\(name)/tokenizer.json"),
      configuration: configuration.map { Array($0.utf8) })
  }

  private func rows(_ name: String) throws -> [JSONValue] {
    let expected = try Fixtures.json("hf_tokenizers/expected.json")
    XCTAssertEqual(try XCTUnwrap(expected.objectValue).keys, Self.names)
    return try XCTUnwrap(expected[name]?["rows"]?.arrayValue)
  }

  func testTextsAreCutAndJoinedAsByTheLibrary() throws {
    for name in Self.names {
      let tokenizer = try tokenizer(name)
      // The library was asked to begin the sequences of the tokenizers that have a template for it.
      let begins = name.hasPrefix("llama") && name != "llama3"
      var count = 0
      for row in try rows(name) {
        let text = try XCTUnwrap(row["text"]?.stringValue)
        let label = "\(name) \(text.debugDescription)"
        let ids = try integers(row["ids"])
        XCTAssertEqual(try tokenizer.encode(text, addingSpecialTokens: begins), ids, label)
        assertSameBytes(ids.map { tokenizer.piece($0) ?? "" }, try strings(row["tokens"]), label)
        let decoded = try tokenizer.decode(ids, skippingSpecialTokens: begins)
        assertSameBytes([decoded], [try XCTUnwrap(row["decoded"]?.stringValue)], label)
        XCTAssertEqual(try tokenizer.encodePlaces(text).map(\.id), try tokenizer.encode(text), label)
        count += 1
      }
      print("hf_tokenizers \(name): \(count) rows compared (ids, tokens, decoded)")
      XCTAssertGreaterThanOrEqual(count, 60)
    }
  }

  /// `vocab.json` and `merges.txt` of the same vocabulary, without `tokenizer.json`.
  func testVocabularyAndMergesAloneGiveTheSameIDs() throws {
    let folder = try TemporaryTokenizer(files: [
      "vocab.json": Fixtures.bytes("hf_tokenizers/qwen2/vocab.json"),
      "merges.txt": Fixtures.bytes("hf_tokenizers/qwen2/merges.txt"),
      "tokenizer_config.json": Array(
        (#"{"tokenizer_class": "Qwen2Tokenizer", "eos_token": "<|im_end|>", "added_tokens_decoder": {"#
          + #""480": {"content": "<|endoftext|>", "special": true}, "481": {"content": "<|im_start|>", "special": true},"#
          + #""482": {"content": "<|im_end|>", "special": true}, "483": {"content": "<|vision_start|>", "special": true},"#
          + #""484": {"content": "<|vision_end|>", "special": true}, "485": {"content": "<|image_pad|>", "special": true}}}"#)
          .utf8),
    ])
    defer { folder.remove() }
    let tokenizer = try BytePairTokenizer(folder: folder.url)
    XCTAssertEqual(tokenizer.endID, 482)
    XCTAssertEqual(tokenizer.vocabularySize, 486)
    for row in try rows("qwen2") {
      let text = try XCTUnwrap(row["text"]?.stringValue)
      XCTAssertEqual(try tokenizer.encode(text), try integers(row["ids"]), text.debugDescription)
    }
  }

  func testExplicitSettingsReplaceTheTemplateOfTheFile() throws {
    let text = "Hello"
    let ids = try tokenizer("llama2_hub_style").encode(text)
    func encoded(_ configuration: String) throws -> [Int] {
      try tokenizer("llama2_hub_style", configuration: configuration)
        .encode(text, addingSpecialTokens: true)
    }
    XCTAssertEqual(try encoded("{}"), [1] + ids)
    XCTAssertEqual(
      try encoded(
        #"{"add_bos_token": false, "add_eos_token": true, "bos_token": "<s>", "eos_token": "</s>"}"#),
      ids + [2])
    XCTAssertEqual(try encoded(#"{"add_bos_token": false}"#), ids)
  }

  // MARK: - Places

  /// The places of pieces, put together, are the text; each place decodes to what its piece spells.
  func testPlacesCoverTheTextInOrder() throws {
    for name in Self.names {
      let tokenizer = try tokenizer(name)
      for row in try rows(name) {
        let text = try XCTUnwrap(row["text"]?.stringValue)
        let tokens = try tokenizer.encodePlaces(text)
        var end = 0
        for token in tokens {
          let label = "\(name) \(text.debugDescription) \(token)"
          XCTAssertLessThanOrEqual(token.place.lowerBound, end, label)
          XCTAssertGreaterThanOrEqual(token.place.upperBound, end, label)
          end = token.place.upperBound
        }
        XCTAssertEqual(end, text.utf8.count, "\(name) \(text.debugDescription)")
      }
    }
  }

  func testPlacesOfChangedTextPointAtTheOriginal() throws {
    // e and a combining acute accent become one character, whose two bytes both stand for three.
    let composed = try tokenizer("qwen2").encodePlaces("e\u{301}x")
    XCTAssertEqual(Set(composed.dropLast().map(\.place)), [0..<3])
    XCTAssertEqual(composed.last?.place, 3..<4)
    // The space put before the text stands for nothing; the one that is there for itself.
    let marked = try tokenizer("llama_metaspace_first").encodePlaces("H H")
    XCTAssertEqual(marked.map(\.place).filter(\.isEmpty), [0..<0])
    XCTAssertEqual(marked.last?.place.upperBound, 3)
    // A token that owns the spaces around it.
    let stripping = try tokenizer(
      "gpt2",
      configuration:
        #"{"added_tokens_decoder": {"481": {"content": "<x>", "special": true, "lstrip": true, "rstrip": true}}}"#
    )
    XCTAssertEqual(
      try stripping.encodePlaces("a  <x> \u{3000}b").map(\.place), [0..<1, 1..<10, 10..<11])
  }

  func testSentencePiecePlacesPointAtTheOriginal() throws {
    let tokenizer = try SentencePieceTokenizer(
      path: "bpe", model: Fixtures.bytes("sentencepiece/bpe.model"),
      configuration: Array(
        (#"{"legacy": false, "added_tokens_decoder": {"900": {"content": "<image>", "special": true}}}"#).utf8
      ))
    let text = "what is<image> the \u{1F600} é"
    let tokens = try tokenizer.encodePlaces(text)
    XCTAssertEqual(tokens.map(\.id), try tokenizer.encode(text))
    let image = try XCTUnwrap(tokens.first { $0.id == 900 })
    XCTAssertEqual(image.place, 7..<14)
    var end = 0
    for token in tokens {
      XCTAssertLessThanOrEqual(token.place.lowerBound, end, "\(token)")
      end = max(end, token.place.upperBound)
    }
    XCTAssertEqual(end, text.utf8.count)
  }

  // MARK: - Patterns

  /// The alternatives of a pattern, each where it decides.
  func testPatternsCutWhereTheAlternativesSay() {
    func cut(_ pattern: SplitPattern, _ text: String) -> [String] {
      var parts: [String] = []
      let bytes = Array(text.utf8)
      pattern.forEachMatch(bytes, 0..<bytes.count) { range in
        parts.append(String(decoding: bytes[range], as: UTF8.self))
      }
      return parts
    }
    XCTAssertEqual(
      cut(.gpt2, "it's  a\n\n b12 !? "), ["it", "'s", " ", " a", "\n\n", " b", "12", " !?", " "])
    XCTAssertEqual(cut(.qwen2, "IT'S 123"), ["IT", "'S", " ", "1", "2", "3"])
    XCTAssertEqual(cut(.llama3, "12345 67"), ["123", "45", " ", "67"])
    XCTAssertEqual(cut(.llama3, "a \n \n  b"), ["a", " \n \n", " ", " b"])
    XCTAssertEqual(cut(.qwen2, "-x ...\r\n\ty"), ["-x", " ...\r\n", "\ty"])
    // U+017F folds to s; only where case is ignored.
    XCTAssertEqual(cut(.qwen2, "a'\u{17F}b"), ["a", "'\u{17F}", "b"])
    XCTAssertEqual(cut(.gpt2, "a'\u{17F}b"), ["a", "'", "\u{17F}b"])
    XCTAssertNil(SplitPattern(#"\w+"#))
  }

  // MARK: - Merging

  /// Short words, long words and words cut where no rule reaches across must be merged alike.
  func testLongWordsAreMergedAsTheDefinitionSays() throws {
    // From a text of few letters every pair gets a rule often.
    var random = SplitMix(state: 5)
    let letters = ["a", "b", "c", "d"]
    var vocabulary: [String] = letters
    var rules: [(left: String, right: String)] = []
    while rules.count < 120 {
      let left = vocabulary[random.below(vocabulary.count)],
        right = vocabulary[random.below(vocabulary.count)]
      if (left + right).count > 12 || vocabulary.contains(left + right) { continue }
      rules.append((left, right))
      vocabulary.append(left + right)
    }
    let model = try BytePairModel(
      path: "test", vocabulary: vocabulary.enumerated().map { ($1, $0) }, rules: rules, options: .init(),
      isByteLevel: false)
    for length in [1, 2, 7, 40, 47, 48, 49, 300, 2_000] {
      for _ in 0..<5 {
        let text = (0..<length).map { _ in letters[random.below(4)] }.joined()
        var output: [BytePairModel.Symbol] = []
        var scratch = BytePairModel.Scratch()
        model.encode(Array(text.utf8), 0..<length, &scratch, &output)
        XCTAssertEqual(
          output.map { vocabulary[Int($0.id)] }, Self.merged(text, rules), "\(length) letters")
      }
    }
  }

  /// Algorithm 1 as it stands: the rule of the lowest rank that applies, at its first place, again and again.
  private static func merged(_ text: String, _ rules: [(left: String, right: String)]) -> [String] {
    var symbols = text.map { String($0) }
    var ranks: [String: Int] = [:]
    for (rank, rule) in rules.enumerated() { ranks[rule.left + " " + rule.right] = rank }
    while true {
      let pairs = symbols.indices.dropLast().compactMap { index in
        ranks[symbols[index] + " " + symbols[index + 1]].map { ($0, index) }
      }
      guard let (_, index) = pairs.min(by: { $0 < $1 }) else { return symbols }
      symbols[index] += symbols.remove(at: index + 1)
    }
  }

  /// A line of a megabyte without spaces must not take quadratic time; and it is cut as its parts are.
  func testAMegabyteWithoutSpacesIsEncodedInOneGo() throws {
    let line = String(repeating: "helloworldthe", count: 80_000)
    for name in ["qwen2", "llama2_hub_style"] {
      let tokenizer = try tokenizer(name)
      let ids = try tokenizer.encode(line)
      XCTAssertGreaterThan(ids.count, 80_000)
      // A space put before the text is dropped again.
      XCTAssertEqual(try tokenizer.decode(ids), line)
    }
  }

  // MARK: - Refusals

  /// A file with these parts, pieces a, b and ab.
  private func file(
    _ parts: String, vocabulary: String = #"{"a":0,"b":1,"ab":2}"#, merges: String = #"["a b"]"#
  )
    -> [UInt8]
  {
    Array(#"{"model":{"type":"BPE","vocab":\#(vocabulary),"merges":\#(merges)}\#(parts)}"#.utf8)
  }

  private func error(_ file: [UInt8], configuration: String? = nil) -> TokenizerError? {
    do {
      _ = try BytePairTokenizer(
        path: "f", tokenizer: file, configuration: configuration.map { Array($0.utf8) })
      return nil
    } catch {
      return error as? TokenizerError
    }
  }

  func testBrokenFilesAreRefusedEachWithItsOwnError() throws {
    let path = "f/tokenizer.json"
    XCTAssertNil(error(file("")))
    XCTAssertEqual(
      error(file("", vocabulary: #"{"a":0,"b":0,"ab":2}"#)),
      .duplicateID(path: path, id: 0, first: "a", second: "b"))
    XCTAssertEqual(
      error(file("", merges: #"["a b","a c"]"#)), .unknownMergePart(path: path, rule: 1, piece: "c"))
    // The joined piece must be there too.
    XCTAssertEqual(
      error(file("", merges: #"["b a"]"#)), .unknownMergePart(path: path, rule: 0, piece: "ba"))
    XCTAssertEqual(error(file("", merges: #"["ab"]"#)), .malformedMerge(path: path, rule: 0, found: "ab"))
    XCTAssertEqual(
      error(file("", merges: #"[["","a"]]"#)), .malformedMerge(path: path, rule: 0, found: " a"))
    XCTAssertEqual(
      error(file("", vocabulary: #"{"a":1048576}"#, merges: "[]")),
      .tooMany(path: path, what: "ids", found: 1_048_576, limit: 1 << 20))
    XCTAssertEqual(
      error(file(#","added_tokens":[{"id":9,"content":"<x>"}]"#)),
      .conflictingToken(path: path, token: "<x>", id: 9, reason: "the next free id is 3"))
    XCTAssertEqual(
      error(file(#","added_tokens":[{"id":3,"content":"a"}]"#)),
      .conflictingToken(path: path, token: "a", id: 3, reason: "the vocabulary gives it the id 0"))
  }

  func testWhatIsNotSupportedIsRefusedWithTheList() throws {
    let pattern = try XCTUnwrap(
      error(file(#","pre_tokenizer":{"type":"Split","pattern":{"Regex":"\\w+"},"behavior":"Isolated"}"#)))
    XCTAssertEqual(pattern.exitStatus, .unsupported)
    XCTAssertTrue(pattern.errorDescription?.contains(#"not supported: \w+"#) ?? false, "\(pattern)")
    for known in SplitPattern.allCases {
      XCTAssertTrue(pattern.errorDescription?.contains(known.text) ?? false, "\(known)")
    }
    for parts in [
      #","normalizer":{"type":"NFKC"}"#, #","pre_tokenizer":{"type":"Whitespace"}"#,
      #","decoder":{"type":"WordPiece"}"#, #","post_processor":{"type":"RobertaProcessing"}"#,
      #","pre_tokenizer":{"type":"Sequence","pretokenizers":[{"type":"ByteLevel"},{"type":"Digits"}]}"#,
      #","normalizer":{"type":"Replace","pattern":{"Regex":" {2,}"},"content":"x"}"#,
    ] {
      XCTAssertEqual(error(file(parts))?.exitStatus, .unsupported, parts)
    }
    let unigram = Array(#"{"model":{"type":"Unigram","vocab":[]}}"#.utf8)
    XCTAssertEqual(
      error(unigram),
      .unsupported(path: "f/tokenizer.json", part: "model.type", found: "Unigram", supported: ["BPE"]))
  }

  // MARK: - Comparing

  private func integers(_ value: JSONValue?) throws -> [Int] {
    try XCTUnwrap(value?.arrayValue).map { try XCTUnwrap($0.intValue) }
  }

  private func strings(_ value: JSONValue?) throws -> [String] {
    try XCTUnwrap(value?.arrayValue).map { try XCTUnwrap($0.stringValue) }
  }

  /// `String` compares by canonical equivalence, which is too mild here.
  private func assertSameBytes(_ found: [String], _ expected: [String], _ name: String, line: UInt = #line) {
    XCTAssertEqual(found.map { Array($0.utf8) }, expected.map { Array($0.utf8) }, name, line: line)
  }
}

/// Numbers that are the same in each run.
private struct SplitMix {
  var state: UInt64

  mutating func below(_ count: Int) -> Int {
    state &+= 0x9E37_79B9_7F4A_7C15
    var mixed = state
    mixed = (mixed ^ mixed >> 30) &* 0xBF58_476D_1CE4_E5B9
    mixed = (mixed ^ mixed >> 27) &* 0x94D0_49BB_1331_11EB
    return Int((mixed ^ mixed >> 31) % UInt64(count))
  }
}

/// A folder with files that a test removes.
private struct TemporaryTokenizer {
  let url: URL

  init(files: [String: [UInt8]]) throws {
    url = FileManager.default.temporaryDirectory.appendingPathComponent(UUID().uuidString)
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    for (name, bytes) in files { try Data(bytes).write(to: url.appendingPathComponent(name)) }
  }

  func remove() { try? FileManager.default.removeItem(at: url) }
}
