public import TensorCore

/// The audio tower of Qwen2-Audio: the encoder of Whisper with an average over pairs of positions.
///
///     h = gelu(conv₂(gelu(conv₁(log-mel)))) + position          (kernel 3; conv₂ takes every second frame)
///     h ← h + out_proj(attention(q, k, v)),      h ← h + fc2(gelu(fc1(layer_norm(h))))
///     rows = layer_norm(mean of two positions)
///
/// Of n frames of sound ⌊(n − 1) / 2⌋ + 1 positions are heard; each pair of them gives a row. Positions of padding are
/// hidden as keys.
///
/// Source: Chu et al., "Qwen2-Audio", 2024, arXiv:2407.10759, section 2; Radford et al., "Robust Speech Recognition via
/// Large-Scale Weak Supervision", 2022, arXiv:2212.04356, section 2.2.
public struct WhisperEncoder: Sendable {
  private let melBins: Int
  private let positionCount: Int
  private let first: (weight: Tensor, bias: Tensor)  // conv1: [width, 1, 3, mel]
  private let second: (weight: Tensor, bias: Tensor)  // conv2: [width, 1, 3, width]
  private let positions: Tensor  // embed_positions: [positions, width]
  private let layers: [TowerLayer]  // layers.i
  private let finalNorm: LayerNorm  // layer_norm
  /// The width of a row.
  public let width: Int
  // torch's LayerNorm
  private static let epsilon = 1e-5
  private static let names = TowerLayer.Names(
    firstNorm: "self_attn_layer_norm", secondNorm: "final_layer_norm", inner: "fc1", outer: "fc2",
    keyHasBias: false)

  /// Takes the weights out of a checkpoint; `weights` are under `audio_tower`.
  ///
  /// - Parameter reader: `audio_config`.
  /// - Throws: `ConfigurationError`, `StoredTensorError`.
  public init(_ reader: ConfigurationReader, weights: WeightSource) throws {
    let width = try reader.integer("d_model", in: 1...(1 << 20), default: 1280)
    let melBins = try reader.integer("num_mel_bins", in: 1...4096, default: 128)
    let inner = try reader.integer("encoder_ffn_dim", in: 1...(1 << 24), default: 5120)
    let depth = try reader.integer("encoder_layers", in: 1...4096, default: 32)
    let heads = try reader.integer("encoder_attention_heads", in: 1...4096, default: 20)
    guard width % heads == 0 else {
      throw ConfigurationError.outOfRange(
        path: reader.path, key: "audio_config.encoder_attention_heads", found: "\(heads)",
        expected: "a divisor of d_model (\(width))")
    }
    positionCount = try reader.integer("max_source_positions", in: 2...(1 << 20), default: 1500)
    let activation = try Activation(reader, key: "activation_function", default: .gelu)
    positions = try weights.tensor("embed_positions.weight", shape: [positionCount, width])
    first = try Self.convolution("conv1", from: melBins, to: width, weights: weights)
    second = try Self.convolution("conv2", from: width, to: width, weights: weights)
    layers = try (0..<depth).map { index in
      try TowerLayer(
        weights.under("layers.\(index)"), hidden: width, inner: inner, heads: heads, activation: activation,
        epsilon: Self.epsilon, names: Self.names)
    }
    finalNorm = try LayerNorm(weights, "layer_norm", size: width, epsilon: Self.epsilon)
    try weights.checkLayerCount(depth, of: "layers", ending: "fc1.weight")
    (self.width, self.melBins) = (width, melBins)
  }

  /// `[outputs, inputs, 3]` of the file as `[outputs, 1, 3, inputs]`.
  private static func convolution(
    _ name: String, from inputs: Int, to outputs: Int, weights: WeightSource
  ) throws -> (weight: Tensor, bias: Tensor) {
    let kernel = try weights.tensor("\(name).weight", shape: [outputs, inputs, 3])
    let taps = kernel.reshaped(to: [outputs * inputs, 3]).transposed().reshaped(to: [3 * outputs, inputs])
    let order = (0..<outputs).flatMap { output in (0..<3).map { $0 * outputs + output } }
    return (
      taps.gatherRows(order).reshaped(to: [outputs, 1, 3, inputs]),
      try weights.tensor("\(name).bias", shape: [outputs])
    )
  }

  /// What one sound must look like: `[mel bins, frames]`, padded to the longest the encoder takes.
  public var inputShape: [Int] { [melBins, 2 * positionCount] }
  /// The number of layers.
  public var layerCount: Int { layers.count }

  /// Positions that hear `frames` frames of sound.
  public static func positionCount(frames: Int) -> Int { (frames + 1) / 2 }
  /// Rows that `frames` frames of sound become.
  public static func rowCount(frames: Int) -> Int { positionCount(frames: frames) / 2 }

  /// Encodes sounds.
  ///
  /// - Parameters:
  ///   - features: `inputShape` for each sound.
  ///   - frameCounts: For each sound the frames before its padding, at least 3: fewer give no row.
  ///   - includesPadding: Whether positions of padding are computed too. They change nothing for the others; whoever compares
  ///     with a padded batch wants them.
  /// - Returns: `[rows, width]`, the sounds one after another: of each `rowCount(frames:)` rows, or with padding half of all
  ///   positions.
  public func callAsFunction(
    _ features: [Tensor], frameCounts: [Int], includesPadding: Bool = false,
    options: ForwardOptions = ForwardOptions()
  ) -> Tensor {
    require(features.count == frameCounts.count, "\(features.count) sounds, \(frameCounts.count) lengths")
    require(
      features.allSatisfy { $0.shape == inputShape } && frameCounts.allSatisfy { 3...inputShape[1] ~= $0 },
      "sounds of \(features.map(\.shape)) with \(frameCounts) frames for an encoder of \(inputShape)")
    let heard = frameCounts.map { Self.positionCount(frames: $0) }
    let lengths = includesPadding ? heard.map { _ in positionCount } : heard
    var pass = ForwardPass(.audio, lengths: lengths, role: .audio, options: options)
    if includesPadding {
      pass.hiddenRows = heard.flatMap { count in (0..<positionCount).map { $0 >= count } }
    }
    let starts = zip(features, lengths).map { sound, length in
      convolved(sound).slice(0..<length) + positions.slice(0..<length)
    }
    var hidden = pass.site(.embeddings, Tensor.concatenated(starts))
    for (index, layer) in layers.enumerated() { hidden = layer(hidden, index, pass) }
    let pooled = (0..<lengths.count).map { pairMeans(hidden.slice(pass.context.segments[$0])) }
    let rows = ForwardPass(.audio, lengths: pooled.map(\.rows), role: .audio, options: options)
    return rows.site(.finalNorm, finalNorm(Tensor.concatenated(pooled)))
  }

  /// `[mel bins, frames]` to `[positions, width]`.
  private func convolved(_ sound: Tensor) -> Tensor {
    let frames = sound.transposed().reshaped(to: [1, 1, inputShape[1], melBins])
    let one = Convolution(ImageWindow(size: (1, 3), padding: (0, 1)))
    let two = Convolution(ImageWindow(size: (1, 3), stride: (1, 2), padding: (0, 1)))
    // The convolutions have GELU whatever activation the layers have.
    let inner = one(frames, weight: first.weight, bias: first.bias).gelu()
    return two(inner, weight: second.weight, bias: second.bias).gelu().reshaped(to: [positionCount, width])
  }

  /// The mean of rows 2i and 2i + 1; a last row without a partner is left out.
  private func pairMeans(_ rows: Tensor) -> Tensor {
    let count = rows.rows / 2
    let even = rows.slice(0..<2 * count).reshaped(to: [1, 1, 2 * count, width])
    return even.averagePooled(ImageWindow(size: (1, 2), stride: (1, 2))).reshaped(to: [count, width])
  }
}
