import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// RollingQ on layers of the embedded decoder.
final class DecoderRollingQueryTests: XCTestCase {
  private func checkpoint() throws -> Checkpoint { try Checkpoint(folder: Fixtures.url("avdigits_model")) }

  private func prompts(_ checkpoint: Checkpoint, _ indices: [Int]) throws -> [Prompt] {
    let data = try DataSet(Fixtures.avdigitsData("test.qa.jsonl"))
    return try indices.map {
      try checkpoint.prompt(for: data.sample(at: $0, for: checkpoint.model), includesAnswer: true)
    }
  }

  private func rolling(
    _ checkpoint: Checkpoint, layers: [Int] = [1, 2], modalities: [Modality] = [.image, .audio],
    _ change: (inout RollingQueryOptions) -> Void = { _ in }
  ) throws -> DecoderRollingQuery {
    var options = RollingQueryOptions()
    change(&options)
    return try DecoderRollingQuery(
      checkpoint.model.decoder.configuration, layers: layers, modalities: modalities, options: options)
  }

  private func logits(
    _ checkpoint: Checkpoint, _ prompts: [Prompt], observers: [any ForwardObserver] = [],
    interventions: [any Intervention] = [], embeddings: Tensor? = nil, checkpointing: Tape? = nil
  ) throws -> Tensor {
    var options = ForwardOptions()
    (options.observers, options.interventions, options.logits) = (observers, interventions, .all)
    options.checkpointing = checkpointing
    let rows = embeddings ?? Tensor.concatenated(prompts.map { checkpoint.model.embeddings($0) })
    return try XCTUnwrap(
      checkpoint.model.decoder.forward(rows, context: TokenContext(prompts), options: options).logits)
  }

  func testItMeasuresForAnEpochAndRotatesFromTheBottomUp() throws {
    let checkpoint = try checkpoint()
    let prompts = try prompts(checkpoint, [3, 4, 5, 8])
    let query = try rolling(checkpoint)
    let plain = try logits(checkpoint, prompts)
    let watched = try logits(
      checkpoint, prompts, observers: [query], interventions: [query.intervention])
    // Measuring changes nothing, nor does a rotation that has not happened.
    assertSameBits(watched, plain)
    let heads = checkpoint.model.decoder.configuration.headCount
    let first = query.endEpoch(0)
    XCTAssertEqual(first.map(\.layer), [Int](repeating: 1, count: heads) + [Int](repeating: 2, count: heads))
    XCTAssertEqual(
      first.map(\.outcome),
      [RollingQueryEvent.Outcome](repeating: .rotated, count: heads)
        + [RollingQueryEvent.Outcome](repeating: .waiting, count: heads))
    let turned = try logits(
      checkpoint, prompts, observers: [query], interventions: [query.intervention])
    XCTAssertNotEqual(turned, plain)
    let second = query.endEpoch(1)
    XCTAssertEqual(
      second.suffix(heads).map(\.outcome),
      [RollingQueryEvent.Outcome](repeating: .rotated, count: heads))
    // Every text row behind the media of every prompt.
    let rows = prompts.map { prompt -> Int in
      let last = prompt.spans.roles.lastIndex { $0 == .image || $0 == .audio } ?? 0
      return prompt.spans.roles[last...].count { $0.isText }
    }
    XCTAssertEqual(first[0].sampleCount, rows.reduce(0, +))
  }

  /// Rows that do not see both media keep their bits, and so do rows that are no text.
  func testRowsThatDoNotSeeEveryModalityStayAsTheyAre() throws {
    let checkpoint = try checkpoint()
    let prompts = try prompts(checkpoint, [3])
    let query = try rolling(checkpoint, layers: [0])
    final class Reader: ForwardObserver {
      var queries: [Tensor] = []
      func wants(_ name: TensorName) -> Bool { name == TensorName(.unplacedQuery, layer: 0) }
      func observe(_ tensor: Tensor, _ name: TensorName, context: TokenContext) { queries.append(tensor) }
    }
    let reader = Reader()
    _ = try logits(checkpoint, prompts, observers: [query, reader], interventions: [query.intervention])
    let event = query.endEpoch(0)[0]
    _ = try logits(checkpoint, prompts, observers: [query, reader], interventions: [query.intervention])
    let roles = prompts[0].spans.roles
    let last = try XCTUnwrap(roles.lastIndex { $0 == .image || $0 == .audio })
    let (before, after) = (reader.queries[0], reader.queries[1])
    assertSameBits(after.slice(0..<last + 1), before.slice(0..<last + 1))
    for row in last + 1..<roles.count {
      XCTAssertEqual(
        after.slice(row..<row + 1) == before.slice(row..<row + 1), !roles[row].isText, "row \(row)")
    }
    let measured = try XCTUnwrap(query.rolling[0])
    XCTAssertEqual(measured.balance.count(.epoch), event.sampleCount)
    // The rotated mean is as near to both mean keys as the weights say: nearer to the one that was not favoured.
    let cosines = (0..<2).map {
      AttentionBalance.cosine(
        measured.balance.meanQuery(head: 0), measured.balance.meanKey(head: 0, modality: $0))
    }
    XCTAssertEqual(cosines[1] > cosines[0], event.imbalance > 0)
  }

  /// Answers with a cache are those without: rows of both phases are rotated alike.
  func testGenerationWithACacheIsRotatedAlike() throws {
    let checkpoint = try checkpoint()
    let data = try DataSet(Fixtures.avdigitsData("test.qa.jsonl"))
    let query = try rolling(checkpoint, layers: [0, 3]) { ($0.sharpness, $0.rotation) = (4, .svd) }
    let full = try prompts(checkpoint, [3, 4, 5])
    _ = try logits(checkpoint, full, observers: [query])
    XCTAssertTrue(query.endEpoch(0).contains { $0.outcome == .rotated })
    let starts = try [3, 4, 5].map {
      try checkpoint.prompt(for: data.sample(at: $0, for: checkpoint.model))
    }
    var generator = Generator(checkpoint.model)
    generator.interventions = [query.intervention]
    (generator.limit, generator.endIDs) = (4, [])
    var steps: [[Float]] = []
    generator.onLogits = { running, logits in
      if let place = running.firstIndex(of: 1) { steps.append(logits.hostRows()[place]) }
    }
    let answers = try generator.answers(to: Generator.Start(starts, model: checkpoint.model))
    let whole = try checkpoint.appending(ids: answers[1].ids, to: starts[1])
    let rows = try logits(checkpoint, [whole], interventions: [query.intervention]).hostRows()
    for step in 0..<4 {
      for (found, expected) in zip(steps[step], rows[starts[1].count - 1 + step]) {
        XCTAssertEqual(found, expected, accuracy: 1e-4)
      }
    }
  }

  /// The gradient of the embeddings through a rotated layer, by differences, and the same bits with checkpointing.
  func testGradientsGoThroughTheRotation() throws {
    let checkpoint = try checkpoint()
    let prompts = try prompts(checkpoint, [3])
    let query = try rolling(checkpoint, layers: [1]) { $0.sharpness = 3 }
    _ = try logits(checkpoint, prompts, observers: [query])
    XCTAssertTrue(query.endEpoch(0).contains { $0.outcome == .rotated })
    let rows = checkpoint.model.embeddings(prompts[0])
    let count = rows.rows
    var labels = [Int](repeating: -1, count: count)
    labels[prompts[0].promptCount - 1] = prompts[0].ids[prompts[0].ids.count - 2]
    func loss(_ embeddings: Tensor, _ tape: Tape?) throws -> Tensor {
      try logits(
        checkpoint, prompts, interventions: [query.intervention], embeddings: embeddings, checkpointing: tape
      ).crossEntropy(labels: labels).total()
    }
    func gradient(checkpointed: Bool) throws -> Tensor {
      let tape = Tape()
      let leaf = tape.leaf(rows)
      let value = try loss(leaf, checkpointed ? tape : nil)
      return try XCTUnwrap(tape.gradients(of: value, for: [leaf])[0])
    }
    let plain = try gradient(checkpointed: false)
    assertSameBits(try gradient(checkpointed: true), plain)
    let direction = (1 / plain.doubles.map { Float($0 * $0) }.reduce(0, +).squareRoot()) * plain
    let step: Float = 2e-2
    let slope =
      (try loss(rows + step * direction, nil).doubles[0] - loss(rows + (-step) * direction, nil).doubles[0])
      / Double(2 * step)
    let expected = (plain * direction).total().doubles[0]
    XCTAssertEqual(slope, expected, accuracy: 0.02 * abs(expected) + 1e-3)
  }

  func testStateIsRestoredIntoADecoder() throws {
    let folder = try TemporaryDirectory()
    let checkpoint = try checkpoint()
    let prompts = try prompts(checkpoint, [3, 9])
    let query = try rolling(checkpoint, modalities: [.image, .audio, .text])
    _ = try logits(checkpoint, prompts, observers: [query])
    _ = query.endEpoch(0)
    let path = folder.path + "/rollingq.safetensors"
    try SafetensorsWriter.write(tensors: query.storedBuffers(), to: path)
    let other = try rolling(checkpoint, modalities: [.image, .audio, .text])
    try other.restoreBuffers(from: BufferSource(try SafetensorsFile(path: path)))
    assertSameBits(
      try logits(checkpoint, prompts, interventions: [other.intervention]),
      try logits(checkpoint, prompts, interventions: [query.intervention]))
    // A file of other layers is not taken.
    let third = try rolling(checkpoint, layers: [0], modalities: [.image, .audio, .text])
    XCTAssertThrowsError(try third.restoreBuffers(from: BufferSource(try SafetensorsFile(path: path))))
    let fourth = try rolling(checkpoint, modalities: [.image, .audio])
    XCTAssertThrowsError(try fourth.restoreBuffers(from: BufferSource(try SafetensorsFile(path: path)))) {
      XCTAssertEqual(($0 as? RollingQueryError)?.code, .wrongShape)
    }
  }

  func testChoicesThatTheDecoderDoesNotHaveAreRefused() throws {
    let checkpoint = try checkpoint()
    for (error, expected) in [
      (try error { try self.rolling(checkpoint, layers: [4]) }, RollingQueryError.Code.unknownLayer),
      (try error { try self.rolling(checkpoint, layers: [-1]) }, .unknownLayer),
      (
        try error { try self.rolling(checkpoint, modalities: [.image, Modality(rawValue: "smell")]) },
        .unknownModality
      ), (try error { try self.rolling(checkpoint, modalities: [.image]) }, .tooFewModalities),
    ] {
      XCTAssertEqual(error?.code, expected)
      XCTAssertEqual(error?.exitStatus, .usage)
      XCTAssertNotNil(error?.errorDescription)
      XCTAssertNotNil(error?.recoverySuggestion)
    }
  }

  private func error(_ body: () throws -> DecoderRollingQuery) throws -> RollingQueryError? {
    do {
      _ = try body()
      return nil
    } catch {
      return error as? RollingQueryError
    }
  }
}
