import RunKit

/// Idefics3 and SmolVLM: the image scaled to a longest side, cut into tiles, with an overview at the end.
///
/// Both sides are brought to multiples of the tile's side, so every tile is full of image and none of it is padding. A
/// medium has shape `[tiles + 1, 3, side, side]`, tiles row by row, then the overview (the image pressed into a square);
/// an image that fits into one tile, or that is not cut because the settings say so, is one square alone.
///
/// Source: `Idefics3ImageProcessorPil` of the transformers library; Laurençon et al., "Building and better understanding
/// vision-language models: insights and future directions", 2024, arXiv:2408.12637.
struct Idefics3ImageProcessor: ImageProcessor {
  static let names = ["Idefics3ImageProcessor", "SmolVLMImageProcessor"]

  /// The longest side an image is scaled to at first; nil where that step is left out.
  let longestSide: Int?
  /// Rows and columns of a tile.
  let tile: Int
  /// Whether larger images are cut.
  let splits: Bool
  let resampling: Resampling
  let normalization: PixelNormalization

  /// No side is longer than this after the first step.
  private static let sideLimit = 4096

  init(_ settings: ConfigurationReader) throws(ConfigurationError) {
    resampling = try Resampling(settings, default: .lanczos)
    longestSide =
      try settings.bool("do_resize", default: true)
      ? Self.longestEdge("size", settings, default: 4 * 364) : nil
    tile = try Self.longestEdge("max_image_size", settings, default: 364)
    splits = try settings.bool("do_image_splitting", default: true)
    // It fills up batches with empty tiles; here every image is alone and its tiles are equal in size.
    _ = try settings.bool("do_pad", default: true)
    normalization = try PixelNormalization(
      settings, mean: PixelNormalization.half, deviation: PixelNormalization.half)
  }

  static func longestEdge(_ key: String, _ settings: ConfigurationReader, default fallback: Int)
    throws(ConfigurationError) -> Int
  {
    guard let size = try settings.section(key) else { return fallback }
    for other in ["height", "width", "shortest_edge"] { try size.refuse(other, unless: []) }
    return try size.integer("longest_edge", in: TargetSize.sides)
  }

  func medium(_ image: RGBImage, path: String, identity: String) throws(MediaError) -> Medium {
    let original = image.size
    var image = image
    if let longestSide { image = resampling.resized(image, to: Self.size(original, longest: longestSide)) }
    let square = Medium.Extent(height: tile, width: tile)
    var tiles = Medium.Extent(height: 0, width: 0)
    var parts: [RGBImage] = []
    if splits {
      let size = try multiple(of: image.size, path: path)
      image = resampling.resized(image, to: size)
      if image.height > tile || image.width > tile {
        tiles = Medium.Extent(height: image.height / tile, width: image.width / tile)
        for row in 0..<tiles.height {
          for column in 0..<tiles.width {
            parts.append(
              image.cropped(
                rows: row * tile..<(row + 1) * tile, columns: column * tile..<(column + 1) * tile))
          }
        }
      }
    }
    parts.append(resampling.resized(image, to: square))
    var values: [Float] = []
    for part in parts { normalization.append(part, to: &values) }
    var layout = Medium.Layout()
    (layout.originalSize, layout.tiles) = (original, tiles)
    layout.visibleSizes = [Medium.Extent](repeating: square, count: parts.count)
    return Medium(
      modality: .image, shape: [parts.count, 3, tile, tile], values: .numbers(values), layout: layout,
      identity: identity)
  }

  /// The size with a given longer side: the other one in proportion, made even, and never above the limit.
  static func size(_ size: Medium.Extent, longest: Int) -> Medium.Extent {
    let ratio = Double(size.width) / Double(size.height)
    var (height, width): (Int, Int)
    if size.width >= size.height {
      width = longest
      height = Int(Double(width) / ratio)
      height += height % 2
    } else {
      height = longest
      width = Int(Double(height) * ratio)
      width += width % 2
    }
    (height, width) = (max(height, 1), max(width, 1))
    let bounded = Double(width) / Double(height)
    if width >= height, width > sideLimit {
      width = sideLimit
      height = Int(Double(width) / bounded)
    } else if height > width, height > sideLimit {
      height = sideLimit
      width = Int(Double(height) * bounded)
    }
    return Medium.Extent(height: max(height, 1), width: max(width, 1))
  }

  /// The size with sides that are multiples of the tile's: the longer one first, the other from it.
  private func multiple(of size: Medium.Extent, path: String) throws(MediaError) -> Medium.Extent {
    func up(_ length: Int) -> Int { (length + tile - 1) / tile * tile }
    let ratio = Double(size.width) / Double(size.height)
    let result: Medium.Extent
    if size.width >= size.height {
      let width = up(size.width)
      result = Medium.Extent(height: up(Int(Double(width) / ratio)), width: width)
    } else {
      let height = up(size.height)
      result = Medium.Extent(height: height, width: up(Int(Double(height) * ratio)))
    }
    // A strip of one row can come out with no rows at all.
    guard result.height > 0, result.width > 0 else {
      throw .unsupportedShape(
        path: path, found: [size.height, size.width], expected: "a side ratio of at most \(tile)")
    }
    return result
  }
}
