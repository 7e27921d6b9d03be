import Foundation
import RunKit
import TestSupport
import XCTest

@testable import Analysis

final class AttentionTablesTests: XCTestCase {
  private func tables(_ run: SyntheticAttention) throws -> [String: [[String]]] {
    let samples = try AttentionSamples(run.samples)
    let files = AttentionTables(AttentionSummary(run.context, samples), samples).files
    return Dictionary(
      uniqueKeysWithValues: files.map { file in
        (file.name, file.text.split(separator: "\r\n").map { $0.components(separatedBy: ",") })
      })
  }

  func testEveryTableHasItsRows() throws {
    let tables = try tables(SyntheticAttention(sampleCount: 10))
    XCTAssertEqual(tables["groups.csv"]?.count, 1 + 6 * 7)
    XCTAssertEqual(tables["layers.csv"]?.count, 1 + 4 * 7)
    XCTAssertEqual(tables["heads.csv"]?.count, 1 + 16)
    // Five layered quantities over 8 spans less one, plus three over all layers, for two media.
    XCTAssertEqual(tables["indices.csv"]?.count, 1 + 2 * (4 * 8 + 3))
    XCTAssertEqual(tables["query_tokens.csv"]?.count, 1 + 20)
    XCTAssertEqual(tables["samples.csv"]?.count, 1 + 10)
    for (name, rows) in tables {
      XCTAssertEqual(Set(rows.map(\.count)).count, 1, "\(name): every line has as many fields as the header")
    }
  }

  func testUnknownNumbersAreEmpty() throws {
    let rows = try XCTUnwrap(tables(SyntheticAttention(sampleCount: 1))["groups.csv"])
    let row = try XCTUnwrap(rows.first { $0.starts(with: ["image", "share"]) })
    XCTAssertEqual(row[3...5], ["", "", ""])
    XCTAssertEqual(row[6], "1")
  }

  func testTerminalTextPrintsTheDefinitionWithTheNumbers() throws {
    let run = SyntheticAttention(sampleCount: 1, sinks: .included)
    let text = AttentionSummary(run.context, try AttentionSamples(run.samples)).terminalText
    XCTAssertEqual(
      text.split(separator: "\n", omittingEmptySubsequences: false).prefix(7).joined(separator: "\n"),
      """
      avdigits  avt_llama  4 layers x 4 heads  bf16
      test.qa.jsonl  1 sample  tokens: bos 1 | image 16 | audio 24 | instruction 2 | question 11 | response 1

      queries: answer (the rows that predict the reference answer)   mean of 4 heads, 4 layers   sinks included
      intervals: none (1 sample)

                    share  interval  token share  uniform  vs uniform  per token
      """)
    XCTAssertTrue(text.contains("warning: 1 sample"))
    XCTAssertFalse(text.contains("nan"))
  }

  func testNumbersForPeople() {
    XCTAssertEqual(Text.percent(0.12345), "12.3 %")
    XCTAssertEqual(Text.percent(nil), "–")
    XCTAssertEqual(Text.fixed(-0.001, 2), "0.00")
    XCTAssertEqual(Text.fixed(-1.005, 1), "−1.0")
    XCTAssertEqual(
      [0.000412, 1.578, 157.4, 0, 2.5e-9].map { Text.short($0) }, ["0.000412", "1.58", "157", "0", "2.5e-9"])
    XCTAssertEqual(Text.fixed(.infinity, 1), "–")
  }

  /// A 2 x 2 picture as Python's zlib and struct modules put it together.
  func testPicturesAreExactPNGFiles() {
    let file = PNG.file(width: 2, height: 2, pixels: [7, 255, 128, 0])
    XCTAssertEqual(
      Data(file).base64EncodedString(),
      "iVBORw0KGgoAAAANSUhEUgAAAAIAAAACCAAAAABX3VL4AAAAEUlEQVR4AQEGAPn/AAf/AIAABSUBh+BbNdIAAAAASUVORK5CYII=")
  }
}
