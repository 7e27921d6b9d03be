import RunKit
import TensorCore
import TestSupport
import TokenModel
import XCTest

@testable import Analysis

final class KnockoutEffectTests: XCTestCase {
  private func definition(
    _ queries: [ContributionDefinition.Blinded], _ keys: [Role], window: Int
  ) -> ContributionDefinition {
    ContributionDefinition(
      method: .knockout(queries: queries, keys: keys, window: window), target: .logit, piece: .prediction)
  }

  private func contribution(
    _ checkpoint: Checkpoint, _ sample: Sample, _ definition: ContributionDefinition
  ) throws -> Contribution {
    let probe = AttentionProbe(checkpoint, definition: ContributionOracle.definition(definition))
    return try XCTUnwrap(probe.record(of: sample, keepsKeys: false).contribution)
  }

  private func sample(_ checkpoint: Checkpoint, _ index: Int) throws -> Sample {
    try DataSet(Fixtures.embedded("data/test.qa.jsonl")).sample(at: index, for: checkpoint.model)
  }

  /// The batch of cuts gives what one forward pass with the intervention by role gives for each.
  func testEveryCutIsAForwardPassWithTheIntervention() throws {
    let checkpoint = try Checkpoint(folder: Fixtures.embedded())
    let sample = try sample(checkpoint, 0)
    let (queries, keys): ([Role], [Role]) = ([.question, .instruction], [.image, .audio, .question])
    let found = try contribution(
      checkpoint, sample, definition(queries.map { .role($0) }, keys, window: 2))
    let prompt = try checkpoint.prompt(for: sample)
    let embeddings = checkpoint.model.embeddings(prompt)
    func logits(_ interventions: [any Intervention]) throws -> [Double] {
      var options = ForwardOptions()
      options.interventions = interventions
      return try XCTUnwrap(
        checkpoint.model.decoder.forward(
          embeddings, context: TokenContext(roles: prompt.spans.roles), options: options
        ).logits
      ).doubles
    }
    func probability(_ logits: [Double]) -> Double {
      let most = logits.max() ?? 0
      let total = logits.reduce(0) { $0 + exp($1 - most) }
      return exp(logits[found.target.id] - most) / total
    }
    let clean = try logits([])
    var cell = 0
    for key in keys {
      for query in queries {
        for layers in [0..<4, 0..<2, 1..<3, 2..<4] {
          let cut = try logits([KnockoutIntervention(queryRoles: [query], keyRoles: [key], layers: layers)])
          let label = "\(key) from \(query) in \(layers)"
          XCTAssertEqual(
            found.cells[cell], probability(cut) / probability(clean) - 1, accuracy: 1e-4, label)
          XCTAssertEqual(
            found.cells[cell + 1], cut[found.target.id] - clean[found.target.id], accuracy: 5e-5, label)
          cell += 2
        }
      }
    }
    XCTAssertEqual(cell, found.cells.count)
    XCTAssertGreaterThan(found.cells.map(abs).max() ?? 0, 0.1)
  }

  func testNothingHiddenChangesNothing() throws {
    let checkpoint = try Checkpoint(folder: Fixtures.embedded())
    let found = try contribution(
      checkpoint, try sample(checkpoint, 1), definition([.last, .others], [.video, .system], window: 1))
    XCTAssertEqual(found.cells, [Double](repeating: 0, count: found.cells.count))
    XCTAssertEqual(found.share(0), nil)
  }

  /// A last row that sees nothing but itself in any layer does not depend on the prompt.
  func testABlindLastRowForgetsThePrompt() throws {
    let checkpoint = try Checkpoint(folder: Fixtures.embedded())
    var logits: [[Float]] = []
    for index in [0, 5] {
      let prompt = try checkpoint.prompt(for: try sample(checkpoint, index))
      let last = prompt.count - 1
      var options = ForwardOptions()
      options.interventions = [
        FlowKnockout(parts: [.init(blinded: [last], hidden: Array(0..<last), layers: 0..<4)])
      ]
      // The same position, so that only what it sees could differ.
      var positions = Array(0..<prompt.count)
      positions[last] = 100
      logits.append(
        try XCTUnwrap(
          checkpoint.model.decoder.forward(
            checkpoint.model.embeddings(prompt),
            context: TokenContext(
              segments: .single(prompt.count), positions: positions, roles: prompt.spans.roles),
            options: options
          ).logits
        ).hostValues())
    }
    for (left, right) in zip(logits[0], logits[1]) { XCTAssertEqual(left, right, accuracy: 1e-5) }
  }

  func testWindowsCoverEveryRun() {
    XCTAssertEqual(ContributionDefinition.windows(4, layerCount: 4), [0..<4])
    XCTAssertEqual(ContributionDefinition.windows(9, layerCount: 4), [0..<4])
    XCTAssertEqual(ContributionDefinition.windows(3, layerCount: 4), [0..<4, 0..<3, 1..<4])
  }
}
