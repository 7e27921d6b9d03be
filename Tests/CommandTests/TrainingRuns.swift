import Foundation
import Synchronization
import XCTest

/// Run folders of trainings that are stopped and go on, for the tests of `train` and `finetune`.
enum TrainingRuns {
  /// Every file of a run but the lock and run.json, which has times.
  static func contents(_ run: String) throws -> [String: Data] {
    var contents: [String: Data] = [:]
    for name in try FileManager.default.subpathsOfDirectory(atPath: run)
    where ![".mmprobe-lock", "run.json", "best", "last"].contains(name) {
      contents[name] = try Data(contentsOf: URL(fileURLWithPath: "\(run)/\(name)"))
    }
    return contents
  }

  /// Names of files that are not the same in a run and in the contents of another.
  static func differences(_ run: String, _ whole: [String: Data]) throws -> [String] {
    let found = try contents(run)
    return Set(found.keys).union(whole.keys).filter { found[$0] != whole[$0] }.sorted()
  }

  /// Makes a run as a whole, counts its fault points, then makes it again for each of the plans: killed at a point, resumed,
  /// and compared. Two runs at a time, as two cores run two programs.
  ///
  /// - Parameters:
  ///   - plans: From the number of points, the point and whether its write is torn.
  ///   - line: The command for a run folder, with `--resume` or nothing more.
  /// - Returns: The number of points.
  @discardableResult
  static func killAtFaultPoints(
    in folder: TemporaryFolder, _ plans: (Int) -> [(point: Int, isTorn: Bool)],
    _ line: @Sendable (_ run: String, _ more: [String]) -> [String]
  ) throws -> Int {
    let whole = folder.path("whole")
    try Program.succeed(line(whole, []), environment: ["MMPROBE_FAULT_COUNT": folder.path("count")])
    let text = try String(contentsOf: folder.url("count"), encoding: .utf8)
    let points = try XCTUnwrap(Int(text.trimmingCharacters(in: .whitespacesAndNewlines)))
    let expected = try contents(whole)
    let all = plans(points)
    let next = Atomic<Int>(0)
    let failures = Mutex<[String]>([])
    DispatchQueue.concurrentPerform(iterations: 2) { _ in
      while true {
        let number = next.add(1, ordering: .relaxed).oldValue
        guard number < all.count else { return }
        let run = folder.path("run\(number)")
        defer { try? FileManager.default.removeItem(atPath: run) }
        let plan = [
          "MMPROBE_FAULT_KILL": "\(all[number].point)", "MMPROBE_FAULT_TORN": all[number].isTorn ? "1" : "0",
        ]
        do {
          let killed = try Program.run(line(run, []), environment: plan)
          let resumed = try Program.run(line(run, ["--resume"]))
          let differences = try differences(run, expected)
          if killed.status != SIGKILL || resumed.status != 0 || !differences.isEmpty {
            failures.withLock {
              $0.append("\(all[number]): \(killed.status) \(resumed.errors) \(differences)")
            }
          }
        } catch { failures.withLock { $0.append("\(all[number]): \(error)") } }
      }
    }
    XCTAssertEqual(failures.withLock { $0 }, [])
    return points
  }

  /// Interrupts a run once, which must save, and goes on with the command that it prints, to the bytes of a whole run.
  static func interrupt(in folder: TemporaryFolder, _ line: (_ run: String) -> [String]) throws {
    let whole = folder.path("whole")
    try Program.succeed(line(whole))
    let run = folder.path("run")
    let process = try Program.start(line(run), output: folder.url("out"), errors: folder.url("err"))
    let log = URL(fileURLWithPath: run + "/log.jsonl")
    while process.isRunning, ((try? Data(contentsOf: log).count) ?? 0) == 0 { usleep(1_000) }
    process.interrupt()
    process.waitUntilExit()
    let errors = try String(contentsOf: folder.url("err"), encoding: .utf8)
    XCTAssertEqual(process.terminationStatus, 75, errors)
    let command = try XCTUnwrap(errors.split(separator: "\n").last { $0.hasPrefix("  mmprobe ") }, errors)
    try Program.succeed(Array(command.split(separator: " ").map(String.init).dropFirst()))
    XCTAssertEqual(try differences(run, contents(whole)), [])
  }
}
