public import TensorCore

/// The vision tower of Qwen2.5-VL: as that of Qwen2-VL, with RMS norms, SwiGLU, and attention within windows in most
/// layers.
///
///     h ← h + proj(attention(rope₂(q), rope₂(k), v)),      [q k v] = qkv(rms_norm(h))
///     h ← h + down_proj(silu(gate_proj n) · up_proj n),    n = rms_norm(h)
///
/// Blocks of merged patches are put in the order of their windows before layer 0 and back after the merger, so the rows
/// of a window are neighbours. Layers in `fullatt_block_indexes` attend within whole frames. Observers see the order of
/// the windows.
///
/// Source: Bai et al., "Qwen2.5-VL", 2025, arXiv:2502.13923, section 2.1.
public struct Qwen2_5VisionTower: QwenVisionTower {
  /// `model_type` of the configuration.
  public static let modelType = "qwen2_5_vl"
  /// One line about the family.
  public static let summary =
    "Qwen2.5-VL: as Qwen2-VL, with window attention in the tower and positions by seconds of video"
  private struct Block: Sendable {
    let attentionNorm: Tensor  // norm1
    let attention: QwenVisionAttention  // attn
    let feedForwardNorm: Tensor  // norm2
    let gate: any LinearLayer  // mlp.gate_proj
    let up: any LinearLayer  // mlp.up_proj
    let down: any LinearLayer  // mlp.down_proj
    let attendsToFrame: Bool
  }

  private let sizes: QwenVisionSizes
  private let headSize: Int
  /// Merged blocks on the side of a window.
  private let windowSide: Int
  private let embedding: Linear  // patch_embed.proj
  private let blocks: [Block]  // blocks.i
  private let mergerNorm: Tensor  // merger.ln_q
  private let merger: QwenPatchMerger
  /// Positions in time for a second of video.
  public let stepsPerSecond: Int?
  private static let epsilon: Float = 1e-6

  /// Takes the weights out of a checkpoint; `weights` are under `visual`.
  ///
  /// - Parameters:
  ///   - reader: `vision_config`.
  ///   - outputWidth: The width of the decoder's hidden states, which `vision_config.out_hidden_size` must equal.
  /// - Throws: `ConfigurationError`, `StoredTensorError`.
  public init(_ reader: ConfigurationReader, outputWidth: Int, weights: WeightSource) throws {
    let sizes = try QwenVisionSizes(reader)
    let width = try reader.integer("hidden_size", in: 1...(1 << 20), default: 3584)
    let inner = try reader.integer("intermediate_size", in: 1...(1 << 24), default: 3420)
    let found = try reader.integer("out_hidden_size", in: 1...(1 << 24), default: 3584)
    guard found == outputWidth else {
      throw ConfigurationError.outOfRange(
        path: reader.path, key: "vision_config.out_hidden_size", found: "\(found)",
        expected: "the hidden size of the text model, \(outputWidth)")
    }
    let window = try reader.integer("window_size", in: 1...(1 << 20), default: 112)
    windowSide = window / sizes.mergeSize / sizes.patchSize
    guard windowSide > 0 else {
      throw ConfigurationError.outOfRange(
        path: reader.path, key: "vision_config.window_size", found: "\(window)",
        expected: "at least spatial_merge_size patches, \(sizes.mergeSize * sizes.patchSize) pixels")
    }
    stepsPerSecond = try reader.integer("tokens_per_second", in: 0...(1 << 20), default: 4)
    let whole = try reader.integers("fullatt_block_indexes", in: 0...4096) ?? [7, 15, 23, 31]
    try reader.refuse("hidden_act", unless: ["silu"])
    headSize = try sizes.headSize(width: width, reader)
    embedding = try sizes.patchEmbedding(width: width, weights: weights)
    blocks = try (0..<sizes.depth).map { index in
      let source = weights.under("blocks.\(index)")
      return Block(
        attentionNorm: try source.tensor("norm1.weight", shape: [width]),
        attention: try QwenVisionAttention(width: width, heads: sizes.heads, weights: source),
        feedForwardNorm: try source.tensor("norm2.weight", shape: [width]),
        gate: try source.linear("mlp.gate_proj", from: width, to: inner, hasBias: true),
        up: try source.linear("mlp.up_proj", from: width, to: inner, hasBias: true),
        down: try source.linear("mlp.down_proj", from: inner, to: width, hasBias: true),
        attendsToFrame: whole.contains(index))
    }
    mergerNorm = try weights.tensor("merger.ln_q.weight", shape: [width])
    merger = try QwenPatchMerger(
      width: width, mergeSize: sizes.mergeSize, outputWidth: outputWidth, weights: weights)
    self.sizes = sizes
    try weights.checkLayerCount(sizes.depth, of: "blocks", ending: "norm1.weight")
  }

  /// Patches beside each other that become one row, in each direction.
  public var mergeSize: Int { sizes.mergeSize }
  /// Numbers in a patch: channel, frame, row, column.
  public var patchCount: Int { sizes.patchCount }
  /// The number of layers.
  public var layerCount: Int { blocks.count }

  /// Turns media into rows of the decoder.
  ///
  /// - Parameters:
  ///   - patches: `[patches, patchCount]`, the media one after another.
  ///   - grids: The grid of each medium; heights and widths are multiples of `mergeSize`.
  ///   - role: Of the rows: image or video.
  ///   - options: Observers; their contexts have a segment for each frame, or for each window where attention is asked for.
  /// - Returns: `[patches / mergeSize², output width]`, the media one after another.
  public func callAsFunction(
    _ patches: Tensor, grids: [Medium.PatchGrid], role: Role = .image,
    options: ForwardOptions = ForwardOptions()
  ) -> Tensor {
    let (order, windowLengths) = windows(grids)
    let perBlock = mergeSize * mergeSize
    let patchOrder = order.flatMap { block in (0..<perBlock).map { block * perBlock + $0 } }
    let lengths = grids.flatMap(\.frameLengths)
    let frames = ForwardPass(.vision, lengths: lengths, role: role, options: options)
    let windows = ForwardPass(
      .vision, lengths: windowLengths.map { $0 * perBlock }, role: role, options: options)
    let inOrder = sizes.rotaryTables(headSize: headSize, grids: grids)
    let tables = (inOrder.cosine.gatherRows(patchOrder), inOrder.sine.gatherRows(patchOrder))
    var hidden = frames.site(.embeddings, embedding(patches, frames.context).gatherRows(patchOrder))
    for (index, block) in blocks.enumerated() {
      hidden = forward(
        block, index, hidden, tables, frames, within: block.attendsToFrame ? frames : windows)
    }
    let normed = frames.site(.finalNorm, hidden.rmsNorm(weight: mergerNorm, epsilon: Self.epsilon))
    let rows = merger(normed, lengths: lengths, role: role)
    var place = [Int](repeating: 0, count: order.count)
    for (row, block) in order.enumerated() { place[block] = row }
    let merged = ForwardPass(.vision, lengths: lengths.map { $0 / perBlock }, role: role, options: options)
    return merged.site(.projected, rows.gatherRows(place))
  }

  private func forward(
    _ block: Block, _ index: Int, _ hidden: Tensor, _ tables: (cosine: Tensor, sine: Tensor),
    _ pass: ForwardPass, within segments: ForwardPass
  ) -> Tensor {
    let input = pass.site(.input, layer: index, hidden)
    let attended = block.attention(
      input.rmsNorm(weight: block.attentionNorm, epsilon: Self.epsilon), tables, index, pass, within: segments
    )
    let middle = pass.site(.afterAttention, layer: index, input + attended)
    let normed = pass.site(
      .feedForwardNorm, layer: index, middle.rmsNorm(weight: block.feedForwardNorm, epsilon: Self.epsilon))
    let up = pass.site(.up, layer: index, block.up(normed, pass.context))
    let gated = block.gate(normed, pass.context).siluMultiplied(by: up)
    let outer = pass.site(.feedForwardOutput, layer: index, block.down(gated, pass.context))
    block.attention.releasePages()
    for linear in [block.gate, block.up, block.down] { linear.releasePages() }
    return pass.site(.output, layer: index, middle + outer)
  }

  /// The merged blocks of all media in the order of their windows, and the blocks of each window.
  private func windows(_ grids: [Medium.PatchGrid]) -> (order: [Int], lengths: [Int]) {
    var (order, lengths): ([Int], [Int]) = ([], [])
    for grid in grids {
      let (own, ownLengths) = grid.merged(by: sizes.mergeSize).windows(side: windowSide)
      let first = order.count
      order += own.map { first + $0 }
      lengths += ownLengths
    }
    return (order, lengths)
  }
}
