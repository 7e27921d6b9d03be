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
