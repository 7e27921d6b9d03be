import Foundation
import RunKit
import TensorCore
import TestSupport

@testable import TokenModel

/// A family's tiny model with a wider decoder and random weights, in a folder of the test: groups of 32 weights need rows of
/// a multiple of 32.
struct WidenedModel {
  static let (hiddenSize, innerSize) = (96, 160)
  let path: String

  /// - Parameters:
  ///   - family: A folder of fixtures.
  ///   - keys: How the family's tensors are called in files.
  init(_ family: String, keys: KeyLayout, in folder: TemporaryFolder) throws {
    path = folder.path(family)
    let source = Fixtures.url(family)
    try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
    let bytes = try Data(contentsOf: source.appendingPathComponent("config.json"))
    let configuration = Self.widened(try JSONValue(parsing: [UInt8](bytes)))
    let text = Array(configuration.text().utf8)
    try Data(text).write(to: URL(fileURLWithPath: "\(path)/config.json"))

    let reader = try ConfigurationReader(path: "\(path)/config.json", bytes: text)
    var tensors: [StoredTensor] = []
    let layout = keys.resolved(
      in: try SafetensorsFile(path: source.appendingPathComponent("model.safetensors").path).tensors.map(
        \.name))
    _ = try ModelFamilies.family(of: reader).load(
      reader,
      WeightSource(in: family) { name, shape in
        let values = Self.values(shape, id: tensors.count)
        if !tensors.contains(where: { $0.name == layout.name(of: name) }) {
          tensors.append(try StoredTensor(name: layout.name(of: name), shape: shape, floats: values))
        }
        return Tensor(values, shape: shape)
      })
    try SafetensorsWriter.write(tensors: tensors, to: "\(path)/model.safetensors")
  }

  /// The configuration with the decoder's sizes, whether they stand in a section of their own or not.
  private static func widened(_ configuration: JSONValue) -> JSONValue {
    guard var object = configuration.objectValue else { return configuration }
    if let section = object["text_config"] {
      object["text_config"] = widened(section)
    } else {
      object["hidden_size"] = .integer(hiddenSize)
      object["intermediate_size"] = .integer(innerSize)
      if object["head_dim"] != nil, let heads = object["num_attention_heads"]?.intValue {
        object["head_dim"] = .integer(hiddenSize / heads)
      }
    }
    return .object(object)
  }

  /// Norms near 1, matrices that keep the size of what they map; queries and keys of heads that prefer some rows.
  private static func values(_ shape: [Int], id: Int) -> [Float] {
    var stream = RandomStream(seed: 11, purpose: "widened model", id: id)
    let inputs = shape.dropFirst().reduce(1, *)
    let scale = shape.count == 1 ? 0.1 : 1.5 / Double(inputs).squareRoot()
    return (0..<shape.reduce(1, *)).map { _ in Float((shape.count == 1 ? 1 : 0) + scale * stream.normal()) }
  }
}
