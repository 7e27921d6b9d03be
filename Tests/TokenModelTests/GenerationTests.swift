import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

final class GenerationTests: XCTestCase {
  /// Greedy ids exactly and every step's logits, with the cache, alone and as a batch; the padded batch enters as two
  /// ragged sequences with the positions transformers gives them.
  func testGreedyGenerationMatchesTransformers() throws {
    let oracle = try OracleCase("generate")
    let checkpoint = try Checkpoint(folder: Fixtures.url("llama"))
    let tolerance = try XCTUnwrap(oracle.description["tolerance"]?["step_logits_abs"]?.doubleValue)
    for name in ["llama_a", "llama_left"] {
      let inputs = try ["input_ids", "attention_mask"].map { try oracle.stored("\(name).\($0)").renamed($0) }
      let raw = try TraceInputs(inputs, path: name, model: checkpoint.model)
      let lengths = raw.rows.map(\.ids.count)
      let context = TokenContext(
        segments: RowSegments(lengths: lengths), positions: lengths.flatMap { Array(0..<$0) },
        roles: raw.rows.flatMap { $0.ids.map { _ in Role.question } })
      var generator = Generator(checkpoint.model)
      generator.limit = 12
      generator.endIDs = []
      var steps: [[[Float]]] = []
      generator.onLogits = { _, logits in steps.append(logits.hostRows()) }
      let answers = try generator.answers(
        to: Generator.Start(
          embeddings: checkpoint.model.textEmbeddings(raw.rows.flatMap(\.ids)), context: context))
      try oracle.compare(answers.flatMap(\.ids), with: "\(name).generated_ids")
      let logits = raw.rows.indices.flatMap { sequence in steps.flatMap { $0[sequence] } }
      try oracle.compare(logits, with: "\(name).step_logits", absolute: tolerance)
      try oracle.compare(logits, with: "\(name).step_logits_f64", absolute: tolerance)
    }
    // The llava part comes with that family.
    oracle.finish { $0.hasPrefix("llava") || $0 == "pixel_values" }
  }

  /// Each answer of a batch has the bits it has alone, sampled or not.
  func testABatchAnswersLikeItsSequencesAlone() throws {
    let checkpoint = try Checkpoint(folder: Fixtures.url("llama"))
    let prompts = [[1, 40, 77, 12, 300], [1, 9], [1, 100, 101, 102, 103, 104, 105, 106]]
    func answers(_ prompts: [[Int]], streams: [Int]) throws -> [Generator.Answer] {
      var generator = Generator(checkpoint.model)
      generator.limit = 9
      generator.sampler = Sampler(temperature: 0.8, topK: 50, topP: 0.9)
      generator.seed = 5
      return try generator.answers(
        to: Generator.Start(
          embeddings: checkpoint.model.textEmbeddings(prompts.flatMap { $0 }),
          context: TokenContext(
            segments: RowSegments(lengths: prompts.map(\.count)),
            positions: prompts.flatMap { Array($0.indices) },
            roles: prompts.flatMap { $0.map { _ in .question } })), streamIDs: streams)
    }
    let together = try answers(prompts, streams: [0, 1, 2])
    for (index, prompt) in prompts.enumerated() {
      XCTAssertEqual(try answers([prompt], streams: [index]), [together[index]])
    }
  }

  /// With the cache, every logit equals that of one pass over the whole sequence. Tolerance: single rows go through
  /// another product kernel than long ones, which rounds differently.
  func testCachedEqualsUncached() throws {
    let checkpoint = try Checkpoint(folder: Fixtures.url("llama"))
    let ids = [1, 40, 77, 12, 300, 8, 9, 200, 301, 17]
    var options = ForwardOptions()
    options.logits = .all
    let whole = try XCTUnwrap(
      checkpoint.model.decoder.forward(
        checkpoint.model.textEmbeddings(ids), context: TokenContext(roles: ids.map { _ in .question }),
        options: options
      ).logits
    ).hostRows()
    let cache = KeyValueCache(sequences: 1, capacity: 2)
    options.cache = cache
    for (position, id) in ids.enumerated() {
      let step = try XCTUnwrap(
        checkpoint.model.decoder.forward(
          checkpoint.model.textEmbeddings([id]),
          context: TokenContext(
            segments: .single(1), positions: [position], roles: [.question], cachedRoles: cache.roles,
            phase: .decode),
          options: options
        ).logits
      ).hostRows()[0]
      for (found, expected) in zip(step, whole[position]) { XCTAssertEqual(found, expected, accuracy: 2e-5) }
    }
  }

  func testSamplingKeepsToItsRules() {
    let logits: [Float] = [0, 3, 1, 3, -2]
    var stream = RandomStream(seed: 1, purpose: "test")
    XCTAssertEqual(Sampler.greedy.choose(from: logits, using: &stream), 1)
    for _ in 0..<200 {
      XCTAssertTrue([1, 3].contains(Sampler(temperature: 2, topK: 2).choose(from: logits, using: &stream)))
      XCTAssertEqual(Sampler(temperature: 1, topK: 1).choose(from: logits, using: &stream), 1)
      XCTAssertTrue([1, 3].contains(Sampler(temperature: 1, topP: 0.6).choose(from: logits, using: &stream)))
    }
    // Frequencies follow softmax: p(2) = e / (1 + 2 e³ + e + e⁻²) = 0.061; 4 standard deviations of 4000 draws.
    let count = (0..<4000).count { _ in Sampler(temperature: 1).choose(from: logits, using: &stream) == 2 }
    XCTAssertEqual(Double(count) / 4000, 0.0608, accuracy: 0.0152)
  }
}
