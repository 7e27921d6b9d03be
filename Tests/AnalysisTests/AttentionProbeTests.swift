import Foundation
import RunKit
import TestSupport
import TokenModel
import XCTest

@testable import Analysis

final class AttentionProbeTests: XCTestCase {
  private func definition(_ queries: AttentionDefinition.Queries) -> AttentionDefinition {
    AttentionDefinition(queries: queries, layers: Array(0..<4), heads: Array(0..<4))
  }

  /// Mean share of the last prompt row over the first 500 test questions, against transformers.
  func testDataSetSharesMatchTheReference() throws {
    let oracle = try OracleCase("avdigits_model")
    let checkpoint = try Checkpoint(folder: Fixtures.url("avdigits_model"))
    let data = try DataSet(Fixtures.avdigitsData("test.qa.jsonl"))
    let probe = AttentionProbe(checkpoint, definition: definition(.last))
    let groups = definition(.last).groups.map(\.name)
    var totals = [Double](repeating: 0, count: 16)
    for index in 0..<500 {
      let record = try probe.record(of: data.sample(at: index, for: checkpoint.model), keepsKeys: false)
      XCTAssertEqual(record.nonfiniteCount, 0)
      // The groups are disjoint parts of one softmax denominator.
      XCTAssertLessThan(record.rowSumError, 1e-5)
      for layer in 0..<4 {
        for head in 0..<4 {
          for (group, name) in groups.enumerated() {
            let column = name == "bos" ? 0 : name == "image" ? 2 : name == "audio" ? 3 : 1
            totals[layer * 4 + column] +=
              Double(record.share[(layer * 4 + head) * groups.count + group]) / 2000
          }
        }
      }
    }
    let tolerance = try XCTUnwrap(
      oracle.description["suggested_tolerance_abs"]?["dataset.share"]?.doubleValue)
    try oracle.compare(totals.map { Float($0) }, with: "dataset.share", absolute: tolerance)
  }

  /// The greedy answers of the reference model, by question type and hint, as its README states them, in percent.
  func testGreedyAnswersReproduceTheStatedAccuracies() throws {
    let checkpoint = try Checkpoint(folder: Fixtures.url("avdigits_model"))
    let data = try DataSet(Fixtures.avdigitsData("test.qa.jsonl"))
    var right: [String: (Int, Int)] = [:]
    for index in 0..<data.count {
      let sample = try data.sample(at: index, for: checkpoint.model)
      let prompt = try checkpoint.prompt(for: sample)
      let answer = try Generator(checkpoint.model).answers(
        to: Generator.Start(
          embeddings: checkpoint.model.embeddings(prompt), context: TokenContext(roles: prompt.spans.roles)))
      let text = try checkpoint.requiredTokenizer().decode(answer[0].ids)
      for key in [
        "all", "\(sample.tags["type"] ?? "") \(sample.tags["hint"] ?? "")", sample.tags["hint"] ?? "",
      ] {
        let (hits, count) = right[key, default: (0, 0)]
        right[key] = (hits + (text == sample.answer ? 1 : 0), count + 1)
      }
    }
    let stated: [String: (percent: Double, count: Int)] = [
      "all": (88.7, 2000), "none": (89.4, 1530), "right": (97.9, 329), "wrong": (59.6, 141),
      "written none": (87.8, 156), "written right": (97.3, 73), "written wrong": (77.4, 31),
      "written_even none": (91.7, 120), "spoken none": (96.9, 160), "spoken right": (100, 84),
      "spoken wrong": (97.2, 36), "spoken_even none": (100, 120), "sum none": (82.5, 263),
      "sum right": (95.8, 96),
      "sum wrong": (39.0, 41), "difference none": (80.1, 151), "difference right": (98.7, 76),
      "difference wrong": (27.3, 33), "larger none": (87.7, 220), "same none": (84.4, 160),
      "text_sum none": (100, 100), "text_larger none": (100, 80),
    ]
    for (key, expected) in stated.sorted(by: { $0.key < $1.key }) {
      let (hits, count) = right[key, default: (0, 0)]
      XCTAssertEqual(count, expected.count, key)
      let percent = 100 * Double(hits) / Double(count)
      print("accuracy \(key): \(percent) % of \(count), stated \(expected.percent)")
      XCTAssertEqual(percent, expected.percent, accuracy: 0.3, key)
    }
  }
}
