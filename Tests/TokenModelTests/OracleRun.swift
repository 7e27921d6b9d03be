import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// The tolerances of a case.
struct OracleTolerance {
  let hidden: Double
  let attention: Double
  let logits: Double
  let logits64: Double

  init(_ oracle: OracleCase) throws {
    let tolerance = try XCTUnwrap(oracle.description["tolerance"])
    hidden = try XCTUnwrap(tolerance["hidden_abs"]?.doubleValue)
    attention = try XCTUnwrap(tolerance["attn_abs"]?.doubleValue)
    logits = try XCTUnwrap(tolerance["logits_abs_vs_f32"]?.doubleValue)
    logits64 = try XCTUnwrap(tolerance["logits_abs_vs_f64"]?.doubleValue)
  }
}

/// One prompt or batch of a case, run with `Trace` and compared with every tensor the case lists for the decoder.
struct OracleRun {
  let oracle: OracleCase
  let model: any LanguageModel
  let prefix: String
  let inputs: TraceInputs
  let outputs: [StoredTensor]

  /// - Parameters:
  ///   - prefix: Of `input_ids` and the outputs.
  ///   - media: Media tensors under the names that `trace` takes.
  init(_ oracle: OracleCase, _ model: any LanguageModel, _ prefix: String, media: [StoredTensor]) throws {
    (self.oracle, self.model, self.prefix) = (oracle, model, prefix)
    let listed = Set(oracle.listed)
    var tensors = media
    for name in ["input_ids", "attention_mask", "position_ids"] where listed.contains("\(prefix).\(name)") {
      tensors.append(try oracle.stored("\(prefix).\(name)").renamed(name))
    }
    inputs = try TraceInputs(tensors, path: prefix, model: model)
    let names = Trace.defaultNames(layerCount: model.decoder.configuration.layerCount) + ["embeddings"]
    outputs = try Trace(model, names: names).run(inputs)
  }

  func values(_ name: String) throws -> [Float] {
    try XCTUnwrap(outputs.first { $0.name == name }, "\(name) of \(prefix)").floats()
  }

  /// Compares embeddings, hidden states, attention, logits, positions, as far as the case has them.
  func compareDecoder() throws {
    let (configuration, listed) = (model.decoder.configuration, Set(oracle.listed))
    let tolerance = try OracleTolerance(oracle)
    let mask = try outputs.first { $0.name == "attention_mask" }?.integers()
    func compare(_ ours: String, _ theirs: String, _ bound: Double, columns: Int) throws {
      guard listed.contains("\(prefix).\(theirs)") else { return }
      try oracle.compare(
        values(ours), with: "\(prefix).\(theirs)", absolute: bound,
        isReal: { index in mask.map { $0[index / columns] == 1 } ?? true })
    }
    let (hidden, vocabulary) = (configuration.hiddenSize, configuration.vocabularySize)
    try compare("embeddings", "inputs_embeds", tolerance.hidden, columns: hidden)
    for layer in 0...configuration.layerCount {
      try compare("hidden.\(layer)", "hidden.\(layer)", tolerance.hidden, columns: hidden)
    }
    for layer in 0..<configuration.layerCount where listed.contains("\(prefix).attn.\(layer)") {
      XCTAssertNil(mask, "attention of padded batches is compared elsewhere")
      try oracle.compare(
        values("attention.\(layer)"), with: "\(prefix).attn.\(layer)", absolute: tolerance.attention)
    }
    try compare("logits", "logits", tolerance.logits, columns: vocabulary)
    try compare("logits", "logits_f64", tolerance.logits64, columns: vocabulary)
    try comparePositions()
  }

  /// Positions on three axes, and what generation adds to the number of keys to get the next one.
  private func comparePositions() throws {
    let (name, deltas) = ("\(prefix).position_ids_3d", "\(prefix).rope_deltas")
    guard oracle.listed.contains(name) else { return }
    let context = try inputs.batch(for: model).context
    var all = [Int](repeating: 0, count: context.positions.axes.count * inputs.rows.count * inputs.width)
    var found: [Int] = []
    for (sequence, row) in inputs.rows.enumerated() {
      let segment = context.segments[sequence]
      for (axis, positions) in context.positions.axes.enumerated() {
        for (place, position) in zip(row.places, positions[segment]) {
          all[(axis * inputs.rows.count + sequence) * inputs.width + place] = position
        }
      }
      found.append(context.positions.selecting(segment).next - segment.count)
    }
    try oracle.compare(all, with: name)
    try oracle.compare(found, with: deltas)
  }

  /// Generates greedily and compares ids and the logits of every step.
  func compareGeneration(_ name: String) throws {
    let expected = try oracle.stored("\(name).generated_ids").shape[1]
    let batch = try inputs.batch(for: model)
    var generator = Generator(model)
    generator.limit = expected
    generator.endIDs = []
    var logits: [Float] = []
    generator.onLogits = { _, step in logits += step.hostValues() }
    let answers = try generator.answers(
      to: Generator.Start(embeddings: batch.embeddings, context: batch.context))
    try oracle.compare(answers.flatMap(\.ids), with: "\(name).generated_ids")
    try oracle.compare(logits, with: "\(name).step_logits", absolute: OracleTolerance(oracle).logits)
  }
}

extension OracleCase {
  /// Several tensors one after another along their first axis, under one name.
  func joined(_ names: [String], as name: String) throws -> StoredTensor {
    let parts = try names.map { try stored($0) }
    let shape = [parts.reduce(0) { $0 + $1.shape[0] }] + parts[0].shape.dropFirst()
    if parts[0].elementType.isFloatingPoint {
      return try StoredTensor(name: name, shape: shape, floats: parts.flatMap { try $0.floats() })
    }
    return try StoredTensor(name: name, shape: shape, integers: parts.flatMap { try $0.integers() })
  }
}

/// A copy of a fixture folder in which some settings are others; gone with the test.
func alteredCheckpoint(
  _ fixture: String, configuration: String = "config.json", _ change: (inout [String: Any]) -> Void
) throws -> URL {
  let folder = FileManager.default.temporaryDirectory.appendingPathComponent(
    "\(fixture)-\(UUID().uuidString)")
  try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
  try FileManager.default.copyItem(
    at: Fixtures.url("\(fixture)/model.safetensors"), to: folder.appendingPathComponent("model.safetensors"))
  let data = try Data(contentsOf: Fixtures.url("\(fixture)/\(configuration)"))
  var object = try XCTUnwrap(JSONSerialization.jsonObject(with: data) as? [String: Any])
  change(&object)
  try JSONSerialization.data(withJSONObject: object).write(to: folder.appendingPathComponent("config.json"))
  return folder
}
