import Foundation
import TestSupport
import TokenModel
import XCTest

@testable import PEFT
@testable import TensorCore

/// Layers that run again for their gradients give the bits of layers that keep everything.
final class LayerCheckpointTests: XCTestCase {
  /// Counts what it sees at the output of attention.
  private final class Counter: ForwardObserver {
    var count = 0
    func wants(_ name: TensorName) -> Bool { name.site == .attentionOutput }
    func observe(_ tensor: Tensor, _ name: TensorName, context: TokenContext) { count += 1 }
  }

  func testGradientsHaveTheBitsOfAPassThatKeepsEverything() throws {
    let folder = Fixtures.url("avdigits_model")
    let checkpoint = try Checkpoint(folder: folder)
    let data = try DataSet(Fixtures.avdigitsData("test.qa.jsonl"))
    let prompts = try (0..<3).map {
      try checkpoint.prompt(for: data.sample(at: $0, for: checkpoint.model), includesAnswer: true)
    }
    let reader = try ConfigurationReader(
      path: "config.json", bytes: [UInt8](Data(contentsOf: folder.appending(path: "config.json"))))
    var weights: [String: Tensor] = [:]
    for name in ["model-00001-of-00002", "model-00002-of-00002"] {
      let file = try SafetensorsFile(path: folder.appending(path: "\(name).safetensors").path)
      for stored in file.tensors { weights[stored.name] = Tensor(try stored.floats(), shape: stored.shape) }
    }
    let names = weights.keys.sorted()
    func gradients(checkpointed: Bool) throws -> (tensors: [Tensor], entries: Int, seen: Int) {
      let tape = Tape()
      let leaves = Dictionary(
        uniqueKeysWithValues: names.map { ($0, tape.leaf(weights[$0] ?? Tensor(scalar: 0))) })
      let model = try AVTLlamaModel(reader, weights: WeightSource(in: "leaves") { name, _ in leaves[name] })
      var context = TokenContext(
        segments: RowSegments(lengths: prompts.map(\.count)),
        positions: prompts.flatMap { Array(0..<$0.count) }, roles: prompts.flatMap(\.spans.roles))
      context.joinsSequences = true
      let counter = Counter()
      var options = ForwardOptions()
      options.logits = .last
      options.dropout = ForwardDropout(rate: 0.1, seed: 1, step: 2)
      options.observers = [counter]
      if checkpointed { options.checkpointing = tape }
      let embeddings = Tensor.concatenated(prompts.map { model.embeddings($0) })
      let result = model.decoder.forward(embeddings, context: context, options: options)
      let loss = try XCTUnwrap(result.logits).crossEntropy(labels: [20, 21, 22]).mean()
      let entries = tape.count
      let found = tape.gradients(of: loss, for: names.compactMap { leaves[$0] }, retaining: false)
      return (try found.map { try XCTUnwrap($0) }, entries, counter.count)
    }
    let (kept, recomputed) = (try gradients(checkpointed: false), try gradients(checkpointed: true))
    let layers = checkpoint.model.decoder.configuration.layerCount
    XCTAssertEqual([kept.seen, recomputed.seen], [layers, layers], "an observer sees every layer once")
    // All operations of a layer are one entry.
    XCTAssertLessThan(recomputed.entries, kept.entries - 10 * layers)
    XCTAssertGreaterThan(names.count, 30)
    for (index, name) in names.enumerated() {
      assertSameBits(recomputed.tensors[index], kept.tensors[index], name)
    }
  }
}
