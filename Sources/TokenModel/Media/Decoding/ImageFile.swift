import Foundation
import RunKit

/// Reads an image file of any common kind.
///
/// PGM and PPM are read here, everything else by ffmpeg. The picture is what `load_image` of the transformers library
/// gives: upright by its EXIF orientation, then `convert("RGB")` of Pillow, which drops transparency.
struct ImageFile {
  let ffmpeg: FFmpeg

  /// The most pixels of an image.
  static let pixelLimit = 100_000_000
  /// The largest file in bytes.
  static let sizeLimit = 256 << 20

  /// The picture in red, green and blue, upright.
  ///
  /// - Throws: `FileError`, `MediaError`, `DecoderError`.
  func image(at url: URL) throws -> RGBImage {
    let bytes = try FileReader.bytes(of: url, limit: Self.sizeLimit)
    guard !bytes.isEmpty else { throw MediaError.empty(path: url.path) }
    if bytes[0] == UInt8(ascii: "P"), bytes.count > 1, UInt8(ascii: "1")...UInt8(ascii: "7") ~= bytes[1] {
      try Self.checkPixels(of: bytes, path: url.path)
      return try RGBImage(PNMFile(path: url.path, bytes: bytes))
    }
    let header = ImageHeader(bytes)
    if let size = header.size { try Self.check(size.height, size.width, path: url.path) }
    let image: RGBImage
    if let format = PlanarFormat(header) {
      image = try format.image(planes(url, format.name, byteCount: format.byteCount))
    } else if case .webp(isLossy: true) = header.kind, let size = header.size {
      let size = Medium.Extent(height: size.height, width: size.width)
      image = try WebPColor.image(
        planes(url, "yuv420p", byteCount: WebPColor.byteCount(size)), size)
    } else {
      image = try any(url, isSizeKnown: header.size != nil)
    }
    return image.upright(from: header.orientation)
  }

  private static func check(_ height: Int, _ width: Int, path: String) throws(MediaError) {
    guard height > 0, width > 0 else {
      throw .notDecodable(path: path, reason: "the image has \(width) by \(height) pixels")
    }
    // Both come from fields of at most 32 bits, so the product fits.
    guard height * width <= pixelLimit else {
      throw .tooLarge(path: path, what: "pixels", found: height * width, limit: pixelLimit)
    }
  }

  /// The pixels that the header of a PNM file promises, where it is plain; PNMFile looks at the rest.
  private static func checkPixels(of bytes: [UInt8], path: String) throws(MediaError) {
    let words = bytes.prefix(64).split(whereSeparator: { $0 <= 0x20 })
    guard words.count > 2, let width = Int(String(decoding: words[1], as: UTF8.self)),
      let height = Int(String(decoding: words[2], as: UTF8.self)), 1...1 << 31 ~= width, 1...1 << 31 ~= height
    else { return }
    try check(height, width, path: path)
  }

  /// Brightness and colour differences, which are put together here as libjpeg and libwebp do it and not as a video
  /// player does.
  private func planes(_ url: URL, _ format: String, byteCount: Int) throws -> [UInt8] {
    var bytes: [UInt8] = []
    bytes.reserveCapacity(byteCount)
    let output = ["-map", "0:v:0", "-frames:v", "1", "-f", "rawvideo", "-pix_fmt", format]
    try ffmpeg.decode(url, .image, options: Self.decoderOptions, output: output, byteLimit: byteCount) {
      bytes += $0
      return true
    }
    guard bytes.count == byteCount else {
      throw MediaError.notDecodable(
        path: url.path, reason: "\(bytes.count) of \(byteCount) bytes could be decoded")
    }
    return bytes
  }

  private static let decoderOptions = [
    "-noautorotate", "-max_pixels", String(pixelLimit), "-idct:v", "simple",
  ]

  /// Any other image, which ffmpeg turns into a PPM file.
  private func any(_ url: URL, isSizeKnown: Bool) throws -> RGBImage {
    let facts = try ffmpeg.describe(
      url, .image, entries: "stream=codec_type,width,height,pix_fmt",
      options: ["-select_streams", "v:0", "-max_pixels", String(Self.pixelLimit)])
    guard let stream = facts["streams"]?.arrayValue?.first, let width = stream["width"]?.intValue,
      let height = stream["height"]?.intValue
    else { throw MediaError.noStream(path: url.path, kind: "image") }
    if !isSizeKnown {
      // ffmpeg does not say a size above the limit it was given.
      guard height > 0, width > 0 else {
        throw MediaError.notDecodable(
          path: url.path, reason: "the image has no size, or more than \(Self.pixelLimit) pixels")
      }
      try Self.check(height, width, path: url.path)
    }
    let format = stream["pix_fmt"]?.stringValue ?? ""
    if format.hasPrefix("gray"), format != "gray" {
      throw MediaError.unsupportedFormat(
        path: url.path, found: "a grayscale image of more than 8 bits",
        supported: "grayscale of 8 bits, and colour of 8 or 16 bits")
    }
    let isDeep = ["48", "64", "16"].contains { format.contains($0) }
    let byteLimit = Self.pixelLimit * 6 + 64
    var bytes: [UInt8] = []
    try ffmpeg.decode(
      url, .image, options: ["-noautorotate", "-max_pixels", String(Self.pixelLimit)],
      output: [
        "-map", "0:v:0", "-frames:v", "1", "-sws_flags",
        "accurate_rnd+full_chroma_int+full_chroma_inp+bitexact",
        "-c:v", "ppm", "-pix_fmt", isDeep ? "rgb48be" : "rgb24", "-f", "image2pipe",
      ], byteLimit: byteLimit
    ) {
      bytes += $0
      return true
    }
    guard !bytes.isEmpty else {
      throw MediaError.notDecodable(path: url.path, reason: "no picture could be decoded")
    }
    return try PPMStream.image(bytes, path: url.path)
  }
}

extension RGBImage {
  /// A graymap or pixmap as red, green and blue.
  init(_ file: PNMFile) {
    let (levels, count) = (file.bytes(), file.height * file.width)
    var pixels: [UInt8] = []
    pixels.reserveCapacity(3 * count)
    for pixel in 0..<count {
      for channel in 0..<3 { pixels.append(levels[file.channelCount == 1 ? pixel : channel * count + pixel]) }
    }
    self.init(height: file.height, width: file.width, pixels: pixels)
  }

  /// The image turned and mirrored so that an EXIF orientation becomes upright.
  ///
  /// - Parameter orientation: 1 to 8: where row 0 and column 0 of the file lie in the upright image.
  func upright(from orientation: Int) -> RGBImage {
    if orientation == 1 { return self }
    let swaps = orientation >= 5
    let (flipsRows, flipsColumns) = ([3, 4, 6, 7].contains(orientation), [2, 3, 7, 8].contains(orientation))
    let (rows, columns) = swaps ? (width, height) : (height, width)
    var result: [UInt8] = []
    result.reserveCapacity(pixels.count)
    for row in 0..<rows {
      for column in 0..<columns {
        var (sourceRow, sourceColumn) = swaps ? (column, row) : (row, column)
        if flipsRows { sourceRow = height - 1 - sourceRow }
        if flipsColumns { sourceColumn = width - 1 - sourceColumn }
        let place = 3 * (sourceRow * width + sourceColumn)
        result += pixels[place..<place + 3]
      }
    }
    return RGBImage(height: rows, width: columns, pixels: result)
  }
}
