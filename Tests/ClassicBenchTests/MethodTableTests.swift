import Foundation
import RunKit
import TestSupport
import XCTest

@testable import ClassicBench

/// `Documentation/Methods/README.md`: every method with what was compared and tested, filled in by running it.
///
/// `MMPROBE_UPDATE_HELP=1` writes the page anew.
final class MethodTableTests: XCTestCase {
  /// What checks a method: its reference cases without the number of modalities, and its tests.
  private struct Check {
    let id: String
    let cases: [String]
    let golden: () throws -> Void
    let mechanismName: String
    let mechanism: () throws -> Void

    init(
      _ id: String, _ cases: [String], _ golden: @escaping () throws -> Void, _ mechanismName: String,
      _ mechanism: @escaping () throws -> Void
    ) {
      (self.id, self.cases, self.golden) = (id, cases, golden)
      (self.mechanismName, self.mechanism) = (mechanismName, mechanism)
    }
  }

  private let baselines = GoldenBaselineTests(name: "baselines", testClosure: { _ in })
  private let forward = GoldenForwardTests(name: "forward", testClosure: { _ in })
  private let objective = GoldenObjectiveTests(name: "objective", testClosure: { _ in })
  private let optimization = GoldenOptimizationTests(name: "optimization", testClosure: { _ in })
  private let first = MechanismTests(name: "first", testClosure: { _ in })
  private let second = ObjectiveMechanismTests(name: "second", testClosure: { _ in })
  private let third = OptimizationMechanismTests(name: "third", testClosure: { _ in })

  private var earlyChecks: [Check] {
    [
      Check(
        "joint", ["joint"], baselines.testJoint, "JointPassesOneResidualToAllEncoders",
        first.testJointPassesOneResidualToAllEncoders),
      Check(
        "unimodal", ["unimodal"], baselines.testUnimodal, "UnimodalSeesOneModality",
        first.testUnimodalSeesOneModality),
      Check(
        "unimodal-ensemble", ["unimodal"], baselines.testUnimodalEnsemble, "BranchesOfTheEnsembleLearnApart",
        first.testBranchesOfTheEnsembleLearnApart),
      Check(
        "uniform", ["uniform"], baselines.testUniform, "UniformAddsAnOwnLossToEveryEncoder",
        first.testUniformAddsAnOwnLossToEveryEncoder),
      Check(
        "modality-valuation", ["valuation"], optimization.testModalityValuation,
        "ValuationShowsTheWeakModalityAlone", first.testValuationShowsTheWeakModalityAlone),
      Check(
        "opm", ["opm"], forward.testOPM, "OPMDropsTheModalityThatIsAhead",
        first.testOPMDropsTheModalityThatIsAhead),
      Check(
        "greedy", ["greedy"], forward.testGreedy, "GreedyCutsOffTheBranchThatLeansOnTheOthers",
        first.testGreedyCutsOffTheBranchThatLeansOnTheOthers),
      Check(
        "amco", ["amco"], forward.testAMCo, "AMCoMasksTheDominantModality",
        first.testAMCoMasksTheDominantModality),
      Check(
        "mla", ["mla"], forward.testMLA, "MLAKeepsTheHeadOffFeaturesOfTheModalityBefore",
        first.testMLAKeepsTheHeadOffFeaturesOfTheModalityBefore),
      Check(
        "rollingq", ["rollingq"], forward.testRollingQ, "RollingQTurnsTheQueryAwayFromTheFavouredModality",
        first.testRollingQTurnsTheQueryAwayFromTheFavouredModality),
      Check(
        "mmcosine", ["mmcosine"], objective.testMMCosine, "MMCosineIgnoresLengths",
        first.testMMCosineIgnoresLengths),
    ]
  }

  private var objectiveChecks: [Check] {
    [
      Check(
        "umt", ["umt"], objective.testUMT, "UMTPullsFeaturesToTheTeachers",
        second.testUMTPullsFeaturesToTheTeachers),
      Check(
        "mbsd", ["mbsd", "mbsd_logits"], objective.testMBSD, "MBSDTeachesTheWeakModalityAlone",
        second.testMBSDTeachesTheWeakModalityAlone),
      Check(
        "cml", ["cml"], objective.testCML, "CMLLowersConfidenceThatGrowsWithoutAModality",
        second.testCMLLowersConfidenceThatGrowsWithoutAModality),
      Check(
        "mmpareto", ["mmpareto_agree", "mmpareto_conflict"], objective.testMMPareto,
        "MMParetoConflictsWithNoLoss", second.testMMParetoConflictsWithNoLoss),
      Check(
        "gblending", ["gblending"], objective.testGBlending, "GBlendingWeighsDownWhatOverfits",
        second.testGBlendingWeighsDownWhatOverfits),
      Check(
        "lfm", ["lfm_js", "lfm_nce"], objective.testLFM, "LFMMatchesModalitiesFirst",
        second.testLFMMatchesModalitiesFirst),
      Check(
        "udi", ["udi_club", "udi_xcorr"], objective.testUDI, "UDIFreezesTheAnchorAndGuidesTheOther",
        second.testUDIFreezesTheAnchorAndGuidesTheOther),
    ]
  }

  private var optimizationChecks: [Check] {
    [
      Check(
        "ogm", ["ogm"], optimization.testOGM, "OGMSlowsTheEncoderThatIsAhead",
        third.testOGMSlowsTheEncoderThatIsAhead),
      Check(
        "ogm-ge", ["ogm_ge"], optimization.testOGMGE, "OGMGEAddsNoiseAsLargeAsTheGradients",
        third.testOGMGEAddsNoiseAsLargeAsTheGradients),
      Check(
        "agm", ["agm"], optimization.testAGM, "AGMSlowsTheDominantAndSpeedsTheWeakModality",
        third.testAGMSlowsTheDominantAndSpeedsTheWeakModality),
      Check(
        "pmr", ["pmr"], optimization.testPMR, "PMRSpeedsTheSlowModality",
        third.testPMRSpeedsTheSlowModality),
      Check(
        "relearning", ["relearning"], optimization.testRelearning,
        "RelearningResetsTheEncoderThatMemorises", third.testRelearningResetsTheEncoderThatMemorises),
      Check(
        "reconboost", ["reconboost"], optimization.testReconBoost, "ReconBoostLearnsWhatTheOthersGetWrong",
        third.testReconBoostLearnsWhatTheOthersGetWrong),
      Check(
        "inforeg", ["inforeg"], optimization.testInfoReg, "InfoRegHoldsTheSufficientModalityBack",
        third.testInfoRegHoldsTheSufficientModalityBack),
      Check(
        "mlb", ["mlb"], optimization.testMLB, "MLBScalesBothEncoders", third.testMLBScalesBothEncoders),
    ]
  }

  private func place(_ path: String) -> URL { Fixtures.url("../../\(path)").standardizedFileURL }

  private func text(_ path: String) throws -> String {
    String(decoding: try Data(contentsOf: place(path)), as: UTF8.self)
  }

  /// Fails unless a file of tests has the function.
  private func assertExists(_ function: String, in files: [String]) throws {
    let found = try files.contains {
      try text("Tests/ClassicBenchTests/\($0).swift").contains("func test\(function)()")
    }
    XCTAssertTrue(found, "no test\(function)")
  }

  /// The source file that the page of a method names, which must hold the method.
  private func source(_ id: String) throws -> String {
    let page = try text("Documentation/Methods/\(id).md")
    let name = try XCTUnwrap(
      page.components(separatedBy: "Sources/ClassicBench/Methods/").dropFirst().first?
        .components(separatedBy: ".swift").first, "the page of \(id) names no file")
    let code = try text("Sources/ClassicBench/Methods/\(name).swift")
    XCTAssertTrue(
      code.contains("id = \"\(id)\"") || code.contains("id: String { \"\(id)\" }"), "\(name) has no \(id)")
    return "\(name).swift"
  }

  /// The cases of one number of modalities: their names, and the largest difference in them.
  private func cell(_ check: Check, count: Int) throws -> (names: String, difference: Double) {
    let names = check.cases.map { "\($0)_m\(count)" }
    let differences = try names.map {
      try XCTUnwrap(GoldenRecord.shared.difference($0), "\($0) was not compared")
    }
    return (names.map { "`\($0)`" }.joined(separator: ", "), differences.max() ?? 0)
  }

  private struct Row {
    let before: String
    let differences: [Double]
    let after: String

    /// The row with differences in two digits.
    var line: String {
      let cells = differences.map { $0 == 0 ? "0" : String(format: "%.1e", $0) }
      return before + cells[0] + " / " + cells[1] + after
    }
  }

  private func rows() throws -> [Row] {
    let checks = Dictionary(
      uniqueKeysWithValues: (earlyChecks + objectiveChecks + optimizationChecks).map { ($0.id, $0) })
    XCTAssertEqual(Set(checks.keys), Set(MethodCatalog.entries.map(\.id)))
    try assertExists("ResumedRunsEndInTheSameBytes", in: ["ClassicTaskTests"])
    try assertExists("ThreadsChangeNoByte", in: ["ClassicTaskTests"])
    let trained = SmallTask(count: 2).entries
    return try MethodCatalog.entries.map { entry in
      let check = try XCTUnwrap(checks[entry.id])
      GoldenRecord.shared.reset()
      try check.golden()
      try check.mechanism()
      try assertExists(
        check.mechanismName,
        in: ["MechanismTests", "ObjectiveMechanismTests", "OptimizationMechanismTests"])
      let (two, three) = (try cell(check, count: 2), try cell(check, count: 3))
      let variants = trained.count { $0.id == entry.id }
      XCTAssertGreaterThan(variants, 0, entry.id)
      let name = entry.name + (entry.isReconstruction ? " (reconstruction)" : "")
      let runs = variants == 1 ? "every boundary and within" : "the same, \(variants) variants"
      return Row(
        before:
          "| \(name) | \(entry.stage.rawValue) | \(try source(entry.id)) | \(two.names) / \(three.names) | ",
        differences: [two.difference, three.difference],
        after: " | \(check.mechanismName) | \(runs) | 1 = 2 = 3 | [\(entry.id)](\(entry.id).md) |")
    }
  }

  private static let introduction = """
    # Methods of the benchmark

    What `mmprobe bench` can train, and how each method was checked. The table is made by `MethodTableTests`, which
    runs the cases and mechanisms that it names; the last two checks are those of `ClassicTaskTests`, which go over the same list.

    - *Reference cases* in `Tests/Fixtures/classic`, computed in Float64 apart from this program, for two and for three
      modalities: features, logits, losses, figures, gradients before and after the method, parameters after each step.
      *Difference*: the largest one of any element, as a share of the largest element of its tensor; 1e-5 is allowed.
    - *Mechanism*: the function `test…` of `Tests/ClassicBenchTests` that shows the method doing what it is for, on a model
      of which one modality is far ahead.
    - *Resumed*: a training of three epochs, stopped at every boundary of epochs and once within each, resumed every time
      from its folder, ends with the bytes of one that went through; with two and with three modalities.
    - *Threads*: the bytes of a training with 1, 2 and 3 threads.

    | method | stage | file | cases, M = 2 / 3 | difference | mechanism | resumed | threads | page |
    | --- | --- | --- | --- | --- | --- | --- | --- | --- |

    """

  private static let ending = """

    RollingQ is a method of `mmprobe finetune` too; its page tells of both. Methods of different stages
    [compose](composed.md).

    """

  /// Cases that belong to no method, and what reads them.
  private static let otherCases = [
    "appendix_a": "AppendixTests", "metrics_classification": "MetricsTests", "shapley_m2": "MetricsTests",
    "shapley_m3": "MetricsTests", "stats_tests": "MetricsTests",
  ]

  /// No case lies there unread: each is a method's in the table, or another test names it.
  func testEveryCaseIsRead() throws {
    let stored = try FileManager.default.contentsOfDirectory(atPath: Fixtures.url("classic").path)
    let checks = earlyChecks + objectiveChecks + optimizationChecks
    let read = checks.flatMap(\.cases).flatMap { ["\($0)_m2", "\($0)_m3"] } + Self.otherCases.keys
    XCTAssertEqual(Set(stored), Set(read))
    for (name, tests) in Self.otherCases {
      let stem = name.replacingOccurrences(of: "_m[23]$", with: "_m", options: .regularExpression)
      XCTAssertTrue(try text("Tests/ClassicBenchTests/\(tests).swift").contains("\"\(stem)"), name)
    }
  }

  func testPageShowsWhatWasChecked() throws {
    let rows = try rows()
    for row in rows {
      let cells = row.line.dropFirst().dropLast().split(separator: "|", omittingEmptySubsequences: false)
      XCTAssertEqual(cells.count, 9)
      XCTAssertFalse(cells.contains { $0.allSatisfy(\.isWhitespace) }, row.line)
    }
    let path = "Documentation/Methods/README.md"
    if ProcessInfo.processInfo.environment["MMPROBE_UPDATE_HELP"] == "1" {
      let page = Self.introduction + rows.map { $0.line + "\n" }.joined() + Self.ending
      try Data(page.utf8).write(to: place(path))
    }
    let page = try text(path)
    XCTAssertTrue(page.hasPrefix(Self.introduction) && page.hasSuffix(Self.ending), "out of date: \(path)")
    let lines = page.dropFirst(Self.introduction.count).dropLast(Self.ending.count)
      .split(separator: "\n").map(String.init)
    XCTAssertEqual(lines.count, rows.count)
    for (line, row) in zip(lines, rows) {
      XCTAssertTrue(line.hasPrefix(row.before) && line.hasSuffix(row.after), "out of date: \(line)")
      let stated = line.dropFirst(row.before.count).dropLast(row.after.count).split(separator: "/")
        .compactMap { Double($0.filter { !$0.isWhitespace }) }
      XCTAssertEqual(stated.count, 2, line)
      // Other processors add up in another order.
      for (stated, found) in zip(stated, row.differences) {
        XCTAssertLessThanOrEqual(found, 4 * stated + 1e-7, "out of date: \(line)")
        XCTAssertLessThanOrEqual(stated, 4 * found + 1e-7, "out of date: \(line)")
      }
    }
  }
}
