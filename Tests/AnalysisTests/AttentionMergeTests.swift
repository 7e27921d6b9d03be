import RunKit
import XCTest

@testable import Analysis

final class AttentionMergeTests: XCTestCase {
  private let run = SyntheticAttention(sampleCount: 25, highlightCount: 3)

  private func part(_ index: Int, of count: Int) -> AttentionMerge.Part {
    var context = run.context
    context.shard = .init(index: index, count: count)
    let own = (0..<run.sampleCount).filter { context.shard?.contains($0) == true }
    let lines = own.enumerated().map { number, sample in
      (
        place: RecordPlace(file: "run\(index)", line: number + 1),
        value: run.record(sample).json(run.definition)
      )
    }
    XCTAssertEqual(lines.count, context.expectedCount)
    return .init(path: "run\(index)", context: context, lines: lines)
  }

  func testMergedShardsGiveTheBytesOfTheWholeRun() throws {
    let samples = try AttentionSamples(run.samples)
    let whole = AttentionSummary(run.context, samples)
    for order in [[0, 1, 2], [2, 0, 1]] {
      let merge = try AttentionMerge(order.map { part($0, of: 3) })
      let merged = AttentionSummary(merge.context, merge.samples)
      XCTAssertEqual(merged.json.text(.indented), whole.json.text(.indented))
      XCTAssertEqual(AttentionTables(merged, merge.samples).files, AttentionTables(whole, samples).files)
      XCTAssertEqual(AttentionReport(merged, merge.samples).html, AttentionReport(whole, samples).html)
      XCTAssertEqual(merge.lines, samples.samples.map { $0.json(run.definition) })
      XCTAssertEqual(
        AttentionMoments(merge.samples.records, run.definition),
        AttentionMoments(samples.records, run.definition))
    }
  }

  /// Moments joined by Chan's formula, without the samples. Tolerance: the specification asks for 1e-12.
  func testMergedMomentsAgree() throws {
    let records = run.samples.compactMap(\.record)
    let whole = AttentionMoments(records, run.definition)
    var merged = AttentionMoments(records.prefix(9), run.definition)
    merged.merge(AttentionMoments(records.dropFirst(9), run.definition))
    for (left, right) in zip(merged.share.mean, whole.share.mean) {
      XCTAssertEqual(left, right, accuracy: 1e-12)
    }
    for (left, right) in zip(merged.share.sumOfSquares, whole.share.sumOfSquares) {
      XCTAssertEqual(left, right, accuracy: 1e-12)
    }
    XCTAssertEqual(merged.share.minimum, whole.share.minimum)
    let arrays = try whole.arrays()
    XCTAssertEqual(arrays.map(\.name).first, "count")
    XCTAssertEqual(arrays.first { $0.name == "share.mean" }?.shape, [4, 4, 6])
    XCTAssertEqual(arrays.count, 9)
  }

  func testWhatDiffersIsNamed() throws {
    func refused(_ parts: [AttentionMerge.Part], _ expected: AttentionMergeError) {
      XCTAssertThrowsError(try AttentionMerge(parts)) { XCTAssertEqual($0 as? AttentionMergeError, expected) }
    }
    refused([], .nothingToMerge)
    refused(
      [part(0, of: 3), part(2, of: 3)],
      .missingSamples(count: 8, first: [1, 4, 7, 10, 13, 16, 19, 22], total: 25))

    var other = part(1, of: 2)
    other.context.definition.interval.level = 0.9
    refused(
      [part(0, of: 2), other],
      .settingsDiffer(path: "run1", key: "definition.ci.level", found: "0.9", first: "run0", expected: "0.95")
    )
    other = part(1, of: 2)
    other.context.model.files[0].sha256 = "ff"
    XCTAssertThrowsError(try AttentionMerge([part(0, of: 2), other])) {
      guard case .settingsDiffer(_, let key, _, _, _)? = $0 as? AttentionMergeError else {
        return XCTFail("\($0)")
      }
      XCTAssertEqual(key, "model.files[0].sha256")
    }
    other = part(1, of: 2)
    other.lines.append((RecordPlace(file: "run1", line: 99), run.record(0).json(run.definition)))
    XCTAssertThrowsError(try AttentionMerge([part(0, of: 2), other])) {
      XCTAssertEqual(($0 as? AttentionRecordError)?.code, .duplicateIndex)
    }
    var half = part(0, of: 2)
    let stray = half.lines.removeFirst()
    other = part(1, of: 2)
    other.lines.append(stray)
    refused([half, other], .foreignSample(path: "run1", index: 0, shard: "2/2"))
  }
}
