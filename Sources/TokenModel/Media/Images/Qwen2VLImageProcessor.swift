import RunKit

/// Qwen2-VL and Qwen2.5-VL: the image nearly in its own size and shape, cut into patches.
///
/// Both sides become multiples of `patch_size · merge_size` so that the pixels number between `min_pixels` and
/// `max_pixels`. A medium has shape `[patches, 3 · temporal_patch_size · patch_size²]`. Patches that the model merges
/// stand together: rows of merged patches, columns of them, then rows and columns within; the values of a patch are
/// channel, frame, row, column, a still image being `temporal_patch_size` equal frames.
///
/// Source: `Qwen2VLImageProcessorPil` of the transformers library; Wang et al., "Qwen2-VL: Enhancing Vision-Language
/// Model's Perception of the World at Any Resolution", 2024, arXiv:2409.12191.
struct Qwen2VLImageProcessor: ImageProcessor {
  static let names = ["Qwen2VLImageProcessor"]

  let patches: QwenPatches
  /// nil where images come in a size that can be cut.
  let pixels: ClosedRange<Int>?
  let resampling: Resampling
  let normalization: PixelNormalization

  init(_ settings: ConfigurationReader) throws(ConfigurationError) {
    patches = try QwenPatches(settings)
    let range = try QwenPatches.pixels(settings, default: 56 * 56...28 * 28 * 1280)
    pixels = try settings.bool("do_resize", default: true) ? range : nil
    resampling = try Resampling(settings, default: .bicubic)
    normalization = try PixelNormalization(
      settings, mean: PixelNormalization.clipMean, deviation: PixelNormalization.clipDeviation)
  }

  func medium(_ image: RGBImage, path: String, identity: String) throws(MediaError) -> Medium {
    let size = try patches.size(of: image.size, pixels: pixels, path: path)
    let resized = resampling.resized(image, to: size)
    let grid = patches.grid(of: size, frameCount: patches.frames)
    var layout = Medium.Layout()
    (layout.originalSize, layout.patchGrid) = (image.size, grid)
    return Medium(
      modality: .image, shape: patches.shape(of: grid),
      values: .numbers(patches.values([resized], normalization)), layout: layout, identity: identity)
  }
}

/// How Qwen2-VL cuts images and videos.
struct QwenPatches: Sendable, Equatable {
  /// Rows and columns of a patch.
  let side: Int
  /// Frames of a patch.
  let frames: Int
  /// Patches, along each side, that the model merges into one row.
  let merge: Int

  /// The most pixels of an image or frame: a gigabyte of numbers.
  static let pixelLimit = 1 << 25

  /// The longest side over the shortest one.
  static let aspectLimit = 200

  init(_ settings: ConfigurationReader) throws(ConfigurationError) {
    side = try settings.integer("patch_size", in: 1...1024, default: 14)
    frames = try settings.integer("temporal_patch_size", in: 1...64, default: 2)
    merge = try settings.integer("merge_size", in: 1...64, default: 2)
  }

  /// The pixels an image may have: `min_pixels` and `max_pixels`, or `size` with `shortest_edge` and `longest_edge`,
  /// which are numbers of pixels despite their names.
  static func pixels(_ settings: ConfigurationReader, default fallback: ClosedRange<Int>)
    throws(ConfigurationError) -> ClosedRange<Int>
  {
    let counts = 1...1 << 28
    var (least, most) = (fallback.lowerBound, fallback.upperBound)
    if let size = try settings.section("size") {
      for key in ["height", "width", "max_height", "max_width"] { try size.refuse(key, unless: []) }
      // Older files have both spellings within; the keys of the file itself win.
      least = try size.integer("min_pixels", in: counts, default: least)
      most = try size.integer("max_pixels", in: counts, default: most)
      least = try size.integer("shortest_edge", in: counts, default: least)
      most = try size.integer("longest_edge", in: counts, default: most)
    }
    least = try settings.integer("min_pixels", in: counts, default: least)
    most = try settings.integer("max_pixels", in: counts, default: most)
    guard least <= most else {
      throw .outOfRange(
        path: settings.path, key: "min_pixels", found: "\(least)", expected: "at most max_pixels, \(most)")
    }
    return least...most
  }

  /// The size an image is brought to.
  ///
  /// Source: `smart_resize` of the transformers library; its `round` takes the even neighbour of a half.
  ///
  /// - Parameter pixels: nil where the image keeps its size.
  /// - Throws: `MediaError.unsupportedShape`, for sides whose ratio is above 200 and for sizes that cannot be cut;
  ///   `.tooLarge`.
  func size(of image: Medium.Extent, pixels: ClosedRange<Int>?, path: String) throws(MediaError)
    -> Medium.Extent
  {
    let factor = side * merge
    let (long, short) = (max(image.height, image.width), min(image.height, image.width))
    guard let pixels else {
      guard image.height % factor == 0, image.width % factor == 0 else {
        throw .unsupportedShape(
          path: path, found: [image.height, image.width],
          expected: "sides that are multiples of \(factor), since the model's files ask not to resize")
      }
      return image
    }
    guard long <= Self.aspectLimit * short else {
      throw .unsupportedShape(
        path: path, found: [image.height, image.width],
        expected: "a longer side of at most \(Self.aspectLimit) times the shorter one")
    }
    let (rows, columns, unit) = (Double(image.height), Double(image.width), Double(factor))
    var height = Int((rows / unit).rounded(.toNearestOrEven)) * factor
    var width = Int((columns / unit).rounded(.toNearestOrEven)) * factor
    if height * width > pixels.upperBound {
      let shrink = (rows * columns / Double(pixels.upperBound)).squareRoot()
      height = max(factor, Int((rows / shrink / unit).rounded(.down)) * factor)
      width = max(factor, Int((columns / shrink / unit).rounded(.down)) * factor)
    } else if height * width < pixels.lowerBound {
      let grow = (Double(pixels.lowerBound) / (rows * columns)).squareRoot()
      height = Int((rows * grow / unit).rounded(.up)) * factor
      width = Int((columns * grow / unit).rounded(.up)) * factor
    }
    // A folder may ask for images that are enlarged without measure.
    guard height <= Self.pixelLimit / width else {
      throw .tooLarge(
        path: path, what: "pixels after resizing",
        found: height.multipliedReportingOverflow(by: width).partialValue,
        limit: Self.pixelLimit)
    }
    return Medium.Extent(height: height, width: width)
  }

  /// The patches of frames of a size that can be cut; frames that miss at the end repeat the last one.
  func grid(of size: Medium.Extent, frameCount: Int) -> Medium.PatchGrid {
    Medium.PatchGrid(
      time: (frameCount + frames - 1) / frames, height: size.height / side, width: size.width / side)
  }

  /// The shape of a medium.
  func shape(of grid: Medium.PatchGrid) -> [Int] {
    [grid.time * grid.height * grid.width, 3 * frames * side * side]
  }

  /// The values of frames of one size, patch by patch.
  ///
  /// - Parameter images: A still image alone fills every frame of its patches.
  func values(_ images: [RGBImage], _ normalization: PixelNormalization) -> [Float] {
    let grid = grid(of: images[0].size, frameCount: images.count)
    var values: [Float] = []
    values.reserveCapacity(shape(of: grid).reduce(1, *))
    let numbers = normalization.numbers
    for step in 0..<grid.time {
      let stack = (0..<frames).map { images[min(step * frames + $0, images.count - 1)] }
      for (row, column) in patchOrder(grid) {
        for channel in 0..<3 {
          for image in stack {
            for line in row * side..<(row + 1) * side {
              let start = 3 * (line * image.width + column * side) + channel
              for place in stride(from: start, to: start + 3 * side, by: 3) {
                values.append(numbers[256 * channel + Int(image.pixels[place])])
              }
            }
          }
        }
      }
    }
    return values
  }

  /// Rows and columns of the patches of one step, those that are merged together.
  private func patchOrder(_ grid: Medium.PatchGrid) -> [(row: Int, column: Int)] {
    var order: [(row: Int, column: Int)] = []
    for top in stride(from: 0, to: grid.height, by: merge) {
      for left in stride(from: 0, to: grid.width, by: merge) {
        for row in top..<top + merge { for column in left..<left + merge { order.append((row, column)) } }
      }
    }
    return order
  }
}
