import Foundation
import TestSupport
import XCTest

@testable import RunKit
@testable import TensorCore

/// The training loop: what it computes, and that it goes on to the same bytes wherever it was stopped.
final class StepDriverTests: XCTestCase {
  /// Fits w to targets that are drawn anew in every part of every step: loss Σ (x w − t)², evaluated by |w − w*|².
  private struct Regression: TrainingTask {
    static let truth = Tensor([1, -2, 0.5], shape: [3, 1])
    let stepsPerEpoch = 4
    /// Steps whose batches carry no loss.
    var emptySteps: Set<Int> = []
    /// Told after every loss, to interfere.
    var onLoss: (Int) throws -> Void = { _ in }

    static func batch(_ place: TrainingPlace) -> (x: Tensor, targets: Tensor) {
      var stream = RandomStream(seed: 1, purpose: "batch", step: place.step, id: place.part)
      let x = Tensor((0..<15).map { _ in Float(stream.normal()) }, shape: [5, 3])
      return (x, x.matmul(truth))
    }

    func loss(_ parameters: [String: Tensor], at place: TrainingPlace) throws -> TrainingLoss {
      try onLoss(place.step)
      let (x, targets) = Self.batch(place)
      let w = try XCTUnwrap(parameters["w"])
      let difference = x.matmul(w) - targets
      let sum = (difference * difference).reshaped(to: [5]).rowSums()
      let isEmpty = emptySteps.contains(place.step)
      return TrainingLoss(
        sum: sum, weight: isEmpty ? 0 : 5, tokenCount: 5, details: place.isLogged ? [("parts/extra", 2)] : [])
    }

    func evaluate(_ parameters: ParameterSet, step: Int) throws -> [TrainingMetric] {
      let difference = try XCTUnwrap(parameters["w"]) - Self.truth
      let error = Double((difference * difference).reshaped(to: [3]).rowSums().hostValues()[0])
      return [TrainingMetric(tag: "error", value: error, isBetterWhenLarger: false)]
    }

    func write(_ parameters: ParameterSet, to folder: RunFolder, under name: String) throws {
      let tensors = try parameters.stored()
      try folder.write(
        to: name + "/model.safetensors", by: { try SafetensorsWriter.write(tensors: tensors, to: $0.path) })
    }
  }

  private static func options(steps: Int = 11) -> StepDriver.Options {
    var options = StepDriver.Options(
      schedule: LearningRateSchedule(peak: 0.05, shape: .cosine(floor: 0.1), warmup: 2, total: steps))
    options.accumulation = 2
    options.clipping = GradientClipping(norm: 5)
    options.averageFactor = 0.5
    (options.logInterval, options.evaluationInterval, options.saveInterval) = (3, 4, 5)
    return options
  }

  private func folder(_ url: URL, _ mode: RunFolder.Mode) throws -> RunFolder {
    try RunFolder(
      at: url, mode: mode, configuration: JSONObject([("a", 1)]),
      facts: .init(version: "1", arguments: [], threads: 1))
  }

  private func optimizer() -> Optimizer {
    Optimizer(
      ParameterSet([("w", Tensor(zeros: [3, 1])), ("unused", Tensor(repeating: 1, shape: [2]))]),
      rule: AdamW(), groups: ParameterGroup.decayingMatrices(0.01))
  }

  @discardableResult
  private func train(
    _ url: URL, _ mode: RunFolder.Mode, task: Regression = Regression(),
    options: StepDriver.Options = options()
  ) throws -> (StepDriver, StepDriver.Outcome) {
    let driver = try StepDriver(task, optimizer: optimizer(), options: options, folder: folder(url, mode))
    return (driver, try driver.run())
  }

  private static let files = [
    "best/model.safetensors", "events.out.tfevents.mmprobe", "last/model.safetensors", "log.jsonl",
    "state.safetensors",
  ]

  private func contents(_ url: URL) throws -> [Data] {
    try Self.files.map { try Data(contentsOf: url.appendingPathComponent($0)) }
  }

  /// Calls `body` with a folder that goes afterwards.
  private func withFolder(_ body: (URL) throws -> Void) throws {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent("driver-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: url) }
    try FileManager.default.createDirectory(at: url, withIntermediateDirectories: true)
    try body(url)
  }

  func testTheStepsAreThoseOfTheFormulas() throws {
    try withFolder { url in
      let (driver, outcome) = try train(url, .fresh)
      XCTAssertEqual(outcome, .complete(steps: 11))
      // AdamW over the mean of both parts, clipped, in Float64.
      var (w, m, s) = ([0.0, 0, 0], [0.0, 0, 0], [0.0, 0, 0])
      var average = w
      let options = Self.options()
      for step in 0..<11 {
        var gradient = [0.0, 0, 0]
        for part in 0..<2 {
          let (x, targets) = Regression.batch(
            TrainingPlace(step: step, part: part, partCount: 2, isLogged: false))
          for (row, target) in zip(x.hostRows(), targets.hostValues()) {
            let difference = zip(row, w).reduce(0.0) { $0 + Double($1.0) * $1.1 } - Double(target)
            for index in 0..<3 { gradient[index] += 2 * difference * Double(row[index]) / 10 }
          }
        }
        let norm = gradient.reduce(0) { $0 + $1 * $1 }.squareRoot()
        let factor = min(1, 5 / (norm + 1e-6))
        let rate = options.schedule.learningRate(at: step)
        let t = Double(step + 1)
        for index in 0..<3 {
          let g = gradient[index] * factor
          m[index] = 0.9 * m[index] + 0.1 * g
          s[index] = 0.999 * s[index] + 0.001 * g * g
          w[index] *= 1 - rate * 0.01
          w[index] -=
            rate * (m[index] / (1 - pow(0.9, t))) / ((s[index] / (1 - pow(0.999, t))).squareRoot() + 1e-8)
          average[index] += (1 - min(0.5, t / (9 + t))) * (w[index] - average[index])
        }
      }
      assertClose(
        try XCTUnwrap(driver.evaluatedParameters["w"]), average, shape: [3, 1], absolute: 1e-5, "average")
      // Never used, so never touched.
      XCTAssertEqual(driver.evaluatedParameters["unused"]?.hostValues(), [1, 1])
      XCTAssertEqual(driver.report.steps, 11)
      XCTAssertEqual(driver.report.tokens, 110)
    }
  }

  func testTheLogHasALineForEveryIntervalAndEvaluation() throws {
    try withFolder { url in
      let (driver, _) = try train(url, .fresh)
      let lines = try JSONLinesReader(url.appendingPathComponent("log.jsonl"), ending: .asWritten)
        .remainingLines().map(\.value)
      XCTAssertEqual(lines.map { $0["step"]?.intValue }, [3, 4, 6, 8, 9, 11, 11])
      XCTAssertEqual(lines.map { $0["epoch"]?.intValue }, [0, 0, 1, 1, 2, 2, 2])
      XCTAssertEqual(
        lines[0].objectValue?.keys,
        ["step", "epoch", "loss", "gradient_norm", "learning_rate", "parts/extra"])
      XCTAssertEqual(lines[1].objectValue?.keys, ["step", "epoch", "validation", "best"])
      // That of zeros, where training began.
      XCTAssertLessThan(try XCTUnwrap(driver.best?.value), 5.25)
      let best = try SafetensorsFile(path: url.appendingPathComponent("best/model.safetensors").path)
      XCTAssertEqual(best.names, ["unused", "w"])
    }
  }

  func testARunThatFailsAtAnyFaultPointGoesOnToTheSameBytes() throws {
    try withFolder { url in
      let whole = url.appendingPathComponent("whole")
      let counter = try XCTUnwrap(FaultPlan(environment: ["MMPROBE_FAULT_COUNT": "x"]))
      try FaultPoint.$testPlan.withValue(counter) { _ = try train(whole, .fresh) }
      let expected = try contents(whole)
      XCTAssertGreaterThan(counter.reached, 40)
      for point in 1...counter.reached {
        let run = url.appendingPathComponent("run\(point)")
        let plan = try XCTUnwrap(FaultPlan(environment: ["MMPROBE_FAULT_FAIL": "\(point):EIO"]))
        try FaultPoint.$testPlan.withValue(plan) { XCTAssertThrowsError(try train(run, .fresh)) }
        let (_, outcome) = try train(run, .resume)
        XCTAssertEqual(outcome, .complete(steps: 11))
        XCTAssertEqual(try contents(run), expected, "after fault point \(point)")
        try FileManager.default.removeItem(at: run)
      }
      print("step driver: \(counter.reached) fault points")
    }
  }

  func testARunThatIsStoppedAfterAnyStepGoesOnToTheSameBytes() throws {
    struct Stop: Error {}
    try withFolder { url in
      let whole = url.appendingPathComponent("whole")
      try train(whole, .fresh)
      let expected = try contents(whole)
      for step in 0..<11 {
        let run = url.appendingPathComponent("run\(step)")
        var task = Regression()
        task.onLoss = { if $0 == step { throw Stop() } }
        XCTAssertThrowsError(try train(run, .fresh, task: task)) { XCTAssertTrue($0 is Stop) }
        try train(run, .resume)
        XCTAssertEqual(try contents(run), expected, "after step \(step)")
      }
      // One that is complete stays as it is.
      let (driver, outcome) = try train(whole, .resume)
      XCTAssertEqual(outcome, .complete(steps: 11))
      XCTAssertEqual(driver.report.steps, 0)
      XCTAssertEqual(try contents(whole), expected)
    }
  }

  func testTrainingStopsWhenNothingGetsBetter() throws {
    try withFolder { url in
      var options = Self.options(steps: 400)
      options.patience = 2
      options.averageFactor = nil
      var first: StepDriver.Outcome?
      do {
        // The driver holds the lock of the folder.
        let (driver, outcome) = try train(url, .fresh, options: options)
        guard case .complete(let steps) = outcome else { return XCTFail("\(outcome)") }
        XCTAssertLessThan(steps, 400)
        XCTAssertEqual(try XCTUnwrap(driver.best).step, steps - 8)
        first = outcome
      }
      // Resuming does not go on beyond it.
      XCTAssertEqual(try train(url, .resume, options: options).1, first)
    }
  }

  func testABatchWithoutLossChangesNothing() throws {
    try withFolder { url in
      var task = Regression()
      task.emptySteps = [0]
      let (driver, _) = try train(url, .fresh, task: task, options: Self.options(steps: 1))
      XCTAssertEqual(driver.evaluatedParameters["w"]?.hostValues(), [0, 0, 0])
    }
  }

  func testALossThatIsNoNumberEndsTheTraining() throws {
    struct Broken: TrainingTask {
      let stepsPerEpoch = 1
      func loss(_ parameters: [String: Tensor], at place: TrainingPlace) throws -> TrainingLoss {
        let w = try XCTUnwrap(parameters["w"]).reshaped(to: [3]).rowSums()
        return TrainingLoss(sum: place.step == 2 ? Float.infinity * w : w, weight: 1, tokenCount: 1)
      }
      func evaluate(_ parameters: ParameterSet, step: Int) throws -> [TrainingMetric] { [] }
      func write(_ parameters: ParameterSet, to folder: RunFolder, under name: String) throws {}
    }
    try withFolder { url in
      let driver = try StepDriver(
        Broken(), optimizer: optimizer(), options: Self.options(), folder: folder(url, .fresh))
      XCTAssertThrowsError(try driver.run()) {
        guard case .notFinite(_, 2, _)? = $0 as? TrainingStateError else { return XCTFail("\($0)") }
        XCTAssertEqual(($0 as? TrainingStateError)?.exitStatus, .failure)
      }
    }
  }

  func testAStateOfAnotherRunIsRefused() throws {
    try withFolder { url in
      try train(url, .fresh)
      XCTAssertThrowsError(try train(url, .resume, options: Self.options(steps: 5))) {
        XCTAssertEqual(($0 as? TrainingStateError)?.code, .impossibleValue)
      }
      try Data().write(to: url.appendingPathComponent("log.jsonl"))
      XCTAssertThrowsError(try train(url, .resume)) {
        XCTAssertEqual(($0 as? RunFolderError)?.code, .shortened)
      }
    }
  }

  func testEveryTrainingErrorSaysWhatAndWhatToDo() {
    let errors: [TrainingStateError] = [
      .wrongShape(path: "p", tensor: "t", found: [1], expected: [2]),
      .impossibleValue(path: "p", tensor: "t", reason: "r"), .notFinite(what: "loss", step: 1, found: "nan"),
    ]
    XCTAssertEqual(Set(errors.map(\.code)), Set(TrainingStateError.Code.allCases))
    for error in errors {
      XCTAssertNotNil(error.errorDescription)
      XCTAssertNotNil(error.recoverySuggestion)
    }
  }
}
