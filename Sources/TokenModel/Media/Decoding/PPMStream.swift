/// Puts pictures together from the PPM files that ffmpeg writes one after the other.
struct PPMStream {
  /// The medium, for messages.
  let path: String
  private var buffer: [UInt8] = []
  /// Where the next picture begins in the buffer.
  private var start = 0

  init(path: String) { self.path = path }

  /// The only picture of a stream.
  ///
  /// - Throws: `MediaError.notDecodable`.
  static func image(_ bytes: [UInt8], path: String) throws(MediaError) -> RGBImage {
    var stream = PPMStream(path: path)
    stream.append(bytes)
    guard let image = try stream.next() else {
      throw .notDecodable(path: path, reason: "the picture is cut off after \(bytes.count) bytes")
    }
    return image
  }

  /// Adds bytes as they come.
  mutating func append(_ bytes: [UInt8]) { buffer += bytes }

  /// Whether bytes are left that are no whole picture.
  var isCutOff: Bool { start < buffer.count }

  /// The next picture; nil until all of it is there. Values of 16 bits lose their lower half, as in Pillow.
  ///
  /// - Throws: `MediaError.notDecodable` if the bytes are no PPM file.
  mutating func next() throws(MediaError) -> RGBImage? {
    var (numbers, offset): ([Int], Int) = ([], start + 2)
    guard offset < buffer.count else { return nil }
    guard buffer[start] == UInt8(ascii: "P"), buffer[start + 1] == UInt8(ascii: "6") else {
      throw .notDecodable(path: path, reason: "the decoder wrote no picture")
    }
    while numbers.count < 3 {
      offset += 1
      var value = 0
      while offset < buffer.count, 0x30...0x39 ~= buffer[offset], value < 1 << 30 {
        value = value * 10 + Int(buffer[offset] - 0x30)
        offset += 1
      }
      guard offset < buffer.count else { return nil }
      numbers.append(value)
    }
    let (width, height, size) = (numbers[0], numbers[1], numbers[2] > 255 ? 2 : 1)
    guard width > 0, height > 0, width * height <= ImageFile.pixelLimit else {
      throw .notDecodable(path: path, reason: "the decoder wrote a picture of \(width) by \(height) pixels")
    }
    offset += 1
    let end = offset + 3 * width * height * size
    guard end <= buffer.count else { return nil }
    let pixels =
      size == 1 ? Array(buffer[offset..<end]) : stride(from: offset, to: end, by: 2).map { buffer[$0] }
    start = end
    // Thrown away in one go now and then: moving the rest for every picture would cost as much as reading it.
    if start == buffer.count || start > 1 << 24 {
      buffer.removeFirst(start)
      start = 0
    }
    return RGBImage(height: height, width: width, pixels: pixels)
  }
}
