import RunKit
import TensorCore
import TestSupport
import TokenModel
import XCTest

@testable import Analysis

final class KnockoutEffectTests: XCTestCase {
  private func definition(
    _ queries: [ContributionDefinition.Blinded], _ keys: [Role], window: Int, byHead: Bool = false
  ) -> ContributionDefinition {
    ContributionDefinition(
      method: .knockout(queries: queries, keys: keys, window: window, byHead: byHead), target: .logit,
      piece: .prediction)
  }

  private func contribution(
    _ checkpoint: Checkpoint, _ sample: Sample, _ definition: ContributionDefinition
  ) throws -> Contribution {
    let probe = AttentionProbe(checkpoint, definition: ContributionOracle.definition(definition))
    return try XCTUnwrap(probe.record(of: sample, keepsKeys: false).contribution)
  }

  private func sample(_ checkpoint: Checkpoint, _ index: Int) throws -> Sample {
    try DataSet(Fixtures.avdigitsData("test.qa.jsonl")).sample(at: index, for: checkpoint.model)
  }

  /// The batch of cuts gives what one forward pass with the intervention by role gives for each.
  func testEveryCutIsAForwardPassWithTheIntervention() throws {
    let checkpoint = try Checkpoint(folder: Fixtures.url("avdigits_model"))
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
    let checkpoint = try Checkpoint(folder: Fixtures.url("avdigits_model"))
    let found = try contribution(
      checkpoint, try sample(checkpoint, 1), definition([.last, .others], [.video, .system], window: 1))
    XCTAssertEqual(found.cells, [Double](repeating: 0, count: found.cells.count))
    XCTAssertEqual(found.share(0), nil)
  }

  /// A last row that sees nothing but itself in any layer does not depend on the prompt.
  func testABlindLastRowForgetsThePrompt() throws {
    let checkpoint = try Checkpoint(folder: Fixtures.url("avdigits_model"))
    var logits: [[Float]] = []
    for index in [0, 5] {
      let prompt = try checkpoint.prompt(for: try sample(checkpoint, index))
      let last = prompt.count - 1
      var options = ForwardOptions()
      options.interventions = [
        FlowKnockout(parts: [
          .init(blinded: [last], hidden: Array(0..<last), layers: 0..<4, head: nil, rows: 0..<last + 1)
        ])
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

  /// Cuts of all heads of a layer one by one, as edits of probabilities, are together a cut of the layer.
  func testCutsOfAllHeadsAreACutOfTheLayer() throws {
    let checkpoint = try Checkpoint(folder: Fixtures.url("avdigits_model"))
    let prompt = try checkpoint.prompt(for: try sample(checkpoint, 0))
    let roles = prompt.spans.roles
    let hidden = roles.indices.filter { roles[$0] == .audio || roles[$0] == .question }
    let blinded = roles.indices.filter { roles[$0] == .question || $0 == prompt.count - 1 }
    func logits(_ parts: [FlowKnockout.Part]) throws -> [Double] {
      var options = ForwardOptions()
      options.interventions = parts.map { FlowKnockout(parts: [$0]) }
      return try XCTUnwrap(
        checkpoint.model.decoder.forward(
          checkpoint.model.embeddings(prompt), context: TokenContext(roles: roles), options: options
        ).logits
      ).doubles
    }
    func part(_ head: Int?) -> FlowKnockout.Part {
      .init(blinded: blinded, hidden: hidden, layers: 1..<2, head: head, rows: 0..<prompt.count)
    }
    let whole = try logits([part(nil)])
    let heads = try logits((0..<4).map(part))
    let clean = try logits([])
    // Probabilities are normalised twice, in float32.
    for (left, right) in zip(heads, whole) { XCTAssertEqual(left, right, accuracy: 1e-4) }
    XCTAssertGreaterThan(zip(whole, clean).map { abs($0 - $1) }.max() ?? 0, 0.05)
  }

  /// The cells of single heads, against one forward pass for each.
  func testCellsOfSingleHeads() throws {
    let checkpoint = try Checkpoint(folder: Fixtures.url("avdigits_model"))
    let sample = try sample(checkpoint, 2)
    let found = try contribution(checkpoint, sample, definition([.last], [.image], window: 4, byHead: true))
    let prompt = try checkpoint.prompt(for: sample)
    let image = prompt.spans.roles.indices.filter { prompt.spans.roles[$0] == .image }
    func logit(_ parts: [FlowKnockout.Part]) throws -> Double {
      var options = ForwardOptions()
      options.interventions = [FlowKnockout(parts: parts)]
      return Double(
        try XCTUnwrap(
          checkpoint.model.decoder.forward(
            checkpoint.model.embeddings(prompt), context: TokenContext(roles: prompt.spans.roles),
            options: options
          ).logits
        ).hostValues()[found.target.id])
    }
    let clean = try logit([])
    XCTAssertEqual(found.cells.count, 2 * (1 + 16))
    for layer in 0..<4 {
      for head in 0..<4 {
        let cut = try logit([
          .init(
            blinded: [prompt.count - 1], hidden: image, layers: layer..<layer + 1, head: head,
            rows: 0..<prompt.count)
        ])
        XCTAssertEqual(
          found.cells[2 * (1 + layer * 4 + head) + 1], cut - clean, accuracy: 5e-5,
          "layer \(layer) head \(head)")
      }
    }
  }

  func testPlacesCoverEveryRunAndHead() {
    func names(_ window: Int, byHead: Bool) -> [String] {
      ContributionDefinition.cutPlaces(window, byHead: byHead, layerCount: 4, headCount: 2).map(\.name)
    }
    XCTAssertEqual(names(4, byHead: false), ["layers 0-3"])
    XCTAssertEqual(names(9, byHead: false), ["layers 0-3"])
    XCTAssertEqual(names(3, byHead: false), ["layers 0-3", "layers 0-2", "layers 1-3"])
    XCTAssertEqual(names(4, byHead: true).suffix(2), ["layer 3 head 0", "layer 3 head 1"])
    XCTAssertEqual(names(4, byHead: true).count, 9)
  }
}
