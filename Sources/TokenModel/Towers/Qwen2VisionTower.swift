public import TensorCore

/// The vision tower of Qwen2-VL: patches of any number in two dimensions and time, full attention within a frame.
///
///     h = W patch                                          (a 3-D convolution over whole patches, without bias)
///     h ← h + proj(attention(rope₂(q), rope₂(k), v)),      [q k v] = qkv(layer_norm(h))
///     h ← h + fc2(quick_gelu(fc1(layer_norm(h))))
///     rows = mlp.2(gelu(mlp.0([layer_norm(h) of a block of patches])))
///
/// rope₂ rotates the first half of a head's angles by the row of the patch and the second by its column. Every frame
/// attends to itself alone; there are no learned positions.
///
/// Source: Wang et al., "Qwen2-VL", 2024, arXiv:2409.12191, section 2.1.
public struct Qwen2VisionTower: QwenVisionTower {
  /// `model_type` of the configuration.
  public static let modelType = "qwen2_vl"
  /// One line about the family.
  public static let summary =
    "Qwen2-VL: images and videos of any size, a Qwen2 decoder with positions in time, height and width"
  private struct Block: Sendable {
    let attentionNorm: LayerNorm  // norm1
    let attention: QwenVisionAttention  // attn
    let feedForwardNorm: LayerNorm  // norm2
    let inner: any LinearLayer  // mlp.fc1
    let outer: any LinearLayer  // mlp.fc2
  }

  private let sizes: QwenVisionSizes
  private let headSize: Int
  private let activation: Activation
  private let embedding: Linear  // patch_embed.proj
  private let blocks: [Block]  // blocks.i
  private let mergerNorm: LayerNorm  // merger.ln_q
  private let merger: QwenPatchMerger
  private static let epsilon = 1e-6

  /// Takes the weights out of a checkpoint; `weights` are under `visual`.
  ///
  /// - Parameters:
  ///   - reader: `vision_config`.
  ///   - outputWidth: The width of the decoder's hidden states, which `vision_config.hidden_size` must equal.
  /// - Throws: `ConfigurationError`, `StoredTensorError`.
  public init(_ reader: ConfigurationReader, outputWidth: Int, weights: WeightSource) throws {
    let sizes = try QwenVisionSizes(reader)
    let width = try reader.integer("embed_dim", in: 1...(1 << 20), default: 1280)
    let ratio = try reader.number("mlp_ratio", above: 0, default: 4)
    let found = try reader.integer("hidden_size", in: 1...(1 << 24), default: 3584)
    guard found == outputWidth else {
      throw ConfigurationError.outOfRange(
        path: reader.path, key: "vision_config.hidden_size", found: "\(found)",
        expected: "the hidden size of the text model, \(outputWidth)")
    }
    headSize = try sizes.headSize(width: width, reader)
    activation = try Activation(reader, key: "hidden_act", default: .quickGELU)
    embedding = try sizes.patchEmbedding(width: width, weights: weights)
    guard Double(width) * ratio < Double(1 << 24), Int(Double(width) * ratio) > 0 else {
      throw ConfigurationError.outOfRange(
        path: reader.path, key: "vision_config.mlp_ratio", found: "\(ratio)",
        expected: "a ratio that gives 1 to \(1 << 24) columns")
    }
    let inner = Int(Double(width) * ratio)
    blocks = try (0..<sizes.depth).map { index in
      let source = weights.under("blocks.\(index)")
      return Block(
        attentionNorm: try LayerNorm(source, "norm1", size: width, epsilon: Self.epsilon),
        attention: try QwenVisionAttention(width: width, heads: sizes.heads, weights: source),
        feedForwardNorm: try LayerNorm(source, "norm2", size: width, epsilon: Self.epsilon),
        inner: try source.linear("mlp.fc1", from: width, to: inner, hasBias: true),
        outer: try source.linear("mlp.fc2", from: inner, to: width, hasBias: true))
    }
    mergerNorm = try LayerNorm(weights, "merger.ln_q", size: width, epsilon: Self.epsilon)
    merger = try QwenPatchMerger(
      width: width, mergeSize: sizes.mergeSize, outputWidth: outputWidth, weights: weights)
    self.sizes = sizes
    try weights.checkLayerCount(sizes.depth, of: "blocks", ending: "norm1.weight")
  }

  /// Patches beside each other that become one row, in each direction.
  public var mergeSize: Int { sizes.mergeSize }
  /// Numbers in a patch: channel, frame, row, column.
  public var patchCount: Int { sizes.patchCount }
  /// A step in time is one position.
  public var stepsPerSecond: Int? { nil }
  /// The number of layers.
  public var layerCount: Int { blocks.count }

  /// Turns media into rows of the decoder.
  ///
  /// - Parameters:
  ///   - patches: `[patches, patchCount]`, the media one after another.
  ///   - grids: The grid of each medium; heights and widths are multiples of `mergeSize`.
  ///   - role: Of the rows: image or video.
  ///   - options: Observers; their contexts have a segment for each frame.
  /// - Returns: `[patches / mergeSize², output width]`, the media one after another.
  public func callAsFunction(
    _ patches: Tensor, grids: [Medium.PatchGrid], role: Role = .image,
    options: ForwardOptions = ForwardOptions()
  ) -> Tensor {
    let lengths = grids.flatMap(\.frameLengths)
    let pass = ForwardPass(.vision, lengths: lengths, role: role, options: options)
    let tables = sizes.rotaryTables(headSize: headSize, grids: grids)
    var hidden = pass.site(.embeddings, embedding(patches, pass.context))
    for (index, block) in blocks.enumerated() { hidden = forward(block, index, hidden, tables, pass) }
    let rows = merger(pass.site(.finalNorm, mergerNorm(hidden)), lengths: lengths, role: role)
    let merged = ForwardPass(
      .vision, lengths: lengths.map { $0 / mergeSize / mergeSize }, role: role, options: options)
    return merged.site(.projected, rows)
  }

  private func forward(
    _ block: Block, _ index: Int, _ hidden: Tensor, _ tables: (cosine: Tensor, sine: Tensor),
    _ pass: ForwardPass
  ) -> Tensor {
    let input = pass.site(.input, layer: index, hidden)
    let attended = block.attention(block.attentionNorm(input), tables, index, pass, within: pass)
    let middle = pass.site(.afterAttention, layer: index, input + attended)
    let normed = pass.site(.feedForwardNorm, layer: index, block.feedForwardNorm(middle))
    let inner = pass.site(.up, layer: index, block.inner(normed, pass.context))
    let outer = pass.site(.feedForwardOutput, layer: index, block.outer(activation(inner), pass.context))
    block.attention.releasePages()
    for linear in [block.inner, block.outer] { linear.releasePages() }
    return pass.site(.output, layer: index, middle + outer)
  }
}
