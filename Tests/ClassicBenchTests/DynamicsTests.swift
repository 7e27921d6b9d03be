import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import ClassicBench

/// Figures of an epoch, and accuracy while a modality is missing or corrupted.
final class DynamicsTests: XCTestCase {
  // MARK: By hand

  /// Features on the unit circle at 0° and 90°, and at 180°: centers (½, ½) and (−1, 0), whatever the lengths.
  func testTheGapIsBetweenMeansOnTheSphere() {
    let left = Tensor([2, 0, 0, 0.5], shape: [2, 2])
    let right = Tensor([-3, 0, -1, 0], shape: [2, 2])
    let other = Tensor([1, 2, 3, 1, 2, 3], shape: [2, 3])
    let gaps = TrainingDynamics.gaps([left, other, right], names: ["a", "b", "c"])
    XCTAssertEqual(gaps.map(\.tag), ["gap.a-c"])
    XCTAssertEqual(gaps[0].value, (1.5 * 1.5 + 0.25).squareRoot(), accuracy: 1e-6)
  }

  /// The features that are tried are the means of the columns.
  func testUtilisationIsTheShareThatGoesWithTheModality() throws {
    let features = [Tensor([1, 2, 3, 6], shape: [2, 2]), Tensor([5, 7], shape: [2, 1])]
    var seen: [[[Float]]] = []
    let rates = TrainingDynamics.utilisation(features, all: 0.8) { changed in
      seen.append(changed.map { $0.hostValues() })
      return seen.count == 1 ? 0.2 : 0.6
    }
    XCTAssertEqual(seen, [[[2, 4, 2, 4], [5, 7]], [[1, 2, 3, 6], [6, 6]]])
    XCTAssertEqual(try XCTUnwrap(rates?[0]), 0.75, accuracy: 1e-12)
    XCTAssertEqual(try XCTUnwrap(rates?[1]), 0.25, accuracy: 1e-12)
    XCTAssertNil(TrainingDynamics.utilisation(features, all: 0) { _ in 0 })
  }

  /// O goes from 0.2 to 0.6 while L* goes from 2.2 to 1.6: 0.4 / 0.6. Without a change of L* there is no ratio.
  func testTheOverfittingRatio() throws {
    let before = TrainingDynamics.HeadLosses(training: [2, 1], validation: [2.2, 1.5])
    let after = TrainingDynamics.HeadLosses(training: [1, 0.5], validation: [1.6, 1.5])
    let ratios = TrainingDynamics.overfittingRatios(before, after)
    XCTAssertEqual(try XCTUnwrap(ratios[0]), 2.0 / 3, accuracy: 1e-12)
    XCTAssertNil(ratios[1])
  }

  func testGradientNormsAreOfEncoders() throws {
    let toy = ToyModel(Joint(), strengths: [3, 0.3], noise: 0.1)
    let gradients = toy.step(ToyModel.batch()).rawGradients
    let figures = TrainingDynamics.gradientNorms(gradients, toy.model)
    let norms = try ["audio", "image"].map { name in
      let parts = try ["weight", "bias"].map { try XCTUnwrap(gradients["encoder.\(name).\($0)"]).doubles }
      return parts.flatMap { $0 }.reduce(0.0) { $0 + $1 * $1 }.squareRoot()
    }
    XCTAssertEqual(
      figures.map(\.tag),
      [
        "dynamics/gradient_norm.audio", "dynamics/gradient_norm.image", "dynamics/gradient_ratio.audio",
        "dynamics/gradient_ratio.image",
      ])
    for (figure, value) in zip(figures, norms + [norms[0] / norms[1], norms[1] / norms[0]]) {
      XCTAssertEqual(figure.value, value, accuracy: 1e-9 * value, figure.tag)
    }
  }

  // MARK: In a run

  private func run(_ id: String, _ small: SmallTask) throws -> (task: ClassicTask, folder: RunFolder) {
    let entry = try XCTUnwrap(small.entries.first { $0.label == id })
    let directory = try TemporaryDirectory()
    kept.append(directory)
    let folder = try SmallTask.folder(directory, .fresh)
    return (try small.finish(entry, in: folder), folder)
  }
  private var kept: [TemporaryDirectory] = []

  func testEveryEpochHasItsFigures() throws {
    let small = SmallTask(count: 2)
    let (_, folder) = try run("joint", small)
    let lines = try JSONLinesReader(folder.url(of: "log.jsonl")).remainingLines().map(\.value)
    let evaluations = lines.compactMap { $0["validation"]?.objectValue }
    XCTAssertEqual(evaluations.count, 3)
    let always = [
      "accuracy", "macro_f1", "gap.audio-image", "utilisation.audio", "utilisation.image", "shapley.audio",
      "shapley.image", "imbalance",
    ]
    let ratios = ["ogr.audio", "ogr.image", "ogr.fused"]
    XCTAssertEqual(evaluations[0].keys, always)
    XCTAssertEqual(evaluations[1].keys, always + ratios)
    // Audio says most of the class.
    let last = evaluations[2]
    XCTAssertGreaterThan(
      try XCTUnwrap(last["utilisation.audio"]?.doubleValue),
      try XCTUnwrap(last["utilisation.image"]?.doubleValue))
    let steps = lines.filter { $0["loss"] != nil }
    XCTAssertEqual(steps.count, 3)
    XCTAssertTrue(steps.allSatisfy { ($0["dynamics/gradient_ratio.audio"]?.doubleValue ?? 0) > 0 })
    let csv = try EpochTable.csv(of: folder).split(separator: "\r\n").map { $0.split(separator: ",") }
    XCTAssertEqual(csv.count, 4)
    let titles = csv[0].map(String.init)
    XCTAssertEqual(Array(titles.prefix(3)), ["epoch", "step", "loss"])
    let place = try XCTUnwrap(titles.firstIndex(of: "validation.accuracy"))
    XCTAssertEqual(csv[3].prefix(2).map(String.init), ["2", "12"])
    XCTAssertEqual(
      try XCTUnwrap(Double(csv[3][place])), try XCTUnwrap(last["accuracy"]?.doubleValue), accuracy: 1e-12)
    XCTAssertTrue(titles.contains("validation.ogr.fused"))
  }

  // MARK: Missing and corrupted modalities

  private func split(_ inputs: [Tensor], _ labels: [Int]) -> ClassicSplit {
    ClassicSplit(inputs: inputs, labels: labels)
  }

  func testAModalityIsCorruptedAtATime() throws {
    let small = SmallTask(count: 2, epochs: 8)
    let (task, _) = try run("joint", small)
    let labels = randomIndices(40, below: 3, seed: 9)
    let inputs = (0..<2).map { m -> Tensor in
      let signal = labels.flatMap { label in (0..<5).map { $0 * 5 / 5 == label ? Float(1.5) : 0 } }
      return randomTensor([40, 5], seed: 31 + UInt64(m), scale: Float(m + 1))
        + Tensor(signal, shape: [40, 5])
    }
    let data = split(inputs, labels)
    let (scores, robustness) = try task.evaluation(of: data, task.parameters)
    XCTAssertEqual(robustness.rows.map(\.modality), ["audio", "image"])
    // What is left without a modality is the value of the set of the other one.
    XCTAssertEqual(robustness.rows[0].zeroed, scores.subsets.values[2])
    XCTAssertEqual(robustness.rows[1].zeroed, scores.subsets.values[1])
    XCTAssertTrue(robustness.rows.allSatisfy { $0.noisy.count == 3 })
    let audio = robustness.rows[0]
    XCTAssertLessThan(audio.noisy[2], scores.scores.accuracy)
    XCTAssertLessThan(audio.shuffled, scores.scores.accuracy)
    // Noise by hand: a stream of every sample, in standard deviations of all inputs.
    let numbers = inputs[0].doubles
    let mean = numbers.reduce(0, +) / Double(numbers.count)
    let squares = numbers.reduce(0.0) { $0 + ($1 - mean) * ($1 - mean) }
    let deviation = (squares / Double(numbers.count)).squareRoot()
    let draws = (0..<40).flatMap { sample -> [Float] in
      var stream = RandomStream(seed: 3, purpose: "noise audio", id: sample)
      return (0..<5).map { _ in Float(stream.normal()) }
    }
    let noisy = inputs[0] + Float(0.5 * deviation) * Tensor(draws, shape: [40, 5])
    let parameters = Parameters(task.parameters.named)
    let features = [
      task.model.features(0, of: noisy, parameters), task.model.features(1, of: inputs[1], parameters),
    ]
    let logits = task.model.head.fused(features, task.model.names, parameters)
    XCTAssertEqual(
      audio.noisy[0], Classification.accuracy(Classification.predictions(logits), labels), accuracy: 1e-12)
    XCTAssertEqual(RobustnessScores(robustness.json), robustness)
  }

  /// Word numbers and counts get no noise.
  func testWholeNumbersGetNoNoise() throws {
    let (task, _) = try run("joint", SmallTask(count: 2, epochs: 1))
    let whole = Tensor(randomIndices(60, below: 9, seed: 3).map { Float($0) }, shape: [12, 5])
    let data = split([whole, randomTensor([12, 5], seed: 4)], randomIndices(12, below: 3, seed: 5))
    let rows = try task.evaluation(of: data, task.parameters).robustness.rows
    XCTAssertEqual(rows.map(\.noisy.count), [0, 3])
  }

  func testTheTableHasARowForEveryMethodAndModality() throws {
    let made = try HandMadeRuns()
    let robustness = RobustnessScores(rows: [
      .init(modality: "image", zeroed: 0.2, noisy: [0.6, 0.5, 0.4], shuffled: 0.1),
      .init(modality: "audio", zeroed: 0.7, noisy: [], shuffled: 0.6),
    ])
    try made.add("joint", seed: 0, "1110", robustness: robustness)
    try made.add("ogm", seed: 0, "1100")
    let table = try XCTUnwrap(BenchTable(made.runs()).robustness)
    XCTAssertEqual(
      table.titles,
      ["method", "corrupted", "none", "zeroed", "noise 0.5", "noise 1.0", "noise 2.0", "shuffled"])
    XCTAssertEqual(
      table.rows,
      [
        ["joint", "image", "75.0", "20.0", "60.0", "50.0", "40.0", "10.0"],
        ["joint", "audio", "75.0", "70.0", "–", "–", "–", "60.0"],
      ])
  }

  /// Steps of zeros at the ends of sequences, not those between, and not of inputs that are no sequences.
  func testPaddingGetsNoNoise() throws {
    let sequences = Tensor(
      [0, 0, 1, 0, 0, 0, 2, 0, 0, 0, 3, 4, 5, 6, 7, 8, 9, 1, 2, 3, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0].map {
        Float($0)
      },
      shape: [3, 5, 2])
    // The first has its padding at both ends, the second none, the third is nothing but zeros.
    XCTAssertEqual(ClassicTask.padding(sequences).filter { !$0.isEmpty }, [0..<2, 8..<10])
    XCTAssertEqual(ClassicTask.padding(sequences.reshaped(to: [3, 10])), [])
    let noise = ClassicTask.noise(for: sequences, samples: [0, 1, 2], seed: 1, modality: "text")
    let zeros = noise.hostValues().indices.filter { noise.hostValues()[$0] == 0 }
    XCTAssertEqual(zeros, [0, 1, 8, 9])
    let half = 0.5 * sequences
    let split = ClassicSplit(inputs: [half], labels: [0, 0, 0])
    let numbers = [2..<8, 10..<30].flatMap { half.doubles[$0] }
    let mean = numbers.reduce(0, +) / Double(numbers.count)
    let squares = numbers.reduce(0.0) { $0 + ($1 - mean) * ($1 - mean) }
    XCTAssertEqual(
      try XCTUnwrap(ClassicTask.deviation(split.rows[0], [[0, 1], [2]])),
      (squares / Double(numbers.count)).squareRoot(), accuracy: 1e-9)
  }
}
