import Foundation
import XCTest

@testable import RunKit

/// A run that is stopped at any point and resumed leaves the bytes of an uninterrupted one.
///
/// Kills need a process of their own: the tests start this test program again for `testChild` alone.
final class FaultTests: XCTestCase {
  private static let folderVariable = "MMPROBE_TEST_RUN_FOLDER"
  private static let taskVariable = "MMPROBE_TEST_TASK"

  /// A short run with everything a command does: records, a table, a streamed file, a result.
  private static func performRun(at url: URL) throws {
    let run = try RunFolder(
      at: url, mode: .resume, configuration: JSONObject([("samples", 5)]),
      facts: .init(version: "1", arguments: [], threads: 1))
    var records: [JSONValue] = []
    try run.forEachRecord(of: "samples.jsonl") { records.append($0.value) }
    let writer = try run.appendingRecords(to: "samples.jsonl", recordsPerSync: 2)
    for number in records.count..<5 {
      var stream = RandomStream(seed: 0, purpose: "record", id: number)
      let record: JSONValue = ["id": .integer(number), "share": .number(stream.uniform())]
      try writer.append(record)
      records.append(record)
    }
    try writer.sync()
    var table = CSVWriter(columns: ["share"])
    for record in records { table.append([.number(record["share"]?.doubleValue)]) }
    try run.write(table.text, to: "table.csv")
    try run.write(to: "bytes.bin") { try $0.write([UInt8](repeating: 1, count: 300_000)) }
    try run.write(.array(records), to: "result.json")
    try run.finish(.complete)
  }

  /// The files of a run that must not depend on interruptions.
  private static func lastingFiles(of url: URL) throws -> [String: [UInt8]] {
    var files: [String: [UInt8]] = [:]
    for name in try names(in: url) where name != "run.json" && name != ".mmprobe-lock" {
      files[name] = try FileReader.bytes(of: url.appendingPathComponent(name), limit: 1 << 20)
    }
    return files
  }

  /// The uninterrupted run: its files and how many fault points it passed.
  private func reference() throws -> (files: [String: [UInt8]], pointCount: Int) {
    try withTemporaryFolder { folder in
      let plan = try XCTUnwrap(FaultPlan(environment: ["MMPROBE_FAULT_COUNT": "unused"]))
      let url = folder.appendingPathComponent("run")
      try FaultPoint.$testPlan.withValue(plan) { try Self.performRun(at: url) }
      let files = try Self.lastingFiles(of: url)
      XCTAssertEqual(
        files.keys.sorted(), ["bytes.bin", "config.json", "result.json", "samples.jsonl", "table.csv"])
      return (files, plan.reached)
    }
  }

  func testARunKilledAtAnyPointAndResumedGivesTheSameBytes() throws {
    let (files, pointCount) = try reference()
    XCTAssertGreaterThan(pointCount, 40)
    for point in 1...pointCount {
      try withTemporaryFolder { folder in
        let url = folder.appendingPathComponent("run")
        let end = try runChild([
          Self.folderVariable: url.path, "MMPROBE_FAULT_KILL": "\(point)", "MMPROBE_FAULT_TORN": "1",
        ])
        XCTAssertEqual(end, .signal(SIGKILL), "point \(point)")
        try Self.performRun(at: url)
        XCTAssertEqual(try Self.lastingFiles(of: url), files, "point \(point)")
      }
    }
    print("killed and resumed at each of \(pointCount) fault points, writes torn in half")
  }

  func testARunFailingAtAnyPointSaysSoAndCanBeResumed() throws {
    let (files, pointCount) = try reference()
    for point in 1...pointCount {
      try withTemporaryFolder { folder in
        let url = folder.appendingPathComponent("run")
        let plan = FaultPlan(environment: ["MMPROBE_FAULT_FAIL": "\(point):ENOSPC"])
        XCTAssertThrowsError(try FaultPoint.$testPlan.withValue(plan) { try Self.performRun(at: url) }) {
          XCTAssertEqual(($0 as? FileError)?.code, .noSpace, "point \(point)")
        }
        XCTAssertEqual(try names(in: url).filter(AtomicFile.isTemporaryName), [], "point \(point)")
        try Self.performRun(at: url)
        XCTAssertEqual(try Self.lastingFiles(of: url), files, "point \(point)")
      }
    }
  }

  func testTheFirstInterruptIsNotedAndTheSecondEndsTheProcess() throws {
    for number in [SIGINT, SIGTERM] {
      XCTAssertEqual(try runChild([Self.taskVariable: "interrupt:\(number)"]), .exit(130))
    }
  }

  func testAWritePastTheFileSizeLimitIsAnError() throws {
    try withTemporaryFolder { folder in
      let url = folder.appendingPathComponent("file")
      XCTAssertEqual(try runChild([Self.taskVariable: "limit:\(url.path)"], limitsFileSize: true), .exit(74))
      XCTAssertEqual(try names(in: folder), [])
    }
  }

  /// What the child processes do; nothing in an ordinary run.
  func testChild() throws {
    let environment = ProcessInfo.processInfo.environment
    if let path = environment[Self.folderVariable] {
      try Self.performRun(at: URL(fileURLWithPath: path))
    }
    let task = (environment[Self.taskVariable] ?? "").split(separator: ":", maxSplits: 1)
    guard task.count == 2 else { return }
    Interrupts.install()
    if task[0] == "interrupt", let number = Int32(task[1]) {
      XCTAssertFalse(Interrupts.isRequested)
      raise(number)
      XCTAssertTrue(Interrupts.isRequested)
      raise(number)
      XCTFail("the second signal did not end the process")
    }
    if task[0] == "limit" {
      do throws(FileError) {
        try AtomicFile.write([UInt8](repeating: 1, count: 5000), to: URL(fileURLWithPath: String(task[1])))
      } catch {
        exit(error.exitStatus.rawValue)
      }
    }
  }

  private enum End: Equatable {
    case exit(Int32)
    case signal(Int32)
  }

  /// - Parameter limitsFileSize: Whether the child may write files of one block only.
  private func runChild(_ variables: [String: String], limitsFileSize: Bool = false) throws -> End {
    let process = Process()
    let program = URL(fileURLWithPath: "/proc/self/exe").resolvingSymlinksInPath()
    process.executableURL = limitsFileSize ? URL(fileURLWithPath: "/bin/sh") : program
    process.arguments =
      (limitsFileSize ? ["-c", "ulimit -f 1; exec \"$0\" \"$1\"", program.path] : [])
      + ["RunKitTests.FaultTests/testChild"]
    process.environment = ProcessInfo.processInfo.environment.merging(variables) { $1 }
    process.standardOutput = FileHandle.nullDevice
    process.standardError = FileHandle.nullDevice
    try process.run()
    process.waitUntilExit()
    return process.terminationReason == .exit
      ? .exit(process.terminationStatus) : .signal(process.terminationStatus)
  }
}
