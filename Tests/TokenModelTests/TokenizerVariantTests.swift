import Foundation
import RunKit
import TestSupport
import XCTest

@testable import TokenModel

/// Every step and setting of a `tokenizer.json` that is read, alone, with random texts: ids, pieces and decoded texts as the
/// `tokenizers` library gives them.
///
/// Made by Benchmarks/oracles/make_tokenizer_variants.py, which makes more texts when asked; `MMPROBE_TOKENIZER_CASES`
/// names such a file.
final class TokenizerVariantTests: XCTestCase {
  private func document() throws -> JSONValue {
    if let path = ProcessInfo.processInfo.environment["MMPROBE_TOKENIZER_CASES"] {
      return try JSONValue(
        parsing: [UInt8](Data(contentsOf: URL(fileURLWithPath: path))), countLimit: 1 << 26)
    }
    return try Fixtures.json("tokenizer_variants/cases.json")
  }

  /// The file of a variant: the base with its parts replaced.
  private func tokenizer(_ variant: JSONValue) throws -> BytePairTokenizer {
    let base = try XCTUnwrap(variant["base"]?.stringValue)
    let bytes = try Fixtures.bytes("hf_tokenizers/\(base)/tokenizer.json")
    var file = try XCTUnwrap(JSONValue(parsing: bytes).objectValue)
    var model = try XCTUnwrap(file["model"]?.objectValue)
    for (key, value) in variant["model"]?.objectValue?.members ?? [] { model[key] = value }
    file["model"] = .object(model)
    for (key, value) in variant["parts"]?.objectValue?.members ?? [] { file[key] = value }
    return try BytePairTokenizer(
      path: variant["name"]?.stringValue ?? "", tokenizer: Array(JSONValue.object(file).text().utf8))
  }

  func testEveryVariantCutsAndJoinsAsTheLibrary() throws {
    let variants = try XCTUnwrap(document()["cases"]?.arrayValue)
    XCTAssertGreaterThan(variants.count, 60)
    var count = 0
    for variant in variants {
      let name = variant["name"]?.stringValue ?? ""
      let tokenizer: BytePairTokenizer
      do { tokenizer = try self.tokenizer(variant) } catch {
        XCTFail("\(name): \(error.localizedDescription)")
        continue
      }
      var missed = 0
      for row in variant["rows"]?.arrayValue ?? [] {
        let text = try XCTUnwrap(row["text"]?.stringValue)
        let ids = row["ids"]?.arrayValue?.compactMap(\.intValue) ?? []
        let full = row["full"]?.arrayValue?.compactMap(\.intValue) ?? []
        let pieces = row["tokens"]?.arrayValue?.compactMap { $0.stringValue.map { Array($0.utf8) } } ?? []
        let found = try tokenizer.encode(text)
        var problems: [String] = []
        if found != ids { problems.append("ids \(found), expected \(ids)") }
        if try tokenizer.encode(text, addingSpecialTokens: true) != full {
          problems.append("ids with a template")
        }
        if ids.map({ Array((tokenizer.piece($0) ?? "").utf8) }) != pieces { problems.append("pieces") }
        if try tokenizer.encodePlaces(text).map(\.id) != found { problems.append("ids with places") }
        for (key, skips) in [("decoded", false), ("skipped", true)] {
          let decoded = try tokenizer.decode(full, skippingSpecialTokens: skips)
          let expected = row[key]?.stringValue ?? ""
          if Array(decoded.utf8) != Array(expected.utf8) {
            problems.append("\(key) \(decoded.debugDescription), expected \(expected.debugDescription)")
          }
        }
        if !problems.isEmpty {
          missed += 1
          if missed <= 3 { XCTFail("\(name) \(text.debugDescription): \(problems.joined(separator: "; "))") }
        }
        count += 1
      }
      if missed > 0 { print("\(name): \(missed) of \(variant["rows"]?.arrayValue?.count ?? 0) texts differ") }
    }
    print("\(variants.count) tokenizers, \(count) texts compared (ids, pieces, decoded)")
  }
}
