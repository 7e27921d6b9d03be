import TestSupport
import XCTest

/// Input that the program refuses, and a row of the page that shows its messages.
struct RefusedCase {
  /// What is wrong.
  let what: String
  let arguments: [String]
  let status: Int32
  /// A part of the message.
  let fragment: String
  var environment: [String: String] = [:]

  /// Checks status and message.
  ///
  /// - Parameter words: How many arguments the row shows.
  /// - Returns: The row.
  func row(of outcome: Program.Outcome, words: Int, _ folder: TemporaryFolder) -> String {
    // What a check finds is its result and not an error.
    let said = arguments.starts(with: ["data", "check"]) ? outcome.output : outcome.errors
    XCTAssertEqual(outcome.status, status, "\(what): \(said)")
    XCTAssertTrue(said.contains(fragment), "\(what): \(said)")
    XCTAssertFalse(said.contains("internal"), what)
    return outcome.row(what: what, command: arguments.prefix(words).joined(separator: " "), folder)
  }
}
