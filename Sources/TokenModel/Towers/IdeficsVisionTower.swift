public import TensorCore

/// The vision tower and connector of Idefics3 and SmolVLM: a SigLIP encoder with positions as fractions of the image, and a
/// pixel shuffle that puts blocks of patches side by side.
///
///     h = W patch + b + position[bucket(row / rows) · N + bucket(column / columns)]
///     h ← h + out_proj(attention(q, k, v)),     h ← h + fc2(gelu(fc1(layer_norm(h))))
///     rows = modality_projection [layer_norm(h) of a scale x scale block of patches]
///
/// An image of fewer patches than the position table has in a direction is spread over all of it. Patches of padding are
/// hidden as keys, and take part otherwise.
///
/// Source: Laurençon et al., "Building and better understanding vision-language models", 2024, arXiv:2408.12637; positions
/// from Dehghani et al., "Patch n' Pack: NaViT", 2023, arXiv:2307.06304, section 2.1.
public struct IdeficsVisionTower: Sendable {
  /// Channels of a tile.
  public let channels: Int
  /// Height and width of the image the position table was made for.
  public let imageSize: Int
  private let patchSize: Int
  /// Patches on a side of the image the position table was made for.
  private let tableSide: Int
  /// Patches on the side of a block.
  public let scale: Int
  private let embedding: Linear  // embeddings.patch_embedding
  private let positions: LinearWeight  // embeddings.position_embedding
  private let layers: [TowerLayer]  // encoder.layers.i
  private let finalNorm: LayerNorm  // post_layernorm
  private let projection: any LinearLayer  // connector.modality_projection.proj

  /// Takes the weights out of a checkpoint.
  ///
  /// - Parameters:
  ///   - reader: The whole configuration: `vision_config` and `scale_factor`.
  ///   - outputWidth: The width of the decoder's hidden states.
  ///   - weights: Over `vision_model` and `connector`.
  /// - Throws: `ConfigurationError`, `StoredTensorError`.
  public init(_ reader: ConfigurationReader, outputWidth: Int, weights: WeightSource) throws {
    let vision = try reader.requiredSection("vision_config")
    let width = try vision.integer("hidden_size", in: 1...(1 << 20), default: 1152)
    let inner = try vision.integer("intermediate_size", in: 1...(1 << 24), default: 3072)
    let depth = try vision.integer("num_hidden_layers", in: 1...4096, default: 12)
    let heads = try vision.integer("num_attention_heads", in: 1...4096, default: 16)
    guard width % heads == 0 else {
      throw ConfigurationError.outOfRange(
        path: vision.path, key: "vision_config.num_attention_heads", found: "\(heads)",
        expected: "a divisor of hidden_size (\(width))")
    }
    channels = try vision.integer("num_channels", in: 1...64, default: 3)
    let patch = try vision.integer("patch_size", in: 1...4096, default: 32)
    imageSize = try vision.integer("image_size", in: patch...(1 << 16), default: 224)
    (patchSize, tableSide) = (patch, imageSize / patch)
    scale = try reader.integer("scale_factor", in: 1...64, default: 2)
    let activation = try Activation(vision, key: "hidden_act", default: .geluTanh)
    let epsilon = try vision.number("layer_norm_eps", above: 0, default: 1e-6)
    let source = weights.under("vision_model")
    embedding = Linear(
      weight: try source.matrix(
        "embeddings.patch_embedding.weight", shape: [width, channels, patchSize, patchSize]),
      bias: try source.tensor("embeddings.patch_embedding.bias", shape: [width]))
    positions = try source.matrix(
      "embeddings.position_embedding.weight", rows: tableSide * tableSide, columns: width)
    layers = try (0..<depth).map { index in
      try TowerLayer(
        source.under("encoder.layers.\(index)"), hidden: width, inner: inner, heads: heads,
        activation: activation, epsilon: epsilon)
    }
    finalNorm = try LayerNorm(source, "post_layernorm", size: width, epsilon: epsilon)
    projection = try weights.linear(
      "connector.modality_projection.proj", from: width * scale * scale, to: outputWidth)
    try source.checkLayerCount(depth, of: "encoder.layers", ending: "layer_norm1.weight")
  }

  /// The number of layers.
  public var layerCount: Int { layers.count }

  /// Whether a tile `[channels, side, side]` of this shape can be taken: whole blocks of patches, square.
  public func takes(tile shape: [Int]) -> Bool {
    shape.count == 3 && shape[0] == channels && shape[1] == shape[2] && shape[1] / patchSize > 0
      && shape[1] / patchSize % scale == 0
  }

  /// Rows of a tile in each direction once it is projected.
  public func rowsPerSide(ofTile side: Int) -> Int { side / patchSize / scale }

  /// Turns tiles into rows of the decoder.
  ///
  /// - Parameters:
  ///   - pixels: `[tiles, channels, side, side]`, row-major.
  ///   - side: Height and width of a tile; see `takes`.
  ///   - visible: For each tile the height and width that show the image, from the top left, at least 1.
  ///   - options: Observers; their contexts have a segment for each tile.
  /// - Returns: `[tiles * rowsPerSide², output width]`, tile by tile, row by row.
  public func callAsFunction(
    _ pixels: [Float], side: Int, visible: [Medium.Extent], options: ForwardOptions = ForwardOptions()
  ) -> Tensor {
    let count = side / patchSize
    let tiles = visible.map { extent in
      Medium.Extent(
        height: patchCount(showing: extent.height, of: count),
        width: patchCount(showing: extent.width, of: count))
    }
    let lengths = [Int](repeating: count * count, count: tiles.count)
    var pass = ForwardPass(.vision, lengths: lengths, role: .image, options: options)
    if tiles.contains(where: { $0.height < count || $0.width < count }) {
      pass.hiddenRows = tiles.flatMap { tile in
        (0..<count * count).map { $0 / count >= tile.height || $0 % count >= tile.width }
      }
    }
    let patches = embedding(patchRows(pixels, tiles: tiles.count, side: side), pass.context)
    let places = tiles.flatMap { positionIDs(of: $0, count: count) }
    var hidden = pass.site(.embeddings, patches + positions.rows(places))
    for (index, layer) in layers.enumerated() { hidden = layer(hidden, index, pass) }
    let normed = pass.site(.finalNorm, finalNorm(hidden))
    let shuffled = normed.gatherRows(blockOrder(tiles: tiles.count, count: count))
      .reshaped(to: [normed.rows / scale / scale, projection.inputSize])
    let blocks = ForwardPass(
      .vision, lengths: lengths.map { $0 / scale / scale }, role: .image, options: options)
    return blocks.site(.projected, projection(shuffled, blocks.context))
  }

  /// Patches that show at least one of `pixels` pixels.
  private func patchCount(showing pixels: Int, of count: Int) -> Int {
    require(pixels > 0, "a tile that shows nothing")
    return min(count, (pixels + patchSize - 1) / patchSize)
  }

  /// Pixels patch by patch, row by row; channel, row, column within each.
  private func patchRows(_ pixels: [Float], tiles: Int, side: Int) -> Tensor {
    let size = channels * side * side
    require(pixels.count == tiles * size, "\(pixels.count) pixels for \(tiles) tiles of \(side)")
    let order = PatchOrder(channels: channels, height: side, width: side, patch: patchSize).elements
    var rows: [Float] = []
    rows.reserveCapacity(tiles * order.count)
    for tile in 0..<tiles { rows += order.map { pixels[tile * size + $0] } }
    return Tensor(rows, shape: [rows.count / embedding.inputSize, embedding.inputSize])
  }

  /// The row of the position table for every patch of a tile; 0 for patches of padding.
  func positionIDs(of tile: Medium.Extent, count: Int) -> [Int] {
    let rows = Self.buckets(visible: tile.height, count: count, tableSide: tableSide)
    let columns = Self.buckets(visible: tile.width, count: count, tableSide: tableSide)
    return (0..<count * count).map { patch in
      let (row, column) = (patch / count, patch % count)
      return row < tile.height && column < tile.width ? rows[row] * tableSide + columns[column] : 0
    }
  }

  /// ⌊N · i / visible⌋ as the reference computes it: in float32, where a fraction that should lie on the edge of a bucket
  /// may fall below it.
  static func buckets(visible: Int, count: Int, tableSide: Int) -> [Int] {
    let step = 1 / Float(visible)
    let edges = (1..<max(tableSide, 2)).map { edge in
      Float(1 / Double(tableSide) + Double(edge - 1) * (1 / Double(tableSide)))
    }
    return (0..<count).map { index in
      let fraction = min(Float(index) * step, Float(1 - 1e-6))
      return tableSide == 1 ? 0 : edges.count { $0 <= fraction }
    }
  }

  /// Patches block by block: the patches of a scale x scale block one after another, row by row.
  private func blockOrder(tiles: Int, count: Int) -> [Int] {
    var order: [Int] = []
    for tile in 0..<tiles {
      for top in stride(from: 0, to: count, by: scale) {
        for left in stride(from: 0, to: count, by: scale) {
          for row in top..<top + scale {
            order += (left..<left + scale).map { (tile * count + row) * count + $0 }
          }
        }
      }
    }
    return order
  }
}
