import Foundation
import RunKit
import TensorCore
import TestSupport
import XCTest

@testable import TokenModel

/// Two or more modalities of random tokens for a `FusionTransformer`.
struct FusionBatch {
  let configuration: FusionConfiguration
  let parameters: ParameterSet
  let inputs: [FusionInput]

  /// - Parameters:
  ///   - lengths: For each modality the number of tokens of each sample.
  ///   - biases: What is added to every token of a modality, so that its keys have a mean.
  init(
    _ configuration: FusionConfiguration, lengths: [[Int]], biases: [Float] = [], seed: Int = 1
  ) {
    self.configuration = configuration
    // A class token of the size of the others: a norm divides by it, and differences need steps much smaller than it.
    let initial = configuration.initialParameters(seed: seed)
    parameters = ParameterSet(
      zip(initial.names, initial.values).map { name, value in
        (name, name == "class_token" ? randomTensor(value.shape, seed: 77) : value)
      })
    inputs = lengths.enumerated().map { modality, lengths in
      let shape = [lengths.reduce(0, +), configuration.inputs[modality].size]
      guard shape[0] > 0 else { return FusionInput(Tensor(zeros: shape), lengths: lengths) }
      let bias = modality < biases.count ? biases[modality] : 0
      let offset = randomTensor([1, shape[1]], seed: UInt64(900 + modality), scale: bias)
      return FusionInput(
        randomTensor(shape, seed: UInt64(seed * 10 + modality)) + offset, lengths: lengths)
    }
  }

  /// Two modalities of the width itself, 5 and 7 tokens, of four samples.
  static func pair(width: Int = 8, _ change: (inout FusionConfiguration) -> Void = { _ in }) -> FusionBatch {
    var configuration = FusionConfiguration(
      inputs: [.init(.audio, size: width), .init(.video, size: width)], width: width, outputSize: 3)
    change(&configuration)
    return FusionBatch(
      configuration, lengths: [[5, 5, 5, 5], [7, 7, 7, 7]], biases: [1.6, 0.4])
  }

  func model(_ parameters: [String: Tensor]? = nil) throws -> FusionTransformer {
    try FusionTransformer(configuration, parameters: parameters ?? self.parameters.named)
  }

  /// Rolling queries of all layers.
  func rolling(_ options: RollingQueryOptions = RollingQueryOptions()) throws -> RollingQueries {
    RollingQueries(
      layers: Array(0..<configuration.layerCount),
      try RollingQuery(
        headCount: configuration.headCount, headSize: configuration.headSize,
        modalities: configuration.modalities, options: options))
  }
}

extension RollingQuery {
  /// The same with other matrices, as a file would bring them.
  func with(rotation: [Double], count: Int, in folder: TemporaryDirectory) throws -> RollingQuery {
    let buffers = try storedBuffers().map { buffer in
      switch buffer.name {
      case "rotation": try StoredTensor(name: buffer.name, shape: buffer.shape, doubles: rotation)
      case "count":
        try StoredTensor(
          name: buffer.name, shape: buffer.shape, integers: [Int](repeating: count, count: headCount))
      default: buffer
      }
    }
    let path = folder.path + "/rotation-\(count).safetensors"
    try SafetensorsWriter.write(tensors: buffers, to: path)
    var changed = self
    try changed.restoreBuffers(from: BufferSource(try SafetensorsFile(path: path)))
    return changed
  }
}
