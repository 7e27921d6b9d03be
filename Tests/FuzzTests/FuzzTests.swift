import Foundation
import XCTest

/// Runs `Tests/FuzzHarness`, which feeds changed files of every format to its reader in a process of their own.
final class FuzzTests: XCTestCase {
  private func runHarness(_ arguments: [String]) throws -> (status: Int32, report: String) {
    let harness = Process()
    // The harness is built beside the test bundle.
    harness.executableURL = Bundle(for: Self.self).bundleURL.deletingLastPathComponent()
      .appendingPathComponent("FuzzHarness")
    harness.arguments = arguments
    let output = Pipe()
    harness.standardOutput = output
    try harness.run()
    let report = try output.fileHandleForReading.readToEnd() ?? Data()
    harness.waitUntilExit()
    return (harness.terminationStatus, String(decoding: report, as: UTF8.self))
  }

  /// `MMPROBE_FUZZ_CASES` sets another number of cases, for the long run.
  func testTenThousandMutatedFilesAreReadOrRefusedWithoutACrash() throws {
    let caseCount = ProcessInfo.processInfo.environment["MMPROBE_FUZZ_CASES"] ?? "10000"
    let (status, report) = try runHarness(["--cases", caseCount, "--seed", "1"])
    print(report)
    XCTAssertEqual(status, 0, report)
  }

  /// A harness that finds nothing proves nothing: readers with planted faults must be caught.
  func testTheHarnessFindsCrashesHangsWasteAndStrangeErrors() throws {
    let (status, report) = try runHarness(["--self-check", "1", "--cases", "5", "--seed", "1"])
    XCTAssertEqual(status, 1)
    for finding in [
      "(trap): crashed", "(hang): took longer than 5 s", "(memory): 4", "(foreign-error): !not_described",
      "(long-message): !message_length",
    ] {
      XCTAssertTrue(report.contains(finding), "\(finding) is not in:\n\(report)")
    }
  }
}
