import Foundation
import RunKit
public import TensorCore

/// `llava_next`: LLaVA-NeXT (1.6). An image is shown to the tower as an overview and as tiles of a larger version ("AnyRes").
///
///     rows = overview patches; then, line by line over all tiles without the padding, patches and a learned newline row
///
/// The larger version has the one of `image_grid_pinpoints` that shows most of the image and wastes least; the image is
/// centred in it. Lines and columns of patches that show padding only are left out.
///
/// Source: Liu et al., "LLaVA-NeXT", 2024; transformers' `LlavaNextModel.pack_image_features`.
public struct LLaVANextModel: LanguageModel {
  /// `model_type` of the configuration.
  public static let modelType = "llava_next"
  /// One line about the family.
  public static let summary =
    "LLaVA-NeXT (1.6): CLIP on an overview and tiles, padding left out, newline rows"
  /// How the parts are called: those of LLaVA, and the newline row.
  public static let keys = LLaVAModel.keys.adding([
    "image_newline": ["model.image_newline", "image_newline"]
  ])

  /// The decoder.
  public var decoder: LLaMADecoder
  /// The image tower.
  public let tower: CLIPVisionTower
  private let projector: VisionProjector
  private let newline: Tensor  // image_newline: [1, hidden]
  private let imageID: Int
  private let arrangement: TileArrangement
  private let isMistral: Bool
  /// The modalities of media the model takes.
  public let modalities: [Modality] = [.image]

  /// - Throws: `ConfigurationError`, `StoredTensorError`.
  public init(_ reader: ConfigurationReader, weights source: WeightSource) throws {
    let weights = source.with(Self.keys)
    let textReader = try reader.section("text_config") ?? reader.defaults("text_config")
    let text = try LLaMAConfiguration(textReader, defaults: .of(textReader), outer: reader)
    let vision = try CLIPVisionTower.Configuration(
      reader.section("vision_config") ?? reader.defaults("vision_config", LLaVAModel.visionDefaults))
    try reader.refuse("vision_feature_select_strategy", unless: ["default"])
    try reader.refuse("use_image_newline_parameter", unless: [true])
    decoder = try LLaMADecoder(text, weights: weights)
    tower = try CLIPVisionTower(vision, weights: weights.under("vision_tower"))
    projector = try VisionProjector(
      reader, layerCount: vision.layerCount, from: vision.hiddenSize, to: text.hiddenSize, weights: weights)
    newline = try weights.tensor("image_newline", shape: [text.hiddenSize]).reshaped(to: [1, text.hiddenSize])
    imageID = try reader.integer(
      reader.has("image_token_id") ? "image_token_id" : "image_token_index",
      in: 0...(text.vocabularySize - 1),
      default: 32000)
    arrangement = try TileArrangement(reader, tileSize: vision.imageSize, patchSize: vision.patchSize)
    isMistral = try textReader.string("model_type", default: "llama") == "mistral"
  }

  /// The one tower.
  public var towers: [(tower: TensorName.Tower, layerCount: Int)] {
    [(.vision, tower.configuration.layerCount)]
  }
  /// `image_token_index`.
  public func placeholderID(of modality: Modality) -> Int? { modality == .image ? imageID : nil }

  /// Channels, height and width of a tile.
  private var tileShape: [Int] {
    [tower.configuration.channels, tower.configuration.imageSize, tower.configuration.imageSize]
  }

  /// An image of the tower's size, as an overview and its tiles, all 0.
  public func exampleMedium(of modality: Modality) -> Medium? {
    guard modality == .image else { return nil }
    var layout = Medium.Layout()
    let size = Medium.Extent(height: tileShape[1], width: tileShape[2])
    layout.originalSize = size
    layout.tiles = arrangement.tiles(of: size)
    let shape = [arrangement.tileCount(of: size)] + tileShape
    return Medium(
      modality: .image, shape: shape, values: .numbers([Float](repeating: 0, count: shape.reduce(1, *))),
      layout: layout, identity: "")
  }

  /// Checks that an image has as many tiles as its size asks for.
  public func validate(_ medium: Medium, sample: String) throws(PromptError) {
    guard medium.modality == .image else {
      throw .unsupportedModality(sample: sample, modality: medium.modality.rawValue, supported: inputNames)
    }
    guard let size = medium.layout.originalSize, TileArrangement.sides ~= size.height,
      TileArrangement.sides ~= size.width
    else {
      throw .unusableMedium(
        sample: sample, modality: "image", found: "no height and width before preprocessing",
        expected: "them (image_sizes)")
    }
    let shape = [arrangement.tileCount(of: size)] + tileShape
    guard medium.shape == shape else {
      throw .wrongMediumShape(sample: sample, modality: "image", found: medium.shape, expected: shape)
    }
    try medium.requireNumbers(sample: sample)
  }

  /// The overview, then lines of patches with a newline after each.
  public func rowParts(of medium: Medium) -> [MediumPart] {
    let patches = tower.configuration.gridSize
    let visible = arrangement.visiblePatches(of: originalSize(medium))
    let overview = MediumPart.grid(SpanMap.Grid(rows: patches, columns: patches))
    let line = [MediumPart.grid(SpanMap.Grid(rows: 1, columns: visible.columns.count)), .separators(1)]
    return [overview] + visible.rows.flatMap { _ in line }
  }

  private func originalSize(_ medium: Medium) -> Medium.Extent {
    medium.layout.originalSize ?? Medium.Extent(height: 1, width: 1)
  }

  /// The rows of an image, `[rows, hidden]`.
  public func mediumEmbeddings(_ medium: Medium, options: ForwardOptions) -> Tensor {
    let size = originalSize(medium)
    let (patches, tiles) = (tower.configuration.gridSize, arrangement.tiles(of: size))
    let rows = projector(tower, pixels: medium.numbers, images: medium.shape[0], options: options)
    let visible = arrangement.visiblePatches(of: size)
    // The row of the newline stands behind those of all tiles.
    let newlineRow = rows.rows
    var order = Array(0..<patches * patches)
    for row in visible.rows {
      for column in visible.columns {
        let tile = 1 + row / patches * tiles.width + column / patches
        order.append((tile * patches + row % patches) * patches + column % patches)
      }
      order.append(newlineRow)
    }
    return ForwardPass.projected(
      Tensor.concatenated([rows, newline]).gatherRows(order), .vision, role: .image, options: options)
  }

  /// `pixel_values` `[images, tiles, channels, height, width]`, filled up to the most tiles, and `image_sizes`
  /// `[images, 2]`, height and width before preprocessing.
  public var mediaInputs: [String] { ["pixel_values", "image_sizes"] }

  /// The images with the tiles that their sizes ask for.
  public func media(from tensors: MediaTensors) throws -> [Medium] {
    guard let pixels = try tensors.floats("pixel_values", shape: [nil, nil] + tileShape) else { return [] }
    guard let sizes = try tensors.integers("image_sizes", shape: [pixels.shape[0], 2]) else {
      throw tensors.missing("image_sizes")
    }
    let length = tileShape.reduce(1, *)
    return try (0..<pixels.shape[0]).map { index in
      let size = Medium.Extent(height: sizes.values[2 * index], width: sizes.values[2 * index + 1])
      guard TileArrangement.sides ~= size.height, TileArrangement.sides ~= size.width else {
        throw TraceError.wrongValue(
          path: tensors.path, name: "image_sizes", found: "\(size.height) x \(size.width)",
          expected: "sizes from 1 to \(TileArrangement.sides.upperBound)")
      }
      let count = arrangement.tileCount(of: size)
      guard count <= pixels.shape[1] else {
        throw TraceError.wrongShape(
          path: tensors.path, name: "pixel_values", found: pixels.shape,
          expected: "at least \(count) tiles for image \(index) of \(size.height) x \(size.width)")
      }
      var layout = Medium.Layout()
      layout.originalSize = size
      layout.tiles = arrangement.tiles(of: size)
      let start = index * pixels.shape[1] * length
      return Medium(
        modality: .image, shape: [count] + tileShape,
        values: .numbers(Array(pixels.values[start..<start + count * length])), layout: layout,
        identity: "pixel_values/\(index)")
    }
  }

  /// The whole prompt is encoded at once, as the processor does.
  public let encodesPromptAsOneText = true

  /// ` answer</s>`.
  public func answerParts(_ answer: String) -> [FormattedPart] { VicunaFormat.answerParts(answer) }

  /// `[INST] <image>\n… [/INST]` over Mistral, `USER: <image>\n… ASSISTANT:` over Vicuna, as the Hub's cards say.
  public func format(_ sample: Sample) throws -> [FormattedPart] {
    let format = isMistral ? VicunaFormat.mistral : VicunaFormat()
    return try format.parts(sample, modalities: modalities)
  }
}

/// How an image of any size becomes an overview and tiles.
struct TileArrangement: Sendable {
  /// Heights and widths a larger version may have.
  let sizes: [Medium.Extent]
  let tileSize: Int
  let patchSize: Int

  /// Heights and widths of images: areas can be counted.
  static let sides = 1...(1 << 30)

  /// - Throws: `ConfigurationError` where a size is no multiple of the tower's, or has more tiles than images are cut into.
  init(_ reader: ConfigurationReader, tileSize: Int, patchSize: Int) throws(ConfigurationError) {
    (self.tileSize, self.patchSize) = (tileSize, patchSize)
    guard reader.has("image_grid_pinpoints") else {
      let defaults = [(336, 672), (672, 336), (672, 672), (1008, 336), (336, 1008)]
      sizes = defaults.map { Medium.Extent(height: $0.0, width: $0.1) }
      return
    }
    let key = "image_grid_pinpoints"
    var sizes: [Medium.Extent] = []
    for pair in reader.object[key]?.arrayValue ?? [] {
      let numbers = (pair.arrayValue ?? []).compactMap(\.intValue)
      let limit = AnyResImageProcessor.tileLimit
      guard numbers.count == 2, numbers.allSatisfy({ 1...(1 << 16) ~= $0 && $0 % tileSize == 0 }),
        numbers[0] / tileSize * (numbers[1] / tileSize) <= limit
      else {
        throw .outOfRange(
          path: reader.path, key: key, found: pair.text(),
          expected:
            "pairs of multiples of vision_config.image_size, which is \(tileSize), at most \(limit) tiles"
        )
      }
      sizes.append(Medium.Extent(height: numbers[0], width: numbers[1]))
    }
    guard 1...4096 ~= sizes.count else {
      throw .outOfRange(
        path: reader.path, key: key, found: "\(sizes.count) pairs", expected: "1 to 4096 pairs")
    }
    self.sizes = sizes
  }

  /// The size of the larger version: most of the image shown, then least wasted, then the first.
  func bestSize(for image: Medium.Extent) -> Medium.Extent { image.best(of: sizes) }

  /// Rows and columns of tiles.
  func tiles(of image: Medium.Extent) -> Medium.Extent {
    let size = bestSize(for: image)
    return Medium.Extent(height: size.height / tileSize, width: size.width / tileSize)
  }

  /// Tiles with the overview.
  func tileCount(of image: Medium.Extent) -> Int {
    let tiles = tiles(of: image)
    return 1 + tiles.height * tiles.width
  }

  /// The rows and columns of patches, over all tiles, that show the image.
  func visiblePatches(of image: Medium.Extent) -> (rows: Range<Int>, columns: Range<Int>) {
    let (tiles, patches) = (tiles(of: image), tileSize / patchSize)
    let (height, width) = (tiles.height * patches, tiles.width * patches)
    let ratio = Double(image.width) / Double(image.height)
    if ratio > Double(width) / Double(height) {
      let padding = (height - Self.whole(Double(image.height) * (Double(width) / Double(image.width)))) / 2
      return (padding..<height - padding, 0..<width)
    }
    let padding = (width - Self.whole(Double(image.width) * (Double(height) / Double(image.height)))) / 2
    return (0..<height, padding..<width - padding)
  }

  /// The whole part of a number rounded to seven decimals, as the reference takes it.
  private static func whole(_ number: Double) -> Int {
    Int((number * 1e7).rounded(.toNearestOrEven) / 1e7)
  }
}
