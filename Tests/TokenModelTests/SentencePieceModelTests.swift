import Foundation
import TestSupport
import XCTest

@testable import TokenModel

/// Models that the SentencePiece library must never see, or that it must refuse by a status.
final class SentencePieceModelTests: XCTestCase {
  func testOrdinaryModelIsAccepted() throws {
    let tokenizer = try load(ModelBytes.small())
    XCTAssertEqual(try tokenizer.encode("ab"), [3, 4])
    XCTAssertEqual(try tokenizer.decode([3, 4]), "ab")
  }

  func testEveryPrefixOfAModelIsRefusedOrAModel() throws {
    let bytes = try [UInt8](Data(contentsOf: Fixtures.url("avdigits_model/tokenizer.model")))
    var refused = 0
    // Step: a prime, so that cuts fall on every kind of byte; all cuts of the last part, where the settings are.
    for count in Array(stride(from: 0, to: bytes.count, by: 7)) + Array((bytes.count - 300)..<bytes.count) {
      do { _ = try load(Array(bytes.prefix(count))) } catch is TokenizerError { refused += 1 }
    }
    XCTAssertGreaterThan(refused, 800)
  }

  func testChangedBytesOfRealModelsNeverStopTheProcess() throws {
    var (refused, accepted) = (0, 0)
    let models = [
      Fixtures.url("sentencepiece/bpe.model"), Fixtures.url("sentencepiece/unigram.model"),
      Fixtures.url("avdigits_model/tokenizer.model"),
    ]
    for model in models {
      let bytes = [UInt8](try Data(contentsOf: model))
      var state: UInt64 = 20_240_607
      for round in 0..<150 {
        var changed = bytes
        for _ in 0...(round % 3) {
          state = state &* 6_364_136_223_846_793_005 &+ 1_442_695_040_888_963_407
          changed[Int(state >> 33) % changed.count] = UInt8(truncatingIfNeeded: state >> 20)
        }
        do {
          let tokenizer = try load(changed)
          _ = try tokenizer.decode(tokenizer.encode("Ａ ﬁne　tést 12 <sep> \u{0}\u{FDFA} e\u{301}"))
          accepted += 1
        } catch is TokenizerError {
          refused += 1
        }
      }
    }
    print("sentencepiece: \(refused) changed models refused, \(accepted) accepted")
    XCTAssertGreaterThan(refused, 0)
    XCTAssertGreaterThan(accepted, 0)
  }

  func testModelsThatTheLibraryRefusesAreErrors() {
    var model = ModelBytes()
    model.add("a")
    assertUnusable(model.bytes, "unk is not defined")
    model = ModelBytes()
    model.add("<unk>", kind: 2)
    model.add("<unk2>", kind: 2)
    assertUnusable(model.bytes, "unk is already defined")
    assertUnusable(ModelBytes.small { $0.add("a") }, "already defined")
    assertUnusable(ModelBytes.small { $0.add("<0x41>", kind: 6) }, "byte_fallback")
    assertUnusable(ModelBytes.small { $0.append(2, [35 << 3 & 0x7F | 0x80, 2, 1]) }, "256 byte pieces")
    assertUnusable([], "no pieces")
  }

  func testMalformedFieldsAreRefusedWithTheirOffset() {
    let small = ModelBytes.small()
    assertMalformed(small + [0x0A, 0x7F], "length")
    assertMalformed(small + [0x0A, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0x7F], "length")
    assertMalformed(small + [UInt8](repeating: 0xFF, count: 11), "10 bytes")
    assertMalformed(small + [0x00, 0x00], "field number")
    assertMalformed(small + [0x0B], "wire type")
    assertMalformed(small + [0x0D, 1], "more bytes")
    assertMalformed(small + [0x08, 1], "with a length")
    assertMalformed(small + [0x0A, 0], "not empty")
    assertMalformed(ModelBytes.small { $0.add("x", kind: 7) }, "piece type")
    assertMalformed(ModelBytes.small { $0.add("x", score: .nan) }, "finite")
    assertMalformed(ModelBytes.small { $0.add("x", score: -.infinity) }, "finite")
    assertMalformed(ModelBytes.small { $0.append(1, [0x0A, 1, 0xFF]) }, "UTF-8")
    assertMalformed(ModelBytes.small { $0.add("x\0y") }, "NUL")
    assertMalformed(ModelBytes.small { $0.add(String(repeating: "x", count: 4097)) }, "4096")
    assertMalformed(ModelBytes.small { $0.append(3, [0x1A, 0]) }, "truth value")
    assertMalformed(ModelBytes.small { $0.append(1, [0x1D, 0, 0, 0, 0]) }, "number")
  }

  func testTooManyPiecesAreRefusedBeforeTheLibraryMakesRoomForThem() {
    let piece: [UInt8] = [0x0A, 3, 0x0A, 1, 0x61]
    let bytes = (0...SentencePieceProto.pieceLimit).flatMap { _ in piece }
    assertMalformed(bytes, "at most \(SentencePieceProto.pieceLimit) pieces")
  }

  func testUserDefinedSymbolsInsideEachOtherAreLimitedToTheLibrarysRoom() throws {
    func nested(_ count: Int) -> [UInt8] {
      ModelBytes.small { model in
        for length in 1...count { model.add(String(repeating: "u", count: length), kind: 4) }
        model.add("ua", kind: 4)
        model.add("z", kind: 4)
      }
    }
    let tokenizer = try load(nested(64))
    XCTAssertEqual(try tokenizer.encode(String(repeating: "u", count: 64)), [5 + 63])
    assertUnusable(nested(65), "65 user-defined symbols")
  }

  func testCharacterMapsAreWalkedBeforeTheLibraryDoes() throws {
    var map = CharacterMapBytes()
    let tokenizer = try load(model(with: map.bytes))
    XCTAssertEqual(try tokenizer.decode(tokenizer.encode("xb")), "ab", "x becomes a")

    assertMalformed(model(with: [1, 2, 3]), "size of a trie")
    assertMalformed(model(with: Array(map.bytes.prefix(1028))), "whole units")
    map.texts = Array("a".utf8)
    assertMalformed(model(with: map.bytes), "end with NUL")
    map.texts = [0xFF, 0]
    assertMalformed(model(with: map.bytes), "UTF-8")
    map = CharacterMapBytes()
    map.texts = [UInt8](repeating: 0x61, count: 1025) + [0]
    assertMalformed(model(with: map.bytes), "offsets", "a text of more than 1024 bytes")
    map = CharacterMapBytes()
    map.units[Int(UInt8(ascii: "x")) ^ 1] = 1_000_000 << 10 | UInt32(UInt8(ascii: "x"))
    assertMalformed(model(with: map.bytes), "offsets", "children outside")
    map = CharacterMapBytes()
    map.units[Int(UInt8(ascii: "x")) ^ 1 ^ 128] = 1 << 31 | 99
    assertMalformed(model(with: map.bytes), "offsets", "text outside")
    map = CharacterMapBytes()
    // The children of "x" start where those of the root do, so "xxx…" never ends.
    let x = Int(UInt8(ascii: "x"))
    map.units[x ^ 1] = UInt32(x) << 10 | UInt32(x)
    assertMalformed(model(with: map.bytes), "loops")
  }

  func testTextsAreLimited() throws {
    let tokenizer = try load(ModelBytes.small())
    let text = String(repeating: "a", count: SentencePieceModel.textLimit + 1)
    XCTAssertThrowsError(try tokenizer.encode(text)) { error in
      XCTAssertEqual(
        error as? TokenizerError,
        .textTooLong(count: SentencePieceModel.textLimit + 1, limit: SentencePieceModel.textLimit))
    }
  }

  func testIdsWithoutPieceAreRefused() throws {
    let tokenizer = try load(ModelBytes.small())
    for id in [-1, 5, Int.max, Int.min] {
      XCTAssertThrowsError(try tokenizer.decode([3, id])) { error in
        XCTAssertEqual(error as? TokenizerError, .idWithoutPiece(id: id, vocabulary: 5))
      }
    }
  }

  // MARK: - Helpers

  private func load(_ bytes: [UInt8]) throws -> SentencePieceTokenizer {
    try SentencePieceTokenizer(path: "folder", model: bytes)
  }

  private func model(with map: [UInt8]) -> [UInt8] {
    ModelBytes.small { $0.append(3, [0x12] + ModelBytes.varint(map.count) + map) }
  }

  private func assertUnusable(_ bytes: [UInt8], _ reason: String, line: UInt = #line) {
    XCTAssertThrowsError(try load(bytes), reason, line: line) { error in
      guard case .unusableModel("folder/tokenizer.model", let found) = error as? TokenizerError else {
        return XCTFail("\(error)", line: line)
      }
      XCTAssertTrue(found.contains(reason), found, line: line)
    }
  }

  private func assertMalformed(
    _ bytes: [UInt8], _ expectation: String, _ note: String = "", line: UInt = #line
  ) {
    XCTAssertThrowsError(try load(bytes), expectation + note, line: line) { error in
      guard
        case .malformedModel("folder/tokenizer.model", let offset, let expected) = error as? TokenizerError
      else { return XCTFail("\(error)", line: line) }
      XCTAssertTrue(expected.contains(expectation), expected, line: line)
      XCTAssertTrue(0...bytes.count ~= offset, "\(offset)", line: line)
    }
  }
}

/// Writes SentencePiece models field by field.
struct ModelBytes {
  var bytes: [UInt8] = []

  /// `<unk>`, `<s>`, `</s>`, `a`, `b`, and no space before the text; `extend` adds more.
  static func small(_ extend: (inout ModelBytes) -> Void = { _ in }) -> [UInt8] {
    var model = ModelBytes()
    model.add("<unk>", kind: 2)
    model.add("<s>", kind: 3)
    model.add("</s>", kind: 3)
    model.add("a", score: -1)
    model.add("b", score: -2)
    model.append(3, [0x18, 0])
    extend(&model)
    return model.bytes
  }

  mutating func add(_ piece: String, score: Float = 0, kind: UInt8 = 1) {
    let text = Array(piece.utf8)
    let bits = score.bitPattern
    let scoreBytes = (0..<4).map { UInt8(truncatingIfNeeded: bits >> (8 * $0)) }
    append(1, [0x0A] + Self.varint(text.count) + text + [0x15] + scoreBytes + [0x18, kind])
  }

  mutating func append(_ field: UInt8, _ contents: [UInt8]) {
    bytes += [field << 3 | 2] + Self.varint(contents.count) + contents
  }

  static func varint(_ value: Int) -> [UInt8] {
    value < 0x80 ? [UInt8(value)] : [UInt8(value & 0x7F | 0x80)] + varint(value >> 7)
  }
}

/// A character map of two blocks of 256 units that turns "x" into "a".
private struct CharacterMapBytes {
  var units = [UInt32](repeating: 0xFF, count: 512)
  var texts: [UInt8] = Array("a".utf8) + [0]

  init() {
    let x = UInt32(UInt8(ascii: "x"))
    // Free places carry a label that does not belong there; the root's children start at 1.
    for index in units.indices { units[index] = UInt32(index ^ 0x80) & 0xFF | 1 << 31 }
    units[0] = 1 << 10
    // The unit of "x" at 1 ^ x has a leaf, 128 places away, that points at the first text.
    units[Int(x) ^ 1] = 128 << 10 | 1 << 8 | x
    units[Int(x) ^ 1 ^ 128] = 1 << 31
  }

  var bytes: [UInt8] {
    let trie = units.flatMap { unit in (0..<4).map { UInt8(truncatingIfNeeded: unit >> (8 * $0)) } }
    return (0..<4).map { UInt8(truncatingIfNeeded: trie.count >> (8 * $0)) } + trie + texts
  }
}
