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

  func testAnsweringIsRefusedBeforeItBegins() throws {
    let folder = try TemporaryFolder()
    let run = folder.url("run").path
    let eval = ["eval", Embedded.model, "--data", Embedded.data, "-n", "20"]
    let refused = try Program.run(eval + ["--max-memory", "10MB", "-o", run])
    XCTAssertEqual(refused.status, ExitStatus.unsupported.rawValue, refused.errors)
    XCTAssertTrue(refused.errors.contains("answering 16 prompts of up to"), refused.errors)
    XCTAssertFalse(FileManager.default.fileExists(atPath: run))
    let generate = ["generate", Embedded.model, "--text", "what is two plus three ?"]
    let answer = try Program.run(generate + ["--max-memory", "10MB"])
    XCTAssertEqual(answer.status, ExitStatus.unsupported.rawValue, answer.errors)
    XCTAssertTrue(answer.errors.contains("answering a prompt of"), answer.errors)
    XCTAssertEqual(answer.output, "")
    for command in [eval, generate] {
      let limited = try Program.run(command + ["--json", "--max-memory", "2GB"])
      XCTAssertEqual(limited.status, 0, limited.errors)
      XCTAssertEqual(limited.output, try Program.run(command + ["--json"]).output)
    }
  }

  func testLongAnswersCount() throws {
    // Keys and values of 65,536 rows in 4 layers of width 64 take 134 MB, a short answer next to nothing.
    let generate = [
      "generate", Embedded.model, "--text", "what is two plus three ?", "--max-memory", "100MB",
    ]
    XCTAssertEqual(try Program.run(generate).status, 0)
    let long = try Program.run(generate + ["--max-new-tokens", "65536"])
    XCTAssertEqual(long.status, ExitStatus.unsupported.rawValue, long.errors)
  }
}
