import TensorCore
import TokenModel

/// `BertEncoder` of TokenModel over a text: its pooled or its first row, and a linear map if another size is asked for.
///
/// An input holds 1 + the id of each piece, and 0 where the text has ended, which no piece sees; a text without any piece
/// is one of padding.
struct BertTextEncoder: Encoder {
  /// Which row stands for a text.
  enum Pooling: String, CaseIterable, Sendable {
    /// The first through a linear map and tanh.
    case pooler
    /// The first of the last layer.
    case first
  }

  let inputShape: [Int]
  let featureSize: Int
  let parameters: [ParameterShape]
  private let configuration: BertEncoder.Configuration
  private let pooling: Pooling
  private let dropout: Double
  private let paddingID: Int

  var kind: String { "bert" }
  private var projects: Bool { featureSize != configuration.hiddenSize }

  /// - Parameters:
  ///   - length: The most pieces of a text.
  ///   - tensors: Of a folder; nil to start at random.
  ///   - featureSize: nil for the width of the model.
  /// - Throws: `ConfigurationError`, `StoredTensorError`.
  init(
    length: Int, _ configuration: BertEncoder.Configuration, tensors: ShardedTensors?, pooling: Pooling,
    dropout: Double, paddingID: Int, featureSize: Int? = nil
  ) throws {
    inputShape = [length]
    (self.configuration, self.pooling, self.dropout) = (configuration, pooling, dropout)
    (self.paddingID, self.featureSize) = (paddingID, featureSize ?? configuration.hiddenSize)
    let make = { (source: WeightSource) throws in
      _ = try BertEncoder(configuration, weights: source, hasPooler: pooling == .pooler)
    }
    var shapes =
      try tensors.map { try TowerWeights.stored($0, BertEncoder.layout, make) }
      ?? TowerWeights.drawn(make)
    let width = configuration.hiddenSize
    if let featureSize, featureSize != width {
      shapes.append(ParameterShape(name: "projection.weight", shape: [featureSize, width], fanIn: width))
      shapes.append(ParameterShape(name: "projection.bias", shape: [featureSize], fanIn: width))
    }
    parameters = shapes
  }

  func features(of input: Tensor, _ pass: EncoderPass) -> Tensor {
    let encoder = TowerWeights.model(pass) {
      try BertEncoder(configuration, weights: $0, hasPooler: pooling == .pooler)
    }
    let sequences = input.hostRows().map { row -> [Int] in
      let ids = row.map { Int($0) }.filter { $0 > 0 }.map { $0 - 1 }
      return ids.isEmpty ? [paddingID] : ids
    }
    func dropping(_ tensor: Tensor, _ place: String) -> Tensor {
      pass.dropped(tensor, rate: dropout, place)
    }
    let rows =
      pooling == .pooler
      ? encoder.pooled(sequences, dropping: dropping) : encoder.firstRows(sequences, dropping: dropping)
    guard projects else { return rows }
    return LinearWeight(pass["projection.weight"]).forward(rows, bias: pass["projection.bias"])
  }
}
