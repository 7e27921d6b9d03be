import Foundation
import RunKit
import TestSupport
import XCTest

@testable import TokenModel

/// WordPiece beside `BertTokenizer` of transformers.
final class WordPieceTokenizerTests: XCTestCase {
  private func texts(_ cases: JSONValue) throws -> [String] {
    try XCTUnwrap(cases["texts"]?.arrayValue).map { try XCTUnwrap($0.stringValue) }
  }

  private func lists(_ value: JSONValue?) throws -> [[Int]] {
    try XCTUnwrap(value?.arrayValue).map { list in
      try XCTUnwrap(list.arrayValue).map { try XCTUnwrap($0.intValue) }
    }
  }

  private func vocabulary() throws -> [UInt8] { try Fixtures.bytes("encoders/wordpiece/vocab.txt") }

  /// The tokenizer that transformers writes for the vocabulary; the fixture leaves out the pieces.
  private func tokenizerFile() throws -> [UInt8] {
    let pieces = String(decoding: try vocabulary(), as: UTF8.self).split(separator: "\n")
    let entries = pieces.enumerated().map { "\(JSONValue.string(String($1)).text()):\($0)" }
    let text = String(decoding: try Fixtures.bytes("encoders/wordpiece/tokenizer.json"), as: UTF8.self)
    XCTAssertTrue(text.contains("\"vocab\":{}"))
    return Array(text.replacing("\"vocab\":{}", with: "\"vocab\":{\(entries.joined(separator: ","))}").utf8)
  }

  func testIDsAreThoseOfTransformers() throws {
    let cases = try Fixtures.json("encoders/wordpiece/cases.json")
    let texts = try texts(cases)
    var (count, unknown) = (0, 0)
    for (kind, options) in try XCTUnwrap(cases["kinds"]?.objectValue).members {
      let tokenizer = try WordPieceTokenizer(
        path: "folder", vocabulary: vocabulary(), configuration: Array(options.text().utf8))
      let expected = try lists(cases["ids"]?[kind])
      XCTAssertEqual(expected.count, texts.count)
      for (text, ids) in zip(texts, expected) {
        let found = try tokenizer.encode(text, addingSpecialTokens: true)
        XCTAssertEqual(found, ids, "\(kind): \(text.debugDescription)")
        count += ids.count
        unknown += ids.count { $0 == tokenizer.unknownID }
      }
    }
    print(
      "WordPiece: \(count) ids of \(texts.count) strings in five settings, \(unknown) of them unknown words")
  }

  func testAFileOfTheLibraryGivesTheSameIDsAndText() throws {
    let cases = try Fixtures.json("encoders/wordpiece/cases.json")
    let folder = try TemporaryDirectory()
    try Data(tokenizerFile()).write(to: URL(fileURLWithPath: folder.path + "/tokenizer.json"))
    let tokenizer = try WordPieceTokenizer(folder: URL(fileURLWithPath: folder.path))
    let decoded = try XCTUnwrap(cases["decoded"]?.arrayValue).map { try XCTUnwrap($0.stringValue) }
    let expected = try lists(cases["ids"]?["uncased"])
    for (index, text) in try texts(cases).enumerated() {
      let ids = try tokenizer.encode(text, addingSpecialTokens: true)
      XCTAssertEqual(ids, expected[index], text.debugDescription)
      XCTAssertEqual(
        Array(try tokenizer.decode(ids).unicodeScalars), Array(decoded[index].unicodeScalars),
        text.debugDescription)
    }
    XCTAssertEqual(tokenizer.beginID, tokenizer.id(of: "[CLS]"))
    XCTAssertEqual(tokenizer.endID, tokenizer.id(of: "[SEP]"))
    XCTAssertEqual(tokenizer.paddingID, 0)
    XCTAssertEqual(tokenizer.piece(4), "[MASK]")
    XCTAssertNil(tokenizer.piece(tokenizer.vocabularySize))
  }

  func testPlacesAreThoseOfTheLibrary() throws {
    let cases = try Fixtures.json("encoders/wordpiece/cases.json")
    let tokenizer = try WordPieceTokenizer(path: "folder", vocabulary: vocabulary())
    let places = try XCTUnwrap(cases["places"]?.arrayValue)
    XCTAssertGreaterThan(places.count, 40)
    for (text, expected) in zip(try texts(cases), places) {
      // The library counts characters, and gives special tokens around the text no place.
      let expected = try lists(expected).dropFirst().dropLast().map { $0[0]..<$0[1] }
      var starts: [Int: Int] = [:]
      var byte = 0
      for (index, scalar) in text.unicodeScalars.enumerated() {
        starts[byte] = index
        byte += UTF8.width(scalar)
      }
      starts[byte] = text.unicodeScalars.count
      let found = try tokenizer.encodePlaces(text).map { token in
        try XCTUnwrap(starts[token.place.lowerBound])..<XCTUnwrap(starts[token.place.upperBound])
      }
      XCTAssertEqual(found, Array(expected), text.debugDescription)
    }
  }

  func testLongTextsAndWords() throws {
    let tokenizer = try WordPieceTokenizer(path: "folder", vocabulary: vocabulary())
    let id = try XCTUnwrap(tokenizer.unknownID)
    XCTAssertEqual(try tokenizer.encode(String(repeating: "a", count: 101)), [id])
    XCTAssertFalse(try tokenizer.encode(String(repeating: "a", count: 100)).contains(id))
    XCTAssertThrowsError(
      try tokenizer.encode(String(repeating: "a", count: WordPieceTokenizer.textLimit + 1))
    ) {
      guard case TokenizerError.textTooLong = $0 else { return XCTFail("\($0)") }
    }
    XCTAssertThrowsError(try tokenizer.decode([tokenizer.vocabularySize])) {
      guard case TokenizerError.idWithoutPiece = $0 else { return XCTFail("\($0)") }
    }
  }

  func testOtherTokenizersAreRefused() throws {
    let text = String(decoding: try tokenizerFile(), as: UTF8.self)
    for (part, other) in [
      ("\"type\":\"WordPiece\"", "\"type\":\"Unigram\""), ("BertPreTokenizer", "Whitespace"),
      ("BertNormalizer", "NFC"), ("TemplateProcessing", "RobertaProcessing"),
    ] {
      XCTAssertTrue(text.contains(part))
      XCTAssertThrowsError(
        try WordPieceTokenizer(path: "folder", tokenizer: Array(text.replacing(part, with: other).utf8)),
        other
      ) {
        guard case TokenizerError.unsupported = $0 else { return XCTFail("\(other): \($0)") }
      }
    }
    XCTAssertThrowsError(try WordPieceTokenizer(path: "folder", vocabulary: Array("a\nb\n".utf8))) {
      guard case TokenizerError.unknownToken(_, "unk_token", "[UNK]") = $0 else { return XCTFail("\($0)") }
    }
  }

  func testLinesOfAVocabularyEndInEveryWay() throws {
    let lines = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "a\u{2028}b", "x"]
    for end in ["\n", "\r\n", "\r"] {
      let file = lines.joined(separator: end)
      for text in [file, file + end] {
        let tokenizer = try WordPieceTokenizer(path: "folder", vocabulary: Array(text.utf8))
        XCTAssertEqual(tokenizer.vocabularySize, 7)
        XCTAssertEqual(tokenizer.id(of: "a\u{2028}b"), 5)
        XCTAssertEqual(try tokenizer.encode("X", addingSpecialTokens: true), [2, 6, 3])
      }
    }
  }
}
