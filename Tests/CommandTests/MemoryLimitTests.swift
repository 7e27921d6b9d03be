import Foundation
import RunKit
import TestSupport
import XCTest

final class MemoryLimitTests: XCTestCase {
  private let command = [
    "attention", Embedded.model, "--data", Embedded.data, "-n", "20",
  ]

  func testARunThatNeedsMoreIsRefusedBeforeItBegins() throws {
    let folder = try TemporaryFolder()
    let run = folder.url("run").path
    let result = try Program.run(command + ["--max-memory", "10MB", "-o", run])
    XCTAssertEqual(result.status, ExitStatus.unsupported.rawValue, result.errors)
    XCTAssertTrue(result.errors.contains("--max-memory is 10.0 MB"), result.errors)
    XCTAssertTrue(result.errors.contains("longest prompt"), result.errors)
    XCTAssertFalse(FileManager.default.fileExists(atPath: run))
  }

  func testALimitThatIsEnoughChangesNothing() throws {
    let plain = try Program.run(command + ["--json"])
    let limited = try Program.run(command + ["--json", "--max-memory", "2GB"])
    XCTAssertEqual(limited.status, 0, limited.errors)
    XCTAssertEqual(limited.output, plain.output)
  }

  func testSizesAreReadWithUnits() throws {
    for text in ["6", "GB", "-1GB", "nanGB", "1e99GB", "six GB"] {
      let result = try Program.run(command + ["--max-memory=\(text)"])
      XCTAssertEqual(result.status, ExitStatus.usage.rawValue, text)
    }
    for text in ["1.5GB", "800 MB", "2GiB"] {
      XCTAssertEqual(try Program.run(command + ["-q", "--max-memory", text]).status, 0, text)
    }
  }
}
