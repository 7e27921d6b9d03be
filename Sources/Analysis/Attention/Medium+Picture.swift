import TokenModel

extension Medium {
  /// A medium as a picture for a report: one byte a pixel, or three. Numbers are stretched from their least to their
  /// greatest; of several tiles the first is taken. What is not laid out as channels, rows and columns gives a single
  /// pixel.
  var picture: (width: Int, height: Int, pixels: [UInt8]) {
    let axes = shape.suffix(3)
    guard let width = shape.last, let height = shape.dropLast().last, width > 0, height > 0,
      axes.count < 3 || [1, 3].contains(axes[axes.startIndex]), values.count >= width * height
    else { return (1, 1, [128]) }
    let plane = width * height
    let channels = axes.count == 3 && axes[axes.startIndex] == 3 && values.count >= 3 * plane ? 3 : 1
    let elements = brightness(channels * plane)
    if channels == 1 { return (width, height, elements) }
    return (width, height, (0..<plane).flatMap { pixel in (0..<3).map { elements[$0 * plane + pixel] } })
  }

  private func brightness(_ count: Int) -> [UInt8] {
    switch values {
    case .bytes(let bytes): return Array(bytes.prefix(count))
    case .numbers(let numbers):
      let own = numbers.prefix(count)
      let (least, greatest) = (own.min() ?? 0, own.max() ?? 0)
      let range = greatest - least
      guard range > 0, range.isFinite else { return [UInt8](repeating: 128, count: count) }
      return own.map { UInt8((($0 - least) / range * 255).rounded()) }
    }
  }
}
