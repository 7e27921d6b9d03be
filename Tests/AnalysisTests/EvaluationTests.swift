import XCTest

@testable import Analysis

final class EvaluationTests: XCTestCase {
  private func item(_ index: Int, _ answer: String, _ generated: String, _ tags: [String: String])
    -> Evaluation.Item
  {
    Evaluation.Item(
      index: index, id: "\(index)", tags: tags, answer: answer, generated: generated, isComplete: true)
  }

  /// Known values of the score interval at 95 %, to four digits as tables print them.
  func testWilsonIntervals() throws {
    for (correct, count, lower, upper) in [
      (0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0),
    ] {
      let interval = try XCTUnwrap(Evaluation.wilson(correct, of: count, confidence: 0.95))
      XCTAssertEqual(interval.lower, lower, accuracy: 5e-5)
      XCTAssertEqual(interval.upper, upper, accuracy: 5e-5)
    }
    XCTAssertNil(Evaluation.wilson(0, of: 0, confidence: 0.95))
  }

  func testAnswersMatchExactlyButForSpacesAround() {
    XCTAssertTrue(item(0, " yes\n", "yes", [:]).isCorrect)
    XCTAssertFalse(item(0, "yes", "Yes", [:]).isCorrect)
    // One scalar and two scalars that look the same are different answers.
    XCTAssertFalse(item(0, "\u{E9}", "e\u{301}", [:]).isCorrect)
  }

  func testBreakdownsCountEveryItemOnce() {
    let items = [
      item(0, "a", "a", ["type": "x", "hint": "right"]), item(1, "a", "b", ["type": "x", "hint": "none"]),
      item(2, "a", "a", ["type": "y"]),
    ]
    let evaluation = Evaluation(items, by: ["type", "type+hint"])
    XCTAssertEqual(evaluation.overall.correctCount, 2)
    XCTAssertEqual(evaluation.breakdowns[0].parts.map(\.value), ["x", "y"])
    XCTAssertEqual(evaluation.breakdowns[0].parts.map(\.accuracy.correctCount), [1, 1])
    XCTAssertEqual(evaluation.breakdowns[1].parts.map(\.value), ["x+none", "x+right", "y+none"])
    XCTAssertEqual(Evaluation(items).breakdowns.map(\.key), ["hint", "type"])
  }
}
