import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import Analysis
@testable import TokenModel

final class EvaluationTests: XCTestCase {
  private func record(
    _ index: Int, _ expected: String, _ answers: [String], _ tags: [String: String] = [:],
    image: String? = nil
  ) -> EvaluationRecord {
    EvaluationRecord(
      index: index, id: "\(index)", hash: "h\(index)", clusters: image.map { ["image": $0] } ?? [:],
      tags: tags,
      expected: expected, answers: answers.map { .init($0, isComplete: true) })
  }

  private func context(_ definition: EvaluationDefinition, count: Int = 3) -> EvaluationContext {
    EvaluationContext(
      tool: .init(version: "0"),
      model: .init(
        name: "m", architecture: "a", layerCount: 1, headCount: 1, keyValueHeadCount: 1, dtype: "f32",
        files: []),
      data: .init(name: "d", sha256: nil, sampleCount: count), definition: definition)
  }

  /// Known values of the score interval at 95 %, to four digits as tables print them.
  func testWilsonIntervals() throws {
    for (correct, count, lower, upper) in [
      (0, 10, 0.0, 0.2775), (5, 10, 0.2366, 0.7634), (10, 10, 0.7225, 1.0),
    ] {
      let interval = try XCTUnwrap(Evaluation.wilson(correct, of: count, confidence: 0.95))
      XCTAssertEqual(interval.lower, lower, accuracy: 5e-5)
      XCTAssertEqual(interval.upper, upper, accuracy: 5e-5)
    }
    XCTAssertNil(Evaluation.wilson(0, of: 0, confidence: 0.95))
  }

  func testAnswersMatchExactlyButForSpacesAround() {
    XCTAssertTrue(record(0, " yes\n", ["yes"]).isCorrect(0))
    XCTAssertFalse(record(0, "yes", ["Yes"]).isCorrect(0))
    // One scalar and two scalars that look the same are different answers.
    XCTAssertFalse(record(0, "\u{E9}", ["e\u{301}"]).isCorrect(0))
  }

  func testBreakdownsCountEveryItemOnce() {
    let records = [
      record(0, "a", ["a"], ["type": "x", "hint": "right"]),
      record(1, "a", ["b"], ["type": "x", "hint": "none"]), record(2, "a", ["a"], ["type": "y"]),
    ]
    let definition = EvaluationDefinition(answerLimit: 4, keys: ["type", "type+hint"])
    let evaluation = Evaluation(records, condition: 0, definition)
    XCTAssertEqual(evaluation.overall.correctCount, 2)
    XCTAssertEqual(evaluation.breakdowns[0].parts.map(\.value), ["x", "y"])
    XCTAssertEqual(evaluation.breakdowns[0].parts.map(\.accuracy.correctCount), [1, 1])
    XCTAssertEqual(evaluation.breakdowns[1].parts.map(\.value), ["x+none", "x+right", "y+none"])
    let all = Evaluation(records, condition: 0, EvaluationDefinition(answerLimit: 4))
    XCTAssertEqual(all.breakdowns.map(\.key), ["hint", "type"])
  }

  func testConditionsAreReadAsTheyAreWritten() throws {
    for name in [
      "full", "missing-image", "missing-image+audio", "deleted-video", "noisy-audio=0.5",
      "noisy-image+video=2",
      "adapter-text", "adapter-none", "adapter-image+text",
    ] {
      XCTAssertEqual(try XCTUnwrap(EvaluationCondition(name), name).name, name)
    }
    XCTAssertEqual(EvaluationCondition("missing-audio+image")?.name, "missing-image+audio")
    XCTAssertEqual(EvaluationCondition("noisy-image=1")?.name, EvaluationCondition("noisy-image=1.0")?.name)
    for name in [
      "", "Full", "missing", "missing-", "missing-text", "missing-image=1", "missing-image+image",
      "noisy-image",
      "noisy-image=0", "noisy-image=-1", "noisy-image=nan", "noisy-image=11", "noisy-image=1=2", "adapter-",
      "adapter-all", "adapter-none+text", "blurred-image", "missing-none",
    ] {
      XCTAssertNil(EvaluationCondition(name), name)
    }
  }

  func testNoiseHasTheLevelAskedForAndIsKeyedByTheSample() throws {
    let values = randomTensor([4_000], seed: 3, scale: 2).hostValues()
    let medium = Medium(modality: .image, shape: [1, 40, 100], values: .numbers(values), identity: "i")
    let sample = Sample(index: 5, id: "s", media: [medium], question: "?")
    let condition = EvaluationCondition.noisy([.image], level: 0.5)
    let noisy = condition.changed(sample, seed: 1).media[0]
    let noise = zip(noisy.numbers, values).map { Double($0) - Double($1) }
    let spread = try XCTUnwrap(StreamingMoments(values.map { Double($0) }).sampleStandardDeviation)
    let moments = StreamingMoments(noise)
    // Of 4,000 normal numbers the standard deviation is known to about 1 %, the mean to 1.6 % of it.
    XCTAssertEqual(
      try XCTUnwrap(moments.sampleStandardDeviation), 0.5 * spread, accuracy: 0.04 * spread * 0.5)
    XCTAssertEqual(moments.mean, 0, accuracy: 0.06 * spread * 0.5)
    XCTAssertEqual(condition.changed(sample, seed: 1), condition.changed(sample, seed: 1))
    XCTAssertNotEqual(condition.changed(sample, seed: 2), condition.changed(sample, seed: 1))
    var other = sample
    other.index = 6
    XCTAssertNotEqual(condition.changed(other, seed: 1).media, condition.changed(sample, seed: 1).media)
    XCTAssertEqual(EvaluationCondition.noisy([.audio], level: 0.5).changed(sample, seed: 1), sample)
    let bytes = Medium(modality: .image, shape: [1, 2, 2], bytes: [0, 255, 100, 3], identity: "b")
    var stream = RandomStream(seed: 1, purpose: "test")
    XCTAssertEqual(bytes.noisy(level: 3, using: &stream).bytes.count, 4)
  }

  func testDeletedMediaLeaveNoPlaceholder() {
    let image = Medium(modality: .image, shape: [1], bytes: [1], identity: "i")
    let audio = Medium(modality: .audio, shape: [1], bytes: [2], identity: "a")
    let sample = Sample(
      index: 0, id: "s", turns: [.init(speaker: .user, text: "<image>\n<audio>\nwhat ?")],
      media: [image, audio])
    let changed = EvaluationCondition.deleted([.image]).changed(sample, seed: 0)
    XCTAssertEqual(changed.turns[0].text, "<audio>\nwhat ?")
    XCTAssertEqual(changed.media, [audio])
    XCTAssertEqual(
      EvaluationCondition.deleted([.image, .audio]).changed(sample, seed: 0).turns[0].text, "what ?")
  }

  /// An adapter that adds a row of its own where it may act, and notes where that was.
  private final class Notes: @unchecked Sendable {
    var rows: [[Bool]?] = []
  }

  private struct Adapted: LinearLayer {
    let base: any LinearLayer
    let notes: Notes
    var outputSize: Int { base.outputSize }
    var inputSize: Int { base.inputSize }
    func callAsFunction(_ x: Tensor, _ context: TokenContext) -> Tensor {
      notes.rows.append(context.adaptedRows)
      return base(x, context)
    }
    func releasePages() { base.releasePages() }
  }

  /// What an adapter is told: the rows of the named modalities in the prompt, all rows of the answer.
  func testAnAdapterIsToldWhereToAct() throws {
    let roles: [Role] = [.bos, .image, .image, .separator, .audio, .question, .response]
    let notes = Notes()
    let layer = Adapted(base: Linear(weight: LinearWeight(Tensor(zeros: [2, 2]))), notes: notes)
    let input = Tensor(zeros: [7, 2])
    for condition in [
      EvaluationCondition.full, .adapter([.image]), .adapter([.text]), .adapter([]),
      .adapter([.audio, .text]),
    ] {
      var context = TokenContext(roles: roles)
      context.adaptedModalities = condition.adaptedModalities
      _ = layer(input, context)
      _ = layer(input.slice(4..<6), context.selecting(rows: [4, 5]))
    }
    let (no, yes) = (false, true)
    XCTAssertEqual(
      notes.rows,
      [
        nil, nil, [no, yes, yes, no, no, no, no], [no, no], [yes, no, no, no, no, yes, yes], [no, yes],
        [no, no, no, no, no, no, no], [no, no], [yes, no, no, no, yes, yes, yes], [yes, yes],
      ])
    var decode = TokenContext(
      segments: .single(1), positions: [7], roles: [.response], cachedRoles: [roles], phase: .decode)
    decode.adaptedModalities = [.image]
    XCTAssertNil(decode.adaptedRows)
  }

  func testConditionsAreAnsweredAndComparedPairwise() throws {
    let checkpoint = try Checkpoint(folder: Fixtures.url("avdigits_model"))
    let data = try DataSet(Fixtures.avdigitsData("test.qa.jsonl"))
    let samples = try (0..<40).map { try data.sample(at: $0, for: checkpoint) }
    let names = ["full", "missing-image", "missing-image+audio", "noisy-audio=2"]
    let definition = EvaluationDefinition(
      answerLimit: 4, conditions: names.compactMap(EvaluationCondition.init),
      needs: EvaluationDefinition.avdigitsNeeds)
    let records = try Evaluator(checkpoint, definition).records(for: samples)
    // Alone as in the batch.
    for index in [3, 17] {
      XCTAssertEqual(
        try Evaluator(checkpoint, definition).records(for: [samples[index]])[0], records[index])
    }
    let summary = EvaluationSummary(context(definition, count: 40), records)
    XCTAssertEqual(summary.conditions.map(\.condition.name), names)
    let needs = try XCTUnwrap(summary.conditions[0].breakdowns.first { $0.key == "needs" })
    XCTAssertEqual(needs.parts.map(\.value), ["audio", "image", "image+audio", "text"])
    let full = summary.conditions[0].overall.correctCount
    XCTAssertGreaterThan(full, 25)
    XCTAssertLessThan(summary.conditions[2].overall.correctCount, full)
    // Most questions that need no image are answered as before; those that need one, mostly not.
    func unchanged(_ needed: String) -> Double {
      let records = records.filter { $0.tags["needs"] == needed }
      return Double(records.count { $0.answers[1] == $0.answers[0] }) / Double(records.count)
    }
    XCTAssertGreaterThan(unchanged("audio"), 0.85)
    XCTAssertLessThan(unchanged("image+audio"), 0.8)
    let schema = try AttentionResultTests.schema("eval")
    XCTAssertEqual(try schema.violations(in: summary.json), [])
    let clusters = definition.clustered(by: "image")
    XCTAssertEqual(
      try schema.violations(in: EvaluationSummary(context(clusters, count: 1), [records[0]]).json), [])
    XCTAssertNil(summary.differences[0])
    for (place, difference) in summary.differences.enumerated() where place > 0 {
      let difference = try XCTUnwrap(difference)
      let after = summary.conditions[place].overall.correctCount
      XCTAssertEqual(try XCTUnwrap(difference.estimate.mean), Double(after - full) / 40, accuracy: 1e-12)
      let discordant = try XCTUnwrap(difference.discordant)
      XCTAssertEqual(discordant.after - discordant.before, after - full)
      XCTAssertEqual(
        difference.p, PairedTests.mcNemar(onlyBefore: discordant.before, onlyAfter: discordant.after))
    }
  }

  /// The interval of one sample is unknown, and written as null.
  func testAnIntervalOfOneSampleIsNull() throws {
    let definition = EvaluationDefinition(answerLimit: 1).clustered(by: "image")
    let json = EvaluationSummary(context(definition, count: 1), [record(0, "a", ["a"], image: "i")]).json
    XCTAssertEqual(json["ci"], .null)
    XCTAssertEqual(json["accuracy"]?.doubleValue, 1)
  }

  func testRecordsAndContextsAreReadAsTheyAreWritten() throws {
    var definition = EvaluationDefinition(
      answerLimit: 7, conditions: [.full, .noisy([.audio], level: 0.25), .adapter([])],
      needs: ["sum": [.image, .audio], "text": []], keys: ["type+hint"], seed: 9)
    (definition.interval.clusterKey, definition.interval.method) = ("image", .bootstrap)
    let context = context(definition)
    let place = RecordPlace(file: "config.json")
    XCTAssertEqual(try EvaluationContext(json: context.json, at: place), context)
    let record = record(2, "a", ["a", "b", ""], ["type": "x"], image: "row 3")
    XCTAssertEqual(
      try EvaluationRecord(json: record.json(definition), definition, at: place), record)
    // A claim that the answers do not bear out is refused, and so is any key that nobody reads.
    for change in [
      { (object: inout JSONObject) in object["conditions"] = JSONValue.object(JSONObject()) },
      { $0["more"] = 1 }, { $0["index"] = -1 }, { $0["answer"] = "b" }, { $0["hash"] = nil },
    ] {
      var object = try XCTUnwrap(record.json(definition).objectValue)
      change(&object)
      XCTAssertThrowsError(try EvaluationRecord(json: .object(object), definition, at: place)) {
        XCTAssertTrue($0 is AttentionRecordError, "\($0)")
      }
    }
  }

  func testNeedsAreReadFromAConfigurationOrByThemselves() throws {
    let plain: JSONValue = ["sum": ["image", "audio"], "text_sum": []]
    let expected: [String: [Modality]] = ["sum": [.image, .audio], "text_sum": []]
    XCTAssertEqual(try EvaluationDefinition.readNeeds(plain, file: "f"), expected)
    XCTAssertEqual(try EvaluationDefinition.readNeeds(["needs": plain, "steps": 3], file: "f"), expected)
    let definition = EvaluationDefinition(answerLimit: 1, needs: expected)
    XCTAssertEqual(definition.neededModalities(ofType: "sum"), "image+audio")
    XCTAssertEqual(definition.neededModalities(ofType: "text_sum"), "text")
    XCTAssertNil(definition.neededModalities(ofType: "other"))
    XCTAssertNil(definition.neededModalities(ofType: nil))
    for bad: JSONValue in [["sum": "image"], ["sum": ["smell"]], ["sum": [1]], [1], "x"] {
      XCTAssertThrowsError(try EvaluationDefinition.readNeeds(bad, file: "needs.json")) {
        XCTAssertTrue(
          ($0 as? AttentionRecordError)?.errorDescription?.contains("needs.json") ?? false, "\($0)")
      }
    }
  }

  /// Ten questions about each of two images, answered alike within an image: as many independent answers as images.
  func testClustersWidenTheInterval() throws {
    let records = (0..<40).map { index in
      record(index, "a", [index % 4 < 2 ? "a" : "b"], image: "image \(index % 4)")
    }
    var definition = EvaluationDefinition(answerLimit: 1)
    definition.interval.method = .bootstrap
    let alone = try XCTUnwrap(Evaluation(records, condition: 0, definition).overall.interval)
    definition.interval.clusterKey = "image"
    let clustered = try XCTUnwrap(Evaluation(records, condition: 0, definition).overall.interval)
    XCTAssertEqual(alone.estimate, 0.5)
    XCTAssertEqual(clustered.estimate, 0.5)
    XCTAssertGreaterThan(clustered.upper - clustered.lower, 1.5 * (alone.upper - alone.lower))
  }
}

extension EvaluationDefinition {
  /// The same with intervals over clusters.
  fileprivate func clustered(by medium: String) -> EvaluationDefinition {
    var definition = self
    (definition.interval.method, definition.interval.clusterKey) = (.bootstrap, medium)
    return definition
  }
}
