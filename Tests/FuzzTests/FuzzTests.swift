import Foundation
import XCTest

/// Runs `Tests/FuzzHarness`, which feeds changed files of every format to its reader in a process of their own.
final class FuzzTests: XCTestCase {
  private func runHarness(
    _ arguments: [String], environment: [String: String] = [:]
  ) throws -> (status: Int32, report: String) {
    let harness = Process()
    // On Linux the bundle of a test is the folder of all build products, on macOS a folder within it.
    let bundle = Bundle(for: Self.self).bundleURL
    let products = bundle.pathExtension == "xctest" ? bundle.deletingLastPathComponent() : bundle
    harness.executableURL = products.appendingPathComponent("FuzzHarness")
    harness.arguments = arguments
    harness.environment = ProcessInfo.processInfo.environment.merging(environment) { $1 }
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

  /// An error type that no reader under test throws would never be seen by the harness.
  func testEveryErrorTypeIsUnderTestOrLeftOutForAReason() throws {
    let (status, report) = try runHarness(["--list-errors"])
    XCTAssertEqual(status, 0)
    let known = Set(
      report.split(separator: "\n").compactMap { $0.split(separator: " ").first.map(String.init) })
    let sources = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent("Sources")
    var declared: Set<String> = []
    let files = try XCTUnwrap(FileManager.default.enumerator(at: sources, includingPropertiesForKeys: nil))
    for case let file as URL in files where file.pathExtension == "swift" {
      let text = try String(contentsOf: file, encoding: .utf8)
      for match in text.matches(
        of: /(?m)^\s*(?:public |package |private |fileprivate )?enum (\w+):[^{\n]*\bDescribedError\b/)
      {
        declared.insert(String(match.1))
      }
    }
    XCTAssertGreaterThan(declared.count, 15)
    XCTAssertEqual(
      declared.subtracting(known), [], "register these in Tests/FuzzHarness/Targets, or say why not")
    XCTAssertEqual(known.subtracting(declared), [], "these are no longer in Sources")
  }

  /// A harness that finds nothing proves nothing: readers with planted faults must be caught.
  func testTheHarnessFindsCrashesHangsWasteAndStrangeErrors() throws {
    let (status, report) = try runHarness(
      ["--self-check", "1", "--cases", "5", "--seed", "1"],
      // The planted crash needs no stack trace.
      environment: ["SWIFT_BACKTRACE": "enable=no"])
    XCTAssertEqual(status, 1)
    for finding in [
      "(trap): crashed", "(hang): took longer than 5 s", "(memory): 4", "(foreign-error): !not_described",
      "(long-message): !message_length",
    ] {
      XCTAssertTrue(report.contains(finding), "\(finding) is not in:\n\(report)")
    }
  }
}
