import RunKit

/// LLaVA-NeXT and LLaVA-OneVision: an overview of the image, and the image cut into tiles of the tower's size.
///
/// The resolution that shows most of the image (and of those the one that wastes least) is chosen from a list; the image
/// is scaled to fit into it, put in its middle on black, and cut. A medium has shape `[1 + tiles, 3, side, side]`, the
/// overview (the image pressed into a square) first, then the tiles row by row.
///
/// Source: `LlavaNextImageProcessorPil` and `LlavaOnevisionImageProcessorPil` of the transformers library; Liu et al.,
/// "LLaVA-NeXT: Improved reasoning, OCR, and world knowledge", 2024. Every image is treated as the only one of its
/// prompt, as that library does for a flat list of images.
struct AnyResImageProcessor: ImageProcessor {
  static let names = ["LlavaNextImageProcessor", "LlavaOnevisionImageProcessor"]

  /// The resolutions an image may be brought to.
  let resolutions: [Medium.Extent]
  /// Rows and columns of a tile before it is resized and cut like any image.
  let tile: Int
  /// Rows and columns of the overview before that.
  let overview: Medium.Extent
  /// nil where tiles are not resized.
  let target: TargetSize?
  let resampling: Resampling
  let crop: Medium.Extent?
  let normalization: PixelNormalization

  /// The most resolutions of a configuration, and the most tiles of one of them.
  private static let resolutionLimit = 4096
  static let tileLimit = 256

  init(_ settings: ConfigurationReader) throws(ConfigurationError) {
    let isOneVision = settings.processorType.hasPrefix("LlavaOnevision")
    let square = Medium.Extent(height: 224, width: 224)
    let whole = Medium.Extent(height: 384, width: 384)
    let size = try TargetSize(settings, default: isOneVision ? .exactly(whole) : .shortestEdge(224))
    let crop = try Medium.Extent.reading("crop_size", of: settings, default: square)
    let hasCrop = !isOneVision || settings.has("crop_size")
    resampling = try Resampling(settings, default: .bicubic)
    target = try settings.bool("do_resize", default: true) ? size : nil
    self.crop = try settings.bool("do_center_crop", default: !isOneVision) ? crop : nil
    switch size {
    case .exactly(let extent):
      overview = extent
      tile = hasCrop ? crop.height : extent.height
    case .shortestEdge(let side):
      overview = Medium.Extent(height: side, width: side)
      tile = hasCrop ? crop.height : side
    }
    // It adds empty tiles where images of one batch have different numbers of them; here every image is alone.
    _ = try settings.bool("do_pad", default: true)
    resolutions = try Self.resolutions(settings, isOneVision: isOneVision, tile: tile)
    normalization = try PixelNormalization(
      settings, mean: PixelNormalization.clipMean, deviation: PixelNormalization.clipDeviation)
  }

  /// Reads `image_grid_pinpoints`, pairs of height and width.
  private static func resolutions(_ settings: ConfigurationReader, isOneVision: Bool, tile: Int)
    throws(ConfigurationError) -> [Medium.Extent]
  {
    let key = "image_grid_pinpoints"
    guard settings.has(key) else {
      if isOneVision {
        let sides = (1...6).map { 384 * $0 }
        return sides.flatMap { height in sides.map { Medium.Extent(height: height, width: $0) } }
      }
      let pairs = [(336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008)]
      return pairs.map { Medium.Extent(height: $0.0, width: $0.1) }
    }
    let wrong = ConfigurationError.wrongKind(
      path: settings.path, key: key, found: settings.object[key]?.kind ?? "nothing",
      expected: "a list of 1 to \(resolutionLimit) pairs of height and width")
    guard let list = settings.object[key]?.arrayValue, 1...resolutionLimit ~= list.count else { throw wrong }
    var result: [Medium.Extent] = []
    for element in list {
      guard let pair = element.arrayValue, pair.count == 2, let height = pair[0].intValue,
        let width = pair[1].intValue
      else { throw wrong }
      guard TargetSize.sides ~= height, TargetSize.sides ~= width,
        // Tiles that do not fill the resolution would have different sizes.
        height % tile == 0, width % tile == 0, height / tile * (width / tile) <= tileLimit
      else {
        throw .outOfRange(
          path: settings.path, key: key, found: "\(height) by \(width)",
          expected: "multiples of the tile's side \(tile), at most \(tileLimit) tiles")
      }
      result.append(Medium.Extent(height: height, width: width))
    }
    return result
  }

  func medium(_ image: RGBImage, path: String, identity: String) -> Medium {
    let best = image.size.best(of: resolutions)
    let fitted = resampling.resized(image, to: Self.fittedSize(image.size, in: best))
    let canvas = fitted.placed(
      top: (best.height - fitted.height) / 2, left: (best.width - fitted.width) / 2, onCanvas: best)
    let tiles = Medium.Extent(height: best.height / tile, width: best.width / tile)
    var parts = [resampling.resized(image, to: overview)]
    for row in 0..<tiles.height {
      for column in 0..<tiles.width {
        parts.append(
          canvas.cropped(
            rows: row * tile..<(row + 1) * tile, columns: column * tile..<(column + 1) * tile))
      }
    }
    var (values, size): ([Float], Medium.Extent) = ([], overview)
    for part in parts {
      var part = part
      if let target { part = resampling.resized(part, to: target.size(of: part.size)) }
      if let crop { part = part.centerCropped(to: crop) }
      size = part.size
      normalization.append(part, to: &values)
    }
    var layout = Medium.Layout()
    (layout.originalSize, layout.tiles) = (image.size, tiles)
    return Medium(
      modality: .image, shape: [parts.count, 3, size.height, size.width], values: .numbers(values),
      layout: layout, identity: identity)
  }

  /// The size of an image that fits a resolution and touches two of its sides.
  static func fittedSize(_ size: Medium.Extent, in target: Medium.Extent) -> Medium.Extent {
    let across = Double(target.width) / Double(size.width)
    let down = Double(target.height) / Double(size.height)
    if across < down {
      let height = Int((Double(size.height) * across).rounded(.up))
      return Medium.Extent(height: min(height, target.height), width: target.width)
    }
    let width = Int((Double(size.width) * down).rounded(.up))
    return Medium.Extent(height: target.height, width: min(width, target.width))
  }
}

extension Medium.Extent {
  /// Of the sizes an image of this size may be brought to, the one that keeps most of its pixels; of equal ones the one
  /// that wastes least, of these the first.
  ///
  /// Source: `select_best_resolution` of the transformers library.
  func best(of sizes: [Medium.Extent]) -> Medium.Extent {
    var best = sizes[0]
    var (mostKept, leastWasted) = (0, Int.max)
    for size in sizes {
      let scale = min(Double(size.width) / Double(width), Double(size.height) / Double(height))
      let scaled = Int(Double(width) * scale) * Int(Double(height) * scale)
      let kept = min(scaled, width * height)
      let wasted = size.width * size.height - kept
      if kept > mostKept || (kept == mostKept && wasted < leastWasted) {
        (best, mostKept, leastWasted) = (size, kept, wasted)
      }
    }
    return best
  }
}
