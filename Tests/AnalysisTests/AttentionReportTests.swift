import Foundation
import RunKit
import XCTest

@testable import Analysis

final class AttentionReportTests: XCTestCase {
  private func report(_ run: SyntheticAttention) throws -> String {
    let samples = try AttentionSamples(run.samples)
    return AttentionReport(AttentionSummary(run.context, samples), samples).html
  }

  /// Reports of several shapes; written to files when a folder is named, to be looked at.
  func testReportsAreSelfContainedAndSmall() throws {
    var deep = SyntheticAttention(layerCount: 32, headCount: 32, sampleCount: 12, highlightCount: 2)
    deep.interval.replicates = 50
    deep.answerLength = 7
    let runs: [(String, SyntheticAttention)] = [
      ("demo", SyntheticAttention()), ("deep", deep), ("empty", SyntheticAttention(sampleCount: 0)),
      ("one", SyntheticAttention(layerCount: 1, headCount: 1, sampleCount: 1, sinks: .included)),
      ("varied", SyntheticAttention(sampleCount: 25, variesAudioTokens: true)),
    ]
    for (name, run) in runs {
      let html = try report(run)
      // The bound of the specification; the picture data grows with the samples drawn.
      XCTAssertLessThan(html.utf8.count, 5_000_000, name)
      let text = html.replacing(#/data:image\/png;base64,[^"]*/#, with: "").lowercased()
      for word in ["<script", "http://", "https://", "url(", "@import", "nan%", "inf%", "\"nan"] {
        XCTAssertFalse(text.contains(word), "\(name): \(word)")
      }
      if let path = ProcessInfo.processInfo.environment["MMPROBE_TEST_OUTPUT"] {
        try Data(html.utf8).write(to: URL(fileURLWithPath: "\(path).\(name).html"))
      }
    }
  }

  func testTextOfTheDataCannotBecomeMarkup() throws {
    var run = SyntheticAttention(sampleCount: 3)
    run.question = "<script>alert(1)</script> \" ' & <img/src=x/onerror=alert(2)> \u{202E}\u{0}"
    let html = try report(run)
    XCTAssertFalse(html.contains("<script"))
    XCTAssertFalse(html.contains("<img"))
    XCTAssertTrue(html.contains("&lt;script&gt;"))
    XCTAssertFalse(html.contains("\u{202E}") || html.contains("\u{0}"))
  }

  func testEscapingKeepsOnlyText() {
    let data = "a<b>&\"'\u{1}\u{7F}\nü"
    XCTAssertEqual(("<i>\(data)</i>" as Markup).text, "<i>a&lt;b&gt;&amp;&quot;&#39;\u{FFFD}\u{FFFD}\nü</i>")
  }

  func testLabelsAreMovedApart() {
    let tops = LinePlot.spread([10, 12, 14, 90, 100], gap: 16, height: 100)
    for (upper, lower) in zip(tops, tops.dropFirst()) {
      XCTAssertGreaterThanOrEqual(lower - upper, 16 - 1e-9)
    }
    XCTAssertLessThanOrEqual(try XCTUnwrap(tops.last), 100)
    XCTAssertEqual(LinePlot.spread([5], gap: 16, height: 100), [5])
  }
}
