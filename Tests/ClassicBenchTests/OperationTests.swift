import Foundation
import RunKit
import TensorCore
import TestSupport
import TokenModel
import XCTest

@testable import ClassicBench

/// Operations that kernels count, against a count by hand, and what runs make of them.
final class OperationTests: XCTestCase {
  /// Forward and backward operations of one joint step on the small network of AVDigits and an MLP.
  func testASmallNetworkCountedByHand() throws {
    let (samples, classes) = (5, 3)
    let picture = ConvolutionEncoder(rows: 16, columns: 24, channels: 2, featureSize: 7)
    let table = MLPEncoder(inputSize: 4, hiddenSize: 6, featureSize: 8)
    let model = ClassicModel(
      modalities: [.image, .text], encoders: [picture, table], classCount: classes)
    let values = Dictionary(
      uniqueKeysWithValues: model.initialParameters(seed: 1).map { ($0.name, $0.value) })
    let batch = ClassicBatch(
      inputs: [randomTensor([samples, 16, 24, 2], seed: 1), randomTensor([samples, 4], seed: 2)],
      labels: [0, 1, 2, 0, 1])
    let place = StepPlace()
    let result = StepEngine(model: model, method: Joint())
      .step(values, batch, at: place, random: KeyedRandom(seed: 0, place: place))
    // 16 x 24 windows of 3 x 3 x 2 for 16 outputs; 8 x 12 windows of 3 x 3 x 16 for 32; 4 quarters of 32 for 7 features.
    let first = 2 * samples * 16 * 24 * 18 * 16
    let second = 2 * samples * 8 * 12 * 144 * 32
    let last = 2 * samples * 4 * 32 * 7
    let (hidden, feature) = (2 * samples * 4 * 6, 2 * samples * 6 * 8)
    let head = 2 * samples * (7 + 8) * classes
    XCTAssertEqual(result.operations.forward, first + second + last + hidden + feature + head)
    // A gradient of the weight and one of the input each; nobody asks for that of the data.
    XCTAssertEqual(
      result.operations.backward, first + 2 * second + 2 * last + hidden + 2 * feature + 2 * head)
  }

  /// A fast convolution counts as the exact one, forward and in both gradients; batch norm counts nothing.
  func testConvolutionsCountTheSameFastAndExact() {
    let (images, size, channels) = (2, 12, 16)
    let nominal = 2 * images * size * size * 9 * channels * channels
    for precision in Convolution.Precision.allCases {
      let convolution = Convolution(ImageWindow(size: (3, 3), padding: (1, 1)), precision: precision)
      let tape = Tape()
      let input = tape.leaf(randomTensor([images, size, size, channels], seed: 3))
      let weight = tape.leaf(randomTensor([channels, 3, 3, channels], seed: 4))
      let before = OperationCount.total
      let output = convolution(input, weight: weight)
      let middle = OperationCount.total
      XCTAssertEqual(middle - before, nominal, "\(precision)")
      let loss = output.relu().total()
      _ = tape.gradients(of: loss, for: [input, weight], retaining: false)
      XCTAssertEqual(OperationCount.total - middle, 2 * nominal, "\(precision)")
    }
  }

  private func operations(_ label: String, _ small: SmallTask) throws -> TrainingOperations {
    let entry = try XCTUnwrap(small.entries.first { $0.label == label })
    let directory = try TemporaryDirectory()
    return try withExtendedLifetime(directory) {
      try small.finish(entry, in: try SmallTask.folder(directory, .fresh)).operations
    }
  }

  /// What a method does more than joint training is in its count.
  func testFurtherWorkOfMethodsIsCounted() throws {
    let small = SmallTask(count: 2)
    let joint = try operations("joint", small)
    XCTAssertEqual(joint.betweenEpochs, 0)
    XCTAssertEqual(joint.samples, 3 * 4 * 16)
    // A layer of 5 x 8 and one of 8 x 6 in each encoder, and the head of 12 x 3.
    XCTAssertEqual(joint.forwardPerSample, Double(2 * (2 * (40 + 48) + 36)))
    XCTAssertEqual(joint.backwardPerSample, Double(2 * (2 * (40 + 2 * 48) + 2 * 36)))
    let half = try operations("unimodal", small)
    XCTAssertEqual(half.forwardPerSample, Double(2 * (40 + 48 + 18)))
    let teachers = try operations("umt", small)
    XCTAssertEqual(teachers.forward - joint.forward, 2 * 2 * 88 * joint.samples)
    XCTAssertGreaterThan(try operations("mmpareto", small).backwardPerSample, 1.5 * joint.backwardPerSample)
    XCTAssertGreaterThan(try operations("gblending", small).betweenEpochs, joint.forward)
    XCTAssertGreaterThan(try operations("pmr", small).betweenEpochs, 0)
  }

  func testTheCountIsThatOfAnyThreadsAndOfAResumedRun() throws {
    let small = SmallTask(count: 2, hasPictures: true, epochs: 2)
    let entry = try XCTUnwrap(small.entries.first { $0.id == "gblending" })
    let before = Workers.threadCount
    defer { Workers.threadCount = before }
    var found: [TrainingOperations] = []
    for threads in 1...3 {
      Workers.threadCount = threads
      found.append(try operations("gblending", small))
    }
    let directory = try TemporaryDirectory()
    try small.stop(entry, after: 3, in: try SmallTask.folder(directory, .fresh))
    found.append(try small.finish(entry, in: try SmallTask.folder(directory, .resume)).operations)
    XCTAssertGreaterThan(found[0].betweenEpochs, 0)
    for other in found { XCTAssertEqual(other, found[0]) }
  }

  func testResultsKeepTheirOperations() throws {
    var operations = TrainingOperations()
    operations.counts = [30, 60, 5, 3]
    operations.teachers = 7
    XCTAssertEqual(operations.total, 102)
    XCTAssertEqual(TrainingOperations(operations.json), operations)
    XCTAssertEqual(operations.json["forward_per_sample"], .number(10))
    XCTAssertNil(TrainingOperations(["forward": 1]))
    // A changed file must not make a sum that is none.
    var changed = operations.json.objectValue ?? JSONObject()
    (changed["forward"], changed["teachers"]) = (.integer(Int.max), .integer(Int.max))
    XCTAssertNil(TrainingOperations(.object(changed)))
  }

  /// Sums over the methods of a stage and the mean of their multiples of joint.
  func testWorkByStage() throws {
    let made = try HandMadeRuns()
    for seed in 0..<2 {
      for (label, total) in [("joint", 100), ("ogm", 110), ("agm", 210), ("opm", 90), ("opm+ogm", 150)] {
        try made.add(label, seed: seed, "1100", operations: total + 20 * seed)
      }
    }
    let table = try BenchTable(made.runs())
    let costs = try XCTUnwrap(table.costs)
    XCTAssertEqual(costs.stages.map(\.stage), [.baseline, .forward, .optimization, .composed])
    XCTAssertEqual(costs.stages.map(\.methods), [1, 1, 2, 1])
    XCTAssertEqual(costs.stages.map(\.operations), [110, 100, 340, 160])
    XCTAssertEqual(try XCTUnwrap(costs.stages[2].ratio), 340.0 / 220, accuracy: 1e-12)
    XCTAssertEqual(table.rows.map(\.operations), [110, 120, 220, 100, 160])
    XCTAssertEqual(try XCTUnwrap(costs.ratio("agm")), 2, accuracy: 1e-12)
    XCTAssertEqual(Array(table.printed.titles.suffix(2)), ["Gop", "x joint"])
    XCTAssertEqual(table.printed.rows[2].last, "2.00")
    XCTAssertEqual(costs.printed.rows[2], ["optimization", "2", "0.0", "1.55"])
    XCTAssertTrue(table.csv.contains(",operations,operations_ratio,macro_f1,"))
    XCTAssertEqual(table.json["operations_by_stage"]?.arrayValue?.count, 4)
    // Without operations there are no such columns.
    let old = try HandMadeRuns()
    try old.add("joint", seed: 0, "1100")
    XCTAssertEqual(try BenchTable(old.runs()).printed.titles.last, "detectable")
  }
}
