public import TensorCore

/// The image tower of CLIP: a vision transformer with a class row and a norm before the first layer.
///
///     x = pre_layrnorm([class; patches W] + positions),   then `TowerLayer`s,   pooled = post_layernorm(x[class])
///
/// Source: Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", ICML 2021,
/// arXiv:2103.00020, section 2.4.
public struct CLIPVisionTower: Sendable {
  /// Sizes and settings of a `clip_vision_model`, with the defaults of its class.
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
      try reader.refuse("model_type", unless: ["clip_vision_model"])
      let sizes = 1...(1 << 20)
      channels = try reader.integer("num_channels", in: 1...64, default: 3)
      imageSize = try reader.integer("image_size", in: 1...16384, default: 224)
      patchSize = try reader.integer("patch_size", in: 1...imageSize, default: 32)
      hiddenSize = try reader.integer("hidden_size", in: sizes, default: 768)
      intermediateSize = try reader.integer("intermediate_size", in: sizes, default: 3072)
      layerCount = try reader.integer("num_hidden_layers", in: 1...4096, default: 12)
      headCount = try reader.integer("num_attention_heads", in: 1...4096, default: 12)
      normEpsilon = try reader.number("layer_norm_eps", above: 0, default: 1e-5)
      activation = try Activation(reader, key: "hidden_act", default: .quickGELU)
      guard hiddenSize % headCount == 0 else {
        throw .outOfRange(
          path: reader.path, key: "num_attention_heads", found: "\(headCount)",
          expected: "a divisor of hidden_size \(hiddenSize)")
      }
    }
  }

  /// Sizes and settings.
  public let configuration: Configuration
  private let classEmbedding: Tensor  // embeddings.class_embedding
  private let patchEmbedding: Linear  // embeddings.patch_embedding
  private let positions: Tensor  // embeddings.position_embedding
  private let firstNorm: LayerNorm  // pre_layrnorm
  private let layers: [TowerLayer]
  private let lastNorm: LayerNorm  // post_layernorm

  /// - Parameter weights: Names relative to the tower.
  /// - Throws: `ConfigurationError`, `StoredTensorError`.
  public init(_ configuration: Configuration, weights: WeightSource) throws {
    self.configuration = configuration
    let (hidden, patch) = (configuration.hiddenSize, configuration.patchSize)
    let embeddings = weights.under("embeddings")
    classEmbedding = try embeddings.tensor("class_embedding", shape: [hidden])
    patchEmbedding = Linear(
      weight: try embeddings.matrix(
        "patch_embedding.weight", shape: [hidden, configuration.channels, patch, patch]))
    positions = try embeddings.tensor(
      "position_embedding.weight", shape: [configuration.gridSize * configuration.gridSize + 1, hidden])
    let epsilon = configuration.normEpsilon
    firstNorm = try LayerNorm(weights, "pre_layrnorm", size: hidden, epsilon: epsilon)
    layers = try (0..<configuration.layerCount).map { index in
      try TowerLayer(
        weights.under("encoder.layers.\(index)"), hidden: hidden, inner: configuration.intermediateSize,
        heads: configuration.headCount, activation: configuration.activation, epsilon: epsilon)
    }
    lastNorm = try LayerNorm(weights, "post_layernorm", size: hidden, epsilon: epsilon)
    try weights.checkLayerCount(configuration.layerCount, of: "encoder.layers", ending: "layer_norm1.weight")
  }

  /// Runs the layers as far as they are needed.
  ///
  /// - Parameters:
  ///   - pixels: Normalised, `[images, channels, size, size]` row-major.
  ///   - states: The hidden states that are wanted: i is what enters layer i, `layerCount` what leaves the last one.
  /// - Returns: For each wanted state `[images * (1 + patches), hidden]`, an image's class row first; and how rows belong
  ///   to images.
  public func hiddenStates(pixels: [Float], images: Int, states: [Int], options: ForwardOptions) -> [Tensor] {
    let settings = configuration
    let length = settings.gridSize * settings.gridSize + 1
    require(
      pixels.count == images * settings.channels * settings.imageSize * settings.imageSize
        && states.allSatisfy { 0...settings.layerCount ~= $0 },
      "\(pixels.count) pixels of \(images) images, or states \(states) of \(settings.layerCount) layers")
    let pass = ForwardPass(
      .vision, lengths: [Int](repeating: length, count: images), role: .image, options: options)
    var hidden = firstNorm(pass.site(.embeddings, embedded(pixels, images: images)))
    // An observer may want layers beyond those the model uses.
    let last = options.observers.isEmpty ? states.max() ?? 0 : settings.layerCount
    var found: [Int: Tensor] = [:]
    for index in 0...last {
      if states.contains(index) { found[index] = hidden }
      if index < last { hidden = layers[index](hidden, index, pass) }
    }
    return states.compactMap { found[$0] }
  }

  /// The pooled output of the last hidden state: the norm of each image's class row, `[images, hidden]`.
  public func pooled(_ last: Tensor) -> Tensor {
    let length = configuration.gridSize * configuration.gridSize + 1
    return lastNorm(last.gatherRows(Array(stride(from: 0, to: last.rows, by: length))))
  }

  /// Class and patch rows with their positions, `[images * (1 + patches), hidden]`.
  private func embedded(_ pixels: [Float], images: Int) -> Tensor {
    let settings = configuration
    let patches = settings.gridSize * settings.gridSize
    let order = PatchOrder(
      channels: settings.channels, height: settings.imageSize, width: settings.imageSize,
      patch: settings.patchSize)
    let size = settings.channels * settings.imageSize * settings.imageSize
    var inputs: [Float] = []
    inputs.reserveCapacity(images * order.elements.count)
    for image in 0..<images { inputs += order.elements.map { pixels[image * size + $0] } }
    let rows = patchEmbedding.weight.forward(
      Tensor(inputs, shape: [images * patches, inputs.count / (images * patches)]),
      segments: RowSegments(lengths: [Int](repeating: patches, count: images)))
    patchEmbedding.releasePages()
    let classRow = classEmbedding.reshaped(to: [1, settings.hiddenSize])
    return Tensor.concatenated(
      (0..<images).map { image in
        Tensor.concatenated([classRow, rows.slice(image * patches..<(image + 1) * patches)]) + positions
      })
  }
}

/// Which elements of an image `[channels, height, width]` each patch holds: patches row by row, in each channel, row, column.
struct PatchOrder: Sendable {
  /// Element numbers, patch after patch. Rows and columns beyond the last whole patch are in none.
  let elements: [Int]

  init(channels: Int, height: Int, width: Int, patch: Int) {
    var elements: [Int] = []
    elements.reserveCapacity(channels * height * width)
    for top in 0..<height / patch {
      for left in 0..<width / patch {
        for channel in 0..<channels {
          for row in top * patch..<(top + 1) * patch {
            let start = (channel * height + row) * width + left * patch
            elements += start..<start + patch
          }
        }
      }
    }
    self.elements = elements
  }
}
