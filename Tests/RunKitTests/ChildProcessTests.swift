import Foundation
import XCTest

@testable import RunKit

/// Processes that run beside this one.
final class ChildProcessTests: XCTestCase {
  private let messages = FileManager.default.temporaryDirectory.appendingPathComponent(
    "child-\(UUID().uuidString)")

  override func tearDown() { try? FileManager.default.removeItem(at: messages) }

  private func start(_ text: String) throws -> ChildProcess {
    try ChildProcess("/bin/sh", ["-c", text], messages: messages)
  }

  private func ending(of process: ChildProcess) -> Subprocess.Ending? {
    for _ in 0..<1000 {
      if let ending = process.poll() { return ending }
      Thread.sleep(forTimeInterval: 0.01)
    }
    return nil
  }

  func testStatusAndMessagesArrive() throws {
    let process = try start("printf dropped; printf kept >&2; exit 65")
    XCTAssertEqual(ending(of: process), .exited(65))
    XCTAssertEqual(process.poll(), .exited(65))
    XCTAssertEqual(String(decoding: try Data(contentsOf: messages), as: UTF8.self), "kept")
  }

  func testAProcessCanBeAskedAndMade() throws {
    let asked = try start("trap 'exit 75' TERM; while :; do sleep 0.01; done")
    XCTAssertNil(asked.poll())
    XCTAssertGreaterThan(asked.memory.resident, 0)
    Thread.sleep(forTimeInterval: 0.3)
    asked.stop()
    XCTAssertEqual(ending(of: asked), .exited(75))
    let made = try start("trap '' TERM; sleep 60")
    made.kill()
    XCTAssertEqual(ending(of: made), .killed(signal: SIGKILL))
  }

  func testNobodysProcessIsKilled() throws {
    var process: ChildProcess? = try start("exec sleep 60")
    let number = try XCTUnwrap(process).identifier
    XCTAssertEqual(kill(number, 0), 0)
    process = nil
    XCTAssertEqual(kill(number, 0), -1)
  }

  func testAMissingProgramIsAnError() {
    XCTAssertThrowsError(try ChildProcess("/none", [], messages: messages)) {
      XCTAssertEqual(($0 as? FileError)?.code, .missing)
    }
  }

  /// The process of a test has its parent: following it asks for nothing.
  func testAProcessWhoseParentLivesIsNotAskedToStop() {
    Interrupts.followParent()
    XCTAssertFalse(Interrupts.isRequested)
  }
}
