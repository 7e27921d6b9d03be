import Foundation
import XCTest

final class FuzzTests: XCTestCase {
  /// Feeds changed files of every format to its reader, in a process of their own (`Tests/FuzzHarness`).
  ///
  /// `MMPROBE_FUZZ_CASES` sets another number of cases for the long run.
  func testTenThousandMutatedFilesAreReadOrRefusedWithoutACrash() throws {
    let environment = ProcessInfo.processInfo.environment
    let harness = Process()
    // The harness is built beside the test bundle.
    harness.executableURL = Bundle(for: Self.self).bundleURL.deletingLastPathComponent()
      .appendingPathComponent("FuzzHarness")
    harness.arguments = ["--cases", environment["MMPROBE_FUZZ_CASES"] ?? "10000", "--seed", "1"]
    let output = Pipe()
    harness.standardOutput = output
    try harness.run()
    let report = try output.fileHandleForReading.readToEnd() ?? Data()
    harness.waitUntilExit()
    print(String(decoding: report, as: UTF8.self))
    XCTAssertEqual(harness.terminationReason, .exit)
    XCTAssertEqual(harness.terminationStatus, 0)
  }
}
