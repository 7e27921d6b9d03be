import TensorCore

/// Patches in the order of Qwen's image processors: step by step in time, blocks of merged patches row by row, and the
/// patches of a block row by row.
extension Medium.PatchGrid {
  /// All patches.
  public var count: Int { time * height * width }

  /// The grid of merged blocks.
  public func merged(by size: Int) -> Medium.PatchGrid {
    Medium.PatchGrid(time: time, height: height / size, width: width / size)
  }

  /// The rows and columns of the patches, in their order.
  func places(mergeSize: Int) -> (rows: [Int], columns: [Int]) {
    var (rows, columns): ([Int], [Int]) = ([], [])
    for top in stride(from: 0, to: height, by: mergeSize) {
      for left in stride(from: 0, to: width, by: mergeSize) {
        for row in top..<top + mergeSize {
          for column in left..<left + mergeSize {
            rows.append(row)
            columns.append(column)
          }
        }
      }
    }
    return (
      Array(repeating: rows, count: time).flatMap { $0 },
      Array(repeating: columns, count: time).flatMap { $0 }
    )
  }

  /// The elements of a merged grid window by window, row by row within each, and how many each window has.
  ///
  /// Windows start at the top left of each step in time; those at the other edges are smaller.
  func windows(side: Int) -> (order: [Int], lengths: [Int]) {
    var (order, lengths): ([Int], [Int]) = ([], [])
    for step in 0..<time {
      for top in stride(from: 0, to: height, by: side) {
        for left in stride(from: 0, to: width, by: side) {
          let (rows, columns) = (top..<min(top + side, height), left..<min(left + side, width))
          for row in rows { order += columns.map { (step * height + row) * width + $0 } }
          lengths.append(rows.count * columns.count)
        }
      }
    }
    return (order, lengths)
  }
}

/// The sizes that Qwen's vision towers share.
struct QwenVisionSizes: Sendable {
  let depth: Int
  let heads: Int
  let patchSize: Int
  let temporalPatchSize: Int
  let channels: Int
  let mergeSize: Int
  let rotaryBase: Double

  /// Reads `vision_config`.
  init(_ reader: ConfigurationReader) throws(ConfigurationError) {
    depth = try reader.integer("depth", in: 1...4096, default: 32)
    heads = try reader.integer("num_heads", in: 1...4096, default: 16)
    patchSize = try reader.integer("patch_size", in: 1...4096, default: 14)
    temporalPatchSize = try reader.integer("temporal_patch_size", in: 1...64, default: 2)
    channels = try reader.integer("in_channels", in: 1...64, default: 3)
    mergeSize = try reader.integer("spatial_merge_size", in: 1...64, default: 2)
    // Published files write in_chans, which transformers does not read.
    try reader.refuse("in_chans", unless: [.integer(channels)])
    let rotary = try reader.section("rope_parameters")
    try rotary?.refuse("rope_type", unless: ["axial"])
    rotaryBase = try rotary?.number("rope_theta", above: 0, default: 10000) ?? 10000
  }

  /// Numbers in a patch: channel, frame, row, column.
  var patchCount: Int { channels * temporalPatchSize * patchSize * patchSize }

  /// The width of a head; an error where it cannot be rotated on two axes.
  func headSize(width: Int, _ reader: ConfigurationReader) throws(ConfigurationError) -> Int {
    guard width % heads == 0, width / heads % 4 == 0 else {
      throw .outOfRange(
        path: reader.path, key: "num_heads", found: "\(heads)",
        expected: "a divisor of the width \(width) that leaves heads of a multiple of 4")
    }
    return width / heads
  }

  /// A 3-D convolution over whole patches as a linear layer.
  func patchEmbedding(width: Int, weights: WeightSource) throws -> Linear {
    Linear(
      weight: try weights.matrix(
        "patch_embed.proj.weight", shape: [width, channels, temporalPatchSize, patchSize, patchSize]))
  }

  /// Cosines and sines of every patch, `[patches, headSize / 2]`: the first half of the angles turns with the row, the
  /// second with the column.
  func rotaryTables(headSize: Int, grids: [Medium.PatchGrid]) -> (cosine: Tensor, sine: Tensor) {
    let rotary = RotaryEmbedding(headSize: headSize / 2, base: rotaryBase)
    let places = grids.map { $0.places(mergeSize: mergeSize) }
    let rows = rotary.tables(positions: places.flatMap(\.rows))
    let columns = rotary.tables(positions: places.flatMap(\.columns))
    return (
      .concatenatedColumns([rows.cosine, columns.cosine]), .concatenatedColumns([rows.sine, columns.sine])
    )
  }
}

/// The attention of a vision block: one matrix for queries, keys and values, rotated in two dimensions.
struct QwenVisionAttention: Sendable {
  private let projections: any LinearLayer  // attn.qkv
  private let output: any LinearLayer  // attn.proj
  private let heads: Int

  init(width: Int, heads: Int, weights: WeightSource) throws {
    projections = try weights.linear("attn.qkv", from: width, to: 3 * width, hasBias: true)
    output = try weights.linear("attn.proj", from: width, to: width, hasBias: true)
    self.heads = heads
  }

  /// - Parameters:
  ///   - pass: Of the frames.
  ///   - segments: A pass over the rows that attend to each other: frames or windows.
  func callAsFunction(
    _ normed: Tensor, _ tables: (cosine: Tensor, sine: Tensor), _ index: Int, _ pass: ForwardPass,
    within segments: ForwardPass
  ) -> Tensor {
    let normed = pass.site(.attentionNorm, layer: index, normed)
    let (all, width) = (projections(normed, pass.context), normed.columns)
    func rotated(_ part: Int) -> Tensor {
      all.columns(part * width..<(part + 1) * width).rotated(cosine: tables.cosine, sine: tables.sine)
    }
    let query = pass.site(.query, layer: index, rotated(0))
    let key = pass.site(.key, layer: index, rotated(1))
    let value = pass.site(.value, layer: index, all.columns(2 * width..<3 * width))
    let attention = Attention(
      heads: heads, keyValueHeads: heads, headSize: width / heads, queryBlock: pass.options.queryBlock)
    let attended = segments.attention(
      attention, queries: query, keys: key, values: value, keyRows: KeyRows(segments.context), layer: index)
    let projected = output(pass.site(.attention, layer: index, attended), pass.context)
    return pass.site(.attentionOutput, layer: index, projected)
  }

  func releasePages() { for linear in [projections, output] { linear.releasePages() } }
}

/// Blocks of merged patches side by side through two linear layers: `mlp.2(gelu(mlp.0(block)))`.
struct QwenPatchMerger: Sendable {
  private let inner: any LinearLayer  // merger.mlp.0
  private let outer: any LinearLayer  // merger.mlp.2

  init(width: Int, mergeSize: Int, outputWidth: Int, weights: WeightSource) throws {
    let block = width * mergeSize * mergeSize
    inner = try weights.linear("merger.mlp.0", from: block, to: block, hasBias: true)
    outer = try weights.linear("merger.mlp.2", from: block, to: outputWidth, hasBias: true)
  }

  /// `[patches, width]`, the patches of a block one after another, to `[blocks, output width]`.
  ///
  /// - Parameters:
  ///   - lengths: Patches of each frame.
  ///   - role: Of the rows: image or video.
  func callAsFunction(_ normed: Tensor, lengths: [Int], role: Role) -> Tensor {
    let perBlock = inner.inputSize / normed.columns
    let blocks = normed.reshaped(to: [normed.rows / perBlock, inner.inputSize])
    let context = TokenContext.rows(lengths: lengths.map { $0 / perBlock }, role: role)
    let output = outer(inner(blocks, context).gelu(), context)
    for linear in [inner, outer] { linear.releasePages() }
    return output
  }
}

extension Medium.PatchGrid {
  /// Patches of each frame.
  var frameLengths: [Int] { Array(repeating: height * width, count: time) }
}
