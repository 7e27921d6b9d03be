import Foundation
import RunKit
import TensorCore
import XCTest

@testable import Analysis

/// Numbers in run folders and in imported files that only a damaged or hostile one holds.
final class AttentionLimitTests: XCTestCase {
  private let run = SyntheticAttention()
  private let place = RecordPlace(file: "samples.jsonl", line: 1)

  func testARecordWithoutAnswersReadsBackTheSame() throws {
    var record = run.record(0)
    (record.answer, record.generated, record.sinkShare, record.keys, record.media) = (nil, nil, nil, nil, [])
    let sample = AttentionSample.measured(record)
    let text = sample.json(run.definition).text()
    XCTAssertEqual(
      try AttentionSample(json: JSONValue(parsing: text), definition: run.definition, at: place), sample)
  }

  /// Counts are summed over samples, so none may be so large that a sum does not fit.
  func testCountsThatSumsCannotHoldAreRefused() throws {
    for key in ["nonfinite", "query_count"] {
      var line = try XCTUnwrap(run.record(0).json(run.definition).objectValue)
      line[key] = .integer(.max)
      XCTAssertThrowsError(
        try AttentionRecord(json: .object(line), definition: run.definition, at: place)
      ) {
        XCTAssertEqual(
          $0 as? AttentionRecordError,
          .wrongValue(
            place: place, key: key, found: "\(Int.max)", expected: "0 to \(StrictObject.countLimit)"))
      }
    }
  }

  func testADefinitionOfMoreSharesThanTablesCanHoldIsRefused() throws {
    var definition = run.definition
    definition.layers = Array(0..<1_024)
    definition.heads = Array(0..<170)
    XCTAssertNoThrow(try definition.check(at: place))
    definition.heads = Array(0..<171)
    XCTAssertEqual(definition.shareCount, 1 << 20 + 1 << 10 + 1 << 10)
    XCTAssertThrowsError(try definition.check(at: place)) {
      XCTAssertEqual(($0 as? AttentionRecordError)?.code, .wrongValue)
    }
  }

  /// Only query rows are read: in this file of a gigabyte, which takes no space on a disk, they alone are not zero.
  func testImportReadsOnlyTheRowsOfQueries() throws {
    let width = 1 << 14
    let header: JSONValue = [
      "attention.0": [
        "dtype": "F32", "shape": [1, 1, .integer(width), .integer(width)],
        "data_offsets": [0, .integer(4 * width * width)],
      ],
      "roles": [
        "dtype": "I8", "shape": [1, .integer(width)],
        "data_offsets": [.integer(4 * width * width), .integer(4 * width * width + width)],
      ],
    ]
    let text = [UInt8](header.text().utf8)
    let url = FileManager.default.temporaryDirectory.appendingPathComponent(
      "mmprobe-sparse-\(UUID().uuidString)")
    try Data((0..<8).map { UInt8(truncatingIfNeeded: text.count >> (8 * $0)) } + text).write(to: url)
    defer { try? FileManager.default.removeItem(at: url) }
    let handle = try FileHandle(forWritingTo: url)
    let data = UInt64(8 + text.count)
    try handle.truncate(atOffset: data + UInt64(4 * width * width + width))
    // The last row: half on the first key, half on itself.
    for key in [0, width - 1] {
      try handle.seek(toOffset: data + UInt64(4 * ((width - 1) * width + key)))
      try handle.write(contentsOf: [0, 0, 0, 0x3F])
    }
    try handle.seek(toOffset: data + UInt64(4 * width * width))
    try handle.write(contentsOf: [UInt8](repeating: 7, count: width))
    try handle.close()

    let definition = AttentionDefinition(queries: .last, layers: [0], heads: [0])
    let before = ProcessMemory.current.peakResident
    let samples = try AttentionImport(path: url.path).samples(definition)
    XCTAssertEqual(try XCTUnwrap(samples.records.first).share.reduce(0, +), 1)
    // The rows that are used take 64 kB; the whole layer took 1 GB.
    XCTAssertLessThan(ProcessMemory.current.peakResident - before, 200 << 20)
  }

  /// One sequence of bos, two images and a question; `last` is the last row of attention.
  private func imported(_ last: [Float], names: [String], roles: [Int]) throws -> AttentionImport {
    let url = FileManager.default.temporaryDirectory.appendingPathComponent(
      "mmprobe-import-\(UUID().uuidString)")
    defer { try? FileManager.default.removeItem(at: url) }
    let rows: [Float] = [1, 0, 0, 0, 0.5, 0.5, 0, 0, 0.25, 0.25, 0.5, 0]
    let layers = try names.map { try StoredTensor(name: $0, shape: [1, 1, 4, 4], floats: rows + last) }
    try SafetensorsWriter.write(
      tensors: layers + [StoredTensor(name: "roles", shape: [1, 4], integers: roles)], to: url.path)
    return try AttentionImport(path: url.path)
  }

  func testAMissingLayerDoesNotEndTheListInSilence() throws {
    let last: [Float] = [0.25, 0.25, 0.25, 0.25]
    XCTAssertEqual(
      try imported(last, names: ["attention.0", "attention.1"], roles: [0, 2, 2, 7]).layerCount, 2)
    XCTAssertThrowsError(try imported(last, names: ["attention.0", "attention.2"], roles: [0, 2, 2, 7])) {
      XCTAssertEqual(($0 as? AttentionImportError)?.code, .missingTensor)
    }
  }

  func testAttentionOnPaddingShowsInTheRowSums() throws {
    let file = try imported([0.25, 0.25, 0.25, 0.25], names: ["attention.0"], roles: [-1, 2, 2, 7])
    let samples = try file.samples(AttentionDefinition(queries: .last, layers: [0], heads: [0]))
    XCTAssertEqual(try XCTUnwrap(samples.records.first).rowSumError, 0.25)
  }
}
