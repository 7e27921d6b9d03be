public import RunKit
public import TensorCore
import TokenModel

/// How the weights of a model are drawn before training from scratch.
///
/// | weights | distribution | default |
/// | --- | --- | --- |
/// | norms | ones | |
/// | biases | zeros | |
/// | matrices | N(0, `matrix`²) | 0.02 |
/// | output and down projections | N(0, `matrix`² / 2L) for L layers | |
/// | word, position and modality tables | N(0, `embedding`²) | 0.1 |
/// | projections of media | N(0, `media`² / inputs) | 0.3 |
///
/// Source: Radford et al., "Language Models are Unsupervised Multitask Learners", 2019, section 2.3, for the projections
/// onto the residual stream.
public struct WeightInitialization: Sendable {
  /// The standard deviation of matrices.
  public let matrix: Double
  /// The standard deviation of tables.
  public let embedding: Double
  /// The standard deviation of projections of media, times the root of their inputs.
  public let media: Double

  /// Reads the three numbers.
  ///
  /// - Throws: `ExperimentError`.
  public init(_ reader: ExperimentReader) throws(ExperimentError) {
    matrix = try reader.number("matrix", in: 0...10, default: 0.02)
    embedding = try reader.number("embedding", in: 0...10, default: 0.1)
    media = try reader.number("media", in: 0...10, default: 0.3)
  }

  /// The first value of a parameter; each has a random stream of its own, named after it.
  ///
  /// - Parameter layerCount: L.
  public func tensor(_ name: String, shape: [Int], layerCount: Int, seed: Int) -> Tensor {
    guard let deviation = deviation(name, shape: shape, layerCount: layerCount) else {
      return Tensor(repeating: name.hasSuffix(".bias") ? 0 : 1, shape: shape)
    }
    var stream = RandomStream(seed: seed, purpose: "initialization " + name)
    let elements = (0..<shape.reduce(1, *)).map { _ in Float(deviation * stream.normal()) }
    return Tensor(elements, shape: shape)
  }

  /// nil for norms and biases.
  private func deviation(_ name: String, shape: [Int], layerCount: Int) -> Double? {
    guard shape.count == 2 else { return nil }
    let isTable = ["embed_tokens.weight", "_position.weight", "modality_embed.weight"].contains {
      name.hasSuffix($0)
    }
    if isTable { return embedding }
    if name.hasSuffix("_embed.weight") { return media / Double(shape[1]).squareRoot() }
    let isResidual = name.hasSuffix("o_proj.weight") || name.hasSuffix("down_proj.weight")
    return isResidual ? matrix / Double(2 * layerCount).squareRoot() : matrix
  }
}
