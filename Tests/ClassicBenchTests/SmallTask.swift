import Foundation
import RunKit
import TensorCore
import TestSupport
import TokenModel
import XCTest

@testable import ClassicBench

/// Every method on small generated data, of which the first modality says most of the class and the last little.
struct SmallTask {
  /// M.
  let count: Int
  /// Whether inputs are pictures, large enough for their work to be split among threads.
  var hasPictures = false
  /// Passes over the data.
  var epochs = 3
  /// In place of the small ones, one for each modality.
  var given: [any Encoder] = []
  /// Samples that are trained on, and of a batch.
  var samples = 64
  var batchSize = 16
  var weightDecay = 1e-4

  private var names: [String] { Array(["audio", "image", "text"].prefix(count)) }

  private var encoders: [any Encoder] {
    if !given.isEmpty { return given }
    return hasPictures
      ? names.map { _ in ConvolutionEncoder(rows: 16, columns: 24, featureSize: 32) }
      : names.map { _ in MLPEncoder(inputSize: 5, hiddenSize: 8, featureSize: 6) }
  }

  private func split(samples: Int, seed: UInt64) -> ClassicSplit {
    let labels = randomIndices(samples, below: 3, seed: seed)
    let inputs = encoders.enumerated().map { m, encoder -> Tensor in
      let size = encoder.inputShape.reduce(1, *)
      if encoder.kind == "bert" {
        // 1 + the ids of pieces, fewer for the second class than for the first.
        let ids = labels.flatMap { label in (0..<size).map { $0 < size - label ? Float(6 + label) : 0 } }
        return Tensor(ids, shape: [samples, size])
      }
      let noise = randomTensor([samples, size], seed: seed + 10 + UInt64(m), scale: Float(m + 1))
      // A fifth of the input stands for each class.
      let signal = labels.flatMap { label in (0..<size).map { $0 * 5 / size == label ? Float(1.5) : 0 } }
      return (noise + Tensor(signal, shape: [samples, size])).reshaped(to: [samples] + encoder.inputShape)
    }
    return ClassicSplit(inputs: inputs, labels: labels)
  }

  private var model: ClassicModel {
    ClassicModel(modalities: names.map { Modality(rawValue: $0) }, encoders: encoders, classCount: 3)
  }

  /// A training of a method.
  func task(
    _ method: any ImbalanceMethod, change: (inout TrainingPlan) -> Void = { _ in }
  ) throws -> ClassicTask {
    var plan = TrainingPlan()
    (plan.epochs, plan.batchSize, plan.learningRate, plan.heldOutShare) = (epochs, batchSize, 0.05, 0.2)
    plan.weightDecay = weightDecay
    change(&plan)
    let samples = hasPictures ? 48 : samples
    return try ClassicTask(
      data: (split(samples: samples, seed: 5), split(samples: 24, seed: 7)), model: model, method: method,
      plan: plan, seed: 3)
  }

  /// A method with options under which all of its parts act within three epochs.
  struct Entry {
    let id: String
    let label: String
    let make: () -> any ImbalanceMethod

    init(_ id: String, _ variant: String? = nil, _ make: @escaping () -> any ImbalanceMethod) {
      (self.id, label, self.make) = (id, variant.map { "\(id) \($0)" } ?? id, make)
    }
  }

  /// At least one entry for each method of the catalog.
  var entries: [Entry] { plainEntries + stagedEntries }

  private var plainEntries: [Entry] {
    var opm = OPM.Options()
    opm.warmupEpochs = 1
    var amco = AMCo.Options()
    amco.rampEpochs = 2
    var contrastive = LFM.Options()
    contrastive.matching = .contrastive
    var bilevel = LFM.Options()
    (bilevel.schedule, bilevel.weightRate) = (.bilevel, 20)
    let teachers = Dictionary(
      uniqueKeysWithValues: model.initialParameters(seed: 9).map { ($0.name, $0.value) })
    return [
      Entry("joint") { Joint() }, Entry("unimodal") { Unimodal(modality: 0) },
      Entry("unimodal-ensemble") { UnimodalEnsemble() }, Entry("uniform") { Uniform() },
      Entry("ogm") { OGM() }, Entry("ogm-ge") { OGMGE() }, Entry("opm") { [opm] in OPM(opm) },
      Entry("amco") { [amco] in AMCo(amco) }, Entry("mmcosine") { MMCosine() },
      Entry("umt") { UMT(teachers: teachers) }, Entry("mbsd") { MBSD() }, Entry("cml") { CML() },
      Entry("mmpareto") { MMPareto() }, Entry("lfm") { LFM() },
      Entry("lfm", "contrastive") { [contrastive] in LFM(contrastive) },
      Entry("lfm", "bilevel") { [bilevel] in LFM(bilevel) }, Entry("mlb") { MLB() },
      Entry("rollingq") { RollingQ() },
    ]
  }

  private var stagedEntries: [Entry] {
    var greedy = Greedy.Options()
    (greedy.window, greedy.threshold) = (2, 0)
    var blending = GBlending.Options()
    (blending.superEpoch, blending.soloEpochs) = (2, 1)
    var udi = UDI.Options()
    udi.soloEpochs = 1
    var correlation = udi
    correlation.complementarity = .correlation
    var relearning = Relearning.Options()
    relearning.interval = 1
    var boost = ReconBoost.Options()
    (boost.firstEpochs, boost.secondEpochs) = (1, 1)
    var inforeg = InfoReg.Options()
    inforeg.threshold = -100
    var samples = ModalityValuation.Options()
    (samples.warmupEpochs, samples.level) = (1, .sample)
    var modalities = ModalityValuation.Options()
    modalities.warmupEpochs = 1
    return [
      Entry("greedy") { [greedy] in Greedy(greedy) }, Entry("mla") { MLA() },
      Entry("gblending") { [blending] in GBlending(blending) }, Entry("udi") { [udi] in UDI(udi) },
      Entry("udi", "correlation") { [correlation] in UDI(correlation) }, Entry("agm") { AGM() },
      Entry("pmr") { PMR() }, Entry("relearning") { [relearning] in Relearning(relearning) },
      Entry("reconboost") { [boost] in ReconBoost(boost) },
      Entry("inforeg") { [inforeg] in InfoReg(inforeg) },
      Entry("modality-valuation", "sample") { [samples] in ModalityValuation(samples) },
      Entry("modality-valuation", "modality") { [modalities] in ModalityValuation(modalities) },
    ]
  }

  /// Where a run of a test is kept.
  static func folder(_ directory: TemporaryDirectory, _ mode: RunFolder.Mode) throws -> RunFolder {
    try RunFolder(
      at: URL(fileURLWithPath: directory.path).appendingPathComponent("run", isDirectory: true), mode: mode,
      configuration: JSONObject([("test", "run")]),
      facts: .init(version: "test", arguments: [], threads: 1))
  }

  /// Trains to the end.
  @discardableResult
  func finish(
    _ entry: Entry, in folder: RunFolder, saveInterval: Int = 1000,
    change: (inout TrainingPlan) -> Void = { _ in }
  ) throws -> ClassicTask {
    let task = try task(entry.make(), change: change)
    var options = task.driverOptions
    options.saveInterval = saveInterval
    let driver = try StepDriver(task, optimizer: task.makeOptimizer(), options: options, folder: folder)
    let outcome = try driver.run()
    XCTAssertEqual(outcome, .complete(steps: epochs * task.stepsPerEpoch), entry.label)
    return task
  }

  private struct Stop: Error {}

  /// A task that ends in an error before a step; what was saved before stays.
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
    func buffers(prefix: String) throws -> [StoredTensor] { try task.buffers(prefix: prefix) }
    func restoreBuffers(from file: SafetensorsFile, prefix: String) throws {
      try task.restoreBuffers(from: file, prefix: prefix)
    }
  }

  /// Trains from where the folder stands, a save after every step, until so many steps are done.
  func stop(
    _ entry: Entry, after steps: Int, in folder: RunFolder,
    change: (inout TrainingPlan) -> Void = { _ in }
  ) throws {
    let task = try task(entry.make(), change: change)
    var options = task.driverOptions
    options.saveInterval = 1
    let driver = try StepDriver(
      Interrupted(task, steps), optimizer: task.makeOptimizer(), options: options, folder: folder)
    XCTAssertThrowsError(try driver.run(), entry.label) { XCTAssertTrue($0 is Stop, "\($0)") }
  }
}
