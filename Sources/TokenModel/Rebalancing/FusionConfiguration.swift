import Foundation
import RunKit
public import TensorCore

/// Sizes of a `FusionTransformer`.
public struct FusionConfiguration: Sendable, Equatable {
  /// What one modality gives.
  public struct Input: Sendable, Equatable {
    /// The modality.
    public let modality: Modality
    /// The size of a token; if it is not the width of the model, a linear layer brings it there.
    public let size: Int

    /// A modality with tokens of a size.
    public init(_ modality: Modality, size: Int) { (self.modality, self.size) = (modality, size) }
  }

  /// How a layer is built.
  public enum Block: String, CaseIterable, Sendable {
    /// Attention and its output projection, nothing else: h ← o_proj(attention(h)). The fusion of the released RollingQ code.
    case plain
    /// A pre-norm transformer layer: h ← h + o_proj(attention(norm h)), h ← h + down(gelu(up(norm h))).
    case residual
  }

  /// The modalities, in the order of their tokens.
  public var inputs: [Input]
  /// The size of a hidden state; a multiple of `headCount`.
  public var width: Int
  /// Attention heads.
  public var headCount = 1
  /// Layers.
  public var layerCount = 1
  /// How a layer is built.
  public var block = Block.plain
  /// The inner width of the feed-forward layer of `residual`.
  public var feedForwardSize: Int
  /// Logits.
  public var outputSize: Int

  /// One plain layer with one head; the feed-forward layer, where there is one, is four times as wide.
  public init(inputs: [Input], width: Int, outputSize: Int) {
    (self.inputs, self.width, self.outputSize) = (inputs, width, outputSize)
    feedForwardSize = 4 * width
  }

  /// The size of a head.
  public var headSize: Int { width / headCount }
  /// The modalities in order.
  public var modalities: [Modality] { inputs.map(\.modality) }

  /// Names and shapes of all parameters, in a fixed order.
  public var parameterShapes: [(name: String, shape: [Int])] {
    var shapes: [(name: String, shape: [Int])] = [("class_token", [1, width])]
    func linear(_ name: String, from inputSize: Int, to size: Int) {
      shapes += [("\(name).weight", [size, inputSize]), ("\(name).bias", [size])]
    }
    func norm(_ name: String) { shapes += [("\(name).weight", [width]), ("\(name).bias", [width])] }
    for input in inputs where input.size != width {
      linear("inputs.\(input.modality.rawValue)", from: input.size, to: width)
    }
    for layer in 0..<layerCount {
      let prefix = "layers.\(layer)"
      if block == .residual { norm("\(prefix).attention_norm") }
      for name in ["query", "key", "value", "output"] { linear("\(prefix).\(name)", from: width, to: width) }
      if block == .residual {
        norm("\(prefix).feed_forward_norm")
        linear("\(prefix).up", from: width, to: feedForwardSize)
        linear("\(prefix).down", from: feedForwardSize, to: width)
      }
    }
    if block == .residual { norm("norm") }
    linear("head", from: width, to: outputSize)
    return shapes
  }

  /// Parameters to begin a training with: the class token normal with standard deviation 0.02, matrices uniform within
  /// ±1/√inputSize, norms 1, everything else 0. Each tensor has a random stream of its own.
  public func initialParameters(seed: Int) -> ParameterSet {
    ParameterSet(
      parameterShapes.enumerated().map { index, parameter in
        let (name, shape) = parameter
        var stream = RandomStream(seed: seed, purpose: "fusion.\(name)", id: index)
        let count = shape.reduce(1, *)
        let values: [Float]
        if name == "class_token" {
          values = (0..<count).map { _ in Float(0.02 * stream.normal()) }
        } else if shape.count == 2 {
          let bound = 1 / Double(shape[1]).squareRoot()
          values = (0..<count).map { _ in Float((2 * stream.uniform() - 1) * bound) }
        } else {
          values = [Float](repeating: name.hasSuffix("norm.weight") ? 1 : 0, count: count)
        }
        return (name, Tensor(values, shape: shape))
      })
  }
}

/// The tokens of one modality of a batch.
public struct FusionInput: Sendable {
  /// `[tokens of all samples, size]`, the samples one after another.
  public let tokens: Tensor
  /// How many tokens each sample has; 0 where the modality is missing.
  public let lengths: [Int]

  /// Tokens of a batch.
  public init(_ tokens: Tensor, lengths: [Int]) {
    require(
      tokens.rank == 2 && lengths.reduce(0, +) == tokens.rows, "\(tokens.shape) for lengths \(lengths)")
    (self.tokens, self.lengths) = (tokens, lengths)
  }

  /// A batch in which every sample has as many tokens: `[samples, tokens, size]`.
  public init(_ tokens: Tensor) {
    require(tokens.rank == 3, "tokens of shape \(tokens.shape), expected samples, tokens and size")
    self.init(
      tokens.reshaped(to: [tokens.shape[0] * tokens.shape[1], tokens.shape[2]]),
      lengths: [Int](repeating: tokens.shape[1], count: tokens.shape[0]))
  }
}

/// What accompanies one pass through a `FusionTransformer`.
public struct FusionOptions: Sendable {
  /// The rotations of the class token's query, by layer; nil for none.
  public var rolling: RollingQueries?
  /// What to reduce from the attention probabilities of each layer. Groups of keys that are asked for are the class token
  /// (0) and the modalities in order.
  public var request = AttentionRequest()
  /// Whether the last layer computes every row; only that of the class token reaches the logits.
  public var computesAllRows = false
  /// Elements of each block's output that are dropped in training, in 0..<1.
  public var dropoutRate: Float = 0
  /// The key of the elements dropped; the same key drops the same.
  public var dropoutKey: UInt64 = 0

  /// The defaults.
  public init() {}
}

/// The outcome of one pass.
public struct FusionResult: Sendable {
  /// One layer's attention.
  public struct Layer: Sendable {
    /// `[rows, width]`, rotated where they are: of every row, or of the class tokens alone.
    public let queries: Tensor
    /// `[samples, width]`: those of the class tokens.
    public let classQueries: Tensor
    /// `[rows, width]`.
    public let keys: Tensor
    /// `[rows, width]`.
    public let values: Tensor
    /// What was requested.
    public let statistics: AttentionStatistics?
  }

  /// `[samples, outputSize]`.
  public let logits: Tensor
  /// `[samples, width]`: what enters the output layer.
  public let features: Tensor
  /// From the lowest on.
  public let layers: [Layer]
  /// Which class query and which keys of each modality belong together.
  public let observations: [AttentionBalance.Observation]
}

extension RollingQueries {
  /// Notes the class tokens of a batch in every layer.
  public mutating func observe(_ result: FusionResult) {
    for layer in layers where layer < result.layers.count {
      let attention = result.layers[layer]
      observe(layer: layer, queries: attention.classQueries, keys: attention.keys, result.observations)
    }
  }
}
