import Foundation
import RunKit
import TestSupport
import TokenModel
import XCTest

@testable import Analysis

final class ComparisonTests: XCTestCase {
  private let interval = AttentionDefinition.Interval(replicates: 300)

  /// A run folder of made-up attention.
  private func attentionRun(
    _ name: String, in folder: TemporaryDirectory, indices: [Int] = Array(0..<40),
    change: (inout AttentionRecord) -> Void = { _ in },
    context edit: (inout AttentionContext) -> Void = { _ in }
  ) throws -> String {
    let synthetic = SyntheticAttention()
    var context = synthetic.context
    edit(&context)
    let run = try RunFolder(
      at: URL(fileURLWithPath: "\(folder.path)/\(name)", isDirectory: true), mode: .fresh,
      configuration: try XCTUnwrap(context.json.objectValue),
      facts: .init(version: "0", arguments: [], threads: 1))
    let writer = try run.appendingRecords(to: AttentionRun.samplesName)
    for index in indices {
      var record = synthetic.record(index)
      change(&record)
      try writer.append(AttentionSample.measured(record).json(context.definition))
    }
    try writer.sync()
    return run.url.path
  }

  /// A run folder of made-up answers; each sample is right where `right` says so.
  private func evaluationRun(
    _ name: String, in folder: TemporaryDirectory, count: Int = 30,
    conditions: [EvaluationCondition] = [.full],
    right: (Int, Int) -> Bool
  ) throws -> String {
    let definition = EvaluationDefinition(answerLimit: 4, conditions: conditions)
    let context = EvaluationContext(
      tool: .init(version: "0"),
      model: .init(
        name: name, architecture: "a", layerCount: 1, headCount: 1, keyValueHeadCount: 1, dtype: "f32",
        files: [.init(name: "w", sha256: SHA256.hexadecimal(of: Array(name.utf8)))]),
      data: .init(name: "d", sha256: nil, sampleCount: count),
      definition: definition)
    let run = try RunFolder(
      at: URL(fileURLWithPath: "\(folder.path)/\(name)", isDirectory: true), mode: .fresh,
      configuration: try XCTUnwrap(context.json.objectValue),
      facts: .init(version: "0", arguments: [], threads: 1))
    let writer = try run.appendingRecords(to: EvaluationRun.samplesName)
    for index in 0..<count {
      let record = EvaluationRecord(
        index: index, id: "q\(index)", hash: "h\(index)", clusters: ["image": "\(index / 2)"],
        tags: ["type": index % 3 == 0 ? "sum" : "hard \"one\""], expected: "yes",
        answers: conditions.indices.map { .init(right(index, $0) ? "yes" : "no", isComplete: true) })
      try writer.append(record.json(definition))
    }
    try writer.sync()
    return run.url.path
  }

  private func row(_ comparison: Comparison, _ name: String) throws -> Comparison.Row {
    try XCTUnwrap(comparison.rows.first { $0.name == name }, name)
  }

  // MARK: Attention

  func testARunDoesNotDifferFromItself() throws {
    let folder = try TemporaryDirectory()
    let run = try attentionRun("a", in: folder)
    let comparison = try Comparison(run, run, pairing: .content, interval: interval)
    XCTAssertEqual(comparison.pairCount, 40)
    XCTAssertEqual(comparison.unpaired, [0, 0])
    XCTAssertEqual(comparison.settings, [])
    XCTAssertEqual(comparison.families, ["share", "index", "share by layer", "entropy by layer"])
    // Six groups, two indices for each of two media, four layers.
    XCTAssertEqual(comparison.rows.count, 6 + 4 + 4 * 6 + 4)
    for row in comparison.rows where row.difference.estimate.count > 0 {
      XCTAssertEqual(row.difference.estimate.mean, 0, row.name)
      XCTAssertEqual(row.difference.corrected, 1, row.name)
      XCTAssertFalse(comparison.isSignificant(row))
    }
  }

  /// Half of the image share of layer 2 goes to the question in the second run: those cells differ, and no others.
  func testAKnownChangeIsFoundWhereItIs() throws {
    let folder = try TemporaryDirectory()
    let first = try attentionRun("a", in: folder)
    let second = try attentionRun("b", in: folder, indices: [39] + Array(0..<38)) { record in
      for head in 0..<4 {
        let start = (2 * 4 + head) * 6
        let moved = record.share[start + 1] / 2
        record.share[start + 1] -= moved
        record.share[start + 4] += moved
      }
    }
    let comparison = try Comparison(first, second, pairing: .content, interval: interval)
    XCTAssertEqual(comparison.pairCount, 39)
    XCTAssertEqual(comparison.unpaired, [1, 0])
    let changed = comparison.rows.filter { $0.family == "share by layer" && comparison.isSignificant($0) }
    XCTAssertEqual(changed.map(\.name), ["layers.2.image.share", "layers.2.question.share"])
    let cell = try row(comparison, "layers.2.image.share").difference
    let before = try XCTUnwrap(cell.before)
    XCTAssertEqual(try XCTUnwrap(cell.after), before / 2, accuracy: 1e-6)
    XCTAssertEqual(try XCTUnwrap(cell.estimate.mean), -before / 2, accuracy: 1e-6)
    XCTAssertLessThan(try XCTUnwrap(cell.estimate.high), 0)
    // Over four layers a quarter of it.
    XCTAssertEqual(
      try XCTUnwrap(row(comparison, "image.share").difference.estimate.mean), -before / 8, accuracy: 1e-6)
    XCTAssertEqual(try row(comparison, "layers.1.image.share").difference.estimate.mean, 0)
    XCTAssertGreaterThan(try XCTUnwrap(row(comparison, "image.mdi").difference.estimate.mean), 0)
    for family in comparison.families {
      let members = comparison.rows.filter { $0.family == family }
      XCTAssertEqual(
        members.map(\.difference.corrected), PairedTests.holm(members.map(\.difference.p)), family)
    }
    XCTAssertTrue(comparison.terminalText.contains("39 samples in both, 1 only in A, 0 only in B"))
    XCTAssertTrue(comparison.terminalText.contains("*"))
  }

  func testSettingsThatDifferAreNamed() throws {
    let folder = try TemporaryDirectory()
    let first = try attentionRun("a", in: folder)
    let second = try attentionRun(
      "b", in: folder,
      context: { context in
        context.model.files[0].sha256 = "other"
        context.model.adapters = [.init(name: "tuned", type: "LORA", scale: 1, sha256: "ab")]
        context.options["chunk"] = 64
        context.seed = 3
      })
    let comparison = try Comparison(first, second, pairing: .content, interval: interval)
    XCTAssertEqual(
      comparison.settings.map(\.key),
      [
        "model.files.model.safetensors.sha256", "seed", "model.adapters.tuned.type",
        "model.adapters.tuned.scale", "model.adapters.tuned.sha256", "options.chunk",
      ])
    XCTAssertEqual(comparison.settings[0].second, "other")
    XCTAssertEqual(comparison.settings.last, .init(key: "options.chunk", first: nil, second: "64"))
    let text = comparison.terminalText
    XCTAssertTrue(text.contains("adapter tuned (LORA)"), text)
    XCTAssertTrue(text.contains("settings that differ:"), text)
  }

  func testSamplesOfOtherContentArePairedByNameOnlyWhenAsked() throws {
    let folder = try TemporaryDirectory()
    let first = try attentionRun("a", in: folder)
    let second = try attentionRun("b", in: folder) { record in
      if record.index % 4 == 0 { record.hash = "noisy" }
    }
    let strict = try Comparison(first, second, pairing: .content, interval: interval)
    XCTAssertEqual(strict.pairCount, 30)
    XCTAssertEqual(strict.changedCount, 10)
    XCTAssertEqual(strict.unpaired, [10, 10])
    let loose = try Comparison(first, second, pairing: .id, interval: interval)
    XCTAssertEqual(loose.pairCount, 40)
    XCTAssertEqual(loose.changedCount, 10)
    XCTAssertTrue(loose.pairsText.contains("(10 with other"), loose.pairsText)
    let third = try attentionRun("c", in: folder) { $0.hash = "all others" }
    XCTAssertThrowsError(try Comparison(first, third, pairing: .content, interval: interval)) {
      XCTAssertEqual(
        $0 as? ComparisonError, .noPairs(first: first, second: third, changedCount: 40))
    }
  }

  func testClustersAreThoseOfTheFirstRunUnlessGiven() throws {
    let folder = try TemporaryDirectory()
    let first = try attentionRun(
      "a", in: folder, context: { $0.definition.interval.clusterKey = "image" })
    let second = try attentionRun("b", in: folder) { record in
      // A change that samples of one image share.
      let moved = Float(record.index / 2 % 2) * 0.5 * record.share[1]
      record.share[1] -= moved
      record.share[4] += moved
    }
    let clustered = try Comparison(first, second, pairing: .content, interval: interval)
    XCTAssertEqual(clustered.clusterCount, 20)
    let alone = try Comparison(first, second, pairing: .content, interval: interval, clusterKey: .some(nil))
    XCTAssertNil(alone.clusterCount)
    let (wide, narrow) = (
      try row(clustered, "layers.0.image.share").difference, try row(alone, "layers.0.image.share").difference
    )
    XCTAssertEqual(wide.estimate.mean, narrow.estimate.mean)
    XCTAssertGreaterThan(try XCTUnwrap(wide.p), try XCTUnwrap(narrow.p))
    XCTAssertTrue(clustered.basisText.contains("20 image items"), clustered.basisText)
  }

  // MARK: Answers

  func testAccuraciesAreComparedByMcNemar() throws {
    let folder = try TemporaryDirectory()
    let noisy = EvaluationCondition.noisy([.image], level: 0.5)
    let first = try evaluationRun("a", in: folder, conditions: [.full, .missing([.audio]), noisy]) {
      index, place in
      place == 0 ? index < 20 : index < 10
    }
    let second = try evaluationRun("b", in: folder, conditions: [noisy, .full]) { index, place in
      place == 0 ? index < 10 : (index < 29 && index != 4)
    }
    let comparison = try Comparison(first, second, pairing: .content, interval: interval)
    XCTAssertEqual(comparison.kind, "eval")
    XCTAssertEqual(
      comparison.rows.map(\.name),
      [
        "full.accuracy", "\"noisy-image=0.5\".accuracy", "full.accuracy.type.\"hard \"one\"\"",
        "full.accuracy.type.sum", "\"noisy-image=0.5\".accuracy.type.\"hard \"one\"\"",
        "\"noisy-image=0.5\".accuracy.type.sum",
      ])
    let full = try row(comparison, "full.accuracy").difference
    XCTAssertEqual(full.before, 20.0 / 30)
    XCTAssertEqual(full.after, 28.0 / 30)
    XCTAssertEqual(full.discordant?.before, 1)
    XCTAssertEqual(full.discordant?.after, 9)
    XCTAssertEqual(full.p, PairedTests.mcNemar(onlyBefore: 1, onlyAfter: 9))
    let same = try row(comparison, "\"noisy-image=0.5\".accuracy").difference
    XCTAssertEqual(same.estimate.mean, 0)
    XCTAssertEqual(same.p, 1)
    let part = try row(comparison, "full.accuracy.type.sum").difference
    XCTAssertEqual(part.estimate.count, 10)
    XCTAssertEqual(part.estimate.undefinedCount, 20)
    let clustered = try Comparison(
      first, second, pairing: .content, interval: interval, clusterKey: "image")
    XCTAssertNotEqual(try row(clustered, "full.accuracy").difference.p, full.p)
    XCTAssertTrue(clustered.basisText.contains("over clusters"))
    XCTAssertTrue(comparison.terminalText.contains("only B"))
    let third = try evaluationRun("c", in: folder, conditions: [.missing([.image])]) { _, _ in true }
    XCTAssertThrowsError(try Comparison(first, third, pairing: .content, interval: interval)) {
      XCTAssertEqual($0 as? ComparisonError, .nothingInCommon(first: first, second: third))
    }
    let attention = try attentionRun("d", in: folder)
    XCTAssertThrowsError(try Comparison(first, attention, pairing: .content, interval: interval)) {
      XCTAssertEqual(($0 as? ComparisonError)?.code, .differentKinds)
    }
  }

  // MARK: Sets of runs

  /// Trainings with seeds 1 to 3 on one side and 2 to 4 on the other: the second has three samples more right, and each
  /// seed has samples of its own that it fails.
  private func sets(in folder: TemporaryDirectory) throws -> (String, String) {
    for seed in [1, 2, 3] {
      _ = try evaluationRun("lora-\(seed)", in: folder) { index, _ in index < 12 && index != seed }
    }
    for seed in [2, 3, 4] {
      _ = try evaluationRun("moka-\(seed)", in: folder) { index, _ in
        index < 15 + seed && index != 2 * seed
      }
    }
    return ("\(folder.path)/lora-*", "\(folder.path)/moka-*")
  }

  func testSetsArePairedByWhatTheirStarsStandFor() throws {
    let folder = try TemporaryDirectory()
    let (first, second) = try sets(in: folder)
    let comparison = try Comparison(first, second, pairing: .content, interval: interval)
    XCTAssertEqual(comparison.runCount, 2)
    XCTAssertEqual(comparison.sides[0].members.map(\.stars), ["2", "3"])
    XCTAssertEqual(comparison.sides[1].members.map(\.path), [2, 3].map { "\(folder.path)/moka-\($0)" })
    XCTAssertEqual(comparison.sides.map(\.unpairedMembers), [["1"], ["4"]])
    XCTAssertEqual(comparison.pairCount, 30)
    let full = try row(comparison, "full.accuracy").difference
    // 11 and 11 of 30, then 16 and 17.
    XCTAssertEqual(try XCTUnwrap(full.before), 22.0 / 60, accuracy: 1e-12)
    XCTAssertEqual(try XCTUnwrap(full.after), 33.0 / 60, accuracy: 1e-12)
    XCTAssertEqual(full.estimate.count, 30)
    XCTAssertNil(full.discordant)
    func change(_ seed: Int) -> [Double?] {
      (0..<30).map { index in
        let (old, new) = (index < 12 && index != seed, index < 15 + seed && index != 2 * seed)
        return (new ? 1 : 0) - (old ? 1 : 0)
      }
    }
    let samples = CrossedSamples([change(2), change(3)])
    XCTAssertEqual(full.p, samples.p)
    XCTAssertEqual(full.crossed?.standardError, samples.standardError)
    let bounds = try XCTUnwrap(Bootstrap(replicates: 300).means(of: [samples])[0])
    XCTAssertEqual(full.estimate.low, bounds.lower)
    XCTAssertEqual(full.estimate.high, bounds.upper)
    XCTAssertLessThan(try XCTUnwrap(full.crossed?.after?.lower), 33.0 / 60)
    let part = try row(comparison, "full.accuracy.type.sum").difference
    XCTAssertEqual(part.estimate.count, 10)
    XCTAssertEqual(part.estimate.undefinedCount, 20)
    XCTAssertTrue(
      comparison.terminalText.contains("2 runs: 2, 3; without a partner: 1"), comparison.terminalText)
    XCTAssertTrue(comparison.terminalText.contains("detectable"))
    XCTAssertTrue(comparison.basisText.contains("with 1 degrees of freedom"), comparison.basisText)
    // What differs between the seeds of a side as well is told by the number of values.
    let names = comparison.settings.first { $0.key == "model.name" }
    XCTAssertEqual(names, .init(key: "model.name", first: "2 values", second: "2 values"))
    let clustered = try Comparison(
      first, second, pairing: .content, interval: interval, clusterKey: "image")
    XCTAssertNotEqual(try row(clustered, "full.accuracy").difference.p, full.p)
    var studentT = interval
    studentT.method = .t
    let parametric = try Comparison(first, second, pairing: .content, interval: studentT)
    XCTAssertEqual(
      try row(parametric, "full.accuracy").difference.estimate.low,
      samples.interval(confidence: 0.95)?.lower)
  }

  func testOneRunIsThePartnerOfAll() throws {
    let folder = try TemporaryDirectory()
    let (first, second) = try sets(in: folder)
    let comparison = try Comparison(
      "\(folder.path)/lora-1", second, pairing: .content, interval: interval)
    XCTAssertEqual(comparison.runCount, 3)
    XCTAssertEqual(comparison.sides[0].members, [])
    let full = try row(comparison, "full.accuracy").difference
    XCTAssertEqual(try XCTUnwrap(full.before), 11.0 / 30, accuracy: 1e-12)
    XCTAssertEqual(try XCTUnwrap(full.after), (16.0 + 17 + 18) / 90, accuracy: 1e-12)
    // A set of one run is that run.
    let single = try Comparison(
      "\(folder.path)/lor*-1", "\(folder.path)/lora-2", pairing: .content, interval: interval)
    XCTAssertNotNil(try row(single, "full.accuracy").difference.discordant)
    XCTAssertNil(try row(single, "full.accuracy").difference.crossed)
    for (left, right, code) in [
      ("\(folder.path)/none-*", second, ComparisonError.Code.noRuns),
      ("\(folder.path)/lora-*", "\(folder.path)/*-4", .noCommonRuns),
    ] {
      XCTAssertThrowsError(try Comparison(left, right, pairing: .content, interval: interval)) {
        XCTAssertEqual(($0 as? ComparisonError)?.code, code)
        XCTAssertEqual(($0 as? ComparisonError)?.exitStatus, .data)
      }
    }
    _ = try attentionRun("lora-4", in: folder)
    XCTAssertThrowsError(try Comparison(first, second, pairing: .content, interval: interval)) {
      XCTAssertEqual(($0 as? ComparisonError)?.code, .differentKinds)
    }
  }

  func testSetsOfAttentionRunsAreCompared() throws {
    let folder = try TemporaryDirectory()
    for seed in 1...3 {
      _ = try attentionRun("a\(seed)", in: folder)
      _ = try attentionRun("b\(seed)", in: folder) { record in
        let moved = record.share[1] * Float(seed) / 10
        record.share[1] -= moved
        record.share[4] += moved
      }
    }
    let comparison = try Comparison(
      "\(folder.path)/a*", "\(folder.path)/b*", pairing: .content, interval: interval)
    let cell = try row(comparison, "layers.0.image.share").difference
    XCTAssertEqual(comparison.runCount, 3)
    XCTAssertLessThan(try XCTUnwrap(cell.estimate.high), 0)
    XCTAssertEqual(try row(comparison, "layers.1.image.share").difference.estimate.mean, 0)
    XCTAssertEqual(try row(comparison, "layers.1.image.share").difference.p, 1)
    let json = comparison.json(tool: .init(version: "0"), checks: [])
    XCTAssertEqual(try AttentionResultTests.schema("compare").violations(in: json), [])
    XCTAssertEqual(json["pairs"]?["runs"], 3)
    XCTAssertEqual(json["runs"]?.arrayValue?.first?["members"]?.arrayValue?.count, 3)
    let lines = comparison.csv.components(separatedBy: "\r\n")
    XCTAssertEqual(lines.count, comparison.rows.count + 2)
    XCTAssertTrue(lines[0].hasPrefix("name,family,group,layer,n,before,"), lines[0])
    XCTAssertTrue(lines.contains { $0.hasPrefix("layers.0.image.share,share by layer,image,0,40,") })
    XCTAssertTrue(ComparisonReport(comparison).html.contains("over 3 pairs of runs"))
  }

  // MARK: Expressions

  func testExpressionsAreAskedOfTheNumbers() throws {
    let folder = try TemporaryDirectory()
    let first = try attentionRun("a", in: folder)
    let second = try attentionRun("b", in: folder) { record in
      for cell in 0..<16 {
        let moved = record.share[cell * 6 + 1] / 2
        record.share[cell * 6 + 1] -= moved
        record.share[cell * 6 + 4] += moved
      }
    }
    let comparison = try Comparison(first, second, pairing: .content, interval: interval)
    let before = try XCTUnwrap(row(comparison, "image.share").difference.before)
    for (text, expected) in [
      ("image.share.diff < -0.01", true), ("image.share.diff < -0.9", false), ("image.share.n == 40", true),
      ("not image.share.n == 40", false), ("image.share.n != 40 or question.share.diff > 0", true),
      ("image.share.n != 40 or question.share.diff > 0 and audio.share.diff > 0", false),
      ("(image.share.n == 40 or audio.share.p < 0) and audio.share.diff == 0", true),
      ("image.share.after < image.share.before", true), ("-1 <= image.share.low", true),
      ("layers.*.image.share.diff > 0", false), ("layers.3.image.share.high < 0", true),
      ("layers.*.*.share.p_holm < 0.001", true), ("\"image\".\"share\".diff>=\(-before)", true),
      ("not not image.share.diff<0", true),
    ] {
      XCTAssertEqual(try ComparisonExpression(text).outcome(in: comparison).holds, expected, text)
    }
    let outcome = try ComparisonExpression("layers.*.image.share.diff < 0").outcome(in: comparison)
    XCTAssertEqual(
      outcome.values.map(\.name), (0..<4).map { "layers.\($0).image.share.diff" })
    for (text, code) in [
      ("picture.share.diff < 0", ComparisonError.Code.unknownQuantity),
      ("image.shar.diff < 0", .unknownQuantity),
      ("image.share < 0", .unknownField), ("image.share.mean < 0", .unknownField),
      ("diff < 0", .unknownQuantity),
      // A wrong name is found even where the other side decides.
      ("image.share.n == 40 or imag.share.n == 1", .unknownQuantity), ("image.share.* < 0", .unknownField),
    ] {
      XCTAssertThrowsError(try ComparisonExpression(text).outcome(in: comparison), text) {
        XCTAssertEqual(($0 as? ComparisonError)?.code, code, text)
        XCTAssertEqual(($0 as? ComparisonError)?.exitStatus, .usage, text)
      }
    }
    XCTAssertThrowsError(try ComparisonExpression("image.shar.diff < 0").outcome(in: comparison)) {
      XCTAssertTrue($0.localizedDescription.contains("Did you mean 'image.share'?"), $0.localizedDescription)
    }
    let single = try attentionRun("c", in: folder, indices: [0])
    let one = try Comparison(single, single, pairing: .content, interval: interval)
    XCTAssertThrowsError(try ComparisonExpression("image.share.p < 1").outcome(in: one)) {
      XCTAssertEqual(($0 as? ComparisonError)?.code, .undefinedValue)
      XCTAssertEqual(($0 as? ComparisonError)?.exitStatus, .data)
    }
  }

  func testMalformedExpressionsNameThePlace() throws {
    for (text, column) in [
      ("", 1), ("image", 6), ("image <", 8), ("< 3", 1), ("a.b.diff < 0 and", 17), ("(a.diff < 0", 12),
      ("a.diff < 0)", 11), ("a.diff = 0", 8), ("a..diff < 0", 3), ("a.diff < 0 0", 12), ("a.diff < 1x", 10),
      ("a.\"b < 0", 3), ("a.diff < 0 xor b.diff < 0", 12), ("a.diff < #", 10), ("and < 0", 1),
      ("a.diff < inf(", 13), (String(repeating: "(", count: 100), 65),
    ] {
      XCTAssertThrowsError(try ComparisonExpression(text), text) { error in
        guard case .malformedExpression(_, let found, _, _)? = error as? ComparisonError else {
          return XCTFail("\(error)")
        }
        XCTAssertEqual(found, column, "\(text): \(error.localizedDescription)")
      }
    }
  }

  // MARK: Reports

  func testTheReportStandsAloneAndEscapesData() throws {
    let folder = try TemporaryDirectory()
    let first = try attentionRun("a", in: folder)
    let second = try attentionRun(
      "b", in: folder, change: { $0.share[1] /= 2 },
      context: { $0.data.name = "<script>alert(1)</script>" })
    let comparison = try Comparison(first, second, pairing: .content, interval: interval)
    let expression = try ComparisonExpression("image.share.diff < 0")
    let html = ComparisonReport(
      comparison, checks: [(expression, try expression.outcome(in: comparison))]
    ).html
    for word in ["<script", "http://", "https://", "url(", "@import", "nan%", "inf%"] {
      XCTAssertFalse(html.contains(word), word)
    }
    XCTAssertTrue(html.contains("&lt;script&gt;"))
    XCTAssertTrue(html.contains("the check failed"))
    for tag in ["section", "table", "div", "figure", "dl", "main", "svg", "td", "span", "p"] {
      let (opened, closed) = (
        html.components(separatedBy: "<\(tag)").count { $0.first.map { " >".contains($0) } ?? false },
        html.components(separatedBy: "</\(tag)>").count - 1
      )
      XCTAssertEqual(opened, closed, tag)
    }
    let outcome = try expression.outcome(in: comparison)
    let json = comparison.json(tool: .init(version: "0"), checks: [(expression, outcome)])
    let schema = try AttentionResultTests.schema("compare")
    XCTAssertEqual(try schema.violations(in: json), [])
    let answers = try evaluationRun("e", in: folder) { index, _ in index < 3 }
    let same = try Comparison(answers, answers, pairing: .id, interval: interval)
    XCTAssertEqual(try schema.violations(in: same.json(tool: .init(version: "0"), checks: [])), [])
    XCTAssertEqual(json["comparisons"]?.arrayValue?.count, comparison.rows.count)
    XCTAssertEqual(try JSONValue(parsing: json.text()), json)
  }
}
