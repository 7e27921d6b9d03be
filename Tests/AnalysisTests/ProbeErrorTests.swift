import RunKit
import TensorCore
import TestSupport
import TokenModel
import XCTest

@testable import Analysis

/// Samples and models that cannot be explained, and what is said of them.
final class ProbeErrorTests: XCTestCase {
  private func probe(
    _ checkpoint: Checkpoint, _ method: ContributionDefinition.Method, _ piece: ContributionDefinition.Piece
  ) -> AttentionProbe {
    AttentionProbe(
      checkpoint,
      definition: AttentionDefinition(
        queries: .last, layers: Array(0..<checkpoint.model.decoder.configuration.layerCount),
        heads: Array(0..<checkpoint.model.decoder.configuration.headCount),
        contribution: ContributionDefinition(method: method, piece: piece)))
  }

  private func assertThrows(_ error: ProbeError, _ body: () throws -> Void) {
    XCTAssertThrowsError(try body()) { XCTAssertEqual($0 as? ProbeError, error) }
    XCTAssertFalse((error.errorDescription ?? "").isEmpty)
    XCTAssertFalse((error.recoverySuggestion ?? "").isEmpty)
  }

  func testASampleWithoutAnswerHasNoPiece() throws {
    let checkpoint = try Checkpoint(folder: Fixtures.url("llama"))
    let sample = Sample(id: "s", media: [], question: "hello world")
    assertThrows(.noPiece(sample: "s")) {
      _ = try probe(checkpoint, .valueNorm, .answer).record(of: sample, keepsKeys: false)
    }
    XCTAssertNotNil(
      try probe(checkpoint, .valueNorm, .prediction).record(of: sample, keepsKeys: false).contribution)
  }

  /// A prompt that is all question, as of a model without an id that begins a sequence, leaves nothing to predict from.
  func testDeletionMustLeaveARow() throws {
    let checkpoint = try Checkpoint(folder: Fixtures.url("llama"))
    let prompt = try checkpoint.prompt(for: Sample(id: "s", media: [], question: "hello world"))
    var spans = SpanMap()
    for position in 1..<prompt.count { spans.appendText(role: .question, source: position) }
    let bare = Prompt(
      ids: prompt.ids, pieces: prompt.pieces, media: [], spans: spans, promptCount: prompt.count - 1)
    let contribution = ContributionDefinition(method: .shapley(players: [.question], removal: .deletion))
    let item = ContributionCase(
      model: checkpoint.model, tokenizer: try checkpoint.requiredTokenizer(),
      definition: ContributionOracle.definition(contribution), contribution: contribution, prompt: bare,
      embeddings: checkpoint.model.embeddings(bare), answerID: nil)
    assertThrows(.nothingLeft(sample: "s")) {
      _ = try CoalitionPass(item, [.question], absent: [:], sample: "s")
    }
  }

  func testBlankingNeedsAnIDOfPadding() throws {
    let checkpoint = try Checkpoint(folder: Fixtures.url("llama"))
    let sample = Sample(id: "s", media: [], question: "hello world")
    let method = ContributionDefinition.Method.shapley(players: [.question], removal: .blank)
    XCTAssertNil(checkpoint.model.decoder.configuration.paddingID)
    assertThrows(.noPadding(sample: "s")) {
      _ = try probe(checkpoint, method, .prediction).record(of: sample, keepsKeys: false)
    }
  }

  func testNumbersThatAreNotFiniteAreRefused() {
    var contribution = Contribution(
      target: .init(id: 0, piece: "a", value: 1, probability: 0.5, isPrediction: true), effect: [1],
      magnitude: [1], cells: [2])
    XCTAssertTrue(contribution.isFinite)
    contribution.cells = [.nan]
    XCTAssertFalse(contribution.isFinite)
    contribution.cells = [1e200]
    XCTAssertFalse(contribution.isFinite)
    contribution.cells = [1]
    contribution.tokens = [.infinity]
    XCTAssertFalse(contribution.isFinite)
  }
}
