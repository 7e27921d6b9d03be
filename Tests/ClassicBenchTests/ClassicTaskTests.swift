import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import ClassicBench

/// The loop: every method trains; a run that is stopped and resumed, and one with other threads, ends in the same bytes.
final class ClassicTaskTests: XCTestCase {
  private func bytes(_ folder: RunFolder, _ name: String) throws -> Data {
    try Data(contentsOf: folder.url(of: name))
  }

  func testEveryMethodOfTheCatalogIsTrainedHere() {
    let ids = Set(SmallTask(count: 2).entries.map(\.id))
    XCTAssertEqual(ids, Set(MethodCatalog.entries.map(\.id)))
    for entry in SmallTask(count: 2).entries {
      XCTAssertEqual(type(of: entry.make()).id, entry.id, entry.label)
    }
  }

  /// A run is stopped at every boundary of epochs and within every epoch, each time resumed from its folder, and ends
  /// with the state and the log of a run without a stop.
  func testResumedRunsEndInTheSameBytes() throws {
    for count in 2...3 {
      let small = SmallTask(count: count)
      for entry in small.entries {
        let (directory, parts) = (try TemporaryDirectory(), try TemporaryDirectory())
        let whole = try SmallTask.folder(directory, .fresh)
        let steps = try small.finish(entry, in: whole).stepsPerEpoch
        XCTAssertGreaterThan(steps, 2, entry.label)
        var stops: [Int] = []
        for epoch in 0..<small.epochs { stops += [epoch * steps, epoch * steps + 1 + epoch % 2] }
        for (index, stop) in stops.dropFirst().enumerated() {
          try small.stop(
            entry, after: stop, in: try SmallTask.folder(parts, index == 0 ? .fresh : .resume))
        }
        let resumed = try SmallTask.folder(parts, .resume)
        try small.finish(entry, in: resumed)
        for name in ["state.safetensors", "log.jsonl"] {
          XCTAssertEqual(
            try bytes(resumed, name), try bytes(whole, name),
            "\(entry.label) with \(count) modalities: \(name)")
        }
      }
    }
  }

  /// Pictures whose convolutions are split among threads.
  func testThreadsChangeNoByte() throws {
    let before = Workers.threadCount
    defer { Workers.threadCount = before }
    for count in 2...3 {
      let small = SmallTask(count: count, hasPictures: true, epochs: 3)
      for entry in small.entries {
        var states: Set<Data> = []
        for threads in 1...3 {
          Workers.threadCount = threads
          let directory = try TemporaryDirectory()
          let folder = try SmallTask.folder(directory, .fresh)
          try small.finish(entry, in: folder)
          states.insert(try bytes(folder, "state.safetensors") + bytes(folder, "log.jsonl"))
        }
        XCTAssertEqual(states.count, 1, "\(entry.label) with \(count) modalities")
      }
    }
  }

  /// Every method learns the easy modality: better than the largest class.
  func testEveryMethodLearns() throws {
    let small = SmallTask(count: 2, epochs: 8)
    for entry in small.entries {
      let directory = try TemporaryDirectory()
      let task = try small.finish(entry, in: try SmallTask.folder(directory, .fresh))
      let metrics = try task.evaluate(task.parameters, step: 0)
      XCTAssertGreaterThan(metrics[0].value, 0.5, entry.label)
    }
  }

  func testTooFewModalitiesAreRefused() throws {
    XCTAssertThrowsError(try SmallTask(count: 1).task(OGM())) { error in
      guard case BenchError.refused(let method, _)? = error as? BenchError else {
        return XCTFail("\(error)")
      }
      XCTAssertEqual(method, "ogm")
    }
  }

  func testNumbersSurviveTheirTensor() {
    let values = [1.0 / 3, -2.7182818284590452, 1e-12, 123456789.123456789, 0, -1]
    XCTAssertEqual(ExactNumbers.values(ExactNumbers.tensor(values)), values)
  }
}
