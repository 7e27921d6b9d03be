import Foundation
import RunKit
import XCTest

@testable import Analysis

final class AttentionRecordTests: XCTestCase {
  private let run = SyntheticAttention()
  private let place = RecordPlace(file: "samples.jsonl", line: 3)

  /// A line with every optional part, as it stands in a file.
  private func line() throws -> JSONObject {
    var record = run.record(0)
    record.queryTokens[0].predicts = nil
    return try XCTUnwrap(try JSONValue(parsing: record.json(run.definition).text()).objectValue)
  }

  func testARecordReadsBackTheSame() throws {
    for index in [0, 7, 39] {
      let sample = AttentionSample.measured(run.record(index))
      let text = sample.json(run.definition).text()
      let read = try AttentionSample(json: JSONValue(parsing: text), definition: run.definition, at: place)
      XCTAssertEqual(read, sample)
      XCTAssertEqual(read.json(run.definition).text(), text)
    }
    let skipped = AttentionSample.skipped(index: 4, id: "x", reason: "no image")
    XCTAssertEqual(
      try AttentionSample(json: skipped.json(run.definition), definition: run.definition, at: place), skipped)
  }

  func testAContextReadsBackTheSame() throws {
    var context = run.context
    context.shard = .init(index: 1, count: 3)
    context.model.adapters = [.init(name: "a", type: "LORA", scale: 0.5, sha256: "00")]
    context.options = JSONObject([("max_new_tokens", 8)])
    context.definition.interval.clusterKey = "image"
    let read = try AttentionContext(json: JSONValue(parsing: context.json.text(.indented)), at: place)
    XCTAssertEqual(read, context)
  }

  /// Every Float32 is written in its own digits and read back to the bit; subnormal ones are 0.
  func testFloatsAreShortAndExact() throws {
    XCTAssertEqual(JSONValue(float: 0.1).text(), "0.1")
    XCTAssertEqual(JSONValue(float: .nan).text(), "null")
    XCTAssertEqual(JSONValue(float: -Float(bitPattern: 71_362)).text(), "0.0")
    var stream = RandomStream(seed: 1, purpose: "float spelling")
    for _ in 0..<20_000 {
      let value = Float(bitPattern: UInt32(truncatingIfNeeded: stream.next()))
      guard value.isFinite, !value.isSubnormal else { continue }
      let text = JSONValue(float: value).text()
      let read = try JSONValue(parsing: text).doubleValue
      XCTAssertEqual(read.map { Float($0).bitPattern }, value.bitPattern, text)
    }
  }

  /// Every way a line can be wrong, with the key that is named.
  func testWrongLinesAreRefusedByKey() throws {
    let shares = run.definition.shareCount
    let faults: [(String, JSONValue?, AttentionRecordError)] = [
      ("tags", nil, .missingKey(place: place, key: "tags")),
      ("seconds", 1, .unknownKey(place: place, key: "seconds")),
      ("id", 7, .wrongType(place: place, key: "id", found: "a number", expected: "a string")),
      ("index", -1, .wrongValue(place: place, key: "index", found: "-1", expected: "0 to 1099511627776")),
      ("share", [0.5], .wrongCount(place: place, key: "share", found: 1, expected: shares)),
      (
        "share", .array([JSONValue](repeating: 2, count: shares)),
        .wrongValue(place: place, key: "share", found: "2.0", expected: "shares from 0 to 1")
      ),
      (
        "share", .array([JSONValue](repeating: .null, count: shares)),
        .wrongType(place: place, key: "share", found: "null", expected: "an array of numbers")
      ),
      ("tokens", ["bos": 1], .missingKey(place: place, key: "tokens.image")),
      (
        "tags", ["type": 1],
        .wrongType(place: place, key: "tags.type", found: "a number", expected: "a string")
      ),
      (
        "sinks", [["row": 0, "group": "words", "piece": "", "rate": 1]],
        .wrongValue(
          place: place, key: "sinks[0].group", found: "\"words\"",
          expected: "one of bos, image, audio, instruction, question, response")
      ),
      ("key_groups", [99], .wrongCount(place: place, key: "key_groups", found: 1, expected: 55)),
      (
        "key_share", .null,
        .wrongType(place: place, key: "key_pieces", found: "an array", expected: "null, as key_share is")
      ),
      ("query_tokens", [["row": 0]], .missingKey(place: place, key: "query_tokens[0].piece")),
    ]
    for (key, value, expected) in faults {
      var object = try line()
      object[key] = value
      XCTAssertThrowsError(
        try AttentionSample(json: .object(object), definition: run.definition, at: place), key
      ) { XCTAssertEqual($0 as? AttentionRecordError, expected) }
    }
    XCTAssertThrowsError(try AttentionSample(json: 1, definition: run.definition, at: place))
  }

  func testMediaMustAgreeWithTheirPixelsAndKeys() throws {
    let media = try XCTUnwrap(line()["media"]?.arrayValue)
    let faults: [(String, JSONValue, String)] = [
      ("width", 7, "media[0].pixels"), ("grid_width", 5, "media[0].keys"),
      ("first_key", 1000, "media[0].first_key"),
      ("first_key", .integer(Int.max), "media[0].first_key"), ("pixels", "!", "media[0].pixels"),
      ("height", 100_000, "media[0].height"),
    ]
    for (key, value, named) in faults {
      var object = try line()
      var medium = try XCTUnwrap(media[0].objectValue)
      medium[key] = value
      object["media"] = .array([.object(medium)])
      XCTAssertThrowsError(
        try AttentionSample(json: .object(object), definition: run.definition, at: place), key
      ) { error in
        let text = (error as? AttentionRecordError)?.errorDescription ?? ""
        XCTAssertTrue(text.hasPrefix("samples.jsonl:3: \"\(named)\""), text)
      }
    }
  }

  func testABrokenConfigurationIsNamed() throws {
    let folder = FileManager.default.temporaryDirectory.appendingPathComponent("mmprobe-\(UUID().uuidString)")
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    defer { try? FileManager.default.removeItem(at: folder) }
    let file = folder.appendingPathComponent("config.json")
    try Data("{\"schema\": ".utf8).write(to: file)
    XCTAssertThrowsError(try AttentionRunFiles.context(of: folder)) { error in
      let found = error as? AttentionRecordError
      XCTAssertEqual(found?.code, .notJSON)
      XCTAssertEqual(found?.path, file.path)
    }
  }

  func testValuesThatAreNotFiniteStayOutOfTheMeans() throws {
    var bad = run.record(1)
    bad.share[0] = .nan
    bad.nonfiniteCount = 1
    let json = AttentionSample.measured(bad).json(run.definition)
    let read = try AttentionSample(json: json, definition: run.definition, at: place)
    XCTAssertEqual(read.record?.nonfiniteCount, 1)
    let samples = try AttentionSamples([.measured(run.record(0)), read])
    XCTAssertEqual(samples.records.map(\.index), [0])
    let summary = AttentionSummary(run.context, samples)
    XCTAssertEqual(summary.nonfiniteCount, 1)
    XCTAssertEqual(summary.skipped.map(\.index), [1])
    XCTAssertTrue(summary.warnings.contains { $0.code == "nonfinite_values" })
  }

  func testWrongDefinitionsAreRefused() throws {
    let good = try XCTUnwrap(run.definition.json.objectValue)
    let faults: [(String, JSONValue, AttentionRecordError.Code)] = [
      ("queries", "some", .wrongValue), ("groups", ["bos"], .unknownKey), ("layers", [1, 0], .wrongValue),
      ("heads", [], .wrongValue), ("head_reduction", "max", .wrongValue), ("sink_threshold", 1, .wrongValue),
      ("sink_rate", 0.5, .wrongValue),
      ("layer_groups", .null, .wrongValue), ("sinks", 1, .wrongType), ("roles", [:], .missingKey),
    ]
    for (key, value, code) in faults {
      var object = good
      object[key] = value
      XCTAssertThrowsError(try AttentionDefinition(json: .object(object), at: place), key) {
        XCTAssertEqual(($0 as? AttentionRecordError)?.code, code, key)
      }
    }
    for (key, value) in [("level", JSONValue.number(1)), ("replicates", 0), ("method", "none")] {
      var object = good
      var ci = try XCTUnwrap(object["ci"]?.objectValue)
      ci[key] = value
      object["ci"] = .object(ci)
      XCTAssertThrowsError(try AttentionDefinition(json: .object(object), at: place), key)
    }
  }

  func testSamplesAreOrderedAndStandOnce() throws {
    let lines = [5, 2, 9].enumerated().map { number, index in
      (place: RecordPlace(file: "s", line: number + 1), value: run.record(index).json(run.definition))
    }
    XCTAssertEqual(try AttentionSamples(lines: lines, context: run.context).indices, [2, 5, 9])
    XCTAssertThrowsError(try AttentionSamples(lines: lines + [lines[1]], context: run.context)) {
      XCTAssertEqual(
        $0 as? AttentionRecordError, .duplicateIndex(place: lines[1].place, index: 2, first: lines[1].place))
    }
    var context = run.context
    context.data.sampleCount = 9
    XCTAssertThrowsError(try AttentionSamples(lines: lines, context: context)) {
      XCTAssertEqual($0 as? AttentionRecordError, .indexOutOfRange(place: lines[2].place, index: 9, count: 9))
    }
  }
}
