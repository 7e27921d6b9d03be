import Foundation
import TestSupport
import XCTest

@testable import RunKit

/// Programs that behave, and programs that do not.
final class SubprocessTests: XCTestCase {
  private func run(
    _ text: String, input: URL? = nil, seconds: Double = 20, outputBytes: Int = 1 << 20,
    receive: ([UInt8]) throws -> Bool = { _ in true }
  ) throws -> Subprocess.Outcome {
    let limits = Subprocess.Limits(seconds: seconds, outputBytes: outputBytes)
    return try Subprocess.run("/bin/sh", ["-c", text], input: input, limits: limits, receive: receive)
  }

  func testOutputMessagesAndStatusArrive() throws {
    var bytes: [UInt8] = []
    let outcome = try run("printf out; printf err >&2; exit 3") {
      bytes += $0
      return true
    }
    XCTAssertEqual(bytes, Array("out".utf8))
    XCTAssertEqual(outcome.messages, "err")
    XCTAssertEqual(outcome.ending, .exited(3))
  }

  func testTheInputIsTheFile() throws {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("input-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: url) }
    try Data("some input".utf8).write(to: url)
    var bytes: [UInt8] = []
    _ = try run("cat", input: url) {
      bytes += $0
      return true
    }
    XCTAssertEqual(bytes, Array("some input".utf8))
    XCTAssertThrowsError(try run("cat", input: url.deletingLastPathComponent())) {
      XCTAssertEqual(($0 as? FileError)?.code, .isFolder)
    }
    XCTAssertThrowsError(try run("cat", input: URL(fileURLWithPath: "/none"))) {
      XCTAssertEqual(($0 as? FileError)?.code, .missing)
    }
  }

  /// Both pipes hold less than what is written: reading one to its end before the other would wait for ever.
  func testFullPipesDoNotBlock() throws {
    var count = 0
    let outcome = try run(
      "head -c 300000 /dev/zero >&2; head -c 300000 /dev/zero; head -c 300000 /dev/zero >&2"
    ) {
      count += $0.count
      return true
    }
    XCTAssertEqual(count, 300_000)
    XCTAssertEqual(outcome.ending, .exited(0))
    XCTAssertEqual(outcome.messages.utf8.count, 8 << 10)
  }

  func testLimitsEndTheProgram() throws {
    let clock = ContinuousClock()
    let start = clock.now
    XCTAssertEqual(try run("exec sleep 60", seconds: 0.3).ending, .timedOut)
    XCTAssertEqual(try run("exec cat /dev/zero", outputBytes: 100_000).ending, .wroteTooMuch)
    XCTAssertEqual(try run("exec cat /dev/zero") { _ in false }.ending, .stopped)
    XCTAssertEqual(try run("kill -15 $$").ending, .killed(signal: 15))
    struct Enough: Error {}
    XCTAssertThrowsError(try run("exec cat /dev/zero") { _ in throw Enough() }) {
      XCTAssertTrue($0 is Enough)
    }
    XCTAssertLessThan(clock.now - start, .seconds(30))
    XCTAssertEqual(zombieCount(), 0)
  }

  func testAProgramThatIsMissingIsAnError() {
    let limits = Subprocess.Limits(seconds: 1, outputBytes: 1)
    XCTAssertThrowsError(try Subprocess.run("/none/program", [], limits: limits) { _ in true }) {
      XCTAssertEqual(($0 as? FileError)?.code, .missing)
    }
  }

  /// Children of this process that have ended and were not waited for.
  private func zombieCount() -> Int {
    let own = ProcessInfo.processInfo.processIdentifier
    let names = (try? FileManager.default.contentsOfDirectory(atPath: "/proc")) ?? []
    return names.filter { Int($0) != nil }.count { name in
      let text = (try? String(contentsOfFile: "/proc/\(name)/stat", encoding: .utf8)) ?? ""
      // What follows the name in parentheses: state, parent.
      let fields = (text.split(separator: ")").last ?? "").split(separator: " ")
      return fields.count > 1 && fields[0] == "Z" && Int32(fields[1]) == own
    }
  }
}
