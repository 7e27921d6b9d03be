import TensorCore

/// An image of 8-bit red, green and blue.
public struct RGBImage: Sendable, Equatable {
  /// Rows and columns.
  public let size: Medium.Extent
  /// Red, green and blue of pixel after pixel, `[height, width, 3]`.
  public let pixels: [UInt8]

  /// Rows.
  public var height: Int { size.height }
  /// Columns.
  public var width: Int { size.width }

  /// - Parameter pixels: `[height, width, 3]`.
  public init(height: Int, width: Int, pixels: [UInt8]) {
    require(height > 0 && width > 0, "an image of \(height) rows and \(width) columns")
    require(
      pixels.count == 3 * height * width, "\(pixels.count) values for an image of \(height) by \(width)")
    (size, self.pixels) = (Medium.Extent(height: height, width: width), pixels)
  }

  /// An image of one colour.
  public init(height: Int, width: Int, color: [UInt8]) {
    require(color.count == 3, "a colour of \(color.count) values")
    var pixels: [UInt8] = []
    pixels.reserveCapacity(3 * height * width)
    for _ in 0..<height * width { pixels += color }
    self.init(height: height, width: width, pixels: pixels)
  }

  /// A part of the image.
  ///
  /// - Parameters:
  ///   - rows: Rows of this image, at least one.
  ///   - columns: Columns of this image, at least one.
  public func cropped(rows: Range<Int>, columns: Range<Int>) -> RGBImage {
    require(
      0 <= rows.lowerBound && rows.upperBound <= height && 0 <= columns.lowerBound
        && columns.upperBound <= width,
      "rows \(rows), columns \(columns) of an image of \(height) by \(width)")
    var part: [UInt8] = []
    part.reserveCapacity(3 * rows.count * columns.count)
    for row in rows {
      let start = 3 * (row * width + columns.lowerBound)
      part += pixels[start..<start + 3 * columns.count]
    }
    return RGBImage(height: rows.count, width: columns.count, pixels: part)
  }

  /// The image on a larger canvas.
  ///
  /// - Parameters:
  ///   - top: Rows of the canvas above the image.
  ///   - left: Columns of the canvas left of the image.
  ///   - color: Of the canvas.
  public func placed(
    top: Int, left: Int, onCanvas canvas: Medium.Extent, color: [UInt8] = [0, 0, 0]
  ) -> RGBImage {
    require(
      top >= 0 && left >= 0 && top + height <= canvas.height && left + width <= canvas.width,
      "an image of \(size) at row \(top), column \(left) of a canvas of \(canvas)")
    if canvas == size { return self }
    var result = RGBImage(height: canvas.height, width: canvas.width, color: color).pixels
    for row in 0..<height {
      let target = 3 * ((top + row) * canvas.width + left)
      let source = 3 * row * width
      result.replaceSubrange(target..<target + 3 * width, with: pixels[source..<source + 3 * width])
    }
    return RGBImage(height: canvas.height, width: canvas.width, pixels: result)
  }

  /// The middle of the image; black is added around an image that is smaller than `size`.
  ///
  /// Where rows or columns cannot be shared equally, the crop begins at ⌊(image - size) / 2⌋ and the black at
  /// ⌈(size - image) / 2⌉.
  ///
  /// Source: `center_crop` of the transformers library (image_transforms.py).
  public func centerCropped(to size: Medium.Extent) -> RGBImage {
    func place(_ length: Int, _ target: Int) -> (padding: Int, start: Int) {
      let padding = (max(target, length) - length + 1) / 2
      return (padding, max(0, floorHalf(length - target) + padding))
    }
    let (top, firstRow) = place(height, size.height)
    let (left, firstColumn) = place(width, size.width)
    let canvas = Medium.Extent(height: max(height, size.height), width: max(width, size.width))
    return placed(top: top, left: left, onCanvas: canvas)
      .cropped(
        rows: firstRow..<firstRow + size.height, columns: firstColumn..<firstColumn + size.width)
  }

  /// The image in the middle of a square canvas as long as its longer side.
  public func paddedToSquare(color: [UInt8]) -> RGBImage {
    let side = max(height, width)
    return placed(
      top: (side - height) / 2, left: (side - width) / 2,
      onCanvas: Medium.Extent(height: side, width: side), color: color)
  }

  /// ⌊value / 2⌋, also below 0.
  private func floorHalf(_ value: Int) -> Int { value >> 1 }
}
