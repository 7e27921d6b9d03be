import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import PEFT
@testable import TokenModel

/// Adapters that PEFT wrote, read from their files and put around the layers of models.
final class LoRAOracleTests: XCTestCase {
  /// The batch of the case `lora` without its padding: ids, and the label of each row or −1.
  private func batch(_ oracle: OracleCase) throws -> (ids: [[Int]], labels: [Int]) {
    let (ids, mask, labels) = (
      try oracle.integers("input_ids"), try oracle.integers("attention_mask"), try oracle.integers("labels")
    )
    var (sequences, targets) = ([[Int]](), [Int]())
    for start in stride(from: 0, to: ids.count, by: 13) {
      let count = mask[start..<start + 13].reduce(0, +)
      sequences.append(Array(ids[start..<start + count]))
      targets += (0..<count).map { $0 + 1 < count ? max(-1, labels[start + $0 + 1]) : -1 }
    }
    return (sequences, targets)
  }

  private func logits(_ model: any LanguageModel, _ sequences: [[Int]]) throws -> Tensor {
    let ids = sequences.flatMap { $0 }
    let context = TokenContext(
      segments: RowSegments(lengths: sequences.map(\.count)),
      positions: sequences.flatMap { Array($0.indices) }, roles: ids.map { _ in .question })
    var options = ForwardOptions()
    options.logits = .all
    return try XCTUnwrap(
      model.decoder.forward(model.textEmbeddings(ids), context: context, options: options).logits)
  }

  private func loss(_ model: any LanguageModel, _ batch: (ids: [[Int]], labels: [Int])) throws -> Tensor {
    let losses = try logits(model, batch.ids).crossEntropy(labels: batch.labels)
    return (1 / Float(batch.labels.count { $0 >= 0 })) * losses.total()
  }

  func testAdaptersOfPEFTOnLLaMA() throws {
    let oracle = try OracleCase("lora")
    let batch = try batch(oracle)
    let checkpoint = try Checkpoint(folder: Fixtures.url("llama"))
    for name in ["qv", "all", "rslora_qv"] {
      let adapter = try StoredAdapter(folder: Fixtures.url("lora/adapter_\(name)"), for: checkpoint)
      let model = try checkpoint.model { adapter.plan.adapting($0, adapter.tensors) }
      let found = try logits(model, [batch.ids[0]]).hostValues()
      for key in ["logits_a", "logits_a_f64"] {
        try oracle.compare(found, with: "\(name).\(key)", absolute: 2e-4)
      }
      try compareMerged(adapter, checkpoint, [batch.ids[0]], oracle, name)
      guard name != "rslora_qv" else { continue }
      try compareTraining(adapter, checkpoint, batch, oracle, name)
    }
    try oracle.compare(
      logits(checkpoint.model, [batch.ids[0]]).hostValues(), with: "base.logits_a", absolute: 2e-4)
    try oracle.compare(loss(checkpoint.model, batch).hostValues(), with: "base.loss", absolute: 2e-5)
    oracle.finish()
  }

  /// The folder that merging writes: its weights, and the logits of the model in it.
  private func compareMerged(
    _ adapter: StoredAdapter, _ checkpoint: Checkpoint, _ ids: [[Int]], _ oracle: OracleCase, _ name: String
  ) throws {
    let folder = try TemporaryDirectory()
    let target = URL(fileURLWithPath: folder.path).appendingPathComponent("merged")
    let count = try AdapterMerge(adapter, into: checkpoint).write(to: target)
    XCTAssertEqual(count, adapter.plan.modules.count)
    let merged = try Checkpoint(folder: target)
    try oracle.compare(
      logits(merged.model, ids).hostValues(), with: "\(name).merged.logits_a", absolute: 2e-4)
    for key in oracle.listed where key.hasPrefix("\(name).merged.model.") {
      let weight = try merged.weights.tensor(String(key.dropFirst("\(name).merged.".count)))
      try oracle.compare(weight.floats(), with: key, absolute: 1e-6)
    }
  }

  private func compareTraining(
    _ adapter: StoredAdapter, _ checkpoint: Checkpoint, _ batch: (ids: [[Int]], labels: [Int]),
    _ oracle: OracleCase, _ name: String
  ) throws {
    let parameters = ParameterSet(
      adapter.plan.slots.map { ($0.name, adapter.tensors[$0.name] ?? Tensor(scalar: 0)) })
    let optimizer = Optimizer(parameters, rule: AdamW(), groups: [ParameterGroup(weightDecay: 0.01)])
    for step in 0...3 {
      let tape = Tape()
      let leaves = parameters.values.map(tape.leaf)
      let named = Dictionary(uniqueKeysWithValues: zip(parameters.names, leaves))
      let model = try checkpoint.model { adapter.plan.adapting($0, named) }
      let value = try loss(model, batch)
      try oracle.compare(value.hostValues(), with: "\(name).train.loss.\(step)", absolute: 2e-5)
      let gradients = tape.gradients(of: value, for: leaves)
      if step == 0 { try compareGradients(parameters.names, gradients, oracle) { "\(name).grad.\($0)" } }
      if step < 3 { optimizer.step(gradients, learningRate: 1e-3) }
    }
    var (far, all) = (0, 0)
    for (parameter, value) in zip(parameters.names, parameters.values) {
      let expected = try oracle.stored("\(name).after3.\(parameter)").doubles()
      far += zip(value.doubles, expected).count { abs($0 - $1) > 5e-5 }
      all += expected.count
      try oracle.compare(value.hostValues(), with: "\(name).after3.\(parameter)", absolute: 6e-3)
    }
    // Adam divides by the gradient's own size: where that is near 0, a few elements may differ more.
    XCTAssertLessThanOrEqual(Double(far), 1e-3 * Double(all), name)
  }

  /// The case bounds the distance of the whole gradient of a parameter, relative to its length.
  private func compareGradients(
    _ names: [String], _ gradients: [Tensor?], _ oracle: OracleCase, key: (String) -> String
  ) throws {
    for (name, gradient) in zip(names, gradients) {
      guard oracle.listed.contains(key(name)) else {
        XCTAssertNil(gradient, "\(key(name)) has a gradient here only")
        continue
      }
      let found = try XCTUnwrap(gradient, key(name)).doubles
      let expected = try oracle.stored(key(name)).doubles()
      let length = expected.reduce(0) { $0 + $1 * $1 }.squareRoot()
      let distance = zip(found, expected).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
      // The bias of keys has no influence at all: both sides hold rounding.
      XCTAssertLessThanOrEqual(distance, 1e-3 * length + 1e-6, key(name))
      try oracle.compare(found.map { Float($0) }, with: key(name), absolute: 1e-3 * length + 1e-6)
    }
  }

  func testAdaptersOfPEFTOnLLaVA() throws {
    let oracle = try OracleCase("lora_llava")
    let checkpoint = try Checkpoint(folder: Fixtures.url("llava"))
    let inputs = [try oracle.stored("input_ids"), try oracle.stored("pixel_values")]
    let labels = try oracle.integers("labels")
    func logits(_ checkpoint: Checkpoint) throws -> ArraySlice<Float> {
      let trace = try Trace(checkpoint.model, names: ["logits"])
      let outputs = try trace.run(TraceInputs(inputs, path: "lora_llava", model: checkpoint.model))
      return try XCTUnwrap(outputs.first { $0.name == "logits" }).floats().suffix(8 * 514)
    }
    for name in ["pattern", "ends", "linear", "layers"] {
      let folder = Fixtures.url("lora_llava/adapter_\(name)")
      let adapted = try checkpoint.adapted(by: folder)
      let found = try logits(adapted)
      for key in ["logits", "reloaded.logits"] {
        try oracle.compare(Array(found), with: "\(name).\(key)", absolute: 2e-4)
      }
      let adapter = try StoredAdapter(folder: folder, for: checkpoint)
      let place = try TemporaryDirectory()
      let target = URL(fileURLWithPath: place.path).appendingPathComponent("merged")
      _ = try AdapterMerge(adapter, into: checkpoint).write(to: target)
      let merged = try logits(Checkpoint(folder: target))
      try oracle.compare(Array(merged), with: "\(name).merged.logits", absolute: 2e-4)
      let worst = zip(merged, found).map { abs($0 - $1) }.max() ?? .infinity
      XCTAssertLessThanOrEqual(worst, 1e-4, "merged and unmerged logits of \(name)")
      try compareGradients(adapter, checkpoint, labels, oracle, name)
      // Written again, the adapter has the names and bits that PEFT wrote.
      let copy = URL(fileURLWithPath: place.path).appendingPathComponent("copy")
      try adapter.plan.write(adapter.tensors, to: copy)
      let (own, theirs) = (try StoredAdapter.tensorFile(of: copy), try StoredAdapter.tensorFile(of: folder))
      XCTAssertEqual(own.names, theirs.names, name)
      for stored in theirs.tensors {
        XCTAssertEqual(try own.tensor(stored.name).floats(), try stored.floats(), "\(name) \(stored.name)")
      }
      var configuration = try StoredAdapter.configuration(of: copy)
      configuration.baseModel = "../llava"
      XCTAssertEqual(configuration, try StoredAdapter.configuration(of: folder), name)
    }
    oracle.finish()
  }

  private func compareGradients(
    _ adapter: StoredAdapter, _ checkpoint: Checkpoint, _ labels: [Int], _ oracle: OracleCase, _ name: String
  ) throws {
    let tape = Tape()
    let leaves = adapter.plan.slots.map { tape.leaf(adapter.tensors[$0.name] ?? Tensor(scalar: 0)) }
    let named = Dictionary(uniqueKeysWithValues: zip(adapter.plan.slots.map(\.name), leaves))
    let model = try checkpoint.model { adapter.plan.adapting($0, named) }
    let inputs = try TraceInputs(
      [try oracle.stored("input_ids"), try oracle.stored("pixel_values")], path: "lora_llava", model: model)
    let ids = try XCTUnwrap(inputs.rows.first).ids
    let prompt = try model.expand(
      ids: ids, pieces: ids.map { "\($0)" }, roles: ids.map { _ in .question }, media: inputs.media,
      promptCount: ids.count, sample: name)
    var options = ForwardOptions()
    options.logits = .all
    let result = model.decoder.forward(
      model.embeddings(prompt), context: TokenContext([prompt]), options: options)
    let targets = labels.indices.map { $0 + 1 < labels.count ? max(-1, labels[$0 + 1]) : -1 }
    let losses = try XCTUnwrap(result.logits).crossEntropy(labels: targets).total()
    let loss = (1 / Float(targets.count { $0 >= 0 })) * losses
    try oracle.compare(loss.hostValues(), with: "\(name).loss", absolute: 2e-5)
    try compareGradients(
      adapter.plan.slots.map(\.key), tape.gradients(of: loss, for: leaves), oracle
    ) { "\(name).grad.\($0)" }
  }
}
