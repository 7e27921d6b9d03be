import TensorCore

/// Brightness and colour differences of a JPEG image as ffmpeg decodes them, and how they become red, green and blue.
///
/// The colour differences are enlarged with libjpeg's triangle filter ("fancy upsampling": 3/4 of the nearer and 1/4 of
/// the farther sample, in each direction) and converted with its 16-bit constants:
///
///     R = Y + 1.402 Cr,  G = Y - 0.34414 Cb - 0.71414 Cr,  B = Y + 1.772 Cb   (Cb, Cr less 128)
///
/// The converter of ffmpeg repeats colour samples instead, which makes edges between colours differ from Pillow's
/// picture by up to half the range; what is left here is the rounding of the inverse cosine transform.
///
/// Source: jdsample.c and jdcolor.c of libjpeg-turbo.
struct PlanarFormat: Equatable {
  let height: Int
  let width: Int
  /// Pixels for one colour sample, across and down; nil for an image without colour.
  let sharing: (across: Int, down: Int)?

  static func == (left: PlanarFormat, right: PlanarFormat) -> Bool {
    left.height == right.height && left.width == right.width && left.sharing?.across == right.sharing?.across
      && left.sharing?.down == right.sharing?.down
  }

  /// The format of a JPEG image; nil for other files and for rare samplings and colours, which ffmpeg converts.
  init?(_ header: ImageHeader) {
    guard case .jpeg(let components, let transform) = header.kind, let size = header.size, size.height > 0,
      size.width > 0
    else { return nil }
    (height, width) = (size.height, size.width)
    if components.count == 1 {
      sharing = nil
      return
    }
    guard components.count == 3, transform != 0,
      components.map(\.identifier) != Array("RGB".utf8).map({ Int($0) }),
      components.dropFirst().allSatisfy({ $0.horizontal == 1 && $0.vertical == 1 }),
      [1, 2].contains(components[0].horizontal), [1, 2].contains(components[0].vertical)
    else { return nil }
    sharing = (components[0].horizontal, components[0].vertical)
  }

  /// The name of the format in ffmpeg.
  var name: String {
    switch sharing {
    case nil: "gray"
    case (1, 1)?: "yuvj444p"
    case (2, 1)?: "yuvj422p"
    case (1, 2)?: "yuvj440p"
    default: "yuvj420p"
    }
  }

  private var colorHeight: Int { sharing.map { (height + $0.down - 1) / $0.down } ?? 0 }
  private var colorWidth: Int { sharing.map { (width + $0.across - 1) / $0.across } ?? 0 }
  /// The bytes of all planes.
  var byteCount: Int { height * width + 2 * colorHeight * colorWidth }

  /// The picture.
  ///
  /// - Parameter bytes: The planes one after the other.
  func image(_ bytes: [UInt8]) -> RGBImage {
    require(bytes.count == byteCount, "\(bytes.count) bytes for planes of \(byteCount)")
    let count = height * width
    var pixels: [UInt8] = []
    pixels.reserveCapacity(3 * count)
    guard let sharing else {
      for level in bytes { for _ in 0..<3 { pixels.append(level) } }
      return RGBImage(height: height, width: width, pixels: pixels)
    }
    let colorCount = colorHeight * colorWidth
    let blue = Plane(bytes[count..<count + colorCount], rowLength: colorWidth)
    let red = Plane(bytes[(count + colorCount)...], rowLength: colorWidth)
    let tables = ColorTables()
    for row in 0..<height {
      let blues = blue.row(row, across: sharing.across, down: sharing.down, count: width)
      let reds = red.row(row, across: sharing.across, down: sharing.down, count: width)
      for column in 0..<width {
        let brightness = Int32(bytes[row * width + column])
        let (cb, cr) = (Int(blues[column]), Int(reds[column]))
        pixels.append(Self.level(brightness + tables.redOfRed[cr]))
        pixels.append(Self.level(brightness + (tables.greenOfBlue[cb] + tables.greenOfRed[cr]) >> 16))
        pixels.append(Self.level(brightness + tables.blueOfBlue[cb]))
      }
    }
    return RGBImage(height: height, width: width, pixels: pixels)
  }

  private static func level(_ value: Int32) -> UInt8 { UInt8(truncatingIfNeeded: min(max(value, 0), 255)) }
}

/// libjpeg's constants times each colour difference, with 16 bits after the point.
private struct ColorTables {
  let redOfRed: [Int32]
  let greenOfRed: [Int32]
  let greenOfBlue: [Int32]
  let blueOfBlue: [Int32]

  init() {
    func fixed(_ value: Double) -> Int32 { Int32(value * 65536 + 0.5) }
    let half: Int32 = 1 << 15
    let differences = (Int32(-128)...127)
    redOfRed = differences.map { (fixed(1.402) * $0 + half) >> 16 }
    blueOfBlue = differences.map { (fixed(1.772) * $0 + half) >> 16 }
    greenOfRed = differences.map { -fixed(0.71414) * $0 }
    greenOfBlue = differences.map { -fixed(0.34414) * $0 + half }
  }
}

/// Colour samples that are enlarged row by row.
private struct Plane {
  let samples: [UInt8]
  let rowLength: Int

  init(_ samples: ArraySlice<UInt8>, rowLength: Int) {
    (self.samples, self.rowLength) = (Array(samples), rowLength)
  }

  private var rowCount: Int { samples.count / rowLength }

  /// A row of the picture.
  func row(_ row: Int, across: Int, down: Int, count: Int) -> [UInt8] {
    let near = row / down
    // libjpeg repeats samples across in pictures that are too narrow for its filter, and then down as well.
    if across == 2, rowLength <= 2 { return (0..<count).map { samples[near * rowLength + $0 / 2] } }
    guard down == 2 else {
      let line = (0..<rowLength).map { Int(samples[near * rowLength + $0]) }
      return across == 1 ? line.map { UInt8($0) } : Self.widened(line, shift: 2, biases: (1, 2), count: count)
    }
    // The farther row is above an upper row and below a lower one; at the edges the near one is repeated.
    let isUpper = row % 2 == 0
    let far = isUpper ? max(0, near - 1) : min(rowCount - 1, near + 1)
    let sums = (0..<rowLength).map {
      3 * Int(samples[near * rowLength + $0]) + Int(samples[far * rowLength + $0])
    }
    if across == 1 { return sums.map { UInt8(($0 + (isUpper ? 1 : 2)) >> 2) } }
    return Self.widened(sums, shift: 4, biases: (8, 7), count: count)
  }

  /// Twice as many samples: 3 parts of the nearer, 1 of the farther; the two biases make roundings go up and down in
  /// turns.
  private static func widened(_ line: [Int], shift: Int, biases: (Int, Int), count: Int) -> [UInt8] {
    // At the edges libjpeg takes the sample alone: for one plane it is as it is, for two rows their sum of 4 parts.
    let unit = shift == 2 ? 1 : 4
    var result: [UInt8] = []
    result.reserveCapacity(2 * line.count)
    for (index, sample) in line.enumerated() {
      let isFirst = index == 0
      let isLast = index == line.count - 1
      if isFirst {
        result.append(UInt8(shift == 2 ? sample : (unit * sample + biases.0) >> shift))
      } else {
        result.append(UInt8((3 * sample + line[index - 1] + biases.0) >> shift))
      }
      if isLast {
        result.append(UInt8(shift == 2 ? sample : (unit * sample + biases.1) >> shift))
      } else {
        result.append(UInt8((3 * sample + line[index + 1] + biases.1) >> shift))
      }
    }
    return Array(result.prefix(count))
  }
}
