import RunKit
import XCTest

@testable import PEFT

final class TrainingDataErrorTests: XCTestCase {
  func testEveryErrorSaysWhatAndWhatToDo() {
    let errors: [TrainingDataError] = [
      .wrongFormat(path: "p", found: "llava"), .noAnswer(path: "p", sample: "s"),
      .unsupportedModel(path: "p", found: "llama"), .tooFewGroups(path: "p", found: 1, expected: 2),
    ]
    XCTAssertEqual(Set(errors.map(\.code)), Set(TrainingDataError.Code.allCases))
    for error in errors {
      XCTAssertEqual(error.errorDescription?.hasPrefix("p: "), true)
      XCTAssertNotNil(error.recoverySuggestion)
      XCTAssertEqual(error.path, "p")
    }
    XCTAssertEqual(errors.map(\.exitStatus), [.data, .data, .unsupported, .data])
  }
}
