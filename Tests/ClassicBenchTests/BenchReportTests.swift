import Foundation
import RunKit
import XCTest

@testable import ClassicBench

/// Figures and the page of runs that were thought up.
final class BenchReportTests: XCTestCase {
  private func table() throws -> BenchTable {
    let made = try HandMadeRuns("<b>sweep")
    for seed in 0..<3 {
      try made.add("joint", seed: seed, "1110000000", image: "1110000000", audio: "1000000000")
      try made.add(
        "ogm", seed: seed, seed == 0 ? "1111111100" : "1111110000", image: "1100000000", audio: "1000000000")
      let log = SweepIndex.place("ogm-seed\(seed)", in: made.url).appendingPathComponent("log.jsonl")
      let lines = (0..<4).map { epoch in
        """
        {"step": \(epoch), "epoch": \(epoch), "loss": 1.0}
        {"step": \(epoch), "epoch": \(epoch), "validation": {"accuracy": \(0.1 * Double(epoch + seed))}, "best": true}

        """
      }
      try Data(lines.joined().utf8).write(to: log)
    }
    folders.append(made)
    return try BenchTable(made.runs())
  }
  private var folders: [HandMadeRuns] = []

  func testCurvesAreMeansAndDeviationsOverSeeds() throws {
    let table = try table()
    let curve = try LearningCurve(table.rows[1].point)
    XCTAssertEqual(curve.means.count, 4)
    for (found, expected) in zip(curve.means, [0.1, 0.2, 0.3, 0.4]) {
      XCTAssertEqual(found, expected, accuracy: 1e-12)
    }
    for deviation in curve.deviations { XCTAssertEqual(deviation, 0.1, accuracy: 1e-12) }
    XCTAssertEqual(try LearningCurve(table.rows[0].point).means, [])
    // Epochs that every seed reached.
    XCTAssertEqual(LearningCurve([[0.1, 0.2, 0.3], [0.3]]).means, [0.2])
    XCTAssertEqual(LearningCurve([]).means, [])
  }

  func testFilesStandAloneAndCannotBeSteered() throws {
    let files = try BenchReport(table()).files
    XCTAssertEqual(files.map(\.name), ["seeds.svg", "curves.svg", "balance.svg", "report.html"])
    for file in files {
      XCTAssertFalse(file.text.contains("<script"), file.name)
      XCTAssertFalse(
        file.text.contains("http:") && !file.text.contains("http://www.w3.org/2000/svg"), file.name)
      XCTAssertFalse(file.text.contains("nan"), file.name)
      for tag in ["g", "text", "title", "svg"] {
        let opened =
          file.text.components(separatedBy: "<\(tag) ").count
          + file.text.components(separatedBy: "<\(tag)>").count
        XCTAssertEqual(
          opened - 1, file.text.components(separatedBy: "</\(tag)>").count, "\(file.name): \(tag)")
      }
    }
    let page = try XCTUnwrap(files.last?.text)
    XCTAssertFalse(page.contains("<b>sweep"))
    XCTAssertTrue(page.contains("&lt;b&gt;sweep"))
    XCTAssertTrue(page.contains("Which method helps"))
    // A hollow circle for each seed and a full one for the mean, of two methods.
    XCTAssertEqual(files[0].text.components(separatedBy: "<circle").count - 1, 8)
    XCTAssertEqual(files[2].text.components(separatedBy: "<circle").count - 1, 2)
  }
}
