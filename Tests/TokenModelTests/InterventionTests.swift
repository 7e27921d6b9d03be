import Foundation
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

final class InterventionTests: XCTestCase {
  private func embedded() throws -> (model: any LanguageModel, prompt: Prompt) {
    let checkpoint = try Checkpoint(folder: Fixtures.url("avdigits_model"))
    let data = try DataSet(Fixtures.avdigitsData("test.qa.jsonl"))
    return (
      checkpoint.model, try checkpoint.prompt(for: data.sample(at: 3, for: checkpoint.model))
    )
  }

  private func logits(
    _ model: any LanguageModel, _ prompt: Prompt, _ interventions: [any Intervention], copies: Int = 1
  ) throws -> [[Float]] {
    var options = ForwardOptions()
    options.interventions = interventions
    let rows = model.embeddings(prompt)
    let context = TokenContext(
      segments: RowSegments(lengths: Array(repeating: prompt.count, count: copies)),
      positions: (0..<copies).flatMap { _ in Array(0..<prompt.count) },
      roles: (0..<copies).flatMap { _ in prompt.spans.roles })
    let result = model.decoder.forward(
      Tensor.concatenated(Array(repeating: rows, count: copies)), context: context, options: options)
    return try XCTUnwrap(result.logits).hostRows()
  }

  func testAnEmptyWindowOrSetOfKeysChangesNothing() throws {
    let (model, prompt) = try embedded()
    let plain = try logits(model, prompt, [])
    for knockout in [
      KnockoutIntervention(queryRoles: [.question], keyRoles: [.image], layers: 0..<0),
      KnockoutIntervention(queryRoles: [.question], keyRoles: [], layers: 0..<4),
      KnockoutIntervention(queryRoles: [], keyRoles: [.image], layers: 0..<4),
    ] {
      XCTAssertEqual(try logits(model, prompt, [knockout]), plain)
    }
  }

  /// With the image hidden from everything but itself, the answer is the same whatever the image shows.
  func testAHiddenImageCannotBeSeen() throws {
    let (model, prompt) = try embedded()
    let others = Set(Role.allCases).subtracting([.image])
    let knockout = KnockoutIntervention(queryRoles: others, keyRoles: [.image], layers: 0..<4)
    let images = prompt.spans.roles.indices.filter { prompt.spans.roles[$0] == .image }
    let blank = BlankRows(rows: images, replacement: Tensor(zeros: [images.count, 128]))
    XCTAssertEqual(try logits(model, prompt, [knockout]), try logits(model, prompt, [knockout, blank]))
    XCTAssertNotEqual(try logits(model, prompt, []), try logits(model, prompt, [blank]))
  }

  func testRedistributionKeepsTheSumOfARow() {
    let roles: [Role] = [.bos, .image, .image, .image, .question]
    let redistribution = RedistributeAttention(
      sinks: [0, 1], role: .image, layers: 0..<1, kept: 0.4, minimumShare: 0.2, minimumNonSinkShare: 0.5)
    var row: [Float] = [0.3, 0.1, 0.2, 0.3, 0.1]
    redistribution.redistribute(&row, roles: roles)
    XCTAssertEqual(row.reduce(0, +), 1, accuracy: 1e-6)
    XCTAssertEqual(row[0], 0.12, accuracy: 1e-6)
    XCTAssertEqual(row[1], 0.04, accuracy: 1e-6)
    // The budget 0.24 is shared as 0.2 to 0.3.
    XCTAssertEqual(row[2], 0.2 + 0.24 * 0.4, accuracy: 1e-6)
    XCTAssertEqual(row[3], 0.3 + 0.24 * 0.6, accuracy: 1e-6)
    XCTAssertEqual(row[4], 0.1)
    // A head that hardly looks at the image takes no part.
    var other: [Float] = [0.8, 0.05, 0.05, 0, 0.1]
    redistribution.redistribute(&other, roles: roles)
    XCTAssertEqual(other, [0.8, 0.05, 0.05, 0, 0.1])
  }

  /// A redistribution that keeps everything is no change, up to the rounding of the other attention path.
  func testKeepingAllAttentionChangesNothing() throws {
    let (model, prompt) = try embedded()
    let identity = RedistributeAttention(sinks: [0], role: .image, layers: 0..<4, kept: 1)
    for (found, expected) in zip(try logits(model, prompt, [identity])[0], try logits(model, prompt, [])[0]) {
      XCTAssertEqual(found, expected, accuracy: 5e-4)
    }
  }

  /// Equal branches merge to themselves; weights of 1 and 0 make one branch carry both.
  func testMergedBranchesFollowTheirWeights() throws {
    let (model, prompt) = try embedded()
    let plain = try logits(model, prompt, [])[0]
    let half = Dictionary(uniqueKeysWithValues: Role.allCases.map { ($0, Float(0.5)) })
    let merged = try logits(model, prompt, [MergeBranches(layer: 2, weights: [half, half])], copies: 2)
    XCTAssertEqual(merged[0], merged[1])
    // x / 2 + x / 2 is exact.
    XCTAssertEqual(merged[0], plain)

    let one = Dictionary(uniqueKeysWithValues: Role.allCases.map { ($0, Float(1)) })
    let zero = Dictionary(uniqueKeysWithValues: Role.allCases.map { ($0, Float(0)) })
    let images = prompt.spans.roles.indices.filter { prompt.spans.roles[$0] == .image }
    let blankSecond = BlankRows(
      rows: images.map { $0 + prompt.count }, replacement: Tensor(zeros: [images.count, 128]))
    let followed = try logits(
      model, prompt, [blankSecond, MergeBranches(layer: 4 - 1, weights: [one, zero])], copies: 2)
    XCTAssertEqual(followed[0], plain)
    XCTAssertEqual(followed[1], plain)
  }
}
