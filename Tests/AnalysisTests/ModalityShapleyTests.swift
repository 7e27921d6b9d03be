import Foundation
import RunKit
import TensorCore
import TestSupport
import TokenModel
import XCTest

@testable import Analysis

final class ModalityShapleyTests: XCTestCase {
  private let players: [Role] = [.image, .audio, .question]

  private func definition(
    _ removal: ContributionDefinition.Removal, _ target: ContributionDefinition.Target = .logit
  ) -> ContributionDefinition {
    ContributionDefinition(method: .shapley(players: players, removal: removal), target: target)
  }

  /// Values of all coalitions and Shapley values of six prompts, against transformers.
  func testBlankingReproducesTheReferenceElementwise() throws {
    let oracle = try OracleCase("avdigits_model")
    let checkpoint = try Checkpoint(folder: Fixtures.url("avdigits_model"))
    let tolerance = try XCTUnwrap(oracle.description["suggested_tolerance_abs"]?["shapley"]?.doubleValue)
    let probe = AttentionProbe(checkpoint, definition: ContributionOracle.definition(definition(.blank)))
    let groups = ContributionOracle.definition(definition(.blank))
    for sample in try ContributionOracle.samples(oracle) {
      let found = try XCTUnwrap(probe.record(of: sample, keepsKeys: false).contribution)
      let effect = try XCTUnwrap(found.effect)
      let shapley = players.map { Float(effect[groups.group(of: $0)!]) }
      for form in ["", "_f64"] {
        try oracle.compare(
          found.cells.map { Float($0) }, with: "\(sample.id).shapley.values\(form)", absolute: tolerance)
        try oracle.compare(shapley, with: "\(sample.id).shapley.phi\(form)", absolute: tolerance)
      }
      XCTAssertLessThanOrEqual(abs(try XCTUnwrap(found.residual)), 1e-6, sample.id)
      XCTAssertTrue(found.target.isPrediction, sample.id)
    }
    oracle.finish { !$0.contains("shapley") }
  }

  /// φ as the mean over all orders of what a player adds when it comes: the definition, for up to five players.
  func testValuesAreMeansOverAllOrders() {
    for count in 1...5 {
      let values = randomTensor([1 << count], seed: UInt64(count)).doubles
      var expected = [Double](repeating: 0, count: count)
      let orders = Self.permutations(Array(0..<count))
      for order in orders {
        var present = 0
        for player in order {
          expected[player] += (values[present | 1 << player] - values[present]) / Double(orders.count)
          present |= 1 << player
        }
      }
      let found = ModalityShapley.values(values, playerCount: count)
      for (left, right) in zip(found, expected) { XCTAssertEqual(left, right, accuracy: 1e-12) }
      XCTAssertEqual(found.reduce(0, +), values[values.count - 1] - values[0], accuracy: 1e-12)
    }
  }

  private static func permutations(_ elements: [Int]) -> [[Int]] {
    guard let last = elements.last else { return [[]] }
    return permutations(elements.dropLast()).flatMap { rest in
      (0...rest.count).map { place in
        var order = rest
        order.insert(last, at: place)
        return order
      }
    }
  }

  /// One pass over branches gives what forward passes over each coalition by itself give.
  func testOnePassIsAllForwardPasses() throws {
    let oracle = try OracleCase("avdigits_model")
    let checkpoint = try Checkpoint(folder: Fixtures.url("avdigits_model"))
    for sample in try ContributionOracle.samples(oracle) {
      let item = try ContributionOracle.item(checkpoint, sample, definition(.deletion))
      let present = players.filter { !item.rows(of: $0).isEmpty }
      let pass = try CoalitionPass(item, present, absent: [:], sample: sample.id)
      for (coalition, found) in pass.logits(item).enumerated() {
        let rows = item.roles.indices.filter { row in
          present.firstIndex(of: item.roles[row]).map { coalition >> $0 & 1 == 1 } ?? true
        }
        let alone = checkpoint.model.decoder.forward(
          item.embeddings.gatherRows(rows), context: TokenContext(roles: rows.map { item.roles[$0] }),
          options: ForwardOptions())
        // Both sum in float32, with other rows beside.
        assertClose(
          Tensor(found, shape: [1, found.count]), try XCTUnwrap(alone.logits).doubles,
          shape: [1, found.count],
          absolute: 2e-5, "\(sample.id) coalition \(coalition)")
      }
    }
  }

  /// The cost by deletion in rows of forward passes: at most 2.2 for two modalities, 4.5 for three.
  func testRowsOfAllCoalitions() throws {
    let oracle = try OracleCase("avdigits_model")
    let checkpoint = try Checkpoint(folder: Fixtures.url("avdigits_model"))
    var costs: [Int: [Double]] = [:]
    for sample in try ContributionOracle.samples(oracle) {
      let item = try ContributionOracle.item(checkpoint, sample, definition(.deletion))
      let present = players.filter { !item.rows(of: $0).isEmpty }
      let pass = try CoalitionPass(item, present, absent: [:], sample: sample.id)
      costs[present.count, default: []].append(Double(pass.rowCount) / Double(item.prompt.count))
    }
    XCTAssertEqual(costs[2]?.count, 3)
    XCTAssertEqual(costs[3]?.count, 2)
    for (count, limit) in [(2, 2.2), (3, 4.5)] {
      for cost in costs[count] ?? [] { XCTAssertLessThanOrEqual(cost, limit, "\(count) modalities") }
    }
    print("Shapley by deletion, rows of forward passes:", costs.sorted { $0.key < $1.key })
  }

  /// Where no row is left before the first modality, and with the question as the last row.
  func testATextModelLosesItsQuestion() throws {
    let checkpoint = try Checkpoint(folder: Fixtures.url("llama"))
    let sample = Sample(id: "text", media: [], question: "hello world")
    var contribution = definition(.deletion)
    contribution.method = .shapley(players: [.question], removal: .deletion)
    contribution.piece = .prediction
    let probe = AttentionProbe(
      checkpoint,
      definition: AttentionDefinition(
        queries: .last, layers: Array(0..<checkpoint.model.decoder.configuration.layerCount), heads: [0],
        contribution: contribution))
    let found = try XCTUnwrap(probe.record(of: sample, keepsKeys: false).contribution)
    let begin = try checkpoint.prompt(for: sample).spans.roles.count { $0 == .bos }
    XCTAssertEqual(begin, 1)
    // v(∅) is what the model predicts after bos alone.
    let item = try ContributionOracle.item(checkpoint, sample, contribution)
    let alone = checkpoint.model.decoder.forward(
      item.embeddings.slice(0..<1), context: TokenContext(roles: [.bos]), options: ForwardOptions())
    XCTAssertEqual(
      found.cells[0], Double(try XCTUnwrap(alone.logits).hostValues()[found.target.id]), accuracy: 2e-5)
    XCTAssertEqual(
      found.share(try XCTUnwrap(AttentionDefinition.defaultGroups.firstIndex { $0.name == "question" })), 1)
  }

  /// A replaced modality is another sample's: the same for any shard, never the sample's own.
  func testReplacementTakesAnotherSample() throws {
    let checkpoint = try Checkpoint(folder: Fixtures.url("avdigits_model"))
    let data = try DataSet(Fixtures.avdigitsData("test.qa.jsonl"))
    let whole = ContributionOracle.definition(definition(.replacement, .margin))
    let donors = AttentionProbe.Donors(count: 20) { try data.sample(at: $0, for: checkpoint.model) }
    let probe = AttentionProbe(checkpoint, definition: whole, donors: donors)
    let sample = try data.sample(at: 3, for: checkpoint.model)
    let first = try XCTUnwrap(probe.record(of: sample, keepsKeys: false).contribution)
    _ = try probe.record(of: data.sample(at: 4, for: checkpoint.model), keepsKeys: false)
    XCTAssertEqual(try probe.record(of: sample, keepsKeys: false).contribution, first)
    XCTAssertEqual(Set(first.cells).count, 8, "every coalition differs")
    let alone = AttentionProbe(
      checkpoint, definition: whole,
      donors: .init(count: 1) { try data.sample(at: $0, for: checkpoint.model) })
    XCTAssertThrowsError(try alone.record(of: sample, keepsKeys: false)) {
      XCTAssertEqual($0 as? ProbeError, .noDonor(sample: sample.id, role: "image"))
    }
  }

  /// Blanks with the mean row of the table, against a table summed naively.
  func testTheMeanRowIsTheMeanOfTheTable() throws {
    let model = try Checkpoint(folder: Fixtures.url("avdigits_model")).model
    let count = model.decoder.configuration.vocabularySize
    let rows = model.textEmbeddings(Array(0..<count)).hostRows()
    let expected = rows[0].indices.map { column in rows.reduce(0) { $0 + Double($1[column]) } / Double(count)
    }
    assertClose(BlankEmbeddings(model).meanRow(), expected, shape: [1, expected.count], absolute: 1e-6)
  }
}
