import Foundation
import Synchronization
import XCTest

@testable import RunKit

/// Runs that are killed, interrupted or run out of disk: what is resumed ends in the bytes of an undisturbed run.
final class RunResumeTests: XCTestCase {
  private static let isLong = ProcessInfo.processInfo.environment["MMPROBE_LONG_TESTS"] == "1"

  private static func line(_ run: String, count: Int, _ more: [String] = []) -> [String] {
    [
      "attention", Embedded.model, "--data", Embedded.data, "-n", "\(count)", "--replicates", "20", "-q",
      "-o", run,
      "--threads", "1",
    ] + more
  }

  /// Calls `body` with every number on two threads, as two cores run two programs; what it returns are failures.
  private func forEach(_ numbers: ClosedRange<Int>, _ body: @Sendable (Int) throws -> [String]) {
    let next = Atomic<Int>(numbers.lowerBound)
    let failures = Mutex<[String]>([])
    DispatchQueue.concurrentPerform(iterations: 2) { _ in
      while true {
        let number = next.add(1, ordering: .relaxed).oldValue
        guard number <= numbers.upperBound else { return }
        let found: [String]
        do { found = try body(number) } catch { found = ["\(error)"] }
        failures.withLock { $0 += found.map { "\(number): \($0)" } }
      }
    }
    XCTAssertEqual(failures.withLock { $0 }, [])
  }

  /// How many fault points an undisturbed run into `run` passes.
  private func countPoints(_ run: String, samples: Int, in folder: TemporaryFolder) throws -> Int {
    try Program.succeed(
      Self.line(run, count: samples), environment: ["MMPROBE_FAULT_COUNT": folder.path("count")])
    let text = try String(contentsOf: folder.url("count"), encoding: .utf8)
    return try XCTUnwrap(Int(text.trimmingCharacters(in: .whitespacesAndNewlines)))
  }

  func testARunKilledAtEveryFaultPointGoesOnToTheSameBytes() throws {
    let folder = try TemporaryFolder()
    let whole = folder.path("whole")
    let points = try countPoints(whole, samples: 3, in: folder)
    XCTAssertGreaterThan(points, 50)
    // The second half of the numbers with torn writes.
    forEach(1...2 * points) { number in
      let (point, tears) = ((number - 1) % points + 1, number > points)
      let run = folder.path("run\(number)")
      defer { try? FileManager.default.removeItem(atPath: run) }
      let plan = ["MMPROBE_FAULT_KILL": "\(point)", "MMPROBE_FAULT_TORN": tears ? "1" : "0"]
      let killed = try Program.run(Self.line(run, count: 3), environment: plan)
      guard killed.status == SIGKILL else { return ["status \(killed.status): \(killed.errors)"] }
      return try Self.resume(run, count: 3, as: whole)
    }
    print("kill and resume: \(points) fault points, each with whole and with torn writes")
  }

  func testARunWithoutDiskSpaceAtAnyPointSaysSoAndGoesOnLater() throws {
    let folder = try TemporaryFolder()
    let whole = folder.path("whole")
    let points = try countPoints(whole, samples: 3, in: folder)
    forEach(1...points) { point in
      let run = folder.path("run\(point)")
      defer { try? FileManager.default.removeItem(atPath: run) }
      let failed = try Program.run(
        Self.line(run, count: 3), environment: ["MMPROBE_FAULT_FAIL": "\(point):ENOSPC"])
      var failures: [String] = []
      if failed.status != 74 { failures.append("status \(failed.status)") }
      if !failed.errors.contains("the disk is full") || !failed.errors.contains(run) {
        failures.append("message \(failed.errors)")
      }
      return try failures + Self.unfinishedFiles(run, of: whole) + Self.resume(run, count: 3, as: whole)
    }
    print("full disk and resume: \(points) fault points")
  }

  func testALongRunKilledAtRandomTimesGoesOnToTheSameBytes() throws {
    let (samples, kills) = Self.isLong ? (400, 100) : (80, 20)
    let folder = try TemporaryFolder()
    let whole = folder.path("whole")
    let start = ContinuousClock.now
    try Program.succeed(Self.line(whole, count: samples))
    let seconds = Double((ContinuousClock.now - start) / .seconds(1))
    // Each thread has runs of its own, which are killed again and again until they are done.
    let killed = Atomic<Int>(0)
    forEach(1...2) { runner in
      var (round, failures) = (0, [String]())
      var stream = RandomStream(seed: 20, purpose: "kill", id: runner)
      var latest = seconds / 2
      while killed.load(ordering: .relaxed) < kills && failures.isEmpty {
        round += 1
        let run = folder.path("run\(runner)-\(round)")
        var isDone = false
        while !isDone {
          let more = FileManager.default.fileExists(atPath: run) ? ["--resume"] : []
          let process = try Program.start(
            Self.line(run, count: samples, more), output: folder.url("out\(runner)"),
            errors: folder.url("err\(runner)"))
          // Until the last kill, what is left of the run is always long enough to be killed once more.
          if killed.load(ordering: .relaxed) < kills {
            usleep(UInt32(1e6 * latest * stream.uniform()))
            if process.isRunning {
              kill(process.processIdentifier, SIGKILL)
            } else {
              // The machine was busier while the whole run was timed: the kill came too late.
              latest = max(0.01, latest / 2)
            }
          }
          process.waitUntilExit()
          isDone = process.terminationReason == .exit && process.terminationStatus == 0
          if process.terminationReason == .uncaughtSignal {
            killed.add(1, ordering: .relaxed)
          } else if !isDone {
            return ["status \(process.terminationStatus)"]
          }
        }
        failures = try Self.differences(run, whole)
        try? FileManager.default.removeItem(atPath: run)
      }
      return failures
    }
    print("random kills: \(killed.load(ordering: .relaxed)) of a run of \(samples) samples")
    XCTAssertGreaterThanOrEqual(killed.load(ordering: .relaxed), kills)
  }

  func testTheFirstInterruptSavesAndTheCommandItPrintsGoesOn() throws {
    let folder = try TemporaryFolder()
    let (whole, run) = (folder.path("whole"), folder.path("run"))
    try Program.succeed(Self.line(whole, count: 800))
    let process = try Program.start(
      Self.line(run, count: 800).filter { $0 != "-q" }, output: folder.url("out"), errors: folder.url("err"))
    try waitForASample(of: run, while: process)
    process.interrupt()
    process.waitUntilExit()
    XCTAssertEqual(process.terminationStatus, 75)
    let errors = try String(contentsOf: folder.url("err"), encoding: .utf8)
    let command = try XCTUnwrap(
      errors.split(separator: "\n").last { $0.hasPrefix("  mmprobe ") }, errors)
    let words = command.split(separator: " ").map(String.init)
    XCTAssertEqual(words.last, "--resume")
    try Program.succeed(Array(words.dropFirst()))
    XCTAssertEqual(try Self.differences(run, whole), [])
  }

  func testTheSecondInterruptEndsAtOnceAndTheRunGoesOn() throws {
    let folder = try TemporaryFolder()
    let model = try RandomLLaMA(in: folder)
    let data = try model.data(records: 3, tokens: 2_000, in: folder)
    func arguments(_ run: String) -> [String] {
      ["attention", model.path, "--data", data, "--queries", "all", "--replicates", "20", "-q", "-o", run]
    }
    let (whole, run) = (folder.path("whole"), folder.path("run"))
    let start = ContinuousClock.now
    try Program.succeed(arguments(whole))
    let seconds = Double((ContinuousClock.now - start) / .seconds(1))
    let process = try Program.start(arguments(run), output: folder.url("out"), errors: folder.url("err"))
    try waitForASample(of: run, while: process)
    // Well into the next sample: while the first one is still being written, one interrupt is enough to end the run.
    usleep(UInt32(1e6 * seconds / 12))
    // Signals that follow each other at once may count as one, so they go on until the program has ended, which it
    // does long before its sample is done.
    process.interrupt()
    while process.isRunning {
      usleep(10_000)
      process.interrupt()
    }
    process.waitUntilExit()
    XCTAssertEqual(process.terminationStatus, 130)
    try Program.succeed(arguments(run) + ["--resume"])
    XCTAssertEqual(try Self.differences(run, whole), [])
  }

  // MARK: - Helpers

  private func waitForASample(of run: String, while process: Process) throws {
    let samples = URL(fileURLWithPath: run + "/samples.jsonl")
    while process.isRunning, ((try? Data(contentsOf: samples).count) ?? 0) == 0 { usleep(2_000) }
    XCTAssertTrue(process.isRunning, "the run ended before it could be interrupted")
  }

  /// Goes on with a run; what is not as in the undisturbed one.
  private static func resume(_ run: String, count: Int, as whole: String) throws -> [String] {
    let outcome = try Program.run(Self.line(run, count: count, ["--resume"]))
    guard outcome.status == 0 else { return ["resumed with status \(outcome.status): \(outcome.errors)"] }
    return try Self.differences(run, whole) + Self.temporaryFiles(run)
  }

  /// Every file of a run, below its folder; not the lock, and not run.json, which has times.
  private static func files(_ run: String) throws -> [String] {
    try FileManager.default.subpathsOfDirectory(atPath: run).filter { name in
      ![".mmprobe-lock", "run.json", "log.txt", "tables"].contains(name)
    }.sorted()
  }

  /// The files that two runs do not share, or whose bytes differ.
  private static func differences(_ run: String, _ whole: String) throws -> [String] {
    let (found, expected) = (try Self.files(run), try Self.files(whole))
    guard found == expected else { return ["files \(found), expected \(expected)"] }
    return found.filter {
      !FileManager.default.contentsEqual(atPath: "\(run)/\($0)", andPath: "\(whole)/\($0)")
    }
  }

  private static func temporaryFiles(_ run: String) throws -> [String] {
    guard FileManager.default.fileExists(atPath: run) else { return [] }
    return try FileManager.default.subpathsOfDirectory(atPath: run).filter {
      AtomicFile.isTemporaryName(URL(fileURLWithPath: $0).lastPathComponent)
    }
  }

  /// What a failed run left behind that is neither whole nor absent.
  private static func unfinishedFiles(_ run: String, of whole: String) throws -> [String] {
    guard FileManager.default.fileExists(atPath: run) else { return [] }
    let partial = try Self.files(run).filter { name in
      let found = try Data(contentsOf: URL(fileURLWithPath: "\(run)/\(name)"))
      let expected = try Data(contentsOf: URL(fileURLWithPath: "\(whole)/\(name)"))
      // Records are appended one by one, each whole.
      if name == "samples.jsonl" { return !expected.starts(with: found) || found.last ?? 0x0A != 0x0A }
      return found != expected
    }
    return partial.map { "partial \($0)" } + (try Self.temporaryFiles(run)).map { "temporary \($0)" }
  }
}
