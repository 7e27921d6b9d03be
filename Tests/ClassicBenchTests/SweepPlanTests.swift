import Foundation
import RunKit
import TestSupport
import XCTest

@testable import ClassicBench

/// Which runs a sweep consists of.
final class SweepPlanTests: XCTestCase {
  private func plan(
    _ methods: String, grid: [(String, [JSONValue])] = [], seeds: [Int]? = nil, labels: [String]? = nil
  ) throws -> SweepPlan {
    let text = """
      {"data": "somewhere", "modalities": ["image", "audio"], "seeds": 2, "methods": [\(methods)],
       "training": {"epochs": 3}}
      """
    var choices = BenchExperiment.Choices()
    choices.labels = labels
    return try SweepPlan(
      try XCTUnwrap(JSONValue(parsing: text).objectValue), path: "experiment.json", choices: choices,
      grid: grid.map { SweepDimension(key: $0.0, values: $0.1) }, seeds: seeds)
  }

  func testMethodsTimesSeeds() throws {
    let plan = try plan(#"{"id": "joint"}, {"id": "ogm", "label": "weak", "alpha": 0.1}"#)
    XCTAssertEqual(
      plan.runs.map(\.name), ["joint-seed0", "weak-seed0", "joint-seed1", "weak-seed1"])
    XCTAssertEqual(plan.reference, "joint")
    let experiment = plan.experiment(of: plan.runs[3])
    XCTAssertEqual(experiment["first_seed"]?.intValue, 1)
    XCTAssertEqual(experiment["seeds"]?.intValue, 1)
    XCTAssertEqual(
      experiment["methods"]?.arrayValue, [["id": "ogm", "label": "weak", "alpha": 0.1]])
    XCTAssertEqual(experiment["training"], ["epochs": 3])
  }

  func testAKeyMultipliesTheMethodsThatHaveIt() throws {
    let plan = try plan(
      #"{"id": "joint"}, {"id": "ogm"}, {"id": "agm"}"#, grid: [("alpha", [0.1, 1])], seeds: [7])
    XCTAssertEqual(
      plan.runs.map(\.name),
      [
        "joint-seed7", "ogm.alpha=0.1-seed7", "ogm.alpha=1-seed7", "agm.alpha=0.1-seed7",
        "agm.alpha=1-seed7",
      ])
    XCTAssertEqual(
      plan.experiment(of: plan.runs[2])["methods"]?.arrayValue, [["id": "ogm", "alpha": 1]])
  }

  func testAKeyOfOneMethodAndOneOfTheTraining() throws {
    let plan = try plan(
      #"{"id": "joint"}, {"id": "ogm"}, {"id": "agm"}"#,
      grid: [("agm.alpha", [2]), ("training.epochs", [1, 2])], seeds: [0])
    XCTAssertEqual(
      plan.runs.map(\.point),
      [
        "joint.training.epochs=1", "joint.training.epochs=2", "ogm.training.epochs=1",
        "ogm.training.epochs=2", "agm.alpha=2.training.epochs=1", "agm.alpha=2.training.epochs=2",
      ])
    XCTAssertEqual(plan.experiment(of: plan.runs[5])["training"], ["epochs": 2])
    XCTAssertEqual(
      plan.experiment(of: plan.runs[5])["methods"]?.arrayValue, [["id": "agm", "alpha": 2]])
  }

  func testTeachersAreTrainedOnceForEachSeedAndTraining() throws {
    let alone = try plan(
      #"{"id": "joint"}, {"id": "umt"}"#, grid: [("weight", [0.5, 5])], seeds: [0, 1])
    XCTAssertEqual(
      alone.runs.map(\.name),
      [
        "joint-seed0", "teachers-seed0", "umt.weight=0.5-seed0", "umt.weight=5-seed0", "joint-seed1",
        "teachers-seed1", "umt.weight=0.5-seed1", "umt.weight=5-seed1",
      ])
    XCTAssertEqual(alone.runs.map(\.isTeacher), [false, true, false, false, false, true, false, false])
    XCTAssertEqual(alone.runs[3].teacher, "teachers-seed0")
    XCTAssertEqual(
      alone.experiment(of: alone.runs[1])["methods"]?.arrayValue,
      [["id": "unimodal-ensemble", "label": "teachers"]])
    // A run of the ensemble that is there anyway serves as well.
    let shared = try plan(#"{"id": "umt"}, {"id": "unimodal-ensemble", "label": "ume"}"#, seeds: [3])
    XCTAssertEqual(shared.runs.map(\.name), ["umt-seed3", "ume-seed3"])
    XCTAssertEqual(shared.runs[0].teacher, "ume-seed3")
    // Other training, other teachers.
    let longer = try plan(#"{"id": "umt"}"#, grid: [("training.epochs", [1, 2])], seeds: [0])
    XCTAssertEqual(
      longer.runs.compactMap(\.teacher),
      ["teachers.training.epochs=1-seed0", "teachers.training.epochs=2-seed0"])
  }

  func testSomeMethodsAlone() throws {
    let plan = try plan(
      #"{"id": "joint"}, {"id": "ogm"}, {"id": "agm"}"#, seeds: [0], labels: ["agm", "ogm"])
    XCTAssertEqual(plan.runs.map(\.label), ["ogm", "agm"])
    XCTAssertEqual(plan.reference, "ogm")
  }

  func testWhatNoMethodHasIsRefused() throws {
    let methods = #"{"id": "joint"}, {"id": "ogm"}"#
    XCTAssertThrowsError(try plan(methods, grid: [("alph", [1])])) { error in
      guard case SweepError.unusedSetting(_, let nearest, _)? = error as? SweepError else {
        return XCTFail("\(error)")
      }
      XCTAssertEqual(nearest, "alpha")
    }
    XCTAssertThrowsError(try plan(methods, grid: [("ogn.alpha", [1])])) { error in
      guard case SweepError.unusedSetting(_, let nearest, _)? = error as? SweepError else {
        return XCTFail("\(error)")
      }
      XCTAssertEqual(nearest, "ogm")
    }
    for (key, value) in [
      ("ogm.alfa", JSONValue.integer(1)), ("training.epoch", 1), ("alpha", -1), ("training.epochs", 0),
      ("alpha", "much"),
    ] {
      XCTAssertThrowsError(try plan(methods, grid: [(key, [value])]), key) {
        XCTAssertTrue($0 is ExperimentError, "\(key): \($0)")
      }
    }
    // Every value is checked, not the first alone.
    XCTAssertThrowsError(try plan(methods, grid: [("alpha", [1, 1e6])])) {
      XCTAssertTrue($0 is ExperimentError)
    }
    XCTAssertThrowsError(try plan(methods, grid: [("alpha", [1, 1])])) {
      XCTAssertEqual(($0 as? SweepError)?.code, .repeatedRun)
    }
  }

  func testTheIndexReadsWhatItWrote() throws {
    let plan = try plan(#"{"id": "joint"}, {"id": "umt"}"#, grid: [("weight", [0.5])], seeds: [0])
    var index = SweepIndex(plan)
    index.entries[2].status = .failed
    index.entries[2].exitCode = 65
    index.entries[2].message = "why"
    let directory = try TemporaryDirectory()
    let folder = URL(fileURLWithPath: directory.path)
    let file = folder.appendingPathComponent("index.json")
    try Data(index.json.text(.indented).utf8).write(to: file)
    let stored = try SweepIndex(of: folder)
    XCTAssertEqual(stored.entries, index.entries)
    XCTAssertEqual(stored.failures.map(\.run.name), ["umt.weight=0.5-seed0"])
    XCTAssertThrowsError(try stored.entry("umt-seed0", in: folder)) {
      XCTAssertEqual(($0 as? SweepError)?.code, .unknownRun)
    }
    // A failed run is asked for again; one that another plan had and that is complete stays.
    var earlier = index
    earlier.entries[0].status = .complete
    let other = try self.plan(#"{"id": "ogm"}"#, seeds: [0])
    XCTAssertEqual(
      SweepIndex(other, continuing: earlier).entries.map(\.run.name), ["joint-seed0", "ogm-seed0"])
    XCTAssertEqual(SweepIndex(other, continuing: earlier).reference, "joint")
    XCTAssertEqual(SweepIndex(other).reference, "ogm")
    // The ensemble of an earlier plan stays a method where this one's methods learn from it.
    var ensemble = SweepIndex(
      try self.plan(#"{"id": "unimodal-ensemble", "label": "teachers"}"#, seeds: [0]))
    ensemble.entries[0].status = .complete
    let learning = SweepIndex(try self.plan(#"{"id": "umt"}"#, seeds: [0]), continuing: ensemble)
    XCTAssertEqual(learning.entries.map(\.run.name), ["teachers-seed0", "umt-seed0"])
    XCTAssertEqual(learning.entries.map(\.run.isTeacher), [false, false])
    // A name that would lead out of the folder is refused.
    let odd = index.json.text().replacing("joint-seed0", with: "../joint")
    try Data(odd.utf8).write(to: file)
    XCTAssertThrowsError(try SweepIndex(of: folder)) {
      XCTAssertEqual(($0 as? SweepError)?.code, .malformed)
    }
  }
}
