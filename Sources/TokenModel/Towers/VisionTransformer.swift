public import Foundation
public import TensorCore

/// A vision transformer such as ViT-B/16, with or without its classifier.
///
///     x = [class; patches W + b] + positions,   then `TowerLayer`s,   x = layernorm(x)
///     logits = classifier(x[class])
///
/// Source: Dosovitskiy et al., "An Image is Worth 16x16 Words", ICLR 2021, arXiv:2010.11929, equations 1 to 4.
public struct VisionTransformer: Sendable {
  /// Sizes and settings of a `vit`, with the defaults of its class: those of ViT-B/16.
  public struct Configuration: Sendable, Equatable {
    /// Channels of an image.
    public let channels: Int
    /// Height and width of an image.
    public let imageSize: Int
    /// Height and width of a patch.
    public let patchSize: Int
    /// The width of a hidden state.
    public let hiddenSize: Int
    /// The inner width of the feed-forward layer.
    public let intermediateSize: Int
    /// The number of layers.
    public let layerCount: Int
    /// The number of heads.
    public let headCount: Int
    /// ε of the norms.
    public let normEpsilon: Double
    /// The activation between the two matrices of a feed-forward layer.
    public let activation: Activation

    /// Patches from top to bottom, and from left to right.
    public var gridSize: Int { imageSize / patchSize }

    /// - Throws: `ConfigurationError`.
    public init(_ reader: ConfigurationReader) throws(ConfigurationError) {
      try reader.refuse("model_type", unless: ["vit"])
      try reader.refuse("qkv_bias", unless: [true])
      let sizes = 1...(1 << 20)
      channels = try reader.integer("num_channels", in: 1...64, default: 3)
      imageSize = try reader.integer("image_size", in: 1...16384, default: 224)
      patchSize = try reader.integer("patch_size", in: 1...imageSize, default: 16)
      hiddenSize = try reader.integer("hidden_size", in: sizes, default: 768)
      intermediateSize = try reader.integer("intermediate_size", in: sizes, default: 3072)
      layerCount = try reader.integer("num_hidden_layers", in: 1...4096, default: 12)
      headCount = try reader.integer("num_attention_heads", in: 1...4096, default: 12)
      normEpsilon = try reader.number("layer_norm_eps", above: 0, default: 1e-12)
      activation = try Activation(reader, key: "hidden_act", default: .gelu)
      guard hiddenSize % headCount == 0 else {
        throw .outOfRange(
          path: reader.path, key: "num_attention_heads", found: "\(headCount)",
          expected: "a divisor of hidden_size \(hiddenSize)")
      }
    }
  }

  /// Names in files, whether the tower stands alone or beside a classifier.
  public static let layout = KeyLayout([
    "embeddings": ["vit.embeddings", "embeddings"], "encoder": ["vit.encoder", "encoder"],
    "layernorm": ["vit.layernorm", "layernorm"],
  ])

  /// Sizes and settings.
  public let configuration: Configuration
  private let classEmbedding: Tensor  // embeddings.cls_token
  private let patchWeight: Tensor  // embeddings.patch_embeddings.projection.weight, channels last
  private let patchBias: Tensor
  private let positions: Tensor  // embeddings.position_embeddings
  private let layers: [TowerLayer]  // encoder.layer.i
  private let lastNorm: LayerNorm  // layernorm
  private let classifier: (any LinearLayer)?  // classifier
  private static let names = TowerLayer.Names(
    attention: "attention", query: "attention.query", key: "attention.key", value: "attention.value",
    output: "output.dense", firstNorm: "layernorm_before", secondNorm: "layernorm_after",
    inner: "intermediate.dense", outer: "output.dense")

  /// - Parameters:
  ///   - weights: All tensors of the file, by the names of `layout`.
  ///   - classCount: Rows of the classifier; nil for a tower without one.
  /// - Throws: `ConfigurationError`, `StoredTensorError`.
  public init(_ configuration: Configuration, weights: WeightSource, classCount: Int? = nil) throws {
    self.configuration = configuration
    let (hidden, patch) = (configuration.hiddenSize, configuration.patchSize)
    let weights = weights.with(Self.layout)
    let embeddings = weights.under("embeddings")
    classEmbedding = try embeddings.tensor("cls_token", shape: [1, 1, hidden])
    let projection = embeddings.under("patch_embeddings.projection")
    patchWeight = try projection.tensor("weight", shape: [hidden, configuration.channels, patch, patch])
      .channelsLast()
    patchBias = try projection.tensor("bias", shape: [hidden])
    positions = try embeddings.tensor(
      "position_embeddings", shape: [1, configuration.gridSize * configuration.gridSize + 1, hidden])
    layers = try (0..<configuration.layerCount).map { index in
      try TowerLayer(
        weights.under("encoder.layer.\(index)"), hidden: hidden, inner: configuration.intermediateSize,
        heads: configuration.headCount, activation: configuration.activation,
        epsilon: configuration.normEpsilon, names: Self.names)
    }
    lastNorm = try LayerNorm(weights, "layernorm", size: hidden, epsilon: configuration.normEpsilon)
    classifier = try classCount.map {
      try weights.linear("classifier", from: hidden, to: $0, hasBias: true)
    }
    try weights.checkLayerCount(
      configuration.layerCount, of: "encoder.layer", ending: "layernorm_before.weight")
  }

  /// Reads a folder of Hugging Face with `config.json` and safetensors files; a classifier is read if there is one.
  ///
  /// - Throws: `ConfigurationError`, `FileError`, `SafetensorsError`, `ShardedTensorsError`, `StoredTensorError`.
  public init(folder: URL) throws {
    let reader = try ConfigurationReader(folder: folder)
    let tensors = try ShardedTensors(folder: folder.path)
    try self.init(
      Configuration(reader), weights: WeightSource(tensors),
      classCount: tensors["classifier.weight"]?.shape.first)
  }

  /// The normed output of the last layer.
  ///
  /// - Parameter images: Normalised, `[images, size, size, channels]`.
  /// - Returns: `[images · (1 + patches), hidden]`: of each image the class row, then its patches row by row.
  public func hidden(_ images: Tensor, options: ForwardOptions = ForwardOptions()) -> Tensor {
    let settings = configuration
    let (size, patch) = (settings.imageSize, settings.patchSize)
    require(
      images.rank == 4 && Array(images.shape.dropFirst()) == [size, size, settings.channels],
      "images of \(images.shape) for a vision transformer of \(size) x \(size), \(settings.channels) channels"
    )
    let patches = settings.gridSize * settings.gridSize
    let windows = Convolution(ImageWindow(size: (patch, patch), stride: (patch, patch)))
    let rows = windows(images, weight: patchWeight, bias: patchBias).reshaped(
      to: [images.shape[0] * patches, settings.hiddenSize])
    let classRow = classEmbedding.reshaped(to: [1, settings.hiddenSize])
    let places = positions.reshaped(to: [patches + 1, settings.hiddenSize])
    let embedded = (0..<images.shape[0]).map { image in
      Tensor.concatenated([classRow, rows.slice(image * patches..<(image + 1) * patches)]) + places
    }
    let pass = ForwardPass(
      .vision, lengths: [Int](repeating: patches + 1, count: images.shape[0]), role: .image,
      options: options)
    var hidden = pass.site(.embeddings, Tensor.concatenated(embedded))
    for (index, layer) in layers.enumerated() { hidden = layer(hidden, index, pass) }
    return lastNorm(hidden)
  }

  /// The class row of every image, `[images, hidden]`.
  ///
  /// - Parameter images: Normalised, `[images, size, size, channels]`.
  public func features(_ images: Tensor) -> Tensor {
    let hidden = hidden(images)
    let length = hidden.rows / max(images.shape[0], 1)
    return hidden.gatherRows((0..<images.shape[0]).map { $0 * length })
  }

  /// The logits of the classifier, `[images, classes]`, for a tower that has one.
  ///
  /// - Parameter images: Normalised, `[images, size, size, channels]`.
  public func logits(_ images: Tensor) -> Tensor {
    guard let classifier else { preconditionFailure("logits of a vision transformer without a classifier") }
    return classifier(
      features(images), .rows(lengths: [Int](repeating: 1, count: images.shape[0]), role: .image))
  }
}

extension Tensor {
  /// The weight of a convolution, `[outputs, channels, rows, columns]` as files have it, as the kernels want it, `[outputs,
  /// rows, columns, channels]`.
  func channelsLast() -> Tensor {
    require(rank == 4, "the weight of a convolution of shape \(shape)")
    let (outputs, channels, taps) = (shape[0], shape[1], shape[2] * shape[3])
    let order = (0..<outputs).flatMap { output in (0..<taps).map { $0 * outputs + output } }
    return reshaped(to: [outputs * channels, taps]).transposed().reshaped(to: [taps * outputs, channels])
      .gatherRows(order).reshaped(to: [outputs, shape[2], shape[3], channels])
  }
}
