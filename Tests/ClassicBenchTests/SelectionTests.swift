import Foundation
import RunKit
import TensorCore
import TestSupport
import TokenModel
import XCTest

@testable import ClassicBench

/// Which weights of a run are tested.
final class SelectionTests: XCTestCase {
  private let source = Fixtures.url("../../datasets/avdigits").standardizedFileURL

  /// Trains on images and gives what was measured, with the folder of the run.
  private func run(_ selection: String, in directory: TemporaryDirectory) throws -> (BenchResult, URL) {
    let base = URL(fileURLWithPath: directory.path)
    let file = base.appendingPathComponent("\(selection).json")
    let text = """
      {"data": "\(source.path)", "modalities": ["image"], "seeds": 1, "methods": [{"id": "joint"}],
       "training": {"epochs": 12, "batch_size": 64, "learning_rate": 0.2, "selection": "\(selection)"}}
      """
    try Data(text.utf8).write(to: file)
    let facts = RunFolder.Facts(version: "test", arguments: [], threads: 1)
    let benchmark = try Benchmark(BenchExperiment(file), facts: facts)
    let folder = try RunFolder(
      at: base.appendingPathComponent(selection, isDirectory: true), mode: .fresh,
      configuration: benchmark.configuration, facts: facts)
    guard case .complete(let results) = try benchmark.run(in: folder, mode: .fresh, progress: { _ in }) else {
      throw CocoaError(.userCancelled)
    }
    return (results[0], folder.url.appendingPathComponent("runs/joint-seed0"))
  }

  /// Whether each test sample is right by the weights of a file.
  private func correct(_ path: URL, _ data: ClassicData) throws -> [Bool] {
    let file = try SafetensorsFile(path: path.path)
    let model = ClassicModel(
      modalities: data.modalities, encoders: data.encoders, classCount: data.classes.count)
    let parameters = Parameters(
      Dictionary(
        uniqueKeysWithValues: try file.names.map { name in
          let stored = try file.tensor(name)
          return (name, Tensor(try stored.floats(), shape: stored.shape))
        }))
    let features = ClassicTask.features(
      model, data.test, Array(data.test.labels.indices), parameters)
    return Evaluation(model, Joint(), features, data.test.labels, parameters).subsets.correct.map { $0[1] }
  }

  /// What a method remembered when weights were written comes back with them: here the rotation of a query.
  func testWhatAMethodRemembersBelongsToTheWeights() throws {
    let small = SmallTask(count: 2)
    let method = RollingQ()
    let task = try small.task(method)
    let directory = try TemporaryDirectory()
    let folder = try SmallTask.folder(directory, .fresh)
    let driver = try StepDriver(
      task, optimizer: task.makeOptimizer(), options: task.driverOptions, folder: folder)
    _ = try driver.run()
    XCTAssertEqual(method.rolling?[0]?.counts, [1])
    let rotation = try XCTUnwrap(method.rolling?[0]?.rotation(head: 0))
    let file = try SafetensorsFile(path: folder.url(of: "last/parameters.safetensors").path)
    // Another process: a new method that has seen no step.
    let other = RollingQ()
    let later = try small.task(other)
    XCTAssertEqual(other.rolling?[0]?.counts, [0])
    let set = ParameterSet(later.parameters.names.map { ($0, later.parameters[$0] ?? Tensor(zeros: [])) })
    try set.restore(from: file)
    later.takeState(of: set)
    XCTAssertEqual(other.rolling?[0]?.counts, [1])
    XCTAssertEqual(other.rolling?[0]?.rotation(head: 0), rotation)
  }

  /// A ReLU makes 0 of NaN, so that logits alone would not tell.
  func testInputsThatAreNoNumbersAreRefused() throws {
    let task = try SmallTask(count: 2).task(Joint())
    for (row, modality) in ["audio", "image"].enumerated() {
      var values = [[Float]](repeating: [Float](repeating: 0.5, count: 20), count: 2)
      values[row][5 * (row + 1)] = row == 0 ? .nan : -.infinity
      let split = ClassicSplit(inputs: values.map { Tensor($0, shape: [4, 5]) }, labels: [0, 1, 2, 0])
      XCTAssertThrowsError(try task.evaluation(of: split, task.parameters)) { error in
        XCTAssertEqual((error as? BenchError)?.code, .notFinite)
        XCTAssertEqual((error as? BenchError)?.exitStatus, .data)
        XCTAssertTrue(
          error.localizedDescription.contains("\(modality) of sample \(row + 1) of the test split"),
          error.localizedDescription)
      }
    }
  }

  func testTestedWeightsAreThoseAskedFor() throws {
    let data = try AVDigitsData.read(source, modalities: [.image])
    let directory = try TemporaryDirectory()
    let (last, folder) = try run("last", in: directory)
    let (best, other) = try run("validation", in: directory)
    // Otherwise both would be the same weights.
    XCTAssertLessThan(best.bestStep, best.steps)
    XCTAssertEqual(
      last.correct, try correct(folder.appendingPathComponent("last/parameters.safetensors"), data))
    XCTAssertEqual(
      best.correct, try correct(other.appendingPathComponent("best/parameters.safetensors"), data))
    XCTAssertNotEqual(last.correct, best.correct)
    XCTAssertEqual([last.bestStep, last.steps], [best.bestStep, best.steps])
  }
}
