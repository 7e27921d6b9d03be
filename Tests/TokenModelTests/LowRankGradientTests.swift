import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// Gradients and updates of real low-rank adapters: the case `lora`, with the adapters as part of the weights,
/// W + s · B A, so that they come out of the tape as those of any parameter.
final class LowRankGradientTests: XCTestCase {
  /// An adapter of the case on its model.
  private struct Adapted {
    let parameters: ParameterSet
    let scale: Float
    let base: SafetensorsFile
    let configuration: LLaMAConfiguration

    init(_ name: String, scale: Double) throws {
      let adapter = try SafetensorsFile(
        path: Fixtures.url("lora/adapter_\(name)/adapter_model.safetensors").path)
      parameters = ParameterSet(
        try adapter.tensors.sorted { $0.name < $1.name }.map {
          (String($0.name.dropFirst("base_model.model.".count)), Tensor(try $0.floats(), shape: $0.shape))
        })
      self.scale = Float(scale)
      base = try SafetensorsFile(path: Fixtures.url("llama/model.safetensors").path)
      configuration = try LLaMAConfiguration(
        ConfigurationReader(path: "config.json", bytes: Fixtures.bytes("llama/config.json")))
    }

    /// A weight with its adapter, if it has one.
    func weight(_ name: String, _ adapters: [String: Tensor]) throws -> Tensor? {
      guard let stored = base[name] else { return nil }
      let weight = Tensor(try stored.floats(), shape: stored.shape)
      let module = name.hasSuffix(".weight") ? String(name.dropLast(".weight".count)) : name
      guard let a = adapters["\(module).lora_A.weight"], let b = adapters["\(module).lora_B.weight"] else {
        return weight
      }
      return weight + scale * b.matmul(a)
    }

    /// Logits of all rows of some sequences of ids.
    func logits(_ sequences: [[Int]], _ adapters: [String: Tensor]) throws -> Tensor {
      let decoder = try LLaMADecoder(
        configuration, weights: WeightSource(in: "lora") { name, _ in try weight(name, adapters) })
      let ids = sequences.flatMap { $0 }
      let context = TokenContext(
        segments: RowSegments(lengths: sequences.map(\.count)),
        positions: sequences.flatMap { Array($0.indices) }, roles: ids.map { _ in .question })
      var options = ForwardOptions()
      options.logits = .all
      return try XCTUnwrap(
        decoder.forward(decoder.embedding.rows(ids), context: context, options: options).logits)
    }
  }

  /// The batch of the case without its padding: ids, and the label of each row or −1.
  private func batch(_ oracle: OracleCase) throws -> (ids: [[Int]], labels: [Int]) {
    let (ids, mask, labels) = (
      try oracle.integers("input_ids"), try oracle.integers("attention_mask"), try oracle.integers("labels")
    )
    var (sequences, targets) = ([[Int]](), [Int]())
    for start in stride(from: 0, to: ids.count, by: 13) {
      let count = mask[start..<start + 13].reduce(0, +)
      sequences.append(Array(ids[start..<start + count]))
      // Row i predicts the id of row i + 1; −100 marks rows without loss.
      targets += (0..<count).map { $0 + 1 < count ? max(-1, labels[start + $0 + 1]) : -1 }
    }
    return (sequences, targets)
  }

  private func loss(_ adapted: Adapted, _ batch: (ids: [[Int]], labels: [Int]), _ adapters: [String: Tensor])
    throws -> Tensor
  {
    let losses = try adapted.logits(batch.ids, adapters).crossEntropy(labels: batch.labels)
    return (1 / Float(batch.labels.count { $0 >= 0 })) * losses.total()
  }

  func testGradientsAndThreeStepsMatchTheReference() throws {
    let oracle = try OracleCase("lora")
    let batch = try batch(oracle)
    for (name, scale) in [("qv", 2.0), ("all", 2.0), ("rslora_qv", 2.886751345948129)] {
      let adapted = try Adapted(name, scale: scale)
      let logits = try adapted.logits([batch.ids[0]], adapted.parameters.named).hostValues()
      for key in ["logits_a", "logits_a_f64", "merged.logits_a"] {
        try oracle.compare(logits, with: "\(name).\(key)", absolute: 2e-4)
      }
      for key in oracle.listed where key.hasPrefix("\(name).merged.model.") {
        let weight = try adapted.weight(
          String(key.dropFirst("\(name).merged.".count)), adapted.parameters.named)
        try oracle.compare(try XCTUnwrap(weight).hostValues(), with: key, absolute: 1e-6)
      }
      guard name != "rslora_qv" else { continue }
      let optimizer = Optimizer(
        adapted.parameters, rule: AdamW(), groups: [ParameterGroup(weightDecay: 0.01)])
      for step in 0...3 {
        let tape = Tape()
        let leaves = adapted.parameters.values.map(tape.leaf)
        let named = Dictionary(uniqueKeysWithValues: zip(adapted.parameters.names, leaves))
        let value = try loss(adapted, batch, named)
        try oracle.compare(value.hostValues(), with: "\(name).train.loss.\(step)", absolute: 2e-5)
        let gradients = tape.gradients(of: value, for: leaves)
        if step == 0 { try compareGradients(adapted.parameters.names, gradients, oracle, "\(name).grad.") }
        if step < 3 { optimizer.step(gradients, learningRate: 1e-3) }
      }
      try compareParameters(adapted.parameters, oracle, "\(name).after3.")
    }
    let plain = try Adapted("qv", scale: 2)
    try oracle.compare(
      plain.logits([batch.ids[0]], [:]).hostValues(), with: "base.logits_a", absolute: 2e-4)
    try oracle.compare(loss(plain, batch, [:]).hostValues(), with: "base.loss", absolute: 2e-5)
    oracle.finish()
  }

  /// The case bounds the distance of the whole gradient of a parameter, relative to its length.
  private func compareGradients(
    _ names: [String], _ gradients: [Tensor?], _ oracle: OracleCase, _ prefix: String
  ) throws {
    for (name, gradient) in zip(names, gradients) {
      let found = try XCTUnwrap(gradient).doubles
      let expected = try oracle.stored(prefix + name).doubles()
      XCTAssertEqual(found.count, expected.count)
      let length = expected.reduce(0) { $0 + $1 * $1 }.squareRoot()
      let distance = zip(found, expected).reduce(0) { $0 + ($1.0 - $1.1) * ($1.0 - $1.1) }.squareRoot()
      XCTAssertLessThan(distance, 1e-3 * length, prefix + name)
      try oracle.compare(found.map { Float($0) }, with: prefix + name, absolute: 1e-3 * length)
    }
  }

  /// Adam divides by the gradient's own size: where that is near 0, at most one element in a thousand may differ more.
  private func compareParameters(_ parameters: ParameterSet, _ oracle: OracleCase, _ prefix: String) throws {
    var (far, count) = (0, 0)
    for (name, value) in zip(parameters.names, parameters.values) {
      let expected = try oracle.stored(prefix + name).doubles()
      far += zip(value.doubles, expected).count { abs($0 - $1) > 5e-5 }
      count += expected.count
      try oracle.compare(value.hostValues(), with: prefix + name, absolute: 6e-3)
    }
    XCTAssertLessThanOrEqual(Double(far), 1e-3 * Double(count), prefix)
    print("\(prefix)*: \(far) of \(count) elements differ by more than 5e-5")
  }
}
