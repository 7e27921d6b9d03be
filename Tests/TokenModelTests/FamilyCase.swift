import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// A family against a folder of reference values: the outputs of the decoder of every named input.
struct FamilyCase {
  let oracle: OracleCase
  let model: any LanguageModel
  let listed: Set<String>
  private let bounds: JSONValue

  init(_ name: String, model: any LanguageModel) throws {
    oracle = try OracleCase(name)
    self.model = model
    listed = Set(oracle.listed)
    bounds = try XCTUnwrap(oracle.description["tolerance"])
  }

  /// The model of a fixture, with some keys of its configuration changed.
  static func model(_ name: String, configuration: String = "config.json", changing changes: [String: JSONValue] = [:])
    throws -> any LanguageModel
  {
    let folder = Fixtures.url(name)
    let url = folder.appendingPathComponent(configuration)
    var object = try XCTUnwrap(try JSONValue(parsing: Data(contentsOf: url)).objectValue)
    for (key, value) in changes { object[key] = value }
    return try load(object, WeightSource(ShardedTensors(folder: folder.path)), path: url.path)
  }

  /// The model of a configuration and weights.
  static func load(_ object: JSONObject, _ weights: WeightSource, path: String = "config.json") throws
    -> any LanguageModel
  {
    let reader = try ConfigurationReader(
      path: path, bytes: [UInt8](JSONValue.object(object).text(.indented).utf8))
    return try ModelFamilies.family(of: reader).load(reader, weights)
  }

  func bound(_ key: String) throws -> Double { try XCTUnwrap(bounds[key]?.doubleValue) }

  /// Inputs under `prefix`, by their plain names.
  func inputs(_ prefix: String, _ names: [String] = ["input_ids", "attention_mask", "position_ids"]) throws
    -> [StoredTensor]
  {
    try names.filter { listed.contains("\(prefix).\($0)") }.map {
      try oracle.stored("\(prefix).\($0)").renamed($0)
    }
  }

  /// Runs inputs and compares every listed output of `prefix` that a decoder has.
  ///
  /// - Parameter skipsColumn: Columns of logits that are not compared.
  func compareDecoder(
    _ prefix: String, _ inputs: [StoredTensor], mayLeaveMedia: Bool = false,
    skipsColumn: (Int) -> Bool = { _ in false }
  ) throws {
    let configuration = model.decoder.configuration
    let layers = configuration.layerCount
    let raw = try TraceInputs(
      inputs, path: "\(oracle.name) \(prefix)", model: model, mayLeaveMedia: mayLeaveMedia)
    let outputs = try Trace(model, names: Trace.defaultNames(layerCount: layers) + ["embeddings"]).run(raw)
    func values(_ name: String) throws -> [Float] {
      try XCTUnwrap(outputs.first { $0.name == name }, "\(name) of \(prefix)").floats()
    }
    let mask = try outputs.first { $0.name == "attention_mask" }?.integers()
    let width = try XCTUnwrap(outputs.first { $0.name == "logits" }).shape[1]
    func isRealRow(_ columns: Int) -> (Int) -> Bool {
      { index in mask.map { $0[index / columns] == 1 } ?? true }
    }
    func isRealPair(_ index: Int) -> Bool {
      guard let mask else { return true }
      let batch = index / width / width / configuration.headCount
      return mask[batch * width + index / width % width] == 1 && mask[batch * width + index % width] == 1
    }
    let (hidden, vocabulary) = (configuration.hiddenSize, configuration.vocabularySize)
    func compare(_ ours: String, _ theirs: String, _ bound: String, _ isReal: (Int) -> Bool) throws {
      guard listed.contains("\(prefix).\(theirs)") else { return }
      try oracle.compare(
        values(ours), with: "\(prefix).\(theirs)", absolute: self.bound(bound), isReal: isReal)
    }
    try compare("embeddings", "inputs_embeds", "hidden_abs", isRealRow(hidden))
    for layer in 0...layers {
      try compare("hidden.\(layer)", "hidden.\(layer)", "hidden_abs", isRealRow(hidden))
      if layer < layers { try compare("attention.\(layer)", "attn.\(layer)", "attn_abs", isRealPair) }
    }
    try compare("hidden.\(layers)", "hidden.last", "hidden_abs", isRealRow(hidden))
    let isRealLogit = { (index: Int) in isRealRow(vocabulary)(index) && !skipsColumn(index % vocabulary) }
    try compare("logits", "logits", "logits_abs_vs_f32", isRealLogit)
    try compare("logits", "logits_f64", "logits_abs_vs_f64", isRealLogit)
  }

  /// Compares tensors of a tower: names of the oracle and those of a trace of the same media.
  func compareTower(_ inputs: [StoredTensor], _ names: [(theirs: String, ours: String)]) throws {
    let raw = try TraceInputs(inputs, path: oracle.name, model: model)
    let outputs = try Trace(model, names: names.map(\.ours)).run(raw)
    for (theirs, ours) in names {
      let values = try XCTUnwrap(outputs.first { $0.name == ours }, ours).floats()
      try oracle.compare(
        values, with: theirs, absolute: bound(ours.contains("attention.") ? "attn_abs" : "hidden_abs"))
    }
  }
}
