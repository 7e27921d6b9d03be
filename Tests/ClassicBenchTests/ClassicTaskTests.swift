import Foundation
import RunKit
import TensorCore
import TestSupport
import TokenModel
import XCTest

@testable import ClassicBench

/// The loop: every method trains, and a run that is stopped and resumed ends in the same bytes.
final class ClassicTaskTests: XCTestCase {
  /// Two or three modalities of small vectors, of which the first says most of the class and the last little.
  private func split(_ count: Int, samples: Int, seed: UInt64) -> ClassicSplit {
    let labels = randomIndices(samples, below: 3, seed: seed)
    let inputs = (0..<count).map { m -> Tensor in
      let noise = randomTensor([samples, 5], seed: seed + 10 + UInt64(m), scale: Float(m + 1))
      let signal = labels.flatMap { label in (0..<5).map { $0 == label ? Float(1.5) : 0 } }
      return noise + Tensor(signal, shape: [samples, 5])
    }
    return ClassicSplit(inputs: inputs, labels: labels)
  }

  private func model(_ count: Int) -> ClassicModel {
    let names = ["audio", "image", "text"].prefix(count)
    return ClassicModel(
      modalities: names.map { Modality(rawValue: $0) },
      encoders: names.map { _ in MLPEncoder(inputSize: 5, hiddenSize: 8, featureSize: 6) }, classCount: 3)
  }

  private func task(_ method: any ImbalanceMethod, count: Int, epochs: Int) throws -> ClassicTask {
    var plan = TrainingPlan()
    (plan.epochs, plan.batchSize, plan.learningRate, plan.heldOutShare) = (epochs, 16, 0.05, 0.2)
    return try ClassicTask(
      data: (split(count, samples: 96, seed: 5), split(count, samples: 48, seed: 7)), model: model(count),
      method: method, plan: plan, seed: 3)
  }

  /// Every method, with options that make all of its parts act within six epochs.
  private func methods(_ count: Int) -> [(String, () -> any ImbalanceMethod)] {
    var opm = OPM.Options()
    opm.warmupEpochs = 1
    var greedy = Greedy.Options()
    (greedy.window, greedy.threshold) = (2, 0)
    var blending = GBlending.Options()
    (blending.superEpoch, blending.soloEpochs) = (2, 1)
    var udi = UDI.Options()
    udi.soloEpochs = 2
    var relearning = Relearning.Options()
    relearning.interval = 2
    var boost = ReconBoost.Options()
    (boost.firstEpochs, boost.secondEpochs) = (1, 1)
    var sampleLevel = ModalityValuation.Options()
    (sampleLevel.warmupEpochs, sampleLevel.level) = (1, .sample)
    var modalityLevel = ModalityValuation.Options()
    modalityLevel.warmupEpochs = 1
    let teachers = Dictionary(
      uniqueKeysWithValues: model(count).initialParameters(seed: 9).map { ($0.name, $0.value) })
    return [
      ("joint", { Joint() }), ("unimodal", { Unimodal(modality: 0) }),
      ("unimodal-ensemble", { UnimodalEnsemble() }), ("uniform", { Uniform() }), ("ogm", { OGM() }),
      ("ogm-ge", { OGMGE() }), ("opm", { [opm] in OPM(opm) }), ("greedy", { [greedy] in Greedy(greedy) }),
      ("amco", { AMCo() }), ("mla", { MLA() }), ("mmcosine", { MMCosine() }),
      ("umt", { UMT(teachers: teachers) }), ("mbsd", { MBSD() }), ("cml", { CML() }),
      ("mmpareto", { MMPareto() }), ("gblending", { [blending] in GBlending(blending) }), ("lfm", { LFM() }),
      ("udi", { [udi] in UDI(udi) }), ("agm", { AGM() }), ("pmr", { PMR() }),
      ("relearning", { [relearning] in Relearning(relearning) }),
      ("reconboost", { [boost] in ReconBoost(boost) }), ("inforeg", { InfoReg() }), ("mlb", { MLB() }),
      ("valuation sample", { [sampleLevel] in ModalityValuation(sampleLevel) }),
      ("valuation modality", { [modalityLevel] in ModalityValuation(modalityLevel) }),
    ]
  }

  private func folder(_ directory: TemporaryDirectory, _ name: String, _ mode: RunFolder.Mode) throws
    -> RunFolder
  {
    try RunFolder(
      at: URL(fileURLWithPath: directory.path).appendingPathComponent(name, isDirectory: true), mode: mode,
      configuration: JSONObject([("test", .string(name))]),
      facts: .init(version: "test", arguments: [], threads: 1))
  }

  /// Runs to the end.
  private func finish(
    _ make: () -> any ImbalanceMethod, _ count: Int, in folder: RunFolder, saveInterval: Int
  ) throws -> ClassicTask {
    let task = try task(make(), count: count, epochs: 6)
    var options = task.driverOptions
    options.saveInterval = saveInterval
    let driver = try StepDriver(task, optimizer: task.makeOptimizer(), options: options, folder: folder)
    let outcome = try driver.run()
    XCTAssertEqual(outcome, .complete(steps: 6 * task.stepsPerEpoch))
    return task
  }

  /// The state of a run that is copied after some steps, resumed from there, is that of a run without a stop.
  func testResumedRunsEndInTheSameBytes() throws {
    for count in 2...3 {
      for (name, make) in methods(count) {
        let directory = try TemporaryDirectory()
        let whole = try folder(directory, "run", .fresh)
        let task = try finish(make, count, in: whole, saveInterval: 1000)
        let expected = try Data(contentsOf: whole.url(of: "state.safetensors"))
        let log = try Data(contentsOf: whole.url(of: "log.jsonl"))
        // At the boundary of epochs and within one.
        for stop in [3 * task.stepsPerEpoch, 3 * task.stepsPerEpoch + 1] {
          let parts = try TemporaryDirectory()
          try stopAfter(stop, make, count, try folder(parts, "run", .fresh))
          let resumed = try folder(parts, "run", .resume)
          _ = try finish(make, count, in: resumed, saveInterval: 1000)
          XCTAssertEqual(
            try Data(contentsOf: resumed.url(of: "state.safetensors")), expected,
            "\(name) with \(count) modalities, stopped after \(stop) steps: state")
          XCTAssertEqual(
            try Data(contentsOf: resumed.url(of: "log.jsonl")), log, "\(name), stopped after \(stop): log")
        }
      }
    }
  }

  private struct Stop: Error {}

  /// A task that ends in an error at a step; what was saved before stays.
  private final class Interrupted: TrainingTask {
    let task: ClassicTask
    let last: Int
    init(_ task: ClassicTask, _ last: Int) { (self.task, self.last) = (task, last) }
    var stepsPerEpoch: Int { task.stepsPerEpoch }
    func loss(_ parameters: [String: Tensor], at place: TrainingPlace) throws -> TrainingLoss {
      if place.step == last { throw Stop() }
      return try task.loss(parameters, at: place)
    }
    func evaluate(_ parameters: ParameterSet, step: Int) throws -> [TrainingMetric] {
      try task.evaluate(parameters, step: step)
    }
    func write(_ parameters: ParameterSet, to folder: RunFolder, under name: String) throws {
      try task.write(parameters, to: folder, under: name)
    }
  }

  private func stopAfter(
    _ steps: Int, _ make: () -> any ImbalanceMethod, _ count: Int, _ folder: RunFolder
  ) throws {
    let task = try task(make(), count: count, epochs: 6)
    var options = task.driverOptions
    options.saveInterval = 1
    let driver = try StepDriver(
      Interrupted(task, steps), optimizer: task.makeOptimizer(), options: options, folder: folder)
    XCTAssertThrowsError(try driver.run()) { XCTAssertTrue($0 is Stop) }
  }

  /// Every method learns the easy modality: better than the largest class.
  func testEveryMethodLearns() throws {
    for (name, make) in methods(2) {
      let directory = try TemporaryDirectory()
      let task = try finish(make, 2, in: try folder(directory, "run", .fresh), saveInterval: 1000)
      let metrics = try task.evaluate(task.parameters, step: 0)
      XCTAssertGreaterThan(metrics[0].value, 0.5, name)
    }
  }

  func testTooFewModalitiesAreRefused() throws {
    XCTAssertThrowsError(try task(OGM(), count: 1, epochs: 1)) { error in
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
