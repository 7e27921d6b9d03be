import Foundation
import TensorCore

/// Changes the size of 8-bit images as the Pillow library does, to the last bit.
///
///     out[x] = ⌊(2²¹ + Σᵢ k[x, i] · in[xmin(x) + i]) / 2²²⌋, clipped to 0...255
///     k[x, i] = round(2²² w / Σ w),  w = filter((xmin + i - center + 0.5) / max(scale, 1))
///     center = (x + 0.5) scale,  scale = in / out
///
/// first along rows, then along columns (the other way round for some tall images), with the result rounded to 8 bits in
/// between. Where an image shrinks, the
/// filter is stretched by the scale (antialiasing). `nearest` takes the pixel at ⌊(x + 0.5) scale⌋.
///
/// Source: Resample.c and Geometry.c of Pillow. With `.torchvision` the weights are whole numbers of 16 bits, as
/// UpSampleKernel.cpp of PyTorch has them for 8-bit images with antialiasing; its results differ by at most one level.
public struct Resampling: Sendable, Equatable {
  /// How neighbours are weighed; the numbers are those of `resample` in configurations.
  public enum Filter: Int, Sendable, CaseIterable {
    case nearest = 0
    case lanczos = 1
    case bilinear = 2
    case bicubic = 3
    case box = 4
    case hamming = 5
  }

  /// Whose rounding is followed.
  public enum Arithmetic: Sendable {
    /// Pillow: weights of 22 bits after the point.
    case pillow
    /// torchvision: as many bits as fit 16 with the largest weight.
    case torchvision
  }

  /// How neighbours are weighed.
  public let filter: Filter
  /// Whose rounding is followed.
  public let arithmetic: Arithmetic

  /// Pillow's rounding unless said otherwise.
  public init(_ filter: Filter, arithmetic: Arithmetic = .pillow) {
    (self.filter, self.arithmetic) = (filter, arithmetic)
  }

  /// The image with `size` rows and columns.
  public func resized(_ image: RGBImage, to size: Medium.Extent) -> RGBImage {
    require(size.height > 0 && size.width > 0, "an image cannot have the size \(size)")
    if size == image.size { return image }
    if filter == .nearest { return nearest(image, size) }
    var (pixels, width, height) = (image.pixels, image.width, image.height)
    for isAlongRows in isColumnsFirst(image.size, size) ? [false, true] : [true, false] {
      if isAlongRows, width != size.width {
        pixels = Self.resampleRows(
          pixels, height: height, width: width, Weights(self, from: width, to: size.width))
        width = size.width
      }
      if !isAlongRows, height != size.height {
        pixels = Self.resampleColumns(
          pixels, rowLength: 3 * width, Weights(self, from: height, to: size.height))
        height = size.height
      }
    }
    return RGBImage(height: size.height, width: size.width, pixels: pixels)
  }

  /// Pillow goes along columns first where that leaves much less to do: where more than twice as many rows as columns
  /// go away. (Versions before 13 never do; results differ by at most one level.)
  private func isColumnsFirst(_ size: Medium.Extent, _ target: Medium.Extent) -> Bool {
    arithmetic == .pillow && target.height < size.height
      && size.height - target.height > 2 * (size.width - target.width)
  }

  private func nearest(_ image: RGBImage, _ size: Medium.Extent) -> RGBImage {
    // Pillow adds up the step, so the last places may differ from a product: the same sum is made here.
    func sources(_ length: Int, _ target: Int) -> [Int] {
      let scale = Double(length) / Double(target)
      var place = scale * 0.5
      return (0..<target).map { _ in
        defer { place += scale }
        return min(length - 1, Int(place))
      }
    }
    let columns = sources(image.width, size.width)
    var pixels: [UInt8] = []
    pixels.reserveCapacity(3 * size.height * size.width)
    for row in sources(image.height, size.height) {
      for column in columns {
        let start = 3 * (row * image.width + column)
        pixels += image.pixels[start..<start + 3]
      }
    }
    return RGBImage(height: size.height, width: size.width, pixels: pixels)
  }

  private static func resampleRows(_ pixels: [UInt8], height: Int, width: Int, _ weights: Weights) -> [UInt8]
  {
    var result = [UInt8](repeating: 0, count: 3 * height * weights.count)
    let source = pixels.span
    var target = result.mutableSpan
    let factors = weights.values.span
    let half = Int32(1) << (weights.precision - 1)
    var place = 0
    for row in 0..<height {
      for column in 0..<weights.count {
        let first = 3 * (row * width + weights.starts[column])
        let factor = column * weights.stride
        var (red, green, blue) = (half, half, half)
        for index in 0..<weights.lengths[column] {
          let weight = factors[factor + index]
          let pixel = first + 3 * index
          red &+= Int32(source[pixel]) &* weight
          green &+= Int32(source[pixel + 1]) &* weight
          blue &+= Int32(source[pixel + 2]) &* weight
        }
        target[place] = level(red >> weights.precision)
        target[place + 1] = level(green >> weights.precision)
        target[place + 2] = level(blue >> weights.precision)
        place += 3
      }
    }
    return result
  }

  private static func resampleColumns(_ pixels: [UInt8], rowLength: Int, _ weights: Weights) -> [UInt8] {
    var result = [UInt8](repeating: 0, count: rowLength * weights.count)
    var sums = [Int32](repeating: 0, count: rowLength)
    let source = pixels.span
    var target = result.mutableSpan
    let half = Int32(1) << (weights.precision - 1)
    for row in 0..<weights.count {
      var sum = sums.mutableSpan
      for index in 0..<rowLength { sum[index] = half }
      for tap in 0..<weights.lengths[row] {
        let weight = weights.values[row * weights.stride + tap]
        let line = source.extracting(
          (weights.starts[row] + tap) * rowLength..<(weights.starts[row] + tap + 1) * rowLength)
        for index in 0..<rowLength { sum[index] &+= Int32(line[index]) &* weight }
      }
      for index in 0..<rowLength { target[row * rowLength + index] = level(sum[index] >> weights.precision) }
    }
    return result
  }

  private static func level(_ value: Int32) -> UInt8 { UInt8(truncatingIfNeeded: min(max(value, 0), 255)) }
}

/// The weights of one pass as whole numbers.
private struct Weights {
  /// Values after the pass.
  let count: Int
  /// For each of them the first value before the pass that counts, and how many do.
  var starts: [Int] = []
  var lengths: [Int] = []
  /// `stride` places for each value after the pass.
  let stride: Int
  let values: [Int32]
  /// Bits after the point.
  let precision: Int

  init(_ resampling: Resampling, from length: Int, to count: Int) {
    let filter = resampling.filter
    let scale = Double(length) / Double(count)
    let stretch = max(scale, 1)
    let support = filter.support * stretch
    self.count = count
    stride = Int(support.rounded(.up)) * 2 + 1
    var weights = [Double](repeating: 0, count: count * stride)
    for place in 0..<count {
      let center = (Double(place) + 0.5) * scale
      let start = max(0, Int(center - support + 0.5))
      let end = min(length, Int(center + support + 0.5))
      var sum = 0.0
      for index in 0..<end - start {
        let weight = filter.weight((Double(start + index) - center + 0.5) * (1 / stretch))
        weights[place * stride + index] = weight
        sum += weight
      }
      if sum != 0 { for index in 0..<end - start { weights[place * stride + index] /= sum } }
      starts.append(start)
      lengths.append(end - start)
    }
    precision = Self.precision(resampling.arithmetic, largest: weights.max() ?? 0)
    let unit = Double(1 << precision)
    // Half is added away from 0, then the fraction is dropped.
    values = weights.map { Int32($0 * unit + ($0 < 0 ? -0.5 : 0.5)) }
  }

  private static func precision(_ arithmetic: Resampling.Arithmetic, largest: Double) -> Int {
    if arithmetic == .pillow { return 22 }
    var precision = 0
    while precision < 22, Int(0.5 + largest * Double(1 << (precision + 1))) < 1 << 15 { precision += 1 }
    return precision
  }
}

extension Resampling.Filter {
  /// How far the filter reaches to either side.
  fileprivate var support: Double {
    switch self {
    case .nearest: 0
    case .box: 0.5
    case .bilinear, .hamming: 1
    case .bicubic: 2
    case .lanczos: 3
    }
  }

  /// The filter at a distance.
  fileprivate func weight(_ signed: Double) -> Double {
    let x = abs(signed)
    switch self {
    case .nearest: return x == 0 ? 1 : 0
    case .box: return signed > -0.5 && signed <= 0.5 ? 1 : 0
    case .bilinear: return x < 1 ? 1 - x : 0
    case .hamming:
      if x == 0 { return 1 }
      if x >= 1 { return 0 }
      return sin(x * .pi) / (x * .pi) * (0.54 + 0.46 * cos(x * .pi))
    case .bicubic:
      let a = -0.5
      if x < 1 { return ((a + 2) * x - (a + 3)) * x * x + 1 }
      if x < 2 { return (((x - 5) * x + 8) * x - 4) * a }
      return 0
    case .lanczos:
      guard signed >= -3, signed < 3 else { return 0 }
      return Self.sinc(signed) * Self.sinc(signed / 3)
    }
  }

  private static func sinc(_ x: Double) -> Double { x == 0 ? 1 : sin(x * .pi) / (x * .pi) }
}
