import RunKit

/// `size` of a configuration: what an image is resized to.
enum TargetSize: Sendable, Equatable {
  /// Exactly these rows and columns.
  case exactly(Medium.Extent)
  /// The shorter side to this length, the longer one in proportion (rounded down).
  case shortestEdge(Int)

  /// Sides of images that processors ask for, far above what towers take.
  static let sides = 1...8192

  /// Reads `size`: `{"height", "width"}`, `{"shortest_edge"}` or a number.
  ///
  /// - Parameter fallback: Where the configuration has none.
  /// - Throws: `ConfigurationError.wrongKind`, `.outOfRange`, and `.unsupportedValue` for other ways to give a size.
  init(_ settings: ConfigurationReader, default fallback: TargetSize) throws(ConfigurationError) {
    guard settings.has("size") else {
      self = fallback
      return
    }
    if settings.object["size"]?.doubleValue != nil {
      self = .shortestEdge(try settings.integer("size", in: Self.sides))
      return
    }
    let size = try settings.requiredSection("size")
    if size.has("height") || size.has("width") {
      self = .exactly(
        Medium.Extent(
          height: try size.integer("height", in: Self.sides), width: try size.integer("width", in: Self.sides)
        ))
      return
    }
    for key in ["longest_edge", "max_height", "max_width"] { try size.refuse(key, unless: []) }
    self = .shortestEdge(try size.integer("shortest_edge", in: Self.sides))
  }

  /// The size of an image after resizing.
  ///
  /// Source: `get_resize_output_image_size` of the transformers library (image_transforms.py).
  func size(of image: Medium.Extent) -> Medium.Extent {
    switch self {
    case .exactly(let size): return size
    case .shortestEdge(let side):
      let (short, long) = (min(image.height, image.width), max(image.height, image.width))
      // Product first, then quotient, as there: the order decides which way a half falls.
      let other = max(1, Int(Double(side * long) / Double(short)))
      return image.width <= image.height
        ? Medium.Extent(height: other, width: side) : Medium.Extent(height: side, width: other)
    }
  }
}

extension Medium.Extent {
  /// Reads `crop_size`, `{"height", "width"}` or the side of a square.
  static func reading(_ key: String, of settings: ConfigurationReader, default fallback: Medium.Extent)
    throws(ConfigurationError) -> Medium.Extent
  {
    guard settings.has(key) else { return fallback }
    if settings.object[key]?.doubleValue != nil {
      let side = try settings.integer(key, in: TargetSize.sides)
      return Medium.Extent(height: side, width: side)
    }
    let size = try settings.requiredSection(key)
    return Medium.Extent(
      height: try size.integer("height", in: TargetSize.sides),
      width: try size.integer("width", in: TargetSize.sides))
  }
}

extension Resampling {
  /// Reads `resample`.
  ///
  /// - Throws: `ConfigurationError`.
  init(_ settings: ConfigurationReader, default fallback: Filter, arithmetic: Arithmetic = .pillow)
    throws(ConfigurationError)
  {
    let number = try settings.integer("resample", in: 0...5, default: fallback.rawValue)
    self.init(Filter(rawValue: number) ?? fallback, arithmetic: arithmetic)
  }
}
