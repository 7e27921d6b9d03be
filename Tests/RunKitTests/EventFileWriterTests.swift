import Foundation
import TestSupport
import XCTest

@testable import RunKit

/// Event files byte for byte as TensorBoard 2.21 writes them.
final class EventFileWriterTests: XCTestCase {
  /// The events of the fixture, written with `tensorboard.summary.writer.record_writer` and its `event_pb2`.
  private static let events: [(step: Int, scalars: [(tag: String, value: Double)])] = [
    (1, [("train/loss", 5.875), ("train/learning_rate", 2e-5)]),
    (300, [("validation/exact_match", 0.897)]),
    (70_000, [("train/loss", -0.0), ("norm/layer.0/image", 1.5e30)]),
  ]

  private func write(
    _ events: some Sequence<(step: Int, scalars: [(tag: String, value: Double)])>, _ url: URL
  )
    throws -> Int
  {
    let writer = try EventFileWriter(appendingTo: url)
    for event in events {
      try writer.append(step: event.step, wallTime: Double(event.step), scalars: event.scalars)
    }
    try writer.sync()
    return writer.size
  }

  func testTheBytesAreThoseOfTensorBoard() throws {
    try withTemporaryFolder { folder in
      let url = folder.appendingPathComponent("events")
      let size = try write(Self.events, url)
      let expected = try Fixtures.bytes("tensorboard/events")
      XCTAssertEqual([UInt8](try Data(contentsOf: url)), expected)
      XCTAssertEqual(size, expected.count)
    }
  }

  func testAFileThatWasCutAndGoneOnWithIsTheSame() throws {
    try withTemporaryFolder { folder in
      let run = try RunFolder(
        at: folder, mode: .fresh, configuration: JSONObject(),
        facts: .init(version: "1", arguments: [], threads: 1))
      let url = run.url(of: "events")
      let size = try write(Self.events.prefix(1), url)
      _ = try write(Self.events.suffix(1), url)
      try run.cut("events", to: size)
      _ = try write(Self.events.dropFirst(), url)
      XCTAssertEqual([UInt8](try Data(contentsOf: url)), try Fixtures.bytes("tensorboard/events"))
    }
  }

  func testAFullDiskLeavesWholeEvents() throws {
    try withTemporaryFolder { folder in
      let url = folder.appendingPathComponent("events")
      let writer = try EventFileWriter(appendingTo: url)
      let size = writer.size
      // The next point is the write of the record.
      let plan = try XCTUnwrap(FaultPlan(environment: ["MMPROBE_FAULT_FAIL": "1:ENOSPC"]))
      try FaultPoint.$testPlan.withValue(plan) {
        XCTAssertThrowsError(try writer.append(step: 1, wallTime: 1, scalars: [("a", 1)]))
      }
      XCTAssertEqual(try Data(contentsOf: url).count, size)
      XCTAssertEqual(writer.size, size)
    }
  }
}
