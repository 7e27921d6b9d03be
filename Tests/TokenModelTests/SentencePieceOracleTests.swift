import RunKit
import TestSupport
import XCTest

@testable import TokenModel

/// Every row that the real SentencePiece library 0.2.3 gave for a unigram and a BPE model with byte fallback;
/// everything is text or an id, so everything must be equal.
final class SentencePieceOracleTests: XCTestCase {
  private struct Case {
    let name: String
    let expected: JSONValue
    let tokenizer: SentencePieceTokenizer
  }

  private func cases() throws -> [Case] {
    let expected = try Fixtures.json("sentencepiece/expected.json")
    XCTAssertEqual(try XCTUnwrap(expected.objectValue).keys, ["unigram", "bpe"])
    return try ["unigram", "bpe"].map { name in
      Case(
        name: name, expected: try XCTUnwrap(expected[name]),
        tokenizer: try SentencePieceTokenizer(
          path: name, model: Fixtures.bytes("sentencepiece/\(name).model"),
          configuration: Array(#"{"add_bos_token": true, "add_eos_token": true}"#.utf8)))
    }
  }

  func testVocabularyHasTheSamePiecesScoresAndTypes() throws {
    var count = 0
    for oracle in try cases() {
      let (name, expected, tokenizer) = (oracle.name, oracle.expected, oracle.tokenizer)
      XCTAssertEqual(expected["vocab_size"]?.intValue, tokenizer.vocabularySize, name)
      XCTAssertEqual(expected["unk_id"]?.intValue, tokenizer.unknownID, name)
      XCTAssertEqual(expected["bos_id"]?.intValue, tokenizer.beginID, name)
      XCTAssertEqual(expected["eos_id"]?.intValue, tokenizer.endID, name)
      XCTAssertEqual(expected["pad_id"]?.intValue, tokenizer.paddingID ?? -1, name)
      XCTAssertEqual(expected["byte_0x00_id"]?.intValue, tokenizer.id(of: "<0x00>"), name)
      let rows = try XCTUnwrap(expected["vocab"]?.arrayValue)
      XCTAssertEqual(rows.count, tokenizer.vocabularySize, name)
      for (id, row) in rows.enumerated() {
        let row = try XCTUnwrap(row.arrayValue)
        XCTAssertEqual(row.count, 3)
        let piece = try XCTUnwrap(row[0].stringValue)
        assertSameBytes(tokenizer.piece(id), piece, "\(name) \(id)")
        XCTAssertEqual(tokenizer.id(of: piece), id, "\(name) \(piece)")
        XCTAssertEqual(tokenizer.entry(id).score, Float(try XCTUnwrap(row[1].doubleValue)), "\(name) \(id)")
        XCTAssertEqual(Self.word(tokenizer.entry(id).kind), row[2].stringValue, "\(name) \(id)")
        count += 1
      }
    }
    print("sentencepiece: \(count) vocabulary entries compared")
    XCTAssertEqual(count, 560 + 512)
  }

  /// The kind in the words of the fixture, whose library does not tell user-defined pieces from others.
  private static func word(_ kind: SentencePieceProto.PieceKind) -> String {
    switch kind {
    case .normal, .userDefined: "normal_or_user"
    default: "\(kind)"
    }
  }

  func testTextsAreCutNormalizedAndJoinedTheSame() throws {
    var count = 0
    for oracle in try cases() {
      let tokenizer = oracle.tokenizer
      for row in try XCTUnwrap(oracle.expected["rows"]?.arrayValue) {
        XCTAssertEqual(
          try XCTUnwrap(row.objectValue).keys,
          ["text", "ids", "pieces", "decoded", "normalized", "ids_bos_eos"])
        let text = try XCTUnwrap(row["text"]?.stringValue)
        let name = "\(oracle.name) \(text.debugDescription)"
        let ids = try integers(row["ids"])
        let parts = try tokenizer.encodeParts(text)
        XCTAssertEqual(try tokenizer.encode(text), ids, name)
        XCTAssertEqual(
          try tokenizer.encode(text, addingSpecialTokens: true), try integers(row["ids_bos_eos"]), name)
        assertSameBytes(parts.map(\.piece), try strings(row["pieces"]), name)
        assertSameBytes(ids.map { tokenizer.piece($0) ?? "" }, try strings(row["pieces"]), name)
        assertSameBytes(
          try tokenizer.decode(ids, skippingSpecialTokens: false), row["decoded"]?.stringValue, name)
        let normalized = parts.flatMap { part in
          tokenizer.entry(part.id).kind == .byte
            ? [UInt8(part.piece.dropFirst(3).dropLast(), radix: 16) ?? 0] : Array(part.piece.utf8)
        }
        XCTAssertEqual(normalized, Array(try XCTUnwrap(row["normalized"]?.stringValue).utf8), name)
        count += 1
      }
    }
    print("sentencepiece: \(count) texts compared (ids, ids with bos and eos, pieces, decoded, normalized)")
    XCTAssertEqual(count, 2 * 63)
  }

  func testIdsAreJoinedTheSame() throws {
    var count = 0
    for oracle in try cases() {
      for list in ["decode_random", "decode_bytes"] {
        for row in try XCTUnwrap(oracle.expected[list]?.arrayValue) {
          let ids = try integers(row["ids"])
          let name = "\(oracle.name) \(list) \(ids)"
          assertSameBytes(
            try oracle.tokenizer.decode(ids, skippingSpecialTokens: false), row["decoded"]?.stringValue, name)
          assertSameBytes(ids.map { oracle.tokenizer.piece($0) ?? "" }, try strings(row["pieces"]), name)
          count += 1
        }
      }
      XCTAssertEqual(
        try XCTUnwrap(oracle.expected.objectValue).keys.filter { oracle.expected[$0]?.arrayValue != nil },
        ["rows", "decode_random", "decode_bytes", "vocab"])
    }
    print("sentencepiece: \(count) lists of ids compared (decoded, pieces)")
    XCTAssertEqual(count, 2 * (12 + 8))
  }

  func testPromptsOfAVDigitsGetTheIdsOfTheReference() throws {
    let tokenizer = try SentencePieceTokenizer(folder: Fixtures.url("avdigits_model"))
    let items = try XCTUnwrap(try Fixtures.json("avdigits_model/case.json")["items"]?.arrayValue)
    var count = 0
    for item in items {
      let name = item["name"]?.stringValue ?? "?"
      let prompt = try XCTUnwrap(item["prompt"]?.stringValue)
      let ids = try integers(item["input_ids"])
      XCTAssertEqual(try tokenizer.encode(prompt), ids, name)
      XCTAssertEqual(try tokenizer.encode(String(prompt.dropFirst(3)), addingSpecialTokens: true), ids, name)
      assertSameBytes(ids.map { tokenizer.piece($0) ?? "" }, try strings(item["pieces"]), name)
      let answer = try XCTUnwrap(item["answer"]?.stringValue)
      XCTAssertEqual(try tokenizer.encode(answer) + [2], try integers(item["answer_ids"]), name)
      let generated = try integers(item["generated_ids"])
      assertSameBytes(try tokenizer.decode(generated), item["generated_text"]?.stringValue, name)
      count += 1
    }
    print("avdigits: \(count) prompts compared (ids, pieces, answers)")
    XCTAssertGreaterThan(count, 0)
  }

  // MARK: - Comparing

  private func integers(_ value: JSONValue?) throws -> [Int] {
    try XCTUnwrap(value?.arrayValue).map { try XCTUnwrap($0.intValue) }
  }

  private func strings(_ value: JSONValue?) throws -> [String] {
    try XCTUnwrap(value?.arrayValue).map { try XCTUnwrap($0.stringValue) }
  }

  /// `String` compares by canonical equivalence, which is too mild here.
  private func assertSameBytes(_ found: String?, _ expected: String?, _ name: String, line: UInt = #line) {
    XCTAssertEqual(found.map { Array($0.utf8) }, expected.map { Array($0.utf8) }, name, line: line)
    XCTAssertNotNil(expected, name, line: line)
  }

  private func assertSameBytes(_ found: [String], _ expected: [String], _ name: String, line: UInt = #line) {
    XCTAssertEqual(found.map { Array($0.utf8) }, expected.map { Array($0.utf8) }, name, line: line)
  }
}
