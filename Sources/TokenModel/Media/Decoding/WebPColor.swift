import TensorCore

/// Brightness and colour differences of a lossy WebP image as ffmpeg decodes them, and how they become red, green and
/// blue in libwebp.
///
/// Four colour samples around a pixel count 9, 3, 3 and 1 sixteenths, with the roundings of libwebp; then, with
/// ⌊a·b / 256⌋ written a∘b,
///
///     R = (19077∘Y + 26149∘V - 14234) / 64,  B = (19077∘Y + 33050∘U - 17685) / 64
///     G = (19077∘Y - 6419∘U - 13320∘V + 8708) / 64
///
/// Decoding VP8 is exact by its specification, so the picture is Pillow's to the bit.
///
/// Source: dsp/upsampling.c and dsp/yuv.h of libwebp.
enum WebPColor {
  /// The bytes of the three planes of a size.
  static func byteCount(_ size: Medium.Extent) -> Int {
    size.height * size.width + 2 * ((size.height + 1) / 2) * ((size.width + 1) / 2)
  }

  /// The picture.
  ///
  /// - Parameter bytes: The planes one after the other.
  static func image(_ bytes: [UInt8], _ size: Medium.Extent) -> RGBImage {
    require(bytes.count == byteCount(size), "\(bytes.count) bytes for an image of \(size)")
    let (colorHeight, colorWidth) = ((size.height + 1) / 2, (size.width + 1) / 2)
    let (brightCount, colorCount) = (size.height * size.width, colorHeight * colorWidth)
    var pixels: [UInt8] = []
    pixels.reserveCapacity(3 * brightCount)
    for row in 0..<size.height {
      // The nearer row of colour samples, and the one on the other side of this row; at the edges there is only one.
      let near = row / 2
      let far = min(colorHeight - 1, max(0, row % 2 == 0 ? near - 1 : near + 1))
      let lines = [brightCount, brightCount + colorCount].map { start in
        line(
          bytes[start + near * colorWidth..<start + (near + 1) * colorWidth],
          bytes[start + far * colorWidth..<start + (far + 1) * colorWidth], count: size.width)
      }
      for column in 0..<size.width {
        let brightness = product(Int(bytes[row * size.width + column]), 19077)
        let (u, v) = (lines[0][column], lines[1][column])
        pixels.append(level(brightness + product(v, 26149) - 14234))
        pixels.append(level(brightness - product(u, 6419) - product(v, 13320) + 8708))
        pixels.append(level(brightness + product(u, 33050) - 17685))
      }
    }
    return RGBImage(height: size.height, width: size.width, pixels: pixels)
  }

  /// One row of colour samples, twice as long.
  private static func line(_ near: ArraySlice<UInt8>, _ far: ArraySlice<UInt8>, count: Int) -> [Int] {
    let (near, far) = (near.map { Int($0) }, far.map { Int($0) })
    var result = [(3 * near[0] + far[0] + 2) >> 2]
    result.reserveCapacity(count + 1)
    for index in 1..<max(1, near.count) {
      // Two samples of the near row with two of the far one: first the mean of three quarters, then of the halves.
      let sum = near[index - 1] + near[index] + far[index - 1] + far[index] + 8
      let rising = (sum + 2 * (near[index] + far[index - 1])) >> 3
      let falling = (sum + 2 * (near[index - 1] + far[index])) >> 3
      result.append((rising + near[index - 1]) >> 1)
      result.append((falling + near[index]) >> 1)
    }
    if result.count < count { result.append((3 * (near.last ?? 0) + (far.last ?? 0) + 2) >> 2) }
    return result
  }

  private static func product(_ value: Int, _ factor: Int) -> Int { (value * factor) >> 8 }

  private static func level(_ value: Int) -> UInt8 { UInt8(min(max(value >> 6, 0), 255)) }
}
