import RunKit
import TestSupport
import XCTest

@testable import TokenModel

/// The JSON files beside a `tokenizer.model`.
final class SentencePieceTokenizerTests: XCTestCase {
  func testFolderOfAVDigitsIsReadWhole() throws {
    let tokenizer = try SentencePieceTokenizer(folder: Fixtures.url("avdigits_model"))
    XCTAssertEqual(tokenizer.vocabularySize, 353)
    XCTAssertEqual(
      [tokenizer.beginID, tokenizer.endID, tokenizer.paddingID, tokenizer.unknownID], [1, 2, 3, 0])
    XCTAssertEqual(tokenizer.id(of: "<audio>"), 5)
    XCTAssertEqual(tokenizer.piece(7), "<|assistant|>")
    XCTAssertNil(tokenizer.piece(353))
    XCTAssertTrue(try XCTUnwrap(tokenizer.chatTemplate).hasPrefix("{{ bos_token }}"))
    let prompt = "<|user|><image><audio>what digit is written ?<|assistant|>"
    let ids = try tokenizer.encode(prompt, addingSpecialTokens: true)
    XCTAssertEqual(ids.first, 1)
    XCTAssertEqual(try tokenizer.decode(ids), "what digit is written ?")
    XCTAssertEqual(try tokenizer.decode(ids, skippingSpecialTokens: false), "<s>" + prompt)
  }

  func testSpacesBesideSymbolsStayAsSentencePieceCutsThem() throws {
    let tokenizer = try SentencePieceTokenizer(folder: Fixtures.url("avdigits_model"))
    let pieces = try tokenizer.encode("<image> what  is ? <|assistant|>").compactMap(tokenizer.piece)
    XCTAssertEqual(pieces, ["<image>", "▁what", "▁is", "▁?", "▁", "<|assistant|>"])
  }

  func testMissingModelIsAMissingFile() {
    XCTAssertThrowsError(try SentencePieceTokenizer(folder: Fixtures.url("no such folder"))) { error in
      guard case FileError.missing = error else { return XCTFail("\(error)") }
    }
  }

  func testAddedTokensBeyondTheModelAreFoundLongestFirst() throws {
    let tokenizer = try load(
      addedTokens: #"{"<x>": 5, "<x><y>": 9, "<y>": 6}"#, configuration: #"{"add_prefix_space": false}"#)
    XCTAssertEqual(tokenizer.vocabularySize, 10)
    XCTAssertEqual(try tokenizer.encode("a<x>b<x><y><y><x"), [3, 5, 4, 9, 6, 0])
    XCTAssertNil(tokenizer.piece(7))
    XCTAssertThrowsError(try tokenizer.decode([7])) { error in
      XCTAssertEqual(error as? TokenizerError, .idWithoutPiece(id: 7, vocabulary: 10))
    }
    XCTAssertEqual(
      try tokenizer.decode([3, 5, 4, 9, 3]), "a<x>b<x><y>a", "tokens that are not special are text")
  }

  func testSpacesThatATokenStripsBelongToIt() throws {
    let tokenizer = try load(
      configuration: """
        {"add_prefix_space": false, "added_tokens_decoder": {
          "5": {"content": "<x>", "lstrip": true, "rstrip": true, "special": true},
          "6": {"content": "<y>"}}}
        """)
    XCTAssertEqual(try tokenizer.encode("a \t<x>\n b"), [3, 5, 4])
    XCTAssertEqual(try tokenizer.encode("a<y>b"), [3, 6, 4])
    XCTAssertEqual(try tokenizer.decode([3, 5, 4, 6]), "ab<y>")
    XCTAssertEqual(try tokenizer.decode([3, 5, 4, 6], skippingSpecialTokens: false), "a<x>b<y>")
  }

  func testSpaceBeforeTheTextFollowsTheSettings() throws {
    let space = { (model: inout ModelBytes) in model.add("▁", score: -3) }
    let token = #""added_tokens_decoder": {"6": {"content": "<x>"}}"#
    func ids(_ setting: String, _ text: String) throws -> [Int] {
      try load(extend: space, configuration: "{\(setting), \(token)}").encode(text)
    }
    XCTAssertEqual(try ids(#""legacy": true"#, "a<x>b"), [5, 3, 6, 5, 4], "before every part")
    XCTAssertEqual(try ids(#""legacy": false"#, "a<x>b"), [5, 3, 6, 4], "before the text")
    XCTAssertEqual(try ids(#""legacy": false"#, "<x>b"), [6, 4], "not after a token")
    XCTAssertEqual(
      try ids(#""legacy": false"#, "a<x>  b"), [5, 3, 6, 5, 4], "spaces after a token stay one space")
    XCTAssertEqual(try ids(#""add_prefix_space": false"#, "a<x> b"), [3, 6, 5, 4])
    XCTAssertEqual(try ids(#""add_bos_token": true"#, "a<x>b"), [3, 6, 4], "the model's own setting")
  }

  func testDecodedTextKeepsSpacesAfterATokenButNotAtTheStart() throws {
    let tokenizer = try load(
      extend: { $0.add("▁", score: -3) },
      configuration: #"{"legacy": false, "added_tokens_decoder": {"6": {"content": "<x>"}}}"#)
    XCTAssertEqual(try tokenizer.decode([5, 3, 6, 5, 4, 5, 3]), "a<x> b a")
    XCTAssertEqual(try tokenizer.decode([]), "")
  }

  func testTokensWithARoleComeFromTheFilesInTurn() throws {
    let named = try load(
      configuration: #"{"bos_token": null, "eos_token": {"content": "a"}, "add_eos_token": true}"#,
      specialTokens:
        #"{"bos_token": "<s>", "eos_token": "b", "pad_token": "</s>", "additional_special_tokens": ["b"]}"#)
    XCTAssertEqual([named.beginID, named.endID, named.paddingID, named.unknownID], [nil, 3, 2, 0])
    XCTAssertEqual(try named.encode("b", addingSpecialTokens: true), [4, 3])
    XCTAssertEqual(try named.decode([4, 3, 2]), "")
    let unnamed = try load()
    XCTAssertEqual([unnamed.beginID, unnamed.endID, unnamed.paddingID, unnamed.unknownID], [1, 2, nil, 0])
  }

  func testCanonicallyEqualPiecesStayApart() throws {
    let tokenizer = try load(extend: { model in
      model.add("\u{E9}", score: -1)
      model.add("e\u{301}", score: -1)
    })
    XCTAssertEqual(tokenizer.id(of: "\u{E9}"), 5)
    XCTAssertEqual(tokenizer.id(of: "e\u{301}"), 6)
    XCTAssertEqual(try tokenizer.encode("e\u{301}\u{E9}"), [6, 5])
  }

  func testConflictsAreRefused() {
    assertConflict(addedTokens: #"{"<x>": 3}"#, token: "<x>", id: 3)
    assertConflict(addedTokens: #"{"<x>": 5, "<y>": 5}"#, token: "<y>", id: 5)
    assertConflict(
      addedTokens: #"{"<x>": 6}"#, configuration: #"{"added_tokens_decoder": {"5": {"content": "<x>"}}}"#,
      token: "<x>", id: 6)
    XCTAssertThrowsError(try load(configuration: #"{"bos_token": "<begin>"}"#)) { error in
      XCTAssertEqual(
        error as? TokenizerError, .unknownToken(path: "folder", key: "bos_token", token: "<begin>"))
    }
  }

  func testSettingsOfTheWrongKindAreRefused() {
    let bad = [
      "[]", "{", #"{"added_tokens_decoder": []}"#, #"{"added_tokens_decoder": {"05": {"content": "x"}}}"#,
      #"{"added_tokens_decoder": {"-1": {"content": "x"}}}"#, #"{"added_tokens_decoder": {"5": {}}}"#,
      #"{"added_tokens_decoder": {"5": {"content": ""}}}"#,
      #"{"added_tokens_decoder": {"99999999": {"content": "x"}}}"#,
      #"{"added_tokens_decoder": {"5": {"content": "x", "single_word": true}}}"#, #"{"bos_token": 1}"#,
      #"{"tokenizer_class": "XLMRobertaTokenizer"}"#, #"{"legacy": "no"}"#,
      #"{"additional_special_tokens": "x"}"#,
      #"{"additional_special_tokens": [5]}"#, #"{"chat_template": 3}"#,
    ]
    for text in bad {
      XCTAssertThrowsError(try load(configuration: text), text) { error in
        XCTAssertTrue(error is ConfigurationError, "\(text): \(error)")
      }
    }
    XCTAssertThrowsError(try load(addedTokens: #"{"x": -1}"#)) { XCTAssertTrue($0 is ConfigurationError) }
  }

  func testEveryErrorSaysWhatToDo() {
    let errors: [TokenizerError] = [
      .malformedModel(path: "p", offset: 1, expected: "e"), .unusableModel(path: "p", reason: "r"),
      .conflictingToken(path: "p", token: "t", id: 1, reason: "r"),
      .unknownToken(path: "p", key: "k", token: "t"),
      .idWithoutPiece(id: 1, vocabulary: 1), .textTooLong(count: 2, limit: 1),
      .unsupported(path: "p", part: "a", found: "f", supported: ["s"]),
      .unsupportedPattern(path: "p", pattern: "x", supported: ["s"]),
      .duplicateID(path: "p", id: 1, first: "f", second: "s"),
      .unknownMergePart(path: "p", rule: 1, piece: "x"), .malformedMerge(path: "p", rule: 1, found: "f"),
      .tooMany(path: "p", what: "w", found: 2, limit: 1),
    ]
    XCTAssertEqual(Set(errors.map(\.code)), Set(TokenizerError.Code.allCases))
    for error in errors {
      XCTAssertFalse(try XCTUnwrap(error.errorDescription).isEmpty)
      XCTAssertFalse(try XCTUnwrap(error.recoverySuggestion).isEmpty)
      let isUnsupported = [.unsupported, .unsupportedPattern].contains(error.code)
      XCTAssertEqual(error.exitStatus, isUnsupported ? .unsupported : .data)
    }
  }

  // MARK: - Helpers

  private func load(
    extend: (inout ModelBytes) -> Void = { _ in }, addedTokens: String? = nil, configuration: String? = nil,
    specialTokens: String? = nil
  ) throws -> SentencePieceTokenizer {
    try SentencePieceTokenizer(
      path: "folder", model: ModelBytes.small(extend), configuration: configuration.map { Array($0.utf8) },
      addedTokens: addedTokens.map { Array($0.utf8) }, specialTokens: specialTokens.map { Array($0.utf8) })
  }

  private func assertConflict(
    addedTokens: String, configuration: String? = nil, token: String, id: Int, line: UInt = #line
  ) {
    XCTAssertThrowsError(try load(addedTokens: addedTokens, configuration: configuration), line: line) {
      error in
      guard case .conflictingToken(_, token, id, _) = error as? TokenizerError else {
        return XCTFail("\(error)", line: line)
      }
    }
  }
}
