import Foundation
import RunKit
import TestSupport
import XCTest

@testable import Analysis

final class AttentionResultTests: XCTestCase {
  static func schema(_ name: String = "result") throws -> JSONSchema {
    let url = URL(fileURLWithPath: #filePath).deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent().appendingPathComponent(
        "Documentation/schema/mmprobe.\(name).v1.schema.json")
    return try JSONSchema(JSONValue(parsing: Data(contentsOf: url)))
  }

  func testResultsFollowTheSchema() throws {
    let schema = try Self.schema()
    var runs = [SyntheticAttention()]
    runs.append(SyntheticAttention(layerCount: 1, headCount: 1, sampleCount: 1, sinks: .included))
    runs.append(SyntheticAttention(sampleCount: 0))
    runs.append(
      SyntheticAttention(interval: .init(method: .t, clusterKey: "image"), variesAudioTokens: true))
    for run in runs {
      let result = AttentionSummary(run.context, try AttentionSamples(run.samples)).json
      XCTAssertEqual(try schema.violations(in: result), [], "\(run.sampleCount) samples")
      // What is written reads back the same, so no value was lost as null or rounded.
      XCTAssertEqual(try JSONValue(parsing: result.text(.indented)), result)
      if let path = ProcessInfo.processInfo.environment["MMPROBE_TEST_OUTPUT"] {
        try Data(result.text(.indented).utf8).write(
          to: URL(fileURLWithPath: "\(path).\(run.sampleCount).json"))
      }
    }
  }

  func testSchemaRefusesWhatItDoesNotKnow() throws {
    XCTAssertThrowsError(try JSONSchema(["type": "object", "minProperties": 1])) {
      XCTAssertEqual($0 as? JSONSchema.SchemaError, .unknownKeyword("minProperties", at: "#"))
    }
    XCTAssertThrowsError(try JSONSchema(["$ref": "#/$defs/none"])) {
      XCTAssertEqual($0 as? JSONSchema.SchemaError, .missingDefinition("#/$defs/none"))
    }
    let schema = try JSONSchema([
      "type": "object", "properties": ["a": ["type": "integer", "minimum": 1], "b": ["enum": ["x"]]],
      "required": ["a"], "additionalProperties": false,
    ])
    XCTAssertEqual(try schema.violations(in: ["a": 1, "b": "x"]), [])
    XCTAssertEqual(try schema.violations(in: ["a": 0]).count, 1)
    XCTAssertEqual(try schema.violations(in: ["a": "1"]).count, 1)
    XCTAssertEqual(try schema.violations(in: ["b": "y", "c": 1]).count, 3)
  }

  func testChangedResultsAreRefused() throws {
    let schema = try Self.schema()
    let run = SyntheticAttention(sampleCount: 3)
    let result = AttentionSummary(run.context, try AttentionSamples(run.samples)).json
    let object = try XCTUnwrap(result.objectValue)
    for key in object.keys {
      var changed = object
      changed[key] = nil
      XCTAssertEqual(try schema.violations(in: .object(changed)), ["/\(key): missing"])
      changed[key] = "other"
      XCTAssertFalse(try schema.violations(in: .object(changed)).isEmpty, key)
    }
  }
}
