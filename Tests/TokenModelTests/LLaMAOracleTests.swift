import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// The LLaMA family against transformers: every tensor of every case.
final class LLaMAOracleTests: XCTestCase {
  func testLlama() throws { try compareCase("llama") }
  func testLlamaWithScaledRotary() throws { try compareCase("llama_rope3") }
  func testLlamaInTwoShards() throws { try compareCase("llama_bf16_sharded") }
  func testLlamaWithBiasesInHalfPrecision() throws { try compareCase("llama_f16_bias") }

  /// transformers 5 writes the same settings in other places; the numbers must not change.
  func testTheConfigurationOfTransformers5ReadsTheSame() throws {
    for name in ["llama", "llama_rope3", "llama_bf16_sharded", "llama_f16_bias"] {
      let configurations = try ["config.json", "config.transformers5.json"].map { file in
        let url = Fixtures.url("\(name)/\(file)")
        return try LLaMAConfiguration(
          ConfigurationReader(path: url.path, bytes: [UInt8](Data(contentsOf: url))))
      }
      XCTAssertEqual(configurations[0], configurations[1], name)
    }
  }

  private func compareCase(_ name: String) throws {
    let oracle = try OracleCase(name)
    let checkpoint = try Checkpoint(folder: Fixtures.url(name))
    let tolerance = try XCTUnwrap(oracle.description["tolerance"])
    let hidden = try XCTUnwrap(tolerance["hidden_abs"]?.doubleValue)
    let attention = try XCTUnwrap(tolerance["attn_abs"]?.doubleValue)
    let logits = try XCTUnwrap(tolerance["logits_abs_vs_f32"]?.doubleValue)
    let logits64 = try XCTUnwrap(tolerance["logits_abs_vs_f64"]?.doubleValue)
    let layers = checkpoint.model.decoder.configuration.layerCount

    let listed = Set(oracle.listed)
    let prefixes = Set(listed.compactMap { $0.split(separator: ".").first.map(String.init) }).sorted()
    for prefix in prefixes {
      // a_off has the ids of a and its own positions; left_defaultpos the ids and mask of left.
      let source = String(prefix.split(separator: "_")[0])
      var inputs = [try oracle.stored("\(source).input_ids").renamed("input_ids")]
      if listed.contains("\(source).attention_mask") {
        inputs.append(try oracle.stored("\(source).attention_mask").renamed("attention_mask"))
      }
      if listed.contains("\(prefix).position_ids") {
        inputs.append(try oracle.stored("\(prefix).position_ids").renamed("position_ids"))
      }
      let lastOutput = TensorName(.output, layer: layers - 1).description
      let names = Trace.defaultNames(layerCount: layers) + [lastOutput]
      let trace = try Trace(checkpoint.model, names: names)
      let outputs = try trace.run(TraceInputs(inputs, path: name, model: checkpoint.model))
      func values(_ name: String) throws -> [Float] {
        try XCTUnwrap(outputs.first { $0.name == name }, "\(name) of \(prefix)").floats()
      }
      let mask = try outputs.first { $0.name == "attention_mask" }?.integers()
      let width = try oracle.stored("\(source).input_ids").shape[1]
      func isRealRow(_ columns: Int) -> (Int) -> Bool {
        { index in mask.map { $0[index / columns] == 1 } ?? true }
      }
      let heads = checkpoint.model.decoder.configuration.headCount
      func isRealPair(_ index: Int) -> Bool {
        guard let mask else { return true }
        let (key, row, batch) = (index % width, index / width % width, index / width / width / heads)
        return mask[batch * width + row] == 1 && mask[batch * width + key] == 1
      }
      let columns = checkpoint.model.decoder.configuration.hiddenSize
      let vocabulary = checkpoint.model.decoder.configuration.vocabularySize
      for layer in 0...layers where listed.contains("\(prefix).hidden.\(layer)") {
        try oracle.compare(
          values("hidden.\(layer)"), with: "\(prefix).hidden.\(layer)", absolute: hidden,
          isReal: isRealRow(columns))
      }
      if listed.contains("\(prefix).hidden.last") {
        try oracle.compare(
          values("hidden.\(layers)"), with: "\(prefix).hidden.last", absolute: hidden,
          isReal: isRealRow(columns))
      }
      for layer in 0..<layers where listed.contains("\(prefix).attn.\(layer)") {
        try oracle.compare(
          values("attention.\(layer)"), with: "\(prefix).attn.\(layer)", absolute: attention,
          isReal: isRealPair)
      }
      if listed.contains("\(prefix).last_layer_output_before_norm") {
        try oracle.compare(
          values(lastOutput), with: "\(prefix).last_layer_output_before_norm", absolute: hidden,
          isReal: isRealRow(columns))
      }
      try oracle.compare(
        values("logits"), with: "\(prefix).logits", absolute: logits, isReal: isRealRow(vocabulary))
      if listed.contains("\(prefix).logits_f64") {
        try oracle.compare(
          values("logits"), with: "\(prefix).logits_f64", absolute: logits64, isReal: isRealRow(vocabulary))
      }
      if listed.contains("\(prefix).logits_bf16compute") {
        // transformers computing in bf16, for information: 8 bits of mantissa through three layers. The bound only
        // says that it is the same model.
        try oracle.compare(
          values("logits"), with: "\(prefix).logits_bf16compute", absolute: 0.1, isReal: isRealRow(vocabulary)
        )
      }
    }
    oracle.finish()
  }
}
